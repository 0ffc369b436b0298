"""What every document can be filtered by, worked out in one place."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragagent.connectors.readers.registry import FORMATS
from ragagent.index import filters
from ragagent.types import Document, inner_uri
from ragagent.where.fields import OWN, fields, types_of

SCALARS = st.none() | st.booleans() | st.integers(-3, 3) | st.text(max_size=12)
KEYS = st.sampled_from([*OWN, "date", "sent", "modified", "type", "folder", "author"])


@given(
    metadata=st.dictionaries(KEYS, SCALARS | st.lists(SCALARS, max_size=3), max_size=6),
    uri=st.text(alphabet="ab/:?#%!.é ", max_size=20) | st.sampled_from(["file:///a/b/c.txt", "http://[bad/x/y", "x:y"]),
    source=st.text(alphabet="ab/:", max_size=8),
    media_type=st.text(alphabet="ab/;+-.x ", max_size=12),
    acl=st.lists(st.sampled_from(["public", "user:ann"]), max_size=2).map(tuple),
)
def test_own_keys_go_before_metadata_and_everything_can_be_stored(
    metadata: Any, uri: str, source: str, media_type: str, acl: Any
) -> None:
    document = Document(text="x", uri=uri, title="T", media_type=media_type, metadata=metadata, acl=acl)
    found = fields(document, source)
    for name in ("id", "uri", "title", "media_type"):
        assert found[name] == getattr(document, name)
    assert (found["source"], found["acl"]) == (source, list(acl) or None)
    for name in ("type", "folder", "author", "sent", "modified"):
        if name in metadata:
            assert found[name] == metadata[name]
    assert all(value for key, value in filters.attributes(document, source) if key in OWN)


@pytest.mark.parametrize(
    ("media_type", "short"),
    [
        ("application/pdf", ["pdf"]),
        ("application/vnd.openxmlformats-officedocument.wordprocessingml.document", ["docx", "word"]),
        ("text/markdown; charset=utf-8", ["md", "markdown"]),
        ("TEXT/HTML", ["html"]),
        ("message/rfc822", ["eml", "mail"]),
        ("image/png", ["png", "image"]),
        ("text/x-rust", ["rust"]),
        ("application/xml", ["xml"]),
        ("application/vnd.apple.iwork", ["apple.iwork"]),
        ("image/svg+xml", ["svg", "image"]),
        ("", []),
    ],
)
def test_a_media_type_has_short_forms(media_type: str, short: list[str]) -> None:
    assert types_of(media_type) == short


@pytest.mark.parametrize("format_", FORMATS, ids=lambda one: one.media_type)
def test_the_ending_of_a_format_that_is_read_is_a_short_form_of_it_or_its_name_is(format_: Any) -> None:
    found = types_of(format_.media_type)
    assert found
    assert all(one == one.lower() and " " not in one and "/" not in one for one in found)


@pytest.mark.parametrize(
    ("uri", "source", "folders"),
    [
        ("file:///srv/docs/law/2024/a%20b.pdf", "file:///srv/docs", ["/srv/docs/law/2024", "docs", "law", "2024"]),
        ("file:///srv/docs/a.pdf", "file:///srv/docs/", ["/srv/docs", "docs"]),
        ("file:///srv/docs/a.pdf", "file:///srv/docs/a.pdf", ["/srv/docs", "docs"]),
        ("file:///srv/docsets/a.pdf", "file:///srv/docs", ["/srv/docsets", "docsets"]),
        (inner_uri("file:///srv/mail%20box/a.zip", "x/y.txt"), "", ["/srv/mail box", "mail box"]),
        ("https://example.org/handbook/rooms?x=/y/", "site+https://example.org/", ["/handbook", "handbook"]),
        ("s3://bucket/reports/a.txt", "s3://bucket/reports", ["/reports", "reports"]),
        ("https://example.org/", "https://example.org/", []),
        ("n:1", "documents:", []),
    ],
)
def test_the_folder_is_its_path_and_each_name_from_the_source_down(uri: str, source: str, folders: list[str]) -> None:
    assert fields(Document(text="x", uri=uri), source)["folder"] == folders


@pytest.mark.parametrize(
    ("metadata", "date"),
    [
        ({"date": "2024-01-31"}, "2024-01-31"),
        ({"date": "2024-01-31T10:00:00+01:00"}, "2024-01-31"),
        ({"date": "2024"}, "2024"),
        ({"date": "2024-02"}, "2024-02"),
        ({"date": "Mon, 1 Jan 2024 10:00:00 +0100", "sent": "2024-01-01T10:00:00+01:00"}, "2024-01-01"),
        ({"date": "Mon, 1 Jan 2024 10:00:00 +0100"}, "2024-01-01"),
        ({"sent": "2023-05-06T07:08:09"}, "2023-05-06"),
        ({"sent": "", "modified": "Wed, 21 Oct 2015 07:28:00 GMT"}, "2015-10-21"),
        ({"taken": "2019:07:08 09:10:11", "modified": "2024-03-01"}, "2019-07-08"),
        ({"date": "in spring", "modified": "2024-03-01"}, "in spring"),
        ({"date": 2024}, 2024),
        ({"date": None, "modified": "2024-03-01"}, "2024-03-01"),
        ({"modified": "yesterday"}, None),
        ({}, None),
    ],
)
def test_the_date_is_the_first_that_is_known_in_one_form(metadata: Any, date: Any) -> None:
    assert fields(Document(text="x", metadata=metadata)).get("date") == date
