from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

import ragagent.connectors
from ragagent.connectors.files import FilesOptions
from ragagent.connectors.git import GitOptions
from ragagent.connectors.imap import ImapOptions
from ragagent.connectors.remote import EXTRAS, RemoteOptions
from ragagent.connectors.site import SiteOptions
from ragagent.connectors.sql import SqlOptions
from ragagent.connectors.web import WebOptions
from ragagent.connectors.webfolder import FolderOptions

PAGE = (Path(__file__).resolve().parent.parent.parent / "docs/connectors.md").read_text("utf-8")
SECTIONS = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
KINDS = {
    FilesOptions: "Files and folders",
    WebOptions: "Web pages and sites",
    SiteOptions: "Web pages and sites",
    FolderOptions: "Web pages and sites",
    RemoteOptions: "Object stores and other file systems",
    GitOptions: "Git repositories",
    ImapOptions: "Mail",
    SqlOptions: "SQL databases",
}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_option_is_documented_with_its_default(kind: type) -> None:
    section = SECTIONS[KINDS[kind]]
    for item in dataclasses.fields(kind):
        assert f"`{item.name}`" in section, item.name
        row = re.search(rf"^\| `{item.name}` \| (\d+) \|", section, re.MULTILINE)
        if row is not None and kind is not FolderOptions:
            assert float(row[1]) == item.default, item.name


def test_every_scheme_is_documented() -> None:
    for scheme in ragagent.connectors._MODULES:
        assert f"{scheme}://" in PAGE or scheme in {"http", "imap", "site+http", "folder+http", "git+http"}, scheme
    assert set(EXTRAS.values()) <= set(re.findall(r"\[(\w+)\]", PAGE))
