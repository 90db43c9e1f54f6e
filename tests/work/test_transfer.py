"""Transfer: chunks from several sources, one bad file beside good ones, resume."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Generator, Iterator, Sequence

import pytest

from tests.support.site import Bench, BytesSource, entry_of
from zimage_syncd.model import problems
from zimage_syncd.model.failures import Stopped, StoreBroken
from zimage_syncd.model.manifest import CHUNK_BYTES, FileEntry
from zimage_syncd.ports import ChunkSource, NoPuller, OnBytes
from zimage_syncd.work.gathering import Gather, Gathered
from zimage_syncd.work.transfer import Transfer


def gather(bench: Bench, file: FileEntry) -> Gather:
    return Gather(
        file,
        lambda: bench.disk.begin_file(file.path, file.size_bytes),
        lambda partial: partial.missing_chunks(file, bench.cancel.check),
        lambda partial: bench.disk.finish_file(partial, file.mode, keep_old=False),
    )


def run(bench: Bench, sources: Sequence[BytesSource], files: Sequence[FileEntry], workers: int = 3) -> Gathered:
    return Transfer(sources, bench.clock, bench.monitor, bench.cancel, workers=workers, most=workers).run(
        [gather(bench, file) for file in files]
    )


@pytest.fixture
def contents(content: random.Random) -> dict[str, bytes]:
    sizes = {"a": 2 * CHUNK_BYTES + 7, "b": 5, "c": 0, "d": CHUNK_BYTES}
    return {f"models/o--n/snapshots/master/{name}": content.randbytes(size) for name, size in sizes.items()}


@pytest.fixture
def files(contents: dict[str, bytes]) -> list[FileEntry]:
    return [entry_of(path, data) for path, data in contents.items()]


@pytest.fixture
def source(contents: dict[str, bytes], files: list[FileEntry]) -> BytesSource:
    return BytesSource("one", {file.sha256: contents[file.path] for file in files})


def test_every_file_arrives_whole(
    bench: Bench, source: BytesSource, files: list[FileEntry], contents: dict[str, bytes]
) -> None:
    result = run(bench, [source], files)
    assert not result.failed
    assert {path: (bench.root / path).read_bytes() for path in contents} == contents
    assert bench.partials() == []
    assert bench.monitor.bytes == sum(len(data) for data in contents.values())
    assert result.read_bytes["one"] == sum(len(data) for data in contents.values())


def test_a_corrupt_chunk_comes_from_the_next_source_and_is_told(
    bench: Bench, source: BytesSource, files: list[FileEntry], contents: dict[str, bytes]
) -> None:
    bad = BytesSource("bad", source.contents)
    bad.corrupt = {(files[0].path, CHUNK_BYTES)}
    result = run(bench, [bad, source], files)
    assert not result.failed
    assert (bench.root / files[0].path).read_bytes() == contents[files[0].path]
    # What has not been asked for yet comes from the other one, too.
    assert result.read_bytes["one"] >= CHUNK_BYTES
    assert [(f.problem, f.subject, f.chunks) for f in result.findings] == [
        (problems.CHUNK_CORRUPT, files[0].path, (1,))
    ]
    assert "bad" in result.findings[0].detail


class ShortSource(BytesSource):
    """A source of which one object ends early."""

    ends: str = ""

    def read(self, file: FileEntry, offset: int, length: int, buffer: memoryview) -> Iterator[memoryview]:
        if file.sha256 == self.ends:
            self.reads.append((file.path, offset, length))
            raise StoreBroken(file.path, f"{self.name} ends before byte {offset + length}")
        yield from super().read(file, offset, length, buffer)


@pytest.mark.parametrize("trouble", ["short", "absent"])
def test_one_bad_object_of_a_near_source_costs_its_bytes_only(
    bench: Bench, content: random.Random, trouble: str
) -> None:
    """All that was still to come was fetched from the far source, or the near one was asked in vain for each chunk."""
    path = "models/o--n/snapshots/master"
    data = {f"{path}/{number}": content.randbytes(3 * CHUNK_BYTES) for number in range(3)}
    files = [entry_of(path, each) for path, each in data.items()]
    held = {file.sha256: data[file.path] for file in files}
    far, near = BytesSource("far", held), ShortSource("near", dict(held))
    if trouble == "short":
        near.ends = files[0].sha256
    else:
        del near.contents[files[0].sha256]
    result = run(bench, [near, far], files, workers=1)
    assert not result.failed
    assert result.read_bytes == {"far": 3 * CHUNK_BYTES, "near": 6 * CHUNK_BYTES}
    assert len([path for path, _, _ in near.reads if path == files[0].path]) == 1


@pytest.mark.parametrize("first_is_bad", [True, False])
def test_a_file_that_no_source_has_right_tells_what_each_of_them_did(
    bench: Bench, source: BytesSource, files: list[FileEntry], first_is_bad: bool
) -> None:
    """The last source's word hid that the first one had served damage."""
    source.corrupt = {(files[0].path, 0)}
    lacking = BytesSource("two", {file.sha256: source.contents[file.sha256] for file in files[1:]})
    result = run(bench, [source, lacking] if first_is_bad else [lacking, source], files)
    failure = result.failed[files[0].path]
    assert failure.problem is problems.CHUNK_CORRUPT
    assert sorted(said.partition(" hashes")[0] for said in failure.detail.split("; ")) == ["one: chunk 1 of 3", "two"]


