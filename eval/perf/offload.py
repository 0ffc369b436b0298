"""The same model on the processor and on a GPU: load, reading and writing.

    python -m ragagent.eval.perf.offload                       # random weights in the shape of the default chat model
    python -m ragagent.eval.perf.offload --model model.gguf

Needs a build of llama.cpp that can offload layers (see docs/models.md). How likely a text is must be the same on both,
within what other kernels round otherwise, before anything is timed.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import count, repeat
from pathlib import Path

from ragagent.eval.perf import measure
from ragagent.models.llama import LlamaModel, build_info
from ragagent.settings import LlmSettings
from ragagent.testing import random_gguf
from ragagent.types import Message

WORDS = "The lighthouse was built in 1871 by a company from Hull, and its lamp burned oil until 1923. "
_AGREE = 0.05
"""Nats per token between the two ways; a wrong kernel is off by whole nats."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--model", type=Path, help="a GGUF model; random weights without it")
    parser.add_argument("--form", default="Q8_0", choices=("F16", "Q8_0", "Q4_0"), help="of the random weights")
    parser.add_argument("--read", type=int, default=2000, help="about so many characters of a prompt")
    parser.add_argument("--write", type=int, default=64, help="tokens of an answer")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    if not build_info().gpu_offload:
        raise SystemExit("this build of llama.cpp computes on the CPU alone: see 'On a GPU' in docs/models.md")
    with tempfile.TemporaryDirectory() as folder:
        path = options.model or random_gguf.write(
            Path(folder) / "random.gguf", random_gguf.LIKE_1_5B, form=options.form
        )
        compare(path, options.read, options.write, options.repeats)


def compare(path: Path, read: int, write: int, repeats: int) -> None:
    """Prints one line of JSON each for loading, reading and writing."""
    print(json.dumps({"devices": build_info().devices, "model_bytes": path.stat().st_size}))
    models = {"cpu": _opened(path, 0), "gpu": _opened(path, -1)}
    try:
        _check({name: model.log_likelihoods([_asked(read, 0)], [WORDS])[0] for name, model in models.items()})
        tokens = models["cpu"].count_tokens(_asked(read, 0)[0].content)
        reading = {name: _answers(model, (_asked(read, turn) for turn in count()), 1) for name, model in models.items()}
        _compare("Is the GPU faster at reading?", reading, repeats, tokens)
        writing = {name: _answers(model, repeat(_asked(read, 0)), write) for name, model in models.items()}
        _compare("Is the GPU faster at writing?", writing, repeats, write)
    finally:
        for model in models.values():
            model.close()


def _opened(path: Path, layers: int) -> LlamaModel:
    model = LlamaModel(path, LlmSettings(gpu_layers=layers, context_tokens=8192, cache_mib=0, timeout_s=300))
    begin = time.perf_counter()
    model.start()
    facts = {"gpu_layers": model.gpu_layers, "load_s": round(time.perf_counter() - begin, 2)}
    print(json.dumps(facts), flush=True)
    return model


def _asked(characters: int, turn: int) -> tuple[Message, ...]:
    """A prompt that shares its beginning with no other, so that all of it is read."""
    return (Message(role="user", content=f"{turn}. " + (WORDS * (characters // len(WORDS) + 1))[:characters]),)


def _answers(model: LlamaModel, prompts: Iterator[tuple[Message, ...]], tokens: int) -> Callable[[], object]:
    """Each call writes one answer of `tokens` tokens to the next prompt; one that stays the same is read once."""
    return lambda: model.chat(next(prompts), max_tokens=tokens).usage


def _compare(question: str, variants: Mapping[str, Callable[[], object]], repeats: int, work: int) -> None:
    timings = measure.interleaved(variants, repeats=repeats, work=work)
    print(measure.line(question, timings, baseline="cpu"), flush=True)


def _check(likely: Mapping[str, float]) -> None:
    print(json.dumps({"log_likelihood": likely}), flush=True)
    if abs(likely["cpu"] - likely["gpu"]) > _AGREE:
        raise SystemExit(f"the two do not compute the same: {likely}")


if __name__ == "__main__":
    main()
