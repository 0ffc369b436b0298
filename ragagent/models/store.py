"""The model folder: what is in it, and getting models into it whole or not at all.

models/<name>/<files>        the model; nothing but its own files
models/<name>.json           the record: source, date, hash of each file
models/.partial/<name>/      downloads that were cut, one folder for each source; the next pull goes on there
models/.locks/<name>.lock    one process at a time changes a model
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ragagent.errors import ModelDownloadError, ModelLoadError, ModelNotFound
from ragagent.models.access import Access
from ragagent.models.catalogue import Catalogue, Model, ModelFile, ModelKind, Source
from ragagent.models.delivery import Delivery, deliver
from ragagent.models.lock import locked
from ragagent.models.record import Record, RecordedFile, Trust, known_files, read_record, write_record
from ragagent.models.reference import PREFIX, folder_name, hub_model
from ragagent.models.transfer import Meter, settle, sha256_of, storage_errors

if TYPE_CHECKING:
    from ragagent.protocols import Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelEntry:
    """One line of a list of models. `damaged` means that a file has another size than it should."""

    name: str
    kind: ModelKind
    state: Literal["present", "absent", "damaged"]
    present: bool
    size_bytes: int | None
    licence: str
    context_tokens: int | None
    dimension: int | None
    description: str
    template: str
    path: Path
    sources: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulled:
    """How a model got into the folder. `source` is empty when everything was there already, and right.

    `notes` says plainly which files no published hash vouches for, and which sources failed before.
    """

    name: str
    path: Path
    source: str
    size_bytes: int
    files: tuple[RecordedFile, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FileCheck:
    """One file against its hash. `unknown` means that neither catalogue nor record has a hash for it."""

    path: str
    state: Literal["ok", "wrong", "missing", "unknown"]
    expected_sha256: str | None
    found_sha256: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """Every file of a model, hashed anew. `ok` means that each one is right."""

    name: str
    ok: bool
    files: tuple[FileCheck, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """What a removal freed, partial downloads included."""

    name: str
    freed_bytes: int


def default_folder() -> Path:
    """The folder models are kept in unless another is named: `models` in the user's cache folder for ragagent."""
    import platformdirs

    return Path(platformdirs.user_cache_dir("ragagent")) / "models"


