"""The bodies of the OpenAI-compatible routes, as far as they are understood; what is not known is passed over."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from ragagent.serve.http.shapes import AnswerOut

MOST_MESSAGES = 500
MOST_TOOLS = 64
MOST_INPUTS = 512
MOST_CHARACTERS = 400_000


class _Lenient(BaseModel):
    """Clients send fields that a later version of the protocol has; these are passed over."""

    model_config = ConfigDict(extra="ignore")


class TextPart(_Lenient):
    """A part of a message."""

    type: Literal["text"]
    text: Annotated[str, Field(max_length=MOST_CHARACTERS)]


class FunctionCall(_Lenient):
    """What is called, and with which arguments, as JSON text."""

    name: str = Field(max_length=200)
    arguments: str = Field(max_length=MOST_CHARACTERS)


class CallMade(_Lenient):
    """A call that the model asks for."""

    id: str = Field(max_length=200)
    type: Literal["function"] = "function"
    function: FunctionCall


class ChatMessage(_Lenient):
    """A message of a conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Annotated[str, Field(max_length=MOST_CHARACTERS)] | list[TextPart] | None = None
    name: str | None = Field(default=None, max_length=200)
    tool_calls: list[CallMade] | None = Field(default=None, max_length=MOST_TOOLS)
    tool_call_id: str | None = Field(default=None, max_length=200)

    @property
    def text(self) -> str:
        """The content as one text."""
        if self.content is None:
            return ""
        return self.content if isinstance(self.content, str) else "\n".join(part.text for part in self.content)


class FunctionSpec(_Lenient):
    """A function that the model may call."""

    name: str = Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_.-]+$")
    description: str | None = Field(default=None, max_length=10_000)
    parameters: dict[str, JsonValue] | None = None


class ToolOffered(_Lenient):
    """A tool."""

    type: Literal["function"]
    function: FunctionSpec


class NamedFunction(_Lenient):
    """The name of a function."""

    name: str = Field(max_length=64)


class NamedTool(_Lenient):
    """The tool that is to be called."""

    type: Literal["function"]
    function: NamedFunction


class JsonSchema(_Lenient):
    """The schema that the answer has to keep."""

    name: str = Field(default="answer", max_length=200)
    schema_: dict[str, JsonValue] = Field(default_factory=dict, alias="schema")


class ResponseFormat(_Lenient):
    """What form the answer has."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


class StreamOptions(_Lenient):
    """How it is streamed."""

    include_usage: bool = False


class ChatRequest(_Lenient):
    """A chat completion. With the model `ragagent` the last user message is a question to the documents."""

    model: str = Field(min_length=1, max_length=500)
    messages: list[ChatMessage] = Field(min_length=1, max_length=MOST_MESSAGES)
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    tools: list[ToolOffered] | None = Field(default=None, max_length=MOST_TOOLS)
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = None
    response_format: ResponseFormat | None = None
    temperature: float | None = Field(default=None, ge=0, le=2, allow_inf_nan=False)
    top_p: float | None = Field(default=None, gt=0, le=1, allow_inf_nan=False)
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**63)
    max_tokens: int | None = Field(default=None, ge=1, le=1_000_000)
    max_completion_tokens: int | None = Field(default=None, ge=1, le=1_000_000)
    stop: Annotated[str, Field(max_length=200)] | list[Annotated[str, Field(max_length=200)]] | None = None
    n: int | None = Field(default=None, ge=1, le=1, description="one answer at a time")
    frequency_penalty: float | None = Field(default=None, ge=0, le=0, description="not supported")
    presence_penalty: float | None = Field(default=None, ge=0, le=0, description="not supported")
    logprobs: Literal[False] | None = Field(default=None, description="not supported")


class ChatUsage(BaseModel):
    """Tokens read and written."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class ReplyMessage(BaseModel):
    """What the assistant says."""

    role: Literal["assistant"] = "assistant"
    content: str | None
    tool_calls: list[CallMade] | None = None
    refusal: str | None = None


class Choice(BaseModel):
    """The one answer."""

    index: int = 0
    message: ReplyMessage
    finish_reason: Literal["stop", "length", "tool_calls"]
    logprobs: None = None


class ChatCompletion(BaseModel):
    """A chat completion. `ragagent` is the answer with its citations, where it is one from the documents."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: ChatUsage
    ragagent: AnswerOut | None = None


class EmbeddingRequest(_Lenient):
    """Texts to embed."""

    model: str = Field(min_length=1, max_length=500)
    input: (
        Annotated[str, Field(min_length=1, max_length=MOST_CHARACTERS)]
        | Annotated[
            list[Annotated[str, Field(min_length=1, max_length=MOST_CHARACTERS)]],
            Field(min_length=1, max_length=MOST_INPUTS),
        ]
    ) = Field(description="texts; token ids of another model's tokenizer cannot be read")
    encoding_format: Literal["float", "base64"] | None = "float"
    dimensions: int | None = Field(default=None, ge=1)
    input_type: Literal["document", "query"] = Field(
        default="document", description="for models that embed questions otherwise; an extension"
    )


class EmbeddingRow(BaseModel):
    """The vector of one text: numbers, or the base64 of little-endian float32."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class EmbeddingUsage(BaseModel):
    """Tokens read."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingList(BaseModel):
    """The vectors, in the order of the texts."""

    object: Literal["list"] = "list"
    data: list[EmbeddingRow]
    model: str
    usage: EmbeddingUsage


class ModelCard(BaseModel):
    """A model that can be asked for."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "ragagent"


class ModelCards(BaseModel):
    """The models that can be asked for."""

    object: Literal["list"] = "list"
    data: list[ModelCard]
