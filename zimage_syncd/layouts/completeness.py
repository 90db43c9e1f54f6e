"""Whether a snapshot is all there: three answers, out of what was found, what its own indexes say, and a list.

*Complete*: the publisher's list (`trees/<commit>.json`) agrees with all that is there, and what it lists besides is
needed by nothing: a download may have asked for a part only (`allow_patterns`), and from a disk one cannot see what was
asked for. Then an index of the repository (`model_index.json`, a weight index) or a configuration with its weights has
to be satisfied. *Incomplete*: something is missing, temporary, or does not fit. *Cannot tell*: no list is there, or a
part of it is absent and no index tells whether that matters.

Listed, absent, and needed are: weights of a directory that has a configuration and no weights at all; and what is
neither weights nor documentation in a component of a pipeline, such as a tokenizer's vocabulary. A publisher whose own
index names files that it does not have has an incomplete repository, as far as this program can tell.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from zimage_syncd.layouts.components import WEIGHT_INDEXES, WEIGHTS
from zimage_syncd.layouts.pipeline import Content, Judgement, judge
from zimage_syncd.layouts.trees import Tree
from zimage_syncd.layouts.walk import shown
from zimage_syncd.model.snapshot import CannotTell, Complete, Completeness, Incomplete

_MAX_REASONS = 100
"""A hostile index could name millions of files."""

_DOCUMENTATION = (".md", ".png", ".jpg", ".jpeg", ".webp", ".gif", ".gitattributes", ".gitignore")


def without_list(content: Content, reasons: Iterable[str], why_none: str) -> Completeness:
    """The answer where nobody lists what belongs to the snapshot.

    Args:
        content: its files.
        reasons: what was found wrong while they were gathered.
        why_none: why there is no list.
    """
    judgement = judge(content)
    problem = _incomplete(content, [*reasons, *judgement.reasons])
    return problem or CannotTell(_checked(content, judgement), (why_none,), judgement.satisfied)


def with_list(content: Content, reasons: Iterable[str], listed: Tree, unfinished: Iterable[str]) -> Completeness:
    """The answer where the publisher's list is known.

    Args:
        content: the snapshot's files.
        reasons: what was found wrong while they were gathered.
        listed: the publisher's list, from which they are ticked off.
        unfinished: names of unfinished downloads, `<digest>.…`, that have no finished blob.
    """
    judgement = judge(content)
    absent = listed.absent()
    found = [*reasons, *judgement.reasons, *_needed(content, judgement, absent)]
    begun = {name.split(".", 1)[0]: name for name in unfinished}
    for name in absent:
        item = listed.get(name)
        if item is not None and item.expected is not None and item.expected.hex in begun:
            found.append(f"{shown(name)}: its download is unfinished (blobs/{begun[item.expected.hex]})")
    problem = _incomplete(content, found)
    if problem is not None:
        return problem
    checked = (*_checked(content, judgement), f"names and sizes of {listed.count - len(absent)} listed files")
    if listed.strangers:
        checked = (*checked, f"{listed.strangers} files are there that its publisher does not list")
    if not absent:
        return Complete(checked)
    if judgement.satisfied:
        return Complete((*checked, f"{len(absent)} listed files were never downloaded, and nothing here needs them"))
    detail = f"{len(absent)} of {listed.count} listed files are absent, such as {shown(absent[0])}"
    return CannotTell(checked, (f"{detail}: no index tells whether they were asked for",), satisfied=False)


def _checked(content: Content, judgement: Judgement) -> tuple[str, ...]:
    return (f"presence of {len(content.sizes_bytes)} files", *judgement.checked)


def _incomplete(content: Content, reasons: list[str]) -> Incomplete | None:
    unique = list(dict.fromkeys(reasons))
    if not unique and not content.sizes_bytes:
        unique.append("the snapshot holds no file")
    if len(unique) > _MAX_REASONS:
        unique[_MAX_REASONS:] = [f"and {len(unique) - _MAX_REASONS} more"]
    return Incomplete(tuple(unique)) if unique else None


def _needed(content: Content, judgement: Judgement, absent: list[str]) -> Iterator[str]:
    beside: dict[str, set[str]] = defaultdict(set)
    for name in content.sizes_bytes:
        directory, _, own = name.rpartition("/")
        beside[directory].add(own)
    bare = {
        directory
        for directory, own in beside.items()
        if "config.json" in own and not any(name.endswith(WEIGHTS) for name in own)
    }
    for name in absent:
        directory = name.rpartition("/")[0]
        if name.endswith((".safetensors", ".bin")):
            if directory in bare:
                yield f"{shown(name)}: is missing; its publisher lists it, and nothing beside it has weights"
        elif directory in judgement.components and not name.endswith((*WEIGHTS, *WEIGHT_INDEXES, *_DOCUMENTATION)):
            yield f"{shown(name)}: is missing; its publisher lists it in a component of the pipeline"
