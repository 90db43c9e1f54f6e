"""Both hubs as sources of chunks: what they are asked, and what is made of hubs and networks that fail half-way."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from urllib.parse import urlencode

import pytest
from huggingface_hub import constants

from tests.support.clock import HeldClock
from tests.support.faulty_proxy import Drip, faulty_proxy
from tests.support.hf_hub import LoopbackHfHub
from tests.support.loopback import (
    SIGNATURE,
    BreakAfter,
    Fault,
    IgnoreRange,
    LoopbackCdn,
    LoopbackServer,
    Relabel,
    Request,
    Say,
)
from tests.support.manifests import COMMIT, key_of, manifest_with
from tests.support.modelscope_hub import LoopbackModelScopeHub
from tests.support.site import StopAfter
from zimage_syncd.layouts.registry import layout_of
from zimage_syncd.model.failures import (
    BlobMissing,
    Failure,
    Stopped,
    StoreBroken,
    StoreDenied,
    StoreUnreachable,
)
from zimage_syncd.model.manifest import FileEntry, Manifest
from zimage_syncd.model.snapshot import LayoutName, RepoType
from zimage_syncd.ports import ChunkSource, Hub
from zimage_syncd.stores.hub import Access
from zimage_syncd.stores.hub_connection import HubConnection
from zimage_syncd.stores.hub_read import HubRead
from zimage_syncd.stores.hubs import open_hub

ROOT = Path(__file__).parents[2]
TOKEN = "hf_verysecrettoken"
NAME = "vae/a model+1%.safetensors"
DATA = bytes(range(256)) * 4000


@dataclass
class Stage:
    """One hub with one file, and this program's view of it."""

    server: LoopbackServer
    hub: Hub
    manifest: Manifest
    clock: HeldClock
    cancel: StopAfter = field(default_factory=StopAfter)

    def __post_init__(self) -> None:
        self.source: ChunkSource = self.hub.for_manifest(self.manifest)
        self.file: FileEntry = self.manifest.files[0]

    def read(self, offset: int = 0, length: int = len(DATA), piece_bytes: int = 65_536) -> bytes:
        pieces = self.source.read(self.file, offset, length, memoryview(bytearray(piece_bytes)))
        return b"".join(bytes(piece) for piece in pieces)

    def file_requests(self) -> list[Request]:
        return [request for request in self.server.requests if request.range]


def hf_manifest(name: str, data: bytes, commit: str, kind: RepoType = RepoType.MODEL) -> Manifest:
    base = f"hub/{kind}s--acme--painter"
    up = "../" * (2 + name.count("/"))
    links = {f"{base}/snapshots/{commit}/{name}": f"{up}blobs/aa"}
    return manifest_with({f"{base}/blobs/aa": data}, key_of(revision=commit, kind=kind), links)


def modelscope_manifest(name: str, data: bytes, revision: str, kind: RepoType = RepoType.MODEL) -> Manifest:
    folder = {RepoType.MODEL: "models", RepoType.DATASET: "datasets", RepoType.SPACE: "studios"}[kind]
    place = f"{folder}/acme--painter/snapshots/{revision}/{name}"
    return manifest_with({place: data}, key_of(revision=revision, layout=LayoutName.MODELSCOPE, kind=kind))


def opened(name: str, clock: HeldClock, cancel: StopAfter, home: str = "/nowhere") -> Hub:
    return open_hub(name, lambda manifest: layout_of(manifest.key.layout).published(manifest), clock, cancel, home)


def use_hf(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    """What HF_ENDPOINT does when the library is imported."""
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    template = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


@pytest.fixture(autouse=True)
def _plain_surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "MODELSCOPE_API_TOKEN", "HF_OIDC_RESOURCE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", "/nowhere/token")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)


@pytest.fixture(params=["huggingface", "modelscope"])
def stage(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, clock: HeldClock) -> Iterator[Stage]:
    cancel = StopAfter()
    if request.param == "huggingface":
        with LoopbackHfHub() as hf:
            commit = hf.commit("acme/painter", {NAME: DATA})
            use_hf(monkeypatch, hf.endpoint)
            monkeypatch.setenv("HF_TOKEN", TOKEN)
            yield Stage(hf, opened("huggingface", clock, cancel), hf_manifest(NAME, DATA, commit), clock, cancel)
    else:
        with LoopbackModelScopeHub() as ms:
            ms.publish("acme/painter", {NAME: DATA}, "v 1")
            monkeypatch.setenv("MODELSCOPE_ENDPOINT", ms.endpoint)
            monkeypatch.setenv("MODELSCOPE_API_TOKEN", TOKEN)
            manifest = modelscope_manifest(NAME, DATA, "v 1")
            yield Stage(ms, opened("modelscope", clock, cancel), manifest, clock, cancel)


