"""Loading a GGUF model into llama.cpp, for use inside the model process only."""

from __future__ import annotations

import collections
import ctypes
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import llama_cpp.llama_cpp as C
from llama_cpp import _ggml

from ragagent.errors import ModelLoadError, ModelTooLarge
from ragagent.models.wire import MOST_SAMPLES, LoadOptions

_KV_TYPES = {"f16": C.GGML_TYPE_F16, "q8_0": C.GGML_TYPE_Q8_0, "q4_0": C.GGML_TYPE_Q4_0}
_ROPE = {
    "model": C.LLAMA_ROPE_SCALING_TYPE_UNSPECIFIED,
    "none": C.LLAMA_ROPE_SCALING_TYPE_NONE,
    "linear": C.LLAMA_ROPE_SCALING_TYPE_LINEAR,
    "yarn": C.LLAMA_ROPE_SCALING_TYPE_YARN,
}
_LAYER_SHARES = (1.0, 0.85, 0.7, 0.55, 0.4, 0.25, 0.1, 0.0)
_WARNING, _ERROR = 3, 4

_NO_ROOM = re.compile(r"alloc|out of memory|not enough memory|cannot map|mmap failed", re.IGNORECASE)
_log: collections.deque[str] = collections.deque(maxlen=20)


@C.llama_log_callback  # type: ignore[untyped-decorator]
def _keep_log(level: int, text: bytes, _data: Any) -> None:
    if level in (_WARNING, _ERROR):
        _log.append(text.decode("utf-8", "replace"))


def start_backend() -> None:
    """Once in the process, before anything else."""
    C.llama_log_set(_keep_log, None)
    C.llama_backend_init()


def describe_build() -> dict[str, Any]:
    """What this build of llama.cpp is and can do."""
    import llama_cpp

    return {
        "version": llama_cpp.__version__,
        "system": C.llama_print_system_info().decode("utf-8", "replace").strip(" |"),
        "gpu_offload": bool(C.llama_supports_gpu_offload()),
        "devices": _devices(),
    }


def _devices() -> list[str]:
    """What this build can compute on, as NAME (DESCRIPTION)."""
    library = _ggml.libggml
    library.ggml_backend_dev_count.restype = ctypes.c_size_t
    library.ggml_backend_dev_get.restype = ctypes.c_void_p
    found = []
    for place in range(library.ggml_backend_dev_count()):
        device = ctypes.c_void_p(library.ggml_backend_dev_get(ctypes.c_size_t(place)))
        name, description = _device_text("name", device), _device_text("description", device)
        found.append(f"{name} ({description})")
    return found


def _device_text(what: str, device: ctypes.c_void_p) -> str:
    function = getattr(_ggml.libggml, f"ggml_backend_dev_{what}")
    function.restype = ctypes.c_char_p
    text: bytes | None = function(device)
    return (text or b"?").decode("utf-8", "replace")


