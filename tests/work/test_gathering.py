"""The order of work: every chunk once, files side by side, single chunks at the end."""

from __future__ import annotations

from itertools import pairwise
from typing import cast

from hypothesis import given
from hypothesis import strategies as st

from zimage_syncd.model.manifest import CHUNK_BYTES, FileEntry
from zimage_syncd.model.path import RelPath
from zimage_syncd.ports import FileStat, Partial
from zimage_syncd.work.gathering import RUN_CHUNKS, Gather, OpenFile, Run, in_turn


class NoPartial:
    """A partial that nothing is written to."""

    def close(self) -> None:
        pass


def gather(name: str, chunks: int, missing: list[int] | None = None) -> Gather:
    entry = FileEntry(RelPath(name), chunks * CHUNK_BYTES - 5, 0o644, "ab" * 32, ("cd" * 32,) * chunks)

    def finish(_partial: Partial) -> FileStat:
        raise AssertionError("not called")

    lacking = list(range(chunks)) if missing is None else missing
    return Gather(entry, lambda: cast("Partial", NoPartial()), lambda _partial: lacking, finish)


def opened(name: str, chunks: int, missing: list[int] | None = None) -> OpenFile:
    return OpenFile(gather(name, chunks, missing))


lacking = st.integers(1, 120).flatmap(
    lambda chunks: st.tuples(st.just(chunks), st.sets(st.integers(0, chunks - 1)).map(sorted))
)


@given(st.lists(lacking, max_size=5), st.integers(0, 20))
def test_every_missing_chunk_and_every_whole_file_comes_exactly_once(
    wanted: list[tuple[int, list[int]]], whole: int
) -> None:
    files = [opened(f"file{number}", chunks, missing) for number, (chunks, missing) in enumerate(wanted)]
    small = [gather(f"small{number}", 1) for number in range(whole)]
    tasks = in_turn(files, small)
    for file in files:
        found = [index for task in tasks if isinstance(task, Run) and task.file is file for index in task.chunks]
        assert sorted(found) == file.missing
    assert [task for task in tasks if isinstance(task, Gather)] == small
    for task in tasks:
        if isinstance(task, Run):
            assert 1 <= len(task.chunks) <= RUN_CHUNKS
            assert task.offset == task.chunks.start * CHUNK_BYTES
            assert task.length == sum(task.file.entry.chunk_length(index) for index in task.chunks)


@given(st.lists(st.integers(20, 120), min_size=2, max_size=5))
def test_files_advance_in_proportion_to_their_sizes(sizes: list[int]) -> None:
    files = [opened(f"file{number}", chunks) for number, chunks in enumerate(sizes)]
    done = dict.fromkeys(range(len(files)), 0)
    for task in in_turn(files, []):
        assert isinstance(task, Run)
        done[files.index(task.file)] += len(task.chunks)
        parts = [count / size for count, size in zip(done.values(), sizes, strict=True)]
        # No further apart than two runs of the smallest file.
        assert max(parts) - min(parts) <= 2 * RUN_CHUNKS / min(sizes)


@given(st.integers(1, 200))
def test_runs_become_shorter_towards_the_end_of_a_file(chunks: int) -> None:
    tasks = [task for task in in_turn([opened("file", chunks)], []) if isinstance(task, Run)]
    assert [task.chunks.start for task in tasks] == sorted(task.chunks.start for task in tasks)
    for task in tasks:
        assert len(task.chunks) == 1 or len(task.chunks) <= (chunks - task.chunks.start) / 8


def test_a_gap_ends_a_run() -> None:
    missing = [*range(5), *range(7, 60)]
    tasks = [task for task in in_turn([opened("file", 60, missing)], []) if isinstance(task, Run)]
    for task in tasks:
        assert 5 not in task.chunks
        assert 6 not in task.chunks
    assert tasks[0].chunks == range(5)
    assert all(first.chunks.stop <= second.chunks.start for first, second in pairwise(tasks))


def test_whoever_handles_the_last_chunk_is_told_and_nobody_else() -> None:
    file = opened("file", 5)
    assert [file.handled(2), file.handled(2), file.handled(1)] == [False, False, True]


def test_what_is_present_is_what_is_not_missing() -> None:
    file = opened("file", 4, [1, 3])
    assert file.present_bytes == 2 * CHUNK_BYTES
