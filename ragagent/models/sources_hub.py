"""Model files from a model hub: its usual cache folder on this machine first, then its servers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ragagent.errors import ModelDownloadError
from ragagent.models.access import Access, HubOptions
from ragagent.models.catalogue import HubSource, ModelFile, safe_path, safe_sha256
from ragagent.models.sources_url import Download, fetch_all, read_text
from ragagent.models.transfer import Meter, copy, settle, sha256_of

_COMMIT = re.compile(r"[0-9a-f]{40}")
_MAX_LISTING_BYTES = 16 << 20
_MAX_FILES = 200
_MAX_FILE_BYTES = 1 << 40
_TEXT_SUFFIXES = (".json", ".txt", ".model", ".jinja")
_SUBFOLDER = re.compile(r"\d+_[A-Za-z]+")


def fetch_hub(
    source: HubSource, files: Sequence[ModelFile], into: Path, access: Access, meter: Meter
) -> tuple[ModelFile, ...]:
    """Puts every file under `into`; without `files`, those of the repository that make up an embedding model.

    Returns the files with the hashes and sizes that the hub states where the catalogue knows none.
    Raises ModelDownloadError.
    """
    cached = _from_cache(source, files, into, access.hub, meter)
    if cached is not None:
        return cached
    if access.offline:
        raise ModelDownloadError(f"{access.offline}, and it is not in the hub's cache ({access.hub.cache})")
    commit, wanted = (source.revision, tuple(files)) if files else _listing(source, access)
    downloads = [_download(source, commit, file, access.hub) for file in wanted]
    return fetch_all(downloads, into, access, meter)


def _headers(hub: HubOptions) -> dict[str, str]:
    return {"Authorization": f"Bearer {hub.token}"} if hub.token else {}


def _download(source: HubSource, revision: str, file: ModelFile, hub: HubOptions) -> Download:
    place = f"{source.repository}/resolve/{quote(revision, safe='')}/{quote(file.path)}"
    return Download(url=f"{hub.endpoint}/{place}", file=file, headers=_headers(hub))


def _listing(source: HubSource, access: Access) -> tuple[str, tuple[ModelFile, ...]]:
    """The commit of the revision and the files of an embedding model in it."""
    place = f"{source.repository}/revision/{quote(source.revision, safe='')}?blobs=true"
    url = f"{access.hub.endpoint}/api/models/{place}"
    text = read_text(url, _headers(access.hub), access.network, _MAX_LISTING_BYTES)
    try:
        data = json.loads(text)
        commit, found = data["sha"], [_listed(entry) for entry in data["siblings"]]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ModelDownloadError(f"{url}: not a listing of a repository") from None
    if not isinstance(commit, str) or not _COMMIT.fullmatch(commit):
        raise ModelDownloadError(f"{url}: the listing names no commit")
    return commit, _checked(embedding_files(found), str(source))


def _listed(entry: Any) -> ModelFile:
    stated = (entry.get("lfs") or {}).get("sha256", "")
    size = entry.get("size")
    return ModelFile(
        path=str(entry["rfilename"]),
        sha256=stated if isinstance(stated, str) and safe_sha256(stated) else None,
        size_bytes=size if isinstance(size, int) and size > 0 else None,
    )


def embedding_files(files: Sequence[ModelFile]) -> tuple[ModelFile, ...]:
    """Those of a repository's files that a sentence-transformers model is loaded from, in the order of their paths.

    Weights as safetensors where there are any, else as PyTorch's own format; copies for other engines are left out.
    """
    kept = [file for file in files if safe_path(file.path) and _in_model(file.path)]
    safe = any(file.path.endswith(".safetensors") for file in kept)
    chosen = [file for file in kept if file.path.endswith(_TEXT_SUFFIXES) or _is_weights(file.path, safe=safe)]
    return tuple(sorted(chosen, key=lambda file: file.path))


def _is_weights(path: str, *, safe: bool) -> bool:
    return path.endswith(".safetensors") if safe else path.rpartition("/")[2].startswith("pytorch_model")


def _in_model(path: str) -> bool:
    folder, _, name = path.rpartition("/")
    return not name.startswith("README") and (not folder or _SUBFOLDER.fullmatch(folder) is not None)


def _checked(files: tuple[ModelFile, ...], where: str) -> tuple[ModelFile, ...]:
    names = {file.path for file in files}
    if "config.json" not in names or not any(name.endswith((".safetensors", ".bin")) for name in names):
        raise ModelDownloadError(f"{where}: no sentence-transformers model (no config.json or no weights)")
    if len(files) > _MAX_FILES:
        raise ModelDownloadError(f"{where}: {len(files)} files are more than a model has")
    return files


def _from_cache(
    source: HubSource, files: Sequence[ModelFile], into: Path, hub: HubOptions, meter: Meter
) -> tuple[ModelFile, ...] | None:
    """The files copied out of the hub's cache, or None where it does not hold all of them, right."""
    for snapshot in _snapshots(source, hub, pinned=bool(files) and all(file.sha256 for file in files)):
        wanted = tuple(files) or folder_listing(snapshot)
        if wanted and all(_fits(snapshot / file.path, file) for file in wanted):
            for file in wanted:
                _take(snapshot / file.path, into / file.path, meter)
            return wanted
    return None


def _snapshots(source: HubSource, hub: HubOptions, *, pinned: bool) -> Iterator[Path]:
    """Snapshot folders that may hold the files: the one of the revision and, if hashes decide, all others too."""
    if hub.cache is None:
        return
    repository = hub.cache / f"models--{source.repository.replace('/', '--')}"
    reference = repository / "refs" / source.revision
    commit = reference.read_text(encoding="utf-8").strip() if reference.is_file() else source.revision
    first = repository / "snapshots" / commit
    if _COMMIT.fullmatch(commit) and first.is_dir():
        yield first
    if pinned and (repository / "snapshots").is_dir():
        yield from (other for other in sorted((repository / "snapshots").iterdir()) if other != first)


def folder_listing(snapshot: Path) -> tuple[ModelFile, ...]:
    """The files of the embedding model in a folder, none where there is no whole one."""
    found = [path.relative_to(snapshot).as_posix() for path in snapshot.rglob("*") if path.is_file()]
    try:
        return _checked(embedding_files([ModelFile(path=path) for path in found]), str(snapshot))
    except ModelDownloadError:
        return ()


def _fits(path: Path, file: ModelFile) -> bool:
    """Whether a file of the cache is the wanted one. The cache is a short cut: what cannot be read is not in it."""
    try:
        if not path.is_file() or path.stat().st_size != (file.size_bytes or path.stat().st_size):
            return False
        return file.sha256 is None or sha256_of(path) == file.sha256
    except OSError:
        return False


def _take(found: Path, final: Path, meter: Meter) -> None:
    part = final.with_name(f"{final.name}.part")
    part.parent.mkdir(parents=True, exist_ok=True)
    with found.open("rb") as stream, part.open("wb") as target:
        copy(stream, target, limit=_MAX_FILE_BYTES, meter=meter, detail=final.name)
    settle(part, final)
