"""Where things lie in a model folder.

<name>/<files>         the model; nothing but its own files
<name>.json            the record: source, date, hash of each file
.partial/<name>/       downloads that were cut, one folder for each source; the next pull goes on there
.locks/<name>.lock     one process at a time changes a model
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ragagent.models.record import Record, read_record, write_record
from ragagent.models.reference import folder_name
from ragagent.models.transfer import settle


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths of each model in `root`."""

    root: Path

    def model(self, name: str) -> Path:
        """The folder of the model's files."""
        return self.root / folder_name(name)

    def partial(self, name: str) -> Path:
        """The folder of its cut downloads."""
        return self.root / ".partial" / folder_name(name)

    def lock(self, name: str) -> Path:
        """The file to lock before the model is changed."""
        return self.root / ".locks" / f"{folder_name(name)}.lock"

    def record_path(self, name: str) -> Path:
        """The file of its record."""
        return self.root / f"{folder_name(name)}.json"

    def record(self, name: str) -> Record | None:
        """Its record, None where there is none. Raises ModelLoadError for a damaged one."""
        return read_record(self.record_path(name))

    def record_paths(self) -> list[Path]:
        """The files that hold records, in order."""
        return sorted(self.root.glob("[!.]*.json"))

    def tidy(self, name: str) -> None:
        """Removes the folder of cut downloads where nothing is left to go on with."""
        partial = self.partial(name)
        for folder in sorted((path for path in partial.rglob("*") if path.is_dir()), reverse=True):
            _remove_empty(folder)
        _remove_empty(partial)

    def install(self, staged: Path, record: Record, paths: Sequence[str]) -> None:
        """Writes the record, then moves the verified files at `paths` under `staged` into the model's folder.

        The record goes first: cut in between, a hash that was seen once is not forgotten, and the model counts as
        absent until its last file is there.
        """
        write_record(self.record_path(record.name), record)
        for path in paths:
            settle(staged / path, self.model(record.name) / path)


def _remove_empty(folder: Path) -> None:
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
