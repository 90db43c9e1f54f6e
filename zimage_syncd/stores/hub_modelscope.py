"""The ModelScope hub as a source; its endpoint is `modelscope_hub`'s to know.

The token comes from MODELSCOPE_API_TOKEN alone: what `modelscope login` leaves is a pickle, and none is loaded here.
A revision such as `master` moves: bytes of a newer one do not match the manifest's digests, and are refused by them.
"""

from __future__ import annotations

import os
from urllib.parse import quote, urlencode

from zimage_syncd import __version__
from zimage_syncd.model.failures import StoreUnreachable
from zimage_syncd.model.snapshot import LayoutName, RepoType, SnapshotKey
from zimage_syncd.stores.hub import Access, Names, PublishedHub, Sleep

NAME = "modelscope"
LAYOUTS = frozenset({LayoutName.MODELSCOPE, LayoutName.MODELSCOPE_LEGACY, LayoutName.MODELSCOPE_HUB_LEGACY})

_SEGMENTS = {RepoType.MODEL: "models", RepoType.DATASET: "datasets", RepoType.SPACE: "studios"}
"""modelscope_hub 0.5.1, `_legacy_api.py`: `_REPO_TYPE_SEGMENT`."""


def open_hub(names: Names, sleep: Sleep) -> PublishedHub:
    """The hub at MODELSCOPE_ENDPOINT."""
    return PublishedHub(NAME, LAYOUTS, names, reach, sleep)


def reach(key: SnapshotKey) -> Access:
    """How a repository is reached at one revision.

    Raises:
        StoreUnreachable: its address cannot be used.
    """
    from modelscope_hub.config import ENV_TOKEN, HubConfig  # noqa: PLC0415

    token = os.environ.get(ENV_TOKEN, "").strip()
    try:
        endpoint = HubConfig(token=token).endpoint
    except ValueError as error:
        raise StoreUnreachable(NAME, f"its address cannot be used: {error}") from error
    base = f"{endpoint}/api/v1/{_SEGMENTS[key.repo.type]}/{quote(key.repo.name)}/repo"

    def url_of(name: str) -> str:
        """As `LegacyClient.get_download_url`, which no public call leads to."""
        return f"{base}?{urlencode({'Revision': key.revision, 'FilePath': name})}"

    # Both, as `LegacyClient` does: older parts of the hub know the cookie only.
    credentials = {"Authorization": f"Bearer {token}", "Cookie": f"m_session_id={token}"} if token else {}
    return Access(url_of, {"User-Agent": f"zimage-syncd/{__version__}"}, credentials)
