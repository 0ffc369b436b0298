"""Pictures of text to words with places, by Tesseract: a program of its own, found when it is needed.

Each page is one run of it, bounded in time, memory and pixels. A `Budget` bounds all of them together, and keeps what
was recognised, so that a page that has been seen before costs nothing.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from ragagent.errors import OcrNeeded
from ragagent.settings import IngestSettings
from ragagent.types import digest

VERSION = "ocr-1"
"""Changes when the same picture may give other words."""

MAX_PIXELS = 40_000_000
_MEMORY_BYTES = 3 * 1024 * 1024 * 1024
_MAX_LANGUAGES = 3
_LEAST_CONFIDENCE = 30.0
_NO_LANGUAGE = frozenset({"osd", "equ"})
_WORD_LEVEL = "5"
INSTALL = (
    "install Tesseract (Debian: apt-get install tesseract-ocr tesseract-ocr-LANGUAGE; macOS: brew install tesseract)"
)


class OcrWord(NamedTuple):
    """A word and its place in pixels from the upper left corner; words of one `line` stand on one baseline."""

    text: str
    left: int
    top: int
    right: int
    bottom: int
    line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """The installed Tesseract."""

    program: str
    version: str
    languages: tuple[str, ...]


@cache
def engine() -> Engine | None:
    """The Tesseract on the path with its languages, or None."""
    program = shutil.which("tesseract")
    if program is None:
        return None
    try:
        version = subprocess.run([program, "--version"], capture_output=True, timeout=20, check=True)
        listed = subprocess.run([program, "--list-langs"], capture_output=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    names = (version.stdout or version.stderr).decode("utf-8", "replace").split("\n", 1)[0]
    languages = [line.strip() for line in listed.stdout.decode("utf-8", "replace").split("\n")[1:]]
    found = tuple(sorted(name for name in languages if name))
    return Engine(program=program, version=names.strip(), languages=found)


def languages(wanted: Sequence[str], installed: Sequence[str]) -> tuple[str, ...]:
    """The languages to recognise: those wanted and installed; without a wish the installed ones, English first.

    Raises OcrNeeded when none is left.
    """
    usable = [name for name in installed if name not in _NO_LANGUAGE]
    chosen = [name for name in wanted if name in usable]
    if not wanted:
        chosen = sorted(usable, key=lambda name: name != "eng")[:_MAX_LANGUAGES]
    if not chosen:
        raise OcrNeeded(f"no language data for {', '.join(wanted) or 'any language'} is installed: {INSTALL}")
    return tuple(chosen)


class Budget:
    """What OCR may still cost for one item, and the folder of what it has cost before."""

    def __init__(self, limits: IngestSettings) -> None:
        self._limits = limits
        self._pages = limits.ocr_pages
        self._seconds = limits.ocr_seconds

    def recognise(self, image: Any, *, dpi: int) -> tuple[list[OcrWord], float]:
        """The words of a Pillow image in grey, in reading order, and the seconds it took; 0.0 where it was known.

        Raises OcrNeeded.
        """
        if self._limits.ocr == "never":
            raise OcrNeeded("OCR is turned off (setting ingest.ocr)")
        found = engine()
        if found is None:
            raise OcrNeeded(f"it needs OCR: {INSTALL}")
        spoken = languages(self._limits.ocr_languages, found.languages)
        key = digest(VERSION, found.version, "+".join(spoken), str(dpi), str(image.size), image.tobytes())
        kept = self._kept(key)
        if kept is not None:
            return kept, 0.0
        return self._spend(found, spoken, image, dpi, key)

    def _spend(
        self, found: Engine, spoken: Sequence[str], image: Any, dpi: int, key: str
    ) -> tuple[list[OcrWord], float]:
        if self._pages <= 0:
            raise OcrNeeded(f"{self._limits.ocr_pages} pages were recognised before it (setting ingest.ocr_pages)")
        if self._seconds <= 0:
            raise OcrNeeded(f"OCR took {self._limits.ocr_seconds:g} s before it (setting ingest.ocr_seconds)")
        self._pages -= 1
        begin = time.perf_counter()
        try:
            timeout_s = min(self._limits.ocr_page_seconds, self._seconds)
            words = _words(_run(found, spoken, image, dpi, timeout_s))
        finally:
            seconds = time.perf_counter() - begin
            self._seconds -= seconds
        self._keep(key, words)
        return words, seconds

    def _kept(self, key: str) -> list[OcrWord] | None:
        path = self._folder() / f"{key}.json"
        if not self._limits.ocr_cache_bytes:
            return None
        try:
            rows = json.loads(path.read_bytes())
            os.utime(path)
            return [OcrWord(*row) for row in rows]
        except (OSError, ValueError, TypeError):
            return None

    def _keep(self, key: str, words: Sequence[OcrWord]) -> None:
        """Writes what was recognised, whole or not at all; a folder that cannot be written is gone without."""
        if not self._limits.ocr_cache_bytes:
            return
        folder = self._folder()
        part = folder / f"{key}.{os.getpid()}.part"
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            part.write_text(json.dumps(words), encoding="utf-8")
            part.chmod(0o600)
            part.replace(folder / f"{key}.json")
            if key[0] == "0":  # about every sixteenth time: it looks at every file there
                _trim(folder, self._limits.ocr_cache_bytes)

    def _folder(self) -> Path:
        if self._limits.ocr_cache is not None:
            return Path(self._limits.ocr_cache)
        import platformdirs

        return Path(platformdirs.user_cache_dir("ragagent")) / "ocr"


_CURRENT: ContextVar[Budget | None] = ContextVar("ocr_budget", default=None)


@contextlib.contextmanager
def one_budget(limits: IngestSettings) -> Iterator[None]:
    """Everything that is read within shares one budget."""
    token = _CURRENT.set(Budget(limits))
    try:
        yield
    finally:
        _CURRENT.reset(token)


def budget(limits: IngestSettings) -> Budget:
    """The budget of the item that is being read, else a fresh one."""
    return _CURRENT.get() or Budget(limits)


def bounded_scale(width: float, height: float, scale: float) -> float:
    """`scale`, or the largest one at which a picture of that size has at most `MAX_PIXELS` pixels."""
    return float(min(scale, (MAX_PIXELS / max(1.0, width * height)) ** 0.5))


def _run(found: Engine, spoken: Sequence[str], image: Any, dpi: int, timeout_s: float) -> str:
    # Automatic page segmentation, with a look at the orientation where the data for it is installed.
    mode = "1" if "osd" in found.languages else "3"
    command = [found.program, "stdin", "stdout", "-l", "+".join(spoken), "--psm", mode, "--dpi", str(dpi), "tsv"]
    content = io.BytesIO()
    image.save(content, "PNG", compress_level=1)
    environment = {**_environment(), "OMP_THREAD_LIMIT": "1"}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
    ) as process:
        _limit_memory(process.pid)
        try:
            output, _ = process.communicate(content.getvalue(), timeout=timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            raise OcrNeeded(f"OCR was not done after {timeout_s:.0f} s (setting ingest.ocr_page_seconds)") from None
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        raise OcrNeeded(f"Tesseract gave up on it (exit status {process.returncode})")
    return output.decode("utf-8", "replace")


def _environment() -> dict[str, str]:
    """What Tesseract needs of the environment: where its data is."""
    return {key: os.environ[key] for key in ("PATH", "TESSDATA_PREFIX", "HOME", "LANG") if key in os.environ}


def _limit_memory(pid: int) -> None:
    import resource

    if hasattr(resource, "prlimit"):
        with contextlib.suppress(OSError, ValueError):
            resource.prlimit(pid, resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))


def _words(table: str) -> list[OcrWord]:
    """The words of Tesseract's table; lines that it is unsure of as a whole are noise, and left out."""
    lines: dict[tuple[str, ...], list[tuple[OcrWord, float]]] = {}
    numbers: dict[tuple[str, ...], int] = {}
    for line in table.split("\n")[1:]:
        cells = line.split("\t")
        if len(cells) == 12 and cells[0] == _WORD_LEVEL and cells[11].strip():
            left, top, width, height = (int(cell) for cell in cells[6:10])
            place = tuple(cells[1:5])
            number = numbers.setdefault(place, len(numbers))
            word = OcrWord(cells[11].strip(), left, top, left + width, top + height, number)
            lines.setdefault(place, []).append((word, float(cells[10])))
    sure = (group for group in lines.values() if sum(one for _, one in group) / len(group) >= _LEAST_CONFIDENCE)
    return [word for group in sure for word, _ in group]


def _trim(folder: Path, most_bytes: int) -> None:
    """Removes what was not asked for the longest, down to nine tenths of the bound."""
    entries = sorted((entry.stat().st_mtime, entry.stat().st_size, entry.path) for entry in os.scandir(folder))
    total = sum(size for _, size, _ in entries)
    if total <= most_bytes:
        return
    for _, size, path in entries:
        if total <= most_bytes * 9 // 10:
            return
        Path(path).unlink(missing_ok=True)
        total -= size
