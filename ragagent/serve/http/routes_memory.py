"""What agents remember for who asks: read, written and forgotten, each user's own."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from ragagent.app.memory import MAX_FOUND, Memory
from ragagent.serve.http import agent_shapes as out
from ragagent.serve.http import shapes
from ragagent.serve.http.access import Remembered, Shared
from ragagent.serve.http.errors import RESPONSES, Refusal
from ragagent.types import Fact

router = APIRouter(prefix="/api/memory", tags=["memory"], responses=RESPONSES)


@router.get("", summary="What is remembered")
async def list_facts(
    memory: Remembered,
    service: Shared,
    query: Annotated[
        str | None,
        Query(min_length=1, max_length=shapes.MOST_QUESTION, pattern=r"\S", description="what is looked for"),
    ] = None,
    k: Annotated[int, Query(ge=1, le=MAX_FOUND, description="how many facts a query finds")] = 5,
) -> out.FactList:
    """Every fact of who asks, the oldest first; with `query` those that fit best, as an agent recalls them."""
    if query is None:
        found = await service.reading.run(memory.list)
    else:
        found = await service.searching.run(lambda: memory.search(query, k))
    most = service.kb.settings.agent.memory_facts
    return out.FactList(facts=[out.fact_out(one) for one in found], most=most)


@router.post("", status_code=201, summary="Remember something")
async def add(body: out.FactRequest, memory: Remembered, service: Shared) -> out.FactOut:
    """Keeps a fact in the words of who asks; the one that is there where it is known already."""
    service.require_open()
    return out.fact_out(await service.writing.run(lambda: memory.add(body.text)))


@router.put("/{fact_id}", summary="Change a fact")
async def edit(fact_id: shapes.Identifier, body: out.FactRequest, memory: Remembered, service: Shared) -> out.FactOut:
    """Puts the words of who asks in its place, which is as trusted as these then."""
    service.require_open()

    def edited() -> Fact:
        return memory.edit(_found(memory, fact_id).id, body.text)

    return out.fact_out(await service.writing.run(edited))


@router.delete("/{fact_id}", summary="Forget a fact")
async def forget(fact_id: shapes.Identifier, memory: Remembered, service: Shared) -> out.FactOut:
    """Its words are in no file of the memory then; logs of runs may quote them."""
    service.require_open()

    def forgotten() -> Fact:
        found = _found(memory, fact_id)
        memory.forget(found.id)
        return found

    return out.fact_out(await service.writing.run(forgotten))


def _found(memory: Memory, fact_id: str) -> Fact:
    """The fact. Raises Refusal where there is none, or none of who asks: the same, in the same words."""
    found = memory.get(fact_id)
    if found is None:
        raise Refusal(404, "no_fact", "there is no such fact", param="fact_id")
    return found
