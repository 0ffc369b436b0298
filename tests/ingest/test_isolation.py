"""Readers that crash, hang, swell or multiply are a line of the report each, and everything else is brought in."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ragagent import KnowledgeBase, Settings
from ragagent.connectors.readers import Reading
from ragagent.errors import OverLimit, ReaderCrashed, ReadError
from ragagent.ingest.isolation import tree, wire
from ragagent.ingest.isolation.pool import Pool
from ragagent.protocols import Fetched
from ragagent.settings import IngestSettings
from ragagent.testing.embedding import HashEmbedder
from ragagent.types import Document

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory and processes are counted on Linux alone")

LIMITS = IngestSettings(workers=3, file_seconds=6, file_memory_mb=128)

# A reader plugged in for a media type that has none. Each file says in its second word what is to happen.
HOSTILE = """
import ctypes, os, socket, subprocess, sys, time
from ragagent.connectors.readers import Parsed
from ragagent.connectors.readers.format import Format

def read(data, *, name, limits):
    said = globals()["do_" + data.split()[1].decode()]()
    return Parsed(text=said or "nothing happened", media_type="application/x-gguf")

def do_segfault():
    ctypes.string_at(0)

def do_abort():
    os.abort()

def do_exit():
    os._exit(0)

def do_loop():
    while True:
        pass

def do_wait():
    open(__file__ + ".waits", "w").close()
    time.sleep(1000)

def do_swell():
    held = []
    while True:
        held.append(bytearray(8 << 20))

def do_swell_and_recover():
    held = []
    try:
        while True:
            held.append(b"x" * (4 << 20))
    except MemoryError:
        held.clear()
    return "had enough"

def do_swell_below():
    swell = "held = []\\nwhile True: held.append(bytearray(8 << 20))"
    done = subprocess.run([sys.executable, "-c", swell], capture_output=True, text=True)
    return done.stderr.split()[-1] + " in a program of the reader's"

def do_multiply():
    while True:
        if os.fork() == 0:
            time.sleep(1000)

def do_detach():
    if os.fork() == 0:
        os.setsid()
        os.closerange(0, 64)
        time.sleep(1000)
    return "left something behind"

def do_return_twice():
    os.fork()
    return "came back"

def do_shout():
    os.write(1, b"x" * 100000)
    print("y" * 100000, flush=True)
    return "shouted"

def do_connect():
    try:
        socket.create_connection(("127.0.0.1", 9), timeout=1)
    except PermissionError:
        return "no network here"

FORMATS = (Format(media_type="application/x-gguf", read=read),)
"""


@pytest.fixture(scope="module")
def plugged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the hostile reader installed in it, which reading processes can import from."""
    site = tmp_path_factory.mktemp("site")
    (site / "hostile_reader.py").write_text(HOSTILE)
    about = site / "hostile_reader-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: hostile-reader\nVersion: 1\n")
    (about / "entry_points.txt").write_text("[ragagent.readers]\nhostile = hostile_reader\n")
    sys.path.append(str(site))
    yield site
    sys.path.remove(str(site))


@pytest.fixture(scope="module")
def pool(plugged: Path) -> Iterator[Pool]:
    with contextlib.closing(Pool()) as pool:
        yield pool


def hostile(what: str) -> Fetched:
    return Fetched(uri=f"test:/{what}", name=f"{what}.bin", content=f"GGUF {what} it".encode())


def text_of(pool: Pool, what: str, limits: IngestSettings = LIMITS) -> str:
    with pool.process() as process:
        *_, own = process.read(hostile(what), limits)
    assert isinstance(own, Document)
    return own.text


def left_of(pid: int) -> list[int]:
    """What there is of a process and all below it, zombies too."""
    return [one for one in (pid, *tree.below(pid)) if Path(f"/proc/{one}").exists()]


@pytest.mark.parametrize(
    ("what", "error", "reason"),
    [
        ("segfault", ReaderCrashed, "SIGSEGV"),
        ("abort", ReaderCrashed, "SIGABRT"),
        ("exit", ReaderCrashed, "exit code 0"),
        ("swell", OverLimit, "more than 128 MB of memory"),
        ("multiply", OverLimit, "more than (64 processes|128 MB of memory)"),
    ],
)
def test_a_reader_that_crashes_or_swells_is_told_as_it_is_and_nothing_of_it_is_left(
    pool: Pool, what: str, error: type[ReadError], reason: str
) -> None:
    with pool.process() as process:
        pid = process.pid
        with pytest.raises(error, match=reason):
            list(process.read(hostile(what), IngestSettings(file_seconds=60, file_memory_mb=128)))
        # One that swells may be told so by its own limit, and go on then.
        assert tree.below(pid) == []
        assert process.usable or left_of(pid) == []


