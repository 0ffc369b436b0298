"""Endpoints: a real llama.cpp server on the loopback, and one that misbehaves."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from ragagent.errors import ConfigError, ContextOverflow, ModelError, ModelNotFound
from ragagent.models import grammar, remote
from ragagent.models.remote import RemoteModel
from ragagent.protocols import LLM
from ragagent.settings import LlmSettings
from ragagent.types import Grammar, Message, Sampling, ToolSpec

ASK = (Message(role="user", content="Count to nine, please."),)
KEY = "sk-a-secret-that-must-not-show"
COLOUR = {
    "type": "object",
    "properties": {"colour": {"enum": ["red", "green"]}},
    "required": ["colour"],
    "additionalProperties": False,
}

SERVER = """
import sys
import xllamacpp
parameters = xllamacpp.CommonParams()
parameters.model.path = sys.argv[1]
parameters.hostnames = ["127.0.0.1"]
parameters.port, parameters.n_ctx, parameters.n_parallel, parameters.warmup = 0, 1024, 1, False
parameters.api_keys = [sys.argv[2]]
server = xllamacpp.Server(parameters)
print("ADDRESS", server.listening_address, flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def llama_server(tiny_gguf: Path) -> Iterator[str]:
    """The address of llama.cpp's own server with the tiny model."""
    pytest.importorskip("xllamacpp", reason="needs the package xllamacpp, which carries llama.cpp's server")
    command = [sys.executable, "-P", "-c", SERVER, str(tiny_gguf), KEY]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, text=True, env={"OMP_WAIT_POLICY": "passive"}, **pipes) as server:  # type: ignore[call-overload]
        yield next(line.split()[1] for line in server.stdout if line.startswith("ADDRESS"))
        server.kill()


@pytest.fixture
def real(llama_server: str) -> Iterator[RemoteModel]:
    model = RemoteModel(llama_server, LlmSettings(api_key=KEY, timeout_s=120))
    yield model
    model.close()


def test_it_keeps_the_protocol(real: RemoteModel) -> None:
    assert isinstance(real, LLM)
    assert not real.constrains


def test_an_answer_comes_with_its_cost(real: RemoteModel) -> None:
    first = real.chat(ASK, max_tokens=4)
    assert first.finish == "length"
    assert first.text
    assert first.usage.completion_tokens == 4
    assert first.usage.prompt_tokens > 10
    assert real.chat(ASK, max_tokens=4).usage.reused_tokens > 0


def test_a_stream_is_the_answer_in_pieces(real: RemoteModel) -> None:
    *deltas, last = real.stream(ASK, max_tokens=4)
    assert last.completion is not None
    assert "".join(delta.text for delta in deltas) == last.completion.text == real.chat(ASK, max_tokens=4).text
    assert last.completion.usage.completion_tokens == 4
    assert last.completion.finish == "length"


def test_a_closed_stream_frees_the_server(real: RemoteModel) -> None:
    stream = real.stream(ASK, max_tokens=900)
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert real.chat(ASK, max_tokens=3).text


def test_a_schema_is_asked_for(real: RemoteModel) -> None:
    completion = real.chat(ASK, max_tokens=40, grammar=grammar.json_schema(COLOUR))
    assert grammar.parse(completion, COLOUR)["colour"] in ("red", "green")


def test_a_prompt_over_the_servers_context_is_a_context_overflow(real: RemoteModel) -> None:
    with pytest.raises(ContextOverflow, match="context"):
        real.chat([Message(role="user", content="many words " * 2000)])


def test_a_wrong_key_is_refused_and_not_shown(llama_server: str) -> None:
    model = RemoteModel(llama_server, LlmSettings(api_key="wrong-" + KEY))
    with pytest.raises(ModelError, match=r"llm\.api_key.*401") as caught:
        model.chat(ASK)
    assert KEY not in str(caught.value)
    model.close()


# An endpoint that does what a test tells it to


