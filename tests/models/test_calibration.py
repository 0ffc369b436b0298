"""The levels of int8: where they come from, what they cost in agreement, and when a model stays in float."""

from __future__ import annotations

import resource
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest

from ragagent.models import calibration
from ragagent.models.calibration import MIN_AGREEMENT, Calibration, calibrate, plan, read, save, texts, write
from ragagent.models.encoder import EncoderSpec, content_digest, read_spec
from ragagent.models.int8 import Seen
from ragagent.models.openvino_bert import OpenVinoEncoder, has_int8
from ragagent.models.openvino_query import runs_here
from ragagent.models.tokenizer import FastTokenizer, read_tokenizer

NEW_TEXTS = [
    "The ferry leaves at 6.40 and again at noon; bicycles travel free.",
    "Kontoret stänger klockan sexton på fredagar, och på måndag är det helgdag.",
    "El museo abre todos los días menos el lunes. La entrada cuesta ocho euros.",
    "博物馆每天开放，星期一除外。",
    "Музей открыт каждый день, кроме понедельника.",
    "for key, value in sorted(table.items()):\n    print(key, value, sep='\\t')",
    "<p class='x'>a &lt; b</p>",
    "gene FOXP2 (7q31.1) p.Arg553His, OMIM 605317; 12.5 mg/kg i.v. q8h",
    "why",
    "7",
    "",
    "of",
    "river " * 300,
    "[MASK]",
    "[MASK] " * 200,
    "[PAD] " * 40,
    "[SEP] [CLS] " * 9 + "the end [UNK]",
]


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of the test's own."""
    monkeypatch.setattr(calibration, "folder", lambda: tmp_path / "calibration")
    return tmp_path / "calibration"


@pytest.fixture(scope="module")
def spec(minilm: Path) -> EncoderSpec:
    return read_spec(minilm)


@pytest.fixture(scope="module")
def tokenizer(spec: EncoderSpec) -> FastTokenizer:
    return read_tokenizer(spec.tokenizer)


@pytest.fixture(scope="module")
def shipped(minilm: Path) -> Calibration:
    found = read(content_digest(minilm))
    if found is None:
        pytest.skip("the model folder holds another version of the default model than the package knows")
    return found


def test_int8_agrees_with_float_on_texts_that_no_level_was_made_from(
    spec: EncoderSpec, tokenizer: FastTokenizer, shipped: Calibration
) -> None:
    tokens = [[tokenizer.token_ids(text, spec.max_tokens)] for text in NEW_TEXTS]
    exact = np.concatenate(OpenVinoEncoder(spec, threads=2, precision="f32").encode(tokens))
    rounded = OpenVinoEncoder(spec, threads=2, precision="int8", seen=shipped.seen)
    found = np.concatenate(rounded.encode(tokens))
    assert (found * exact).sum(1).min() > 0.995
    np.testing.assert_array_equal(found, np.concatenate(rounded.encode(tokens)))


def test_the_default_model_passes_the_check_that_decides_on_int8(shipped: Calibration) -> None:
    assert MIN_AGREEMENT <= shipped.agreement < 1


def test_a_calibration_is_the_same_each_time_and_after_it_was_kept(
    spec: EncoderSpec, tokenizer: FastTokenizer, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = list(texts())[:12]
    monkeypatch.setattr(calibration, "texts", lambda: few)
    first, second = (calibrate(spec, tokenizer, threads=1) for _ in range(2))
    write("0" * 32, first)
    again = read("0" * 32)
    assert again is not None
    for name, seen in first.seen.items():
        for field in ("low", "high", "mean"):
            np.testing.assert_array_equal(getattr(seen, field), getattr(again.seen[name], field))
            np.testing.assert_allclose(getattr(seen, field), getattr(second.seen[name], field), rtol=0.02, atol=0.02)
    assert again.agreement == first.agreement


def test_a_model_that_does_not_agree_with_itself_in_int8_stays_in_float(
    spec: EncoderSpec, tokenizer: FastTokenizer, shipped: Calibration, kept: Path
) -> None:
    kept.mkdir()
    for agreement, passes in ((MIN_AGREEMENT - 1e-4, False), (MIN_AGREEMENT, True)):
        digest = f"{agreement:.4f}"
        save(kept / f"{digest}-{calibration.VERSION}.npz", replace(shipped, agreement=agreement))
        way = plan(spec, lambda digest=digest: digest, lambda: tokenizer, threads=1)
        assert (way.precision == "int8") == (passes and has_int8())
        assert (way.seen is not None) == (passes and (has_int8() or runs_here()))


def test_a_damaged_calibration_counts_as_none(kept: Path) -> None:
    kept.mkdir()
    seen = Seen(*(np.zeros(3, np.float32) for _ in range(3)))
    target = kept / f"{'1' * 32}-{calibration.VERSION}.npz"
    save(target, Calibration({"a": seen}, 0.999))
    whole = target.read_bytes()
    assert read("1" * 32) is not None
    for damaged in (b"", whole[: len(whole) // 2], b"\0" * len(whole)):
        target.write_bytes(damaged)
        assert read("1" * 32) is None


def never_asked() -> NoReturn:
    raise AssertionError("asked for though it is not needed")


def test_a_narrow_encoder_is_not_calibrated(make_encoder: Callable[..., Path], kept: Path) -> None:
    spec = read_spec(make_encoder("bert"))
    way = plan(spec, never_asked, never_asked, threads=1)
    assert way.precision in {"bf16", "f32"}
    assert way.seen is None
    assert not kept.exists()


def test_a_cache_folder_that_cannot_be_written_is_no_error(kept: Path) -> None:
    kept.write_text("a file where the folder should be")
    write("3" * 32, Calibration({}, 1.0))
    assert read("3" * 32) is None


def test_a_full_disk_leaves_nothing_behind(kept: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        write("4" * 32, Calibration({}, 1.0))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(kept.iterdir()) == []
