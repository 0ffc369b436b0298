"""Any typed Python function as a tool.

@tool
def exchange_rate(currency: str, day: date) -> float:
    \"\"\"The rate of one euro.

    Args:
        currency: three-letter code, such as USD
        day: the day of the rate
    \"\"\"
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import inspect
import json
import typing
from collections.abc import Callable, Collection, Coroutine, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, NotRequired, Protocol, overload, runtime_checkable

import pydantic
from typing_extensions import TypedDict

from ragagent.errors import ConfigError, ToolError
from ragagent.protocols import Tool
from ragagent.tools.docstring import describe
from ragagent.tools.schema import plain
from ragagent.types import EFFECTS, Effect, ToolSpec

_MAX_DESCRIPTION_CHARS = 1000
_ANYTHING: pydantic.TypeAdapter[Any] = pydantic.TypeAdapter(Any)


@runtime_checkable
class NeedsSecrets(Protocol):
    """A tool that has to be given secrets before it is called: those that its `spec.secrets` names, and no others."""

    @property
    def spec(self) -> ToolSpec: ...

    def call(self, arguments: Mapping[str, Any]) -> str: ...

    def with_secrets(self, values: Mapping[str, str]) -> Tool: ...


class FunctionTool:
    """A function that an agent can call by name, and that Python can call as before."""

    def __init__(
        self,
        function: Callable[..., Any],
        spec: ToolSpec,
        arguments: pydantic.TypeAdapter[Any],
        secrets: Mapping[str, str] | None = None,
    ) -> None:
        self._function = function
        self._spec = spec
        self._arguments = arguments
        self._secrets = dict(secrets or {})
        functools.update_wrapper(self, function)

    @property
    def spec(self) -> ToolSpec:
        return self._spec

    def with_secrets(self, values: Mapping[str, str]) -> FunctionTool:
        """The same tool with the values of the parameters that it declares as secrets."""
        return FunctionTool(self._function, self._spec, self._arguments, values)

    def call(self, arguments: Mapping[str, Any]) -> str:
        """The function's result as text: a string as it is, anything else as JSON.

        A coroutine function is run to its end. Raises ToolError when `arguments` do not fit the signature;
        whatever the function raises passes through.
        """
        try:
            values = self._arguments.validate_json(json.dumps(dict(arguments)))
        except pydantic.ValidationError as error:
            raise ToolError(_readable(self._spec.name, error)) from None
        return _as_text(_finished(self._function(**values, **self._secrets)))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._function(*args, **kwargs)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rights:
    """What a tool declares of itself beside its signature."""

    effects: tuple[Effect, ...]
    accepts: tuple[str, ...]
    secrets: tuple[str, ...]
    idempotent: bool
    max_calls: int | None


@overload
def tool(function: Callable[..., Any], /) -> FunctionTool: ...
@overload
def tool(
    *,
    name: str | None = None,
    description: str | None = None,
    effects: Collection[Effect] | None = None,
    accepts: Collection[str] = (),
    secrets: Collection[str] = (),
    idempotent: bool = False,
    max_calls: int | None = None,
) -> Callable[[Callable[..., Any]], FunctionTool]: ...


def tool(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    effects: Collection[Effect] | None = None,
    accepts: Collection[str] = (),
    secrets: Collection[str] = (),
    idempotent: bool = False,
    max_calls: int | None = None,
) -> FunctionTool | Callable[[Callable[..., Any]], FunctionTool]:
    """Makes a tool of a typed function; works bare and with arguments.

    The schema comes from the type hints (anything pydantic knows, `Annotated[..., Field(...)]` bounds included),
    descriptions from the docstring. Raises ConfigError for a parameter without a type hint, for `*args`, `**kwargs`
    and positional-only parameters, and for a type that has no JSON schema.

    `effects` is what a call may do: any of "read", "write", "network", "execute" and "money", or () for a function
    that only computes. A tool that does not say is taken to do everything, and needs an approval wherever untrusted
    data may have had a hand in the call. `accepts` names parameters that may hold untrusted data all the same.
    `secrets` names parameters that the model does not see and the agent fills in. An `idempotent` call is made again
    after a crash without asking. `max_calls` is how often one run may call it.
    """

    def make(chosen: Callable[..., Any]) -> FunctionTool:
        rights = _Rights(
            effects=_effects(name or chosen.__name__, effects),
            accepts=tuple(sorted(accepts)),
            secrets=tuple(sorted(secrets)),
            idempotent=idempotent,
            max_calls=max_calls,
        )
        return _make(chosen, name or chosen.__name__, description, rights)

    return make if function is None else make(function)


def _effects(name: str, declared: Collection[Effect] | None) -> tuple[Effect, ...]:
    if declared is None:
        return EFFECTS
    chosen = {declared} if isinstance(declared, str) else set(declared)
    if strange := chosen - set(EFFECTS):
        raise ConfigError(f"tool {name!r}: effects are of {', '.join(EFFECTS)}; not {sorted(map(str, strange))[0]!r}")
    return tuple(effect for effect in EFFECTS if effect in chosen)


def _make(function: Callable[..., Any], name: str, description: str | None, rights: _Rights) -> FunctionTool:
    if not name.isidentifier():
        raise ConfigError(f"{name!r} cannot name a tool: use letters, digits and underscores")
    described = describe(function.__doc__)
    text = (description or described.text or name.replace("_", " "))[:_MAX_DESCRIPTION_CHARS]
    _check_names(function, name, (*rights.accepts, *rights.secrets))
    try:
        arguments = _argument_adapter(function, name, described.parameters, rights.secrets)
        schema = plain(arguments.json_schema())
    except (pydantic.errors.PydanticUserError, pydantic.errors.PydanticUndefinedAnnotation) as error:
        raise ConfigError(f"tool {name!r}: a parameter's type has no JSON schema: {error}") from error
    _add_defaults(function, schema)
    spec = ToolSpec(
        name=name,
        description=text,
        parameters=schema,
        effects=rights.effects,
        accepts=rights.accepts,
        secrets=rights.secrets,
        idempotent=rights.idempotent,
        max_calls=rights.max_calls,
    )
    return FunctionTool(function, spec, arguments)


def _check_names(function: Callable[..., Any], name: str, declared: Collection[str]) -> None:
    unknown = [one for one in declared if one not in inspect.signature(function).parameters]
    if unknown:
        raise ConfigError(f"tool {name!r}: it has no parameter {unknown[0]!r} to accept untrusted data or a secret in")


def _argument_adapter(
    function: Callable[..., Any], name: str, descriptions: Mapping[str, str], secrets: Collection[str]
) -> pydantic.TypeAdapter[Any]:
    """Validates the arguments by name; those left out stay out, so that the function's own defaults apply."""
    hints = _hints(function, name)
    fields: dict[str, Any] = {}
    for parameter in inspect.signature(function).parameters.values():
        if parameter.name in secrets:
            continue
        hint = _hint(parameter, hints, name)
        if descriptions.get(parameter.name):
            hint = Annotated[hint, pydantic.Field(description=descriptions[parameter.name])]
        fields[parameter.name] = hint if parameter.default is parameter.empty else NotRequired[hint]
    shape: Any = TypedDict(f"{name}_arguments", fields)  # type: ignore[misc]  # its fields are known at run time only
    return pydantic.TypeAdapter(pydantic.with_config(pydantic.ConfigDict(extra="forbid"))(shape))


