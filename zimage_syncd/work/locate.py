"""Where a snapshot lies in the cache, for whoever passes a path to its library; and whether all are there."""

from __future__ import annotations

from zimage_syncd.model.failures import SnapshotIncomplete, SnapshotMissing
from zimage_syncd.model.selection import Selection
from zimage_syncd.model.snapshot import Incomplete, LocalSnapshot
from zimage_syncd.work.site import Site


def locate(site: Site, selection: Selection) -> str:
    """The absolute path that `from_pretrained` takes.

    Raises:
        SnapshotMissing: it is not in the cache.
        SnapshotIncomplete: it is there, but not whole.
        PathUnreadable, DiskError: it was not found, and a directory could not be listed.
    """
    survey = site.survey()
    meant = site.meant(selection, survey.snapshots)
    if not meant and survey.troubles:
        raise survey.troubles[0]
    if not meant:
        raise SnapshotMissing(str(selection.repo), f"in {site.disk.root}")
    whole = [item for item in meant if not isinstance(item.completeness, Incomplete)]
    if not whole:
        raise SnapshotIncomplete(str(meant[0].key), _reasons(meant[0]))
    return f"{site.disk.root}/{max(whole, key=_preference).directory}"


def lacking(site: Site) -> tuple[str, ...]:
    """Configured repositories that are not whole in the cache; where none is configured, one whole one will do.

    Raises:
        PathUnreadable, DiskError: a directory could not be listed.
    """
    found = {item.key.repo for item in site.find() if not isinstance(item.completeness, Incomplete)}
    if not site.repos:
        return () if found else ("any repository",)
    return tuple(str(repo) for repo in site.repos if repo not in found)


def _reasons(snapshot: LocalSnapshot) -> str:
    return "; ".join(snapshot.completeness.reasons[:5]) if isinstance(snapshot.completeness, Incomplete) else ""


def _preference(snapshot: LocalSnapshot) -> tuple[bool, bool, str]:
    """Hugging Face's layout first, a branch called main first, then by revision."""
    return (snapshot.key.layout == "huggingface", "main" in snapshot.names, snapshot.key.revision)
