"""Keeps every request inside the process: settings that the libraries read, and a hook that refuses what they overlook.

Unix sockets are left alone. The hook sees Python's own sockets; native downloaders are never reached without them,
since each asks a hub over HTTP first.
"""

from __future__ import annotations

import os
import socket
import sys

SETTINGS = {
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "DIFFUSERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TQDM_DISABLE": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "DIFFUSERS_VERBOSITY": "error",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
    "MODELSCOPE_LOG_LEVEL": "40",
    "TOKENIZERS_PARALLELISM": "false",
    "USE_TF": "0",
    "USE_FLAX": "0",
}
"""Variables that the libraries read when they are imported. modelscope-hub 0.5 has none for being offline."""

REFUSED = "zimage-syncd: refused a network request"
"""Begins the line on standard error that names a request that was not let out."""

_WITH_SOCKET = frozenset({"socket.connect", "socket.sendto", "socket.sendmsg"})
_LOOKUPS = frozenset({"socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"})
"""https://docs.python.org/3/library/audit_events.html"""


class NetworkRefused(ConnectionRefusedError):
    """A library tried to reach the network; libraries take it for a network that is down."""


def go_offline() -> None:
    """Applies the settings and installs the hook, for the rest of the process."""
    os.environ.update(SETTINGS)
    sys.addaudithook(_refuse)


def _refuse(event: str, arguments: tuple[object, ...]) -> None:
    if event in _LOOKUPS:
        target = arguments[0]
    elif event in _WITH_SOCKET:
        asked = arguments[0]
        if getattr(asked, "family", None) == socket.AF_UNIX:
            return
        target = arguments[1]
    else:
        return
    sys.stderr.write(f"{REFUSED}: {event} {target!r:.200}\n")
    raise NetworkRefused(f"the probe is offline: {event}")
