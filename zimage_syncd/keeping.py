"""What is kept on the system disk, so that libraries find the cache: links, and files of environment variables."""

from __future__ import annotations

import contextlib
import json
import os

from zimage_syncd.disk.document import read_bytes, read_document, write_document
from zimage_syncd.disk.errors import translated
from zimage_syncd.disk.links import make_cache_link, make_directory
from zimage_syncd.model import problems
from zimage_syncd.model.failures import Failure
from zimage_syncd.model.report import Finding
from zimage_syncd.model.verdict import CacheState, DataState, LinkState, Verdict
from zimage_syncd.setup.environment_files import EnvironmentFiles
from zimage_syncd.wiring import Workshop, ownership_of
from zimage_syncd.work.apply import finding_of

_WISH_NAME = "environment.json"
"""On the data disk: a new system disk cannot know that its files of variables are missing."""

_KINDS = {
    LinkState.LOST: problems.LINK_LOST,
    LinkState.DANGLING: problems.LINK_LOST,
    LinkState.ELSEWHERE: problems.LINK_ELSEWHERE,
    LinkState.REAL_DIRECTORY: problems.LINK_OCCUPIED,
}

_RIGHT = frozenset({LinkState.GOOD, LinkState.HALF_TAKEN})


class Keeping:
    """Of one configuration.

    Args:
        workshop: what the configuration says.
        root: of the system, for tests.
    """

    def __init__(self, workshop: Workshop, root: str = "/") -> None:
        self._workshop = workshop
        self._cache = workshop.config.cache
        self._wish = os.path.join(workshop.state_directory, _WISH_NAME)
        self._files = EnvironmentFiles(self.environment(), read_bytes, write_document, _remove, root)

    def environment(self) -> dict[str, str]:
        """The variables by which both libraries find the cache."""
        place = self._cache.links[0] if self._cache.links else self._cache.dir
        return {"HF_HOME": place, "MODELSCOPE_CACHE": place}

    def keep(self) -> tuple[list[str], list[Finding]]:
        """Makes what is lost; returns sentences and findings. Somebody else's data is never replaced."""
        seen, verdict = self._workshop.observe()
        if verdict.cache is CacheState.UNKNOWN or DataState.UNKNOWN in verdict.data:
            return [], []  # a link into a bare mount point, or to somebody else's cache, would send libraries astray
        resolved = {link.path: link.resolved for link in seen.links}
        notes, findings = self._keep_links(verdict, resolved)
        if (read_document(self._wish) or {}).get("installed") is True:
            try:
                notes.extend(f"wrote {path}" for path in self._files.install())
            except Failure as failure:
                findings.append(finding_of(failure))
        return notes, findings

    def links_to_make(self) -> list[str]:
        """The links that `keep` would make, as `PATH -> TARGET`."""
        _, verdict = self._workshop.observe()
        lost = [path for path, state in verdict.links if state in {LinkState.LOST, LinkState.DANGLING}]
        return [f"{path} -> {self._cache.dir}" for path in lost]

    def link_findings(self, *, repair: bool) -> list[Finding]:
        """What is wrong with the links; with `repair` they are made first, and what was wrong counts as mended."""
        _, verdict = self._workshop.observe()
        wrong = [(path, state) for path, state in verdict.links if state not in _RIGHT]
        if not repair or not wrong:
            return [Finding(_KINDS[state], path, f"it is {state.words}") for path, state in wrong]
        _, trouble = self.keep()
        left = {finding.subject for finding in trouble}
        was = [(path, state) for path, state in wrong if path not in left]
        return [*(Finding(_KINDS[state], path, f"it was {state.words}", mended=True) for path, state in was), *trouble]

    def install_environment(self) -> list[str]:
        """Writes files of variables, and remembers on the data disk that they are wanted; returns their paths.

        Raises:
            DataDiskMissing, DataDiskForeign, DataDiskUnknown, DataDiskReadOnly: this is not the disk to remember it on.
            EnvironmentOccupied, UsageInvalid, PathUnwritable, DeviceFull, DiskError: as their names say.
        """
        self._workshop.require_disk()
        written = self._files.install()
        write_document(self._wish, json.dumps({"installed": True}).encode() + b"\n")
        return written

    def remove_environment(self) -> list[str]:
        """Removes them, and forgets that they were wanted; returns their paths.

        Raises:
            DataDiskMissing, DataDiskForeign, DataDiskUnknown, DataDiskReadOnly: it is remembered on another disk.
            PathUnwritable, DiskError: as their names say.
        """
        self._workshop.require_disk()
        _remove(self._wish)
        return self._files.remove()

    def _keep_links(self, verdict: Verdict, resolved: dict[str, str]) -> tuple[list[str], list[Finding]]:
        notes: list[str] = []
        findings: list[Finding] = []
        for path, state in verdict.links:
            if state in _RIGHT:
                continue
            if state is LinkState.ELSEWHERE and os.path.exists(resolved[path]):
                detail = f"expected {self._cache.dir}, found {resolved[path]}"
                findings.append(Finding(problems.LINK_ELSEWHERE, path, detail))
                continue
            try:
                notes.append(self._mend(path, state))
            except Failure as failure:
                findings.append(finding_of(failure))
        return notes, list(dict.fromkeys(findings))

    def _mend(self, path: str, state: LinkState) -> str:
        """Makes a link, or the cache directory where a link that is right leads nowhere; returns a sentence.

        A link that is right is not made again: that would be an event, which asks for the next look.
        """
        if state is not LinkState.DANGLING:
            make_cache_link(path, self._cache.dir, ownership_of(self._cache.owner, self._cache.dir))
            return f"linked {path} -> {self._cache.dir}"
        make_directory(self._cache.dir, ownership_of(self._cache.owner, os.path.dirname(self._cache.dir)))
        return f"made {self._cache.dir}, which {path} leads to"


def _remove(path: str) -> None:
    with translated(path, writing=True), contextlib.suppress(FileNotFoundError):
        os.unlink(path)
