"""Reads a range of an S3 object into a buffer, and takes up where a broken connection stopped."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

from botocore.exceptions import ClientError

from zimage_syncd.digest import md5_hex
from zimage_syncd.model.failures import StoreBroken, StoreUnreachable
from zimage_syncd.stores.http_body import Body
from zimage_syncd.stores.s3_errors import BREAKS, code_of, status_of, translated
from zimage_syncd.stores.s3_settings import S3Client

Answer: TypeAlias = Any
"""What a method of the client returns: a dictionary, its body a stream of botocore."""

MAX_BREAKS = 5
"""Broken connections that one read survives; each then costs at most one more request."""

_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(?:\d+|\*)")

_MD5 = re.compile(r"[0-9a-f]{32}")

_FIRST_PAUSE_S = 0.2

_jitter = random.SystemRandom()


_SETTLE_S = 0.2
"""Between two readings of an object that seems to be under way; its writer needs milliseconds."""


class Patience:
    """Counts the broken connections of one read, and waits a little longer after each.

    Args:
        subject: the object, for people.
        sleep: waits for so many seconds.
        on_setback: called for every broken connection, and every answer that came only when it was asked for again.
    """

    def __init__(
        self, subject: str, sleep: Callable[[float], None], on_setback: Callable[[], None] = lambda: None
    ) -> None:
        self._subject = subject
        self._sleep = sleep
        self.on_setback = on_setback
        self._breaks = 0

    def lose(self, error: Exception | None) -> None:
        """A connection broke.

        Raises:
            StoreUnreachable: too many have.
        """
        self._breaks += 1
        self.on_setback()
        if self._breaks > MAX_BREAKS:
            if isinstance(error, StoreUnreachable):
                raise StoreUnreachable(self._subject, f"{error.detail}, after {self._breaks} attempts") from error
            said = type(error).__name__ if error else "it ended early"
            raise StoreUnreachable(self._subject, f"{self._breaks} connections broke; the last: {said}") from error
        self._sleep(_jitter.uniform(0, _FIRST_PAUSE_S * 2**self._breaks))

    def settle(self) -> None:
        """Gives a server the time to finish what it is replacing."""
        self._sleep(_SETTLE_S)


class RangeRead:
    """One range of one object, read once.

    Args:
        client: of boto3.
        bucket: its name.
        key: the whole key, prefix included.
        patience: with broken connections.
    """

    def __init__(self, client: S3Client, bucket: str, key: str, patience: Patience) -> None:
        self._client = client
        self._bucket = bucket
        self._key = key
        self._subject = f"s3://{bucket}/{key}"
        self._patience = patience
        self._position = 0
        self._end = 0
        self._etag: str | None = None

    def pieces(self, offset: int, length: int, buffer: memoryview) -> Iterator[memoryview]:
        """Yields exactly `length` bytes from `offset`, in views of `buffer` that hold until the next one.

        Empty ones come between where it takes time: whoever reads may have had enough of this store.

        Raises:
            StoreBroken: the object ends before, or was replaced while it was read.
            StoreUnreachable: connections keep breaking, or it stays busy.
        """
        self._position, self._end = offset, offset + length
        while self._position < self._end:
            try:
                body, skip = self._open()
            except StoreUnreachable as failure:
                # Busy beyond botocore's own patience: a transfer of hours is not given up for that.
                self._patience.lose(failure)
                yield buffer[:0]
                continue
            try:
                for piece in body.pieces(skip, self._end - self._position, buffer):
                    self._position += len(piece)
                    yield piece
            except BREAKS as error:
                self._patience.lose(error)
            else:
                if self._position < self._end:
                    self._patience.lose(None)
            finally:
                body.close()
            if self._position < self._end:
                yield buffer[:0]

    def _open(self) -> tuple[Body, int]:
        """A body, and how many of its bytes come before the position."""
        wanted = f"bytes={self._position}-{self._end - 1}"
        with translated(self._subject):
            try:
                answer = self._client.get_object(Bucket=self._bucket, Key=self._key, Range=wanted)
                if answer["ResponseMetadata"].get("RetryAttempts"):
                    self._patience.on_setback()
            except ClientError as error:
                if status_of(error) == 416 or code_of(error) == "InvalidRange":
                    raise StoreBroken(self._subject, f"ends before byte {self._end}") from error
                raise
        try:
            return Body(answer["Body"]), self._skip(answer)
        except StoreBroken:
            answer["Body"].close()
            raise

    def _skip(self, answer: Answer) -> int:
        """Checks what the answer covers; a server may ignore the range and send the whole object."""
        etag = answer.get("ETag")
        if self._etag is not None and etag != self._etag:
            raise StoreBroken(self._subject, "was replaced while it was read")
        self._etag = etag
        first, after = self._covered(answer)
        if after < self._end:
            raise StoreBroken(self._subject, f"ends after {after} bytes, expected at least {self._end}")
        if first > self._position:
            raise StoreBroken(self._subject, f"the answer begins at byte {first}, expected {self._position}")
        return self._position - first

    def _covered(self, answer: Answer) -> tuple[int, int]:
        """First byte and byte after the last one of an answer."""
        content_range = answer.get("ContentRange", "")
        if content_range:
            match = _CONTENT_RANGE.fullmatch(content_range)
            if match is None:
                raise StoreBroken(self._subject, f"Content-Range {content_range[:100]!r} is not understood")
            return int(match[1]), int(match[2]) + 1
        status = int(answer["ResponseMetadata"]["HTTPStatusCode"])
        first = 0 if status == 200 else self._position
        length = answer.get("ContentLength")
        return first, self._end if length is None else first + int(length)


def read_whole(client: S3Client, bucket: str, key: str, max_bytes: int, patience: Patience) -> bytes:
    """A whole small object, of one version.

    `rclone serve s3` gives an object that is being replaced with the size of one version and the bytes of another;
    its ETag, an MD5, tells. Elsewhere an ETag may be something else that looks like one (AWS with SSE-KMS), so what
    is read twice alike, with one ETag and some time between, is taken.

    Raises:
        ObjectMissing: there is none.
        StoreBroken: it is larger than `max_bytes`.
        StoreUnreachable: connections keep breaking, or the object keeps changing.
    """
    last = None
    for _ in range(1 + 2 * MAX_BREAKS):
        data, etag = _read_once(client, bucket, key, max_bytes, patience)
        if (data, etag) == last or _agrees(etag, data):
            return data
        last = (data, etag)
        patience.settle()
    raise StoreUnreachable(f"s3://{bucket}/{key}", "it changes faster than it can be read")


def _agrees(etag: str, data: bytes) -> bool:
    """Whether an ETag is the content's MD5, or one that says something else; no ETag at all says nothing."""
    plain = etag.strip('"')
    if not plain:
        return False
    return _MD5.fullmatch(plain) is None or md5_hex(data) == plain


def _read_once(client: S3Client, bucket: str, key: str, max_bytes: int, patience: Patience) -> tuple[bytes, str]:
    subject = f"s3://{bucket}/{key}"
    while True:
        with translated(subject):
            answer = client.get_object(Bucket=bucket, Key=key)
        body = answer["Body"]
        try:
            data: bytes = body.read(max_bytes + 1)
            if len(data) <= max_bytes:
                data += body.read(1)  # only at the end does botocore compare with Content-Length
        except BREAKS as error:
            patience.lose(error)
            continue
        finally:
            body.close()
        if len(data) > max_bytes:
            raise StoreBroken(subject, f"is larger than the expected {max_bytes} bytes")
        return data, answer.get("ETag", "")
