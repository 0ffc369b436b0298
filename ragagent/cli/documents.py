"""`ragagent documents list|show|remove|label|duplicates`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ragagent.cli.context import Context, acl_option, json_option, kb_option
from ragagent.cli.output import console, echo_json
from ragagent.errors import IndexStateError
from ragagent.types import Document

if TYPE_CHECKING:
    from ragagent.app import KnowledgeBase
    from ragagent.protocols import KnownDocument

_SHOWN_CHARACTERS = 100


@click.group()
def documents() -> None:
    """List, show and remove documents, and say who may read them."""


@documents.command("list")
@kb_option
@json_option
@click.pass_obj
def list_documents(context: Context, kb: Path | None, as_json: bool) -> None:
    """List every document: id, title and place of origin.

    \b
    ragagent documents list --json
    """
    context.choose(kb=kb)
    with context.open(embedder=False) as knowledge_base:
        rows = [_summary(document) for document in knowledge_base.documents()]
    if as_json:
        echo_json(rows)
        return
    out = console()
    for row in rows:
        out.print(f"{row['id']}  {row['title']}  ({row['characters']} characters)  {row['uri']}")
    out.print(f"{len(rows)} documents", style="dim")


@documents.command()
@click.argument("document")
@kb_option
@json_option
@click.pass_obj
def show(context: Context, document: str, kb: Path | None, as_json: bool) -> None:
    """Print the text of a document, named by its id, its uri or its file name.

    \b
    ragagent documents show contract.pdf
    """
    context.choose(kb=kb)
    with context.open(embedder=False) as knowledge_base:
        found = _find(knowledge_base, document)
    if as_json:
        echo_json(found)
    else:
        click.echo(found.text)


@documents.command()
@click.argument("names", nargs=-1, required=True, metavar="DOCUMENT...")
@kb_option
@json_option
@click.pass_obj
def remove(context: Context, names: tuple[str, ...], kb: Path | None, as_json: bool) -> None:
    """Remove documents, named by id, uri or file name, from the knowledge base. Files stay where they are.

    \b
    ragagent documents remove old-contract.pdf
    """
    context.choose(kb=kb)
    context.require_owner("removing")
    with context.open(embedder=False) as knowledge_base:
        known = knowledge_base.known()
        found = [_known(known, name) for name in names]
        for document in found:
            knowledge_base.remove(document.id)
    if as_json:
        echo_json([{"id": document.id, "uri": document.uri} for document in found])
    else:
        for document in found:
            click.echo(f"removed {document.uri}")


@documents.command()
@click.argument("names", nargs=-1, required=True, metavar="DOCUMENT...")
@acl_option
@kb_option
@json_option
@click.pass_obj
def label(
    context: Context, names: tuple[str, ...], acl: tuple[str, ...] | None, kb: Path | None, as_json: bool
) -> None:
    """Say who may read documents, named by id, uri or file name, and all that is inside them. Nothing is embedded.

    \b
    ragagent documents label contract.pdf --acl group:law --acl user:ann
    """
    if acl is None:
        raise click.UsageError("say who may read them: --acl group:NAME, or --acl '' for the owner alone")
    context.choose(kb=kb)
    context.require_owner("changing readers")
    with context.open(embedder=False) as knowledge_base:
        known = knowledge_base.known()
        found = [_known(known, name) for name in names]
        knowledge_base.relabel({document.id: acl for document in found})
    if as_json:
        echo_json([{"id": document.id, "uri": document.uri, "acl": acl} for document in found])
    else:
        for document in found:
            click.echo(f"{document.uri}: read by {', '.join(acl) or 'the owner alone'}")


@documents.command()
@kb_option
@json_option
@click.pass_obj
def duplicates(context: Context, kb: Path | None, as_json: bool) -> None:
    """Report copies and versions of documents, and lines that stand in many. Nothing is changed.

    \b
    ragagent documents duplicates
    """
    context.choose(kb=kb)
    with context.open(embedder=False) as knowledge_base:
        found = knowledge_base.duplicates()
    if as_json:
        echo_json(found)
        return
    out = console()
    for cluster in found.clusters:
        how = "the same words" if cluster.exact else f"at least {cluster.likeness:.0%} alike"
        out.print(f"{len(cluster.members)} documents, {how}:")
        for uri in cluster.members:
            out.print(f"  {uri}")
    for line in found.boilerplate:
        out.print(f"in {line.documents} documents: {line.text[:_SHOWN_CHARACTERS]}")
    count = sum(len(cluster.members) for cluster in found.clusters)
    out.print(f"{found.documents} documents, {count} of them in {len(found.clusters)} clusters", style="dim")


def _summary(document: Document) -> dict[str, object]:
    return {
        "id": document.id,
        "uri": document.uri,
        "title": document.title,
        "media_type": document.media_type,
        "characters": len(document.text),
        "metadata": document.metadata,
        "acl": document.acl,
    }


def _find(knowledge_base: KnowledgeBase, name: str) -> Document:
    document = knowledge_base.document(name)
    if document is None:
        document = knowledge_base.document(_known(knowledge_base.known(), name).id)
    if document is None:
        raise IndexStateError(f"document {name!r} was removed meanwhile")
    return document


def _known(known: Mapping[str, KnownDocument], name: str) -> KnownDocument:
    """What is remembered of the document of that id, uri or file name; its text may be damaged."""
    if name in known:
        return known[name]
    matches = [one for one in known.values() if one.uri == name or one.uri.rsplit("/", 1)[-1] == name]
    if not matches:
        raise IndexStateError(f"no document {name!r}; list them with: ragagent documents list")
    if len(matches) > 1:
        raise IndexStateError(f"{len(matches)} documents are called {name!r}; name one by its id")
    return matches[0]
