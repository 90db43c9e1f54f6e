"""A picture against its reference: which one is taken, what is said, and the picture of both."""

import hashlib
import os
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

numpy = pytest.importorskip("numpy")
Image = pytest.importorskip("PIL.Image")

from tests.support.pictures import AT  # noqa: E402 (after importorskip)
from zimage_syncd.model.health import HealthOutcome, conditions_of  # noqa: E402
from zimage_syncd.model.picture import Likeness, Reference  # noqa: E402
from zimage_syncd.probe import picture  # noqa: E402
from zimage_syncd.probe.comparison import compare_with_reference  # noqa: E402
from zimage_syncd.probe.conclusion import Concluded, Progress  # noqa: E402
from zimage_syncd.probe.fingerprint import facts_of  # noqa: E402

pytestmark = pytest.mark.probe

VERSIONS = {
    "class": "diffusers.ZImagePipeline",
    "diffusers": "0.42.1",
    "numpy": "2.3",
    "torch": "2.13.0",
    "transformers": "5.23.0",
}


def noise(seed=0, size=64):
    return numpy.random.default_rng(seed).random((size, size, 3), dtype=numpy.float32)


def progress(**changes):
    values = {"device": "cuda:0 NVIDIA H200", "dtype": "bfloat16", "versions": dict(VERSIONS)}
    return Progress(**{**values, **changes})


@pytest.fixture
def asked(request_for, tmp_path):
    """Makes a request whose candidates are references of these pictures."""

    def make(*images):
        request_ = request_for("/cache/x", side_by_side=str(tmp_path / "pictures" / "both.png"))
        found = []
        for number, image in enumerate(images):
            path = str(tmp_path / f"reference-{number}.png")
            picture.save(image, path, {})
            conditions = conditions_of(request_, "cuda:0 NVIDIA H200", "bfloat16", tuple(VERSIONS.items()))
            sha256 = hashlib.sha256(Path(path).read_bytes()).hexdigest()
            at = AT + timedelta(hours=number)
            found.append(Reference("a" * 64, conditions, facts_of(image), sha256, at, path))
        return replace(request_, references=tuple(found))

    return make


def test_the_same_picture_is_told_as_such(asked):
    now = progress()
    assert compare_with_reference(noise(), asked(noise()), now) == (
        "the picture is the reference of 2026-11-24 03:00 UTC, pixel by pixel"
    )
    assert now.comparison.likeness is Likeness.SAME
    assert now.picture_facts == facts_of(noise())


def test_a_similar_picture_is_good_and_its_distance_is_told(asked):
    now = progress()
    said = compare_with_reference(noise() * 0.99, asked(noise()), now)
    assert now.comparison.likeness is Likeness.SIMILAR
    assert f"distance {now.comparison.distance:.4f}" in said


def test_a_different_picture_is_shown_beside_its_reference(asked, tmp_path):
    now, request_ = progress(), asked(noise(1))
    with pytest.raises(Concluded) as caught:
        compare_with_reference(noise(2), request_, now)
    assert caught.value.outcome is HealthOutcome.DIFFERENT_PICTURE
    assert f"side by side: {request_.side_by_side}" in caught.value.detail
    assert now.comparison.likeness is Likeness.DIFFERENT
    assert now.comparison.side_by_side == request_.side_by_side
    with Image.open(request_.side_by_side) as sheet:
        pixels = numpy.asarray(sheet).astype(int)
    assert pixels.shape == (28 + 256, 3 * 256 + 2 * 8, 3)
    below = pixels[28:]
    before, after = (numpy.asarray((noise(seed) * 255).round()).astype(int) for seed in (1, 2))
    assert (below[::4, :256:4] == before).all()
    assert (below[::4, 264:520:4] == after).all()
    assert (below[::4, 528::4] == abs(before - after)).all()  # noise differs by the whole range: nothing to amplify
    assert pixels[:28, :256].max() > 200  # the label


