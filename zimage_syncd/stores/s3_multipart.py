"""Multipart uploads of a bucket: begun, gone on with, listed."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from datetime import UTC

from botocore.exceptions import ClientError

from zimage_syncd.model.failures import StoreBroken
from zimage_syncd.stores.object_store import OpenUpload
from zimage_syncd.stores.parts import Parts
from zimage_syncd.stores.s3_errors import status_of, translated
from zimage_syncd.stores.s3_part import mark_checksums
from zimage_syncd.stores.s3_settings import S3Client
from zimage_syncd.stores.s3_upload import S3Upload

_UNKNOWN = (400, 501)
"""What servers answer to a header that they do not implement."""

_NO_PARTS = (400, 403, 404, 405, 501)
"""What they answer where an upload is gone (NoSuchUpload), or where they list no parts, or not to these credentials
(AWS wants s3:ListMultipartUploadParts for it, and no other permission of a backup)."""


class Multipart:
    """Begins uploads, and goes on with them.

    Their parts have a CRC-32 with them where a trial proved that the server checks it; the trial is made once, before
    the first upload.

    Args:
        client: of boto3.
        bucket: its name.
    """

    def __init__(self, client: S3Client, bucket: str) -> None:
        self._client = client
        self._bucket = bucket
        self._checks_crc32: bool | None = None
        self._trial = threading.Lock()

    def begin(self, key: str, size_bytes: int) -> S3Upload:
        """Begins an upload of an object.

        Args:
            key: the whole key, prefix included.
            size_bytes: of the whole object.
        """
        with self._trial:
            if self._checks_crc32 is None:
                self._checks_crc32 = self._try(key)
        upload = self._begin(key, size_bytes, with_crc32=self._checks_crc32)
        if upload is None:
            raise StoreBroken(f"s3://{self._bucket}/{key}", "no upload with checksums can be begun any more")
        return upload

    def resume(self, key: str, size_bytes: int, upload_id: str, marks: Mapping[int, str]) -> S3Upload | None:
        """Goes on with an upload; None where it is gone, or has none of the parts.

        Args:
            key: the whole key, prefix included.
            size_bytes: of the whole object.
            upload_id: the server's name for the upload.
            marks: of the parts that were sent, by number.
        """
        with_crc32 = mark_checksums(marks.values())
        if with_crc32 is None:
            return None
        upload = S3Upload(self._client, self._bucket, key, upload_id, Parts.of(key, size_bytes), with_crc32=with_crc32)
        with translated(f"s3://{self._bucket}/{key}"):
            try:
                upload.find(marks)
            except ClientError as error:
                if status_of(error) not in _NO_PARTS:
                    raise
        return upload if upload.there() else None

    def opened(self, prefix: str) -> list[OpenUpload]:
        """Uploads that nobody has completed or aborted, with whole keys.

        Args:
            prefix: of whole keys.
        """
        found: list[OpenUpload] = []
        with translated(f"s3://{self._bucket}/{prefix}"):
            pages = self._client.get_paginator("list_multipart_uploads").paginate(Bucket=self._bucket, Prefix=prefix)
            for page in pages:
                found.extend(
                    OpenUpload(item["Key"], item["UploadId"], item["Initiated"].astimezone(UTC))
                    for item in page.get("Uploads", ())
                    if item["Key"].startswith(prefix)
                )
        return found

    def _try(self, key: str) -> bool:
        """Whether the server checks parts; tried under the key of an upload that its beginner knows to be under way."""
        tried = self._begin(key, 1, with_crc32=True)
        if tried is None:
            return False
        try:
            return tried.refuses_damage()
        finally:
            tried.abort()

    def _begin(self, key: str, size_bytes: int, *, with_crc32: bool) -> S3Upload | None:
        """None where the server knows no such checksums."""
        # AWS takes parts with a CRC-32 only where the upload was begun with it.
        checksum = {"ChecksumAlgorithm": "CRC32"} if with_crc32 else {}
        with translated(f"s3://{self._bucket}/{key}"):
            try:
                answer = self._client.create_multipart_upload(Bucket=self._bucket, Key=key, **checksum)
            except ClientError as error:
                if with_crc32 and status_of(error) in _UNKNOWN:
                    return None
                raise
            upload_id = answer["UploadId"]
        parts = Parts.of(key, size_bytes)
        return S3Upload(self._client, self._bucket, key, upload_id, parts, with_crc32=with_crc32)
