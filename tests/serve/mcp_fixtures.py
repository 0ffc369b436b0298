"""What the conformance suite wants to find on a server beside its own tools: the names and answers are the suite's."""

import base64
import json
from typing import Any

import anyio
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.prompts.base import Message, UserMessage
from mcp.shared.exceptions import MCPError
from mcp.types import (
    MISSING_REQUIRED_CLIENT_CAPABILITY,
    AudioContent,
    ClientCapabilities,
    CreateMessageRequest,
    CreateMessageRequestParams,
    ElicitationCapability,
    ElicitRequest,
    ElicitRequestFormParams,
    EmbeddedResource,
    EmptyResult,
    ImageContent,
    InputRequiredResult,
    ListRootsRequest,
    MissingRequiredClientCapabilityErrorData,
    SamplingCapability,
    SamplingMessage,
    SetLevelRequestParams,
    SubscribeRequestParams,
    TextContent,
    TextResourceContents,
    UnsubscribeRequestParams,
)
from pydantic import BaseModel, Field

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg=="
WAV = "UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAAB9AAACABAAZGF0YQIAAAA="
Ctx = Context[Any, Any]
FOR = "For the conformance suite."


def embedded(uri: str, text: str, media_type: str = "text/plain") -> EmbeddedResource:
    contents = TextResourceContents(uri=uri, mime_type=media_type, text=text)
    return EmbeddedResource(type="resource", resource=contents)


def mount(server: MCPServer[Any]) -> None:
    """Gives `server` all of it."""
    add_contents(server)
    add_questions(server)
    add_input_required(server)
    add_resources_and_prompts(server)
    add_handshake_era(server)


def add_contents(server: MCPServer[Any]) -> None:
    image = ImageContent(type="image", data=PNG, mime_type="image/png")

    @server.tool(description=FOR)
    def test_simple_text() -> str:
        return "This is a simple text response for testing."

    @server.tool(description=FOR)
    def test_image_content() -> list[ImageContent]:
        return [image]

    @server.tool(description=FOR)
    def test_audio_content() -> list[AudioContent]:
        return [AudioContent(type="audio", data=WAV, mime_type="audio/wav")]

    @server.tool(description=FOR)
    def test_embedded_resource() -> list[EmbeddedResource]:
        return [embedded("test://embedded-resource", "This is an embedded resource content.")]

    @server.tool(description=FOR)
    def test_multiple_content_types() -> list[TextContent | ImageContent | EmbeddedResource]:
        text = TextContent(type="text", text="Multiple content types test:")
        return [text, image, embedded("test://mixed-content-resource", '{"test": "data"}', "application/json")]

    @server.tool(description=FOR)
    def test_error_handling() -> str:
        raise RuntimeError("This tool intentionally returns an error for testing")

    @server.tool(description=FOR)
    async def test_tool_with_logging(ctx: Ctx) -> str:
        for text in ("started", "processing data", "completed"):
            await _log(ctx, f"Tool {text}")
            await anyio.sleep(0.05)
        return "done"

    @server.tool(description=FOR)
    async def test_tool_with_progress(ctx: Ctx) -> str:
        for done in (0, 50, 100):
            await ctx.report_progress(done, 100, f"Completed step {done} of 100")
            await anyio.sleep(0.05)
        return "done"


async def _log(ctx: Ctx, text: str) -> None:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        await ctx.log("info", text)


class Response(BaseModel):
    username: str = Field(description="User's name")
    email: str = Field(description="User's address")


class Defaults(BaseModel):
    name: str = Field(default="John Doe", description="User name")
    age: int = Field(default=30, description="User age")
    score: float = Field(default=95.5, description="User score")
    status: str = Field(default="active", json_schema_extra={"enum": ["active", "inactive", "pending"]})
    verified: bool = Field(default=True, description="Verification status")


def titled(**titles: str) -> list[dict[str, str]]:
    return [{"const": name, "title": title} for name, title in titles.items()]


