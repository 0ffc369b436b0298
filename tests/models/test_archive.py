from __future__ import annotations

import hashlib
import io
import json
import random
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ragagent.errors import ModelLoadError, ModelNotFound
from ragagent.models.archive import scan_archive
from ragagent.models.catalogue import Catalogue, FileSource, Model, ModelFile
from ragagent.models.store import ModelStore

FILES = {
    "a/one.bin": b"1" * 700,
    "two.json": b"{}",
    "empty.txt": b"",
    "three.safetensors": random.Random(3).randbytes(9000),
}


def model(name: str = "m", files: dict[str, bytes] = FILES, *, pinned: bool = True) -> Model:
    entries = tuple(
        ModelFile(path=path, sha256=hashlib.sha256(data).hexdigest() if pinned else None)
        for path, data in files.items()
    )
    return Model(name=name, kind="embedding", files=entries)


def filled(folder: Path, files: dict[str, bytes] = FILES) -> Path:
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return folder


@pytest.fixture
def origin(tmp_path: Path) -> ModelStore:
    """A store that holds the model `m`."""
    store = ModelStore(tmp_path / "origin", catalogue=Catalogue([model()]))
    store.pull("m", sources=[FileSource(path=filled(tmp_path / "raw"))])
    return store


@pytest.fixture
def archive(origin: ModelStore, tmp_path: Path) -> Path:
    """An archive of it."""
    return origin.export(["m"], tmp_path / "out" / "models.tar").path


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from(["a", "b/c", "b/d.json", "x" * 120]), st.binary(max_size=2000), min_size=1))
def test_what_is_exported_is_what_is_imported(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes]
) -> None:
    root = tmp_path_factory.mktemp("trip")
    store = ModelStore(root / "one", catalogue=Catalogue([model(files=files)]))
    store.pull("m", sources=[FileSource(path=filled(root / "raw", files))])
    for number, target in enumerate([root / "x.tar", root / "folder"]):
        store.export(["m"], target)
        other = ModelStore(root / f"other{number}", catalogue=Catalogue([]))
        assert other.import_(target).names == ("m",)
        assert contents(other.resolve("m")) == files
        assert other.verify("m").ok


def test_any_tar_can_read_the_archive(archive: Path) -> None:
    with tarfile.open(archive) as tar:
        assert tar.getnames() == ["manifest.json", *(f"m/{path}" for path in FILES)]
        assert {name: tar.extractfile(f"m/{name}").read() for name in FILES} == FILES  # type: ignore[union-attr]


def test_an_exported_folder_is_a_model_folder(origin: ModelStore, tmp_path: Path) -> None:
    exported = origin.export(["m", "m"], tmp_path / "stick")
    assert exported.names == ("m",)
    assert contents(ModelStore(tmp_path / "stick", catalogue=Catalogue([model()])).resolve("m")) == FILES


def test_a_second_import_writes_nothing(archive: Path, tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "there", catalogue=Catalogue([model()]))
    assert store.import_(archive).already == ()
    again = store.import_(archive)
    assert (again.already, again.size_bytes) == (("m",), 0)


def test_a_model_that_is_absent_or_damaged_is_not_exported(origin: ModelStore, tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound):
        ModelStore(tmp_path / "none", catalogue=Catalogue([model()])).export(["m"], tmp_path / "x.tar")
    (origin.folder / "m" / "three.safetensors").write_bytes(bytes(9000))
    for target in (tmp_path / "x.tar", tmp_path / "y"):
        with pytest.raises(ModelLoadError, match="is damaged"):
            origin.export(["m"], target)
    assert not (tmp_path / "x.tar").exists()
    assert list(tmp_path.glob(".x.tar*")) == []


def test_an_archive_cannot_pass_another_model_off_under_a_name_of_the_catalogue(archive: Path, tmp_path: Path) -> None:
    other = FILES | {"three.safetensors": b"other"}
    store = ModelStore(tmp_path / "there", catalogue=Catalogue([model(files=other)]))
    with pytest.raises(ModelLoadError, match=hashlib.sha256(b"other").hexdigest()):
        store.import_(archive)
    assert store.list()[0].state == "absent"


