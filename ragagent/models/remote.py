"""Language models behind an OpenAI-compatible HTTP endpoint, on this machine or another."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from ragagent.errors import ConfigError, ContextOverflow, ModelError, ModelNotFound
from ragagent.models.grammar import check
from ragagent.models.sampling import configured
from ragagent.settings import LlmSettings
from ragagent.types import Completion, Delta, Grammar, Message, Sampling, ToolSpec, Usage

if TYPE_CHECKING:
    import httpx

MAX_RESPONSE_BYTES = 16 * 1024 * 1024
_MAX_SHOWN = 300
_CONNECT_TIMEOUT_S = 10.0
_BYTES_PER_TOKEN = 3
_REASONS = {
    401: "refuses the key: set llm.api_key",
    403: "forbids this: check what llm.api_key may do",
    404: "has no such address or model: check llm.model (https://HOST/v1#MODEL)",
    429: "is asked too often: wait, or raise the limit there",
}


class RemoteModel:
    """A model on a server behind the LLM protocol. Requests of several threads run side by side."""

    constrains = False

    def __init__(self, url: str, settings: LlmSettings | None = None) -> None:
        """`url` is the endpoint, as in http://localhost:8080/v1, with #MODEL where it serves several.

        Nothing is sent yet. Raises ConfigError when `url` is no http(s) URL.
        """
        import httpx

        self._settings = settings or LlmSettings()
        self._endpoint, self._model = _endpoint(url)
        self._key = self._settings.api_key or ""
        headers = {"authorization": f"Bearer {self._key}"} if self._key else {}
        # No environment: a proxy or netrc entry that nobody set for this would see the documents.
        self._client = httpx.Client(headers=headers, trust_env=False)

    @property
    def name(self) -> str:
        """The endpoint and the model, without credentials."""
        return f"{self._endpoint}#{self._model}" if self._model else self._endpoint

    @property
    def context_tokens(self) -> int:
        """What the settings say: an endpoint does not tell."""
        return self._settings.context_tokens

    def count_tokens(self, text: str) -> int:
        """An estimate on the safe side, a token for three bytes of UTF-8: the endpoint's tokenizer is not known."""
        return -(-len(text.encode("utf-8", "replace")) // _BYTES_PER_TOKEN)

    def chat(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int = 512,
        sampling: Sampling | None = None,
        grammar: Grammar | None = None,
        tools: Sequence[ToolSpec] = (),
        timeout_s: float | None = None,
    ) -> Completion:
        """The next message. JSON schemas are asked for, not enforced: check what comes with `grammar.parse`."""
        body = self._body(messages, max_tokens, sampling, grammar, tools)
        begin = time.perf_counter()
        answer = self._json("POST", "chat/completions", body, timeout_s)
        try:
            choice = answer["choices"][0]
            text = _text_of(choice["message"])
            finish = choice.get("finish_reason")
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            raise self._error(f"answers in an unknown form: {_shown(json.dumps(answer))}") from error
        return self._completion(text, finish, answer.get("usage"), time.perf_counter() - begin)

    def stream(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int = 512,
        sampling: Sampling | None = None,
        grammar: Grammar | None = None,
        tools: Sequence[ToolSpec] = (),
        timeout_s: float | None = None,
    ) -> Iterator[Delta]:
        """As `chat`, piece by piece. Closing the iterator closes the connection, which stops the server."""
        body = self._body(messages, max_tokens, sampling, grammar, tools)
        return self._deltas({**body, "stream": True, "stream_options": {"include_usage": True}}, timeout_s)

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()

    def _body(
        self,
        messages: Sequence[Message],
        max_tokens: int,
        sampling: Sampling | None,
        grammar: Grammar | None,
        tools: Sequence[ToolSpec],
    ) -> dict[str, Any]:
        if max_tokens < 1:
            raise ConfigError(f"max_tokens = {max_tokens}: must be at least 1")
        if not messages:
            raise ConfigError("a conversation needs at least one message")
        body: dict[str, Any] = {
            "model": self._chosen_model(),
            "messages": [{"role": message.role, "content": message.content} for message in messages],
            "max_tokens": max_tokens,
            **_sampling(sampling or configured(self._settings)),
        }
        if grammar is not None:
            body["response_format"] = _response_format(grammar)
        if tools:
            body["tools"] = [_tool(tool) for tool in tools]
        return body

    def _chosen_model(self) -> str:
        """The model of the URL, or the only one the endpoint has."""
        if not self._model:
            found = self._json("GET", "models", None, None).get("data")
            names = [str(entry.get("id")) for entry in found or () if isinstance(entry, dict)]
            if len(names) != 1:
                listed = ", ".join(names[:20]) or "none"
                raise ModelNotFound(f"{self._endpoint} serves {len(names)} models ({listed}): name one after '#'")
            self._model = names[0]
        return self._model

    def _json(self, method: str, path: str, body: Mapping[str, Any] | None, timeout_s: float | None) -> dict[str, Any]:
        with _Exchange(self, method, path, body, timeout_s) as response:
            data = b"".join(_bounded(response.iter_bytes(), self))
        try:
            answer = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise self._error(f"answers with something that is not JSON: {_shown(data)}") from error
        if not isinstance(answer, dict):
            raise self._error(f"answers in an unknown form: {_shown(data)}")
        return answer

    def _deltas(self, body: Mapping[str, Any], timeout_s: float | None) -> Iterator[Delta]:
        begin = time.perf_counter()
        pieces: list[str] = []
        finish: str | None = None
        usage: Any = None
        with _Exchange(self, "POST", "chat/completions", body, timeout_s) as response:
            for event in self._events(response):
                usage = event.get("usage") or usage
                for choice in event.get("choices") or ():
                    finish = choice.get("finish_reason") or finish
                    piece = (choice.get("delta") or {}).get("content") or ""
                    if piece:
                        pieces.append(piece)
                        yield Delta(text=piece)
        if finish is None:
            raise self._error(f"ended the answer without saying why after {_shown(''.join(pieces))}")
        text = "".join(pieces)
        yield Delta(text="", completion=self._completion(text, finish, usage, time.perf_counter() - begin))

    def _events(self, response: httpx.Response) -> Iterator[dict[str, Any]]:
        """The JSON objects of a stream of server-sent events."""
        for line in _lines(_bounded(response.iter_bytes(), self)):
            field, _, value = line.partition(b":")
            value = value.strip()
            if field != b"data" or not value:
                continue
            if value == b"[DONE]":
                return
            try:
                event = json.loads(value)
            except (ValueError, RecursionError) as error:
                raise self._error(f"streams something that is not JSON: {_shown(value)}") from error
            if not isinstance(event, dict) or event.get("error"):
                raise self._error(f"broke off: {_shown(value)}")
            yield event

    def _completion(self, text: str, finish: str | None, usage: Any, seconds: float) -> Completion:
        if finish == "content_filter":
            raise self._error("withheld the answer by its content filter")
        counts = usage if isinstance(usage, dict) else {}
        details = counts.get("prompt_tokens_details")
        return Completion(
            text=text,
            finish="length" if finish == "length" else "stop",
            usage=Usage(
                prompt_tokens=_whole(counts.get("prompt_tokens")),
                reused_tokens=_whole(details.get("cached_tokens")) if isinstance(details, dict) else 0,
                completion_tokens=_whole(counts.get("completion_tokens")),
                seconds=seconds,
                calls=1,
            ),
        )

    def _refused(self, response: httpx.Response) -> ModelError:
        """The error for an HTTP status that is none of success."""
        detail = _shown(b"".join(_bounded(response.iter_bytes(), self)))
        if response.status_code in (400, 413) and "context" in detail.lower():
            return ContextOverflow(self._clean(f"{self._endpoint}: the prompt does not fit its context: {detail}"))
        reason = _REASONS.get(response.status_code) or (
            "is out of order: try again later" if response.status_code >= 500 else "does not accept the request"
        )
        return self._error(f"{reason} (HTTP {response.status_code}): {detail}")

    def _error(self, reason: str) -> ModelError:
        return ModelError(self._clean(f"{self._endpoint} {reason}"))

    def _clean(self, message: str) -> str:
        return message.replace(self._key, "***") if self._key else message


class _Exchange:
    """One request and its response, with every failure of the transport as a ModelError."""

    def __init__(
        self, model: RemoteModel, method: str, path: str, body: Mapping[str, Any] | None, timeout_s: float | None
    ) -> None:
        import httpx

        self._model = model
        patience = model._settings.timeout_s if timeout_s is None else timeout_s
        self._patience = patience
        timeout = httpx.Timeout(patience, connect=min(patience, _CONNECT_TIMEOUT_S))
        self._context = model._client.stream(method, f"{model._endpoint}/{path}", json=body, timeout=timeout)

    def __enter__(self) -> httpx.Response:
        import httpx

        try:
            response = self._context.__enter__()
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._translated(error) from error
        if response.is_success:
            return response
        try:
            raise self._model._refused(response)
        finally:
            self._context.__exit__(None, None, None)

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        import httpx

        self._context.__exit__(kind, error, trace)
        if isinstance(error, httpx.HTTPError):
            raise self._translated(error) from error

    def _translated(self, error: Exception) -> ModelError:
        import httpx

        if isinstance(error, httpx.TimeoutException):
            return self._model._error(f"gave no answer for {self._patience:g} s ({type(error).__name__})")
        return self._model._error(f"cannot be reached ({type(error).__name__}: {error}): is it running?")


def _endpoint(url: str) -> tuple[str, str]:
    """The base address and the model name of `url`; an address without a path means /v1."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"llm.model = {url!r}: not an http(s) address with a host")
    if parts.username or parts.password:
        raise ConfigError("llm.model: an address must not carry credentials; put the key into llm.api_key")
    path = parts.path.rstrip("/") or "/v1"
    return urlunsplit((parts.scheme, parts.netloc, path, "", "")), parts.fragment


def _sampling(sampling: Sampling) -> dict[str, Any]:
    """The part of `sampling` that every such endpoint knows."""
    chosen: dict[str, Any] = {"temperature": sampling.temperature, "seed": sampling.seed}
    if sampling.temperature > 0:
        chosen["top_p"] = sampling.top_p
    return chosen


def _response_format(grammar: Grammar) -> dict[str, Any]:
    if grammar.kind != "json_schema":
        raise ConfigError(f"an endpoint cannot enforce a {grammar.kind} grammar, only ask for a JSON schema")
    schema = json.loads(check(grammar).source)
    return {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": schema}}


def _tool(tool: ToolSpec) -> dict[str, Any]:
    fields = dataclasses.asdict(tool)
    return {"type": "function", "function": {key: fields[key] for key in ("name", "description", "parameters")}}


def _text_of(message: Mapping[str, Any]) -> str:
    """What the message says; calls of tools, each as the JSON a local model would write, one a line."""
    text = message.get("content")
    if text:
        return str(text)
    calls = [call["function"] for call in message.get("tool_calls") or ()]
    return "\n".join(f'{{"name": {json.dumps(call["name"])}, "arguments": {call["arguments"]}}}' for call in calls)


def _bounded(chunks: Iterator[bytes], model: RemoteModel) -> Iterator[bytes]:
    total = 0
    for chunk in chunks:
        total += len(chunk)
        if total > MAX_RESPONSE_BYTES:
            raise model._error(f"sends more than {MAX_RESPONSE_BYTES} bytes")
        yield chunk


def _lines(chunks: Iterator[bytes]) -> Iterator[bytes]:
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        yield from lines
    yield rest


def _shown(text: str | bytes) -> str:
    if isinstance(text, bytes):
        text = text[: 4 * _MAX_SHOWN].decode("utf-8", "replace")
    text = " ".join(text.split())
    return text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + "..."


def _whole(value: Any) -> int:
    return value if isinstance(value, int) and value > 0 else 0
