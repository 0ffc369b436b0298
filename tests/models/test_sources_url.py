from __future__ import annotations

import hashlib
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ragagent.errors import ModelDownloadError, StorageFull
from ragagent.models.access import Access, HubOptions
from ragagent.models.catalogue import Model, ModelFile, UrlSource
from ragagent.models.sources_url import fetch_url
from ragagent.models.transfer import Meter

DATA = random.Random(1).randbytes(300_000)
SHA = hashlib.sha256(DATA).hexdigest()


class Heard:
    """A progress that remembers."""

    def __init__(self) -> None:
        self.events: list[tuple[str, int, int | None, str]] = []

    def update(self, stage: str, done: int, total: int | None, detail: str = "") -> None:
        self.events.append((stage, done, total, detail))


def model(web: Any, sha256: str | None = SHA, size: int | None = len(DATA)) -> Model:
    web.files.setdefault("m.gguf", DATA)
    file = ModelFile(path="m.gguf", sha256=sha256, size_bytes=size)
    return Model(name="m", kind="chat", files=(file,), sources=(UrlSource(url=f"{web.url}/bytes/{{file}}"),))


def leftovers(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(0, 299_999), max_size=6), ranges=st.booleans(), validators=st.booleans())
def test_a_download_cut_anywhere_ends_with_exactly_the_bytes_or_an_error_and_a_part_to_go_on_with(
    web: Any, access: Access, tmp_path_factory: pytest.TempPathFactory, cuts: list[int], ranges: bool, validators: bool
) -> None:
    web.files["m.gguf"], web.cuts, web.ranges, web.validators = DATA, list(cuts), ranges, validators
    into = tmp_path_factory.mktemp("into")
    file = ModelFile(path="m.gguf")
    meter = Meter(None, "download", len(DATA))
    source = UrlSource(url=f"{web.url}/bytes/m.gguf")
    try:
        fetch_url(source, [file], into, access, meter)
    except ModelDownloadError:
        assert len(cuts) >= access.network.attempts
        web.cuts = []
        meter = Meter(None, "download", len(DATA))
        fetch_url(source, [file], into, access, meter)
    assert (into / "m.gguf").read_bytes() == DATA
    assert meter.done == len(DATA)
    assert leftovers(into) == ["m.gguf"]


def test_a_cut_download_goes_on_where_it_stopped(web: Any, make_store: Any) -> None:
    web.cuts = [100_000, 50_000]
    store = make_store(model(web))
    pulled = store.pull("m")
    assert pulled.path.read_bytes() == DATA
    assert [headers.get("Range") for headers in web.bytes_requests()] == [None, "bytes=100000-", "bytes=150000-"]


def test_a_later_pull_goes_on_where_a_failed_one_stopped(web: Any, make_store: Any) -> None:
    web.cuts = [100_000, 0, 0, 0]
    store = make_store(model(web))
    with pytest.raises(ModelDownloadError, match="100000 bytes are kept"):
        store.pull("m")
    assert not store.path("m").exists()
    web.cuts, web.requests = [], []
    store.pull("m")
    assert [headers.get("Range") for headers in web.bytes_requests()] == ["bytes=100000-"]
    assert store.path("m").read_bytes() == DATA


def test_a_file_that_changed_between_two_tries_is_taken_whole(web: Any, access: Access, tmp_path: Path) -> None:
    web.files["m.gguf"], web.cuts = b"old" * 50_000, [100_000, 0, 0]
    source, file = UrlSource(url=f"{web.url}/bytes/m.gguf"), ModelFile(path="m.gguf")
    with pytest.raises(ModelDownloadError):
        fetch_url(source, [file], tmp_path, access, Meter(None, "download", None))
    web.files["m.gguf"] = DATA
    fetch_url(source, [file], tmp_path, access, Meter(None, "download", None))
    assert (tmp_path / "m.gguf").read_bytes() == DATA


def test_a_wrong_file_is_not_put_in_place_and_both_hashes_are_told(web: Any, make_store: Any) -> None:
    store = make_store(model(web))
    web.swaps["m.gguf"] = bytes(300_000)
    with pytest.raises(ModelDownloadError) as caught:
        store.pull("m")
    assert SHA in str(caught.value)
    assert hashlib.sha256(bytes(300_000)).hexdigest() in str(caught.value)
    assert leftovers(store.folder) == [".locks/m.lock"]