class Enums(BaseModel):
    untitledSingle: str = Field(json_schema_extra={"enum": ["option1", "option2", "option3"]})
    titledSingle: str = Field(json_schema_extra={"oneOf": titled(value1="First", value2="Second", value3="Third")})  # type: ignore[dict-item]
    untitledMulti: list[str] = Field(json_schema_extra={"items": {"type": "string", "enum": ["option1", "option2"]}})
    titledMulti: list[str] = Field(json_schema_extra={"items": {"anyOf": titled(value1="First", value2="Second")}})  # type: ignore[dict-item]
    legacyEnum: str = Field(json_schema_extra={"enum": ["opt1", "opt2"], "enumNames": ["Option One", "Option Two"]})


def add_questions(server: MCPServer[Any]) -> None:
    """Questions to the client in the middle of a call, as the handshake era has them."""

    async def elicited(ctx: Ctx, message: str, schema: type[BaseModel]) -> str:
        found = await ctx.elicit(message, schema)
        content = found.data.model_dump_json() if found.action == "accept" else "{}"
        return f"action={found.action}, content={content}"

    @server.tool(description=FOR)
    async def test_sampling(prompt: str, ctx: Ctx) -> str:
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            asked = SamplingMessage(role="user", content=TextContent(type="text", text=prompt))
            found = await ctx.session.create_message(
                messages=[asked], max_tokens=100, related_request_id=ctx.request_id
            )
        return f"LLM response: {getattr(found.content, 'text', '')}"

    @server.tool(description=FOR)
    async def test_elicitation(message: str, ctx: Ctx) -> str:
        return await elicited(ctx, message, Response)

    @server.tool(description=FOR)
    async def test_elicitation_sep1034_defaults(ctx: Ctx) -> str:
        return await elicited(ctx, "Please provide user information", Defaults)

    @server.tool(description=FOR)
    async def test_elicitation_sep1330_enums(ctx: Ctx) -> str:
        return await elicited(ctx, "Please select values", Enums)

    @server.tool(description=FOR)
    async def test_reconnection(ctx: Ctx) -> str:
        await ctx.close_sse_stream()
        await anyio.sleep(0.2)
        return "Reconnection test completed"

    @server.tool(description=FOR)
    async def test_missing_capability(ctx: Ctx) -> str:
        capabilities = ctx.client_capabilities
        if capabilities is None or capabilities.sampling is None:
            needed = MissingRequiredClientCapabilityErrorData(
                required_capabilities=ClientCapabilities(sampling=SamplingCapability())
            )
            raise MCPError(
                code=MISSING_REQUIRED_CLIENT_CAPABILITY,
                message="sampling is needed",
                data=needed.model_dump(by_alias=True, mode="json", exclude_none=True),
            )
        return "done"

    @server.tool(description=FOR)
    async def test_logging_tool(ctx: Ctx) -> str:
        await _log(ctx, "logged")
        return "done"

    @server.tool(description=FOR)
    async def test_streaming_elicitation(ctx: Ctx) -> InputRequiredResult | str:
        return "done" if ctx.input_responses else InputRequiredResult(input_requests={"confirm": form("ok", "boolean")})

    @server.tool(description=FOR)
    async def test_trigger_tool_change(ctx: Ctx) -> str:
        await ctx.notify_tools_changed()
        return "done"

    @server.tool(description=FOR)
    async def test_trigger_prompt_change(ctx: Ctx) -> str:
        await ctx.notify_prompts_changed()
        return "done"


def form(name: str, kind: str = "string", message: str = "Please tell") -> ElicitRequest:
    schema = {"type": "object", "properties": {name: {"type": kind}}, "required": [name]}
    return ElicitRequest(params=ElicitRequestFormParams(message=message, requested_schema=schema))


def sample(text: str) -> CreateMessageRequest:
    message = SamplingMessage(role="user", content=TextContent(type="text", text=text))
    return CreateMessageRequest(params=CreateMessageRequestParams(messages=[message], max_tokens=100))


def answered(ctx: Ctx, *names: str) -> bool:
    given = ctx.input_responses or {}
    return all(name in given for name in names)


def said(ctx: Ctx) -> str:
    return json.dumps(
        {name: one.model_dump(mode="json", by_alias=True) for name, one in (ctx.input_responses or {}).items()}
    )


