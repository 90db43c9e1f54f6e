"""How a store on S3 is addressed, and where its credentials may come from."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from botocore.awsrequest import AWSPreparedRequest
from botocore.loaders import Loader

from tests.support.s3_server import S3Server
from zimage_syncd.model.failures import ConfigInvalid, ConfigUntrusted, StoreDenied, StoreUrlInvalid, UnsafePath
from zimage_syncd.stores import s3_settings
from zimage_syncd.stores.s3 import S3Store
from zimage_syncd.stores.s3_settings import S3Settings, open_client


class _Asked(Exception):
    """Holds the address that a request would have gone to."""


@pytest.fixture(autouse=True)
def no_other_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.mark.parametrize(
    ("endpoint", "style", "expected"),
    [
        ("https://oss-cn-hangzhou.aliyuncs.com", "auto", "virtual"),
        ("https://cos.ap-guangzhou.myqcloud.com", "auto", "virtual"),
        ("https://aliyuncs.com.example.org", "auto", "path"),
        ("http://127.0.0.1:9000", "auto", "path"),
        ("http://127.0.0.1:9000", "virtual", "virtual"),
        ("https://oss-cn-hangzhou.aliyuncs.com", "path", "path"),
        ("", "auto", "auto"),
    ],
)
def test_auto_addressing_follows_the_endpoint(endpoint: str, style: str, expected: str) -> None:
    assert S3Settings("bucket", endpoint_url=endpoint, addressing_style=style).boto_addressing == expected


@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [
        ("https://oss-cn-hangzhou.aliyuncs.com", "https://my-bucket.oss-cn-hangzhou.aliyuncs.com/k"),
        ("https://cos.ap-guangzhou.myqcloud.com", "https://my-bucket.cos.ap-guangzhou.myqcloud.com/k"),
        ("https://minio.example.org:9000", "https://minio.example.org:9000/my-bucket/k"),
        ("", "https://my-bucket.s3.eu-west-1.amazonaws.com/k"),
    ],
)
def test_requests_go_where_each_service_wants_them(endpoint: str, expected: str) -> None:
    settings = S3Settings("my-bucket", endpoint_url=endpoint, region="eu-west-1", access_key="k", secret_key="s")
    client = open_client(settings)

    def instead(request: AWSPreparedRequest, **_: object) -> None:
        raise _Asked(request.url)

    client.meta.events.register("before-send.s3", instead)
    with pytest.raises(_Asked) as asked:
        client.head_object(Bucket="my-bucket", Key="k")
    assert str(asked.value) == expected


def test_no_secret_is_in_the_repr() -> None:
    settings = S3Settings("bucket", access_key="AKIA-hidden", secret_key="hidden-too", session_token="hidden-three")
    assert "hidden" not in repr(settings) + str(settings)


@pytest.mark.parametrize(
    ("values", "expected", "said"),
    [
        ({"bucket": ""}, StoreUrlInvalid, "no bucket"),
        ({"addressing_style": "dotted"}, ConfigInvalid, "dotted"),
        ({"endpoint_url": "oss.aliyuncs.com"}, ConfigInvalid, "https://HOST"),
        ({"endpoint_url": "ftp://host"}, ConfigInvalid, "https://HOST"),
        ({"endpoint_url": "https://me:hunter2@host"}, ConfigInvalid, "credentials"),
    ],
)
def test_what_cannot_work_is_refused_at_once(values: dict[str, str], expected: type[Exception], said: str) -> None:
    with pytest.raises(expected, match=said) as caught:
        S3Settings(**{"bucket": "bucket", **values})
    assert "hunter2" not in str(caught.value)


def test_a_prefix_cannot_leave_the_bucket_and_loses_its_slashes() -> None:
    keys = {"access_key": "k", "secret_key": "s"}
    assert S3Store(S3Settings("bucket", "/a/b/", **keys)).describe() == "s3://bucket/a/b"
    with pytest.raises(UnsafePath):
        S3Store(S3Settings("bucket", "a/../b", **keys))


def credentials(tmp_path: Path, server: S3Server, profile: str = "default", mode: int = 0o600) -> str:
    path = tmp_path / "credentials"
    path.write_text(
        f"[{profile}]\naws_access_key_id = {server.access_key}\naws_secret_access_key = {server.secret_key}\n"
    )
    path.chmod(mode)
    return str(path)


@pytest.mark.parametrize("profile", ["default", "backup"])
def test_a_file_of_credentials_opens_the_store(
    seaweed: S3Server, seaweed_bucket: str, tmp_path: Path, profile: str
) -> None:
    file = credentials(tmp_path, seaweed, profile)
    settings = S3Settings(
        seaweed_bucket,
        endpoint_url=seaweed.endpoint_url,
        credentials_file=file,
        profile="" if profile == "default" else profile,
    )
    S3Store(settings).check()


def test_a_named_file_counts_more_than_the_environment(
    seaweed: S3Server, seaweed_bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "someone-else")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    file = credentials(tmp_path, seaweed)
    S3Store(S3Settings(seaweed_bucket, endpoint_url=seaweed.endpoint_url, credentials_file=file)).check()


def test_a_profile_of_botos_own_configuration_opens_the_store(
    seaweed: S3Server, seaweed_bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", credentials(tmp_path, seaweed, "backup"))
    S3Store(S3Settings(seaweed_bucket, endpoint_url=seaweed.endpoint_url, profile="backup")).check()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_file_of_credentials_that_others_may_read_is_refused(seaweed: S3Server, tmp_path: Path, mode: int) -> None:
    settings = S3Settings("bucket", credentials_file=credentials(tmp_path, seaweed, mode=mode))
    with pytest.raises(ConfigUntrusted, match=f"{mode:04o}, expected 0600"):
        S3Store(settings)


@pytest.mark.parametrize("text", ["no ini hunter2", "[other]\naws_access_key_id=hunter2\n", "[default]\nx=hunter2\n"])
def test_a_file_without_the_credentials_is_refused_without_quoting_it(tmp_path: Path, text: str) -> None:
    path = tmp_path / "credentials"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(ConfigInvalid, match="credentials") as caught:
        S3Store(S3Settings("bucket", credentials_file=str(path)))
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in repr(caught.value.__cause__)


def test_a_file_of_credentials_that_is_absent_denies(tmp_path: Path) -> None:
    with pytest.raises(StoreDenied, match="No such file"):
        S3Store(S3Settings("bucket", credentials_file=str(tmp_path / "absent")))


def test_a_profile_that_nobody_wrote_is_refused() -> None:
    with pytest.raises(ConfigInvalid, match="nobody-wrote-this") as caught:
        S3Store(S3Settings("bucket", profile="nobody-wrote-this", table="stores.b"))
    assert caught.value.subject == "stores.b.profile"


def test_a_profile_of_the_environment_is_told_from_one_of_the_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody-wrote-this")
    with pytest.raises(ConfigInvalid, match="AWS_PROFILE: The config profile"):
        S3Store(S3Settings("bucket", table="stores.b"))


def test_a_region_that_is_none_is_named_by_its_key() -> None:
    with pytest.raises(ConfigInvalid, match=r"stores\.b\.region"):
        S3Store(S3Settings("bucket", region="not a region", table="stores.b"))


def test_a_ca_bundle_that_is_absent_is_refused() -> None:
    with pytest.raises(ConfigInvalid, match=r"stores\.b\.ca_bundle: there is no file /absent\.pem"):
        S3Store(S3Settings("bucket", ca_bundle="/absent.pem", access_key="k", secret_key="s", table="stores.b"))


def test_no_credentials_at_all_are_denied_before_anything_is_sent(seaweed: S3Server, seaweed_bucket: str) -> None:
    store = S3Store(S3Settings(seaweed_bucket, endpoint_url=seaweed.endpoint_url))
    with pytest.raises(StoreDenied, match="no credentials"):
        store.check()


def test_a_client_is_made_without_a_search_for_all_services(monkeypatch: pytest.MonkeyPatch) -> None:
    """botocore's own search lists every service's directories for each kind of description."""
    searched: list[str] = []

    def search(_loader: Loader, type_name: str) -> list[str]:
        searched.append(type_name)
        return ["s3"]

    # One that has read nothing yet.
    monkeypatch.setattr(s3_settings, "_S3Loader", type(s3_settings._S3Loader()))
    monkeypatch.setattr(Loader, "list_available_services", search)
    client = open_client(S3Settings("bucket", region="us-east-1"))
    assert client.can_paginate("list_objects_v2")
    assert searched == []
