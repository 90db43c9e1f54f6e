"""Where a snapshot lies in the cache, for whoever passes a path to its library; and whether all are there."""

from __future__ import annotations

from zimage_syncd.model.failures import SnapshotIncomplete, SnapshotMissing
from zimage_syncd.model.selection import Selection
from zimage_syncd.model.snapshot import Incomplete, LocalSnapshot
from zimage_syncd.work.site import Site
from zimage_syncd.work.superseded import superseded


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
    """What is not whole in the cache: configured repositories, and snapshots that were recorded as good once.

    Where nothing is configured or recorded, one whole snapshot will do.

    Raises:
        PathUnreadable, DiskError: a directory could not be listed.
    """
    local = site.find()
    found = {item.key for item in local if not isinstance(item.completeness, Incomplete)}
    repos = {key.repo for key in found}
    recorded = [key for key in site.shelf.keys() if not site.repos or key.repo in site.repos]  # noqa: SIM118
    if not site.repos and not recorded:
        return () if found else ("any repository",)
    missing = [str(repo) for repo in site.repos if repo not in repos]
    no_loss = found | superseded(recorded, local, site.is_written)
    short = [key for key in recorded if key not in no_loss]
    return (*missing, *(str(key) for key in short if str(key.repo) not in missing))


def _reasons(snapshot: LocalSnapshot) -> str:
    return "; ".join(snapshot.completeness.reasons[:5]) if isinstance(snapshot.completeness, Incomplete) else ""


def _preference(snapshot: LocalSnapshot) -> tuple[bool, bool, str]:
    """Hugging Face's layout first, a branch called main first, then by revision."""
    return (snapshot.key.layout == "huggingface", "main" in snapshot.names, snapshot.key.revision)
