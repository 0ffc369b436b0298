"""The parameters that several tools have."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from ragagent.serve.mcp.limits import LEAST_TOKENS, MAX_HITS, MAX_PAGE, MAX_QUESTION_CHARS, MOST_TOKENS
from ragagent.types import AnswerStyle, SearchMode

Query = Annotated[str, Field(min_length=1, max_length=MAX_QUESTION_CHARS, description="what to look for")]
Question = Annotated[str, Field(min_length=1, max_length=MAX_QUESTION_CHARS, description="the question to answer")]
Style = Annotated[
    AnswerStyle | None,
    Field(description="short: a phrase; full: whole sentences; list: items; table: rows. Unset: as the server has it"),
]
HitCount = Annotated[int, Field(ge=1, le=MAX_HITS, description="how many passages")]
Mode = Annotated[SearchMode, Field(description="hybrid is best; dense is by meaning, sparse by words")]
Filter = Annotated[
    dict[str, Any] | str | None,
    Field(
        description='only documents for which this holds, written as \'type = "pdf" and date >= 2024-01-01 and '
        'team in ("law", "tax")\' (=, !=, <, <=, >, >=, in, starts with, exists, and, or, not, parentheses), '
        'or as an object such as {"team": ["law", "tax"]}'
    ),
]
PageSize = Annotated[int, Field(ge=1, le=MAX_PAGE, description="how many documents")]
Cursor = Annotated[str | None, Field(max_length=8192, description="next_cursor of the result before")]
Budget = Annotated[
    int | None,
    Field(
        ge=LEAST_TOKENS,
        le=MOST_TOKENS,
        description="the most tokens that the result may take; what has no room comes with the cursor",
    ),
]
DocumentName = Annotated[
    str,
    Field(
        min_length=1,
        max_length=4096,
        description="the document_id that a search or list gave, or its address document://...",
    ),
]
