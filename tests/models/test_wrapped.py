"""A wrapped model is asked exactly what its wrapper is asked, and answers the same."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ragagent.models.wrapped import Asking, Wrapped
from ragagent.protocols import LLM
from ragagent.testing.llm import ScriptedLLM
from ragagent.types import Message, Sampling, ToolSpec

TOOL = ToolSpec(name="look", description="Looks.", parameters={"type": "object"}, effects=())
asking = st.fixed_dictionaries(
    {},
    optional={
        "max_tokens": st.integers(1, 600),
        "sampling": st.builds(Sampling, seed=st.integers(0, 9)) | st.none(),
        "tools": st.sampled_from([(), (TOOL,)]),
        "timeout_s": st.floats(1, 9) | st.none(),
    },
)


@given(said=st.text(), given_=asking, constrains=st.booleans())
def test_it_passes_on_what_is_asked_and_what_is_answered(said: str, given_: Asking, constrains: bool) -> None:
    plain = ScriptedLLM(lambda _: said, constrains=constrains)
    inner = ScriptedLLM(lambda _: said, constrains=constrains)
    wrapped: LLM = Wrapped(inner)
    asked = [Message(role="user", content="Who?")]
    assert wrapped.chat(asked, **given_) == plain.chat(asked, **given_)
    assert list(wrapped.stream(asked, **given_)) == list(plain.stream(asked, **given_))
    assert inner.requests == plain.requests
    assert (wrapped.name, wrapped.context_tokens, wrapped.constrains) == (inner.name, inner.context_tokens, constrains)
    assert wrapped.count_tokens(said) == inner.count_tokens(said)
