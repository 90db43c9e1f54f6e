"""Everything that cannot be meant is refused at start, with file, key, what was expected and what was found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from zimage_syncd.config import Config
from zimage_syncd.model.failures import ConfigContradictory, ConfigInvalid, StoreUrlInvalid

Load = Callable[..., Config]

S3 = '[stores.s]\nurl = "s3://b"\n'
TREE = '[stores.s]\nurl = "/shared"\n'
DIRECTORY = '[stores.s]\nurl = "file:///archive"\n'
FSSPEC = '[stores.s]\nurl = "sftp://host/x"\n'

CONTRADICTORY = [
    ("restore.order", f'{S3}[restore]\norder = ["bukket"]', "bukket"),
    ("backup.to", '[backup]\nto = ["nowhere"]', "nowhere"),
    ("backup.to", f'{TREE}[backup]\nto = ["s"]', "cache tree"),
    ("stores.s.url", '[stores.s]\nurl = "/mnt/data/cache/below"', "cache.dir = /mnt/data/cache"),
    ("stores.s.url", '[stores.s]\nurl = "/mnt/data"', "cache.dir = /mnt/data/cache"),
    ("stores.s.url", '[stores.s]\nurl = "file:///mnt/data/cache"', "cache.dir = /mnt/data/cache"),
    ("stores.s.mode", f'{S3}mode = "copy"', "s3"),
    ("stores.s.mode", f'{DIRECTORY}mode = "symlink"', "cannot be linked to"),
    ("stores.s.seed", f"{DIRECTORY}seed = true", "directory"),
    ("stores.s.seed", f"{S3}seed = true", "s3"),
    ("stores.s.seed", f"{FSSPEC}seed = true", "fsspec"),
    ("stores.s.profile", f'{TREE}profile = "p"', "cache tree"),
    ("stores.s.profile", f'{S3}profile = "p"\ncredentials_file = "/f"', "stores.s.credentials_file"),
    ("stores.s.options", f"{S3}options = {{port = 22}}", "s3"),
    ("daemon.state_dir", '[daemon]\nstate_dir = "/mnt/data/cache/state"', "cache.dir"),
    ("stores.t.url", f'{S3}[stores.t]\nurl = "s3://b/"', "stores.s.url"),
    ("stores.t.url", f'{DIRECTORY}[stores.t]\nurl = "file://localhost/archive/"', "stores.s.url"),
    ("stores.t.url", f'{TREE}[stores.t]\nurl = "/shared/"', "stores.s.url"),
    ("stores.t.url", f'{TREE}[stores.t]\nurl = "file:///shared"', "stores.s.url"),
    ("stores.t.url", '[stores.s]\nurl = "memory://a"\n[stores.t]\nurl = "memory://a/"', "stores.s.url"),
]

LINKS = [
    ("cache.links", 'links = ["/mnt/data/cache"]'),
    ("cache.links", 'links = ["/mnt/data/cache/below"]'),
    ("cache.links", 'links = ["/mnt/data"]'),
    ("cache.links", 'links = ["/"]'),
    ("cache.links", 'links = ["/a", "/a"]'),
    ("cache.links", 'links = ["/a", "/a/b"]'),
    ("daemon.state_dir", 'links = ["/var/lib"]'),
    ("stores.s.url", 'links = ["/root/cache"]\n[stores.s]\nurl = "/root/cache"'),
    ("stores.s.url", 'links = ["/root/cache"]\n[stores.s]\nurl = "file:///root/cache/archive"'),
    ("daemon.state_dir", 'mount = "/mnt/data"\n[daemon]\nstate_dir = "/mnt/data/state"'),
    ("cache.dir", 'mount = "/mnt/other"'),
    ("cache.dir", 'mount = "/mnt/dat"'),
]

INVALID = [
    ("health.size_px", "[health]\nsize_px = 500", "500"),
    ("health.size_px", "[health]\nsize_px = 0", "found 0"),
    ("health.steps", "[health]\nsteps = 0", "found 0"),
    ("health.timeout_s", "[health]\ntimeout_s = inf", "inf"),
    ("verify.deep_fraction", "[verify]\ndeep_fraction = 0", "found 0"),
    ("verify.deep_fraction", "[verify]\ndeep_fraction = 1.5", "1.5"),
    ("verify.deep_fraction", "[verify]\ndeep_fraction = nan", "nan"),
    ("verify.store_fraction", "[verify]\nstore_fraction = -0.1", "-0.1"),
    ("verify.jitter_s", "[verify]\njitter_s = -1", "-1"),
    ("verify.quick", '[verify]\nquick = "* * * *"', "* * * *"),
    ("verify.deep", '[verify]\ndeep = "61 * * * *"', "61"),
    ("verify.rate", '[verify]\nrate = "fast"', "fast"),
    ("verify.rate", '[verify]\nrate = "0MB/s"', "0MB/s"),
    ("backup.upload_rate", '[backup]\nupload_rate = "200MB"', "200MB"),
    ("verify.quarantine_max", '[verify]\nquarantine_max = "lots"', "lots"),
    ("verify.quarantine_days", "[verify]\nquarantine_days = 1e12", "1e+12"),
    ("retention.reports", "[retention]\nreports = inf", "inf"),
    ("retention.keep", "[retention]\nkeep = 0", "found 0"),
    ("retention.prune_grace", '[retention]\nprune_grace = "soon"', "soon"),
    ("stores.s.lease_expiry_s", f"{TREE}lease_expiry_s = 0", "found 0"),
    ("stores.s.file_mode", f'{TREE}file_mode = "rw"', "'rw'"),
    ("stores.s.credentials_file", f'{S3}credentials_file = "keys"', "'keys'"),
    ("stores.modelscope", '[stores.modelscope]\nurl = "/x"', "hub"),
    ("stores.huggingface", '[stores.huggingface]\nurl = "/x"', "hub"),
    ("stores.Shared", '[stores.Shared]\nurl = "/x"', "a-z"),
    ("stores.-a", '[stores.-a]\nurl = "/x"', "a-z"),
    ("stores.s.url", '[stores.s]\nmode = "copy"', "missing"),
    ("stores.s.mode", f'{TREE}mode = "magic"', "auto, symlink, hardlink, reflink, copy, found 'magic'"),
    ("verify.repair", "[verify]\nrepair = 1", "true or false, found 1"),
    ("verify.qiuck", '[verify]\nqiuck = ""', "did you mean quick?"),
    ("stores.s.modus", f'{TREE}modus = "copy"', "did you mean mode?"),
    ("verfiy", "[verfiy]\n", "did you mean verify?"),
    ("restore.order", f'{S3}[restore]\norder = ["s", "s"]', "2 times"),
    ("health.after", '[health]\nafter = ["lunch"]', "lunch"),
    ("notify.on", '[notify]\non = ["lunch"]', "lunch"),
    ("daemon.state_dir", '[daemon]\nstate_dir = "state"', "'state'"),
    ("health.python", '[health]\npython = "venv/bin/python"', "'venv/bin/python'"),
    ("cache.owner", 'owner = "nosuch:x"', "'nosuch:x'"),
    ("cache.owner", 'owner = "root:nosuch"', "'root:nosuch'"),
    ("stores.s.endpoint_url", f'{S3}endpoint_url = "127.0.0.1:99"', "https://HOST"),
    ("stores.s.endpoint_url", f'{S3}endpoint_url = "https://h:port"', "https://HOST"),
    ("stores.s.endpoint_url", f'{S3}endpoint_url = "https://me:hunter2@h"', "credentials"),
    ("stores.s.credentials_file", f'{S3}credentials_file = "/etc/no-such-file"', "/etc/no-such-file"),
    ("stores.s.ca_bundle", f'{S3}ca_bundle = "/etc/no-such-file.pem"', "/etc/no-such-file.pem"),
]


@pytest.mark.parametrize(("key", "text", "said"), CONTRADICTORY)
def test_contradictions_are_refused(load: Load, key: str, text: str, said: str) -> None:
    with pytest.raises(ConfigContradictory) as caught:
        load(text)
    assert caught.value.subject.endswith("zimage.toml")
    assert caught.value.detail.startswith(f"{key}: ")
    assert said in caught.value.detail


@pytest.mark.parametrize(("key", "line"), LINKS)
def test_links_mount_and_cache_that_lie_in_each_other_are_refused(load: Load, key: str, line: str) -> None:
    with pytest.raises(ConfigContradictory) as caught:
        load(line)
    assert caught.value.detail.startswith(f"{key}: ")


@pytest.mark.parametrize(("key", "text", "said"), INVALID)
def test_values_out_of_range_are_refused(load: Load, key: str, text: str, said: str) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        load(text)
    assert caught.value.subject.endswith("zimage.toml")
    assert key in caught.value.detail
    assert said in caught.value.detail


@pytest.mark.parametrize("path", ["cache", "../x", "/a/../b", "/", "//a", "/a\\nb", "/a\\u0000b", "/a\\u001b[31m"])
def test_the_cache_directory_is_an_absolute_plain_path(load: Load, path: str) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        load(f'[cache]\ndir = "{path}"', whole=True)
    assert "cache.dir" in caught.value.detail
    assert caught.value.detail.isprintable()


@pytest.mark.parametrize(
    "url",
    [
        "relative/path",
        "/a/../b",
        "file://host/x",
        "file:relative",
        "s3:b",
        "s3://",
        "s3:///prefix",
        "s3://key:secret-word@b/x",
        "s3://secret-key@b/x",
        "s3://key:secret/word@b/x",
        "sftp://u:secret-word@[host/x",
        "sftp://u:secret-word@host:port/x",
        "sftp:u:secret-word@host/x",
    ],
)
def test_addresses_that_cannot_be_used_are_refused_without_their_secrets(load: Load, url: str) -> None:
    with pytest.raises(StoreUrlInvalid) as caught:
        load(f'[stores.s]\nurl = "{url}"')
    assert "stores.s.url" in caught.value.detail
    said = f"{caught.value!r} {caught.value} {caught.value.__cause__!r} {caught.value.__context__!r}"
    assert "secret" not in said


@pytest.mark.parametrize("url", ["nosuch://host/x", "simplecache::nosuch://host/x"])
def test_an_address_that_no_package_serves_is_refused(load: Load, url: str) -> None:
    with pytest.raises(StoreUrlInvalid, match=r"stores\.s\.url"):
        load(f'[stores.s]\nurl = "{url}"')


def test_a_package_that_is_not_installed_is_named(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(StoreUrlInvalid, match="pip install sshfs"):
        load(FSSPEC)


@pytest.mark.parametrize("key", ["credentials_file", "ca_bundle"])
def test_a_file_on_a_disk_that_is_not_mounted_yet_is_no_mistake(load: Load, tmp_path: Path, key: str) -> None:
    load(f'{S3}{key} = "/no/such/mount/file"')
    load(f'[cache]\ndir = "{tmp_path}/cache"\nmount = "{tmp_path}"\n{S3}{key} = "{tmp_path}/file"', whole=True)


def test_stores_apart_are_two(load: Load) -> None:
    load(f'{S3}[stores.t]\nurl = "s3://b"\nendpoint_url = "https://other"\n[stores.u]\nurl = "s3://b/x"')


@pytest.mark.parametrize(
    "text",
    [
        f'{S3}options = {{}}\nmode = "auto"\nseed = false\n',
        f'{FSSPEC}options = {{port = 22}}\nprofile = ""\n',
        f'{S3}profile = ""\ncredentials_file = "/no/disk/f"\n',
        f'{DIRECTORY}mode = "hardlink"\n',
        f'{S3}[restore]\norder = ["s", "huggingface", "modelscope"]\n',
        '[verify]\nquick = ""\ndeep = ""\ndrill = ""\nrate = "500 MB/s"\nquarantine_max = "50GiB"\n',
    ],
)
def test_a_default_that_is_written_out_contradicts_nothing(load: Load, text: str) -> None:
    assert load(text).cache.dir == "/mnt/data/cache"
