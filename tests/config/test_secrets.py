"""Addresses are shown without what could be a secret, also where they are malformed."""

from __future__ import annotations

import pytest

from zimage_syncd.config.schema import Config, Notify, Store, hide_secrets


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("/shared/model_cache", "/shared/model_cache"),
        ("s3://bucket/a/b", "s3://bucket/a/b"),
        ("s3://bucket/a@b", "s3://bucket/a@b"),
        ("file:///x/y", "file:///x/y"),
        ("sftp://host:22/x", "sftp://host:22/x"),
        ("sftp://[::1]:22/x", "sftp://[::1]:22/x"),
        ("sftp://user@host/x", "sftp://host/x"),
        ("sftp://user@host/a@b", "sftp://host/a@b"),
        ("sftp://user:secret@host/x", "sftp://host/x"),
        ("sftp://user:sec/ret@host/x", "sftp://host/x"),
        ("sftp://user:sec#ret@host/x", "sftp://host/x"),
        ("sftp://user:sec?ret@host/x", "sftp://host/x"),
        ("sftp://user:sec@ret@host/x", "sftp://host/x"),
        ("sftp://user:sec@r/et@host/x", "sftp://host/x"),
        ("sftp://user:secret", "sftp://(hidden)"),
        ("ftp:user:secret@host/x", "ftp:host/x"),
        ("https://host/x?token=secret", "https://host/x"),
        ("https://host/x#secret", "https://host/x"),
        ("simplecache::sftp://user:secret@host/x", "simplecache::sftp://host/x"),
        ("relative/path", "relative/path"),
    ],
)
def test_an_address_is_shown_without_secrets(url: str, shown: str) -> None:
    assert hide_secrets(url) == shown


def test_no_secret_is_in_a_representation() -> None:
    from zimage_syncd.config.schema import Cache

    stores = {"s": Store(url="sftp://u:secret@h/x", options={"password": "secret"}, endpoint_url="http://a:secret@h")}
    notify = Notify(urls=["tgram://secret"], healthcheck_url="https://hc/secret")
    config = Config(cache=Cache(dir="/x"), stores=stores, notify=notify)
    assert "secret" not in repr(config)
    assert "sftp://h/x" in repr(config)