def test_what_the_application_has_in_memory_is_not_laid_at_a_readers_door(plugged: Path) -> None:
    much = np.ones(512 << 20, dtype=np.uint8)
    with (
        contextlib.closing(Pool()) as pool,
        pool.process() as process,
        pytest.raises(ReaderCrashed, match="SIGSEGV"),
    ):
        list(process.read(hostile("segfault"), IngestSettings(file_memory_mb=128)))
    assert much[-1] == 1


@pytest.mark.parametrize("what", ["swell_and_recover", "swell_below"])
def test_what_an_earlier_file_took_is_not_laid_at_a_later_ones_door(pool: Pool, what: str) -> None:
    with pool.process() as process:
        list(process.read(hostile(what), LIMITS))
        pid = process.pid
    with pool.process() as process:
        assert process.pid == pid
        with pytest.raises(ReaderCrashed, match="SIGSEGV"):
            list(process.read(hostile("segfault"), LIMITS))


@pytest.mark.parametrize("what", ["loop", "wait"])
def test_a_reader_that_never_ends_is_ended_when_its_time_is_up(pool: Pool, what: str) -> None:
    with pool.process() as process, pytest.raises(OverLimit, match=r"longer than 0\.5 s \(setting ingest.file_sec"):
        list(process.read(hostile(what), IngestSettings(file_seconds=0.5)))
    assert left_of(process.pid) == []


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("shout", "shouted"),
        ("return_twice", "came back"),
        ("detach", "left something behind"),
        ("swell_below", "MemoryError in a program of the reader's"),
        ("connect", "no network here"),
    ],
)
def test_what_a_reader_prints_starts_or_connects_to_stays_within_its_bounds(pool: Pool, what: str, said: str) -> None:
    assert text_of(pool, what) == said
    with pool.process() as process:
        assert tree.below(process.pid) == []
    assert text_of(pool, what) == said


def test_one_hostile_file_of_each_kind_keeps_no_other_from_being_brought_in(plugged: Path, tmp_path: Path) -> None:
    folder = tmp_path / "documents"
    folder.mkdir()
    kinds = ("segfault", "exit", "loop", "wait", "swell", "multiply")
    for what in kinds:
        (folder / f"{what}.bin").write_bytes(f"GGUF {what} it".encode())
    for number in range(12):
        (folder / f"page{number}.html").write_text(f"<html><body><p>Page {number} is harmless.</p></body></html>")
    os.mkfifo(folder / "pipe.txt")
    settings = Settings(ingest=LIMITS)
    with KnowledgeBase.open(tmp_path / "kb", settings=settings, embedder=HashEmbedder()) as kb:
        report = kb.ingest(folder)
        assert report.added == 12
        failures = {Path(one.uri).stem: one.kind for one in report.failures}
        again = kb.ingest(folder)
    assert failures == {
        **dict.fromkeys(("segfault", "exit"), "ReaderCrashed"),
        **dict.fromkeys(("loop", "wait", "swell", "multiply"), "OverLimit"),
        "pipe": "UnsupportedFormat",
    }
    assert (again.unchanged, again.added, again.failed) == (12, 0, len(failures))


def test_a_file_over_the_memory_that_its_reader_has_is_left_out_by_name(tmp_path: Path) -> None:
    folder = tmp_path / "documents"
    folder.mkdir()
    (folder / "ok.csv").write_text("name,year\nbee,1999\n")
    (folder / "line.csv").write_bytes(b"cell," * 8_000_000)
    limits = IngestSettings(file_memory_mb=64)
    with KnowledgeBase.open(tmp_path / "kb", settings=Settings(ingest=limits), embedder=HashEmbedder()) as kb:
        report = kb.ingest(folder)
    assert report.added == 1
    assert [(Path(one.uri).name, one.kind) for one in report.failures] == [("line.csv", "OverLimit")]


