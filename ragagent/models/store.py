"""The model folder as an application sees it: what is in it, and getting models into it whole or not at all.

`ragagent.models.layout` draws what lies where.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ragagent.errors import ModelDownloadError, ModelLoadError, ModelNotFound
from ragagent.models.catalogue import Catalogue, Model, ModelFile, Source, safe_name
from ragagent.models.layout import Layout
from ragagent.models.lock import locked
from ragagent.models.outcomes import Exported, FileCheck, Imported, ModelEntry, Pulled, Removed, Verification
from ragagent.models.record import Record, RecordedFile, Trust, known_files, read_record
from ragagent.models.reference import PREFIX, hub_model
from ragagent.models.transfer import Meter, sha256_of, storage_errors

if TYPE_CHECKING:
    from ragagent.models.access import Access
    from ragagent.models.carry import Parcel
    from ragagent.models.delivery import Delivery
    from ragagent.protocols import Progress


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
        self._layout = Layout(self.folder)
        self._catalogue = catalogue
        self._access = access
        self._lock_timeout_s = lock_timeout_s

    @property
    def catalogue(self) -> Catalogue:
        """The models that have a name; read when it is first needed, so that a path costs nothing."""
        if self._catalogue is None:
            self._catalogue = Catalogue.load()
        return self._catalogue

    def model(self, name: str) -> Model:
        """What is known of a catalogue name, an `hf:` reference, or a model that was imported. Raises ModelNotFound."""
        if name.startswith(PREFIX):
            return hub_model(name)
        record = self._layout.record(name) if name not in self.catalogue and safe_name(name) else None
        if record is not None:
            return _imported_model(record)
        return self.catalogue.get(name)

    def resolve(self, name_or_path: str | Path) -> Path:
        """The file (chat) or folder (embedding) of a name, an `hf:` reference, or a path to either, if it is there.

        Checks that files exist with their sizes and reads none of them. A catalogue name goes before a path of the
        same spelling. Raises ModelNotFound, or ModelLoadError for what is there and cannot be right.
        """
        text = str(name_or_path)
        if text.startswith(PREFIX) or (safe_name(text) and text in self.catalogue):
            return self._installed(self.model(text))
        if os.path.exists(text):
            return _checked_path(Path(text))
        if "/" in text or text.endswith(".gguf"):
            raise ModelNotFound(f"there is no file or folder {text}")
        return self._installed(self.model(text))

    def path(self, name: str) -> Path:
        """Where `resolve` finds the model once it is in the folder, whether it is or not. Raises ModelNotFound."""
        model = self.model(name)
        return self._entry_path(model, self._files(model))

    def list(self) -> tuple[ModelEntry, ...]:
        """The catalogue in its order, then what else is in the folder by name."""
        extra = [model for model in map(self._recorded_model, self._layout.record_paths()) if model is not None]
        return tuple(self._entry(model) for model in (*self.catalogue, *extra))

    def pull(self, name: str, *, sources: Sequence[Source] | None = None, progress: Progress | None = None) -> Pulled:
        """Gets a model from the first source that can deliver it; what is there already is hashed, and kept if right.

        `sources` replaces those of the catalogue. `progress` hears the stages wait, verify and download, in bytes. A
        file is moved into place only after its hash was found right; one for which nobody publishes a hash is
        recorded, and `notes` says so. An interrupt leaves a partial download that the next pull goes on with.
        Raises ModelNotFound, ModelDownloadError with each source and why, or StorageFull.
        """
        # Only a pull needs what the sources need; finding a model that is here stays cheap.
        from ragagent.models.access import Access
        from ragagent.models.delivery import deliver

        model = self.model(name)
        with self._changing(model.name, progress):
            record = self._layout.record(model.name)
            files = known_files(model, record)
            good = {check.path for check in self._checks(model.name, files, progress) if check.state == "ok"}
            missing = tuple(file for file in files if file.path not in good)
            if files and not missing:
                return self._pulled(model, self._already(model, record), "", ())
            partial = self._layout.partial(model.name)
            try:
                delivery = deliver(
                    model, missing, sources or model.sources, partial, self._access or Access(), progress
                )
            finally:
                self._layout.tidy(model.name)
            record = self._install(model, record, delivery)
            return self._pulled(model, record, str(delivery.source), delivery.failures)

    def verify(self, name: str, *, progress: Progress | None = None) -> Verification:
        """Hashes every file of a model that should be in the folder. Raises ModelNotFound for an unknown name."""
        model = self.model(name)
        checks = tuple(self._checks(model.name, self._files(model), progress))
        return Verification(name=name, ok=bool(checks) and all(c.state == "ok" for c in checks), files=checks)

    def remove(self, name: str) -> Removed:
        """Takes a model, its record and its partial downloads out of the folder; a model that is absent frees 0."""
        import shutil

        model = self.model(name)
        parts = (self._layout.model(model.name), self._layout.partial(model.name))
        with self._changing(model.name, None):
            files = [path for part in parts for path in part.rglob("*") if path.is_file()]
            freed = sum(path.stat().st_size for path in files)
            self._layout.record_path(model.name).unlink(missing_ok=True)
            for part in filter(Path.exists, parts):
                shutil.rmtree(part)
        return Removed(name=name, freed_bytes=freed)

    def export(self, names: Sequence[str], target: Path, *, progress: Progress | None = None) -> Exported:
        """Writes models to a `.tar` archive, or into a folder that can itself serve as model folder.

        Every file is hashed on the way. Raises ModelNotFound for a model that is not here, ModelLoadError for one
        that is damaged, StorageFull.
        """
        from ragagent.models.carry import export_archive, export_folder

        records = [self._whole_record(self.model(name)) for name in dict.fromkeys(names)]
        models = [(record, self._layout.model(record.name)) for record in records]
        meter = Meter(progress, "export", sum(file.size_bytes for record in records for file in record.files))
        write = export_archive if target.suffix == ".tar" else export_folder
        with storage_errors(target):
            size = write(models, target, meter)
        return Exported(path=target, names=tuple(record.name for record in records), size_bytes=size)

    def import_(self, source: Path, *, progress: Progress | None = None) -> Imported:
        """Takes in the models of an archive, or folder, that `export` wrote, each whole or not at all.

        Hashes are checked against the catalogue, then against an earlier pull, and only then against what the archive
        says of itself. Raises ModelLoadError for an archive that is damaged or holds anything else, StorageFull.
        """
        from ragagent.models.carry import parcels

        offered = parcels(source)
        meter = Meter(progress, "import", sum(file.size_bytes for one in offered for file in one.record.files))
        taken = {one.record.name: self._take_in(one, source.name, meter) for one in offered}
        already = tuple(name for name, size in taken.items() if size is None)
        return Imported(names=tuple(taken), already=already, size_bytes=sum(size or 0 for size in taken.values()))

    def _take_in(self, parcel: Parcel, origin: str, meter: Meter) -> int | None:
        """The bytes written for one model, None when it was here already."""
        import shutil

        from ragagent.models.carry import accepted, is_whole, stage

        name = parcel.record.name
        with self._changing(name, None):
            record = accepted(parcel.record, self.catalogue, self._layout.record(name), origin)
            if is_whole(self._layout, record):
                return None
            staged = self._layout.partial(name) / "import"
            try:
                stage(parcel, record, staged, meter)
                self._layout.install(staged, record, [file.path for file in record.files])
            finally:
                shutil.rmtree(staged)
                self._layout.tidy(name)
        return sum(file.size_bytes for file in record.files)

    @contextmanager
    def _changing(self, name: str, progress: Progress | None) -> Iterator[None]:
        """The model is this process's to change; a disk that is full or read-only is told as StorageFull."""
        with storage_errors(self.folder), locked(self._layout.lock(name), self._lock_timeout_s, progress):
            yield

    def _files(self, model: Model) -> tuple[ModelFile, ...]:
        return known_files(model, self._layout.record(model.name))

    def _recorded_model(self, path: Path) -> Model | None:
        """The model of a record that the catalogue does not have."""
        try:
            record = read_record(path)
        except ModelLoadError as error:
            return None if path.stem in self.catalogue else Model(name=path.stem, kind="chat", description=str(error))
        return None if record is None or record.name in self.catalogue else _imported_model(record)

    def _entry_path(self, model: Model, files: Sequence[ModelFile]) -> Path:
        folder = self._layout.model(model.name)
        return folder / files[0].path if model.kind == "chat" and files else folder

    def _installed(self, model: Model) -> Path:
        files = self._files(model)
        folder = self._layout.model(model.name)
        if not files or not all((folder / file.path).is_file() for file in files):
            raise ModelNotFound(f"the model {model.name} is not in {self.folder}: ragagent models pull {model.name}")
        for file in files:
            found = (folder / file.path).stat().st_size
            if file.size_bytes is not None and found != file.size_bytes:
                raise ModelLoadError(
                    f"{folder / file.path} has {found} bytes where {file.size_bytes} are expected: "
                    f"ragagent models pull {model.name}"
                )
        return self._entry_path(model, files)

    def _entry(self, model: Model) -> ModelEntry:
        state, files = self._state(model)
        sizes = [file.size_bytes for file in files]
        known = sum(size for size in sizes if size) if sizes and all(sizes) else None
        return ModelEntry(
            name=model.name,
            kind=model.kind,
            state=state,
            present=state == "present",
            size_bytes=known or model.size_bytes,
            licence=model.licence,
            context_tokens=model.context_tokens,
            dimension=model.dimension,
            description=model.description,
            template=model.template,
            path=self._entry_path(model, files),
            sources=tuple(map(str, model.sources)),
        )

    def _state(self, model: Model) -> tuple[Literal["present", "absent", "damaged"], tuple[ModelFile, ...]]:
        try:
            self._installed(model)
        except ModelNotFound:
            return "absent", self._files(model)
        except ModelLoadError:
            return "damaged", model.files
        return "present", self._files(model)

    def _checks(self, name: str, files: Sequence[ModelFile], progress: Progress | None) -> Iterator[FileCheck]:
        folder = self._layout.model(name)
        present = [folder / file.path for file in files if (folder / file.path).is_file()]
        meter = Meter(progress, "verify", sum(path.stat().st_size for path in present))
        for file in files:
            path = folder / file.path
            found = sha256_of(path, meter) if path in present else None
            yield FileCheck(path=file.path, state=_check(file, found), expected_sha256=file.sha256, found_sha256=found)

    def _install(self, model: Model, record: Record | None, delivery: Delivery) -> Record:
        import shutil

        # Files that an earlier pull put in place keep what was recorded of them.
        older = {file.path: file for file in record.files} if record else {}
        newer = {file.path: _recorded_file(model, file, delivery.stated, older) for file in delivery.files}
        files = tuple({**self._found(model, older), **newer}.values())
        written = _record(model, str(delivery.source), files)
        self._layout.install(delivery.folder, written, list(newer))
        shutil.rmtree(self._layout.partial(model.name))
        self._layout.tidy(model.name)
        return written

    def _found(self, model: Model, older: Mapping[str, RecordedFile]) -> dict[str, RecordedFile]:
        """What is recorded of a model and what else of it is in the folder, in the catalogue's order."""
        folder = self._layout.model(model.name)
        present = [file for file in model.files if (folder / file.path).is_file()]
        fresh = {file.path: _as_found(folder, file) for file in present if file.path not in older}
        order = [file.path for file in model.files] or list(older)
        return {path: older.get(path) or fresh[path] for path in order if path in older or path in fresh}

    def _already(self, model: Model, record: Record | None) -> Record:
        if record is None:
            record = _record(model, "found in the folder", tuple(self._found(model, {}).values()))
            self._layout.install(self.folder, record, [])
        return record

    def _whole_record(self, model: Model) -> Record:
        """The record of a model that is here; one that was put here by hand gets its hashes from the catalogue."""
        self._installed(model)
        record = self._layout.record(model.name)
        if record is not None:
            return record
        return _record(model, "found in the folder", tuple(self._found(model, {}).values()))

    def _pulled(self, model: Model, record: Record, source: str, failures: Sequence[str]) -> Pulled:
        notes = [
            f"nobody publishes a sha256 for {file.path}: {file.sha256} was recorded when it first came"
            for file in record.files
            if file.trust == "first pull"
        ]
        return Pulled(
            name=model.name,
            path=self._entry_path(model, known_files(model, record)),
            source=source,
            size_bytes=sum(file.size_bytes for file in record.files),
            files=record.files,
            notes=(*(f"tried before: {failure}" for failure in failures), *notes),
        )


def _imported_model(record: Record) -> Model:
    if record.name.startswith(PREFIX):
        return hub_model(record.name)
    return Model(name=record.name, kind=record.kind, description=record.source)


def _check(file: ModelFile, found: str | None) -> Literal["ok", "wrong", "missing", "unknown"]:
    if found is None:
        return "missing"
    if file.sha256 is None:
        return "unknown"
    return "ok" if found == file.sha256 else "wrong"


def _record(model: Model, source: str, files: tuple[RecordedFile, ...]) -> Record:
    from datetime import UTC, datetime

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
    try:
        with path.open("rb") if path.is_file() else open(os.devnull, "rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise ModelLoadError(f"{path} cannot be read: {error.strerror}") from error
    if magic != b"GGUF":
        raise ModelLoadError(f"{path} is not a GGUF file: it begins with {magic!r}")
    return path
