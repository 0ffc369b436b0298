"""Outlook messages (.msg): the headers people read, the body, and attachments by their names."""

from __future__ import annotations

import contextlib
import io

from ragagent.connectors.readers import html, mail
from ragagent.connectors.readers.parsed import Parsed, TextBuilder, one_line
from ragagent.errors import EmptyDocument, ReadError
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
        attachments = [one_line(one.file_name or "unnamed") for one in message.attachments]
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
            builder.extend(html.read(page.encode("utf-8", "replace"), name="", limits=limits), deeper=1)
    mail.add_attachments(builder, attachments)
    metadata = {key.lower(): shown[key] for key in ("From", "To", "Cc", "Date")}
    metadata |= {"sent": sent, "attachments": ", ".join(attachments)}
    return builder.parsed(media_type=MEDIA_TYPE, title=subject, metadata={**metadata})


def _person(name: str | None, address: str | None) -> str:
    name, address = one_line(name or ""), one_line(address or "")
    return f"{name} <{address}>" if name and address and name != address else name or address
