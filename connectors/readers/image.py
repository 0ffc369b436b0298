"""Pictures of pages (.png, .jpg, .tif, .webp, .gif, .bmp): scans and photographs, read by OCR."""

from __future__ import annotations

import io
import time
import warnings
from typing import Any

from ragagent.connectors.readers import ocr, pdf_layout, picture
from ragagent.connectors.readers.format import Format
from ragagent.connectors.readers.parsed import Parsed, TextBuilder, one_line
from ragagent.errors import EmptyDocument, OcrNeeded, ReadError, TooLarge
from ragagent.settings import IngestSettings
from ragagent.types import Scalar, digest

_MAX_PIXELS = 80_000_000
_TAKEN, _CAMERA_DATE = 0x0132, 0x9003
_KINDS = ("PNG", "JPEG", "TIFF", "WEBP", "GIF", "BMP")
_UNKNOWN_DPI = 200


def read(data: bytes, *, name: str, limits: IngestSettings) -> Parsed:
    """What Tesseract reads on it, a page for each frame of a TIFF. Raises OcrNeeded where it cannot be asked."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of every oddity in a header
        return _read(data, limits)


def _read(data: bytes, limits: IngestSettings) -> Parsed:
    builder = TextBuilder(max_chars=limits.max_text_chars)
    budget = ocr.budget(limits)
    costs: list[str] = []
    notes: list[str] = []
    with opened(data) as image:
        kind = f"image/{str(image.format).lower()}"
        frames = getattr(image, "n_frames", 1) if image.format == "TIFF" else 1
        if frames > limits.max_pages:
            raise TooLarge(f"it has {frames} pages; at most {limits.max_pages} are read (setting ingest.max_pages)")
        metadata: dict[str, Scalar] = {"width": image.width, "height": image.height, "taken": _taken(image)}
        for number in range(frames):
            try:
                seconds = _frame(image, number, builder, budget)
                costs.append(f"{seconds:.1f} s" if seconds else "known before")
            except OcrNeeded as error:
                if frames == 1:
                    raise
                notes.append(f"page {number + 1} was left out: {error}")
    if not builder.chars:
        raise EmptyDocument("; ".join(notes) or "OCR found no text on the picture")
    notes.insert(0, f"read by OCR: {', '.join(costs[:50])}")
    pages = {"pages": frames, "content_digest": digest(data)}
    return builder.parsed(media_type=kind, metadata={**metadata, **pages}, notes=notes)


def opened(data: bytes) -> Any:
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(data), formats=_KINDS)
    except Image.DecompressionBombError as error:
        raise TooLarge(f"the picture is too large: {error}") from error
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        raise ReadError(f"the picture is damaged: {error}") from error
    if image.width * image.height > _MAX_PIXELS:
        raise TooLarge(f"the picture has {image.width} x {image.height} pixels; at most {_MAX_PIXELS} are read")
    return image


def _frame(image: Any, number: int, builder: TextBuilder, budget: ocr.Budget) -> float:
    """Adds the text of one frame; returns the seconds it took."""
    begin = time.perf_counter()
    page, dpi = frame_image(image, number)
    words, seconds = budget.recognise(page, dpi=dpi)
    lines = picture.ocr_lines(words, dpi=dpi, height=page.height)
    with builder.page(number + 1):
        for part in pdf_layout.parts(lines, pdf_layout.body_size([lines])):
            builder.add(part.kind, part.text, level=part.level)
    return time.perf_counter() - begin if seconds else 0.0


def frame_image(image: Any, number: int) -> tuple[Any, int]:
    """One frame as OCR gets it, and its dots per inch, a guess where the file does not say. Raises ReadError."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            image.seek(number)
            image.load()
        except (OSError, ValueError, SyntaxError, EOFError) as error:
            raise ReadError(f"the picture is damaged or cut off: {error}") from error
        page = picture.grey(image)
        if page.width * page.height > _MAX_PIXELS:
            raise TooLarge(f"page {number + 1} has {page.width} x {page.height} pixels; at most {_MAX_PIXELS} are read")
    if max(page.size) < 1500:
        # Letters of screenshots are about 10 pixels high; Tesseract wants 20 to 40.
        page = page.resize((page.width * 2, page.height * 2), 3)
    return picture.photo(page), _UNKNOWN_DPI


def _taken(image: Any) -> str:
    """When a photograph was taken, as its camera wrote it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            exif = image.getexif()
            return one_line(str(exif.get_ifd(0x8769).get(_CAMERA_DATE) or exif.get(_TAKEN) or ""))[:40]
        except (OSError, ValueError, SyntaxError, KeyError, TypeError, AttributeError):
            return ""


FORMATS = (
    Format(media_type="image/png", read=read, magic=(b"\x89PNG\r\n\x1a\n",)),
    Format(media_type="image/jpeg", read=read, magic=(b"\xff\xd8\xff",)),
    Format(media_type="image/tiff", read=read, magic=(b"II*\0", b"MM\0*")),
    Format(media_type="image/gif", read=read, magic=(b"GIF87a", b"GIF89a")),
    Format(media_type="image/webp", read=read),
    Format(media_type="image/bmp", read=read, suffixes=(".bmp",)),
)
