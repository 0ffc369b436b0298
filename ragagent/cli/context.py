"""What every command shares: settings, the knowledge base, models that are there, common options."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ragagent.access import GROUP, Principal, acl_of, denied, principal_of
from ragagent.settings import Loaded, Settings

if TYPE_CHECKING:
    from ragagent.app import KnowledgeBase
    from ragagent.models.store import ModelStore

DEFAULT_KB = Path(".ragagent")

_Function = TypeVar("_Function", bound=Callable[..., Any])


@dataclass(kw_only=True)
class Context:
    """The object that click hands to every command."""

    kb: Path | None
    loaded: Loaded
    trace_file: Path | None = None
    names: tuple[str, ...] = ()
    """Whom the command looks at the knowledge base for, as acls name them; none is the owner."""

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self.loaded.settings

    @property
    def store(self) -> ModelStore:
        """The folder of models that the settings name, with the hub's usual variables in force."""
        from ragagent.models.access import Access
        from ragagent.models.store import ModelStore

        chosen = self.settings.models
        access = Access.from_environ(os.environ, chosen.download)
        return ModelStore(Path(chosen.folder) if chosen.folder else None, access=access)

    def choose(self, *, kb: Path | None = None, model: str | None = None, embedder: str | None = None) -> None:
        """Takes over a command's own options, which win over the global ones."""
        self.kb = kb or self.kb
        settings = self.settings
        if model:
            settings = dataclasses.replace(settings, llm=dataclasses.replace(settings.llm, model=model))
        if embedder:
            settings = dataclasses.replace(settings, embedding=dataclasses.replace(settings.embedding, model=embedder))
        self.loaded = dataclasses.replace(self.loaded, settings=settings)

    def open(self, *, create: bool = False, embedder: bool = True, llm: bool = False) -> KnowledgeBase:
        """The knowledge base, after fetching the models that the command needs and the machine lacks."""
        from ragagent.app import KnowledgeBase

        folder = self.kb or DEFAULT_KB
        if embedder:
            self.fetch_embedder()
        if llm:
            self.fetch(self.settings.llm.model)
        return KnowledgeBase.open(
            folder, settings=self.settings, create=create, trace=self._sink(), principal=self.principal
        )

    @property
    def principal(self) -> Principal | None:
        """Whom the command is for; None is the owner. Raises ConfigError for what is no principal."""
        return principal_of(self.names) if self.names else None

    def require_owner(self, what: str) -> None:
        """Raises AccessDenied when the command is for somebody else."""
        if self.principal is not None:
            raise denied(self.principal, what)

    def fetch(self, name: str) -> None:
        """Pulls a model that has a source and is not here yet, with a progress bar, unless downloads are off."""
        from ragagent.cli.progress import Bar
        from ragagent.errors import ModelNotFound

        store = self.store
        try:
            if name != "none" and not name.startswith(("http://", "https://")):
                store.resolve(name)
        except ModelNotFound:
            if self.settings.models.download == "never" or not (name in store.catalogue or name.startswith("hf:")):
                raise
            click.echo(f"fetching the model {name} into {store.folder} (once)", err=True)
            with Bar(unit="bytes") as bar:
                store.pull(name, progress=bar)

    def fetch_embedder(self) -> None:
        """Pulls the embedding model that the settings name, or else the knowledge base, if it is not here."""
        self.fetch(self._embedder_name(self.kb or DEFAULT_KB))

    def _embedder_name(self, folder: Path) -> str:
        from ragagent.index.embedded import stored_fingerprint
        from ragagent.models.embedding import DEFAULT_EMBEDDER

        stored = stored_fingerprint(folder) or {}
        return self.settings.embedding.model or stored.get("embedder_name") or DEFAULT_EMBEDDER

    def _sink(self) -> Any:
        from ragagent.trace import JsonLines

        return JsonLines(self.trace_file) if self.trace_file else None


def json_option(function: _Function) -> _Function:
    """`--json`: print the result as JSON instead of text."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(function)


def kb_option(function: _Function) -> _Function:
    """`--kb DIR` after the command, as well as before it; and for whom, by `--as` and `--group`."""
    for option in (
        click.option(
            "--group",
            multiple=True,
            expose_value=False,
            callback=_looking,
            metavar="NAME",
            help="A group that whoever --as names belongs to; repeatable.",
        ),
        click.option(
            "--as",
            multiple=True,
            expose_value=False,
            callback=_looking,
            metavar="PRINCIPAL",
            help="See only what user:NAME, group:NAME or public may read (docs/access.md). Default: the owner, all.",
        ),
        click.option(
            "--kb", type=click.Path(file_okay=False, path_type=Path), help="Knowledge base. Default: .ragagent"
        ),
    ):
        function = option(function)
    return function


def _looking(ctx: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> None:
    """Takes over whom a command is for."""
    prefix = GROUP if parameter.name == "group" else ""
    context = ctx.find_object(Context)
    if context is not None:
        context.names += tuple(prefix + name for name in value)


def model_option(function: _Function) -> _Function:
    """`--model`: the chat model for this command."""
    return click.option("--model", help="Chat model: a catalogue name, a GGUF file, hf:repo/file or a URL.")(function)


def embedder_option(function: _Function) -> _Function:
    """`--embedder`: the embedding model for this command."""
    return click.option("--embedder", help="Embedding model: a catalogue name, a folder or hf:repo.")(function)


def where_option(function: _Function) -> _Function:
    """`--where FILTER`, given to the command as `filters`."""
    option = click.option(
        "--where",
        "filters",
        multiple=True,
        metavar="FILTER",
        help="Only documents that this holds for, such as 'type = pdf and year >= 2020'; repeatable (docs/filters.md).",
    )
    return option(function)


def acl_option(function: _Function) -> _Function:
    """`--acl PRINCIPAL`, given to the command as `acl`: None where it is not there, empty for nobody but the owner."""
    option = click.option(
        "--acl",
        multiple=True,
        callback=lambda ctx, parameter, value: acl_of(",".join(value)) if value else None,
        metavar="PRINCIPAL",
        help="Who may read them: group:NAME, user:NAME or public; repeatable. '' is the owner alone.",
    )
    return option(function)
