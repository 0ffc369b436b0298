from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragagent.errors import ConfigError, ModelDownloadError, ModelNotFound
from ragagent.models.access import Access, HubOptions
from ragagent.models.catalogue import HubSource, Model, ModelFile
from ragagent.models.sources_hub import embedding_files

COMMIT = "0123456789abcdef0123456789abcdef01234567"
EMBEDDER = {
    "config.json": b"{}",
    "modules.json": b"[]",
    "tokenizer.json": b"{ }",
    "1_Pooling/config.json": b"{  }",
    "model.safetensors": b"weights" * 1000,
}
LUMBER = {
    "README.md": b"read me",
    "pytorch_model.bin": b"pickle",
    "onnx/model.onnx": b"graph",
    "onnx/config.json": b"{}",
    ".gitattributes": b"x",
    "training_args.bin": b"pickle",
}


def gguf(sha256: str | None = None) -> Model:
    file = ModelFile(path="m.gguf", sha256=sha256)
    return Model(name="m", kind="chat", files=(file,), sources=(HubSource(repository="org/repo"),))


def serve_embedder(web: Any) -> None:
    for name, data in (EMBEDDER | LUMBER).items():
        web.put(f"org/embed/{name}", data, large=name.endswith((".safetensors", ".bin")))


def into_cache(cache: Path, repository: str, files: dict[str, bytes], commit: str = COMMIT, ref: str = "main") -> None:
    """Lays files out as hub tools do: blobs, links to them in a snapshot, and a reference."""
    root = cache / f"models--{repository.replace('/', '--')}"
    (root / "refs").mkdir(parents=True, exist_ok=True)
    (root / "refs" / ref).write_text(commit)
    for name, data in files.items():
        blob, link = root / "blobs" / hashlib.sha256(data).hexdigest(), root / "snapshots" / commit / name
        blob.parent.mkdir(exist_ok=True)
        link.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(data)
        link.symlink_to(blob)


def with_cache(access: Access, cache: Path) -> Access:
    return replace(access, hub=replace(access.hub, cache=cache))


paths = st.lists(
    st.sampled_from([*EMBEDDER, *LUMBER, "../../x.json", "/etc/passwd.json", "2_Dense/model.safetensors", "a\0.json"]),
    unique=True,
)


@given(paths)
def test_of_a_repository_only_what_the_model_is_loaded_from_is_taken(names: list[str]) -> None:
    taken = [file.path for file in embedding_files([ModelFile(path=name) for name in names])]
    assert set(taken) <= set(names) - {"../../x.json", "/etc/passwd.json", "a\0.json", "onnx/config.json", "README.md"}
    assert not {"training_args.bin", "onnx/model.onnx"} & set(taken)
    assert ("pytorch_model.bin" in taken) == (
        "pytorch_model.bin" in names and not any(name.endswith(".safetensors") for name in taken)
    )
    assert {name for name in names if name in ("config.json", "1_Pooling/config.json")} <= set(taken)


def test_a_file_of_a_hub_is_had_through_its_redirect_and_held_to_the_hash_the_hub_states(
    web: Any, make_store: Any
) -> None:
    sha256 = web.put("org/repo/m.gguf", b"GGUF" * 1000)
    pulled = make_store(gguf()).pull("m")
    assert pulled.path.read_bytes() == b"GGUF" * 1000
    assert [(file.sha256, file.trust) for file in pulled.files] == [(sha256, "source")]
    assert pulled.notes == ()


def test_bytes_that_are_not_what_the_hub_states_are_refused(web: Any, make_store: Any) -> None:
    web.put("org/repo/m.gguf", b"GGUF" * 1000)
    web.swaps["org/repo/m.gguf"] = b"EVIL" * 1000
    with pytest.raises(ModelDownloadError, match="has sha256"):
        make_store(gguf()).pull("m")


def test_a_hub_that_offers_another_hash_is_left_before_a_byte_is_kept(web: Any, make_store: Any) -> None:
    web.put("org/repo/m.gguf", b"GGUF" * 1000)
    store = make_store(gguf(sha256="0" * 64))
    with pytest.raises(ModelDownloadError, match=f"{'0' * 64} is expected"):
        store.pull("m")
    assert not [path for path in store.folder.rglob("*") if path.is_file() and path.suffix == ".part"]


def test_the_token_goes_to_the_hub(web: Any, make_store: Any, access: Access) -> None:
    web.put("org/repo/m.gguf", b"GGUF")
    web.needs_token = "secret"
    with pytest.raises(ModelDownloadError, match="set HF_TOKEN"):
        make_store(gguf()).pull("m")
    known = replace(access, hub=replace(access.hub, token="secret"))
    assert make_store(gguf(), access=known).pull("m").path.read_bytes() == b"GGUF"
    assert "secret" not in repr(known)


def test_the_token_does_not_follow_a_redirect_to_another_host(web: Any, make_store: Any, access: Access) -> None:
    web.put("org/repo/m.gguf", b"GGUF")
    web.needs_token, web.bytes_host = "secret", web.url.replace("127.0.0.1", "localhost")
    make_store(gguf(), access=replace(access, hub=replace(access.hub, token="secret"))).pull("m")
    assert [headers.get("Authorization") for _, headers in web.requests] == ["Bearer secret", None]


