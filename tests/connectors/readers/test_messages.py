"""E-mail messages and mailboxes, written by the standard library and by hand."""

from __future__ import annotations

import contextlib
from email.message import EmailMessage

import pytest

from ragagent.connectors import readers
from ragagent.connectors.readers import Reading, mail, read_document
from ragagent.errors import ReadError, TooLarge
from ragagent.protocols import Fetched
from ragagent.settings import IngestSettings
from ragagent.types import Document


def _read(data: bytes, name: str = "a.eml") -> Document:
    return read_document(data, uri="test:1", name=name)


def _inside(data: bytes, name: str = "a.eml") -> Reading:
    return readers.read(Fetched(uri="test:1", name=name, content=data), settings=IngestSettings())


def _blocks(document: Document) -> list[tuple[str, str]]:
    return [(block.kind, block.span.of(document.text)) for block in document.blocks]


def _message() -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"] = "Zoë Müller <zoe@example.org>", "team@example.org"
    message["Subject"], message["Date"] = "Gärten im Mai", "Wed, 01 May 2024 09:00:00 +0200"
    message.set_content("Hello all,\n\nthe garden opens.\n\n> When does it open?\n> And where?\nIn May.\n")
    return message


def test_headers_come_first_and_quotes_are_kept_as_quotes() -> None:
    message = _message()
    message.add_alternative("<p>another form of it</p>", subtype="html")
    message.add_attachment(b"PNG", maintype="image", subtype="png", filename="Plan größer.png")
    document = _read(message.as_bytes())
    assert _blocks(document) == [
        (
            "paragraph",
            "From: Zoë Müller <zoe@example.org>\nTo: team@example.org\nDate: Wed, 01 May 2024 09:00:00 +0200\n"
            "Subject: Gärten im Mai",
        ),
        ("paragraph", "Hello all,"),
        ("paragraph", "the garden opens."),
        ("quote", "When does it open?\nAnd where?"),
        ("paragraph", "In May."),
        ("paragraph", "Attachments: Plan größer.png"),
    ]
    assert document.title == "Gärten im Mai"
    assert document.metadata["sent"] == "2024-05-01T09:00:00+02:00"
    assert document.metadata["attachments"] == "Plan größer.png"


def test_a_message_in_html_alone_is_read_as_html() -> None:
    message = EmailMessage()
    message["Subject"] = "x"
    message.set_content("<h1>Top</h1><table><tr><td>a</td><td>b</td></tr></table>", subtype="html")
    assert _blocks(_read(message.as_bytes()))[1:] == [("heading", "Top"), ("table", "a | b")]


def test_a_forwarded_message_is_read_below_its_subject() -> None:
    outer = EmailMessage()
    outer["Subject"] = "Fwd"
    outer.set_content("see below")
    outer.add_attachment(_message())
    assert "the garden opens." in _read(outer.as_bytes()).text
    assert ("heading", "Gärten im Mai") in _blocks(_read(outer.as_bytes()))


def test_a_mailbox_keeps_the_order_of_its_messages() -> None:
    entry = b"From a@b Wed May  1 09:00:00 2024\n"
    box = entry + b"Subject: One\n\nfirst\nFrom here on it is text\n\n" + entry + b"Subject: Two\n\nsecond\n"
    found = _inside(box, "a.mbox")
    assert found.document.metadata["messages"] == 2
    assert [(one.title, one.uri) for one in found.children] == [
        ("One", "test:1!/message-1"),
        ("Two", "test:1!/message-2"),
    ]
    assert "From here on it is text" in found.children[0].text


def test_a_message_of_a_mailbox_keeps_its_uri_when_another_one_goes() -> None:
    first, second = (
        f"From a@b Wed May  1 09:00:00 2024\nMessage-ID: <{name}@b>\nSubject: {name}\n\ntext\n\n".encode()
        for name in ("one", "two")
    )
    assert {one.uri for one in _inside(second, "a.mbox").children} < {
        one.uri for one in _inside(first + second, "a.mbox").children
    }


def test_what_is_attached_becomes_documents_of_their_own_with_the_uri_of_their_message() -> None:
    outer, inner = EmailMessage(), _message()
    outer["Subject"] = "Fwd"
    outer.set_content("see below")
    inner.add_attachment(b"a,b\n1,2\n", maintype="text", subtype="csv", filename="../plan.csv")
    outer.add_attachment(b"\0\1\2" * 100, maintype="application", subtype="octet-stream", filename="x.bin")
    outer.add_attachment(inner)
    found = _inside(outer.as_bytes())
    assert [(one.uri, one.text) for one in found.children] == [("test:1!/plan.csv", "a | b\n1 | 2")]
    assert found.children[0].metadata["inside"] == "Fwd"
    assert [(one.uri, one.kind) for one in found.failures] == [("test:1!/x.bin", "UnsupportedFormat")]


def test_headers_are_metadata_to_filter_by() -> None:
    message = _message()
    message["Cc"], message["Message-ID"], message["In-Reply-To"] = "b@example.org", "<2@x>", "<1@x>"
    metadata = _read(message.as_bytes()).metadata
    assert metadata["from"] == "Zoë Müller <zoe@example.org>"
    assert (metadata["to"], metadata["cc"]) == ("team@example.org", "b@example.org")
    assert (metadata["message_id"], metadata["in_reply_to"]) == ("<2@x>", "<1@x>")
    assert (metadata["subject"], metadata["sent"]) == ("Gärten im Mai", "2024-05-01T09:00:00+02:00")


def test_a_page_saved_as_one_file_is_read_as_its_page() -> None:
    page = EmailMessage()
    page["Subject"], page["Snapshot-Content-Location"] = "The page", "https://example.org/x"
    page.set_content("<h1>Top</h1><p>text</p>", subtype="html")
    page.add_related(b"x", maintype="image", subtype="png", cid="<a>")
    document = _read(page.as_bytes(), "a.mhtml")
    assert _blocks(document) == [("heading", "Top"), ("paragraph", "text")]
    assert document.metadata["address"] == "https://example.org/x"


def test_messages_within_messages_and_parts_without_end_are_bounded() -> None:
    nested = b"Subject: deep\nContent-Type: message/rfc822\n\n" * 400 + b"Subject: bottom\n\ntext\n"
    with contextlib.suppress(ReadError):
        assert "deep" in _read(nested).text
    many = b"Subject: x\nContent-Type: multipart/mixed; boundary=b\n\n" + b"--b\n\npart\n" * (mail.MAX_PARTS + 10)
    with pytest.raises(TooLarge, match="parts"):
        _read(many)


def test_text_without_headers_is_no_message() -> None:
    with pytest.raises(ReadError, match="no e-mail"):
        _read(b"just some words\nand more\n")
