"""SeaweedFS: an S3 server that does conditional writes right. One for all processes of a test run."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support import processes
from tests.support.s3_server import S3Server

_OWNER = ("owner-key", "owner-secret-1234567890")
_DENIED = ("denied-key", "denied-secret-1234567890")

_PORTS = ("master.port", "volume.port", "filer.port", "s3.port")


@contextmanager
def seaweedfs(directory: Path) -> Iterator[S3Server]:
    """A running server, stopped when its last user leaves.

    Args:
        directory: the same for all processes of a test run.
    """
    with processes.shared(directory, lambda: begin(directory)) as known:
        yield owned_server(known["s3.port"])


def begin(directory: Path, *options: str) -> dict[str, Any]:
    """Starts a server with its data in a directory; returns its `pid` and its ports by the names of its options.

    Args:
        directory: of its data and its log.
        options: more ones of `weed server`; the last of two alike counts.
    """
    identities = directory / "identities.json"
    identities.write_text(json.dumps({"identities": _identities()}))
    names = [name for port in _PORTS for name in (port, f"{port}.grpc")]
    ports = dict(zip(names, processes.free_ports(len(names)), strict=True))
    data = directory / "data"
    data.mkdir(exist_ok=True)
    log = directory / "weed.log"
    pid = processes.start([*_command(data, identities, ports), *options], log)
    try:
        processes.wait_until(owned_server(ports["s3.port"]).answers, pid, log)
    except BaseException:
        processes.stop(pid)
        raise
    return {"pid": pid, "s3.port": ports["s3.port"]}


def _command(data: Path, identities: Path, ports: dict[str, int]) -> list[str]:
    weed = shutil.which("weed", path=str(Path(sys.executable).parent)) or "weed"
    return [
        *(weed, "-logtostderr=true", "server", f"-dir={data}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"),
        *(
            "-s3",
            f"-s3.config={identities}",
            "-s3.iam=false",
            "-s3.autoCreateBucket=false",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
        ),
        # Small volumes, but many: every bucket takes seven of its own. They take no space before they are written.
        *("-volume.max=5000", "-master.volumeSizeLimitMB=64", "-volume.preStopSeconds=0"),
        *(f"-{name}={port}" for name, port in ports.items()),
    ]


def _identities() -> list[dict[str, object]]:
    return [
        _identity("owner", _OWNER, ["Admin", "Read", "Write", "List", "Tagging"]),
        _identity("denied", _DENIED, ["Read:some-other-bucket"]),
    ]


def _identity(name: str, keys: tuple[str, str], actions: list[str]) -> dict[str, object]:
    return {"name": name, "credentials": [{"accessKey": keys[0], "secretKey": keys[1]}], "actions": actions}


def owned_server(port: int) -> S3Server:
    """The server that listens there, as its owner and its denied user see it."""
    return S3Server(f"http://127.0.0.1:{port}", *_OWNER, *_DENIED)