def test_a_process_serves_one_file_after_another_and_one_after_a_crash_is_a_new_one(pool: Pool) -> None:
    pids = set()
    for _ in range(3):
        with pool.process() as process:
            pids.add(process.pid)
            found, *_ = process.read(hostile("shout"), LIMITS)
            assert isinstance(found, wire.Found)
    assert len(pids) == 1
    with pool.process() as process, pytest.raises(ReaderCrashed):
        list(process.read(hostile("segfault"), LIMITS))
    with pool.process() as process:
        assert process.pid not in pids


@pytest.mark.parametrize(("patience_s", "processes"), [(60.0, 1), (0.0, 2)])
def test_another_process_is_started_only_where_a_file_has_waited_for_one(
    monkeypatch: pytest.MonkeyPatch, patience_s: float, processes: int
) -> None:
    monkeypatch.setattr("ragagent.ingest.isolation.pool._WAIT_S", patience_s)
    pids: list[int] = []
    begun, both = threading.Event(), threading.Event()
    with contextlib.closing(Pool()) as pool:

        def second() -> None:
            begun.wait()
            with pool.process() as process:
                pids.append(process.pid)
                both.set()

        waiting = threading.Thread(target=second)
        waiting.start()
        with pool.process() as process:
            pids.append(process.pid)
            page = Fetched(uri="test:/p", name="p.html", content=b"<html><body><p>A page.</p></body></html>")
            begun.set()
            if processes > 1:
                both.wait()
            assert len(list(process.read(page, IngestSettings()))) == 2
        waiting.join()
    assert len(pids) == 2
    assert len(set(pids)) == processes


def test_a_reading_process_ends_with_the_one_that_started_it(plugged: Path) -> None:
    program = """
import sys, time
sys.path.append(sys.argv[1])
from ragagent.ingest.isolation.process import ReadingProcess
from ragagent.protocols import Fetched
from ragagent.settings import IngestSettings
process = ReadingProcess()
found = process.read(Fetched(uri="test:/a", name="a.bin", content=b"GGUF shout it"), IngestSettings())
next(found)
print(process.pid, flush=True)
time.sleep(1000)
"""
    parent = subprocess.Popen([sys.executable, "-c", program, str(plugged)], stdout=subprocess.PIPE, text=True)
    with parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.kill()
    assert _gone(pid)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_ingest_that_is_interrupted_or_killed_leaves_no_process(
    plugged: Path, tmp_path: Path, number: signal.Signals
) -> None:
    """The file of an endless reader is in hand when it ends."""
    program = """
import signal, sys
from pathlib import Path
# A shell that runs the tests in its background has them, and all they start, ignore an interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.path.append(sys.argv[1])
from ragagent import KnowledgeBase
from ragagent.testing.embedding import HashEmbedder
with KnowledgeBase.open(sys.argv[2], embedder=HashEmbedder()) as kb:
    kb.ingest(Path(sys.argv[3]))
"""
    folder = tmp_path / "documents"
    folder.mkdir()
    (folder / "endless.bin").write_bytes(b"GGUF wait it")
    command = [sys.executable, "-c", program, str(plugged), str(tmp_path / "kb"), str(folder)]
    waits = plugged / "hostile_reader.py.waits"
    waits.unlink(missing_ok=True)
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as run:
        _wait_for(waits)
        below = tree.below(run.pid)
        assert below
        run.send_signal(number)
        run.wait(60)
    assert all(map(_gone, below))


def _wait_for(file: Path) -> None:
    for _ in range(2400):
        if file.exists():
            return
        time.sleep(0.05)
    raise AssertionError("the reader has not begun within two minutes")


def _gone(pid: int) -> bool:
    for _ in range(1200):
        if not Path(f"/proc/{pid}").exists():
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"op": 3}', b"\xff", b"[" * 100_000, b'{"op":' * 100_000])
def test_nonsense_from_a_reading_process_is_no_message(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        wire.unpacked(data)


def test_a_message_comes_out_as_it_went_in_and_for_no_other_item() -> None:
    fetched = Fetched(uri="test:/a", name="a", content=b"", acl=("me",))
    document = Document(uri="test:/a!/b\udc80", text="\ud800 text", acl=("me",), metadata={"pages": 2, "of": "x"})
    *_, (header, body) = wire.answer(Reading(document=document))
    received = wire.unpacked(header[wire.LENGTHS.size :])
    assert wire.document(received, body, of=fetched) == document
    for other in (replace(fetched, uri="test:/b"), replace(fetched, acl=())):
        with pytest.raises(ValueError, match="for readers"):
            wire.document(received, body, of=other)
