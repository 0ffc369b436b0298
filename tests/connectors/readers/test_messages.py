"""E-mail messages and mailboxes, written by the standard library and by hand."""

from __future__ import annotations

import contextlib
from email.message import EmailMessage

import pytest

from ragagent.connectors.readers import mail, read_document
from ragagent.errors import ReadError, TooLarge
from ragagent.types import Document


def _read(data: bytes, name: str = "a.eml") -> Document:
    return read_document(data, uri="test:1", name=name)


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
    document = _read(box, "a.mbox")
    assert [text for kind, text in _blocks(document) if kind == "heading"] == ["One", "Two"]
    assert "From here on it is text" in document.text
    assert document.metadata["messages"] == 2


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
