"""Whether a picture is one, and what is kept of it."""

import os

import pytest

numpy = pytest.importorskip("numpy")
Image = pytest.importorskip("PIL.Image")

from zimage_syncd.model.health import HealthOutcome  # noqa: E402 (numpy and Pillow come with the probe extra)
from zimage_syncd.probe import picture  # noqa: E402
from zimage_syncd.probe.conclusion import Concluded  # noqa: E402

pytestmark = pytest.mark.probe


def noise(size=64):
    return numpy.random.default_rng(0).random((size, size, 3), dtype=numpy.float32)


def with_one(value):
    image = noise()
    image[3, 4, 1] = value
    return image


def test_noise_is_a_picture():
    picture.judge(noise(), 64)


def test_a_dark_picture_with_a_little_light_is_a_picture():
    image = numpy.zeros((64, 64, 3), numpy.float32)
    image[20:30, 20:30] = 0.5
    picture.judge(image, 64)


WRONG = {
    "black": (numpy.zeros((64, 64, 3), numpy.float32), "one colour"),
    "grey": (numpy.full((64, 64, 3), 0.5, numpy.float32), "one colour"),
    "grey with rounding": (0.5 + noise() / 256, "one colour"),
    "one NaN": (with_one(numpy.nan), "1 of 12288 values are NaN or infinite"),
    "one infinity": (with_one(numpy.inf), "1 of 12288 values are NaN or infinite"),
    "smaller": (noise(48), r"expected an array of \(64, 64, 3\), found \(48, 48, 3\)"),
    "no colours": (noise()[..., 0], r"found \(64, 64\)"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_no_model_draws_is_a_wrong_picture(kind):
    image, expected = WRONG[kind]
    with pytest.raises(Concluded) as caught:
        picture.judge(image, 64)
    assert caught.value.outcome is HealthOutcome.WRONG_PICTURE
    assert caught.match(expected)


def test_the_file_holds_the_pixels_and_what_made_them(tmp_path):
    path = tmp_path / "new" / "picture.png"
    image = noise()
    picture.save(image, str(path), {"prompt": "灯塔 on a cliff", "seed": "42"})
    with Image.open(path) as saved:
        assert saved.format == "PNG"
        assert saved.text == {"prompt": "灯塔 on a cliff", "seed": "42"}
        assert numpy.abs(numpy.asarray(saved) / 255 - image).max() <= 0.5 / 255 + 1e-6
    assert os.listdir(path.parent) == ["picture.png"]


def test_an_older_picture_is_replaced(tmp_path):
    path = tmp_path / "picture.png"
    path.write_bytes(b"older")
    picture.save(noise(), str(path), {})
    assert path.read_bytes().startswith(b"\x89PNG")


def test_where_it_cannot_be_written_nothing_is_left(tmp_path):
    taken = tmp_path / "picture.png"
    taken.mkdir()
    with pytest.raises(OSError, match="directory"):
        picture.save(noise(), str(taken), {})
    assert os.listdir(tmp_path) == ["picture.png"]
