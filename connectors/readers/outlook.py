"""Outlook messages (.msg): the headers people read, the body, and attachments by their names."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from ragagent.connectors.readers import html, mail
from ragagent.connectors.readers.format import Format
from ragagent.connectors.readers.parsed import Member, Parsed, TextBuilder, one_line
from ragagent.errors import EmptyDocument, ReadError, TooLarge, UnsupportedFormat
from ragagent.settings import IngestSettings

MEDIA_TYPE = "application/vnd.ms-outlook"
_SHOWN = ("From", "To", "Cc", "Date", "Subject")


def read(data: bytes, *, name: str, limits: IngestSettings) -> Parsed:
    """The headers as a first paragraph and as metadata, then the plain body, else the HTML body."""
    from oxmsg import Message

    try:
        message = Message.load(io.BytesIO(data))
        headers = {key.title(): one_line(str(value)) for key, value in message.message_headers.items()}
        sent = message.sent_date.isoformat() if message.sent_date else ""
        body, page = message.body or "", message.html_body or ""
        subject = one_line(message.subject or headers.get("Subject", ""))
        sender = one_line(message.sender or "")
        recipients = ", ".join(_person(one.name, one.email_address) for one in message.recipients)
        attached = [(one_line(one.file_name or "unnamed"), one) for one in message.attachments]
    except (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError, AssertionError) as error:
        raise ReadError(f"the message is damaged: {error}") from error
    own = {"From": sender, "To": recipients, "Date": sent, "Subject": subject}
    shown = {key: headers.get(key) or own.get(key, "") for key in _SHOWN}
    builder = TextBuilder(max_chars=limits.max_text_chars)
    mail.add_headers(builder, shown.items())
    if body.strip():
        mail.add_plain(builder, body)
    elif page.strip():
        with contextlib.suppress(EmptyDocument):
            builder.extend(
                html.read(page.encode("utf-8", "replace"), name="", limits=replace(limits, links="texts")), deeper=1
            )
    attachments = [name for name, _ in attached]
    mail.add_attachments(builder, attachments)
    metadata = {key.lower(): shown[key] for key in _SHOWN}
    metadata |= {key.lower().replace("-", "_"): headers.get(key, "") for key in ("Message-Id", "In-Reply-To")}
    metadata |= {"sent": sent, "attachments": ", ".join(attachments)}
    inside = partial(_members, attached)
    return builder.parsed(media_type=MEDIA_TYPE, title=subject, metadata={**metadata}, inside=inside)


def _members(attached: list[tuple[str, Any]]) -> Iterator[Member]:
    for name, one in attached:
        yield Member(path=name, open=partial(_content, one), media_type=one.mime_type or "")


def _content(attachment: Any, most: int) -> bytes:
    content = attachment.file_bytes
    if content is None:
        raise UnsupportedFormat("a message attached as an Outlook item is not opened; save it as a file of its own")
    if len(content) > most:
        raise TooLarge(f"{len(content)} bytes; at most {most} more are read")
    return bytes(content)


def _person(name: str | None, address: str | None) -> str:
    name, address = one_line(name or ""), one_line(address or "")
    return f"{name} <{address}>" if name and address and name != address else name or address


FORMATS = (Format(media_type=MEDIA_TYPE, read=read, ole=("__substg1.0_",)),)
