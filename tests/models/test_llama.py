"""The supervised model process: what it answers, and what is left standing when it dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gguf
import jsonschema
import numpy as np
import pytest

import ragagent
from ragagent.errors import ConfigError, ContextOverflow, ModelCrashed, ModelError, ModelLoadError
from ragagent.models import grammar
from ragagent.models.llama import LlamaModel, build_info
from ragagent.protocols import LLM
from ragagent.settings import LlmSettings
from ragagent.types import Grammar, Message, Sampling, ToolSpec

SETTINGS = LlmSettings(context_tokens=1024, batch_tokens=128, timeout_s=120)
STORY = (Message(role="user", content="Tell me a long story about a lighthouse keeper and his cat."),)
EVIDENCE = "The lighthouse was built in 1871 by a company from Hull, and its lamp burned oil until 1923. " * 6
CITY = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 20}, "inhabitants": {"type": "integer", "maximum": 10**6}},
    "required": ["city", "inhabitants"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def llm(tiny_gguf: Path) -> Iterator[LlamaModel]:
    model = LlamaModel(tiny_gguf, SETTINGS)
    yield model
    model.close()


@pytest.fixture
def opened(tiny_gguf: Path) -> Iterator[Callable[..., LlamaModel]]:
    """Opens models of the test's own, which are closed after it."""
    models: list[LlamaModel] = []

    def open_model(settings: LlmSettings = SETTINGS) -> LlamaModel:
        models.append(LlamaModel(tiny_gguf, settings))
        return models[-1]

    yield open_model
    for model in models:
        model.close()


def process_of(model: LlamaModel) -> int:
    assert model.pid is not None
    return model.pid


