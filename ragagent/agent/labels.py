"""Where values come from: labels, their join, and the origin of each value in the arguments of a call.

A model's words may derive from everything that it was shown, so the label of what it writes is the join of all that
stands in its context. One thing is better than that: a value that the user's task holds word for word is the user's,
whoever repeats it.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from ragagent.agent.figures import NUMBER, readings
from ragagent.types import Label, Observation, Origin, Scalar, Step, ToolCall, ToolSpec

USER = Label(sources=("task",), readers=("user",))
OWN = Label(sources=("ragagent",), readers=("user",))
"""What this program says itself, such as that a call had wrong arguments."""

_MAX_DEPTH = 32
_MAX_LEAVES = 1000
_OPENING = r"""(?:^|(?<=[\s"'“”„‘’«»`(\[{<=:,;]))"""
_CLOSING = r"""(?=$|[\s"'“”„‘’«»`)\]}>,;]|[.:!?]+(?:$|[\s"'“”‘’»`)\]}>]))"""


def join(labels: Iterable[Label]) -> Label:
    """The label of what is made of values with these labels: as little trusted as the least, with all sources, and for
    those alone who may read each of them. The join of nothing is `Label()`.
    """
    return functools.reduce(_joined, labels, Label())


def _joined(one: Label, other: Label) -> Label:
    if one.readers is None or other.readers is None:
        readers = other.readers if one.readers is None else one.readers
    else:
        readers = tuple(sorted(set(one.readers) & set(other.readers)))
    sources = tuple(sorted({*one.sources, *other.sources}))
    return Label(trusted=one.trusted and other.trusted, sources=sources, readers=readers)


def flows(one: Label, other: Label) -> bool:
    """Whether a value of label `one` may become one of label `other`: nothing that holds of it is forgotten."""
    return _joined(one, other) == _joined(other, Label())


def context(steps: Sequence[Step]) -> Label:
    """The label of what a model writes that has been shown the task and these steps."""
    return join([USER, *(step.observation.label for step in steps if step.observation is not None)])


def of_result(
    spec: ToolSpec,
    call: ToolCall,
    arguments: Label,
    documents: Sequence[str] = (),
    bounded: str = "",
    known: Sequence[Label] | None = None,
) -> Label:
    """The label of what a tool gave: of its arguments where it does nothing but compute, else untrusted.

    A value of a `bounded` type is no more trusted for that: whoever wrote the text chose it. The label says what it is.
    What a tool has kept labels of is joined from these `known` ones.
    """
    if not spec.effects:
        return arguments
    if known is not None:
        return join([arguments, *known, Label(sources=(f"tool:{call.name}",), readers=("user",))])
    sources = [f"tool:{call.name}", *(f"document:{one}" for one in documents)]
    sources += [f"bounded:{bounded}"] if bounded else []
    found = Label(trusted=False, sources=tuple(sources), readers=("user",))
    return join([arguments, found])


def origins(
    call: ToolCall, spec: ToolSpec, task: str, steps: Sequence[Step], fixed: Collection[str] | None = None
) -> tuple[Origin, ...]:
    """Where each value of the arguments comes from, and each key that the schema does not name, in order.

    `fixed` are the arguments of a planned call that were fixed before anything was read: they derive from the task
    alone, and so does having none.
    """
    around = context(steps)
    seen = [step.observation for step in steps if step.observation is not None]
    properties = spec.parameters.get("properties", {})
    found = []
    for name, path, value in _values(call.arguments, properties):
        if _is_default(properties, path, value):
            found.append(Origin(path=path, value=value, label=OWN, why="the tool's own default"))
        elif in_task(value, task):
            found.append(Origin(path=path, value=value, label=USER, why="stands in the task"))
        elif fixed is not None and (name in fixed or not call.arguments):
            found.append(
                Origin(path=path, value=value, label=context(()), why="fixed by the plan, from the task alone")
            )
        else:
            found.append(Origin(path=path, value=value, label=around, why=_why(value, around, seen)))
    return tuple(found)


def _values(arguments: Mapping[str, Any], known: Collection[str]) -> Iterator[tuple[str, str, Scalar]]:
    """The argument, the path and the value of everything in `arguments`, as `leaves` finds it."""
    for name, part in [(name, {name: value}) for name, value in arguments.items()] or [("", {})]:
        yield from ((name, path, value) for path, value in leaves(part, known))


def argument_label(found: Iterable[Origin]) -> Label:
    """The label of all the values together."""
    return join(origin.label for origin in found)


def leaves(value: Any, known: Collection[str] = (), path: str = "", depth: int = 0) -> Iterator[tuple[str, Scalar]]:
    """The path and value of everything in `value` that is no list or object, and of keys that `known` does not name.

    What is nested deeper than 32, and the values after the first 1000 of a list or object, come as one text: nothing
    is passed over.
    """
    if depth > _MAX_DEPTH:
        yield path, str(value)
        return
    inside = list(value.items() if isinstance(value, Mapping) else enumerate(value) if _is_list(value) else ())
    if not inside:
        yield path, str(value) if isinstance(value, Mapping) or _is_list(value) else value
        return
    for key, item in inside[:_MAX_LEAVES]:
        place = f"{path}.{key}" if path else str(key)
        if isinstance(value, Mapping) and not (depth == 0 and key in known):
            yield f"{place} (key)", str(key)
        yield from leaves(item, (), place, depth + 1)
    if len(inside) > _MAX_LEAVES:
        yield f"{path} (rest)", str(inside[_MAX_LEAVES:])


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)


def _is_default(properties: Mapping[str, Any], path: str, value: Scalar) -> bool:
    """Whether the tool would take this value itself. Nothing at all (null) is a choice as any other where it would not:
    what is deleted where no limit is given is everything.
    """
    schema = properties.get(path)
    if not isinstance(schema, Mapping) or "default" not in schema:
        return False
    return bool(value == schema["default"]) and type(value) is type(schema["default"])


def in_task(value: Scalar, task: str) -> bool:
    """Whether the task holds `value` as a word or words of its own, or as a number that can be read in one way."""
    if isinstance(value, bool) or value is None:
        return False
    if isinstance(value, int | float):
        return any(_is_number(value, token) for token in NUMBER.findall(task))
    return bool(value.strip()) and bool(re.search(f"{_OPENING}{re.escape(value.strip())}{_CLOSING}", task))


def _is_number(value: int | float, token: str) -> bool:
    meant = readings(token)
    return str(value) == token or (len(meant) == 1 and meant[0] == Decimal(str(value)))


def _why(value: Scalar, around: Label, seen: Sequence[Observation]) -> str:
    """In words for a human: the results that hold the value, or else all that the model had read."""
    if around.trusted:
        return "written by the model, from the task alone"
    text = str(value)
    holding = dict.fromkeys(one.name for one in seen if len(text) > 2 and text in one.content and not one.label.trusted)
    if holding:
        return f"stands in the result of {', '.join(holding)}"
    read = dict.fromkeys(one.name for one in seen if not one.label.trusted and one.name)
    return f"written by the model after it had read the results of {', '.join(read)}"
