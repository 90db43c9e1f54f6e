"""The service's log: its three forms, no secret in any of them, and no name that commands a terminal."""

from __future__ import annotations

import json

import pytest

from zimage_syncd.logs import open_log

FORMS = ["console", "json", "journald"]

SECRETS: list[dict[str, object]] = [
    {"token": "hunter2"},
    {"aws_secret_access_key": "hunter2"},
    {"Authorization": "hunter2"},
    {"url": "s3://user:hunter2@bucket/x"},
    {"detail": "cannot open sftp://user:hunter2@host/x: refused"},
    {"evidence": ["s3://user:hunter2@bucket"]},
    {"links": {"a": {"password": "hunter2"}, "b": ("https://hunter2@host",)}},
    {"detail": "GET https://h/x?X-Amz-Signature=hunter2&X-Amz-Credential=hunter2&x=1"},
    {"detail": "Authorization: AWS4-HMAC-SHA256 Credential=hunter2"},
    {"detail": "{'authorization': 'Bearer hunter2'}"},
    {"detail": "Bearer hunter2"},
    {"detail": "secret_key='hunter2'"},
    {"detail": 'said {"client_token": "hunter2"}'},
    {"detail": "password=hunter2"},
    {"detail": "hf_hunter2hunter2"},
    {"error": ValueError("sftp://user:hunter2@host")},
]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("fields", SECRETS, ids=str)
def test_no_secret_reaches_the_log(capsys: pytest.CaptureFixture[str], form: str, fields: dict[str, object]) -> None:
    open_log(form).info("something happened", **fields)
    said = capsys.readouterr().err
    assert "something happened" in said
    assert "hunter2" not in said
    assert "(hidden)" in said


@pytest.mark.parametrize("form", FORMS)
def test_no_secret_is_in_a_traceback(capsys: pytest.CaptureFixture[str], form: str) -> None:
    log = open_log(form)
    try:
        raise ValueError("sftp://user:hunter2@host: password='hunter2'")
    except ValueError:
        log.exception("job failed")
    said = capsys.readouterr().err
    assert "ValueError" in said
    assert "hunter2" not in said


@pytest.mark.parametrize(
    "detail",
    [
        "tokenizer: config is missing",
        "tokenizer/tokenizer.json: expected 5 bytes, found 4",
        "s3://bucket/a@b",
        "org/name@main (huggingface)",
    ],
)
def test_what_is_no_secret_stays(capsys: pytest.CaptureFixture[str], detail: str) -> None:
    open_log("json").info("finding", detail=detail, tokenizer=detail, count=3, ratio=0.5, mended=True, none=None)
    event = json.loads(capsys.readouterr().err)
    assert (event["detail"], event["tokenizer"]) == (detail, detail)
    assert (event["count"], event["ratio"], event["mended"], event["none"]) == (3, 0.5, True, None)


def test_lists_and_tables_stay_lists_and_tables(capsys: pytest.CaptureFixture[str]) -> None:
    open_log("json").info("disks looked at", links={"/a": "good", "token": "x"}, evidence=("one", ["two", 3]))
    event = json.loads(capsys.readouterr().err)
    assert event["links"] == {"/a": "good", "token": "(hidden)"}
    assert event["evidence"] == ["one", ["two", 3]]


@pytest.mark.parametrize("form", FORMS)
def test_names_cannot_command_a_terminal_or_forge_a_line(capsys: pytest.CaptureFixture[str], form: str) -> None:
    open_log(form).warning("finding", subject="a\x1b[2J\n<0>forged", nested=["b\x1b[2J"])
    said = capsys.readouterr().err
    assert "\x1b[2J" not in said
    assert len(said.splitlines()) == 1


def test_journald_has_the_priority_and_not_the_time(capsys: pytest.CaptureFixture[str]) -> None:
    log = open_log("journald")
    log.info("started")
    log.error("job failed", job="deep", detail="two words")
    assert capsys.readouterr().err == "<6>started\n<3>job failed job=deep detail='two words'\n"


def test_details_are_told_only_when_asked(capsys: pytest.CaptureFixture[str]) -> None:
    open_log("json").debug("detail")  # type: ignore[attr-defined]
    assert capsys.readouterr().err == ""
    open_log("json", verbose=True).debug("detail")  # type: ignore[attr-defined]
    assert json.loads(capsys.readouterr().err)["level"] == "debug"


def test_the_form_follows_the_place(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "8:1")
    open_log("auto").info("started")
    assert capsys.readouterr().err == "<6>started\n"
    monkeypatch.delenv("JOURNAL_STREAM")
    open_log("auto").info("started")
    assert json.loads(capsys.readouterr().err)["event"] == "started"