def exists(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def wait_until(condition: Callable[[], bool], what: str) -> None:
    for _ in range(3000):
        if condition():
            return
        time.sleep(0.01)
    pytest.fail(f"waited in vain: {what}")


# What it answers


def test_it_keeps_the_protocol(llm: LlamaModel) -> None:
    assert isinstance(llm, LLM)
    assert llm.constrains
    assert llm.name == "SmolLM2-135M-Instruct.Q4_1"


def test_the_deltas_of_a_stream_are_the_answer(llm: LlamaModel) -> None:
    *deltas, last = llm.stream(STORY, max_tokens=24)
    assert last.text == ""
    assert last.completion is not None
    assert all(delta.completion is None for delta in deltas)
    assert "".join(delta.text for delta in deltas) == last.completion.text == llm.chat(STORY, max_tokens=24).text
    assert last.completion.finish == "length"
    assert last.completion.usage.completion_tokens == 24


def test_a_seed_repeats_and_another_differs(llm: LlamaModel) -> None:
    def drawn(seed: int) -> str:
        return llm.chat(STORY, max_tokens=24, sampling=Sampling(temperature=1.2, seed=seed, top_k=0, min_p=0)).text

    assert drawn(7) == drawn(7)
    assert len({drawn(seed) for seed in range(4)}) > 1


def test_a_repetition_penalty_ends_a_loop(llm: LlamaModel) -> None:
    letters = grammar.lark("start: /[ab]{40}/")

    def written(penalty: float) -> str:
        return llm.chat(STORY, max_tokens=64, sampling=Sampling(repeat_penalty=penalty), grammar=letters).text

    assert len(written(1.0)) == len(written(5.0)) == 40
    assert written(1.0) != written(5.0)


def test_the_mean_logprob_is_that_of_a_probability(llm: LlamaModel) -> None:
    logprob = llm.chat(STORY, max_tokens=8).mean_logprob
    assert logprob is not None
    assert -20 < logprob <= 0


def test_tools_reach_the_template_of_a_model_that_knows_them(small_gguf: Path) -> None:
    model = LlamaModel(small_gguf, SETTINGS)
    tool = ToolSpec(
        name="weather", description="The weather of a city", parameters={"type": "object", "properties": {}}
    )
    try:
        plain = model.chat(STORY, max_tokens=1).usage.prompt_tokens
        assert model.chat(STORY, max_tokens=1, tools=[tool]).usage.prompt_tokens > plain + 50
    finally:
        model.close()


# The cache


def test_the_shared_prefix_is_reused_and_counted(llm: LlamaModel) -> None:
    first = llm.chat([Message(role="system", content=EVIDENCE), *STORY], max_tokens=4)
    again = llm.chat([Message(role="system", content=EVIDENCE), *STORY], max_tokens=4)
    assert again.usage.reused_tokens == again.usage.prompt_tokens - 1
    assert again.text == first.text
    question = Message(role="user", content="When was it built?")
    other = llm.chat([Message(role="system", content=EVIDENCE), question], max_tokens=4)
    assert llm.count_tokens(EVIDENCE) <= other.usage.reused_tokens < other.usage.prompt_tokens - 3
    stranger = llm.chat([Message(role="system", content="Zebras."), question], max_tokens=4)
    assert stranger.usage.reused_tokens < 8


def test_a_longer_conversation_reads_only_what_is_new(llm: LlamaModel) -> None:
    first = llm.chat(STORY, max_tokens=16)
    talk = [*STORY, Message(role="assistant", content=first.text), Message(role="user", content="Go on.")]
    second = llm.chat(talk, max_tokens=4)
    assert second.usage.reused_tokens >= first.usage.prompt_tokens


# Grammars


@pytest.mark.parametrize(
    "schema",
    [
        CITY,
        {"type": "array", "items": {"enum": ["red", "green"]}, "minItems": 2, "maxItems": 3},
        {"type": "object", "properties": {"n": {"type": "integer", "minimum": 3, "maximum": 5}}, "required": ["n"]}
        | {"additionalProperties": False},
        {"anyOf": [{"const": "yes"}, {"type": "boolean"}]},
        {"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}$"},
    ],
)
@pytest.mark.parametrize("temperature", [0.0, 1.5])
def test_what_is_written_under_a_schema_fits_it(llm: LlamaModel, schema: dict[str, Any], temperature: float) -> None:
    sampling = Sampling(temperature=temperature, top_k=0, top_p=1.0, min_p=0.0, seed=3)
    completion = llm.chat(STORY, max_tokens=120, sampling=sampling, grammar=grammar.json_schema(schema))
    assert completion.finish == "stop"
    jsonschema.validate(grammar.parse(completion, schema), schema)


def test_json_that_the_token_limit_cuts_is_never_taken_for_valid(llm: LlamaModel) -> None:
    completion = llm.chat(STORY, max_tokens=5, grammar=grammar.json_schema(CITY))
    assert completion.finish == "length"
    with pytest.raises(ModelError, match="max_tokens"):
        grammar.parse(completion, CITY)


def test_a_substring_grammar_lets_only_the_text_through(llm: LlamaModel) -> None:
    # 8,000 characters, as long as evidence gets.
    text = " ".join(f"Lamp {number} was lit in {1800 + number} by keeper {number * 7}." for number in range(200))
    rule = grammar.lark(f"start: QUOTE\nQUOTE: %regex {json.dumps({'substring_chars': text})} & /(?s:.{{20,80}})/\n")
    completion = llm.chat([Message(role="user", content="Quote: " + text[:300])], max_tokens=60, grammar=rule)
    assert completion.text in text
    assert len(completion.text) >= 20


@pytest.mark.parametrize(
    "bad",
    [
        Grammar(kind="lark", source='start: "a" missing'),
        Grammar(kind="lark", source=""),
        Grammar(kind="json_schema", source='{"type": "objekt"}'),
        Grammar(kind="json_schema", source="no json"),
        Grammar(kind="json_schema", source='{"$ref": "http://127.0.0.1:9/schema"}'),
    ],
)
def test_a_bad_grammar_is_refused_before_a_process_is_started(opened: Callable[..., LlamaModel], bad: Grammar) -> None:
    model = opened()
    with pytest.raises(ConfigError):
        model.chat(STORY, grammar=bad)
    assert model.pid is None


# Text


def test_a_streamed_piece_never_splits_a_character(llm: LlamaModel) -> None:
    rule = grammar.lark("start: /[日本語🎉é한]{12}/")
    *deltas, last = llm.stream(STORY, max_tokens=100, sampling=Sampling(temperature=1.0, min_p=0.0), grammar=rule)
    assert last.completion is not None
    assert len(last.completion.text) == 12
    assert set("".join(delta.text for delta in deltas)) <= set("日本語🎉é한")
    assert len(deltas) > 3


@pytest.mark.parametrize("max_tokens", range(1, 8))
def test_a_character_that_the_token_limit_cuts_is_left_out(llm: LlamaModel, max_tokens: int) -> None:
    completion = llm.chat(STORY, max_tokens=max_tokens, grammar=grammar.lark("start: /🎉[🎉日]{12}/"))
    assert completion.finish == "length"
    assert set(completion.text) <= set("🎉日")


def test_counts_add_up_and_need_no_turn(llm: LlamaModel) -> None:
    assert llm.count_tokens("") == 0
    assert 2 <= llm.count_tokens("Hello world") <= 3
    assert llm.count_tokens("<|im_end|>") > 1
    stream = llm.stream(STORY, max_tokens=200)
    next(stream)
    assert llm.count_tokens("counted while the model writes") > 3
    stream.close()  # type: ignore[attr-defined]


# Limits and mistakes


def test_a_prompt_over_the_context_is_refused_with_the_numbers(llm: LlamaModel) -> None:
    with pytest.raises(ContextOverflow, match=r"prompt has \d{4} tokens and up to 32 .* holds 1024"):
        llm.chat([Message(role="user", content=EVIDENCE * 12)], max_tokens=32)
    with pytest.raises(ContextOverflow, match="characters"):
        llm.chat([Message(role="user", content="x" * 10_000_000)])
    assert llm.chat(STORY, max_tokens=2).text


def test_a_context_is_no_longer_than_the_model_was_trained_for(opened: Callable[..., LlamaModel]) -> None:
    assert opened(LlmSettings(context_tokens=100_000)).context_tokens == 8192


@pytest.mark.parametrize("kv_cache", ["q8_0", "q4_0"])
def test_a_quantised_cache_answers(opened: Callable[..., LlamaModel], kv_cache: Any) -> None:
    assert opened(LlmSettings(context_tokens=512, kv_cache=kv_cache)).chat(STORY, max_tokens=8).text


def test_a_stretched_context_is_longer_than_trained(opened: Callable[..., LlamaModel]) -> None:
    model = opened(LlmSettings(context_tokens=10_000, rope_scaling="linear", rope_scale=2.0, kv_cache="q4_0"))
    assert model.context_tokens == 10_240 or model.context_tokens == 10_000
    assert model.chat(STORY, max_tokens=4).text


@pytest.mark.parametrize(("messages", "max_tokens"), [((), 5), (STORY, 0)])
def test_a_senseless_request_is_a_mistake_of_the_caller(llm: LlamaModel, messages: Any, max_tokens: int) -> None:
    with pytest.raises(ConfigError):
        llm.chat(messages, max_tokens=max_tokens)


def test_a_file_that_is_no_model_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match="No such file"):
        LlamaModel(tmp_path / "missing.gguf")
    with pytest.raises(ModelLoadError, match="directory"):
        LlamaModel(tmp_path)
    (tmp_path / "text.gguf").write_text("hello")
    with pytest.raises(ModelLoadError, match="not a GGUF"):
        LlamaModel(tmp_path / "text.gguf")


