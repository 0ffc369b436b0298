"""The pages under docs/: links lead somewhere, messages are ours, and the site asks no other host for anything."""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from ragagent.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_MESSAGE = re.compile(r"`([^`]+)`")
_FILES = frozenset({"db", "py", "md", "toml"})
_PIECE = re.compile(r"[^\W\d_]+(?:[ ,]+[^\W\d_]+)+")


def _anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and the site make them."""
    text = _FENCE.sub("", page.read_text("utf-8"))
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.replace("`", "").lower()).replace(" ", "-") for title in titles}


def links() -> Iterator[tuple[Path, str]]:
    for page in [*PAGES, ROOT / "README.md"]:
        for target in _LINK.findall(_FENCE.sub("", page.read_text("utf-8"))):
            if not target.startswith(("http://", "https://", "mailto:")):
                yield page, target


def test_every_link_leads_to_what_is_there() -> None:
    for page, target in links():
        name, _, anchor = target.partition("#")
        found = (page.parent / name).resolve() if name else page
        assert found.exists(), f"{page.name}: {target}"
        assert not anchor or anchor in _anchors(found), f"{page.name}: {target}"


def test_every_page_is_in_the_navigation_and_every_entry_of_it_is_a_page() -> None:
    named = re.findall(r"([\w-]+\.md)$", (ROOT / "mkdocs.yml").read_text("utf-8"), re.MULTILINE)
    assert sorted(named) == sorted(page.name for page in PAGES)


@pytest.fixture(scope="module")
def source() -> str:
    """All of our code with the breaks between the parts of its texts taken out."""
    files = [file for folder in ("ragagent", "connectors") for file in sorted((ROOT / folder).rglob("*.py"))]
    whole = "\n".join(file.read_text("utf-8") for file in files)
    return re.sub(r'"\s*\n\s*f?"', "", whole)


def test_every_message_of_troubleshooting_is_one_that_the_code_writes(source: str) -> None:
    page = (DOCS / "troubleshooting.md").read_text("utf-8")
    bold = [part for heading in re.findall(r"^\*\*(.+?)\*\*", page, re.MULTILINE | re.DOTALL) for part in [heading]]
    messages = [" ".join(one.split()) for part in bold for one in _MESSAGE.findall(part)]
    assert len(messages) >= 12
    for message in messages:
        for piece in _PIECE.findall(message.replace("…", "\0")):
            assert piece in source, f"{message}: {piece!r} stands nowhere in the code"


def test_every_setting_that_the_pages_name_exists() -> None:
    sections = {field.name: getattr(Settings(), field.name) for field in dataclasses.fields(Settings)}
    for page in PAGES:
        for section, name in re.findall(r"`([a-z]+)\.([a-z_]+)(?: = [^`]*)?`", page.read_text("utf-8")):
            if section in sections and name not in _FILES:
                assert hasattr(sections[section], name), f"{page.name}: {section}.{name}"


class _Fetched(HTMLParser):
    """The addresses that a browser fetches by itself when it shows a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag in {"script", "img", "iframe", "source", "video", "audio"}:
            self.found.append(given.get("src") or "")
        if tag == "link" and given.get("rel") in {"stylesheet", "preload", "icon", "preconnect"}:
            self.found.append(given.get("href") or "")


def test_the_site_is_built_strictly_and_asks_no_other_host(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="the extra docs is not installed")
    pytest.importorskip("mkdocstrings", reason="the extra docs is not installed")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    pages = sorted((tmp_path / "site").rglob("*.html"))
    assert {page.with_suffix("").name for page in PAGES} <= {page.stem for page in pages}
    assert "KnowledgeBase" in (tmp_path / "site" / "reference.html").read_text("utf-8")
    for page in pages:
        parser = _Fetched()
        parser.feed(page.read_text("utf-8"))
        assert not [one for one in parser.found if one.startswith(("http:", "https:", "//"))], page.name
