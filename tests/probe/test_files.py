"""The level `files`: what it sees without torch."""

import json
import os
import shutil

import pytest

from tests.support.safetensors_edit import write_safetensors
from zimage_syncd.probe.files import examine


def write(directory, name, content):
    with open(os.path.join(directory, name), "wb") as stream:
        stream.write(content)


def flip(directory, name, offset):
    with open(os.path.join(directory, name), "r+b") as stream:
        stream.seek(offset)
        byte = stream.read(1)[0]
        stream.seek(offset)
        stream.write(bytes([byte ^ 1]))


def truncate(directory, name):
    os.truncate(os.path.join(directory, name), os.path.getsize(os.path.join(directory, name)) - 1)


def swap_shards(directory):
    """Exchanges what lies behind two names, as a mixed-up repair would."""
    first, second = (os.path.join(directory, "transformer", f"model-{number}.safetensors") for number in (1, 2))
    os.rename(first, f"{first}.away")
    os.rename(second, first)
    os.rename(f"{first}.away", second)


def double(directory):
    """A tensor in both shards."""
    tensors = {name: ("F32", [4], bytes(16)) for name in ("tensor1", "tensor2")}
    write_safetensors(os.path.join(directory, SHARD), tensors)


def reindex(directory, **changes):
    with open(os.path.join(directory, INDEX), encoding="utf-8") as stream:
        values = json.load(stream)
    write(directory, INDEX, json.dumps({**values, **changes}).encode())


def dangle(directory, name):
    os.unlink(os.path.join(directory, name))
    os.symlink("../../blobs/gone", os.path.join(directory, name))


def pipe(directory, name):
    """What waits for ever for whoever opens it."""
    os.unlink(os.path.join(directory, name))
    os.mkfifo(os.path.join(directory, name))


SHARD = "transformer/model-2.safetensors"
INDEX = "transformer/model.safetensors.index.json"

DAMAGE = {
    "header length flipped": (SHARD, lambda d: flip(d, SHARD, 0)),
    "header flipped": (SHARD, lambda d: flip(d, SHARD, 8)),
    "shard truncated": (SHARD, lambda d: truncate(d, SHARD)),
    "shard emptied": (SHARD, lambda d: write(d, SHARD, b"")),
    "shard deleted": (INDEX, lambda d: os.unlink(os.path.join(d, SHARD))),
    "shard a dangling link": (SHARD, lambda d: dangle(d, SHARD)),
    "index not JSON": (INDEX, lambda d: write(d, INDEX, b'{"weight_map": {')),
    "index no object": (INDEX, lambda d: write(d, INDEX, b"[]")),
    "shards swapped": (INDEX, swap_shards),
    "tensor in two shards": (INDEX, double),
    "tensor that no shard has": (
        INDEX,
        lambda d: reindex(d, weight_map={"tensor1": "model-1.safetensors", "tensor9": "model-2.safetensors"}),
    ),
    "index without map": (INDEX, lambda d: write(d, INDEX, b'{"weight_map": [1]}')),
    "configuration not JSON": ("transformer/config.json", lambda d: write(d, "transformer/config.json", b"\0\0\0\0")),
    "configuration nested without end": (
        "transformer/config.json",
        lambda d: write(d, "transformer/config.json", b"[" * 10**6),
    ),
    "pipeline index no object": ("model_index.json", lambda d: write(d, "model_index.json", b"[]")),
    "component missing": ("model_index.json", lambda d: shutil.rmtree(os.path.join(d, "transformer"))),
    "shard a FIFO": (SHARD, lambda d: pipe(d, SHARD)),
    "index a FIFO": (INDEX, lambda d: pipe(d, INDEX)),
    "small file a FIFO": ("README.md", lambda d: pipe(d, "README.md")),
    "small file a dangling link": ("README.md", lambda d: dangle(d, "README.md")),
}


def test_a_good_snapshot_has_no_damage_and_its_index_is_understood(paper):
    found = examine(paper)
    assert found.damage == []
    assert found.checked_files == 5
    assert found.index is not None
    assert found.index.class_name == "ZImagePipeline"
    (part,) = found.index.components
    assert (part.name, part.library, part.only_pickles) == ("transformer", "diffusers", False)
    shards = [os.path.join(paper, "transformer", f"model-{number}.safetensors") for number in (1, 2)]
    assert part.weights_bytes == sum(map(os.path.getsize, shards))


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_found_and_names_the_file(paper, kind):
    name, damage = DAMAGE[kind]
    damage(paper)
    (found,) = examine(paper).damage
    assert found.startswith(f"{name}: ")