def add_input_required(server: MCPServer[Any]) -> None:
    """Questions that end the call until it is made again with the answers, as 2026-07-28 has them."""

    def asking(name: str, state: str | None, **requests: Any) -> None:
        async def tool(ctx: Ctx) -> InputRequiredResult | str:
            if answered(ctx, *requests) and ctx.request_state == state:
                return f"state-ok {said(ctx)}"
            return InputRequiredResult(input_requests=requests, request_state=state)

        server.add_tool(tool, name=f"test_input_required_result_{name}", description=FOR)

    asking("elicitation", None, user_name=form("name", message="What is your name?"))
    asking("sampling", None, capital_question=sample("What is the capital of France?"))
    asking("list_roots", None, client_roots=ListRootsRequest())
    asking("request_state", "state", confirm=form("ok", "boolean"))
    asking("tampered_state", "state", confirm=form("ok", "boolean"))
    asking(
        "multiple_inputs", "state", user_name=form("name"), greeting=sample("Hello"), client_roots=ListRootsRequest()
    )

    @server.tool(description=FOR)
    async def test_input_required_result_multi_round(ctx: Ctx) -> InputRequiredResult | str:
        if answered(ctx, "step2") and ctx.request_state == "2":
            return "done"
        if answered(ctx, "step1") and ctx.request_state == "1":
            return InputRequiredResult(input_requests={"step2": form("color")}, request_state="2")
        return InputRequiredResult(input_requests={"step1": form("name")}, request_state="1")

    @server.tool(description=FOR)
    async def test_input_required_result_capabilities(ctx: Ctx) -> InputRequiredResult | str:
        found = ctx.client_capabilities or ClientCapabilities()
        requests: dict[str, Any] = {}
        if isinstance(found.elicitation, ElicitationCapability):
            requests["name"] = form("name")
        if found.sampling is not None:
            requests["greeting"] = sample("Hello")
        if found.roots is not None:
            requests["client_roots"] = ListRootsRequest()
        return InputRequiredResult(input_requests=requests) if requests and not ctx.input_responses else "done"

    @server.prompt(description=FOR)
    async def test_input_required_result_prompt(ctx: Ctx) -> Any:
        if answered(ctx, "user_context"):
            return f"Context: {said(ctx)}"
        return InputRequiredResult(input_requests={"user_context": form("context")})


def add_resources_and_prompts(server: MCPServer[Any]) -> None:
    @server.resource("test://static-text", mime_type="text/plain")
    def static_text() -> str:
        return "This is the content of the static text resource."

    @server.resource("test://static-binary", mime_type="image/png")
    def static_binary() -> bytes:
        return base64.b64decode(PNG)

    @server.resource("test://watched-resource")
    def watched() -> str:
        return "Watched resource content"

    @server.resource("test://template/{id}/data", mime_type="application/json")
    def template(id: str) -> str:
        return json.dumps({"id": id, "templateTest": True, "data": f"Data for ID: {id}"})

    @server.prompt(description=FOR)
    def test_simple_prompt() -> str:
        return "This is a simple prompt for testing."

    @server.prompt(description=FOR)
    def test_prompt_with_arguments(arg1: str, arg2: str) -> str:
        return f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"

    @server.prompt(description=FOR)
    def test_prompt_with_embedded_resource(resourceUri: str) -> list[Message]:
        return [UserMessage(embedded(resourceUri, "Embedded resource content for testing.")), UserMessage("Read it.")]

    @server.prompt(description=FOR)
    def test_prompt_with_image() -> list[Message]:
        return [UserMessage(ImageContent(type="image", data=PNG, mime_type="image/png")), UserMessage("Look at it.")]


def add_handshake_era(server: MCPServer[Any]) -> None:
    """Requests that 2026-07-28 has no more, and that only the low level of the SDK can answer."""

    async def nothing(ctx: Any, params: Any) -> EmptyResult:
        return EmptyResult()

    low = server._lowlevel_server
    low.add_request_handler("logging/setLevel", SetLevelRequestParams, nothing)
    low.add_request_handler("resources/subscribe", SubscribeRequestParams, nothing)
    low.add_request_handler("resources/unsubscribe", UnsubscribeRequestParams, nothing)
