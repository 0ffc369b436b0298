"""What can be seen on a page of a PDF: its picture, and whether there is more on it than its text layer."""

from __future__ import annotations

import itertools
from typing import Any

from ragagent.connectors.readers import ocr

_MAX_OBJECTS = 500
_LETTER_SHAPES = 20
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