def last_words() -> str:
    """The last warnings and errors that llama.cpp has logged, on one line."""
    return " ".join("".join(_log).split())[-600:] or "no reason was logged"


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model with its context, and how many of its layers are on a GPU."""

    model: Any
    context: Any
    gpu_layers: int
    description: str


def load(options: LoadOptions, progressed: Callable[[int], None]) -> Loaded:
    """Loads with as many layers on the GPU as asked for, or as fit. `progressed` is told now and then.

    Raises ModelLoadError with llama.cpp's own words; ModelTooLarge where it had no memory for the model or a context.
    """
    model = None
    for layers in _layer_counts(options):
        model = _load_model(options, layers, progressed)
        context = _open_context(model, options) if model else None
        if context:
            _apply_lora(model, context, options.lora)
            return Loaded(model, context, layers, _describe(model))
        if model:
            C.llama_model_free(model)
    said = last_words()
    kind = ModelTooLarge if model or _NO_ROOM.search(said) else ModelLoadError
    raise kind(f"{options.path}: llama.cpp cannot load it: {said}")


def identity(options: LoadOptions) -> str:
    """All that the state of a sequence depends on beside its tokens."""
    import llama_cpp

    files = [Path(options.path), *(Path(path) for path, _ in options.lora)]
    facts = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    scales = [scale for _, scale in options.lora]
    form = (options.kv_cache, options.context_tokens, options.rope_scaling, options.rope_scale)
    return repr((llama_cpp.__version__, facts, scales, form))


def _layer_counts(options: LoadOptions) -> list[int]:
    if not C.llama_supports_gpu_offload() or options.gpu_layers == 0:
        return [0]
    if options.gpu_layers > 0:
        return [options.gpu_layers]
    layers = _count_layers(options.path) + 1  # the output layer counts as one
    return [round(layers * share) for share in _LAYER_SHARES]


def _count_layers(path: str) -> int:
    parameters = C.llama_model_default_params()
    parameters.vocab_only = True
    model = C.llama_model_load_from_file(path.encode(), parameters)
    if not model:
        raise ModelLoadError(f"{path}: llama.cpp cannot load it: {last_words()}")
    buffer = ctypes.create_string_buffer(256)
    C.llama_model_meta_val_str(model, b"general.architecture", buffer, 256)
    C.llama_model_meta_val_str(model, buffer.value + b".block_count", buffer, 256)
    C.llama_model_free(model)
    return int(buffer.value) if buffer.value.isdigit() else 0


def _load_model(options: LoadOptions, layers: int, progressed: Callable[[int], None]) -> Any:
    def report(_share: float, _data: Any) -> bool:
        progressed(1)
        return True

    callback = C.llama_progress_callback(report)
    parameters = C.llama_model_default_params()
    parameters.n_gpu_layers = layers
    parameters.progress_callback = callback
    # GCC 12 drops most of the stores before AMX's tile configuration is loaded (its intrinsic names 8 of the 64 bytes
    # as input), and the process faults with the first prompt. The other kernels are as fast without these buffers.
    parameters.use_extra_bufts = options.special_kernels and b"AMX_INT8 = 1" not in C.llama_print_system_info()
    return C.llama_model_load_from_file(options.path.encode(), parameters)


def _open_context(model: Any, options: LoadOptions) -> Any:
    trained = C.llama_model_n_ctx_train(model)
    if options.rope_scaling in ("linear", "yarn"):
        trained = int(trained * options.rope_scale)
    parameters = C.llama_context_default_params()
    parameters.n_ctx = min(options.context_tokens, trained) if trained else options.context_tokens
    parameters.n_batch = parameters.n_ubatch = min(options.batch_tokens, parameters.n_ctx)
    # Without this a GPU is used for large products and the cache even where no layer is to be on it.
    parameters.op_offload = parameters.offload_kqv = options.gpu_layers != 0
    # One buffer for all sequences: copies of a prompt take no room of their own, and one alone may fill it.
    parameters.n_seq_max, parameters.kv_unified = MOST_SAMPLES + 1, True
    parameters.n_threads = parameters.n_threads_batch = options.threads
    parameters.type_k = parameters.type_v = _KV_TYPES[options.kv_cache]
    if options.kv_cache != "f16":
        parameters.flash_attn_type = C.LLAMA_FLASH_ATTN_TYPE_ENABLED  # a quantised V cache needs it
    parameters.rope_scaling_type = _ROPE[options.rope_scaling]
    if options.rope_scaling in ("linear", "yarn"):
        parameters.rope_freq_scale = 1.0 / options.rope_scale
    return C.llama_init_from_model(model, parameters)


def _apply_lora(model: Any, context: Any, adapters: Sequence[tuple[str, float]]) -> None:
    if not adapters:
        return
    handles = (C.llama_adapter_lora_p_ctypes * len(adapters))()
    for place, (path, _) in enumerate(adapters):
        handle = C.llama_adapter_lora_init(model, path.encode())
        if not handle:
            raise ModelLoadError(f"{path}: llama.cpp cannot use it as an adapter of this model: {last_words()}")
        handles[place] = handle
    scales = (ctypes.c_float * len(adapters))(*(scale for _, scale in adapters))
    if C.llama_set_adapters_lora(context, handles, len(adapters), scales):
        raise ModelLoadError(f"the adapters cannot be applied together: {last_words()}")


def _describe(model: Any) -> str:
    buffer = ctypes.create_string_buffer(1024)
    C.llama_model_desc(model, buffer, len(buffer))
    return buffer.value.decode("utf-8", "replace")
