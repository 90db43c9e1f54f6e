"""Every key as a variable, read by its type; what names no key is refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from zimage_syncd.config import Config
from zimage_syncd.config.environment import PREFIX
from zimage_syncd.config.kinds import kind_of
from zimage_syncd.config.schema import SECTIONS, Store
from zimage_syncd.model.failures import ConfigInvalid

Load = Callable[..., Config]

TEXTS = {
    "cache.dir": ("/mnt/other", "/mnt/other"),
    "cache.links": ("/a,/b", ["/a", "/b"]),
    "cache.repos": ('["a/b", "datasets/c/d"]', ["a/b", "datasets/c/d"]),
    "restore.order": (" huggingface , ", ["huggingface"]),
    "backup.to": ("", []),
    "backup.settle_s": ("2.5", 2.5),
    "backup.upload_rate": ("200MB/s", "200MB/s"),
    "verify.quick": ("", ""),
    "verify.repair": ("False", False),
    "verify.deep_fraction": ("0.2", 0.2),
    "health.size_px": ("256", 256),
    "health.level": ("files", "files"),
    "health.after": ("reset", ["reset"]),
    "daemon.http": ("", ""),
    "notify.urls": ('["x://a,b"]', ["x://a,b"]),
}


@pytest.mark.parametrize("key", TEXTS)
def test_a_variable_is_read_by_its_key_s_type(load: Load, key: str) -> None:
    text, value = TEXTS[key]
    section, name = key.split(".")
    config = load("", **{f"{PREFIX}{section}__{name}".upper(): text})
    assert getattr(getattr(config, section), name) == value


@pytest.mark.parametrize(
    ("text", "value"), [("true", True), ("1", True), ("Yes", True), ("false", False), ("0", False), ("OFF", False)]
)
def test_switches_are_words_or_digits(load: Load, text: str, *, value: bool) -> None:
    assert load("[verify]\nrepair = true", ZIMAGE_SYNCD__VERIFY__REPAIR=text).verify.repair is value


def test_a_variable_wins_over_the_file_and_leaves_the_rest(load: Load) -> None:
    config = load("[health]\nsteps = 3\nsize_px = 128\n", ZIMAGE_SYNCD__HEALTH__STEPS="7")
    assert (config.health.steps, config.health.size_px) == (7, 128)


def test_stores_may_come_from_variables_alone_and_keys_hold_underscores(load: Load) -> None:
    config = load(
        "",
        ZIMAGE_SYNCD__STORES__MY_BUCKET__URL="s3://models/x",
        ZIMAGE_SYNCD__STORES__MY_BUCKET__ENDPOINT_URL="http://127.0.0.1:1",
    )
    assert list(config.stores) == ["my_bucket"]
    assert config.stores["my_bucket"].endpoint_url == "http://127.0.0.1:1"
    assert config.backup.to == ["my_bucket"]


def test_a_variable_adds_to_a_store_of_the_file(load: Load) -> None:
    config = load('[stores.b]\nurl = "sftp://h/x"\n', zimage_syncd__stores__B__options='{"port": 2222}')
    assert (config.stores["b"].url, config.stores["b"].options) == ("sftp://h/x", {"port": 2222})


@pytest.mark.parametrize(
    ("variable", "said"),
    [
        ("ZIMAGE_SYNCD__VERFIY__REPAIR", "did you mean ZIMAGE_SYNCD__VERIFY__REPAIR?"),
        ("ZIMAGE_SYNCD__VERIFY__REPIAR", "did you mean repair?"),
        ("ZIMAGE_SYNCD__VERIFY", "expected ZIMAGE_SYNCD__VERIFY__KEY"),
        ("ZIMAGE_SYNCD__VERIFY__REPAIR__NOW", "expected ZIMAGE_SYNCD__VERIFY__KEY"),
        ("ZIMAGE_SYNCD__STORES__B", "expected ZIMAGE_SYNCD__STORES__NAME__KEY"),
        ("ZIMAGE_SYNCD__STORES__B__ULR", "did you mean url?"),
        ("ZIMAGE_SYNCD__SOURCE", "unknown variable"),
    ],
)
def test_variables_that_name_no_key_are_refused(load: Load, variable: str, said: str) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        load("", **{variable: "1"})
    assert caught.value.subject == variable
    assert said in caught.value.detail


@pytest.mark.parametrize(
    ("variable", "text", "said"),
    [
        ("ZIMAGE_SYNCD__VERIFY__REPAIR", "maybe", "true or false, found 'maybe'"),
        ("ZIMAGE_SYNCD__HEALTH__STEPS", "4.5", "a whole number, found '4.5'"),
        ("ZIMAGE_SYNCD__VERIFY__DEEP_FRACTION", "all", "a number, found 'all'"),
        ("ZIMAGE_SYNCD__HEALTH__LEVEL", "GENERATE", "one of auto, files, load, generate"),
        ("ZIMAGE_SYNCD__CACHE__REPOS", "[1", "a list of texts"),
        ("ZIMAGE_SYNCD__CACHE__REPOS", "[1]", "a list of texts"),
        ("ZIMAGE_SYNCD__STORES__B__OPTIONS", '{"password": "secret-word"', "a table"),
        ("ZIMAGE_SYNCD__STORES__B__OPTIONS", '["secret-word"]', "a table"),
    ],
)
def test_values_of_another_type_are_refused_without_secrets(load: Load, variable: str, text: str, said: str) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        load("", **{variable: text})
    assert caught.value.subject == variable
    assert said in caught.value.detail
    assert "secret-word" not in f"{caught.value} {caught.value.__cause__!r}"


@pytest.mark.parametrize("text", ["stores = 3", "stores.b = 3", "verify = 3"])
def test_a_variable_for_what_is_no_table_in_the_file_is_refused(load: Load, text: str) -> None:
    whole = f'{text}\n[cache]\ndir = "/x"\n'
    with pytest.raises(ConfigInvalid, match="no table"):
        load(whole, whole=True, ZIMAGE_SYNCD__STORES__B__URL="s3://b", ZIMAGE_SYNCD__VERIFY__REPAIR="1")


def test_two_variables_that_differ_only_in_case_are_ambiguous(load: Load) -> None:
    with pytest.raises(ConfigInvalid, match="keep one of them"):
        load("", ZIMAGE_SYNCD__HEALTH__STEPS="4", zimage_syncd__health__steps="5")


@pytest.mark.parametrize("section", [*SECTIONS.values(), Store])
def test_every_key_can_be_read_from_a_text(section: type) -> None:
    """A key of a type that `kinds` does not know would be refused as a variable only when somebody sets it."""
    from zimage_syncd.config.kinds import expected, fits, read_text

    texts = {"a whole number": "1", "a number": "1", "true or false": "1", "text": "x"}
    for key in section.__struct_fields__:
        kind = kind_of(section, key)
        words = expected(kind)
        text = texts.get(words) or ("{}" if words.startswith("a table") else words.split(" of ")[-1].split(", ")[0])
        assert fits(kind, read_text(kind, text)), key