@pytest.mark.parametrize(("offset", "length"), [(0, len(DATA)), (100_001, 300_000), (len(DATA) - 1, 1), (5, 1)])
def test_exactly_the_range_is_asked_for_and_given(stage: Stage, offset: int, length: int) -> None:
    assert stage.read(offset, length) == DATA[offset : offset + length]
    (request,) = stage.file_requests()
    assert request.range == f"bytes={offset}-{offset + length - 1}"
    assert request.headers["authorization"] == f"Bearer {TOKEN}"
    assert request.headers["accept-encoding"] == "identity"
    assert request.headers["user-agent"].startswith("zimage-syncd/")


def test_nobody_is_asked_before_the_first_read(stage: Stage) -> None:
    assert stage.hub.serves(stage.manifest.key)
    assert stage.source.local_path(stage.file) is None
    assert stage.server.requests == []


def test_what_is_not_in_the_repository_is_not_asked_for(stage: Stage) -> None:
    other = manifest_with({"hub/elsewhere": DATA}).files[0]
    with pytest.raises(BlobMissing, match="no such file"):
        stage.source.read(other, 0, 10, memoryview(bytearray(10)))
    assert stage.server.requests == []


def test_a_redirect_is_followed_without_the_token_and_remembered(stage: Stage) -> None:
    with LoopbackCdn(stage.server) as cdn:
        assert stage.read(0, 1000) == DATA[:1000]
        assert stage.read(1000, 1000) == DATA[1000:2000]
        assert [request.range for request in stage.file_requests()] == ["bytes=0-999"]
        assert [request.range for request in cdn.requests] == ["bytes=0-999", "bytes=1000-1999"]
        for request in cdn.requests:
            assert TOKEN not in str(request)
            assert {"authorization", "cookie"}.isdisjoint(request.headers)
        assert TOKEN in str(stage.file_requests()[0].headers)


@pytest.mark.parametrize("expired", [403, 404, 503])
def test_an_address_that_has_expired_is_asked_for_again(stage: Stage, expired: int) -> None:
    with LoopbackCdn(stage.server) as cdn:
        stage.read(0, 10)
        cdn.faults.append(Say(expired))
        assert stage.read(10, 10) == DATA[10:20]
        assert len(stage.file_requests()) == 2
        assert len(cdn.requests) == 3


def test_a_redirect_to_a_host_that_is_gone_says_so_without_its_address(stage: Stage) -> None:
    stage.server.elsewhere = f"http://localhost:{free_port()}"
    with pytest.raises(StoreUnreachable) as caught:
        stage.read(0, 10)
    assert SIGNATURE not in str(caught.value)


@pytest.mark.parametrize("fault", [BreakAfter(300_000), BreakAfter(0)])
def test_a_broken_body_is_taken_up_where_it_stopped(stage: Stage, fault: BreakAfter) -> None:
    stage.server.faults.append(fault)
    assert stage.read(10, 900_000) == DATA[10:900_010]
    first, second = [str(request.range) for request in stage.file_requests()]
    assert first == "bytes=10-900009"
    begin = int(second.removeprefix("bytes=").partition("-")[0])
    # The last piece before the break may be lost in buffers.
    assert 10 + fault.sent_bytes - 65_536 <= begin <= 10 + fault.sent_bytes


def test_reading_gives_up_after_a_bounded_number_of_breaks(stage: Stage) -> None:
    stage.server.faults += [BreakAfter(0)] * 100
    with pytest.raises(StoreUnreachable, match="given up after 6 attempts"):
        stage.read()
    assert len(stage.file_requests()) == 6


@pytest.mark.parametrize("retry_after", ["7", "in 7 s"])
@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_hub_gets_the_time_that_it_asks_for(stage: Stage, status: int, retry_after: str) -> None:
    if retry_after != "7":
        retry_after = format_datetime(datetime.now(UTC) + timedelta(seconds=9), usegmt=True)
    stage.server.faults.append(Say(status, {"Retry-After": retry_after}))
    assert stage.read(0, 10) == DATA[:10]
    assert 6 <= sum(stage.clock.slept_s) <= 10


