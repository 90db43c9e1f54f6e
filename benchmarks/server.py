"""SeaweedFS as the benchmarks use it: over HTTP and HTTPS, with its data where it is told."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support import processes, seaweedfs
from tests.support.faulty_proxy import self_signed
from tests.support.s3_server import S3Server


@dataclasses.dataclass(frozen=True)
class BenchServer:
    """One running server."""

    http: S3Server
    """As it is reached over HTTP."""
    https_url: str
    """Where it listens with TLS."""
    certificate: Path
    """What vouches for itself: a self-made certificate."""
    pid: int
    """Its process."""

    def endpoint(self, *, tls: bool) -> str:
        """The address of either."""
        return self.https_url if tls else self.http.endpoint_url

    def drop_bucket(self, name: str) -> None:
        """Removes a bucket with everything in it; its volumes are free at once."""
        client = self.http.client()
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=name):
            listed = [{"Key": item["Key"]} for item in page.get("Contents", ())]
            if listed:
                client.delete_objects(Bucket=name, Delete={"Objects": listed})
        client.delete_bucket(Bucket=name)


@contextmanager
def bench_server(directory: Path) -> Iterator[BenchServer]:
    """A server with its data below a directory, stopped at the end."""
    directory.mkdir(parents=True, exist_ok=True)
    certificate, key = self_signed(directory)
    port = processes.free_ports(1)[0]
    known = seaweedfs.begin(
        directory,
        f"-s3.port.https={port}",
        f"-s3.cert.file={certificate}",
        f"-s3.key.file={key}",
        # Large enough that no object is spread over many volumes, as a real server's are.
        "-master.volumeSizeLimitMB=1024",
    )
    try:
        server = seaweedfs.owned_server(known["s3.port"])
        yield BenchServer(server, f"https://127.0.0.1:{port}", certificate, known["pid"])
    finally:
        processes.stop(known["pid"])
