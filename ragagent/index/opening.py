"""What comes before an index is open: it is made if it is to be, brought forward, and held against what is wanted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ragagent.errors import ConfigError, IndexStateError
from ragagent.index import migrations, schema
from ragagent.index.database import connect, translated
from ragagent.index.fingerprint import ANALYSER
from ragagent.index.lock import WriterLock
from ragagent.text.analyser import Analyser


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What an index is to be built with, and whether it is to be made; see `EmbeddedIndex.open`."""

    fingerprint: Mapping[str, str]
    dimension: int | None
    create: bool


def prepare(folder: Path, wanted: Wanted, lock_timeout_s: float) -> bool:
    """Sees to it that `folder` holds the index that is wanted; returns whether it was brought from an older format.

    Raises what `EmbeddedIndex.open` says, and leaves the folder as it is then.
    """
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder}: a file, where the folder of a knowledge base should be")
    if not schema.exists(folder):
        if not wanted.create:
            raise IndexStateError(f"{folder}: no knowledge base here; ingest something first, or check the path")
        if wanted.dimension is None:
            raise ConfigError("a new index needs the dimension of its vectors")
        built_with = {**wanted.fingerprint, ANALYSER: Analyser.fingerprint}
        _create(folder, built_with, wanted.dimension, lock_timeout_s)
    connection = connect(folder, read_only=True)
    try:
        schema.require_fingerprint(folder, connection, wanted.fingerprint, wanted.dimension)
    finally:
        connection.close()
    return migrations.bring_up(folder, lock_timeout_s)


def _create(folder: Path, fingerprint: Mapping[str, str], dimension: int, lock_timeout_s: float) -> None:
    with translated(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with WriterLock(folder, lock_timeout_s).held():
        if not schema.exists(folder):
            schema.create(folder, fingerprint, dimension)
