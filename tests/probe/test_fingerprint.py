"""What is measured of a picture, and which distances two pictures have."""

import hashlib
from pathlib import Path

import pytest

numpy = pytest.importorskip("numpy")
Image = pytest.importorskip("PIL.Image")

from zimage_syncd.model.picture import FINGERPRINT_BYTES, SIMILAR_BELOW, Likeness  # noqa: E402 (after importorskip)
from zimage_syncd.model.picture_json import decode_reference  # noqa: E402
from zimage_syncd.probe.fingerprint import compare, distance, facts_of, pixels_of  # noqa: E402

pytestmark = pytest.mark.probe


def cloudy(seed, size=128):
    """Smooth spots of colour, as a model with random weights draws them."""
    coarse = numpy.random.default_rng(seed).random((8, 8, 3))
    return numpy.repeat(numpy.repeat(coarse, size // 8, 0), size // 8, 1).astype(numpy.float32)


def grainy(seed, size=128):
    return numpy.random.default_rng(seed).random((size, size, 3), dtype=numpy.float32)


def apart(one, other):
    return distance(facts_of(one).fingerprint, facts_of(other).fingerprint)


def test_means_and_deviations_are_those_of_each_channel():
    image = numpy.zeros((64, 64, 3), numpy.float32)
    image[:32, :, 0] = 1.0
    image[..., 1] = 0.25
    facts = facts_of(image)
    assert facts.mean == (0.5, 0.25, 0.0)
    assert facts.deviation == (0.5, 0.0, 0.0)


def test_the_digest_is_of_the_rounded_bytes_row_by_row():
    image = grainy(0, 64)
    expected = bytes(round(float(value) * 255) for value in image.astype(numpy.float64).reshape(-1))
    assert facts_of(image).pixels_sha256 == hashlib.sha256(expected).hexdigest()


def test_values_beyond_the_range_are_its_ends():
    image = numpy.full((64, 64, 3), 1.01, numpy.float32)
    image[0, 0] = -0.01
    assert pixels_of(image)[0, 0].tolist() == [0, 0, 0]
    assert pixels_of(image)[1, 1].tolist() == [255, 255, 255]


@pytest.mark.parametrize("size", [64, 80, 512])
def test_a_fingerprint_has_its_size_for_every_size_of_picture(size):
    assert len(facts_of(grainy(1, size)).fingerprint) == 2 * FINGERPRINT_BYTES


def test_the_first_byte_is_the_luma_of_the_upper_left_cell():
    image = numpy.zeros((64, 64, 3), numpy.float32)
    image[:4, :4, 1] = 1.0
    first = bytes.fromhex(facts_of(image).fingerprint)
    assert first[0] == round(0.587 * 255)
    assert first[1:256] == bytes(255)


def test_equal_pixels_are_the_same():
    assert compare(facts_of(cloudy(1)), facts_of(cloudy(1))) == (Likeness.SAME, 0.0)


@pytest.mark.parametrize("draw", [cloudy, grainy])
def test_what_rounding_changes_is_similar(draw):
    image = draw(1)
    rounded = (image * 255 + numpy.random.default_rng(2).uniform(-1.5, 1.5, image.shape)).clip(0, 255) / 255
    likeness, far = compare(facts_of(rounded), facts_of(image))
    assert likeness is Likeness.SIMILAR
    assert far < SIMILAR_BELOW / 2


DIFFERENT = {
    "another picture": lambda image: cloudy(2),
    "mirrored": lambda image: image[:, ::-1],
    "the negative": lambda image: 1 - image,
    "grey": lambda image: numpy.repeat(image.mean(axis=2, keepdims=True), 3, axis=2),
    "pale": lambda image: 0.5 + (image - 0.5) / 2,
    "grain over it": lambda image: 0.5 * image + 0.5 * grainy(3),
    "darker": lambda image: image * 0.8,
}


@pytest.mark.parametrize("kind", DIFFERENT)
def test_what_damage_makes_of_a_picture_is_different(kind):
    likeness, far = compare(facts_of(numpy.ascontiguousarray(DIFFERENT[kind](cloudy(1)))), facts_of(cloudy(1)))
    assert likeness is Likeness.DIFFERENT
    assert far >= SIMILAR_BELOW


def test_the_distance_grows_with_the_damage():
    found = [apart((1 - part) * cloudy(1) + part * cloudy(2), cloudy(1)) for part in (0.0, 0.1, 0.3, 0.6, 1.0)]
    assert found == sorted(found)
    assert found[0] == 0.0
    assert 0.5 < found[-1] < 0.9


def test_a_picture_and_its_negative_are_as_far_apart_as_can_be():
    assert apart(1 - cloudy(1), cloudy(1)) == pytest.approx(1.0, abs=0.02)


def test_pictures_of_pure_grain_are_told_apart_too():
    assert apart(grainy(1), grainy(2)) > 5 * SIMILAR_BELOW


def test_a_flat_picture_is_like_one_that_is_a_step_lighter():
    assert apart(numpy.full((64, 64, 3), 0.5), numpy.full((64, 64, 3), 0.5 + 0.04 / 255)) == 0.0
    assert apart(numpy.zeros((64, 64, 3)), numpy.ones((64, 64, 3))) == 1.0


def test_distance_is_symmetric():
    assert apart(cloudy(1), grainy(1)) == apart(grainy(1), cloudy(1))


@pytest.mark.parametrize("text", ["", "ab", "zz" * FINGERPRINT_BYTES])
def test_what_is_no_fingerprint_is_refused(text):
    with pytest.raises(ValueError, match=r"fingerprint|hex"):
        distance(text, "00" * FINGERPRINT_BYTES)


def test_a_picture_of_an_earlier_version_is_measured_as_it_was_then():
    """Whoever changes what is measured makes every reference that is kept a different picture."""
    fixture = Path(__file__).parents[1] / "fixtures/format-1-pictures"
    (document,), (file,) = fixture.rglob("*.json"), fixture.rglob("*.png")
    expected = decode_reference(document.read_bytes()).facts
    with Image.open(file) as opened:
        facts = facts_of(numpy.asarray(opened) / 255)
    assert (facts.fingerprint, facts.pixels_sha256) == (expected.fingerprint, expected.pixels_sha256)
    assert facts.mean == pytest.approx(expected.mean, abs=0.01)