def test_a_reference_to_a_file_works_wherever_a_name_does(web: Any, make_store: Any) -> None:
    web.put("org/repo/sub/m.gguf", b"GGUF" * 10)
    store = make_store()
    name = "hf:org/repo/sub/m.gguf"
    with pytest.raises(ModelNotFound, match=f"ragagent models pull {name}"):
        store.resolve(name)
    pulled = store.pull(name)
    assert store.resolve(name) == pulled.path == store.path(name)
    assert pulled.path.read_bytes() == b"GGUF" * 10
    assert store.verify(name).ok
    assert [(entry.name, entry.state) for entry in store.list()] == [(name, "present")]
    store.remove(name)
    assert store.list() == ()


def test_a_reference_to_a_repository_is_a_folder_of_an_embedding_model(web: Any, make_store: Any) -> None:
    serve_embedder(web)
    store = make_store()
    pulled = store.pull("hf:org/embed@v1")
    assert pulled.path == store.resolve("hf:org/embed@v1")
    found = {path.relative_to(pulled.path).as_posix() for path in pulled.path.rglob("*") if path.is_file()}
    assert found == set(EMBEDDER)
    trust = {file.path: file.trust for file in pulled.files}
    assert trust["model.safetensors"] == "source"
    assert trust["config.json"] == "first pull"
    assert all(COMMIT in path for path, _ in web.requests if "/resolve/" in path)


def test_a_repository_without_a_model_is_refused(web: Any, make_store: Any) -> None:
    web.put("org/data/table.csv", b"1,2")
    with pytest.raises(ModelDownloadError, match="no sentence-transformers model"):
        make_store().pull("hf:org/data")


def test_what_the_hubs_own_cache_holds_is_not_fetched_again(
    web: Any, make_store: Any, access: Access, tmp_path: Path
) -> None:
    into_cache(tmp_path / "hub", "org/repo", {"m.gguf": b"GGUF"})
    into_cache(tmp_path / "hub", "org/embed", EMBEDDER | LUMBER)
    offline = replace(access, hub=replace(access.hub, cache=tmp_path / "hub", offline=True))
    store = make_store(gguf(hashlib.sha256(b"GGUF").hexdigest()), access=offline)
    assert store.pull("m").path.read_bytes() == b"GGUF"
    assert not store.path("m").is_symlink()
    folder = store.pull("hf:org/embed").path
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} == set(EMBEDDER)
    assert web.requests == []
    with pytest.raises(ModelDownloadError, match=r"HF_HUB_OFFLINE.*not in the hub's cache"):
        store.pull("hf:org/other")


def test_a_cached_file_with_another_hash_is_not_used(web: Any, make_store: Any, access: Access, tmp_path: Path) -> None:
    into_cache(tmp_path / "hub", "org/repo", {"m.gguf": b"EVIL"})
    sha256 = web.put("org/repo/m.gguf", b"GGUF")
    store = make_store(gguf(sha256), access=with_cache(access, tmp_path / "hub"))
    assert store.pull("m").path.read_bytes() == b"GGUF"


def test_a_pinned_file_is_found_in_any_snapshot(web: Any, make_store: Any, access: Access, tmp_path: Path) -> None:
    into_cache(tmp_path / "hub", "org/repo", {"m.gguf": b"GGUF"}, commit="a" * 40)
    into_cache(tmp_path / "hub", "org/repo", {"other": b""}, commit="b" * 40)
    store = make_store(gguf(hashlib.sha256(b"GGUF").hexdigest()), access=with_cache(access, tmp_path / "hub"))
    assert store.pull("m").path.read_bytes() == b"GGUF"
    assert web.requests == []


@pytest.mark.parametrize(
    ("environ", "cache"),
    [
        ({"HF_HUB_CACHE": "/c", "HF_HOME": "/h", "HOME": "/u"}, "/c"),
        ({"HF_HOME": "/h", "HOME": "/u"}, "/h/hub"),
        ({"XDG_CACHE_HOME": "/x", "HOME": "/u"}, "/x/huggingface/hub"),
        ({"HOME": "/u"}, "/u/.cache/huggingface/hub"),
    ],
)
def test_the_cache_is_where_hub_tools_have_it(environ: dict[str, str], cache: str) -> None:
    assert HubOptions.from_environ(environ).cache == Path(cache)


def test_hub_options_come_from_the_variables_given_and_from_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "of the process")
    assert HubOptions.from_environ({}) == HubOptions()
    options = HubOptions.from_environ({"HF_ENDPOINT": "http://mirror/", "HF_TOKEN": " t\n", "HF_HUB_OFFLINE": "True"})
    assert (options.endpoint, options.token, options.offline) == ("http://mirror", "t", True)
    with pytest.raises(ConfigError, match="HF_ENDPOINT"):
        HubOptions.from_environ({"HF_ENDPOINT": "mirror"})
