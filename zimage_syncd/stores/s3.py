"""An object store on S3 and what speaks its protocol: AWS, MinIO, SeaweedFS, Aliyun OSS, Tencent COS, rclone.

boto3 is used low (ranged `get_object` into a small buffer, `upload_part` from a window of the file), never
through s3transfer. Nothing depends on conditional writes; they are used where a trial proved that they work.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from botocore.exceptions import ClientError

from zimage_syncd.digest import md5_base64
from zimage_syncd.model.failures import Failure, StoreBroken
from zimage_syncd.stores import keys
from zimage_syncd.stores.object_store import ObjectInfo, OpenUpload
from zimage_syncd.stores.s3_errors import code_of, status_of, translated
from zimage_syncd.stores.s3_multipart import Multipart
from zimage_syncd.stores.s3_read import Answer, Patience, RangeRead, read_whole
from zimage_syncd.stores.s3_recipe import recipe_of
from zimage_syncd.stores.s3_settings import S3Settings, open_client
from zimage_syncd.stores.s3_upload import S3Upload, abort_multipart

_REFUSED = (409, 412)
"""What `If-None-Match: *` gives where somebody creates the object just now, and where it is there
(docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html)."""


class S3Store:
    """Objects of one bucket below one prefix.

    Args:
        settings: where, and with which credentials.
        sleep: waits for so many seconds between attempts.
    """

    def __init__(self, settings: S3Settings, sleep: Callable[[float], None] = time.sleep) -> None:
        self._settings = settings
        self._sleep = sleep
        self._bucket = settings.bucket
        stripped = settings.prefix.strip("/")
        self._prefix = f"{keys.checked_key(stripped)}/" if stripped else ""
        self._client = open_client(settings)
        self._multipart = Multipart(self._client, self._bucket)
        self._conditional: bool | None = None
        self._lock = threading.Lock()
        self._setbacks = 0

    def describe(self) -> str:
        """Its address without secrets, for people."""
        at = f" at {self._settings.endpoint_url}" if self._settings.endpoint_url else ""
        return f"s3://{self._bucket}/{self._prefix}".rstrip("/") + at

    def check(self) -> None:
        """Makes sure that it can be reached (see `ObjectStore.check`)."""
        self._glance()

    def get(self, key: str, max_bytes: int) -> bytes:
        """A whole small object (see `ObjectStore.get`)."""
        whole = self._key(key)
        return read_whole(self._client, self._bucket, whole, max_bytes, self._patience(whole))

    def read(self, key: str, offset: int, length: int, buffer: memoryview) -> Iterator[memoryview]:
        """Yields a range of an object (see `ObjectStore.read`)."""
        whole = self._key(key)
        return RangeRead(self._client, self._bucket, whole, self._patience(whole)).pieces(offset, length, buffer)

    def put(self, key: str, data: bytes) -> None:
        """Writes or replaces a small object."""
        with self._translated(key):
            self._client.put_object(Bucket=self._bucket, Key=self._key(key), Body=data, ContentMD5=md5_base64(data))

    def create(self, key: str, data: bytes) -> bool:
        """Writes an object that must not exist; False where one is there (see `ObjectStore.create`)."""
        if self.proves_conditional_create():
            return self._create_conditionally(key, data)
        if self.head(key) is not None:
            return False
        self.put(key, data)
        return True

    def proves_conditional_create(self) -> bool:
        """Whether `If-None-Match: *` works here: found out once, by creating a unique object twice."""
        if self._conditional is None:
            probe = f"conditional-create-probe-{uuid.uuid4().hex}"
            try:
                first = self._create_conditionally(probe, b"first")
                self._conditional = first and not self._create_conditionally(probe, b"second")
                self.delete(probe)
            except Failure:
                # Refused (Aliyun OSS answers 501), or no answer: the unconditional way tells which.
                return False
        return self._conditional

    def head(self, key: str) -> ObjectInfo | None:
        """Size and time of an object, or None."""
        with self._translated(key):
            try:
                found = self._client.head_object(Bucket=self._bucket, Key=self._key(key))
            except ClientError as error:
                if status_of(error) == 404:
                    return None
                # The answer to a HEAD has no body, so it cannot say more than its status; a listing can.
                self.check()
                raise
            return ObjectInfo(key, int(found["ContentLength"]), found["LastModified"].astimezone(UTC))

    def scan(self, prefix: str) -> Iterator[ObjectInfo]:
        """All objects whose key begins with `prefix`, in order of their keys.

        The whole listing is read first: not every server sorts by code points, and some skip objects when others
        are deleted between two pages.
        """
        start = self._prefix + keys.checked_prefix(prefix)
        found = []
        with self._translated(prefix):
            for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=start):
                for item in page.get("Contents", ()):
                    key = item["Key"][len(self._prefix) :]
                    if keys.is_key(key):
                        found.append(ObjectInfo(key, int(item["Size"]), item["LastModified"].astimezone(UTC)))
        return iter(sorted(found, key=lambda info: info.key))

    def delete(self, key: str) -> None:
        """Removes an object if it is there."""
        with self._translated(key):
            try:
                self._client.delete_object(Bucket=self._bucket, Key=self._key(key))
            except ClientError as error:
                if code_of(error) != "NoSuchKey":
                    raise

    def now(self) -> datetime:
        """The server's clock, from the Date header of a small answer."""
        header = self._glance()["ResponseMetadata"]["HTTPHeaders"].get("date", "")
        try:
            return parsedate_to_datetime(header).astimezone(UTC)
        except ValueError as error:
            raise StoreBroken(self.describe(), f"the answer's Date is {header[:60]!r}") from error

    def begin_upload(self, key: str, size_bytes: int) -> S3Upload:
        """Begins a multipart upload."""
        return self._multipart.begin(self._key(key), size_bytes)

    def resume_upload(self, key: str, size_bytes: int, upload_id: str, marks: Mapping[int, str]) -> S3Upload | None:
        """Goes on with a multipart upload (see `Resuming`)."""
        return self._multipart.resume(self._key(key), size_bytes, upload_id, marks)

    def open_uploads(self, prefix: str) -> list[OpenUpload]:
        """Uploads under `prefix` that nobody has completed or aborted.

        MinIO lists them only where `prefix` is an object's whole key.
        """
        found = self._multipart.opened(self._prefix + keys.checked_prefix(prefix))
        return [OpenUpload(each.key[len(self._prefix) :], each.id, each.started_at) for each in found]

    def abort_upload(self, upload: OpenUpload) -> None:
        """Gives an upload up, whoever began it."""
        abort_multipart(self._client, self._bucket, self._key(upload.key), upload.id)

    def sweep_own(self) -> int:
        """Nothing: S3 shows no owner; an upload that was begun is in the ledger, and a small object is put whole."""
        return 0

    def local_path(self, key: str) -> str | None:  # noqa: ARG002 (the protocol's name)
        """S3 has no files."""
        return None

    def _create_conditionally(self, key: str, data: bytes) -> bool:
        with self._translated(key):
            try:
                self._client.put_object(
                    Bucket=self._bucket,
                    Key=self._key(key),
                    Body=data,
                    ContentMD5=md5_base64(data),
                    IfNoneMatch="*",
                )
            except ClientError as error:
                if status_of(error) not in _REFUSED:
                    raise
                # Where botocore repeated the request, the first one may have done it and lost its answer.
                repeated = error.response["ResponseMetadata"].get("RetryAttempts", 0) > 0
                return repeated and self._holds(key, data)
        return True

    def _holds(self, key: str, data: bytes) -> bool:
        found = self.head(key)
        return found is not None and found.size_bytes == len(data) and self.get(key, len(data)) == data

    def _glance(self) -> Answer:
        """The smallest listing: also allowed where the credentials see this prefix only."""
        with translated(self.describe()):
            return self._client.list_objects_v2(Bucket=self._bucket, Prefix=self._prefix, MaxKeys=1)

    def _key(self, key: str) -> str:
        return self._prefix + keys.checked_key(key)

    def _translated(self, key: str) -> AbstractContextManager[None]:
        return translated(f"s3://{self._bucket}/{self._prefix}{key}")

    def recipe(self) -> bytes:
        """What another process opens this store by (see `object_store.Reopenable`)."""
        return recipe_of(self._settings)

    def address_of(self, key: str) -> str:
        """How that process calls an object."""
        return self._key(key)

    def setbacks(self) -> int:
        """How often a read was asked to slow down, timed out or broke off (see `ports.Strained`)."""
        return self._setbacks

    def _note_setback(self) -> None:
        with self._lock:
            self._setbacks += 1

    def _patience(self, whole_key: str) -> Patience:
        return Patience(f"s3://{self._bucket}/{whole_key}", self._sleep, self._note_setback)