def test_an_archive_cannot_replace_what_an_earlier_pull_recorded(archive: Path, tmp_path: Path) -> None:
    other = FILES | {"two.json": b"[]"}
    store = ModelStore(tmp_path / "there", catalogue=Catalogue([model(pinned=False)]))
    store.pull("m", sources=[FileSource(path=filled(tmp_path / "other", other))])
    with pytest.raises(ModelLoadError, match="from an earlier pull"):
        store.import_(archive)
    assert contents(store.resolve("m")) == other


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_an_archive_with_a_flipped_byte_is_refused_or_harmless(
    archive: Path, tmp_path: Path, data: st.DataObject
) -> None:
    good = archive.read_bytes()
    where = data.draw(st.integers(0, len(good) - 1))
    bad = tmp_path / "bad.tar"
    bad.write_bytes(good[:where] + bytes([good[where] ^ 1 << data.draw(st.integers(0, 7))]) + good[where + 1 :])
    store = ModelStore(tmp_path / "there", catalogue=Catalogue([model()]))
    try:
        store.import_(bad)
    except ModelLoadError:
        return
    assert contents(store.resolve("m")) == FILES
    store.remove("m")


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.floats(0, 0.999))
def test_an_archive_that_was_cut_is_refused_or_whole(archive: Path, tmp_path: Path, share: float) -> None:
    good = archive.read_bytes()
    cut = tmp_path / "cut.tar"
    cut.write_bytes(good[: int(len(good) * share)])
    try:
        _, members = scan_archive(cut)
    except ModelLoadError:
        return
    last = members[-1]
    assert last.offset + last.file.size_bytes <= cut.stat().st_size


def rebuilt(archive: Path, change: Callable[[list[tuple[tarfile.TarInfo, bytes]]], None]) -> Path:
    """The archive with its members changed by `change`."""
    with tarfile.open(archive) as tar:
        members = [(info, (tar.extractfile(info) or io.BytesIO()).read()) for info in tar]
    change(members)
    with tarfile.open(archive.with_name("hostile.tar"), "w") as tar:
        for info, data in members:
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return archive.with_name("hostile.tar")


def a_link(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    link = tarfile.TarInfo(members[2][0].name)
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    members[2] = (link, b"")


def a_hard_link(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    members[2][0].type, members[2][0].linkname = tarfile.LNKTYPE, "manifest.json"


def a_device(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    members.append((tarfile.TarInfo("device"), b""))
    members[-1][0].type = tarfile.CHRTYPE


def one_more(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    members.append((tarfile.TarInfo("m/more"), b"more"))


def one_less(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    members.pop()


def climbing(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    members[1][0].name = "m/../../escape"


def no_manifest(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    del members[0]


def extended(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    members[1][0].pax_headers = {"comment": "x" * 100_000}


def larger(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    members[1] = (members[1][0], members[1][1] + b"more")


def manifest(field: str, value: Any) -> Callable[[list[tuple[tarfile.TarInfo, bytes]]], None]:
    def change(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
        data = json.loads(members[0][1])
        place = data["models"][0] if field in data["models"][0] else data["models"][0]["files"][0]
        (data if field in data else place)[field] = value
        members[0] = (members[0][0], json.dumps(data).encode())

    return change


@pytest.mark.parametrize(
    "change",
    [
        a_link,
        a_hard_link,
        a_device,
        one_more,
        one_less,
        climbing,
        no_manifest,
        extended,
        larger,
        manifest("path", "../../escape"),
        manifest("path", "/etc/cron.d/x"),
        manifest("name", "../m"),
        manifest("name", "hf:../../x"),
        manifest("kind", "voice"),
        manifest("sha256", "no hash"),
        manifest("size_bytes", -1),
        manifest("size_bytes", 1 << 60),
        manifest("files", []),
        manifest("version", 2),
        manifest("format", "zip"),
        manifest("models", []),
    ],
)
def test_a_hostile_archive_is_refused_with_nothing_changed(
    archive: Path, tmp_path: Path, change: Callable[[list[tuple[tarfile.TarInfo, bytes]]], None]
) -> None:
    bad = rebuilt(archive, change)
    before = contents(tmp_path)
    store = ModelStore(tmp_path / "there", catalogue=Catalogue([model()]))
    with pytest.raises(ModelLoadError):
        store.import_(bad)
    assert contents(tmp_path) == before


def test_something_that_is_no_archive_is_refused(tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "there", catalogue=Catalogue([]))
    (tmp_path / "noise.tar").write_bytes(random.Random(0).randbytes(5000))
    (tmp_path / "nothing").mkdir()
    for path in (tmp_path / "noise.tar", tmp_path / "nothing", tmp_path / "absent.tar"):
        with pytest.raises(ModelLoadError, match=path.name):
            store.import_(path)


def test_a_link_in_a_folder_is_not_followed(origin: ModelStore, tmp_path: Path) -> None:
    origin.export(["m"], tmp_path / "stick")
    place = tmp_path / "stick" / "m" / "two.json"
    place.rename(tmp_path / "elsewhere.json")
    place.symlink_to(tmp_path / "elsewhere.json")
    with pytest.raises(ModelLoadError, match="not a plain file"):
        ModelStore(tmp_path / "there", catalogue=Catalogue([model()])).import_(tmp_path / "stick")
