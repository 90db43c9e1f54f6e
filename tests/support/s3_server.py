"""A real S3 server that tests talk to, whichever program it is."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field, replace
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from zimage_syncd.stores.s3_settings import S3Settings


@dataclass(frozen=True)
class S3Server:
    """Where a server listens and who may do what there."""

    endpoint_url: str
    access_key: str
    secret_key: str = field(repr=False)
    denied_access_key: str = ""
    """Known to the server and allowed nothing; empty: the server has no such user."""
    denied_secret_key: str = field(default="", repr=False)

    def make_bucket(self) -> str:
        """Makes a new, empty bucket and returns its name."""
        name = f"bucket-{uuid.uuid4().hex[:12]}"
        self.client().create_bucket(Bucket=name)
        return name

    def settings(self, bucket: str, prefix: str = "", **others: Any) -> S3Settings:
        """How a store reaches a bucket as its owner; short time limits."""
        mine = S3Settings(
            bucket=bucket,
            prefix=prefix,
            endpoint_url=self.endpoint_url,
            access_key=self.access_key,
            secret_key=self.secret_key,
            connect_timeout_s=5,
            read_timeout_s=20,
        )
        return replace(mine, **others)

    def client(self) -> Any:
        """A boto3 client as the owner, without patience."""
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint_url,
            region_name="us-east-1",
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            config=Config(retries={"total_max_attempts": 1}, connect_timeout=2, read_timeout=10),
        )

    def answers(self) -> bool:
        """Whether objects can be written."""
        try:
            name = self.make_bucket()
            self.client().put_object(Bucket=name, Key="ready", Body=b"yes")
        except (BotoCoreError, ClientError):
            return False
        return True
