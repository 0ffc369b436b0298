from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragagent.app import KnowledgeBase
from ragagent.connectors import open_connector
from ragagent.connectors.links import links_of, normalised
from ragagent.connectors.site import SiteConnector
from ragagent.connectors.sitemap import Rules
from ragagent.errors import ConfigError, ConnectorError
from ragagent.protocols import Fetched, SourceItem
from ragagent.testing.connector import check_connector
from ragagent.testing.embedding import HashEmbedder
from ragagent.types import Failure


def _open(site: Any, path: str = "/", **options: Any) -> SiteConnector:
    options = {"allow_private": True, "delay_s": 0, "timeout_s": 60, **options}
    cache = options.pop("cache", None)
    found = open_connector(f"site+{site.url}{path}", options=options, cache=cache)
    assert isinstance(found, SiteConnector)
    return found


def _paths(site: Any, connector: SiteConnector) -> list[str]:
    return [item.uri.removeprefix(site.url) for item in connector.items() if isinstance(item, SourceItem)]


def _failures(connector: SiteConnector) -> dict[str, str]:
    return {item.uri: item.reason for item in connector.items() if isinstance(item, Failure)}


def _small_site(site: Any) -> None:
    site.page("/", "Welcome to the bees.", "/a", "b/", "#top", "mailto:a@b", "https://example.org/x", "/data.csv")
    site.page("/a", "About hives.", "/", "/b/c?x=1")
    site.page("/b/", "About honey.", "c?x=1", "../a", "/style.css", "/gone")
    site.page("/b/c?x=1", "About wax.")
    site.put("/data.csv", b"name,legs\nbee,6\n", "text/csv")


def test_a_site_is_the_pages_that_its_links_lead_to(site: Any) -> None:
    _small_site(site)
    connector = _open(site)
    assert _paths(site, connector) == ["/", "/a", "/b/", "/data.csv", "/b/c?x=1"]
    assert _failures(connector) == {}
    assert connector.source == f"site+{site.url}/"


def test_a_site_keeps_the_rules(site: Any, tmp_path: Path) -> None:
    _small_site(site)

    def change() -> str:
        site.page("/a", "About beehives.", "/", "/b/c?x=1")
        return f"{site.url}/a"

    def remove() -> str:
        del site.answers["/data.csv"]
        return f"{site.url}/data.csv"

    check_connector(
        lambda: _open(site, cache=tmp_path), change=change, remove=remove, unreachable=site.stop, secrets=("s3cret",)
    )


def test_a_second_look_transfers_only_what_changed(site: Any, tmp_path: Path) -> None:
    _small_site(site)
    before = list(_open(site, cache=tmp_path).items())
    site.page("/a", "About beehives.", "/", "/b/c?x=1")
    site.asked.clear()
    connector = _open(site, cache=tmp_path)
    after = list(connector.items())
    assert site.paths(200) == ["/a"]
    assert sorted(site.paths(304)) == ["/", "/b/", "/b/c?x=1", "/data.csv"]
    assert [item.uri for item in after] == [item.uri for item in before]
    assert [item for item in after if item not in before] == [after[1]]
    site.asked.clear()
    assert b"beehives" in _bytes(connector.fetch(after[1]))  # type: ignore[arg-type]
    assert site.asked == []


def _bytes(found: Fetched) -> bytes:
    assert isinstance(found.content, bytes)
    return found.content


def test_robots_txt_is_kept_to(site: Any) -> None:
    _small_site(site)
    site.put("/robots.txt", b"User-agent: *\nDisallow: /b/\nAllow: /b/c\n", "text/plain")
    assert _paths(site, _open(site)) == ["/", "/a", "/data.csv", "/b/c?x=1"]
    assert "/b/" not in site.paths()
    assert "/b/" in _paths(site, _open(site, robots=False))
    site.put("/robots.txt", b"User-agent: ragagent\nDisallow: /\n", "text/plain")
    with pytest.raises(ConnectorError, match=r"robots\.txt"):
        list(_open(site).items())


def test_a_site_whose_rules_cannot_be_had_is_left_alone(site: Any) -> None:
    _small_site(site)
    site.put("/robots.txt", b"", status=500)
    with pytest.raises(ConnectorError, match="500"):
        list(_open(site).items())
    assert site.paths() == ["/robots.txt"]


def _sitemap(kind: str, *urls: str) -> bytes:
    inner = "sitemap" if kind == "sitemapindex" else "url"
    entries = "".join(f"<{inner}><loc>{url}</loc></{inner}>" for url in urls)
    space = "http://www.sitemaps.org/schemas/sitemap/0.9"
    return f'<?xml version="1.0"?><{kind} xmlns="{space}">{entries}</{kind}>'.encode()


