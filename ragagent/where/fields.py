"""What a filter can match a document by: every key with its values, worked out in this one place.

Beside the metadata there are keys of the document itself, which go before metadata of that name (`id`, `uri`, `title`,
`media_type`, `source`, `acl`), `date`, which is put into one form, and short forms for what people ask for, which stand
where the metadata has no such key (`type`, `folder`).
"""

from __future__ import annotations

import email.utils
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from ragagent.types import Document, root_uri

OWN = ("id", "uri", "title", "media_type", "source", "acl")
"""Keys that go before metadata of that name."""
DATES = ("date", "sent", "taken", "published", "created", "modified")
"""Where the date of a document is looked for, the first that is there counts."""

_OFFICE = "application/vnd.openxmlformats-officedocument."
_TYPES: Mapping[str, tuple[str, ...]] = {
    f"{_OFFICE}wordprocessingml.document": ("docx", "word"),
    f"{_OFFICE}spreadsheetml.sheet": ("xlsx", "excel", "spreadsheet"),
    f"{_OFFICE}presentationml.presentation": ("pptx", "powerpoint", "slides"),
    "application/msword": ("doc", "word"),
    "application/vnd.ms-excel": ("xls", "excel", "spreadsheet"),
    "application/vnd.ms-excel.sheet.binary.macroenabled.12": ("xlsb", "excel", "spreadsheet"),
    "application/vnd.ms-powerpoint": ("ppt", "powerpoint", "slides"),
    "application/vnd.ms-outlook": ("msg", "mail"),
    "application/vnd.oasis.opendocument.text": ("odt",),
    "application/vnd.oasis.opendocument.spreadsheet": ("ods", "spreadsheet"),
    "application/vnd.oasis.opendocument.presentation": ("odp", "slides"),
    "application/epub+zip": ("epub",),
    "application/mbox": ("mbox", "mail"),
    "application/x-ipynb+json": ("ipynb", "notebook"),
    "application/x-ndjson": ("jsonl", "ndjson"),
    "application/x-subrip": ("srt", "subtitles"),
    "application/xhtml+xml": ("html", "xhtml"),
    "image/jpeg": ("jpeg", "jpg", "image"),
    "image/tiff": ("tiff", "tif", "image"),
    "message/rfc822": ("eml", "mail"),
    "multipart/related": ("mht", "mhtml"),
    "text/asciidoc": ("adoc", "asciidoc"),
    "text/markdown": ("md", "markdown"),
    "text/plain": ("txt", "text"),
    "text/tab-separated-values": ("tsv",),
    "text/vtt": ("vtt", "subtitles"),
    "text/x-python": ("py", "python"),
    "text/x-rst": ("rst",),
    "text/x-tex": ("tex", "latex"),
}
_ISO = re.compile(r"\d{4}(?:-\d\d(?:-\d\d)?)?(?!\d)", re.ASCII)
_CAMERA = re.compile(r"(\d{4}):(\d\d):(\d\d)(?!\d)", re.ASCII)
_MOST_FOLDERS = 16
_MOST_CHARACTERS = 1000


def fields(document: Document, source: str = "") -> dict[str, Any]:
    """Every key of `document`, which came from `source`, with its value or a list of its values.

    Without an acl the value of `acl` is None, so that no principal is among its values.
    """
    own = {name: getattr(document, name) for name in ("id", "uri", "title", "media_type")}
    short: dict[str, Any] = {"type": types_of(document.media_type), "folder": list(_folders(document.uri, source))}
    if (date := _date(document.metadata)) is not None:
        own["date"] = date
    return {**short, **document.metadata, **own, "source": source, "acl": list(document.acl) or None}


def types_of(media_type: str) -> list[str]:
    """The short forms of a media type, as in `type = "pdf"`: the usual ending of such files first."""
    main, _, rest = media_type.partition(";")[0].strip().lower().partition("/")
    known = _TYPES.get(f"{main}/{rest}")
    if known is not None:
        return list(known)
    short = rest.removeprefix("x-").removeprefix("vnd.").partition("+")[0]
    wider = [main] if main in {"image", "audio", "video"} else []
    return [one for one in (short, *wider) if one]


def _folders(uri: str, source: str) -> Iterator[str]:
    """The whole path of the folder that an item lies in, and the name of each folder from its source's own down."""
    path = _path(root_uri(uri))
    if "/" not in path.strip("/"):
        return
    folder = path.rpartition("/")[0]
    top = _path(source).rstrip("/")
    # The name of the source's own folder counts; of what lies above it nobody thinks.
    inside = folder[top.rindex("/") :] if top and (folder == top or folder.startswith(f"{top}/")) else ""
    names = (inside or folder.rpartition("/")[2]).split("/")
    yield from dict.fromkeys(
        one[:_MOST_CHARACTERS] for one in (folder, *(name for name in names[-_MOST_FOLDERS:] if name))
    )


def _path(uri: str) -> str:
    try:
        path = urlsplit(uri).path
    except ValueError:
        return ""
    decoded = unquote(path, errors="replace")
    return decoded if decoded.startswith("/") else f"/{decoded}" if decoded else ""


def _date(metadata: Mapping[str, Any]) -> Any:
    """The date of a document as YYYY-MM-DD, or as much of it as is known; what is no date is left as it is."""
    for name in DATES:
        value = metadata.get(name)
        if isinstance(value, str) and value.strip():
            found = _day(value.strip())
            if found is not None or name == "date":
                return found or value
        elif value is not None and name == "date":
            return value
    return None


def _day(said: str) -> str | None:
    if (camera := _CAMERA.match(said)) is not None:
        return "-".join(camera.groups())
    if (found := _ISO.match(said)) is not None:
        return found[0]
    try:
        return email.utils.parsedate_to_datetime(said[:100]).date().isoformat()
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
