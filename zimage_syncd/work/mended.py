"""What a repair mended and what it could not, as findings."""

from __future__ import annotations

from collections import Counter

from zimage_syncd.model import problems
from zimage_syncd.model.manifest import Manifest
from zimage_syncd.model.plan import Actions, Keep, Refuse, SetMode
from zimage_syncd.model.report import Finding
from zimage_syncd.work.apply import Applied
from zimage_syncd.work.kept_back import KeptBack, kept_back
from zimage_syncd.work.look import unseen_root
from zimage_syncd.work.names import Names
from zimage_syncd.work.site import Site

_PERMISSIONS = (problems.PATH_UNREADABLE, problems.PATH_UNWRITABLE)


def mended(site: Site, manifest: Manifest, actions: Actions, done: Applied) -> list[Finding]:
    """What was mended and what was not; what one store kept back is told once, at the first file."""
    findings, names = [], Names(manifest)
    causes = {item.entries[0].path: item for item in kept_back(manifest, done.failed)}
    wrong = {action.entry.path: action for action in actions.changes() if not isinstance(action, Keep)}
    for path, action in wrong.items():
        trouble, cause = done.failed.get(path), causes.get(path)
        subject, chunks = names.shown(path), tuple(getattr(action, "chunks", ()))
        if (root := unseen_root(action, site.linked_roots)) is not None:
            findings.append(Finding(problems.STORE_MISSING, root))
        elif trouble is None:
            findings.append(Finding(action.problem, subject, action.reason, chunks, mended=True))
        elif trouble.problem in _PERMISSIONS and isinstance(action, Refuse | SetMode):
            # No store mends permissions.
            findings.append(Finding(trouble.problem, subject, action.reason))
        elif cause is not None and len(cause.entries) == 1:
            findings.append(Finding(problems.UNREPAIRED, subject, f"{action.reason}; {_why(cause)}", chunks))
        elif cause is not None:
            kinds = Counter(wrong[entry.path].problem.title for entry in cause.entries)
            what = ", ".join(f"{title} ({count:,})" for title, count in kinds.items())
            files = f"{names.few(cause.entries)} of {manifest.key}"
            findings.append(Finding(problems.UNREPAIRED, files, f"{what}; {_why(cause)}"))
    return findings


def _why(cause: KeptBack) -> str:
    """What kept entries back, with its subject where that is not what the finding is about already."""
    failure = cause.failure
    told = failure.detail if cause.is_own else ": ".join(filter(None, (failure.subject, failure.detail)))
    return f"{failure.problem.title}: {told or failure.subject}"
