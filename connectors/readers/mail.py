"""E-mail messages (.eml), mailboxes (.mbox) and pages saved as one file (.mht): headers, text, and what is attached."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from email.message import EmailMessage
from functools import partial
from html import unescape
from itertools import islice

from ragagent.connectors.readers import html
from ragagent.connectors.readers.format import Format
from ragagent.connectors.readers.parsed import Member, Parsed, TextBuilder, clean, one_line
from ragagent.errors import EmptyDocument, ReadError, TooLarge
from ragagent.settings import IngestSettings
from ragagent.text.decode import decode
from ragagent.types import Scalar

MEDIA_TYPE = "message/rfc822"
MBOX_MEDIA_TYPE = "application/mbox"
MHT_MEDIA_TYPE = "multipart/related"
MAX_MESSAGES = 50_000
MAX_PARTS = 2_000

_MAX_DEPTH = 8
_MAX_HEAD_BYTES = 64 * 1024
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_SMALL_IMAGE = 24 * 1024
_SIGNATURES = frozenset({"application/pkcs7-signature", "application/x-pkcs7-signature", "application/pgp-signature"})
_Attached = tuple[str, EmailMessage]
_MAX_HEADER_CHARS = 4_000
_SHOWN = ("From", "To", "Cc", "Date", "Subject")
_FROM_LINE = re.compile(rb"^From [^\n]{0,1000}\n", re.MULTILINE)
_QUOTED = re.compile(r"^[ \t]{0,3}>")
_EMPTY_LINE = re.compile(r"\n[ \t]*\n")
_TAG = re.compile(r"<[^<>]{1,2000}>")


def read(data: bytes, *, name: str, limits: IngestSettings) -> Parsed:
    """The headers as a first paragraph and as metadata, the plain part (else the HTML part), quoted lines as quotes.

    What is attached is inside, also what is attached to a forwarded message.
    """
    message = _parse(data)
    builder = TextBuilder(max_chars=limits.max_text_chars)
    attached = _message(message, builder, limits, depth=0)
    return builder.parsed(
        media_type=MEDIA_TYPE,
        title=_header(message, "Subject"),
        metadata=_metadata(message, attached),
        inside=partial(_members, attached),
    )


def read_mbox(data: bytes, *, name: str, limits: IngestSettings) -> Parsed:
    """A table of the messages in the order of the file, and the messages, each under its Message-ID."""
    builder = TextBuilder(max_chars=limits.max_text_chars)
    rows: list[list[str]] = []
    for part in _messages(data):
        if len(rows) >= MAX_MESSAGES:
            raise TooLarge(f"it has more than {MAX_MESSAGES} messages")
        head = _head(part)
        rows.append([_sent(head) or _header(head, "Date"), _header(head, "From"), _header(head, "Subject")])
    if not rows:
        raise EmptyDocument("there is no message in it")
    builder.add("paragraph", f"A mailbox of {len(rows)} message{'s' if len(rows) != 1 else ''}.")
    builder.rows([["date", "from", "subject"], *rows])
    inside = partial(_mailbox_members, data)
    return builder.parsed(media_type=MBOX_MEDIA_TYPE, metadata={"messages": len(rows)}, inside=inside)


def read_mht(data: bytes, *, name: str, limits: IngestSettings) -> Parsed:
    """The page of a web archive: its first part that is HTML, else text."""
    message = _parse(data)
    page = next((part for part in islice(message.walk(), MAX_PARTS) if part.get_content_type() == "text/html"), None)
    if page is None:
        return replace(read(data, name=name, limits=limits), media_type=MHT_MEDIA_TYPE)
    parsed = html.read(_content(page).encode("utf-8", "replace"), name=name, limits=limits)
    address = _header(message, "Snapshot-Content-Location")
    metadata = {**parsed.metadata, **({"address": address} if address else {})}
    title = parsed.title or _header(message, "Subject")
    return replace(parsed, media_type=MHT_MEDIA_TYPE, title=title, metadata=metadata)


def _head(data: bytes) -> EmailMessage:
    """A message without its body, for its headers."""
    data = data.lstrip(b"\r\n")[:_MAX_HEAD_BYTES]
    return _parse(_HEAD_END.split(data, maxsplit=1)[0] + b"\n\n", strict=False)


def _mailbox_members(data: bytes) -> Iterator[Member]:
    for number, part in enumerate(_messages(data), start=1):
        path = _header(_head(part), "Message-ID").strip("<> ") or f"message-{number}"
        yield Member(path=path, open=partial(_bounded, part), media_type=MEDIA_TYPE)


def _members(attached: list[_Attached]) -> Iterator[Member]:
    for name, part in attached:
        if part.get_content_type() not in _SIGNATURES and not _is_decoration(part):
            yield Member(path=name, open=partial(_attachment, part), media_type=part.get_content_type())


def _is_decoration(part: EmailMessage) -> bool:
    """Whether it is a small picture that the HTML part shows, such as a logo."""
    small = len(str(part.get_payload())) < _SMALL_IMAGE
    return part.get_content_maintype() == "image" and "Content-ID" in part and small


def _attachment(part: EmailMessage, most: int) -> bytes:
    payload = part.get_payload(decode=True)
    return _bounded(payload if isinstance(payload, bytes) else b"", most)


def _bounded(content: bytes, most: int) -> bytes:
    if len(content) > most:
        raise TooLarge(f"{len(content)} bytes; at most {most} more are read")
    return content


def add_headers(builder: TextBuilder, headers: Iterable[tuple[str, str]]) -> None:
    """A paragraph of `Name: value` lines, without those that have no value."""
    lines = [f"{key}: {value}" for key, value in headers if value]
    builder.add("paragraph", "\n".join(lines))


def add_plain(builder: TextBuilder, text: str) -> None:
    """Paragraphs by empty lines; runs of lines that begin with `>` become quotes without that sign."""
    for part in _EMPTY_LINE.split(clean(text)):
        run: list[str] = []
        quoted = False
        for line in part.split("\n"):
            if bool(_QUOTED.match(line)) != quoted:
                _add_run(builder, run, quoted)
                run, quoted = [], not quoted
            run.append(line)
        _add_run(builder, run, quoted)


def add_attachments(builder: TextBuilder, names: list[str]) -> None:
    """One line that names the attachments."""
    if names:
        builder.add("paragraph", "Attachments: " + ", ".join(names))


def _add_run(builder: TextBuilder, lines: list[str], quoted: bool) -> None:
    text = "\n".join(line.lstrip(" \t>") if quoted else line for line in lines)
    builder.add("quote" if quoted else "paragraph", text)


def _parse(data: bytes, *, strict: bool = True) -> EmailMessage:
    from email import policy
    from email.parser import BytesParser

    if data.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in data[:64]:
        data = decode(data).text.encode()
    data = data.lstrip(b"\xef\xbb\xbf\r\n\t ")
    # compat32 headers are decoded here: the newer policy's parser fails on malformed ones in many ways.
    parser: BytesParser[EmailMessage] = BytesParser(_class=EmailMessage, policy=policy.compat32)  # type: ignore[arg-type]
    message = parser.parsebytes(data)
    if strict and not message.keys():
        raise EmptyDocument("the message has no headers") if not data.strip() else ReadError("it is no e-mail message")
    return message


def _messages(data: bytes) -> Iterator[bytes]:
    """The messages between `From ` lines that follow an empty line, as the mbox format has it."""
    starts = [match for match in _FROM_LINE.finditer(data) if match.start() == 0 or _after_empty(data, match.start())]
    for place, match in enumerate(starts):
        end = starts[place + 1].start() if place + 1 < len(starts) else len(data)
        if data[match.end() : end].strip():
            yield data[match.end() : end]


def _after_empty(data: bytes, at: int) -> bool:
    return data[max(0, at - 4) : at].endswith((b"\n\n", b"\n\r\n"))


def _message(message: EmailMessage, builder: TextBuilder, limits: IngestSettings, *, depth: int) -> list[_Attached]:
    """Adds the headers and the text; returns what is attached to it and to what it forwards."""
    add_headers(builder, ((key, _header(message, key)) for key in _SHOWN))
    attached: list[_Attached] = []
    forwarded: list[_Attached] = []
    for part in _texts(message, attached):
        if part.get_content_type() == "message/rfc822":
            inner = part.get_payload(0) if part.is_multipart() else None
            if isinstance(inner, EmailMessage) and depth < _MAX_DEPTH:
                builder.add("heading", one_line(_header(inner, "Subject")) or "Forwarded message", level=2)
                forwarded += _message(inner, builder, limits, depth=depth + 1)
        elif part.get_content_type() == "text/html":
            _add_html(builder, _content(part), limits)
        else:
            add_plain(builder, _content(part))
    add_attachments(builder, [name for name, _ in attached])
    return attached + forwarded


def _texts(message: EmailMessage, attached: list[_Attached]) -> Iterator[EmailMessage]:
    """The parts to read, in order; of alternatives the plain one. The others go to `attached`."""
    stack: list[EmailMessage] = [message]
    seen = 0
    while stack:
        part = stack.pop()
        seen += 1
        if seen > MAX_PARTS:
            raise TooLarge(f"the message has more than {MAX_PARTS} parts")
        kind = part.get_content_type()
        if kind == "message/rfc822":
            yield part
        elif part.is_multipart():
            parts = [one for one in part.get_payload() if isinstance(one, EmailMessage)]
            stack.extend(reversed(_chosen(parts) if kind == "multipart/alternative" else parts))
        elif file_name := _file_name(part):
            attached.append((file_name, part))
        elif kind in {"text/plain", "text/html", "text/enriched"}:
            yield part
        elif kind.startswith("text/"):
            attached.append((f"unnamed {kind}", part))


def _chosen(parts: list[EmailMessage]) -> list[EmailMessage]:
    """Of several forms of one text the plain one where it says something, else the last, which is the fullest."""
    for part in parts:
        if part.get_content_type() == "text/plain" and len(_content(part).strip()) > 1:
            return [part]
    return parts[-1:]


def _file_name(part: EmailMessage) -> str:
    """The name of an attachment; empty for a part that is shown as text."""
    shown = one_line(_decoded(part.get_filename() or ""))[:200]
    disposition = str(part.get("Content-Disposition", "")).strip().lower()
    if disposition.startswith("attachment") or (shown and part.get_content_maintype() != "text"):
        return shown or f"unnamed {part.get_content_type()}"
    return ""


def _content(part: EmailMessage) -> str:
    payload = part.get_payload(decode=True)
    if not isinstance(payload, bytes) or not payload.strip(b"\0 \t\r\n"):
        return ""
    return decode(payload, declared=part.get_content_charset()).text


def _add_html(builder: TextBuilder, text: str, limits: IngestSettings) -> None:
    try:
        # Links of mail are mostly there to be counted when they are followed.
        page = html.read(text.encode("utf-8", "replace"), name="", limits=replace(limits, links="texts"))
        builder.extend(page, deeper=1)
    except EmptyDocument:
        builder.add("paragraph", unescape(_TAG.sub(" ", text)) if "<" not in _TAG.sub(" ", text) else "")


def _metadata(message: EmailMessage, attached: list[_Attached]) -> dict[str, Scalar]:
    keys = ("From", "To", "Cc", "Bcc", "Reply-To", "Date", "Subject", "Message-ID", "In-Reply-To", "References")
    found: dict[str, Scalar] = {key.lower().replace("-", "_"): _header(message, key) for key in keys}
    return found | {"attachments": ", ".join(name for name, _ in attached), "sent": _sent(message)}


def _sent(message: EmailMessage) -> str:
    """The date in ISO form; empty for one that cannot be understood."""
    from email.utils import parsedate_to_datetime

    try:
        return parsedate_to_datetime(_header(message, "Date")).isoformat()
    except (TypeError, ValueError, IndexError, OverflowError):
        return ""


def _header(message: EmailMessage, key: str) -> str:
    value = message.get(key)
    return "" if value is None else one_line(_decoded(str(value)[:_MAX_HEADER_CHARS]))


def _decoded(text: str) -> str:
    """RFC 2047 words and raw bytes in a header as text."""
    from email.errors import HeaderParseError
    from email.header import decode_header

    raw = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    try:
        parts = decode_header(raw)
    except (HeaderParseError, ValueError):
        return raw
    return "".join(
        part if isinstance(part, str) else decode(part, declared=charset).text if part.strip(b"\0 ") else " "
        for part, charset in parts
    )


FORMATS = (
    Format(media_type=MEDIA_TYPE, read=read, suffixes=(".eml",)),
    Format(media_type=MBOX_MEDIA_TYPE, read=read_mbox, suffixes=(".mbox",)),
    Format(media_type=MHT_MEDIA_TYPE, read=read_mht, suffixes=(".mht", ".mhtml")),
)
