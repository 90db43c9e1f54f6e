"""The hubs by the names that restore.order reserves for them."""

from __future__ import annotations

from zimage_syncd.ports import Cancel, Clock, Hub
from zimage_syncd.stores import hub_huggingface, hub_modelscope
from zimage_syncd.stores.hub import Names, Sleep

_LOOK_EVERY_S = 0.5
"""How soon a wish to stop is seen while a hub asks for patience."""


def open_hub(name: str, names: Names, clock: Clock, cancel: Cancel, home: str) -> Hub:
    """A hub; nothing of its library is imported yet.

    Args:
        name: `modelscope` or `huggingface`.
        names: which file of a repository each payload file is.
        clock: time.
        cancel: a wish to stop, which ends waiting for a hub.
        home: the cache directory, in which a token may lie.
    """
    sleep = _patience(clock, cancel)
    if name == hub_modelscope.NAME:
        return hub_modelscope.open_hub(names, sleep)
    return hub_huggingface.open_hub(names, sleep, home)


def _patience(clock: Clock, cancel: Cancel) -> Sleep:
    def sleep(seconds: float) -> None:
        end_s = clock.monotonic_s() + seconds
        while (left_s := end_s - clock.monotonic_s()) > 0:
            cancel.check()
            clock.sleep(min(left_s, _LOOK_EVERY_S))

    return sleep