class ModelStore:
    """The models in one folder. Several processes may use one folder; nothing is read or made before it is needed."""

    def __init__(
        self,
        folder: Path | None = None,
        *,
        catalogue: Catalogue | None = None,
        access: Access | None = None,
        lock_timeout_s: float = 6 * 3600.0,
    ) -> None:
        self.folder = folder or default_folder()
        self.catalogue = catalogue or Catalogue.load()
        self._access = access or Access()
        self._lock_timeout_s = lock_timeout_s

    def model(self, name: str) -> Model:
        """What is known of a catalogue name, an `hf:` reference, or a model that was imported. Raises ModelNotFound."""
        if name.startswith(PREFIX):
            return hub_model(name)
        if name not in self.catalogue and (record := self._recorded().get(name)) is not None:
            return Model(name=name, kind=record.kind, description=f"imported: {record.source}")
        return self.catalogue.get(name)

    def resolve(self, name_or_path: str | Path) -> Path:
        """The file (chat) or folder (embedding) of a name, an `hf:` reference, or a path to either, if it is there.

        Checks that files exist with their sizes and reads none of them. A catalogue name goes before a path of the
        same spelling. Raises ModelNotFound, or ModelLoadError for what is there and cannot be right.
        """
        text = str(name_or_path)
        path = Path(name_or_path)
        if text.startswith(PREFIX) or text in self.catalogue:
            return self._installed(self.model(text))
        if path.exists():
            return _checked_path(path)
        if "/" in text or text.endswith(".gguf"):
            raise ModelNotFound(f"there is no file or folder {text}")
        return self._installed(self.model(text))

    def path(self, name: str) -> Path:
        """Where `resolve` finds the model once it is in the folder, whether it is or not. Raises ModelNotFound."""
        return self._entry_path(self.model(name))

    def list(self) -> tuple[ModelEntry, ...]:
        """The catalogue in its order, then what else is in the folder by name."""
        extra = [self.model(name) for name in sorted(self._recorded()) if name not in self.catalogue]
        return tuple(self._entry(model) for model in (*self.catalogue, *extra))

    def pull(self, name: str, *, sources: Sequence[Source] | None = None, progress: Progress | None = None) -> Pulled:
        """Gets a model from the first source that can deliver it, and what is there already is hashed and kept.

        `sources` replaces those of the catalogue. `progress` hears the stages wait, verify and download, in bytes. A
        file is moved into place only after its hash was found right; one for which nobody publishes a hash is
        recorded, and `notes` says so. An interrupt leaves a partial download that the next pull goes on with.
        Raises ModelNotFound, ModelDownloadError with each source and why, or StorageFull.
        """
        model = self.model(name)
        with storage_errors(self.folder), self._locked(model.name, progress):
            record = read_record(self._record_path(model.name))
            files = known_files(model, record)
            good = [check.path for check in self._checks(model.name, files, progress) if check.state == "ok"]
            missing = tuple(file for file in files if file.path not in good)
            if files and not missing:
                return self._pulled(model, self._already(model, record), "", ())
            delivery = deliver(model, missing, sources or model.sources, self._partial(name), self._access, progress)
            record = self._install(model, record, delivery)
            return self._pulled(model, record, str(delivery.source), delivery.failures)

    def verify(self, name: str, *, progress: Progress | None = None) -> Verification:
        """Hashes every file of a model that should be in the folder. Raises ModelNotFound for an unknown name."""
        model = self.model(name)
        files = known_files(model, read_record(self._record_path(model.name)))
        checks = tuple(self._checks(model.name, files, progress))
        return Verification(name=name, ok=bool(checks) and all(c.state == "ok" for c in checks), files=checks)

    def remove(self, name: str) -> Removed:
        """Takes a model, its record and its partial downloads out of the folder; a model that is absent frees 0."""
        model = self.model(name)
        folder, record = self.folder / folder_name(model.name), self._record_path(model.name)
        partial = self._partial(model.name)
        with storage_errors(self.folder), self._locked(model.name, None):
            freed = sum(path.stat().st_size for part in (folder, partial) for path in part.rglob("*") if path.is_file())
            record.unlink(missing_ok=True)
            shutil.rmtree(partial, ignore_errors=True)
            if folder.is_dir():
                shutil.rmtree(folder)
        return Removed(name=name, freed_bytes=freed)

    def _locked(self, name: str, progress: Progress | None) -> AbstractContextManager[None]:
        return locked(self.folder / ".locks" / f"{folder_name(name)}.lock", self._lock_timeout_s, progress)

    def _recorded(self) -> dict[str, Record]:
        records = [read_record(path) for path in sorted(self.folder.glob("*.json"))]
        return {record.name: record for record in records if record is not None}

    def _record_path(self, name: str) -> Path:
        return self.folder / f"{folder_name(name)}.json"

    def _partial(self, name: str) -> Path:
        return self.folder / ".partial" / folder_name(name)

    def _entry_path(self, model: Model) -> Path:
        folder = self.folder / folder_name(model.name)
        if model.kind == "embedding":
            return folder
        files = known_files(model, read_record(self._record_path(model.name)))
        return folder / files[0].path

    def _installed(self, model: Model) -> Path:
        files = known_files(model, read_record(self._record_path(model.name)))
        folder = self.folder / folder_name(model.name)
        if not files or not all((folder / file.path).is_file() for file in files):
            raise ModelNotFound(f"the model {model.name} is not in {self.folder}: ragagent models pull {model.name}")
        for file in files:
            found = (folder / file.path).stat().st_size
            if file.size_bytes is not None and found != file.size_bytes:
                raise ModelLoadError(
                    f"{folder / file.path} has {found} bytes where {file.size_bytes} are expected: "
                    f"ragagent models pull {model.name}"
                )
        return self._entry_path(model)

    def _entry(self, model: Model) -> ModelEntry:
        state: Literal["present", "absent", "damaged"] = "present"
        try:
            self._installed(model)
        except ModelNotFound:
            state = "absent"
        except ModelLoadError:
            state = "damaged"
        sizes = [file.size_bytes for file in known_files(model, read_record(self._record_path(model.name)))]
        return ModelEntry(
            name=model.name,
            kind=model.kind,
            state=state,
            present=state == "present",
            size_bytes=model.size_bytes or (sum(size for size in sizes if size) or None),
            licence=model.licence,
            context_tokens=model.context_tokens,
            dimension=model.dimension,
            description=model.description,
            template=model.template,
            path=self._entry_path(model),
            sources=tuple(map(str, model.sources)),
        )

    def _checks(self, name: str, files: Sequence[ModelFile], progress: Progress | None) -> Iterator[FileCheck]:
        folder = self.folder / folder_name(name)
        present = [folder / file.path for file in files if (folder / file.path).is_file()]
        meter = Meter(progress, "verify", sum(path.stat().st_size for path in present))
        for file in files:
            path = folder / file.path
            found = sha256_of(path, meter) if path in present else None
            yield FileCheck(path=file.path, state=_state(file, found), expected_sha256=file.sha256, found_sha256=found)

    def _install(self, model: Model, record: Record | None, delivery: Delivery) -> Record:
        folder = self.folder / folder_name(model.name)
        for file in delivery.files:
            settle(delivery.folder / file.path, folder / file.path)
        # Files that an earlier pull put in place keep what was recorded of them.
        older = {file.path: file for file in record.files} if record else {}
        newer = {file.path: _recorded_file(model, file, delivery.stated, older) for file in delivery.files}
        files = tuple({**self._found(model, older), **newer}.values())
        written = _record(model, str(delivery.source), files)
        write_record(self._record_path(model.name), written)
        shutil.rmtree(self._partial(model.name))
        return written

    def _found(self, model: Model, older: Mapping[str, RecordedFile]) -> dict[str, RecordedFile]:
        """The files of the catalogue that are in the folder already, in the catalogue's order."""
        folder = self.folder / folder_name(model.name)
        present = [file for file in model.files if (folder / file.path).is_file()]
        fresh = {file.path: _as_found(folder, file) for file in present if file.path not in older}
        return {**older, **fresh}

    def _already(self, model: Model, record: Record | None) -> Record:
        if record is None:
            record = _record(model, "found in the folder", tuple(self._found(model, {}).values()))
            write_record(self._record_path(model.name), record)
        return record

    def _pulled(self, model: Model, record: Record, source: str, failures: Sequence[str]) -> Pulled:
        unknown = [file for file in record.files if file.trust == "first pull"]
        notes = [
            f"no published sha256 for {file.path}: {file.sha256} was recorded at this first pull" for file in unknown
        ]
        return Pulled(
            name=model.name,
            path=self._entry_path(model),
            source=source,
            size_bytes=sum(file.size_bytes for file in record.files),
            files=record.files,
            notes=(*(f"tried before: {failure}" for failure in failures), *notes),
        )


