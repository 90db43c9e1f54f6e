"""What the errors of botocore and of S3's servers mean.

Messages hold the bucket, the key and the server's code; never what the server echoes of a request, since that
includes access keys and signatures.
"""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from contextlib import contextmanager

import urllib3.exceptions
from botocore import exceptions as boto
from botocore.exceptions import BotoCoreError, ClientError

from zimage_syncd.model.failures import (
    DeviceFull,
    Failure,
    ObjectMissing,
    StoreBroken,
    StoreDenied,
    StoreMissing,
    StoreUnreachable,
)

_DENIED = frozenset(
    {"AccessDenied", "AllAccessDisabled", "AuthFailure", "ExpiredToken", "InvalidAccessKeyId", "InvalidToken"}
    | {"SignatureDoesNotMatch", "RequestExpired", "RequestTimeTooSkewed", "SecurityTokenExpired"}
    | {"TokenRefreshRequired", "UnauthorizedAccess"}
)
_BUSY = frozenset({"RequestTimeout", "SlowDown", "Throttling", "ThrottlingException", "TooManyRequests"})
_FULL = frozenset({"XMinioStorageFull", "QuotaExceeded"})
"""Error codes: docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html; MinIO's cmd/api-errors.go."""

_NO_CREDENTIALS = (
    boto.NoCredentialsError,
    boto.PartialCredentialsError,
    boto.CredentialRetrievalError,
    boto.TokenRetrievalError,
    boto.NoAuthTokenError,
    boto.SSOError,
)
_NO_ANSWER = (boto.ConnectionError, boto.HTTPClientError, boto.IncompleteReadError, urllib3.exceptions.HTTPError)

BREAKS = (*_NO_ANSWER, OSError, http.client.HTTPException)
"""What a connection that breaks while a body is read may raise."""


def code_of(error: ClientError) -> str:
    """The server's own code, such as `NoSuchKey`; the HTTP status where the answer has no body."""
    return str(error.response.get("Error", {}).get("Code", "")) or str(status_of(error))


def status_of(error: ClientError) -> int:
    """The HTTP status of the answer, 0 where there is none."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def failure_of(error: Exception, subject: str) -> Failure:
    """The failure that an error of botocore stands for.

    Args:
        error: what was caught.
        subject: `s3://bucket/key`, for people.
    """
    if isinstance(error, ClientError):
        return _answer_failure(error, subject)
    if isinstance(error, _NO_CREDENTIALS):
        return StoreDenied(subject, f"no credentials to use: {type(error).__name__}")
    text = f"{type(error).__name__}: {error}"[:300]
    return (StoreUnreachable if isinstance(error, BREAKS) else StoreBroken)(subject, text)


def _answer_failure(error: ClientError, subject: str) -> Failure:
    code, status = code_of(error), status_of(error)
    said = f"{error.operation_name} was answered with {status} {code}"
    if code in _FULL or status == 507:
        return DeviceFull(subject, said)
    if code == "NoSuchBucket":
        return StoreMissing(subject, said)
    if code in _DENIED or status in {401, 403}:
        return StoreDenied(subject, said)
    if code in _BUSY or status == 429 or (status >= 500 and status != 501):
        return StoreUnreachable(subject, said)
    if code == "NoSuchKey":
        return ObjectMissing(subject, said)
    return StoreBroken(subject, said)


@contextmanager
def translated(subject: str) -> Iterator[None]:
    """Turns errors of botocore into failures (see `failure_of`), and what an answer should have and has not."""
    try:
        yield
    except (ClientError, BotoCoreError, *BREAKS) as error:
        raise failure_of(error, subject) from error
    except KeyError as error:
        raise StoreBroken(subject, f"the answer lacks {error}") from error
