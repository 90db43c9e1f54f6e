"""What people call a file: a blob's name says nothing, the snapshot's links to it do."""

from __future__ import annotations

from zimage_syncd.model.manifest import Manifest
from zimage_syncd.model.path import RelPath, resolve_link


def shown(manifest: Manifest, path: RelPath) -> str:
    """The path, and in parentheses the snapshot's names that lead to it."""
    names = {link.path: resolve_link(link.path, link.target) for link in manifest.links}
    leading = {path}
    for _ in range(2):  # a shared blob is two links away from the snapshot
        leading |= {link for link, target in names.items() if target in leading}
    inside = sorted(name.split("/snapshots/", 1)[1].split("/", 1)[-1] for name in leading if "/snapshots/" in name)
    aliases = [name for name in inside if not path.endswith(name)]
    return f"{path} ({', '.join(aliases)})" if aliases else str(path)
