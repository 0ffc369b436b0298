"""What a call may do: deterministic rules over its effects, where its arguments come from, and what the task asks for.

The rules, the first that fits:

1. A tool that does nothing, or only reads, may be called.
2. Under `read_only` nothing else may.
3. Under `always_ask`, and wherever money is moved, a human is asked.
4. Where nothing untrusted had been read when the call was decided on, it is the user's wish and nobody else's: it may
   be made. Of a planned call the same must hold of each value, but for those in parameters that take untrusted data.
5. Where each argument stands in the task word for word, and the task names what the tool does, it may be made. Not so
   for code to be run, for a call without arguments, for a task that says what is *not* to be done, and where a call
   with these values was made before: a document must not say how often.
6. Everything else is what `untrusted` says: a human is asked, it is denied, or (at the user's own risk) allowed.

Nothing here sees a word that the model wrote but the arguments of the call.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from ragagent.agent.labels import OWN, context, leaves
from ragagent.jsonable import canonical
from ragagent.types import Label, Origin, Scalar, Step, ToolCall, ToolSpec

Kind = Literal["allow", "ask", "deny"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The user's choice. The default asks before each consequential call that untrusted data has touched."""

    untrusted: Kind = "ask"
    always_ask: bool = False
    read_only: bool = False
    approval_seconds: float = 24 * 3600.0
    """How long an approval that was asked for stays open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the policy says of a call, in a word and in a sentence."""

    kind: Kind
    reason: str


# The words by which tools say what they do; a tool that uses none of them is not asked for by any task.
_ACTIONS = frozenset(
    re.findall(
        r"\w+",
        """accept add apply append approve assign block book buy call cancel change clear close commit
        confirm control copy create decline delete deploy deposit disable download edit enable execute
        export forward follow grant import insert install invite join leave like lock make merge modify
        move open order organize pay place play post print publish push put register reject release
        remember remind remove rename replace reply request rerun reserve reset restart retweet revoke
        run save schedule send set setup share sign start stop store submit subscribe sync trade
        transfer turn unblock unfollow unlike unlock unsubscribe update upload withdraw write""",
    )
)
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_ANY_WORD = re.compile(r"[^\W\d_]+")
_NOT = re.compile(
    r"n[o']t\b|\bno\b|n’t\b|\b(?:never|none|neither|nor|without|except|avoid|instead|cannot|nicht|nie|niemals|kein\w*|"
    r"ohne|statt|außer|pas|sans|jamais|sin|nunca|non|senza|mai)\b",
    re.IGNORECASE,
)
_ENDINGS = ("ing", "ed", "es", "s", "e")


def consequential(spec: ToolSpec) -> bool:
    """Whether calling the tool does more than read."""
    return bool(set(spec.effects) - {"read"})


def judge(
    call: ToolCall,
    spec: ToolSpec,
    *,
    task: str,
    around: Label,
    found: Sequence[Origin],
    policy: Policy,
    made: Sequence[ToolCall] = (),
) -> Verdict:
    """The verdict on one call. `around` is the label of the context it was decided on in, `found` where its values come
    from (`ragagent.agent.labels.origins`): in a run without a plan these are never less trusted. `made` are the calls
    that the run has made.
    """
    if not consequential(spec):
        return Verdict(kind="allow", reason="it only reads")
    if policy.read_only:
        return Verdict(kind="deny", reason=f"{call.name} can {_effects(spec)}, and this run may only read")
    if policy.always_ask:
        return Verdict(kind="ask", reason=f"it can {_effects(spec)}, and every such call is to be asked about")
    if "money" in spec.effects:
        return _touched(policy, f"it can {_effects(spec)}")
    strange = [origin for origin in found if not origin.label.trusted and not _accepted(origin, spec)]
    if strange:
        return _touched(policy, f"it can {_effects(spec)}, and {_named(strange)} not stand in the task")
    if around.trusted:
        return Verdict(kind="allow", reason="nothing untrusted had been read when it was decided on")
    if not wished(spec, task) or not any(origin.label.trusted for origin in found):
        return _touched(policy, f"it can {_effects(spec)}, and the task does not plainly ask for that")
    if _repeats(call, found, made):
        return _touched(policy, f"it can {_effects(spec)}, and what the task asks for was done before")
    return Verdict(kind="allow", reason="the task asks for it, in these words")


def _touched(policy: Policy, reason: str) -> Verdict:
    if policy.untrusted == "deny":
        return Verdict(kind="deny", reason=f"{reason}; what has been read must not decide that")
    return Verdict(kind=policy.untrusted, reason=reason)


def wished(spec: ToolSpec, task: str) -> bool:
    """Whether the task names everything that the tool's name says it does, and does not speak of what not to do."""
    if "execute" in spec.effects or "money" in spec.effects or _NOT.search(task):
        return False
    named = actions(spec.name)
    return bool(named) and named <= {_stem(word.lower()) for word in _ANY_WORD.findall(task)}


def _repeats(call: ToolCall, found: Iterable[Origin], made: Iterable[ToolCall]) -> bool:
    """Whether one of these calls had all values of this one: blanks, defaults and order make no other call of it."""
    values = {_plain(origin.value) for origin in found if origin.label != OWN}
    earlier = (one for one in made if one.name == call.name)
    return any(values <= {_plain(value) for _, value in leaves(one.arguments)} for one in earlier)


def _plain(value: Scalar) -> Scalar:
    return value.strip() if isinstance(value, str) else value


def actions(name: str) -> set[str]:
    """What the name of a tool says that it does, beside reading: the stems of its words that are such actions."""
    return {_stem(word.lower()) for word in _WORD.findall(name) if word.lower() in _ACTIONS}


def _stem(word: str) -> str:
    """A word without the ending that tells its form: delete, deletes, deleted and deleting are one."""
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) > 1:
            return word[: -len(ending)]
    return word


def _accepted(origin: Origin, spec: ToolSpec) -> bool:
    """Whether the tool takes untrusted data there. Code to run and sums of money it never does."""
    if {"execute", "money"} & set(spec.effects):
        return False
    return re.split(r"[. ]", origin.path, maxsplit=1)[0] in spec.accepts


def permitted(specs: Iterable[ToolSpec], steps: Sequence[Step], task: str, policy: Policy) -> tuple[ToolSpec, ...]:
    """The tools without those of which every call would be denied after these steps: they need not be offered."""
    around = context(steps)
    return tuple(spec for spec in specs if not _hopeless(spec, around, task, policy))


def _hopeless(spec: ToolSpec, around: Label, task: str, policy: Policy) -> bool:
    if not consequential(spec):
        return False
    if policy.read_only:
        return True
    if policy.always_ask or policy.untrusted != "deny":
        return False
    return "money" in spec.effects or not (around.trusted or wished(spec, task))


def _effects(spec: ToolSpec) -> str:
    said = {
        "write": "change things",
        "network": "send things out",
        "execute": "run programs",
        "money": "move money",
    }
    return ", ".join(words for effect, words in said.items() if effect in spec.effects)


def _named(strange: Sequence[Origin]) -> str:
    shown = ", ".join(dict.fromkeys(origin.path for origin in strange[:5]))
    return f"{shown} do{'' if len(strange) > 1 else 'es'}"


def call_digest(call: ToolCall) -> str:
    """A digest of the tool's name and the arguments: what an approval is bound to."""
    return hashlib.sha256(canonical([call.name, dict(call.arguments)]).encode()).hexdigest()