def _state(file: ModelFile, found: str | None) -> Literal["ok", "wrong", "missing", "unknown"]:
    if found is None:
        return "missing"
    if file.sha256 is None:
        return "unknown"
    return "ok" if found == file.sha256 else "wrong"


def _record(model: Model, source: str, files: tuple[RecordedFile, ...]) -> Record:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return Record(name=model.name, kind=model.kind, source=source, pulled_at=now, files=files)


def _as_found(folder: Path, file: ModelFile) -> RecordedFile:
    path = folder / file.path
    trust: Trust = "catalogue" if file.sha256 else "first pull"
    return RecordedFile(path=file.path, size_bytes=path.stat().st_size, sha256=sha256_of(path), trust=trust)


def _recorded_file(
    model: Model, file: ModelFile, stated: frozenset[str], older: Mapping[str, RecordedFile]
) -> RecordedFile:
    if file.sha256 is None or file.size_bytes is None:
        raise ModelDownloadError(f"{file.path} of {model.name} was delivered without its hash")
    pinned = any(known.path == file.path and known.sha256 for known in model.files)
    trust: Trust = "catalogue" if pinned else "source" if file.path in stated else "first pull"
    if file.path in older:
        trust = older[file.path].trust
    return RecordedFile(path=file.path, size_bytes=file.size_bytes, sha256=file.sha256, trust=trust)


def _checked_path(path: Path) -> Path:
    """A path to a GGUF file or to a folder of an embedding model, and nothing else. Raises ModelLoadError."""
    if path.is_dir():
        if not any((path / name).is_file() for name in ("modules.json", "config.json")):
            raise ModelLoadError(f"{path} holds no sentence-transformers model: modules.json or config.json is missing")
        return path
    with path.open("rb") as file:
        magic = file.read(4)
    if magic != b"GGUF":
        raise ModelLoadError(f"{path} is not a GGUF file: it begins with {magic!r}")
    return path
