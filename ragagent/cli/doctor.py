"""`ragagent doctor`: what is here, what is wrong, and what to do about it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from ragagent.cli.context import DEFAULT_KB, Context, json_option, kb_option
from ragagent.cli.output import console, echo_json
from ragagent.errors import ModelError, RagAgentError

if TYPE_CHECKING:
    from ragagent.index.editions import Edition

_PACKAGES = ("faiss-cpu", "llama-cpp-python", "llguidance", "openvino", "tokenizers", "mcp", "langgraph")
_OPTIONAL = {"sentence-transformers": "any sentence-transformers model: pip install 'ragagent[sentence-transformers]'"}
_FREE_BYTES_WANTED = 2_000_000_000
_STYLES = {"ok": "green", "note": "dim", "warning": "yellow", "error": "red"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of the examination; `action` says what to do, and is empty when nothing needs doing."""

    level: Literal["ok", "note", "warning", "error"]
    subject: str
    message: str
    action: str = ""


@click.command()
@kb_option
@json_option
@click.pass_obj
def doctor(context: Context, kb: Path | None, as_json: bool) -> None:
    """Check environment, models and index, and say what to do about each finding. Fails if something is broken.

    \b
    ragagent doctor
    """
    context.choose(kb=kb)
    findings = [*_environment(), *_build(), *_models(context), *_index(context)]
    if as_json:
        echo_json(findings)
    else:
        out = console()
        for finding in findings:
            out.print(f"{finding.level:<8} {finding.subject}: {finding.message}", style=_STYLES[finding.level])
            if finding.action:
                out.print(f"         do: {finding.action}", style="bold")
    if any(finding.level == "error" for finding in findings):
        raise click.exceptions.Exit(1)


def _environment() -> Iterator[Finding]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Finding(
        level="ok",
        subject="machine",
        message=f"Python {platform.python_version()}, {platform.machine()}, {cores} cores, {_memory_gb():.0f} GB",
    )
    for package in _PACKAGES:
        version = _version(package)
        if version is None:
            yield Finding(level="error", subject=package, message="not installed", action=f"pip install {package}")
        else:
            yield Finding(level="ok", subject=package, message=version)
    for package, purpose in _OPTIONAL.items():
        version = _version(package)
        yield Finding(level="ok" if version else "note", subject=package, message=version or f"absent; for {purpose}")


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _memory_gb() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9


def _build() -> Iterator[Finding]:
    from ragagent.models.embedding import cpu_precision
    from ragagent.models.llama import build_info

    yield Finding(level="ok", subject="embedding", message=f"computes in {cpu_precision()} on this processor")
    try:
        build = build_info()
    except ModelError as error:
        action = "pip install --force-reinstall --no-binary :all: llama-cpp-python"
        yield Finding(level="error", subject="llama.cpp", message=str(error), action=action)
        return
    can = f"can offload layers: {', '.join(build.devices)}"
    offload = can if build.gpu_offload else "runs on the CPU (no GPU backend in this build)"
    yield Finding(level="ok", subject="llama.cpp", message=f"{build.version}, {offload}")


def _models(context: Context) -> Iterator[Finding]:
    from ragagent.models.embedding import DEFAULT_EMBEDDER

    store = context.store
    for name in (context.settings.embedding.model or DEFAULT_EMBEDDER, context.settings.llm.model):
        if name == "none":
            yield Finding(level="note", subject="llm.model", message="none: answers are the best sentences found")
            continue
        if name.startswith(("http://", "https://")):
            yield Finding(
                level="note", subject=name, message="a remote endpoint: questions and passages are sent there"
            )
            continue
        try:
            path = store.resolve(name)
        except ModelError as error:
            yield Finding(level="error", subject=name, message=str(error), action=f"ragagent models pull {name}")
            continue
        yield Finding(level="ok", subject=name, message=str(path))
        yield from _fits(path)
    free = shutil.disk_usage(_existing(store.folder)).free
    if free < _FREE_BYTES_WANTED:
        action = "free some space, or name another folder with --set models.folder=DIR"
        yield Finding(level="warning", subject=str(store.folder), message=f"{free / 1e9:.1f} GB free", action=action)


def _fits(path: Path) -> Iterator[Finding]:
    size_gb = path.stat().st_size / 1e9 if path.is_file() else 0.0
    if size_gb * 1.5 > _memory_gb():
        action = "choose a smaller one, such as --set llm.model=qwen2.5-coder-0.5b-instruct"
        yield Finding(
            level="warning", subject=path.name, message=f"{size_gb:.1f} GB do not fit in memory well", action=action
        )


def _existing(folder: Path) -> Path:
    while not folder.exists():
        folder = folder.parent
    return folder


def _other_edition(folder: Path, one: Edition) -> Finding:
    """An edition takes room as long as it is there, so it is named."""
    built_with = f"{one.chunks} chunks by {one.fingerprint.get('embedder_name', 'another embedder')}"
    if one.state == "old":
        message, action = f"keeps the edition before the last migration: {built_with}", "ragagent migrate --finish"
    else:
        message = f"a migration was begun and not finished: {built_with}, {one.built} of {one.documents} documents"
        action = "ragagent migrate goes on with it"
    return Finding(level="note", subject=str(folder), message=message, action=action)


def _index(context: Context) -> Iterator[Finding]:
    from ragagent.index.embedded import stored_fingerprint

    folder = context.kb or DEFAULT_KB
    try:
        if stored_fingerprint(folder) is None:
            yield Finding(
                level="note", subject=str(folder), message="no knowledge base", action="ragagent ingest FOLDER"
            )
            return
        with context.open(embedder=False) as knowledge_base:
            status = knowledge_base.status()
            problems = knowledge_base.check()
            editions = knowledge_base.editions()
    except RagAgentError as error:
        yield Finding(level="error", subject=str(folder), message=str(error))
        return
    message = f"{status.documents} documents, {status.chunks} chunks, {status.size_bytes / 1e6:.1f} MB"
    yield Finding(level="ok", subject=str(folder), message=message)
    for one in editions:
        if one.state != "live":
            yield _other_edition(folder, one)
    for problem in dict.fromkeys((*status.findings, *problems)):
        action = "ingest the sources again into a new knowledge base if this stays"
        yield Finding(level="error", subject=str(folder), message=problem, action=action)