def test_a_file_that_no_source_has_right_gets_no_name_and_the_others_arrive(
    bench: Bench, source: BytesSource, files: list[FileEntry]
) -> None:
    source.corrupt = {(files[0].path, 0)}
    result = run(bench, [source], files)
    assert list(result.failed) == [files[0].path]
    assert result.failed[files[0].path].problem is problems.CHUNK_CORRUPT
    assert not (bench.root / files[0].path).exists()
    assert sorted(result.finished) == sorted(file.path for file in files[1:])


def test_an_unreachable_source_is_not_asked_for_ever(bench: Bench, source: BytesSource, files: list[FileEntry]) -> None:
    gone = BytesSource("gone", source.contents)
    gone.unreachable = True
    result = run(bench, [gone, source], files)
    assert not result.failed
    assert len(gone.reads) <= 5


def test_a_second_run_fetches_only_what_is_missing(bench: Bench, source: BytesSource, files: list[FileEntry]) -> None:
    source.corrupt = {(files[0].path, 2 * CHUNK_BYTES)}
    # One worker: what is behind a chunk that nobody has right is not asked for.
    run(bench, [source], files[:1], workers=1)
    source.corrupt = set()
    source.reads.clear()
    result = run(bench, [source], files[:1])
    assert not result.failed
    assert [offset for _, offset, _ in source.reads] == [2 * CHUNK_BYTES]


def test_stop_leaves_the_partial_and_no_final_name(bench: Bench, source: BytesSource, files: list[FileEntry]) -> None:
    bench.cancel.left = 6
    with pytest.raises(Stopped):
        run(bench, [source], files[:1])
    assert not (bench.root / files[0].path).exists()
    assert len(bench.partials()) == 1


def test_many_files_are_never_all_open_at_once(bench: Bench) -> None:
    data = [f"file {number}".encode() for number in range(300)]
    files = [entry_of(f"models/o--n/snapshots/master/{number}", text) for number, text in enumerate(data)]
    source = BytesSource("one", {file.sha256: text for file, text in zip(files, data, strict=True)})
    open_now, most = 0, 0

    def counted(file: FileEntry) -> Gather:
        plain = gather(bench, file)

        def begin() -> object:
            nonlocal open_now, most
            open_now += 1
            most = max(most, open_now)
            return plain.open()

        def finish(partial: object) -> object:
            nonlocal open_now
            open_now -= 1
            return plain.finish(partial)  # type: ignore[arg-type]

        return Gather(file, begin, plain.missing, finish)  # type: ignore[arg-type]

    result = Transfer([source], bench.clock, bench.monitor, bench.cancel, workers=3).run(
        [counted(file) for file in files]
    )
    assert len(result.finished) == 300
    assert most <= 64


class Stumbling:
    """A `Team` whose process gets a run's first chunk right, and no more."""

    size = 1

    def puller(self, worker: int, source: ChunkSource) -> Stumbling | NoPuller:
        self.source = source
        return self if worker == 0 else NoPuller.NEVER

    def pull(
        self, entry: FileEntry, chunks: range, file: int, on_piece: OnBytes, check: Callable[[], None]
    ) -> Generator[tuple[int, str], None, None]:
        offset = chunks.start * CHUNK_BYTES
        for index in chunks[:1]:
            for piece in self.source.read(entry, offset, entry.chunk_length(index), memoryview(bytearray(CHUNK_BYTES))):
                os.pwrite(file, piece, offset)
                offset += len(piece)
                on_piece(len(piece))
            yield index, entry.chunks[index]


def test_what_another_process_left_is_asked_for_at_once(bench: Bench, content: random.Random) -> None:
    """Each chunk had a request of its own."""
    data = content.randbytes(40 * CHUNK_BYTES)
    file = entry_of("models/o--n/snapshots/master/large", data)
    source = BytesSource("one", {file.sha256: data})
    transfer = Transfer([source], bench.clock, bench.monitor, bench.cancel, team=Stumbling(), workers=1, most=1)
    assert not transfer.run([gather(bench, file)]).failed
    assert (bench.root / file.path).read_bytes() == data
    assert bench.monitor.bytes == len(data)
    asked = [length // CHUNK_BYTES for _, _, length in source.reads]
    assert asked[:6] == [1, 4, 1, 3, 1, 2]
