"""How an S3 store is reached: address, credentials, time limits; and the client made of them."""

from __future__ import annotations

import configparser
import os
import stat
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import boto3
import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, InvalidRegionError, ProfileNotFound
from botocore.loaders import Loader

from zimage_syncd.model.failures import ConfigInvalid, ConfigUntrusted, StoreDenied, StoreUrlInvalid

S3Client: TypeAlias = Any
"""A client of boto3; its methods are made at run time."""

_WANT_VIRTUAL = (".aliyuncs.com", ".myqcloud.com")
"""Services that refuse path style: help.aliyun.com/zh/oss/developer-reference/use-amazon-s3-sdks-to-access-oss."""


@dataclass(frozen=True, slots=True)
class S3Settings:
    """Everything that a configuration says of an S3 store."""

    bucket: str
    """Its name."""
    prefix: str = ""
    """What all keys begin with, without slashes at either end; empty: the whole bucket."""
    endpoint_url: str = ""
    """`https://host[:port]`; empty: AWS."""
    region: str = ""
    """Empty: from boto3's own configuration, else us-east-1."""
    addressing_style: str = "auto"
    """auto, path or virtual."""
    profile: str = ""
    """A profile of boto3's configuration, or of `credentials_file`."""
    credentials_file: str = ""
    """Absolute path of an INI file as AWS's tools use; empty: boto3's chain."""
    ca_bundle: str = ""
    """Absolute path of PEM certificates to trust instead of the system's."""
    access_key: str = field(default="", repr=False)
    """With `secret_key`, instead of all other ways."""
    secret_key: str = field(default="", repr=False)
    """Belongs to `access_key`."""
    session_token: str = field(default="", repr=False)
    """Of temporary credentials."""
    max_connections: int = 32
    """Kept open at once: as many as there are workers."""
    connect_timeout_s: float = 10
    """Until a connection stands."""
    read_timeout_s: float = 30
    """Between two bytes; a read then goes on with another connection."""
    max_attempts: int = 4
    """Of one request, the first included."""
    table: str = ""
    """What the configuration calls this store, such as `stores.bucket`; messages name its keys by it."""

    def __post_init__(self) -> None:
        """Refuses what could not work or would carry a secret into messages."""
        if not self.bucket:
            raise StoreUrlInvalid(self.key("url"), "s3:// names no bucket")
        if self.addressing_style not in {"auto", "path", "virtual"}:
            raise ConfigInvalid(
                self.key("addressing_style"), f"{self.addressing_style!r}, expected auto, path or virtual"
            )
        address = urlsplit(self.endpoint_url)
        if self.endpoint_url and (address.scheme not in {"http", "https"} or not address.hostname):
            raise ConfigInvalid(self.key("endpoint_url"), "expected https://HOST or http://HOST")
        if address.username is not None or address.query:
            raise ConfigInvalid(
                self.key("endpoint_url"), "holds credentials; put them into a profile or credentials_file"
            )

    def key(self, name: str) -> str:
        """A key as the configuration calls it."""
        return f"{self.table}.{name}" if self.table else name

    @property
    def boto_addressing(self) -> str:
        """What botocore is told: auto means virtual on AWS and where a service demands it, else path."""
        if self.addressing_style != "auto" or not self.endpoint_url:
            return self.addressing_style
        host = urlsplit(self.endpoint_url).hostname or ""
        return "virtual" if host.endswith(_WANT_VIRTUAL) else "path"


def open_client(settings: S3Settings) -> S3Client:
    """A boto3 client; safe to use from several threads.

    Raises:
        ConfigInvalid: a profile, file or address cannot be used.
        ConfigUntrusted: others may read or write the file of credentials.
        StoreDenied: the file of credentials is not there.
    """
    if settings.ca_bundle and not os.path.isfile(settings.ca_bundle):
        raise ConfigInvalid(settings.key("ca_bundle"), f"there is no file {settings.ca_bundle}")
    keys = _given_keys(settings)
    profile = settings.profile if settings.profile and not keys else None
    try:
        core = botocore.session.Session(profile=profile)
        core.register_component("data_loader", _S3Loader())
        session: Any = boto3.Session(botocore_session=core)
        region = settings.region or session.region_name or "us-east-1"
        return session.client(
            "s3",
            region_name=region,
            endpoint_url=settings.endpoint_url or None,
            verify=settings.ca_bundle or None,
            config=_client_config(settings),
            **keys,
        )
    except (BotoCoreError, ValueError) as error:
        raise ConfigInvalid(_blamed(error, settings), str(error)) from error


class _S3Loader(Loader):
    """Descriptions of services, as they come with botocore.

    botocore looks twice through the directories of its 400 services to say which there are: a fifth of a client's time.
    """

    def list_available_services(self, type_name: str) -> list[str]:  # noqa: ARG002 (the base's name)
        """The one that is needed."""
        return ["s3"]


def _blamed(error: Exception, settings: S3Settings) -> str:
    """What a person has to correct."""
    match error:
        case ProfileNotFound():
            return settings.key("profile") if settings.profile else "the environment's AWS_PROFILE"
        case InvalidRegionError():
            return settings.key("region")
    return settings.table or f"s3://{settings.bucket}"


def _client_config(settings: S3Settings) -> Config:
    for_s3: Any = {"addressing_style": settings.boto_addressing, "payload_signing_enabled": False}
    return Config(
        s3=for_s3,
        # boto3's default, a CRC32 as trailer, is refused by some servers; content has its own digests anyway.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        connect_timeout=settings.connect_timeout_s,
        read_timeout=settings.read_timeout_s,
        retries={"mode": "standard", "total_max_attempts": settings.max_attempts},
        max_pool_connections=settings.max_connections,
        tcp_keepalive=True,
    )


def _given_keys(settings: S3Settings) -> dict[str, str]:
    """Credentials that were named outright, as `Session.client` takes them; empty: boto3's chain finds them."""
    if settings.access_key:
        keys = (settings.access_key, settings.secret_key, settings.session_token)
    elif settings.credentials_file:
        keys = _keys_of_file(settings)
    else:
        return {}
    names = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
    return {name: value for name, value in zip(names, keys, strict=True) if value}


def _keys_of_file(settings: S3Settings) -> tuple[str, str, str]:
    path, profile, key = settings.credentials_file, settings.profile or "default", settings.key("credentials_file")
    parser = configparser.RawConfigParser()
    try:
        with open(path, encoding="utf-8") as file:
            _require_private(path, os.fstat(file.fileno()))
            parser.read_file(file)
    except OSError as error:
        raise StoreDenied(path, f"{key}: the credentials cannot be read: {error.strerror}") from error
    except (configparser.Error, UnicodeDecodeError):
        # The cause is left out: it quotes lines of the file.
        raise ConfigInvalid(key, f"{path} is not an INI file as AWS's tools use") from None
    try:
        section = parser[profile]
        keys = section["aws_access_key_id"], section["aws_secret_access_key"]
    except KeyError as error:
        wanted = f"[{profile}] with aws_access_key_id and aws_secret_access_key"
        raise ConfigInvalid(key, f"{path} has no section {wanted}") from error
    return (*keys, section.get("aws_session_token", ""))


def _require_private(path: str, status: os.stat_result) -> None:
    mode = stat.S_IMODE(status.st_mode)
    if mode & 0o077:
        raise ConfigUntrusted(path, f"mode {mode:04o}, expected 0600: others may use these credentials")
    if status.st_uid not in {0, os.geteuid()}:
        raise ConfigUntrusted(path, f"belongs to user {status.st_uid}, expected root or user {os.geteuid()}")
