"""Grammars: built, checked before a model sees them, and what was written under them checked again.

Both kinds are enforced by llguidance. The Lark dialect is described in its documentation; a substring of a given
text, for example, is `%regex { "substring_chars": "..." }`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ragagent.errors import ConfigError, ModelError
from ragagent.types import Completion, Grammar

MAX_GRAMMAR_CHARS = 256 * 1024

# One way to write each value: a model that may add white space can go on adding it for ever.
_JSON_LAYOUT = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}


def json_schema(schema: Mapping[str, Any]) -> Grammar:
    """The grammar of the JSON texts that `schema` accepts. Raises ConfigError when it cannot be enforced."""
    try:
        source = json.dumps(schema, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError(f"the JSON schema is not plain JSON: {error}") from error
    return check(Grammar(kind="json_schema", source=source))


def lark(source: str) -> Grammar:
    """The grammar written in llguidance's Lark dialect. Raises ConfigError with the place of the fault."""
    return check(Grammar(kind="lark", source=source))


def check(grammar: Grammar) -> Grammar:
    """`grammar` itself. Raises ConfigError, naming the fault, when it is invalid, too large or not enforceable.

    Costs 1 ms for a small grammar, 10 ms for a substring of 8,000 characters.
    """
    import llguidance

    if len(grammar.source) > MAX_GRAMMAR_CHARS:
        raise ConfigError(
            f"the grammar has {len(grammar.source)} characters, the limit is {MAX_GRAMMAR_CHARS}: "
            "give it less text or fewer alternatives"
        )
    fault, messages = llguidance.LLMatcher.validate_grammar_with_warnings(compiled(grammar))
    if fault:
        raise ConfigError(f"the {grammar.kind} grammar is not usable: {_fault(messages[0])}")
    return grammar


def compiled(grammar: Grammar) -> str:
    """`grammar` in the form llguidance reads. Raises ConfigError when a JSON schema is not a JSON object."""
    import llguidance

    if grammar.kind == "lark":
        return str(llguidance.LLMatcher.grammar_from_lark(grammar.source))
    try:
        return str(llguidance.LLMatcher.grammar_from_json_schema(grammar.source, defaults=_JSON_LAYOUT))
    except ValueError as error:
        raise ConfigError(f"the JSON schema is not a JSON object: {error}") from error


def parse(completion: Completion, schema: Mapping[str, Any]) -> Any:
    """The JSON value that a model wrote. Raises ModelError when it is cut off, no JSON, or against the schema."""
    text = completion.text
    if completion.finish == "length":
        raise ModelError(f"the JSON was cut off by the token limit after {_shown(text)}: raise max_tokens")
    if completion.finish == "cancelled":
        raise ModelError(f"the JSON was cancelled after {_shown(text)}")
    try:
        value = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"the model wrote no valid JSON ({error}): {_shown(text)}") from error
    return validated(value, schema)


def validated(value: Any, schema: Mapping[str, Any]) -> Any:
    """`value` itself. Raises ModelError, naming the place, when `schema` does not accept it."""
    import jsonschema
    import referencing

    # With a registry of its own the validator cannot fetch what a schema refers to.
    validator = jsonschema.Draft202012Validator(schema, registry=referencing.Registry())
    try:
        fault = jsonschema.exceptions.best_match(validator.iter_errors(value))
    except (jsonschema.exceptions.SchemaError, referencing.exceptions.Unresolvable, RecursionError) as error:
        raise ModelError(f"the JSON schema cannot be applied: {error}") from error
    if fault is not None:
        raise ModelError(f"the model's JSON does not fit the schema at {fault.json_path}: {fault.message[:300]}")
    return value


def accepts(value: Any, schema: Mapping[str, Any]) -> bool:
    """Whether `schema` accepts `value`."""
    try:
        validated(value, schema)
    except ModelError:
        return False
    return True


def _fault(message: str) -> str:
    return message.strip()[:600]


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _shown(text: str) -> str:
    return repr(text if len(text) <= 120 else "..." + text[-117:])
