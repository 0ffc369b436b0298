"""Whether an encoder may compute in int8, and between which levels: found once for each model, on fixed texts.

The levels of the default model come with the package; those of another are found when it is first opened, which
takes about six seconds for a model of its size, and kept in the cache folder. They depend on the model's files and
the texts alone. A model whose int8 vectors of the texts do not agree with its own float ones stays in float.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np

from ragagent import atomic
from ragagent.models.encoder import EncoderSpec
from ragagent.models.int8 import Seen
from ragagent.models.openvino_bert import OpenVinoEncoder, Precision, best_precision, has_int8
from ragagent.models.openvino_query import runs_here
from ragagent.models.tokenizer import FastTokenizer

VERSION = 3
"""Changes with the texts and with anything that makes other levels of them."""
MIN_AGREEMENT = 0.995
"""The least cosine of a text's int8 vector to its float vector."""
# Narrower encoders wait for memory and not for products.
_MIN_DIMENSION = 256
_CHECKED_ONLY = 4
_FIELDS = ("low", "high", "mean")
# How much wider than seen the levels are. What attention passes on is a mean over tokens, which grows where a text
# repeats itself: at 1.1, 256 times one word came out with a cosine of 0.988, at 1.65 with 0.997.
_HEADROOM = 1.1
_WIDER = {"attention.output.dense": 1.65}


@dataclass(frozen=True, slots=True)
class Calibration:
    """What each product's input may hold, by the product's name, and the least agreement over the texts."""

    seen: Mapping[str, Seen]
    agreement: float


@dataclass(frozen=True, slots=True)
class Plan:
    """How a model is run on this processor: many texts in `precision`, one short text in int8 where `seen` is there."""

    precision: Precision
    seen: Mapping[str, Seen] | None = None


def plan(spec: EncoderSpec, digest: Callable[[], str], tokenizer: Callable[[], FastTokenizer], *, threads: int) -> Plan:
    """The fastest way that keeps the model's vectors: int8, else bf16, else f32.

    The model's digest and tokenizer may still be in the making elsewhere: they are asked for when they are needed.
    """
    everywhere, in_float = has_int8(), Plan(best_precision())
    if spec.dimension < _MIN_DIMENSION or not (everywhere or runs_here()):
        return in_float
    found = read(digest())
    if found is None:
        # For single questions alone it is not worth the time.
        if not everywhere:
            return in_float
        found = calibrate(spec, tokenizer(), threads=threads)
        write(digest(), found)
    if found.agreement < MIN_AGREEMENT:
        return in_float
    return Plan("int8" if everywhere else best_precision(), found.seen)


def calibrate(spec: EncoderSpec, tokenizer: FastTokenizer, *, threads: int) -> Calibration:
    """Embeds the texts in float and in int8. Every fourth text only checks, and has no part in the levels."""
    tokens = [tokenizer.token_ids(text, min(spec.max_tokens, 256)) for text in texts()]
    checked = tokens[::_CHECKED_ONLY]
    fitted = [ids for row, ids in enumerate(tokens) if row % _CHECKED_ONLY]
    watching = OpenVinoEncoder(spec, threads=threads, precision=best_precision(), watch=True)
    found, exact = watching.watched(fitted)
    seen = {name: _kept(values.widened(_headroom(name))) for name, values in exact.items()}
    expected = np.concatenate([found, watching.watched(checked)[0]])
    watching.close()
    rounded = OpenVinoEncoder(spec, threads=threads, precision="int8", seen=seen)
    vectors = np.concatenate(rounded.encode([[ids] for ids in [*fitted, *checked]]))
    rounded.close()
    return Calibration(seen, float((vectors * expected).sum(axis=1).min()))


def _headroom(name: str) -> float:
    return next((wider for ending, wider in _WIDER.items() if name.endswith(ending)), _HEADROOM)


def _kept(seen: Seen) -> Seen:
    """As it is after it was kept, so that the first opening has the same vectors as later ones."""
    return Seen(*(getattr(seen, field).astype(np.float16).astype(np.float32) for field in _FIELDS))


def texts() -> Sequence[str]:
    """The texts: prose, questions, code, tables, numbers, many languages, one character and none.

    Also the tokens that models keep for themselves, written out: nothing else reaches as far as they do.
    """
    listed: list[str] = json.loads((resources.files(__package__) / "calibration_texts.json").read_text("utf-8"))
    return listed


def folder() -> Path:
    """Where the calibrations of models that the package does not know are kept."""
    import platformdirs

    return Path(platformdirs.user_cache_dir("ragagent")) / "calibration"


def read(digest: str) -> Calibration | None:
    """The calibration of the model with that digest, from the package or the cache; None where there is none."""
    name = f"{digest}-{VERSION}.npz"
    shipped = Path(str(resources.files(__package__))) / name
    for path in (shipped, folder() / name):
        # A damaged file is made again, like one that is not there.
        with suppress(OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return _loaded(path)
    return None


def write(digest: str, found: Calibration) -> None:
    """Keeps it for the next time; where the folder cannot be written, the next opening calibrates again."""
    target = folder() / f"{digest}-{VERSION}.npz"
    with suppress(OSError):
        target.parent.mkdir(parents=True, exist_ok=True)
        save(target, found)


def save(target: Path, found: Calibration) -> None:
    """Writes it to that file, whole or not at all."""
    arrays = {
        f"{name}:{field}": getattr(seen, field).astype(np.float16)
        for name, seen in found.seen.items()
        for field in _FIELDS
    }
    with atomic.placed(target, mode=0o644) as file:
        np.savez_compressed(file, agreement=np.float64(found.agreement), **arrays)


def _loaded(path: Path) -> Calibration:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        names = dict.fromkeys(key.rpartition(":")[0] for key in arrays.files if ":" in key)
        seen = {name: Seen(*(arrays[f"{name}:{field}"].astype(np.float32) for field in _FIELDS)) for name in names}
        return Calibration(seen, float(arrays["agreement"]))
