"""Requests to a hub: follows redirects without taking the token along, and says what an answer means.

The HTTP client is requests, which modelscope_hub brings: it knows proxies and certificates from the environment, and
its raw body is urllib3's, which boto3 reads from, too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from http.cookiejar import DefaultCookiePolicy
from typing import TypeAlias
from urllib.parse import urlsplit

import requests
import urllib3.exceptions
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from zimage_syncd.model.failures import BlobMissing, Failure, StoreBroken, StoreDenied, StoreUnreachable
from zimage_syncd.stores.hub import Access

Answer: TypeAlias = requests.Response
"""An answer whose body was not read yet."""

_Sign: TypeAlias = Callable[[requests.PreparedRequest], requests.PreparedRequest]

BREAKS = (urllib3.exceptions.HTTPError, OSError)
"""What a connection that breaks while a body is read may raise."""

MAX_CONNECTIONS = 16
"""Kept open to one host: as many as there are workers."""

_CONNECT_TIMEOUT_S, _READ_TIMEOUT_S = 10, 60
"""Until a connection stands; between two bytes."""

_MAX_REDIRECTS = 10
_BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})
_GONE = frozenset({404, 410})
_CODE = re.compile(r"[A-Za-z]{1,60}")


class HubBusy(Exception):
    """The hub asks to come back later.

    Args:
        said: what it answered.
        pause_s: after how many seconds; None where it does not say.
    """

    def __init__(self, said: str, pause_s: float | None) -> None:
        super().__init__(said)
        self.said = said
        self.pause_s = pause_s


class HubUnreached(Exception):
    """No answer came, and another attempt may get one."""


class HubConnection:
    """Connections to a hub and to where it redirects to; safe to use from several threads.

    Args:
        name: the hub's, for people.
        access: how the repository is reached.
    """

    def __init__(self, name: str, access: Access) -> None:
        self.name = name
        self._access = access
        self._session = _Session()
        self._elsewhere: dict[str, str] = {}

    def open(self, published: str, first: int, last: int) -> Answer:
        """Asks for the bytes from `first` to `last` of a file of the repository.

        Where another host gave the file before, that one is asked at once: a hub counts what it is asked.

        Raises:
            HubBusy, HubUnreached: see there.
            BlobMissing: the repository does not have the file.
            StoreDenied, StoreUnreachable, StoreBroken: as their names say.
        """
        address = self._access.url_of(published)
        known = self._elsewhere.get(published)
        if known is not None:
            # Signed addresses expire and hosts vanish; then the hub gives another one.
            self._elsewhere.pop(published, None)
            answer = self._get(known, first, last, _nobody)
            if answer.status_code in {200, 206}:
                self._elsewhere[published] = known
                return answer
            answer.close()
        answer = self._get(address, first, last, self._sign)
        try:
            self._judge(published, answer)
        except BaseException:
            answer.close()
            raise
        if _origin(answer.url) != _origin(address):
            self._elsewhere[published] = answer.url
        return answer

    def _sign(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers.update(self._access.credentials)
        return request

    def _get(self, address: str, first: int, last: int, sign: _Sign) -> Answer:
        # A compressed body has other bytes than the range.
        headers = {**self._access.headers, "Range": f"bytes={first}-{last}", "Accept-Encoding": "identity"}
        timeouts = (_CONNECT_TIMEOUT_S, _READ_TIMEOUT_S)
        try:
            return self._session.get(address, headers=headers, auth=sign, stream=True, timeout=timeouts)
        except requests.exceptions.SSLError as error:
            raise StoreUnreachable(self.name, f"no secure connection: {reason(error)}") from None
        except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
            # Not as its cause: the text of these errors quotes addresses, which redirects sign.
            raise HubUnreached(reason(error)) from None
        except (requests.RequestException, ValueError) as error:
            raise StoreBroken(self.name, f"a request ended with {reason(error)}") from None

    def _judge(self, published: str, answer: Answer) -> None:
        status = answer.status_code
        if status in {200, 206}:
            return
        said = f"answered {status}{_code(answer.headers)}"
        if status in _BUSY:
            raise HubBusy(said, _retry_after(answer))
        raise self._failure(published, status, said)

    def _failure(self, published: str, status: int, said: str) -> Failure:
        subject = f"{self.name}: {published}"
        if status in {401, 403}:
            return StoreDenied(
                subject, f"{said} to a request {'with' if self._access.credentials else 'without'} a token"
            )
        if status in _GONE:
            return BlobMissing(subject, said)
        if status == 416:
            return StoreBroken(subject, f"{said}: the file is shorter there")
        return StoreBroken(subject, said)


class _Session(requests.Session):
    """Keeps connections, and neither cookies nor what `.netrc` knows."""

    def __init__(self) -> None:
        super().__init__()
        self.max_redirects = _MAX_REDIRECTS
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))
        adapter = HTTPAdapter(pool_connections=MAX_CONNECTIONS, pool_maxsize=MAX_CONNECTIONS, max_retries=0)
        self.mount("https://", adapter)
        self.mount("http://", adapter)

    def rebuild_auth(self, prepared_request: requests.PreparedRequest, response: Answer) -> None:
        """Takes the token off where a redirect leads to another host; the base class would also look into `.netrc`."""
        if self.should_strip_auth(response.request.url or "", prepared_request.url or ""):
            prepared_request.headers.pop("Authorization", None)


def reason(error: BaseException) -> str:
    """The kind of the innermost error, without its text, which quotes addresses."""
    seen = error
    for _ in range(8):
        inside = (getattr(seen, "reason", None), *seen.args)
        inner = next((item for item in inside if isinstance(item, BaseException)), None)
        if inner is None:
            break
        seen = inner
    return type(seen).__name__


def _nobody(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _origin(address: str) -> tuple[str, str]:
    parts = urlsplit(address)
    return parts.scheme, parts.netloc


def _code(headers: Mapping[str, str]) -> str:
    """The hub's own word, such as ` GatedRepo` (huggingface_hub, `hf_raise_for_status`)."""
    code = headers.get("X-Error-Code", "")
    return f" {code}" if _CODE.fullmatch(code) else ""


def _retry_after(answer: Answer) -> float | None:
    given = answer.headers.get("Retry-After")
    if given is None:
        return None
    try:
        return float(Retry().parse_retry_after(given))
    except (urllib3.exceptions.HTTPError, ValueError, OverflowError):
        return None