def test_a_small_difference_is_amplified(asked):
    image = numpy.zeros((64, 64, 3), numpy.float32)
    image[:, :32] = 8 / 255
    request_ = asked(image[:, ::-1])
    with pytest.raises(Concluded):
        compare_with_reference(image, request_, progress())
    with Image.open(request_.side_by_side) as sheet:
        assert numpy.asarray(sheet)[28:, 528:].max() == 8 * 31


def test_the_oldest_reference_that_was_drawn_alike_is_taken(asked):
    now = progress()
    compare_with_reference(noise(1), asked(noise(1), noise(2)), now)
    assert now.comparison.likeness is Likeness.SAME
    assert now.comparison.reference_made_at == AT


UNLIKE = {
    "another card": {"device": "cuda:0 NVIDIA GeForce RTX 4090"},
    "no card": {"device": "cpu"},
    "another dtype": {"dtype": "float16"},
    "another torch": {"versions": {**VERSIONS, "torch": "2.14.0"}},
    "modelscope's class": {"versions": {**VERSIONS, "class": "modelscope.ZImagePipeline"}},
}


@pytest.mark.parametrize("kind", UNLIKE)
def test_a_reference_of_other_conditions_is_compared_with_nothing(asked, kind):
    now = progress(**UNLIKE[kind])
    assert "none of the references (1)" in compare_with_reference(noise(2), asked(noise(1)), now)
    assert now.comparison is None
    assert now.picture_facts is not None


@pytest.mark.parametrize("change", [{"prompt": "a cat"}, {"seed": 1}, {"steps": 9}])
def test_so_is_a_reference_of_another_request(asked, change):
    request_ = replace(asked(noise(1)), **change)
    assert "none of the references (1)" in compare_with_reference(noise(2), request_, progress())


@pytest.mark.parametrize(
    "values", [{"device": "cuda:3 NVIDIA H200"}, {"versions": {**VERSIONS, "numpy": "2.4"}}], ids=["card", "numpy"]
)
def test_the_cards_number_and_what_draws_nothing_do_not_count(asked, values):
    now = progress(**values)
    compare_with_reference(noise(1), asked(noise(1)), now)
    assert now.comparison.likeness is Likeness.SAME


def test_without_any_reference_that_is_said(asked):
    assert "no reference yet" in compare_with_reference(noise(1), asked(), progress())


LOST = {
    "gone": os.unlink,
    "cut": lambda path: os.truncate(path, 3000),
    "no PNG": lambda path: Path(path).write_bytes(b"GIF89a"),
    "another size": lambda path: picture.save(noise(1, 80), path, {}),
    "other pixels": lambda path: picture.save(noise(5), path, {}),
    "grey": lambda path: Image.new("L", (64, 64)).save(path, format="PNG"),
}


@pytest.mark.parametrize("kind", LOST)
def test_a_reference_whose_file_is_no_good_still_tells_a_different_picture(asked, kind):
    request_, now = asked(noise(1)), progress()
    LOST[kind](request_.references[0].picture)
    with pytest.raises(Concluded, match="no picture of both") as caught:
        compare_with_reference(noise(2), request_, now)
    assert caught.value.outcome is HealthOutcome.DIFFERENT_PICTURE
    assert now.comparison.side_by_side == ""
    assert not os.path.exists(request_.side_by_side)


def test_a_side_by_side_picture_that_cannot_be_written_changes_no_verdict(asked, tmp_path):
    request_ = asked(noise(1))
    (tmp_path / "pictures").write_text("a file in the way")
    with pytest.raises(Concluded, match="no picture of both") as caught:
        compare_with_reference(noise(2), request_, progress())
    assert caught.value.outcome is HealthOutcome.DIFFERENT_PICTURE


def test_where_none_is_asked_for_none_is_written(asked):
    with pytest.raises(Concluded, match="no picture of both was asked for"):
        compare_with_reference(noise(2), replace(asked(noise(1)), side_by_side=""), progress())
