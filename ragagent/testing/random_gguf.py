"""GGUF chat models of random weights, of any size: what they say is noise, and every part of the way there is real.

They serve where plumbing or speed is looked at and no model can be fetched: on a machine with no network, say.
Needs the package `gguf` (extra `test`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

_CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
_SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_NORMAL, _CONTROL = 1, 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A transformer of the llama architecture; the defaults make a file of about 2 MB."""

    layers: int = 4
    width: int = 128
    heads: int = 4
    kv_heads: int = 2
    inner: int = 256
    vocabulary: int = 512
    context: int = 4096


LIKE_1_5B = Shape(layers=28, width=1536, heads=12, kv_heads=2, inner=8960, vocabulary=151_936, context=32_768)
"""The shape of Qwen2.5-1.5B: as fast and as large as the default chat model."""


def write(path: Path, shape: Shape | None = None, *, seed: int = 0, form: str = "F32") -> Path:
    """Writes a model; equal arguments write equal bytes. `form` is F32, F16, Q8_0 or Q4_0, norms stay F32.

    Bytes are tokens (a byte-level vocabulary with a single merge), so every text can be read and written.
    """
    import gguf

    shape, rng = shape or Shape(), np.random.default_rng(seed)
    writer = gguf.GGUFWriter(str(path), "llama")
    _describe(writer, shape)
    _add_vocabulary(writer, shape.vocabulary)
    for name, size in _tensors(shape):
        if len(size) == 1:
            writer.add_tensor(name, np.ones(size, dtype=np.float32))
            continue
        kind = gguf.GGMLQuantizationType[form]
        weights = rng.standard_normal(size, dtype=np.float32) * (size[-1] ** -0.5)
        writer.add_tensor(name, gguf.quants.quantize(weights, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _describe(writer: Any, shape: Shape) -> None:
    writer.add_name("random")
    writer.add_block_count(shape.layers)
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_feed_forward_length(shape.inner)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_rope_dimension_count(shape.width // shape.heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(shape.vocabulary)
    writer.add_chat_template(_CHATML)


def _add_vocabulary(writer: Any, size: int) -> None:
    tokens = [*_byte_tokens(), "th", *_SPECIAL]
    tokens += [f"<|unused_{place}|>" for place in range(size - len(tokens))]
    kinds = [_NORMAL] * 257 + [_CONTROL] * (size - 257)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(["t h"])  # llama.cpp refuses a vocabulary of bytes without any
    writer.add_eos_token_id(tokens.index("<|im_end|>"))
    writer.add_bos_token_id(tokens.index("<|endoftext|>"))
    writer.add_add_bos_token(False)


def _byte_tokens() -> list[str]:
    """The 256 bytes as GPT-2 spells them: printable ones as themselves, the others from U+0100 on."""
    printable = {*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return [chr(byte) if byte in printable else chr(next(others)) for byte in range(256)]


def _tensors(shape: Shape) -> list[tuple[str, tuple[int, ...]]]:
    """The names and sizes (rows, columns) of all weights."""
    width, kv_width = shape.width, shape.width // shape.heads * shape.kv_heads
    found: list[tuple[str, tuple[int, ...]]] = [
        ("token_embd.weight", (shape.vocabulary, width)),
        ("output_norm.weight", (width,)),
    ]
    for layer in range(shape.layers):
        sizes: dict[str, tuple[int, ...]] = {
            "attn_norm": (width,),
            "attn_q": (width, width),
            "attn_k": (kv_width, width),
            "attn_v": (kv_width, width),
            "attn_output": (width, width),
            "ffn_norm": (width,),
            "ffn_gate": (shape.inner, width),
            "ffn_up": (shape.inner, width),
            "ffn_down": (width, shape.inner),
        }
        found += [(f"blk.{layer}.{name}.weight", size) for name, size in sizes.items()]
    return found
