"""What can be seen on a page of a PDF: its picture, and whether there is more on it than its text layer."""

from __future__ import annotations

import ctypes
import itertools
from typing import Any

from ragagent.connectors.readers import ocr
from ragagent.types import Box

_MAX_OBJECTS = 500
_LETTER_SHAPES = 20
_FINE = 100
"""PDFium gives places on a picture as whole numbers: this many a point."""
_THUMBNAIL_PIXELS = 240


def picture(page: Any, dpi: int) -> tuple[float, Any]:
    """A page in grey as OCR gets it, and its pixels a point: fewer where the page is very large."""
    width, height = page.get_size()
    scale = ocr.bounded_scale(width, height, dpi / 72)
    return scale, _rendered(page, scale)


def thumbnail(page: Any) -> Any:
    """The page in grey, a few hundred pixels high."""
    return _rendered(page, _THUMBNAIL_PIXELS / max(page.get_size()))


def _rendered(page: Any, scale: float) -> Any:
    bitmap = page.render(scale=scale, grayscale=True)
    try:
        return bitmap.to_pil().convert("L")
    finally:
        bitmap.close()


def picture_share(page: Any) -> float:
    """The share of the page that its pictures cover, at most 1."""
    from pypdfium2 import raw

    width, height = page.get_size()
    covered = 0.0
    objects = page.get_objects(filter=[raw.FPDF_PAGEOBJ_IMAGE], max_depth=3)
    for one in itertools.islice(objects, _MAX_OBJECTS):
        left, bottom, right, top = one.get_bounds()
        covered += max(0.0, right - left) * max(0.0, top - bottom)
    return float(min(1.0, covered / max(1.0, width * height)))


def shows_more(page: Any) -> bool:
    """Whether there is more on the page than its text layer: a picture, or letters drawn as many shapes."""
    from pypdfium2 import raw

    shapes = 0
    for one in itertools.islice(page.get_objects(max_depth=3), _MAX_OBJECTS):
        if one.type == raw.FPDF_PAGEOBJ_IMAGE:
            return True
        shapes += one.type in {raw.FPDF_PAGEOBJ_PATH, raw.FPDF_PAGEOBJ_SHADING}
    return shapes >= _LETTER_SHAPES


def in_colour(page: Any, scale: float) -> Any:
    """The page as people see it."""
    bitmap = page.render(scale=scale)
    try:
        return bitmap.to_pil().convert("RGB")
    finally:
        bitmap.close()


def as_shown(page: Any, box: Box) -> Box:
    """A box in the coordinates of `pdf_text.turned` as points from the lower left corner of the page as it is shown."""
    rotation = page.get_rotation()
    corners = [_shown(page, *_unturned(x, y, rotation)) for x, y in ((box.left, box.bottom), (box.right, box.top))]
    (left, bottom), (right, top) = corners
    return Box(
        page=box.page, left=min(left, right), bottom=min(bottom, top), right=max(left, right), top=max(bottom, top)
    )


def _unturned(x: float, y: float, rotation: int) -> tuple[float, float]:
    return {90: (-y, x), 180: (-x, -y), 270: (y, -x)}.get(rotation, (x, y))


def _shown(page: Any, x: float, y: float) -> tuple[float, float]:
    from pypdfium2 import raw

    width, height = page.get_size()
    right, down = ctypes.c_int(), ctypes.c_int()
    size = (round(width * _FINE), round(height * _FINE))
    raw.FPDF_PageToDevice(page.raw, 0, 0, *size, 0, x, y, ctypes.byref(right), ctypes.byref(down))
    return right.value / _FINE, height - down.value / _FINE
