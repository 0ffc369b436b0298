"""Other wordings of a question, written by a language model: each function asks it once.

What comes back is bounded, has no line breaks, and is only ever searched for. An answer that cannot be used gives no
wording, and the question is searched as it was asked.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from ragagent import prompts
from ragagent.protocols import LLM
from ragagent.types import Grammar, Hit, Message

MOST = 3
_WORDING_CHARS = 300
_PASSAGE_CHARS = 600
_TURNS = 6
_TURN_CHARS = 500
_MOST_TOKENS = 128


def standalone(question: str, conversation: Sequence[Message], llm: LLM) -> str:
    """A follow-up question with what it refers to in the conversation put in; `question` where there is none."""
    turns = [turn for turn in conversation if turn.role in ("user", "assistant") and turn.content.strip()]
    if not turns:
        return question
    told = "\n".join(f"{turn.role}: {_line(turn.content)[:_TURN_CHARS]}" for turn in turns[-_TURNS:])
    return _one(llm, "follow_up", "question", conversation=told, question=_line(question)) or question


def variants(question: str, llm: LLM) -> list[str]:
    """Up to three other ways to ask the same."""
    return [one for one in _several(llm, "variants", question=_line(question)) if one != question]


def hypothetical(question: str, llm: LLM) -> str:
    """A passage such as might answer it, true or not, for its vector (HyDE; Gao et al., ACL 2023); "" for none."""
    return _one(llm, "hypothetical", "passage", question=_line(question))


def step_back(question: str, llm: LLM) -> str:
    """The more general question behind it (Zheng et al., ICLR 2024); "" for none."""
    return _one(llm, "step_back", "question", question=_line(question))


def first_part(question: str, llm: LLM) -> str:
    """What has to be known first to answer a question of several steps; "" for none."""
    return _one(llm, "first_part", "question", question=_line(question))


def next_part(question: str, evidence: Sequence[Hit], llm: LLM) -> str:
    """What remains to be asked when the passages are known; "" for none."""
    told = "\n".join(f"{_line(hit.title)}: {_line(hit.text)[:_PASSAGE_CHARS]}" for hit in evidence)
    return _one(llm, "next_part", "question", question=_line(question), passages=told)


def _one(llm: LLM, prompt: str, name: str, **values: str) -> str:
    schema = {"type": "object", "properties": {name: {"type": "string"}}, "required": [name]}
    found = _asked(llm, prompt, schema, values).get(name)
    return _line(found)[:_WORDING_CHARS] if isinstance(found, str) else ""


def _several(llm: LLM, prompt: str, **values: str) -> list[str]:
    items = {"type": "array", "items": {"type": "string"}, "maxItems": MOST}
    schema = {"type": "object", "properties": {"questions": items}, "required": ["questions"]}
    found = _asked(llm, prompt, schema, values).get("questions")
    texts = [_line(one)[:_WORDING_CHARS] for one in found if isinstance(one, str)] if isinstance(found, list) else []
    return [text for text in dict.fromkeys(texts) if text][:MOST]


def _asked(llm: LLM, prompt: str, schema: Mapping[str, object], values: Mapping[str, str]) -> dict[str, object]:
    """The model's answer as an object of that schema; empty where it is none."""
    messages = [Message(role="user", content=prompts.load(prompt).render(**values))]
    grammar = Grammar(kind="json_schema", source=json.dumps({**schema, "additionalProperties": False}))
    written = llm.chat(messages, max_tokens=_MOST_TOKENS, grammar=grammar)
    try:
        found = json.loads(written.text)
    except (ValueError, RecursionError):
        # Cut off, or by a model that is held to no grammar.
        return {}
    return found if isinstance(found, dict) else {}


def _line(text: str) -> str:
    """`text` as one line, so that it cannot imitate the layout of a prompt."""
    return " ".join(text.split())