def test_a_hub_that_asks_for_too_much_time_is_left_alone(stage: Stage) -> None:
    stage.server.faults.append(Say(429, {"Retry-After": "3600"}))
    with pytest.raises(StoreUnreachable, match="answered 429, and asks to wait 3600 s"):
        stage.read(0, 10)
    assert stage.clock.slept_s == []


def test_waiting_for_a_hub_ends_when_somebody_asks_to_stop(stage: Stage) -> None:
    stage.server.faults.append(Say(429, {"Retry-After": "30"}))
    stage.cancel.left = 3
    with pytest.raises(Stopped):
        stage.read(0, 10)
    assert sum(stage.clock.slept_s) < 3


@pytest.mark.parametrize(
    ("fault", "failure", "said"),
    [
        (Say(401, {"X-Error-Code": "GatedRepo"}), StoreDenied, "answered 401 GatedRepo to a request with a token"),
        (Say(403, {"X-Error-Code": "<script>"}), StoreDenied, "answered 403 to a request with a token"),
        (Say(404, {"X-Error-Code": "EntryNotFound"}), BlobMissing, "answered 404 EntryNotFound"),
        (Say(410), BlobMissing, "answered 410"),
        (Say(416), StoreBroken, "shorter there"),
        (Say(418), StoreBroken, "answered 418"),
        (Say(302, {"Location": "gopher://else/where"}), StoreBroken, "InvalidSchema"),
        (Relabel({"Content-Range": "bytes 1-100/1024000"}), StoreBroken, "has the bytes 1 to 101"),
        (Relabel({"Content-Range": "bytes 0-98/1024000"}), StoreBroken, "has the bytes 0 to 99"),
        (Relabel({"Content-Range": "pages 1-2"}), StoreBroken, "not understood"),
        (
            Relabel({"Content-Range": "bytes 0-99/100"}),
            BlobMissing,
            "another version there: 100 bytes, expected 1024000",
        ),
        (Relabel({"Content-Encoding": "gzip"}), StoreBroken, "compressed"),
    ],
)
def test_an_answer_that_cannot_be_used_is_named(stage: Stage, fault: Fault, failure: type[Failure], said: str) -> None:
    stage.server.faults.append(fault)
    with pytest.raises(failure, match=said) as caught:
        stage.read(0, 100)
    assert NAME in caught.value.subject or stage.source.name in caught.value.subject
    assert len(stage.file_requests()) == 1
    # Nothing is left in a connection that the next request would take for its answer.
    assert stage.read(0, 100) == DATA[:100]


def test_a_hub_that_ignores_the_range_is_read_from_the_right_place(stage: Stage) -> None:
    stage.server.faults.append(IgnoreRange())
    assert stage.read(500_000, 1000) == DATA[500_000:501_000]


@pytest.mark.parametrize("ignores_range", [False, True])
def test_a_hub_whose_bytes_drip_in_gives_what_came_once_a_second(stage: Stage, ignores_range: bool) -> None:
    """Whoever wanted to stop waited until a whole buffer was full, or all had come that was not asked for."""
    stage.read(0, 10)
    asked = stage.file_requests()[-1]
    address = f"{asked.raw_path}?{urlencode(asked.query)}"
    begin = 900_000
    with faulty_proxy(stage.server.endpoint) as proxy:
        if ignores_range:
            stage.server.faults.append(IgnoreRange())
        proxy.spoil("GET", Drip(1000, 0.05))
        connection = HubConnection("hub", Access(lambda _name: proxy.url + address))
        read = HubRead(connection, NAME, len(DATA), stage.clock.sleep)
        pieces = read.pieces(begin, len(DATA) - begin, memoryview(bytearray(2**20)))
        began_s = time.monotonic()
        first = bytes(next(pieces))
        assert time.monotonic() - began_s < 3
        assert DATA[begin : begin + len(first)] == first
        assert len(first) == 0 if ignores_range else 0 < len(first) < 100_000
        pieces.close()


def test_a_small_buffer_gets_small_pieces(stage: Stage) -> None:
    assert stage.read(0, 1000, piece_bytes=7) == DATA[:1000]


