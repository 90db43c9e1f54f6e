"""A rented instance as its user sets it up: the data disk in fstab, a configuration, and the README's lines as root."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.machine.disk import LABEL
from tests.machine.guest import HOST, Guest
from tests.support.machine import Machine
from tests.support.s3_server import S3Server

UNIT = "zimage-syncd.service"
MOUNT = "/mnt/data"
CACHE = f"{MOUNT}/model_cache"
LINK = "/root/workspace/model_cache"
SAME_CACHE = f'test "$(readlink -f {LINK})" = {CACHE}'
"""Succeeds where the link leads to the cache."""
LOOKED = "disks looked at"
"""What the daemon says when it has done at once what can be, and before it restores."""

_README = Path(__file__).parents[2] / "README.md"
_LIST = (
    "find . -name .zimage-syncd -prune -o -type l -printf '%p -> %l\\n'; "
    "find . -name .zimage-syncd -prune -o -type f -exec sha256sum {} +"
)


@dataclass(frozen=True)
class Bucket:
    """A bucket on the host's server, as guests and the host see it."""

    server: S3Server
    name: str

    @property
    def url(self) -> str:
        return f"s3://{self.name}/zimage"

    @property
    def port(self) -> int:
        return int(self.server.endpoint_url.rsplit(":", 1)[1])

    def fill_from(self, directory: Path, cache: Path) -> None:
        """Backs a cache on the host up, as another instance did before."""
        machine = Machine(directory)
        store = f'url = "{self.url}"\nendpoint_url = "{self.server.endpoint_url}"\nregion = "us-east-1"'
        shutil.copytree(cache, machine.cache, symlinks=True)  # a backup leaves its state in it
        machine.write_config(store=store)
        keys = {"AWS_ACCESS_KEY_ID": self.server.access_key, "AWS_SECRET_ACCESS_KEY": self.server.secret_key}
        machine.run("backup", **keys)


def install(guest: Guest, bucket: Bucket, port: int | None = None, *, cache: str = "") -> None:
    """Puts in what a fresh system disk lacks, and starts the unit.

    Args:
        guest: a machine that runs.
        bucket: the store.
        port: of the host's, where the guest finds the store; the server's own without it.
        cache: more lines of the table `cache`.
    """
    guest.put("/etc/fstab", f"LABEL={LABEL} {MOUNT} ext4 nofail 0 2\n")
    guest.check(
        f"mkdir -p {MOUNT} && systemctl daemon-reload && (! [ -e /dev/disk/by-label/{LABEL} ] || mount {MOUNT})"
    )
    server = bucket.server
    keys = f"aws_access_key_id = {server.access_key}\naws_secret_access_key = {server.secret_key}\n"
    guest.put("/etc/zimage-syncd/credentials", f"[default]\n{keys}", 0o600)
    guest.put(
        "/root/zimage-syncd.toml",
        f"""
[cache]
dir = "{CACHE}"
mount = "{MOUNT}"
links = ["{LINK}"]
{cache}
[stores.bucket]
url = "{bucket.url}"
endpoint_url = "http://{HOST}:{port or bucket.port}"
region = "us-east-1"
credentials_file = "/etc/zimage-syncd/credentials"
[health]
after = []
""",
    )
    found = re.search(r"^\*\*As a service\*\*.*?^```\n(.*?)^```$", _README.read_text(), re.MULTILINE | re.DOTALL)
    assert found is not None, "the README does not say how to install"
    guest.check(f"set -e\n{found[1]}", timeout_s=300)


def wait_for_look(guest: Guest, timeout_s: float = 300) -> str:
    """Waits until the daemon looked at the disks since this boot; returns what it last said of them."""
    guest.wait_for(f"journalctl --boot --output=cat --unit={UNIT} | grep '^{LOOKED}'", timeout_s)
    return [line for line in guest.journal(UNIT).splitlines() if line.startswith(LOOKED)][-1]


def wait_for_restore(guest: Guest, timeout_s: float = 600) -> None:
    """Waits until the daemon says that it restored, at the end of a cycle since this boot; links are there before."""
    guest.wait_for(f"journalctl --boot --output=cat --unit={UNIT} | grep 'action=restored'", timeout_s)


def content(guest: Guest) -> list[str]:
    """Digests of all files and targets of all links of the guest's cache, without this program's state."""
    return sorted(guest.check(f"cd {CACHE} && {{ {_LIST}; }}").splitlines())


def content_of(cache: Path) -> list[str]:
    """The same of a cache on the host."""
    listed = subprocess.run(["bash", "-c", _LIST], cwd=cache, check=True, capture_output=True, text=True).stdout
    return sorted(listed.splitlines())