@pytest.mark.parametrize("kept", [8, 40_000, 2_000_000])
def test_a_truncated_model_names_the_file_and_the_reason(tiny_gguf: Path, tmp_path: Path, kept: int) -> None:
    cut = tmp_path / "cut.gguf"
    with tiny_gguf.open("rb") as whole:
        cut.write_bytes(whole.read(kept))
    model = LlamaModel(cut, SETTINGS)
    with pytest.raises(ModelLoadError, match=r"cut\.gguf.*(gguf|corrupt|tensor|read)"):
        model.start()
    model.close()


IN_LITTLE_MEMORY = """
import resource, sys
from ragagent.errors import ModelTooLarge
from ragagent.models.llama import LlamaModel
from ragagent.settings import LlmSettings

model = LlamaModel(sys.argv[1], LlmSettings(context_tokens=32768))
resource.setrlimit(resource.RLIMIT_AS, (700 << 20, resource.RLIM_INFINITY))
try:
    model.start()
except ModelTooLarge as error:
    print("NO ROOM", error)
"""


def test_a_model_that_memory_has_no_room_for_says_so(small_gguf: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", IN_LITTLE_MEMORY, str(small_gguf)], capture_output=True, text=True, timeout=300
    )
    assert done.stdout.startswith(f"NO ROOM {small_gguf}"), done.stdout + done.stderr