def test_sitemaps_lead_to_pages_without_links(site: Any) -> None:
    site.page("/", "Home.")
    for name in ("one", "two", "three"):
        site.page(f"/{name}", f"Page {name}.")
    site.put("/robots.txt", f"Sitemap: {site.url}/index.xml\n".encode(), "text/plain")
    site.put("/index.xml", _sitemap("sitemapindex", f"{site.url}/packed.xml.gz", f"{site.url}/index.xml"), "text/xml")
    listed = _sitemap("urlset", f"{site.url}/two", f"{site.url}/one", "http://elsewhere.example/x")
    site.put("/packed.xml.gz", gzip.compress(listed), "application/gzip")
    site.put("/sitemap.xml", f"{site.url}/three\n".encode(), "text/plain")
    assert _paths(site, _open(site)) == ["/", "/three", "/two", "/one"]
    assert _paths(site, _open(site, sitemap=False)) == ["/"]


@pytest.mark.parametrize(
    "body",
    [
        b"<urlset><url><loc>",
        b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><urlset><url><loc>&b;</loc></url></urlset>',
        gzip.compress(b" " * 60_000_000),
        b"\x1f\x8b damaged",
        b"",
    ],
)
def test_a_bad_sitemap_is_passed_over(site: Any, body: bytes) -> None:
    site.page("/", "Home.", "/a")
    site.page("/a", "A.")
    site.put("/sitemap.xml", body, "text/xml")
    assert _paths(site, _open(site)) == ["/", "/a"]


def test_one_page_under_several_addresses_comes_once(site: Any) -> None:
    own = f'<link rel="canonical" href="{site.url}/real">'
    links = ("/real?ref=1", "/index.html", "/moved", "/x/../twin", "/twin?utm_source=mail", "/lost")
    site.page("/", "Home.", *links)
    site.page("/index.html", "Home.", *links)
    site.answers["/index.html"] = site.answers["/"]
    site.page("/real", "The page.", head=own)
    site.redirect("/moved", "/real")
    site.page("/twin", "Twin.")
    site.page("/lost", "Lost.", head=f'<link rel="canonical" href="{site.url}/nowhere">')
    assert _paths(site, _open(site)) == ["/", "/real", "/twin", "/lost"]


def test_a_link_farm_ends(site: Any) -> None:
    def farm() -> Any:
        number = len(site.asked)
        site.page("/made", f"Day {number}.", f"/farm?day={number}", f"/farm?day={number + 1}", f"deep/{number}/farm")
        return site.answers["/made"]

    site.page("/", "Home.", "/farm?day=0")
    site.answers["/farm"] = farm
    connector = _open(site)
    assert 40 < len(_paths(site, connector)) <= 60


def test_a_path_that_repeats_itself_is_not_followed(site: Any) -> None:
    site.page("/", "Home.", "sub/")
    for depth in range(1, 9):
        site.page("/" + "sub/" * depth, f"Level {depth}.", "sub/")
    assert _paths(site, _open(site)) == ["/", "/sub/", "/sub/sub/", "/sub/sub/sub/"]


def test_depth_pages_and_patterns_narrow_a_site(site: Any) -> None:
    _small_site(site)
    assert _paths(site, _open(site, depth=1)) == ["/", "/a", "/b/", "/data.csv"]
    assert _paths(site, _open(site, include="/b/")) == ["/b/", "/b/c?x=1"]
    assert _paths(site, _open(site, exclude=["/b/", "*.csv"])) == ["/", "/a"]
    assert _paths(site, _open(site, path="/b/")) == ["/b/", "/b/c?x=1"]
    with pytest.raises(ConfigError, match="pattern"):
        _open(site, include="!")


def test_what_a_limit_left_out_is_told_as_a_failure_of_the_source(site: Any) -> None:
    _small_site(site)
    connector = _open(site, pages=2)
    assert len(_paths(site, connector)) == 2
    assert list(_failures(connector)) == [connector.source]
    site.put("/robots.txt", b"User-agent: *\nCrawl-delay: 86400\n", "text/plain")
    assert "total_s" in _failures(_open(site, total_s=1))[connector.source]


@pytest.mark.parametrize("trap", ["endless", "bomb", "drip", "nonsense"])
def test_a_trap_in_a_site_is_reported_and_stops_nothing(site: Any, trap: str) -> None:
    site.page("/", "Home.", f"/trap/{trap}", "/a")
    site.page("/a", "A.")
    connector = _open(site, timeout_s=2 if trap == "drip" else 60, max_page_bytes=1_000_000)
    found = list(connector.items())
    assert [item.uri for item in found if isinstance(item, SourceItem)] == [f"{site.url}/", f"{site.url}/a"]
    assert f"{site.url}/trap/{trap}" in [item.uri for item in found if isinstance(item, Failure)]


