"""Plans for people: what a restore would do, with bytes and reasons."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from zimage_syncd.model.manifest import PointerEntry
from zimage_syncd.model.plan import Action, Fetch, Keep, Link, Plan, Refuse, Repair, SetMode, SnapshotPlan
from zimage_syncd.report.words import count, plain, size

_MAX_LINES = 40


def plan_text(plan: Plan, *, every_entry: bool) -> str:
    """A plan as lines.

    Args:
        plan: what would be done.
        every_entry: a line for every entry, however many; otherwise only up to 40 changed ones.
    """
    return "\n".join(plain(line) for line in _lines(plan, every_entry=every_entry)) + "\n"


def _lines(plan: Plan, *, every_entry: bool) -> Iterator[str]:
    for snapshot in plan.snapshots:
        yield from _snapshot(snapshot, every_entry=every_entry)
    for link in plan.links:
        yield f"link {link}"
    yield from plan.notes
    disk = f"needs {size(plan.needed_bytes)} of disk, {size(plan.free_bytes)} are free"
    yield f"{size(plan.fetch_bytes)} to fetch; {disk}"
    if not plan.fits:
        yield "the disk cannot take it: a restore would be refused"
    if not plan.snapshots:
        yield "nothing to restore" if plan.notes else "nothing to restore: no store holds a snapshot yet"
    elif all(snapshot.is_empty for snapshot in plan.snapshots) and not plan.links:
        yield "nothing to do: everything is there and right"
    yield "this was a dry run: nothing was written"


def _snapshot(snapshot: SnapshotPlan, *, every_entry: bool) -> Iterator[str]:
    yield f"{snapshot.manifest.key} from {snapshot.source} ({snapshot.mode}) to {snapshot.directory}"
    groups: dict[tuple[str, str], list[Action]] = defaultdict(list)
    for action in snapshot.actions:
        groups[_verb(snapshot, action), _group_reason(action)].append(action)
    for (verb, reason), actions in groups.items():
        fetched = sum(_fetched(snapshot, action) for action in actions)
        amount = f", {size(fetched)} to fetch" if fetched else ""
        entries = f"{len(actions):,} {'entry' if len(actions) == 1 else 'entries'}"
        yield f"  {verb} {entries}{amount}: {reason}"
    changed = [action for action in snapshot.actions if every_entry or not isinstance(action, Keep)]
    if every_entry or len(changed) <= _MAX_LINES:
        for action in changed:
            yield f"    {_verb(snapshot, action)} {action.entry.path}{_amount(action)}: {action.reason}"
    elif changed:
        yield f"    {count(len(changed), 'change')}; -v lists them"


def _verb(snapshot: SnapshotPlan, action: Action) -> str:
    if isinstance(action, Fetch) and snapshot.links_payload:
        return str(snapshot.mode)
    if isinstance(action, Link) and isinstance(action.entry, PointerEntry):
        return "write"
    return {"SetMode": "set mode of"}.get(type(action).__name__, type(action).__name__.lower())


def _group_reason(action: Action) -> str:
    """Reasons that name one file's path or numbers are told file by file."""
    if isinstance(action, Repair | Refuse | SetMode) or " to /" in action.reason:
        return "see below" if not isinstance(action, Keep) else "linked into a store"
    return action.reason.split(" at ", 1)[0] if isinstance(action, Keep) else action.reason


def _fetched(snapshot: SnapshotPlan, action: Action) -> int:
    linked = isinstance(action, Fetch) and snapshot.links_payload
    return action.fetch_bytes if isinstance(action, Fetch | Repair) and not linked else 0


def _amount(action: Action) -> str:
    return f" ({size(action.fetch_bytes)})" if isinstance(action, Fetch | Repair) else ""