def test_a_wrong_file_leaves_the_good_ones_alone(web: Any, make_store: Any) -> None:
    good = ModelFile(path="good.gguf", sha256=hashlib.sha256(b"good").hexdigest(), size_bytes=4)
    bad = ModelFile(path="bad.gguf", sha256=hashlib.sha256(b"fine").hexdigest(), size_bytes=4)
    web.files |= {"good.gguf": b"good", "bad.gguf": b"evil"}
    source = UrlSource(url=f"{web.url}/bytes/{{file}}")
    store = make_store(Model(name="m", kind="chat", files=(good, bad), sources=(source,)))
    place = store.folder / "m" / "good.gguf"
    place.parent.mkdir(parents=True)
    place.write_bytes(b"good")
    before = place.stat()
    with pytest.raises(ModelDownloadError, match=r"bad\.gguf has sha256"):
        store.pull("m")
    assert (place.stat().st_ino, place.read_bytes()) == (before.st_ino, b"good")
    web.files["bad.gguf"] = b"fine"
    store.pull("m")
    assert place.stat().st_ino == before.st_ino
    assert (store.folder / "m" / "bad.gguf").read_bytes() == b"fine"


def test_a_spoiled_partial_download_is_given_up_and_the_file_is_had_anew(web: Any, make_store: Any) -> None:
    web.cuts = [100_000, 0, 0, 0]
    store = make_store(model(web))
    with pytest.raises(ModelDownloadError):
        store.pull("m")
    part = next(store.folder.rglob("m.gguf.part"))
    part.write_bytes(b"x" + part.read_bytes()[1:])
    web.cuts = []
    assert store.pull("m").path.read_bytes() == DATA
    assert leftovers(store.folder) == [".locks/m.lock", "m.json", "m/m.gguf"]


def test_a_busy_server_is_asked_again(web: Any, make_store: Any) -> None:
    web.statuses = [503, 429]
    assert make_store(model(web)).pull("m").path.read_bytes() == DATA


@pytest.mark.parametrize(("status", "words"), [(404, "answered 404"), (403, "HF_TOKEN"), (500, "answered 500")])
def test_a_refusal_says_which_source_and_why(web: Any, make_store: Any, status: int, words: str) -> None:
    web.statuses = [status] * 10
    store = make_store(model(web))
    with pytest.raises(ModelDownloadError) as caught:
        store.pull("m")
    assert f"url {web.url}" in str(caught.value)
    assert words in str(caught.value)


def test_a_file_of_another_size_is_refused_before_it_is_fetched(web: Any, make_store: Any) -> None:
    with pytest.raises(ModelDownloadError, match="300000 bytes are offered, 5 are expected"):
        make_store(model(web, size=5)).pull("m")


def test_a_file_nobody_has_a_hash_for_is_recorded_and_held_to_that(web: Any, make_store: Any) -> None:
    store = make_store(model(web, sha256=None, size=None))
    pulled = store.pull("m")
    assert [(file.sha256, file.trust) for file in pulled.files] == [(SHA, "first pull")]
    assert any("nobody publishes a sha256 for m.gguf" in note and SHA in note for note in pulled.notes)
    assert store.verify("m").ok
    store.path("m").write_bytes(DATA[:-1] + b"?")
    assert [check.state for check in store.verify("m").files] == ["wrong"]
    web.files["m.gguf"] = bytes(len(DATA))
    with pytest.raises(ModelDownloadError, match=SHA):
        store.pull("m")
    web.files["m.gguf"] = DATA
    store.pull("m")
    assert store.verify("m").ok


def test_a_model_larger_than_the_disk_is_refused_before_anything_is_fetched(web: Any, make_store: Any) -> None:
    with pytest.raises(StorageFull, match=r"1,125,899,[\d,]+ bytes are needed and [\d,]+ are free"):
        make_store(model(web, size=1 << 50)).pull("m")
    assert web.requests == []


def test_a_server_that_stalls_is_left_and_asked_again(web: Any, access: Access, make_store: Any) -> None:
    from dataclasses import replace

    impatient = replace(access, network=replace(access.network, read_timeout_s=0.2, attempts=2))
    web.pause_s = 1.0
    with pytest.raises(ModelDownloadError, match="timed out"):
        make_store(model(web), access=impatient).pull("m")
    assert len(web.bytes_requests()) >= 2


def test_progress_counts_the_bytes_of_the_download_and_of_the_check(web: Any, make_store: Any) -> None:
    heard = Heard()
    web.cuts = [123_456]
    make_store(model(web)).pull("m", progress=heard)
    for stage in ("download", "verify"):
        counts = [done for name, done, _, _ in heard.events if name == stage]
        assert counts[-1] == len(DATA)
        assert counts == sorted(counts)
        assert {total for name, _, total, _ in heard.events if name == stage} - {0} == {len(DATA)}


@pytest.mark.parametrize(
    ("access", "words"),
    [
        (Access(download="never"), "models.download = never"),
        (Access(hub=HubOptions(offline=True)), "HF_HUB_OFFLINE"),
    ],
)
def test_offline_asks_nobody_and_says_who_forbade_it(web: Any, make_store: Any, access: Access, words: str) -> None:
    with pytest.raises(ModelDownloadError, match=words):
        make_store(model(web), access=access).pull("m")
    assert web.requests == []
