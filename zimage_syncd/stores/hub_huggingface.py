"""The Hugging Face hub as a source: addresses, endpoint, token and offline mode are `huggingface_hub`'s to know."""

from __future__ import annotations

import functools

from zimage_syncd import __version__
from zimage_syncd.model.failures import StoreDenied, StoreUnreachable
from zimage_syncd.model.snapshot import LayoutName, SnapshotKey
from zimage_syncd.stores.hub import Access, Names, PublishedHub, Sleep

NAME = "huggingface"
_HEADER = "authorization"
_MAX_TOKEN_BYTES = 4096


def open_hub(names: Names, sleep: Sleep, home: str) -> PublishedHub:
    """The hub at HF_ENDPOINT, with the token that its library finds (HF_TOKEN, HF_TOKEN_PATH, `$HF_HOME/token`).

    Args:
        names: which file of the repository each payload file is.
        sleep: waits between attempts.
        home: the cache directory, which is the HF_HOME of those who use it, whatever this process was told.
    """
    known = functools.partial(reach, home=home)
    return PublishedHub(NAME, frozenset({LayoutName.HUGGINGFACE}), names, known, sleep)


def reach(key: SnapshotKey, home: str) -> Access:
    """How the library reaches a repository at one commit.

    Args:
        key: the snapshot's.
        home: directory of a token file that is used where the library finds no token.

    Raises:
        StoreUnreachable: it is told to stay offline.
        StoreDenied: a token that it is told to use cannot be had.
    """
    from huggingface_hub import constants, hf_hub_url  # noqa: PLC0415
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]  # noqa: PLC0415

    if constants.HF_HUB_OFFLINE:
        raise StoreUnreachable(NAME, "it is not asked, since HF_HUB_OFFLINE (or TRANSFORMERS_OFFLINE) is set")
    try:
        headers = build_hf_headers(library_name="zimage-syncd", library_version=__version__)
    except Exception as error:  # noqa: BLE001 - whatever a token's exchange may raise; its text may quote the token
        raise StoreDenied(NAME, f"its token cannot be read: {type(error).__name__}") from None
    signature = headers.pop(_HEADER, "")
    if not signature and not constants.HF_HUB_DISABLE_IMPLICIT_TOKEN:
        token = _token_in(home)
        signature = f"Bearer {token}" if token else ""

    def url_of(name: str) -> str:
        return hf_hub_url(key.repo.name, name, repo_type=str(key.repo.type), revision=key.revision)

    return Access(url_of, headers, {_HEADER: signature} if signature else {})


def _token_in(home: str) -> str:
    """The token that `hf auth login` left in a cache directory; empty where there is none."""
    try:
        with open(f"{home}/token", "rb") as file:
            return file.read(_MAX_TOKEN_BYTES).decode("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
