"""The files of a Git repository at a revision, read from its objects without a checkout."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import threading
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, unquote_to_bytes, urlsplit

from ragagent.connectors.addresses import Credentials, outside, public, split_credentials
from ragagent.connectors.git_program import Blobs, Git
from ragagent.connectors.ignore import matcher
from ragagent.connectors.options import SECRET, read_options
from ragagent.connectors.readers.detect import media_type
from ragagent.errors import ConfigError, ConnectorError, ReadError, TooLarge, UnsupportedFormat
from ragagent.protocols import Fetched, SourceItem
from ragagent.settings import IngestSettings, at_least
from ragagent.types import Failure, Scalar, digest

_FILES = frozenset({b"100644", b"100755"})
_SUBMODULE = b"160000"
_LFS = b"version https://git-lfs.github.com/spec/"
_MAX_COMMITS = 50_000
_BINARY = frozenset({"binary", "-text"})


@dataclass(frozen=True, slots=True, kw_only=True)
class GitOptions:
    """What a repository can be told. `include` and `exclude` are patterns as in .gitignore."""

    revision: str = ""
    """A branch, a tag or a commit; what stands after the `@` of the address, else HEAD."""
    path: str = ""
    """The folder of the repository that is wanted."""
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    history: bool = False
    """Whether all of a remote repository is fetched, so that each file tells who changed it last and when."""
    timeout_s: float = field(default=600.0, metadata=at_least(1))
    user: str = ""
    password: str = field(default="", repr=False, metadata=SECRET)


class _Blob(NamedTuple):
    name: str
    size: int
    path: bytes


class GitConnector:
    """Every file of a repository at a revision, but hidden ones; its blob is the stamp, so nothing is read twice.

    The address of a file does not hold the revision: another one brings what differs, in its place.
    """

    def __init__(
        self,
        address: str,
        *,
        options: GitOptions | None = None,
        settings: IngestSettings | None = None,
        cache: Path | None = None,
    ) -> None:
        self._options = options or GitOptions()
        self._settings = settings or IngestSettings()
        place, self._revision = _parts(address)
        self._revision = self._options.revision or self._revision or "HEAD"
        if self._revision.startswith("-"):
            raise ConfigError(f"{public(address)}: {self._revision!r} is no revision")
        plain, given = split_credentials(place, keep_user=place.startswith("git+ssh"))
        if self._options.user or self._options.password:
            given = Credentials(self._options.user, self._options.password)
        self._address = public(split_credentials(plain)[0]).rstrip("/")
        self._folder = self._options.path.strip("/")
        self._repository = _Repository(plain.rstrip("/"), given, self._options, cache)
        self._blobs: Blobs | None = None
        self._found: dict[str, _Blob] = {}
        self._history: _History | None = None
        self._commit = ""
        self._binary: Any = None
        try:
            self._include, self._exclude = matcher(self._options.include), matcher(self._options.exclude)
        except ValueError as error:
            raise ConfigError(f"a pattern to include or exclude cannot be used: {error}") from error

    @property
    def source(self) -> str:
        """The address of the repository, and of the folder in it that is wanted; the revision is no part of it."""
        return outside(f"{self._address}/{quote(self._folder)}" if self._folder else self._address)

    def items(self) -> Iterator[SourceItem | Failure]:
        """Every file, sorted by path. Raises ConnectorError where the repository or the revision is not to be had."""
        self._open()
        for blob, mode in self._tree():
            uri = self._uri(blob.path)
            if mode == _SUBMODULE:
                yield Failure(uri=uri, reason="a submodule, which is a repository of its own", kind="UnsupportedFormat")
            else:
                self._found[uri] = blob
                yield SourceItem(uri=uri, stamp=blob.name, size_bytes=blob.size)

    def fetch(self, item: SourceItem) -> Fetched:
        """The bytes of a file at the revision. Raises ReadError, also for a pointer to a content kept elsewhere."""
        blob = self._found.get(item.uri)
        if blob is None or self._blobs is None:
            raise ReadError(f"the repository has no such file at {self._revision}")
        limit = self._settings.max_file_bytes
        if blob.size > limit:
            raise TooLarge(f"{blob.size} bytes; at most {limit} are read (setting ingest.max_file_bytes)")
        data = self._blobs.read(blob.name)
        if data.startswith(_LFS):
            raise ReadError("the repository holds a pointer of Git LFS in place of the content")
        path = blob.path.decode("utf-8", "surrogateescape")
        name = path.rpartition("/")[2]
        if self._binary is not None and self._binary.match_file(path) and media_type(data, name) == "text/plain":
            raise UnsupportedFormat("its .gitattributes call it binary, and it is of no format that is read")
        return Fetched(uri=item.uri, name=name, content=data, metadata=self._metadata(blob.path))

    def _open(self) -> None:
        self._found.clear()
        self._commit = self._repository.bring(self._revision)
        self._blobs = self._repository.git.blobs()
        self._history = (
            _History(self._repository.git, self._commit, self._folder) if self._repository.is_whole else None
        )
        self._binary = None

    def _tree(self) -> Iterator[tuple[_Blob, bytes]]:
        """The files and submodules that are wanted, with their modes."""
        arguments = ["ls-tree", "-r", "-z", "-l", "--full-tree", self._commit]
        attributes: list[str] = []
        found: list[tuple[_Blob, bytes]] = []
        for record in self._repository.git.records(*arguments, *([f"{self._folder}/"] if self._folder else [])):
            head, _, path = record.partition(b"\t")
            mode, _, name, size = head.split()
            blob = _Blob(name.decode("ascii"), int(size) if size.isdigit() else 0, path)
            if path.rpartition(b"/")[2] == b".gitattributes" and mode in _FILES and blob.size < 1_000_000:
                attributes += self._attributes(blob)
            elif (mode in _FILES or mode == _SUBMODULE) and self._wanted(path):
                found.append((blob, mode))
        with contextlib.suppress(ValueError):
            self._binary = matcher(attributes)
        yield from found

    def _attributes(self, blob: _Blob) -> Iterator[str]:
        """The patterns that one .gitattributes calls binary, from the top of the repository."""
        assert self._blobs is not None
        folder = blob.path.rpartition(b"/")[0].decode("utf-8", "surrogateescape")
        for line in self._blobs.read(blob.name).decode("utf-8", "replace").splitlines():
            pattern, *said = line.split()[:20] or [""]
            if not pattern.startswith(("#", "[", '"', "!")) and _BINARY & set(said):
                yield f"{folder}/**/{pattern}" if folder and "/" not in pattern else f"{folder}/{pattern.lstrip('/')}"

    def _wanted(self, path: bytes) -> bool:
        inner = path[len(self._folder.encode()) :].lstrip(b"/") if self._folder else path
        if any(part.startswith(b".") for part in inner.split(b"/")):
            return False
        shown = inner.decode("utf-8", "surrogateescape")
        if self._exclude is not None and self._exclude.match_file(shown):
            return False
        return self._include is None or self._include.match_file(shown)

    def _uri(self, path: bytes) -> str:
        return outside(f"{self._address}/{quote(path)}")

    def _metadata(self, path: bytes) -> dict[str, Scalar]:
        """The last change of the file where the history is there, else the commit that was read."""
        found = self._history.last(path) if self._history is not None else None
        return found or {"commit": self._commit}


class _Repository:
    """A repository on this disk, or our copy of one elsewhere."""

    def __init__(self, place: str, credentials: Credentials | None, options: GitOptions, cache: Path | None) -> None:
        self._place = place
        self._options = options
        self._transport = urlsplit(place).scheme.removeprefix("git+")
        self.is_whole = self._transport == "file" or options.history
        if self._transport == "file":
            self.git = Git(
                _folder_of(unquote_to_bytes(place.removeprefix("git+file://")).decode("utf-8", "surrogateescape"))
            )
            return
        if cache is None:
            own = Path(tempfile.mkdtemp(prefix="ragagent-git-"))
            weakref.finalize(self, shutil.rmtree, own, ignore_errors=True)
            cache = own
        self._copy = cache / "git" / digest(place, str(options.history))
        self.git = Git(self._copy, transport=self._transport, credentials=credentials)

    def bring(self, revision: str) -> str:
        """The commit of a revision, fetched where the repository is elsewhere. Raises ConnectorError."""
        try:
            if self._transport == "file":
                return self._commit_of(revision)
            if not (self._copy / "HEAD").exists():
                self._copy.mkdir(parents=True, exist_ok=True)
                self.git.run("init", "--bare", "--quiet", str(self._copy))
            return self._fetched(revision)
        except ConnectorError as error:
            raise ConnectorError(f"{public(self._place)}@{revision}: {error}") from error

    def _fetched(self, revision: str) -> str:
        url = self._place.removeprefix("git+")
        common = ["fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--force", "--prune"]
        narrow = [*common, *([] if self._options.history else ["--depth=1"]), "--", url]
        try:
            self.git.run(*narrow, f"+{revision}:refs/ragagent/wanted", timeout_s=self._options.timeout_s)
            return self._commit_of("refs/ragagent/wanted")
        except ConnectorError:
            # A commit that the server does not hand out by name, or a server that only serves files: all of it, then.
            everything = ["+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*"]
            self.git.run(*common, "--", url, *everything, timeout_s=self._options.timeout_s)
            return self._commit_of(revision if revision != "HEAD" else self._default(url))

    def _default(self, url: str) -> str:
        """The commit that HEAD of the other repository is."""
        listed = self.git.run("ls-remote", "--quiet", "--", url, "HEAD", timeout_s=self._options.timeout_s)
        return listed.split()[0].decode("ascii") if listed else "HEAD"

    def _commit_of(self, revision: str) -> str:
        for spelt in (revision, f"refs/remotes/origin/{revision}"):
            with contextlib.suppress(ConnectorError):
                found = self.git.run("rev-parse", "--quiet", "--verify", "--end-of-options", spelt + "^{commit}")
                return found.decode("ascii").strip()
        self.git.run("rev-parse", "--git-dir")
        raise ConnectorError("there is no such revision")


class _History:
    """Who changed a file last, and when: the log is read only as far back as it is asked about."""

    def __init__(self, git: Git, commit: str, folder: str) -> None:
        self._turn = threading.Lock()
        self._known: dict[bytes, dict[str, Scalar]] = {}
        self._current: dict[str, Scalar] = {}
        self._records = git.records(
            "log", "-z", "--name-only", "--no-renames", "--no-ext-diff", "--no-textconv", "--diff-merges=first-parent",
            f"--max-count={_MAX_COMMITS}", "--format=%x01%H%x02%an%x02%aI", commit, "--", *([folder] if folder else []),
        )  # fmt: skip

    def last(self, path: bytes) -> dict[str, Scalar] | None:
        """The commit, author and time of the last change; None where the log does not go back that far."""
        with self._turn:
            while path not in self._known:
                record = next(self._records, None)
                if record is None:
                    return None
                self._take(record.lstrip(b"\n"))
            return self._known[path]

    def _take(self, record: bytes) -> None:
        if record.startswith(b"\x01"):
            commit, author, date = record[1:].decode("utf-8", "replace").split("\x02")
            self._current = {"commit": commit, "author": author, "modified": date}
        elif record:
            self._known.setdefault(record, self._current)


def open_source(
    address: str, *, options: Mapping[str, Any], settings: IngestSettings, cache: Path | None
) -> GitConnector:
    """The repository at `git+file://...`, `git+https://...` or `git+ssh://...`, `@REVISION` after it or not."""
    chosen = read_options(GitOptions, options, source=public(address))
    return GitConnector(address, options=chosen, settings=settings, cache=cache)


def _parts(address: str) -> tuple[str, str]:
    """The place of the repository, and the revision after the last `@` of its path."""
    before, _, rest = address.partition("://")
    host, slash, path = rest.partition("/")
    found, mark, revision = path.rpartition("@")
    if not mark:
        return address, ""
    return f"{before}://{host}{slash}{found}", revision


def _folder_of(path: str) -> Path:
    """The folder of objects and refs: that of a bare repository, or the one inside a checkout."""
    inner = Path(path) / ".git"
    if inner.is_file():
        with contextlib.suppress(OSError, ValueError):
            named = inner.read_text("utf-8")[:4096].removeprefix("gitdir:").strip()
            return Path(path) / named
    return inner if inner.is_dir() else Path(path)
