"""Every reader against damaged files: each is read or refused, in bounded time and memory, and nothing else happens.

    python -m ragagent.testing.fuzz_readers --inputs 20000 --seed 1 --files sets/messy_docs --keep broken/

Real files (those of --files up to 300 kB) and small generated ones of every format are changed: bits flipped, ends cut
off, pieces spliced in, blocks repeated, lengths overwritten, and parts of ZIP containers changed inside the container,
where their checksums do not protect them. A worker process reads each under a limit of memory; one that takes longer
than the limit, or dies, is a finding, as is any exception that is no ReadError and any text that breaks the laws of a
document. JSON is printed at the end; the exit status is 1 when there is a finding. Findings are written to --keep, and
a run is repeated exactly by its --seed.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import multiprocessing
import random
import sys
import time
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

MAX_SEED_BYTES = 300_000
MEMORY_BYTES = 3 * 1024 * 1024 * 1024
_SLOWEST = 10
_TOKENS = (
    *(b"<", b">", b"</", b"<!--", b"{", b"}", b"\\", b'"', b"'", b"&amp;", b"&#x110000;", b"%", b"|", b"\n\n", b"\r"),
    *(b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"999999999", b"-1", b"1e999", b"NaN", b"\\begin{a}", b"obj", b"endstream"),
)
_LENGTHS = (0, 1, 0x7F, 0x80, 0xFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """An input that did something else than being read or refused."""

    name: str
    kind: str
    detail: str
    number: int


@dataclass(slots=True)
class Report:
    """What became of the inputs. `outcomes` counts them; `unforeseen` are refusals that no reader had in mind."""

    inputs: int = 0
    seconds: float = 0.0
    outcomes: Counter[str] = field(default_factory=Counter)
    formats: Counter[str] = field(default_factory=Counter)
    unforeseen: Counter[str] = field(default_factory=Counter)
    slowest: list[tuple[float, str, int]] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def note(self, number: int, name: str, seconds: float, outcome: str, detail: str) -> None:
        """Takes in the result of one input."""
        self.inputs += 1
        self.outcomes[outcome] += 1
        self.formats[Path(name).suffix or name] += 1
        if "beyond the" in detail:
            self.unforeseen[detail.split(": ", 1)[-1][:100]] += 1
        self.slowest = sorted([*self.slowest, (round(seconds, 2), name, number)], reverse=True)[:_SLOWEST]
        if outcome in {"crash", "hang", "exception", "law"}:
            self.findings.append(Finding(name=name, kind=outcome, detail=detail[:300], number=number))


def main() -> None:
    """Runs the program."""
    arguments = _arguments()
    sources = seeds(arguments.files)
    report = fuzz(sources, inputs=arguments.inputs, seed=arguments.seed, limit_s=arguments.limit, keep=arguments.keep)
    printed: dict[str, Any] = {
        "inputs": report.inputs,
        "seeds": len(sources),
        "seconds": round(report.seconds, 1),
        "outcomes": dict(report.outcomes.most_common()),
        "formats": dict(report.formats.most_common()),
        "unforeseen": dict(report.unforeseen.most_common(20)),
        "slowest": report.slowest,
        "findings": [{key: getattr(one, key) for key in one.__slots__} for one in report.findings],
    }
    sys.stdout.write(json.dumps(printed, indent=1) + "\n")
    sys.exit(1 if report.findings else 0)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--limit", type=float, default=20.0, metavar="SECONDS", help="time that one input may take")
    parser.add_argument("--files", type=Path, help="a folder of real files to change")
    parser.add_argument("--keep", type=Path, help="a folder to write findings to")
    return parser.parse_args()


def seeds(folder: Path | None) -> list[tuple[str, bytes]]:
    """(name, content) of the files to change: generated ones, and those of `folder` that are small enough."""
    found = list(generated().items())
    if folder is not None:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            if 0 < path.stat().st_size <= MAX_SEED_BYTES and not path.name.endswith((".expected.md", ".jsonl")):
                found.append((path.name, path.read_bytes()))
    return found


def fuzz(
    sources: Sequence[tuple[str, bytes]], *, inputs: int, seed: int, limit_s: float = 20.0, keep: Path | None = None
) -> Report:
    """Changes `sources` in `inputs` ways and reads each; the same arguments give the same inputs."""
    report, begin = Report(), time.perf_counter()
    worker = _Worker(limit_s)
    by_kind: dict[str, list[tuple[str, bytes]]] = {}
    for source in sources:
        by_kind.setdefault(Path(source[0]).suffix.lower(), []).append(source)
    kinds = sorted(by_kind)
    try:
        for number in range(inputs):
            chance = random.Random(f"{seed}:{number}")
            name, content = chance.choice(by_kind[chance.choice(kinds)])
            other = (
                chance.choice(sources)[1]
                if chance.random() < 0.2
                else chance.choice(by_kind[Path(name).suffix.lower()])[1]
            )
            changed = mutated(content, other, chance)
            seconds, outcome, detail = worker.read(name, changed)
            report.note(number, name, seconds, outcome, detail)
            if keep is not None and report.findings and report.findings[-1].number == number:
                keep.mkdir(parents=True, exist_ok=True)
                (keep / f"{number}-{name}").write_bytes(changed)
    finally:
        worker.stop()
    report.seconds = time.perf_counter() - begin
    return report


def mutated(content: bytes, other: bytes, chance: random.Random) -> bytes:
    """`content` with one to six changes, some of them pieces of `other`."""
    if content.startswith(b"PK\3\4") and chance.random() < 0.6:
        with contextlib.suppress(Exception):  # a seed that is no sound container is changed as bytes
            return _inside_zip(content, other, chance)
    data = bytearray(content)
    for _ in range(chance.randint(1, 6)):
        chance.choice(_CHANGES)(data, other, chance)
    return bytes(data)


def _inside_zip(content: bytes, other: bytes, chance: random.Random) -> bytes:
    """One part of a container changed, and the container made anew."""
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as made:
        chosen = chance.choice(source.namelist())
        for name in source.namelist():
            part = bytearray(source.read(name))
            if name == chosen:
                for _ in range(chance.randint(1, 6)):
                    chance.choice(_CHANGES)(part, other, chance)
            made.writestr(name, bytes(part))
    return target.getvalue()


def _flip(data: bytearray, other: bytes, chance: random.Random) -> None:
    for _ in range(chance.randint(1, 16) if data else 0):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def _cut(data: bytearray, other: bytes, chance: random.Random) -> None:
    at = chance.randint(0, len(data))
    del data[at : at + chance.choice((1, 4, 64, 4096, len(data)))]


def _splice(data: bytearray, other: bytes, chance: random.Random) -> None:
    begin, at = chance.randint(0, len(other)), chance.randint(0, len(data))
    data[at:at] = other[begin : begin + chance.choice((4, 64, 1024, 16384))]


def _repeat(data: bytearray, other: bytes, chance: random.Random) -> None:
    at, length = chance.randint(0, len(data)), chance.choice((1, 8, 64, 512))
    data[at:at] = data[at : at + length] * chance.choice((2, 16, 256))


def _length(data: bytearray, other: bytes, chance: random.Random) -> None:
    size, at = chance.choice((1, 2, 4, 8)), chance.randint(0, len(data))
    value = chance.choice(_LENGTHS) % (1 << 8 * size)
    data[at : at + size] = value.to_bytes(size, chance.choice(("little", "big")))


def _token(data: bytearray, other: bytes, chance: random.Random) -> None:
    at = chance.randint(0, len(data))
    data[at : at + chance.choice((0, 0, 4))] = chance.choice(_TOKENS) * chance.choice((1, 1, 2, 1000))


_CHANGES = (_flip, _cut, _splice, _repeat, _length, _token)


class _Worker:
    """A process that reads inputs one after the other, and is replaced when it dies or takes too long."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._context = multiprocessing.get_context("spawn")
        self._start()

    def _start(self) -> None:
        self._pipe, theirs = self._context.Pipe()
        self._process = self._context.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()
        self._pipe.recv()

    def read(self, name: str, content: bytes) -> tuple[float, str, str]:
        """(seconds, outcome, detail) of one input."""
        begin = time.perf_counter()
        self._pipe.send((name, content))
        try:
            if self._pipe.poll(self._limit_s):
                outcome, detail = self._pipe.recv()
                return time.perf_counter() - begin, outcome, detail
            result = ("hang", f"not done after {self._limit_s:g} s")
        except EOFError:
            self._process.join()
            result = ("crash", f"the process ended with status {self._process.exitcode}")
        self.stop()
        self._start()
        return time.perf_counter() - begin, *result

    def stop(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.join()
        self._pipe.close()


def _serve(pipe: Connection) -> None:
    import resource

    from ragagent.connectors import readers
    from ragagent.settings import IngestSettings

    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    limits = IngestSettings(ocr="never", max_file_bytes=64 * 1024 * 1024, max_text_chars=20_000_000)
    pipe.send("ready")
    while True:
        try:
            name, content = pipe.recv()
        except EOFError:
            return
        pipe.send(_outcome(readers, limits, name, content))


def _outcome(readers: Any, limits: Any, name: str, content: bytes) -> tuple[str, str]:
    from ragagent.errors import ReadError
    from ragagent.protocols import Fetched

    try:
        reading = readers.read(Fetched(uri="fuzz:1", name=name, content=content), settings=limits)
    except ReadError as error:
        return type(error).__name__, str(error)
    except BaseException as error:  # noqa: BLE001 - whatever else comes out of a reader is what is looked for
        return "exception", f"{type(error).__name__}: {error}"
    broken = next((fault for one in (reading.document, *reading.children) if (fault := _fault(one))), "")
    return ("law", broken) if broken else ("read", "")


def _fault(document: Any) -> str:
    """Which law of a document is broken, or ""."""
    text, end = document.text, 0
    if not text.strip() or not document.title:
        return "no text or no title"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "the text cannot be encoded"
    if any(ord(char) < 32 and char not in "\n\t" for char in text):
        return "control characters"
    for block in sorted((one for one in document.blocks if one.kind != "page"), key=lambda one: one.span):
        if not end <= block.span.start < block.span.end <= len(text) or text[end : block.span.start].strip():
            return f"block {block.span} overlaps, is empty or leaves text out"
        end = block.span.end
    return ""


def generated() -> Mapping[str, bytes]:
    """A small file of every format that can be written without other programs."""
    return dict(_generated())


def _generated() -> Iterator[tuple[str, bytes]]:
    from ragagent.testing import samples

    yield from samples.texts().items()
    yield from samples.containers().items()


if __name__ == "__main__":
    main()
