"""Pictures made ready for OCR: upright, grey, evenly lit, with level lines."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

from ragagent.connectors.readers.ocr import MAX_PIXELS, OcrWord
from ragagent.connectors.readers.pdf_line import Line, Word, lines

_MAX_TILT = 8.0
_LEAST_TILT = 0.3
_TILT_PIXELS = 600
_PAPER_PIXELS = 40
_BILINEAR = 2
"""PIL.Image.Resampling.BILINEAR, without importing it."""


def grey(image: Any) -> Any:
    """A picture in grey on white, turned as its camera says, with at most `MAX_PIXELS` pixels."""
    from PIL import Image, ImageOps

    image = ImageOps.exif_transpose(image)
    scale = (MAX_PIXELS / max(1, image.width * image.height)) ** 0.5
    if scale < 1:
        image = image.resize((max(1, int(image.width * scale)), max(1, int(image.height * scale))))
    if "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("L")


def photo(image: Any) -> Any:
    """A grey picture with the shadows of a photograph taken out and its lines level."""
    return level(even(image))


def even(image: Any) -> Any:
    """The picture divided by its paper: the brightest of each neighbourhood, smoothed."""
    import numpy as np
    from PIL import Image, ImageFilter

    size = (image.width // _PAPER_PIXELS + 1, image.height // _PAPER_PIXELS + 1)
    small = image.resize(size, Image.Resampling.BOX)
    paper = small.filter(ImageFilter.MaxFilter(3)).filter(ImageFilter.GaussianBlur(1))
    paper = paper.resize(image.size, Image.Resampling.BILINEAR)
    light = np.asarray(paper, np.float32)
    if float(light.mean()) < 90:  # light text on dark ground
        return image
    return Image.fromarray(
        np.clip(np.asarray(image, np.float32) * 255 / np.maximum(light, 40), 0, 255).astype(np.uint8)
    )


def level(image: Any) -> Any:
    """The picture turned so that its lines of text are level; the tilt is the one at which rows differ the most."""
    small = image.copy()
    small.thumbnail((_TILT_PIXELS, _TILT_PIXELS))
    tilt = _tilt(small)
    return image if abs(tilt) < _LEAST_TILT else image.rotate(tilt, resample=_BILINEAR, fillcolor=255)


def _tilt(image: Any) -> float:
    import numpy as np
    from PIL import Image, ImageChops, ImageFilter

    # Letters are dark in their neighbourhood; the middle is what counts, for the rest may be a table beside the page.
    ink = ImageChops.subtract(image.filter(ImageFilter.GaussianBlur(5)), image)
    across, down = image.width // 8, image.height // 8

    def sharpness(angle: float) -> float:
        turned = ink.rotate(angle, resample=Image.Resampling.BILINEAR)
        middle = turned.crop((across, down, image.width - across, image.height - down))
        dark = np.minimum(np.asarray(middle, np.float32), 60)
        return float(np.square(np.diff(dark.sum(axis=1))).sum())

    coarse = max(np.arange(-_MAX_TILT, _MAX_TILT + 0.1, 1.0), key=sharpness)
    best = max(np.arange(coarse - 0.8, coarse + 0.81, 0.2), key=sharpness)
    return float(best) if sharpness(best) > 1.1 * sharpness(0.0) else 0.0


def is_blank(image: Any) -> bool:
    """Whether nothing can be seen on a small picture in grey."""
    low, high = image.getextrema()
    return bool(high - low < 24)


def ocr_lines(words: Sequence[OcrWord], *, dpi: float, height: int) -> list[Line]:
    """What OCR found as lines of a page `height` pixels high, in points from its lower left corner."""
    return lines(ocr_words(words, dpi=dpi, height=height))


def ocr_words(words: Iterable[OcrWord], *, dpi: float, height: int) -> Iterable[Word]:
    """Words in points. Those of one line get its baseline and height: their own depend on their letters."""
    scale = 72 / dpi
    place = 0
    for _, group in groupby(words, key=lambda word: word.line):
        line = list(group)
        bottom, top = max(word.bottom for word in line), min(word.top for word in line)
        for word in line:
            left, right = word.left * scale, word.right * scale
            size = max(0.1, (bottom - top) * scale)
            yield Word(word.text, left, right, (height - bottom) * scale, size, False, place, place)
            place += 1