def test_what_lies_behind_a_page_that_fails_is_not_lost(site: Any, tmp_path: Path) -> None:
    _small_site(site)
    assert "/b/c?x=1" in _paths(site, _open(site, cache=tmp_path))
    site.put("/b/", b"", status=500)
    site.put("/a", b"", status=503, headers={"Retry-After": "9999"})
    connector = _open(site, cache=tmp_path)
    assert _paths(site, connector) == ["/", "/data.csv", "/b/c?x=1"]
    assert set(_failures(connector)) == {f"{site.url}/a", f"{site.url}/b/"}
    for path in (tmp_path / "pages").glob("*.body"):
        path.unlink()
    assert connector.source in _failures(_open(site, cache=tmp_path))


def test_a_site_that_keeps_failing_is_left_alone(site: Any) -> None:
    site.page("/", "Home.", *(f"/{number}" for number in range(100)))
    for number in range(100):
        site.put(f"/{number}", b"", status=500)
    connector = _open(site)
    assert "one after the other" in _failures(connector)[connector.source]
    assert len(site.paths(500)) < 20


def test_links_are_taken_as_a_browser_takes_them() -> None:
    page = b"""<base href="/docs/"><a href="a b.html">1</a><a href="?q=1#x">2</a><a href="//other.example/x">3</a>
    <a href="javascript:void(0)">4</a><a href="http://[bad">5</a><a>6</a><a href="">7</a><area href="/m">"""
    found = links_of(page, "http://h.example/start/page")
    assert found.links == (
        "http://h.example/docs/a%20b.html",
        "http://h.example/docs/?q=1",
        "http://other.example/x",
        "http://h.example/docs/",
        "http://h.example/m",
    )


@pytest.mark.parametrize(
    ("spelt", "plain"),
    [
        ("HTTP://Example.ORG:80/a/./b/../c#x", "http://example.org/a/c"),
        ("https://example.org", "https://example.org/"),
        ("https://example.org/%7Eann/%c3%bc?b=2&utm_source=x&a=1", "https://example.org/~ann/%C3%BC?b=2&a=1"),
        ("https://example.org/ü/", "https://example.org/%C3%BC/"),
        ("http://[::1]:8080/", "http://[::1]:8080/"),
        ("ftp://example.org/", None),
    ],
)
def test_one_page_has_one_spelling(spelt: str, plain: str | None) -> None:
    assert normalised(spelt) == plain
    assert plain is None or normalised(plain) == plain


def test_erasing_leaves_no_copy_of_a_page(site: Any, tmp_path: Path) -> None:
    _small_site(site)
    with KnowledgeBase.open(tmp_path / "kb", embedder=HashEmbedder(16)) as kb:
        options = {"allow_private": True, "delay_s": 0}
        assert kb.ingest(f"site+{site.url}/", options=options).added == 5
        kept = [path for path in (tmp_path / "kb").rglob("*") if path.is_file() and b"hives" in path.read_bytes()]
        assert any(path.suffix == ".body" for path in kept)
        for document_id in kb.known():
            kb.remove(document_id)
        kb.compact(erase=True)
        assert kb.check() == ()
    assert not [path for path in (tmp_path / "kb").rglob("*") if path.is_file() and b"hives" in path.read_bytes()]


@given(
    page=st.binary() | st.text("<>ahrefs='\"/:.[]?#%&;base \n").map(str.encode),
    base=st.sampled_from(["http://h/", "http://h"]),
)
def test_links_are_found_in_any_bytes(page: bytes, base: str) -> None:
    found = links_of(b"<base href=" + page + b"><a href=" + page + b">" + page, base)
    assert all(normalised(link) == link for link in found.links)


@given(st.text(max_size=60) | st.text(":/[]@?#%.a0", max_size=30))
def test_an_address_has_one_spelling_or_none(rest: str) -> None:
    plain = normalised("http://" + rest)
    assert plain is None or normalised(plain) == plain


@given(
    rules=st.binary()
    | st.lists(st.sampled_from([b"user-agent:", b"*", b"disallow: /%", b"crawl-delay: x", b"$", b"\n"])).map(b"".join)
)
@settings(max_examples=50)
def test_any_robots_txt_can_be_asked(rules: bytes) -> None:
    from protego import Protego

    found = Rules(Protego.parse(rules.decode("utf-8", "replace")))
    assert isinstance(found.allow("http://h/a?b=%20"), bool)
    assert found.delay_s >= 0
    assert all(isinstance(one, str) for one in found.sitemaps)


def test_a_sitemap_that_names_nonsense_names_no_page(site: Any) -> None:
    site.page("/", "Home.")
    site.put(
        "/sitemap.xml", _sitemap("urlset", "http://[bad", "http://a:x/", "", "x" * 9999, f"{site.url}/a"), "text/xml"
    )
    site.page("/a", "A.")
    assert _paths(site, _open(site)) == ["/", "/a"]
