"""Numbers out of range, and texts that are no size, rate, duration or cron expression."""

from __future__ import annotations

import math
from collections.abc import Callable

from zimage_syncd.config.places import objection
from zimage_syncd.config.schema import Config, Verify
from zimage_syncd.config.units import duration_s, rate_bytes_per_s, size_bytes
from zimage_syncd.decide.due import Schedule
from zimage_syncd.model.failures import ConfigInvalid, Failure

_MOST_DAYS = 36500.0
"""A hundred years: what reaches further back cannot be computed with dates."""
_MOST_S = 86400.0 * 366
"""A year."""
_MOST_PROCESSES = 64
"""More than any one machine's connections and cores keep busy."""
_SHIPPED = Verify()
"""Its schedules are right: tests say so."""


def check_ranges(config: Config) -> None:
    """Refuses values that no job could work with.

    Raises:
        ConfigInvalid: names the key, what was expected and what was found.
    """
    _check_health(config)
    _check_verify(config)
    _in_range("restore.processes", config.restore.processes, -1, _MOST_PROCESSES)
    _in_range("backup.settle_s", config.backup.settle_s, 0, _MOST_S)
    _parsed("backup.upload_rate", config.backup.upload_rate, rate_bytes_per_s)
    _in_range("retention.keep", config.retention.keep, 1, math.inf)
    _in_range("retention.reports", config.retention.reports, 0, _MOST_DAYS, beyond_low=True)
    _parsed("retention.prune_grace", config.retention.prune_grace, duration_s)
    for name, store in config.stores.items():
        _in_range(f"stores.{name}.lease_expiry_s", store.lease_expiry_s, 0, _MOST_S, beyond_low=True)
    if wrong := objection(config.daemon.state_dir):
        raise ConfigInvalid("daemon.state_dir", wrong)


def _check_health(config: Config) -> None:
    health = config.health
    _in_range("health.size_px", health.size_px, 64, 2048)
    if health.size_px % 16:
        raise ConfigInvalid("health.size_px", f"expected a multiple of 16, found {health.size_px}")
    _in_range("health.steps", health.steps, 1, 50)
    _in_range("health.timeout_s", health.timeout_s, 0, _MOST_S, beyond_low=True)


def _check_verify(config: Config) -> None:
    verify = config.verify
    _in_range("verify.deep_fraction", verify.deep_fraction, 0, 1, beyond_low=True)
    _in_range("verify.store_fraction", verify.store_fraction, 0, 1)
    _in_range("verify.jitter_s", verify.jitter_s, 0, _MOST_S)
    _in_range("verify.quarantine_days", verify.quarantine_days, 0, _MOST_DAYS)
    _parsed("verify.rate", verify.rate, rate_bytes_per_s)
    _parsed("verify.quarantine_max", verify.quarantine_max, size_bytes)
    for key in ("quick", "deep", "drill"):
        expression = getattr(verify, key)
        if expression == getattr(_SHIPPED, key):
            continue  # most have it, and croniter would take a fifteenth of every command's start
        try:
            Schedule(expression)
        except Failure as failure:
            raise ConfigInvalid(f"verify.{key}", f"{failure.subject!r}: {failure.detail}") from failure


def _in_range(key: str, value: float, low: float, high: float, *, beyond_low: bool = False) -> None:
    # Written so that nan, which compares with nothing, is refused, too.
    if (low < value if beyond_low else low <= value) and value <= high:
        return
    least = f"more than {low:,.10g}" if beyond_low else f"at least {low:,.10g}"
    most = "" if high == math.inf else f" and at most {high:,.10g}"
    raise ConfigInvalid(key, f"expected {least}{most}, found {value:,.10g}")


def _parsed(key: str, text: str, parse: Callable[[str], object]) -> None:
    try:
        parse(text)
    except ValueError as error:
        raise ConfigInvalid(key, str(error)) from error
