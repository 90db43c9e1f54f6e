"""How many workers read from which source: grown while that adds speed, halved when a source asks for less.

Pure: the rates of past windows in, the shares of the next window out. One share is grown at a time, tried for one
window, and kept only if the whole transfer became faster by it. Nothing is remembered across transfers: what can be
measured again is.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

WINDOW_S = 1.0
"""How long a share is tried: some chunks of a fast source, and some pieces of a slow one."""

WORTH_KEEPING = 1.08
"""What the rate has to grow by; less is noise."""

FIRST_HOLD = 8
"""Windows until a share that brought nothing is tried again; doubled each time."""

_NEVER = 2**62
"""Windows until a share that is never grown may be grown."""

AFTER_SETBACK = 4
"""Windows without growth after a source asked for less."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A share that was grown for one window."""

    source: int
    """Whose."""
    before: int
    """What it was."""
    rate: float
    """Bytes a second of all sources together before that."""


@dataclass(frozen=True, slots=True)
class Shares:
    """Workers by source, the nearest first."""

    workers: tuple[int, ...]
    """How many read from each source; a later one has none until it is tried."""
    holds: tuple[int, ...]
    """Windows until each share may be grown."""
    patience: tuple[int, ...]
    """How long the next hold of each will be."""
    trial: Trial | None = None
    """What is being tried in the present window."""

    @classmethod
    def first(cls, sources: int, workers: int, reserved: Collection[int] = ()) -> Shares:
        """All workers read from the nearest source.

        Args:
            sources: how many there are, from 1.
            workers: how many to begin with, from 1.
            reserved: sources whose share is never grown; they inherit workers where no other source is left.
        """
        # The first window fills pipes and measures nothing; a later source is tried after the first one's growth.
        holds = tuple(_NEVER if number in reserved else 2 + 2 * number for number in range(sources))
        return cls((workers, *([0] * (sources - 1))), holds, (FIRST_HOLD,) * sources)

    @property
    def total(self) -> int:
        """All workers."""
        return sum(self.workers)

    def source_of(self, worker: int) -> int | None:
        """Which source a worker (from 0) reads from; None for one too many."""
        for source, count in enumerate(self.workers):
            if worker < count:
                return source
            worker -= count
        return None


def after_window(
    shares: Shares, rate: float, most: int, *, setbacks: Sequence[int] = (), dropped: Collection[int] = ()
) -> Shares:
    """The shares of the next window.

    Args:
        shares: those of the window that ended.
        rate: bytes a second of all sources together in it.
        most: how many workers there may be, from 1.
        setbacks: how often each source asked for less or broke off in it.
        dropped: sources that are not to be read from any more.
    """
    strained = [source for source, count in enumerate(setbacks) if count and shares.workers[source]]
    if strained or any(shares.workers[source] for source in dropped):
        return _shrunk(shares, strained, dropped)
    if shares.trial is not None and rate < shares.trial.rate * WORTH_KEEPING:
        shares = _undone(shares, shares.trial)
    elif shares.trial is not None:
        shares = replace(shares, trial=None)
    else:
        shares = replace(shares, holds=tuple(max(0, hold - 1) for hold in shares.holds))
        return _grown(shares, rate, most, dropped)
    return shares


def _shrunk(shares: Shares, strained: Sequence[int], dropped: Collection[int]) -> Shares:
    holds = list(shares.holds)
    # What is being tried has not been measured, and so is not kept.
    trial = shares.trial
    workers = list(shares.workers if trial is None else _with(shares.workers, trial.source, trial.before))
    freed = 0
    for source in dropped:
        freed += workers[source]
        workers[source] = 0
    for source in strained:
        holds[source] = max(holds[source], AFTER_SETBACK)
        if workers[source]:
            workers[source] = max(1, workers[source] // 2)
    if freed or not any(workers):
        heir = next((source for source in range(len(workers)) if source not in dropped), 0)
        workers[heir] = max(1, workers[heir], freed)
    return replace(shares, workers=tuple(workers), holds=tuple(holds), trial=None)


def _undone(shares: Shares, trial: Trial) -> Shares:
    source = trial.source
    return replace(
        shares,
        workers=_with(shares.workers, source, trial.before),
        holds=_with(shares.holds, source, shares.patience[source]),
        patience=_with(shares.patience, source, 2 * shares.patience[source]),
        trial=None,
    )


def _grown(shares: Shares, rate: float, most: int, dropped: Collection[int]) -> Shares:
    if shares.total >= most:
        return shares
    for source, count in enumerate(shares.workers):
        if not shares.holds[source] and source not in dropped:
            grown = count + min(max(2, count // 2), most - shares.total)
            workers = _with(shares.workers, source, grown)
            return replace(shares, workers=workers, trial=Trial(source, count, rate))
    return shares


def _with(values: tuple[int, ...], index: int, value: int) -> tuple[int, ...]:
    return (*values[:index], value, *values[index + 1 :])