def test_a_closed_model_is_refused_and_its_process_gone(opened: Callable[..., LlamaModel]) -> None:
    model = opened()
    model.start()
    pid = process_of(model)
    model.close()
    model.close()
    assert not exists(pid)
    with pytest.raises(ModelError, match="closed"):
        model.chat(STORY)


# Adapters


def write_adapter(path: Path, value: float) -> None:
    """A GGUF adapter of rank 1 that adds `value` times a constant matrix to one projection of the tiny model."""
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", 1.0)
    writer.add_tensor("blk.0.attn_output.weight.lora_a", np.ones((1, 576), dtype=np.float32))
    writer.add_tensor("blk.0.attn_output.weight.lora_b", np.full((576, 1), value, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_an_adapter_changes_the_answer_by_its_scale(
    opened: Callable[..., LlamaModel], llm: LlamaModel, tmp_path: Path
) -> None:
    adapter = tmp_path / "adapter=1.gguf"
    write_adapter(adapter, 0.5)
    plain = llm.chat(STORY, max_tokens=12).text

    def answered(scale: str) -> str:
        return opened(LlmSettings(context_tokens=512, lora=(f"{adapter}={scale}",))).chat(STORY, max_tokens=12).text

    assert answered("0") == plain
    assert answered("1.5") != plain


def test_a_wrong_adapter_is_named(tiny_gguf: Path, tmp_path: Path, opened: Callable[..., LlamaModel]) -> None:
    with pytest.raises(ConfigError, match="not a number"):
        opened(LlmSettings(lora=(f"{tiny_gguf}=much",)))
    with pytest.raises(ModelLoadError, match="absent"):
        opened(LlmSettings(lora=(str(tmp_path / "absent.gguf"),)))
    with pytest.raises(ModelLoadError, match="adapter"):
        opened(LlmSettings(lora=(str(tiny_gguf),))).start()


# Death, hanging and cancelling


def test_a_process_killed_in_the_middle_of_a_stream_is_reported_and_replaced(
    opened: Callable[..., LlamaModel], llm: LlamaModel
) -> None:
    model = opened()
    stream = model.stream(STORY, max_tokens=400)
    next(stream)
    pid = process_of(model)
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(ModelCrashed, match=r"SIGKILL.*next request starts a new one"):
        list(stream)
    assert model.chat(STORY, max_tokens=12).text == llm.chat(STORY, max_tokens=12).text
    assert process_of(model) != pid


def test_a_chat_whose_process_is_killed_is_completed_by_another(
    opened: Callable[..., LlamaModel], llm: LlamaModel
) -> None:
    model = opened()
    model.start()
    pid = process_of(model)
    killer = threading.Timer(0.3, os.kill, (pid, signal.SIGKILL))
    killer.start()
    completion = model.chat(STORY, max_tokens=150)
    killer.join()
    assert process_of(model) != pid
    assert completion.text == llm.chat(STORY, max_tokens=150).text
    assert completion.finish in ("stop", "length")


def test_a_request_is_tried_twice_and_not_for_ever(opened: Callable[..., LlamaModel]) -> None:
    model = opened()
    model.start()
    killed: set[int] = set()
    done = threading.Event()

    def kill_them_all() -> None:
        while not done.wait(0.02):
            if (pid := model.pid) is not None:
                killed.add(pid)
                os.kill(pid, signal.SIGKILL)

    killer = threading.Thread(target=kill_them_all)
    killer.start()
    try:
        with pytest.raises(ModelCrashed, match="SIGKILL"):
            model.chat(STORY, max_tokens=500)
    finally:
        done.set()
        killer.join()
    assert 1 <= len(killed) <= 2
    assert model.chat(STORY, max_tokens=4).text


def test_a_process_that_dies_while_idle_is_replaced_unnoticed(opened: Callable[..., LlamaModel]) -> None:
    model = opened()
    text = model.chat(STORY, max_tokens=8).text
    os.kill(process_of(model), signal.SIGKILL)
    assert model.chat(STORY, max_tokens=8).text == text
    os.kill(process_of(model), signal.SIGKILL)
    assert model.count_tokens("a text that was never counted before") > 3


def test_a_process_that_hangs_is_ended(opened: Callable[..., LlamaModel]) -> None:
    model = opened(LlmSettings(context_tokens=1024, timeout_s=60))
    stream = model.stream(STORY, max_tokens=400, timeout_s=2.0)
    next(stream)
    pid = process_of(model)
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(ModelCrashed, match="no progress for 2 s"):
        list(stream)
    assert not exists(pid)
    assert model.chat(STORY, max_tokens=4).text


def test_a_closed_stream_stops_the_model_and_the_next_answer_is_the_usual_one(
    opened: Callable[..., LlamaModel], llm: LlamaModel
) -> None:
    model = opened()
    stream = model.stream(STORY, max_tokens=700)
    next(stream)
    pid = process_of(model)
    stream.close()  # type: ignore[attr-defined]
    assert model.chat(STORY, max_tokens=40).text == llm.chat(STORY, max_tokens=40).text
    assert process_of(model) == pid


INTERRUPTED = """
import os, signal, sys, threading
from ragagent.models.llama import LlamaModel
from ragagent.settings import LlmSettings
from ragagent.types import Message

model = LlamaModel(sys.argv[1], LlmSettings(context_tokens=8192, batch_tokens=2048))
model.start()
pid = model.pid
threading.Timer(0.4, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    model.chat([Message(role="user", content=sys.argv[2])], max_tokens=2000)
except KeyboardInterrupt:
    print("interrupted")
print("answered" if model.chat([Message(role="user", content="Hello")], max_tokens=4).text else "silent")
print("same process" if model.pid == pid else "another process")
model.close()
"""


def test_an_interrupt_cancels_the_request_while_it_reads_the_prompt(tiny_gguf: Path) -> None:
    # In a program of its own, as a person would interrupt it: the signal is for the whole process.
    command = [sys.executable, "-c", INTERRUPTED, str(tiny_gguf), EVIDENCE * 36]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.stdout.splitlines() == ["interrupted", "answered", "same process"], done.stderr


def test_the_thread_that_started_the_process_may_end(opened: Callable[..., LlamaModel]) -> None:
    model = opened()
    starter = threading.Thread(target=model.start)
    starter.start()
    starter.join()
    pid = process_of(model)
    assert model.chat(STORY, max_tokens=4).text
    assert process_of(model) == pid


def test_requests_of_several_threads_take_turns(llm: LlamaModel) -> None:
    questions = [(Message(role="user", content=f"Count to {number}."),) for number in range(4)]
    expected = [llm.chat(question, max_tokens=12).text for question in questions]
    got: dict[int, str] = {}

    def ask(number: int) -> None:
        got[number] = llm.chat(questions[number], max_tokens=12).text

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [got[number] for number in range(4)] == expected


def test_a_request_inside_the_threads_own_stream_is_an_error_and_no_deadlock(llm: LlamaModel) -> None:
    stream = llm.stream(STORY, max_tokens=50)
    next(stream)
    with pytest.raises(ModelError, match="still reads a stream"):
        llm.chat(STORY, max_tokens=2)
    stream.close()  # type: ignore[attr-defined]
    assert llm.chat(STORY, max_tokens=2).text


PARENT = """
import sys, time
sys.path.insert(0, sys.argv[1])
from ragagent.models.llama import LlamaModel
model = LlamaModel(sys.argv[2])
model.start()
print(model.pid, flush=True)
for delta in model.stream([__import__("ragagent.types").types.Message(role="user", content="Tell a story")],
                          max_tokens=int(sys.argv[3])):
    pass
time.sleep(600)
"""
ROOT = str(Path(ragagent.__file__).parent.parent)


@pytest.mark.parametrize(("state", "max_tokens"), [("idle", 1), ("busy", 4000), ("stopped", 1)])
def test_the_process_ends_with_an_application_that_is_killed(
    tiny_gguf: Path, tmp_path: Path, state: str, max_tokens: int
) -> None:
    # A file that a careless child would import instead of the standard library's.
    (tmp_path / "json.py").write_text("raise SystemExit('imported from the working folder')")
    command = [sys.executable, "-P", "-c", PARENT, ROOT, str(tiny_gguf), str(max_tokens)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=tmp_path) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        if state == "stopped":
            os.kill(pid, signal.SIGSTOP)
        parent.kill()
    wait_until(lambda: not exists(pid), f"the model process {pid} outlives its {state} application")


def test_the_terminal_interrupts_the_application_alone(llm: LlamaModel) -> None:
    llm.start()
    assert os.getsid(process_of(llm)) != os.getsid(0)


def test_the_build_is_described() -> None:
    build = build_info()
    assert build.version.count(".") == 2
    assert "CPU" in build.system
    assert build.devices
