"""What goes wrong, as a status and a body that both kinds of clients read.

Every error has the one body `{"error": {"message", "type", "code", "param"}}`, which is OpenAI's as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import HTTPException
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse

from ragagent import errors

_MOST_SHOWN = 1000


class ErrorDetail(BaseModel):
    """What went wrong, to which value, and what to do."""

    message: str
    type: str = Field(description="the kind of error, such as invalid_request_error or ConfigError")
    code: str = Field(description="a word for programs")
    param: str | None = Field(default=None, description="the field that is wrong, where it is one")


class ErrorBody(BaseModel):
    """The body of every answer that is an error."""

    error: ErrorDetail


class Refusal(HTTPException):
    """A request that is answered with an error."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        retry_after_s: float | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status, message)
        self.status = status
        self.code = code
        self.message = message
        self.param = param
        self.sent = dict(headers or {})
        if retry_after_s is not None:
            self.sent["Retry-After"] = str(max(1, round(retry_after_s)))

    @property
    def body(self) -> ErrorDetail:
        """What is said of it."""
        kind = "server_error" if self.status >= 500 else _TYPES.get(self.status, "invalid_request_error")
        return ErrorDetail(message=self.message[:_MOST_SHOWN], type=kind, code=self.code, param=self.param)

    def response(self) -> JSONResponse:
        """The answer as a whole."""
        return JSONResponse(ErrorBody(error=self.body).model_dump(), self.status, self.sent)


_TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}

# The first that fits. Those of the machine (no room, a model that died) are 503: nothing is wrong with the request.
_STATUS: tuple[tuple[type[errors.RagAgentError], int, str], ...] = (
    (errors.AccessDenied, 403, "access_denied"),
    (errors.ConfigError, 400, "invalid_value"),
    (errors.MissingExtra, 400, "missing_extra"),
    (errors.TooLarge, 413, "too_large"),
    (errors.UnsupportedFormat, 415, "unsupported_format"),
    (errors.ReadError, 409, "unreadable"),
    (errors.ConnectorError, 409, "out_of_reach"),
    (errors.Locked, 503, "locked"),
    (errors.StorageFull, 503, "storage_full"),
    (errors.IndexStateError, 409, "index_state"),
    (errors.ContextOverflow, 400, "context_length_exceeded"),
    (errors.ModelNotFound, 503, "model_missing"),
    (errors.ModelLoadError, 503, "model_not_loaded"),
    (errors.ModelCrashed, 503, "model_crashed"),
    (errors.ModelError, 424, "model_error"),
    (errors.AgentError, 409, "agent_state"),
    (errors.ToolError, 400, "tool_error"),
)


def refusal_of(error: errors.RagAgentError) -> Refusal:
    """An error that was raised on purpose, as an answer; its words are kept."""
    for kind, status, code in _STATUS:
        if isinstance(error, kind):
            return Refusal(status, code, str(error), retry_after_s=5 if status == 503 else None)
    return Refusal(400, "refused", str(error))


STATUSES: Mapping[int, str] = {
    400: "A value cannot be used.",
    401: "A token is needed, or this one is not valid.",
    403: "The token does not allow this, or the request comes from another site.",
    404: "There is no such thing, or it may not be seen.",
    405: "The path does not take this method.",
    408: "The body came too slowly.",
    409: "It does not fit the state that things are in.",
    413: "The body is too large.",
    415: "The format is not one that can be read here.",
    422: "The body or a parameter does not fit its schema.",
    424: "The language model or its endpoint refused.",
    429: "Too many requests of this client; Retry-After says when to come again.",
    503: "Busy, closing, or a model or disk is not to be had; Retry-After says when to come again.",
}

RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorBody, "description": words} for status, words in STATUSES.items()
}
"""The errors of every route, for the OpenAPI document."""
