"""A safetensors header fits its file exactly, or it is said why not."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path

import pytest

from tests.support.tiny_safetensors import safetensors_bytes
from zimage_syncd.layouts.safetensors_header import Tensor, check_safetensors, read_safetensors

GOOD = safetensors_bytes({"a": b"1" * 100, "b": b"2" * 28})


def trouble(tmp_path: Path, data: bytes, size_bytes: int | None = None) -> str | None:
    place = tmp_path / "file.safetensors"
    place.write_bytes(data)
    descriptor = os.open(place, os.O_RDONLY)
    try:
        return check_safetensors(descriptor, len(data) if size_bytes is None else size_bytes)
    finally:
        os.close(descriptor)


def with_header(header: object, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def tensor(dtype: str, shape: list[int], begin: int, end: int) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def test_a_good_file_has_no_trouble(tmp_path: Path) -> None:
    assert trouble(tmp_path, GOOD) is None


@pytest.mark.parametrize(
    ("header", "data"),
    [
        ({}, b""),
        ({"__metadata__": {"format": "pt"}, "a": tensor("BF16", [2, 3], 0, 12)}, b"x" * 12),
        ({"a": tensor("F32", [], 0, 4)}, b"x" * 4),
        ({"a": tensor("F32", [0, 9], 0, 0), "b": tensor("F4", [4], 0, 2)}, b"x" * 2),
        ({"a": tensor("A_TYPE_OF_TOMORROW", [7], 0, 3)}, b"x" * 3),
    ],
)
def test_what_the_format_allows_is_good(tmp_path: Path, header: object, data: bytes) -> None:
    assert trouble(tmp_path, with_header(header, data)) is None


@pytest.mark.parametrize("cut", [1, 28, 100, 127])
def test_a_truncated_file_is_found_by_its_header(tmp_path: Path, cut: int) -> None:
    assert trouble(tmp_path, GOOD[:-cut]) == f"its header describes 128 bytes of tensors, the file holds {128 - cut}"


def test_a_file_that_is_too_long_is_found(tmp_path: Path) -> None:
    assert "the file holds 129" in str(trouble(tmp_path, GOOD + b"x"))


@pytest.mark.parametrize("length", [0, 1, 9])
def test_a_file_too_short_for_a_header_is_found(tmp_path: Path, length: int) -> None:
    assert trouble(tmp_path, GOOD[:length]) == f"{length} bytes are too few for a safetensors header"


@pytest.mark.parametrize(
    "data",
    [
        with_header(b"\xff\xfe{\x00}\x00" * 3),
        with_header(b"{" * 100_000),
        with_header(b"not json at all"),
        with_header([1, 2]),
        with_header({"a": tensor("U8", [3], 0, 3), "b": tensor("U8", [3], 4, 7)}, b"x" * 7),
        with_header({"a": tensor("U8", [3], 0, 3), "b": tensor("U8", [3], 2, 5)}, b"x" * 5),
        with_header({"a": tensor("U8", [3], 1, 4)}, b"x" * 4),
        with_header({"a": tensor("F32", [3], 0, 3)}, b"x" * 3),
        with_header({"a": tensor("U8", [-3, -1], 0, 3)}, b"x" * 3),
        with_header({"a": {"dtype": "U8", "shape": [True], "data_offsets": [0, 1]}}, b"x"),
        with_header({"a": {"dtype": "U8", "shape": [3]}}, b"x" * 3),
        with_header({"a": "tensor"}, b""),
        with_header(b'{"a": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}, "a": 1}'),
        with_header(b'{"a": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0], "dtype": "I8"}}'),
    ],
    ids=lambda data: str(data[8:40]),
)
def test_a_header_that_cannot_be_is_refused(tmp_path: Path, data: bytes) -> None:
    assert trouble(tmp_path, data) is not None


@pytest.mark.parametrize("claimed", [2**30, 2**63, 2**64 - 1])
def test_a_claimed_length_beyond_the_bound_is_not_read(tmp_path: Path, claimed: int) -> None:
    place = tmp_path / "sparse.safetensors"
    place.write_bytes(struct.pack("<Q", claimed))
    os.truncate(place, 2**31)
    descriptor = os.open(place, os.O_RDONLY)
    try:
        assert check_safetensors(descriptor, 2**31) == f"its header claims {claimed} bytes, the file has {2**31}"
    finally:
        os.close(descriptor)


def test_a_header_tells_its_tensors(tmp_path: Path) -> None:
    place = tmp_path / "file.safetensors"
    header = {"a": tensor("BF16", [2, 3], 0, 12), "b": tensor("I64", [], 12, 20)}
    place.write_bytes(with_header({"__metadata__": {"format": "pt"}, **header}, b"x" * 20))
    descriptor = os.open(place, os.O_RDONLY)
    try:
        found = read_safetensors(descriptor, place.stat().st_size)
    finally:
        os.close(descriptor)
    begin = place.stat().st_size - 20
    assert found == (Tensor("a", "BF16", (2, 3), begin, 12), Tensor("b", "I64", (), begin + 12, 8))
    assert [one.elements for one in found if not isinstance(one, str)] == [6, 1]
    assert [one.is_float for one in found if not isinstance(one, str)] == [True, False]