def test_without_a_network_the_hub_is_unreachable_after_two_attempts(
    monkeypatch: pytest.MonkeyPatch, clock: HeldClock
) -> None:
    use_hf(monkeypatch, f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    stage = Stage(LoopbackServer(), opened("huggingface", clock, StopAfter()), hf_manifest(NAME, DATA, COMMIT), clock)
    with pytest.raises(StoreUnreachable, match=rf"huggingface: {re.escape(NAME)}: \w+Error") as caught:
        stage.read(0, 10)
    assert TOKEN not in str(caught.value)
    assert 0 < sum(clock.slept_s) < 1


def test_the_library_s_offline_mode_means_this_program_too(monkeypatch: pytest.MonkeyPatch, clock: HeldClock) -> None:
    with LoopbackHfHub() as hub:
        use_hf(monkeypatch, hub.endpoint)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        stage = Stage(hub, opened("huggingface", clock, StopAfter()), hf_manifest(NAME, DATA, COMMIT), clock)
        with pytest.raises(StoreUnreachable, match="not asked, since HF_HUB_OFFLINE"):
            stage.read(0, 10)
        assert hub.requests == []


def test_the_token_of_the_cache_directory_serves_where_the_library_knows_none(
    monkeypatch: pytest.MonkeyPatch, clock: HeldClock, tmp_path_factory: pytest.TempPathFactory
) -> None:
    home = tmp_path_factory.mktemp("home")
    with LoopbackHfHub() as hub:
        commit = hub.commit("acme/painter", {NAME: DATA})
        use_hf(monkeypatch, hub.endpoint)
        manifest = hf_manifest(NAME, DATA, commit)
        for token, expected in (("", None), (f"{TOKEN}\n", f"Bearer {TOKEN}")):
            (home / "token").write_text(token)
            Stage(hub, opened("huggingface", clock, StopAfter(), str(home)), manifest, clock).read(0, 10)
            assert hub.requests[-1].headers.get("authorization") == expected


@pytest.mark.parametrize("kind", [RepoType.DATASET, RepoType.SPACE])
def test_datasets_and_spaces_have_their_own_addresses(
    monkeypatch: pytest.MonkeyPatch, clock: HeldClock, kind: RepoType
) -> None:
    with LoopbackHfHub() as hub:
        commit = hub.commit(f"{kind}s/acme/painter", {NAME: DATA})
        use_hf(monkeypatch, hub.endpoint)
        manifest = hf_manifest(NAME, DATA, commit, kind)
        assert Stage(hub, opened("huggingface", clock, StopAfter()), manifest, clock).read() == DATA
    with LoopbackModelScopeHub() as hub:
        name = {RepoType.DATASET: "datasets", RepoType.SPACE: "studios"}[kind]
        hub.publish(f"{name}/acme/painter", {NAME: DATA})
        monkeypatch.setenv("MODELSCOPE_ENDPOINT", hub.endpoint)
        manifest = modelscope_manifest(NAME, DATA, "master", kind)
        assert Stage(hub, opened("modelscope", clock, StopAfter()), manifest, clock).read() == DATA


def test_the_address_is_the_one_that_modelscope_s_own_client_makes(monkeypatch: pytest.MonkeyPatch) -> None:
    from modelscope_hub._legacy_api import LegacyClient

    from zimage_syncd.stores.hub_modelscope import reach

    monkeypatch.setenv("MODELSCOPE_ENDPOINT", "https://hub.example")
    ours = reach(key_of(revision="feature/x", layout=LayoutName.MODELSCOPE)).url_of(NAME)
    theirs = LegacyClient(None, "https://hub.example").get_download_url("acme/painter", "model", NAME, "feature/x")
    assert ours == theirs


def test_each_hub_serves_its_own_layouts_only(clock: HeldClock) -> None:
    served = {
        name: {layout for layout in LayoutName if opened(name, clock, StopAfter()).serves(key_of(layout=layout))}
        for name in ("huggingface", "modelscope")
    }
    assert served["huggingface"] == {LayoutName.HUGGINGFACE}
    assert served["modelscope"] == set(LayoutName) - served["huggingface"]


def test_nothing_of_a_hub_is_imported_before_it_is_read_from() -> None:
    code = """
import sys, zimage_syncd.services
from zimage_syncd.stores.hubs import open_hub
open_hub("huggingface", None, None, None, "/nowhere"), open_hub("modelscope", None, None, None, "/nowhere")
print(sorted({"requests", "urllib3", "huggingface_hub", "modelscope_hub", "httpx2"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, cwd=ROOT, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
