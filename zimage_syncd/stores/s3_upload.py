"""An S3 object that is being written in parts."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Mapping

from botocore.exceptions import ClientError

from zimage_syncd.digest import crc32_base64
from zimage_syncd.model.failures import FileChanging, StoreBroken
from zimage_syncd.ports import PartBody
from zimage_syncd.stores.parts import Parts
from zimage_syncd.stores.s3_errors import code_of, status_of, translated
from zimage_syncd.stores.s3_part import Body, BodyFailed, Sent
from zimage_syncd.stores.s3_settings import S3Client

_DAMAGED = frozenset({"BadDigest", "InvalidDigest", "XAmzContentChecksumMismatch"})
"""Codes for a body that does not fit its checksum: AWS and SeaweedFS, others, MinIO (cmd/api-errors.go)."""

_TRIES = 3
"""How often a part is sent that arrives damaged."""


class S3Upload:
    """A multipart upload; nobody sees the object before `complete`.

    Args:
        client: of boto3.
        bucket: its name.
        key: the whole key, prefix included.
        upload_id: as the server named it.
        parts: how the object is cut.
        with_crc32: whether every part has its CRC-32 with it; so must the upload have been begun.
    """

    def __init__(
        self, client: S3Client, bucket: str, key: str, upload_id: str, parts: Parts, *, with_crc32: bool
    ) -> None:
        self._client = client
        self._bucket = bucket
        self._key = key
        self._upload_id = upload_id
        self._parts = parts
        self._with_crc32 = with_crc32
        self._subject = f"s3://{bucket}/{key}"
        self._lock = threading.Lock()
        self._sent: dict[int, Sent] = {}
        self._there: dict[int, Sent] = {}
        self._finished = False

    @property
    def id(self) -> str:
        """The server's name for it."""
        return self._upload_id

    @property
    def part_bytes(self) -> int:
        """Size of every part but the last."""
        return self._parts.part_bytes

    def find(self, marks: Mapping[int, str]) -> None:
        """Looks which of the parts that an earlier process sent the server still has.

        Args:
            marks: of these parts, by number.

        Raises:
            ClientError: the upload is gone, among others.
        """
        listed: dict[int, set[tuple[str, int]]] = {}
        pages = self._client.get_paginator("list_parts").paginate(
            Bucket=self._bucket, Key=self._key, UploadId=self._upload_id
        )
        for page in pages:
            for item in page.get("Parts", ()):
                # SeaweedFS lists a part that was sent twice twice. What is listed by halves fits no mark.
                listed.setdefault(item.get("PartNumber", 0), set()).add((item.get("ETag", ""), item.get("Size", -1)))
        for number, mark in marks.items():
            sent = Sent.of_mark(mark)
            if listed.get(number) == {(sent.etag, self._parts.length(number))}:
                self._there[number] = sent

    def mark(self, number: int) -> str:
        """What the server calls part `number` (see `ports.ResumedUpload`)."""
        with self._lock:
            return self._sent[number].mark

    def there(self) -> frozenset[int]:
        """Numbers of the parts that the server has of an earlier process."""
        return frozenset(self._there)

    def keep_part(self, number: int) -> None:
        """Takes one of these as it is."""
        with self._lock:
            self._sent[number] = self._there[number]

    def refuses_damage(self) -> bool:
        """Whether the server refuses a part of one byte that does not fit its CRC-32, and takes one that does."""
        wrong, right = crc32_base64(zlib.crc32(b"1")), crc32_base64(zlib.crc32(b"0"))
        with translated(self._subject):
            try:
                self._request(1, b"0", wrong)
            except ClientError as error:
                if code_of(error) not in _DAMAGED:
                    return False
            else:
                return False
            try:
                self._request(1, b"0", right)
            except ClientError:
                return False
        return True

    def put_part(self, number: int, body: PartBody) -> None:
        """Sends part `number`; botocore repeats it when a connection breaks.

        Raises:
            FileChanging: the body ends before its length, or is another one when it is read again.
            StoreBroken: it arrived damaged again and again.
        """
        if self._parts.check(number, body) == 0:
            return
        try:
            with translated(self._subject):
                sent = self._checked(number, body) if self._with_crc32 else self._request(number, self._whole(body))
        except BodyFailed as failed:
            raise failed.error from failed.error.__cause__
        with self._lock:
            self._sent[number] = sent

    def _checked(self, number: int, body: PartBody) -> Sent:
        crc32 = body.crc32()
        for _ in range(_TRIES):
            try:
                return self._request(number, self._whole(body), crc32_base64(crc32))
            except ClientError as error:
                if code_of(error) not in _DAMAGED:
                    raise
                said = code_of(error)
            if body.crc32() != crc32:
                raise FileChanging(self._subject, f"part {number} was another one when it was read again")
        raise StoreBroken(self._subject, f"part {number} arrived damaged {_TRIES} times ({said})")

    def _whole(self, body: PartBody) -> Body:
        body.seek(0)
        return Body(self._subject, body)

    def _request(self, number: int, body: Body | bytes, crc32: str = "") -> Sent:
        answer = self._client.upload_part(
            Bucket=self._bucket,
            Key=self._key,
            UploadId=self._upload_id,
            PartNumber=number,
            Body=body,
            **({"ChecksumCRC32": crc32} if crc32 else {}),
        )
        if not answer.get("ETag"):
            raise StoreBroken(self._subject, f"part {number} was answered without an ETag")
        return Sent(answer["ETag"], crc32)

    def complete(self) -> None:
        """Makes the object appear.

        Raises:
            StoreBroken: a part was never sent, or somebody gave the upload up.
        """
        with self._lock:
            sent = sorted(self._sent.items())
        self._parts.require_all([number for number, _ in sent])
        if not sent:
            # S3 has no multipart object without parts.
            self.abort()
            with translated(self._subject):
                self._client.put_object(Bucket=self._bucket, Key=self._key, Body=b"")
            return
        listed = {"Parts": [part.for_completion(number) for number, part in sent]}
        with translated(self._subject):
            try:
                self._client.complete_multipart_upload(
                    Bucket=self._bucket, Key=self._key, UploadId=self._upload_id, MultipartUpload=listed
                )
            except ClientError as error:
                # A repeated request finds the upload gone where the first one's answer was lost. Where it was not
                # repeated somebody gave the upload up, and what lies there may be the damaged object under repair.
                repeated = error.response["ResponseMetadata"].get("RetryAttempts", 0) > 0
                if code_of(error) != "NoSuchUpload" or not repeated or not self._appeared():
                    raise
        self._finished = True

    def abort(self) -> None:
        """Gives it up; does nothing after `complete`."""
        if not self._finished:
            abort_multipart(self._client, self._bucket, self._key, self._upload_id)
            self._finished = True

    def _appeared(self) -> bool:
        try:
            answer = self._client.head_object(Bucket=self._bucket, Key=self._key)
        except ClientError as error:
            if status_of(error) == 404:
                return False
            raise
        return int(answer["ContentLength"]) == self._parts.size_bytes


def abort_multipart(client: S3Client, bucket: str, key: str, upload_id: str) -> None:
    """Gives an upload up; nothing happens where it is gone."""
    with translated(f"s3://{bucket}/{key}"):
        try:
            client.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload_id)
        except ClientError as error:
            if code_of(error) not in {"NoSuchUpload", "404"}:
                raise