def _hints(function: Callable[..., Any], name: str) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function, include_extras=True)
    except NameError as error:
        raise ConfigError(f"tool {name!r}: its type hints cannot be resolved: {error}") from error


def _hint(parameter: inspect.Parameter, hints: Mapping[str, Any], name: str) -> Any:
    if parameter.kind not in {parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY}:
        raise ConfigError(f"tool {name!r}: {parameter} cannot be passed by name; use ordinary parameters")
    if parameter.name not in hints:
        raise ConfigError(f"tool {name!r}: parameter {parameter.name!r} has no type hint")
    return hints[parameter.name]


def _add_defaults(function: Callable[..., Any], schema: dict[str, Any]) -> None:
    for parameter in inspect.signature(function).parameters.values():
        if parameter.name in schema["properties"] and isinstance(parameter.default, str | int | float | bool | None):
            schema["properties"][parameter.name]["default"] = parameter.default


def _readable(name: str, error: pydantic.ValidationError) -> str:
    problems = (f"{'.'.join(map(str, item['loc'])) or 'arguments'}: {item['msg']}" for item in error.errors()[:5])
    return f"{name} was called with wrong arguments: {'; '.join(problems)}"


def _finished(result: Any) -> Any:
    """`result`, or what it yields when awaited, from inside a running event loop too."""
    if not inspect.isawaitable(result):
        return result
    awaitable = _awaited(result)
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(awaitable)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, awaitable).result()


def _awaited(result: Any) -> Coroutine[Any, Any, Any]:
    async def wait() -> Any:
        return await result

    return wait()


def _as_text(result: Any) -> str:
    if isinstance(result, str):
        return result
    return "(no result)" if result is None else _ANYTHING.dump_json(result).decode()