class Endpoint:
    def __init__(self, address: str) -> None:
        self.address = address
        self.status = 200
        self.body: bytes | Iterator[bytes] = b""
        self.requests: list[tuple[str, dict[str, Any], str]] = []
        self.pause_s = 0.0


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            data = self.rfile.read(int(self.headers.get("content-length") or 0))
            state.requests.append((self.path, json.loads(data or b"{}"), self.headers.get("authorization") or ""))
            time.sleep(state.pause_s)
            self.send_response(state.status)
            self.end_headers()
            try:
                for block in [state.body] if isinstance(state.body, bytes) else state.body:
                    self.wfile.write(block)
                    self.wfile.flush()
            except (BrokenPipeError, ConnectionResetError):
                pass

        do_GET = do_POST = answer

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state = Endpoint(f"http://127.0.0.1:{server.server_port}/v1")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield state
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def asked(endpoint: Endpoint) -> Iterator[Callable[..., Any]]:
    """Sets what the endpoint answers and sends a request to it."""
    model = RemoteModel(endpoint.address + "#chat", LlmSettings(api_key=KEY, timeout_s=5))

    def ask(body: Any, *, status: int = 200, stream: bool = False, **arguments: Any) -> Any:
        endpoint.body = json.dumps(body).encode() if isinstance(body, dict) else body
        endpoint.status = status
        return list(model.stream(ASK, **arguments)) if stream else model.chat(ASK, **arguments)

    yield ask
    model.close()


def reply(text: str | None, finish: str = "stop", **message: Any) -> dict[str, Any]:
    return {"choices": [{"message": {"role": "assistant", "content": text, **message}, "finish_reason": finish}]}


def events(*values: Any) -> bytes:
    lines = [value if isinstance(value, str) else json.dumps(value) for value in values]
    return "".join(f"data: {line}\r\n\r\n" for line in lines).encode()


def piece(text: str, finish: str | None = None) -> dict[str, Any]:
    return {"choices": [{"delta": {"content": text}, "finish_reason": finish}]}


def test_the_request_says_what_was_asked(endpoint: Endpoint, asked: Callable[..., Any]) -> None:
    tool = ToolSpec(name="f", description="d", parameters={"type": "object"}, effects=("read",))
    sampling = Sampling(temperature=0.7, top_p=0.5, seed=4)
    asked(reply("yes"), sampling=sampling, max_tokens=7, grammar=grammar.json_schema(COLOUR), tools=[tool])
    path, body, key = endpoint.requests[0]
    assert path == "/v1/chat/completions"
    assert key == f"Bearer {KEY}"
    assert body.pop("response_format")["json_schema"]["schema"] == COLOUR
    assert body.pop("tools")[0]["function"] == {"name": "f", "description": "d", "parameters": {"type": "object"}}
    messages = [{"role": "user", "content": "Count to nine, please."}]
    settings = {"temperature": 0.7, "top_p": 0.5, "seed": 4, "max_tokens": 7}
    assert body == {"model": "chat", "messages": messages, **settings}


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (401, "refuses the key"),
        (403, "forbids"),
        (404, "no such address or model"),
        (418, "does not accept"),
        (429, "too often"),
        (500, "out of order"),
        (503, "try again later"),
        (302, "does not accept"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_refusal_says_why_and_never_the_key(
    asked: Callable[..., Any], status: int, reason: str, stream: bool
) -> None:
    with pytest.raises(ModelError, match=rf"{reason}.*HTTP {status}.*the detail") as caught:
        asked({"error": {"message": f"the detail and {KEY}"}}, status=status, stream=stream)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("body", [b"<html>", b"", b"[1]", {}, {"choices": []}, {"choices": [{"message": None}]}])
def test_an_answer_in_another_form_is_an_error(asked: Callable[..., Any], body: Any) -> None:
    with pytest.raises(ModelError, match=r"form|not JSON"):
        asked(body)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (events(piece("a"), "{oops"), "not JSON"),
        (events(piece("a"), {"error": {"message": "out of memory"}}), "out of memory"),
        (events(piece("a"), piece("b")), "without saying why"),
        (events("[DONE]"), "without saying why"),
        (events(piece("a", "content_filter"), "[DONE]"), "content filter"),
    ],
)
def test_a_stream_that_breaks_off_is_an_error(asked: Callable[..., Any], body: bytes, reason: str) -> None:
    with pytest.raises(ModelError, match=reason):
        asked(body, stream=True)


