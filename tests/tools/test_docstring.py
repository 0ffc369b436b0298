from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragagent.tools.docstring import describe

GOOGLE = """Finds rates.

    Looks in the table.

    Args:
        currency (str): three letters,
            such as USD
        *days: which days

    Returns:
        rate: the rate
    """
NUMPY = """Finds rates.

    Looks in the table.

    Parameters
    ----------
    currency : str
        three letters,
        such as USD
    days
        which days

    Returns
    -------
    rate : float
        the rate
    """
SPHINX = """Finds rates.

    Looks in the table.

    :param str currency: three letters,
        such as USD
    :param days: which days
    :type days: list
    :returns: the rate
    """


@pytest.mark.parametrize("docstring", [GOOGLE, NUMPY, SPHINX], ids=["google", "numpy", "sphinx"])
def test_each_style_says_the_same(docstring: str) -> None:
    text, parameters = describe(docstring)
    assert text == "Finds rates.\n\nLooks in the table."
    assert parameters == {"currency": "three letters, such as USD", "days": "which days"}


def test_a_plain_docstring_is_all_description() -> None:
    assert describe("One line: with a colon.") == ("One line: with a colon.", {})
    assert describe(None) == ("", {})


@given(st.lists(st.sampled_from([*GOOGLE.splitlines(), *NUMPY.splitlines(), *SPHINX.splitlines(), ":", "Args:"])))
def test_however_the_lines_are_mixed_every_word_comes_from_the_docstring(lines: list[str]) -> None:
    docstring = "\n".join(lines)
    described = describe(docstring)
    for text in (described.text, *described.parameters, *described.parameters.values()):
        assert all(word in docstring for word in text.split())