def test_every_damaged_file_is_listed(paper):
    flip(paper, SHARD, 0)
    write(paper, "transformer/config.json", b"")
    assert [text.split(":")[0] for text in examine(paper).damage] == ["transformer/config.json", SHARD]


def test_links_of_a_hugging_face_snapshot_are_followed(paper, tmp_path):
    blob = tmp_path / "blob"
    os.rename(os.path.join(paper, SHARD), blob)
    os.symlink(blob, os.path.join(paper, SHARD))
    assert examine(paper).damage == []
    os.truncate(blob, 20)
    assert [text.split(":")[0] for text in examine(paper).damage] == [SHARD]


@pytest.mark.parametrize("directory", ["gone", "empty"])
def test_a_directory_without_files_is_damage(tmp_path, directory):
    (tmp_path / "empty").mkdir()
    (found,) = examine(str(tmp_path / directory)).damage
    assert str(tmp_path / directory) in found


def test_hidden_books_of_the_libraries_are_passed_over(paper):
    os.mkdir(os.path.join(paper, "._____temp"))
    write(paper, "._____temp/half.safetensors", b"half")
    write(paper, ".msc", b"")
    assert examine(paper).damage == []


def test_json_that_no_library_reads_is_nobodys_business(paper):
    write(paper, "examples.json", b'{"a": 1}\n{"a": 2}\n')
    assert examine(paper).damage == []


def test_weights_that_are_only_pickles_are_told(paper):
    os.unlink(os.path.join(paper, INDEX))
    for number in (1, 2):
        os.unlink(os.path.join(paper, "transformer", f"model-{number}.safetensors"))
    write(paper, "transformer/pytorch_model.bin", b"pickle")
    found = examine(paper)
    assert found.damage == []
    assert found.index is not None
    assert found.index.components[0].only_pickles


@pytest.mark.parametrize("class_name", [b'["pipeline", "Own"]', b"null", b"7"])
def test_a_class_of_the_repositorys_own_is_no_class_name(paper, class_name):
    write(paper, "model_index.json", b'{"_class_name": %s}' % class_name)
    found = examine(paper)
    assert found.index is not None
    assert found.index.class_name == ""


def test_what_disagrees_between_index_and_shards_is_named(paper):
    swap_shards(paper)
    (found,) = examine(paper).damage
    assert found == f"{INDEX}: 2 tensors ('tensor1', 'tensor2') not in the shard that it names"


def test_many_tensors_are_counted(paper):
    reindex(paper, weight_map={f"t{number}": "model-1.safetensors" for number in range(9)})
    (found,) = examine(paper).damage
    assert found == f"{INDEX}: 9 tensors ('t0', 't1', 't2' and 6 more) not in the shard that it names"


@pytest.mark.parametrize("total", [32, 32.0, None, "32", -1])
def test_a_total_size_that_is_right_or_says_nothing_is_no_remark(paper, total):
    reindex(paper, metadata={"total_size": total})
    found = examine(paper)
    assert (found.damage, found.remarks) == ([], [])


def test_what_was_published_odd_is_a_remark_and_no_damage(paper):
    write_safetensors(
        os.path.join(paper, SHARD), {"tensor2": ("F32", [4], bytes(16)), "inv_freq": ("F32", [2], bytes(8))}
    )
    reindex(paper, metadata={"total_size": 32})
    found = examine(paper)
    assert found.damage == []
    assert found.remarks == [
        f"{INDEX} does not list 1 tensors ('inv_freq') of its shards",
        f"{INDEX} gives a total_size of 32 bytes, its shards' tensors have 40",
    ]


def test_links_out_of_the_cache_are_told(paper, tmp_path):
    share = tmp_path / "share"
    share.mkdir()
    os.rename(os.path.join(paper, SHARD), share / "blob")
    os.symlink(share / "blob", os.path.join(paper, SHARD))
    assert examine(paper, str(tmp_path)).remarks == []
    found = examine(paper, paper)
    assert found.damage == []
    assert found.remarks == [f"1 files are links out of the cache, such as to {share / 'blob'}"]