def test_a_stream_may_come_in_blocks_of_any_size(asked: Callable[..., Any]) -> None:
    usage = {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}
    data = b": comment\r\n\r\n" + events(piece("日本"), piece("語", "stop"), usage, "[DONE]")
    *deltas, last = asked(iter(data[place : place + 1] for place in range(len(data))), stream=True)
    assert [delta.text for delta in deltas] == ["日本", "語"]
    assert last.completion.text == "日本語"
    assert last.completion.usage.completion_tokens == 2


@pytest.mark.parametrize("stream", [False, True])
def test_an_endless_answer_is_cut_off(asked: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, stream: bool) -> None:
    monkeypatch.setattr(remote, "MAX_RESPONSE_BYTES", 100_000)
    with pytest.raises(ModelError, match="more than 100000 bytes"):
        asked((b"data: " + b"x" * 9000 for _ in range(10**6)), stream=stream)


def test_a_silent_endpoint_is_given_up(endpoint: Endpoint, asked: Callable[..., Any]) -> None:
    endpoint.pause_s = 1.5
    with pytest.raises(ModelError, match=r"no answer for 0\.2 s"):
        asked(reply("late"), timeout_s=0.2)


def test_an_endpoint_that_is_not_there_is_said() -> None:
    model = RemoteModel("http://127.0.0.1:9/v1#chat")
    with pytest.raises(ModelError, match=r"127\.0\.0\.1:9/v1 cannot be reached.*is it running"):
        model.chat(ASK)
    model.close()


def test_tool_calls_become_the_json_that_a_local_model_writes(asked: Callable[..., Any]) -> None:
    call = {"function": {"name": "add", "arguments": '{"a": 1}'}}
    completion = asked(reply(None, "tool_calls", tool_calls=[call]))
    assert json.loads(completion.text) == {"name": "add", "arguments": {"a": 1}}


def test_the_only_model_is_found_and_of_several_one_must_be_named(endpoint: Endpoint) -> None:
    model = RemoteModel(endpoint.address)
    endpoint.body = json.dumps({"data": [{"id": "a"}, {"id": "b"}]}).encode()
    with pytest.raises(ModelNotFound, match=r"2 models \(a, b\)"):
        model.chat(ASK)
    endpoint.body = json.dumps({"data": [{"id": "only"}], **reply("hello")}).encode()
    assert model.chat(ASK).text == "hello"
    assert endpoint.requests[-1][1]["model"] == "only"
    assert model.name.endswith("#only")
    model.close()


def test_a_grammar_that_an_endpoint_does_not_know_is_refused(asked: Callable[..., Any], endpoint: Endpoint) -> None:
    with pytest.raises(ConfigError, match="lark"):
        asked(reply("no"), grammar=Grammar(kind="lark", source='start: "a"'))
    assert not endpoint.requests


@pytest.mark.parametrize("url", ["ftp://host/v1", "http://", "http://user:secret@host/v1"])
def test_an_address_that_cannot_be_meant_is_refused(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        RemoteModel(url)
    assert "secret" not in str(caught.value)


def test_the_count_of_tokens_is_on_the_safe_side(real: RemoteModel, tiny_gguf: Path) -> None:
    text = "The lighthouse was built in 1871 by a company from Hull."
    exact = real.chat([Message(role="user", content=text)], max_tokens=1).usage.prompt_tokens
    without = real.chat([Message(role="user", content="a")], max_tokens=1).usage.prompt_tokens
    assert real.count_tokens(text) >= exact - without
    assert real.count_tokens("") == 0
