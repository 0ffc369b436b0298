from __future__ import annotations

from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from ragagent.connectors import open_connector, readers
from ragagent.connectors.http import origin_of
from ragagent.connectors.network import is_public
from ragagent.connectors.web import WebOptions, WebPageConnector
from ragagent.errors import ConfigError, ConnectorError
from ragagent.protocols import SourceItem
from ragagent.settings import IngestSettings
from ragagent.testing.connector import check_connector
from ragagent.types import Document, Failure

_SLOW = ("drip", "slow-headers", "silent")


def _open(url: str, *, max_bytes: int = 1_000_000, cache: Path | None = None, **options: Any) -> WebPageConnector:
    chosen = WebOptions(**{"allow_private": True, "timeout_s": 60.0, **options})
    return WebPageConnector(url, options=chosen, settings=IngestSettings(max_file_bytes=max_bytes), cache=cache)


def _load(url: str, **options: Any) -> Document:
    connector = _open(url, **options)
    (item,) = connector.items()
    assert isinstance(item, SourceItem), item
    return readers.read(connector.fetch(item), settings=IngestSettings()).document


def _failure(url: str, **options: Any) -> Failure:
    (item,) = _open(url, **options).items()
    assert isinstance(item, Failure)
    return item


def test_a_page_becomes_a_document(site: Any) -> None:
    site.put("/page", b"<html><title>Opening hours</title><h1>Hours</h1><p>Open from nine.</p></html>")
    document = _load(f"{site.url}/page#top")
    assert (document.title, document.uri) == ("Opening hours", f"{site.url}/page")
    assert document.text == "Hours\n\nOpen from nine."


def test_the_stated_media_type_counts_where_the_bytes_do_not_tell(site: Any) -> None:
    site.put("/notes", b"# Notes\n\nBring *milk*.", "text/markdown; charset=utf-8")
    assert _load(f"{site.url}/notes").text == "Notes\n\nBring milk."


def test_a_page_is_transferred_again_only_when_it_changed(site: Any, tmp_path: Path) -> None:
    site.page("/page", "First words.")
    stamps = []
    for text in ("First words.", "Other words.", "Other words."):
        site.page("/page", text)
        (item,) = _open(f"{site.url}/page", cache=tmp_path).items()
        assert isinstance(item, SourceItem)
        stamps.append(item.stamp)
    (item,) = _open(f"{site.url}/page", cache=tmp_path).items()
    assert [status for *_, status in site.asked] == [200, 200, 304, 304]
    assert stamps[0] != stamps[1] == stamps[2]
    assert "Other words." in _load(f"{site.url}/page", cache=tmp_path).text


def test_remembered_pages_may_be_lost_or_damaged(site: Any, tmp_path: Path) -> None:
    site.page("/page", "What it says.")
    connector = _open(f"{site.url}/page", cache=tmp_path)
    (item,) = connector.items()
    assert isinstance(item, SourceItem)
    for path in (tmp_path / "pages").iterdir():
        path.write_bytes(b"\0" * path.stat().st_size)
    assert b"What it says." in bytes(connector.fetch(item).content)  # type: ignore[arg-type]
    for path in (tmp_path / "pages").iterdir():
        path.unlink()
    assert b"What it says." in bytes(connector.fetch(item).content)  # type: ignore[arg-type]


def test_redirects_are_followed_and_counted(site: Any) -> None:
    site.page("/page", "Here.")
    for number in range(3):
        site.redirect(f"/hop{number}", f"/hop{number + 1}")
    site.redirect("/hop3", "/page")
    site.redirect("/loop", "/loop")
    assert _load(f"{site.url}/hop0").metadata["url"] == f"{site.url}/page"
    assert "redirects" in _failure(f"{site.url}/loop").reason


def test_private_addresses_are_refused_unless_allowed(site: Any) -> None:
    assert "not a public address" in _failure(f"{site.url}/page", allow_private=False).reason
    assert "169.254.169.254" in _failure("http://169.254.169.254/latest", allow_private=False).reason
    assert site.asked == []


LOCAL = """http://127.0.0.1/ http://[::1]/ http://2130706433/ http://0x7f.1/ http://017700000001/ http://127.1/
http://[::ffff:127.0.0.1]/ http://localhost./ http://0/"""


@pytest.mark.parametrize("url", LOCAL.split())
def test_every_spelling_of_this_machine_is_private(url: str) -> None:
    failure = _failure(url, allow_private=False)
    assert "not a public address" in failure.reason or "cannot be looked up" in failure.reason


@pytest.mark.parametrize("target", ["http://127.0.0.1:{port}/page", "http://[::1]/", "http://2130706433:{port}/page"])
def test_a_redirect_to_a_private_address_is_refused(site: Any, target: str) -> None:
    port = site.listen("127.0.0.7", int(site.url.rpartition(":")[2]))
    site.redirect("/away", target.format(port=port))
    site.page("/page", "Secret.")
    failure = _failure(f"http://127.0.0.7:{port}/away", allow_private=False, allow_networks=("127.0.0.7/32",))
    assert "not a public address" in failure.reason
    assert site.paths() == ["/away"]


def test_a_redirect_leads_to_http_only(site: Any) -> None:
    site.redirect("/local", "file:///etc/passwd")
    assert "file:///etc/passwd" in _failure(f"{site.url}/local").reason


@pytest.mark.parametrize(
    ("trap", "kind", "said"),
    [
        ("endless", "TooLarge", "more than"),
        ("bomb", "TooLarge", "more than"),
        ("drip", "ReadError", "complete|whole answer"),
        ("slow-headers", "ReadError", "complete|whole answer"),
        ("silent", "ReadError", "whole answer"),
        ("brotli", "ReadError", "packed"),
        ("nonsense", "ReadError", "cannot be fetched"),
        ("cut-off", "ReadError", "cannot be fetched"),
    ],
)
def test_a_server_that_means_harm_is_cut_off(site: Any, trap: str, kind: str, said: str) -> None:
    # Only what would go on for long is cut off by the clock; the rest is told however slow the machine is.
    failure = _failure(f"{site.url}/trap/{trap}", timeout_s=1.0 if trap in _SLOW else 60.0)
    assert failure.kind == kind
    assert any(word in failure.reason for word in said.split("|")), failure.reason


def test_what_the_server_says_is_reported(site: Any) -> None:
    assert "404 Not Found" in _failure(f"{site.url}/nothing").reason
    assert "cannot be fetched" in _failure("http://127.0.0.1:1/").reason


@pytest.mark.parametrize("after", ["0", formatdate(0, usegmt=True), ""])
def test_a_busy_server_is_asked_again_when_it_says(site: Any, after: str) -> None:
    site.put("/busy", b"", status=429, headers={"Retry-After": after} if after else {})

    def second() -> Any:
        site.page("/busy", "Now.")
        return first

    first = site.answers["/busy"]
    site.answers["/busy"] = second
    assert "Now." in _load(f"{site.url}/busy").text
    assert [status for *_, status in site.asked] == [429, 200]


def test_a_server_that_asks_for_hours_is_left_alone(site: Any) -> None:
    site.put("/busy", b"", status=503, headers={"Retry-After": "7200"})
    assert "503" in _failure(f"{site.url}/busy").reason
    assert len(site.asked) == 1


def test_credentials_go_to_their_own_host_and_show_nowhere(site: Any) -> None:
    site.page("/page", "For members.")
    site.redirect("/away", site.url.replace("localhost", "127.0.0.1") + "/page")
    address = site.url.replace("://", "://ann:s3cret%21@")
    document = _load(f"{address}/away?token=abc&q=1")
    sent = [headers.get("authorization") for headers in site.headers]
    assert sent == ["Basic YW5uOnMzY3JldCE=", None]
    assert document.uri == f"{site.url}/away?q=1"
    assert site.paths() == ["/away?token=abc&q=1", "/page"]


def test_the_rules_of_connectors_are_kept_by_a_page_and_a_failure(site: Any) -> None:
    site.page("/page", "Words.")
    (item,) = _open(f"{site.url}/page").items()
    with pytest.raises(ConnectorError, match="not the page"):
        _open(f"{site.url}/page").fetch(SourceItem(uri="file:///etc/passwd", stamp=""))
    assert item.uri == f"{site.url}/page"


@pytest.mark.parametrize("url", ["https://", "http:///path", "gopher://example.org/", "http://[::1", "http://a:x/"])
def test_an_address_without_a_host_is_refused(url: str) -> None:
    with pytest.raises(ConnectorError):
        WebPageConnector(url)


PRIVATE = """127.0.0.1 10.1.2.3 192.168.1.1 169.254.169.254 0.0.0.0 224.0.0.1 ::1 fe80::1 fd00::1 ::ffff:10.0.0.1
64:ff9b::a00:1 2002:a00:1::"""


@pytest.mark.parametrize("address", PRIVATE.split())
def test_every_kind_of_private_address_is_known(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700:4700::1111", "::ffff:8.8.8.8"])
def test_public_addresses_are_public(address: str) -> None:
    assert is_public(address)


def test_a_folder_that_a_server_lists_keeps_the_rules(tmp_path: Path, folder_server: Any) -> None:
    for name in ("a.txt", "sub/b.md", "sub/deep/c.txt", "sub/ü #1.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"The text of {name}.")
    url, stop = folder_server(tmp_path)
    options = {"allow_private": True}

    def change() -> str:
        (tmp_path / "sub/b.md").write_text("Other text, and more of it.")
        return f"{url}/sub/b.md"

    def remove() -> str:
        (tmp_path / "a.txt").unlink()
        return f"{url}/a.txt"

    def factory() -> Any:
        return open_connector(f"folder+{url}/", options=options)

    listed = [item.uri for item in factory().items()]
    assert listed == [f"{url}/a.txt", f"{url}/sub/b.md", f"{url}/sub/deep/c.txt", f"{url}/sub/%C3%BC%20%231.txt"]
    check_connector(factory, change=change, remove=remove, unreachable=stop)


def test_options_are_checked(site: Any) -> None:
    with pytest.raises(ConfigError, match="timeout_s"):
        open_connector(site.url, options={"timeout": "3"})
    with pytest.raises(ConfigError, match="true or false"):
        open_connector(site.url, options={"allow_private": "perhaps"})
    with pytest.raises(ConfigError, match=r"password = \.\.\."):
        open_connector(site.url, options={"password": 17})
    with pytest.raises(ConfigError, match="allow_networks"):
        open_connector(site.url, options={"allow_networks": "somewhere"})


def test_certificates_are_checked_and_those_of_an_intranet_can_be_trusted(site: Any, certificate: Any) -> None:
    port = site.listen("127.0.0.1", 0, tls=certificate)
    site.page("/page", "Over TLS.")
    assert "CERTIFICATE_VERIFY_FAILED" in _failure(f"https://localhost:{port}/page").reason
    assert "Over TLS." in _load(f"https://localhost:{port}/page", ca_file=str(certificate[0])).text
    other = _failure(f"https://127.0.0.1:{port}/page", ca_file=str(certificate[0]))
    assert "CERTIFICATE_VERIFY_FAILED" in other.reason, "the certificate is that of localhost alone"
    with pytest.raises(ConfigError, match="ca_file"):
        _open(f"https://localhost:{port}/page", ca_file="/nowhere")


ODD = """http://[bad http://a:99999/ http://a:x/ // http: ?? http://%00/ http://\u00ad/ https://-a-/ http://a..b/ http://xn--/
http://user:pass@/ http:///x javascript:alert(1) data:text/html,x http://\ud800/ http://127.0.0.1:1/"""


@pytest.mark.parametrize("target", ODD.split())
def test_no_address_that_a_server_names_does_harm(site: Any, target: str) -> None:
    site.redirect("/away", target.encode("utf-8", "surrogatepass").decode("latin-1"))
    assert _failure(f"{site.url}/away").kind == "ReadError"


def test_credentials_are_not_sent_on_without_encryption(site: Any, certificate: Any) -> None:
    port = site.listen("127.0.0.1", 0, tls=certificate)
    site.redirect("/away", f"http://localhost:{port}/page")
    site.page("/page", "Words.")
    _failure(f"https://ann:s3cret@localhost:{port}/away", ca_file=str(certificate[0]))
    other = site.url.rpartition(":")[2]
    site.redirect("/open", f"http://localhost:{other}/page")
    assert "Words." in _load(f"https://ann:s3cret@localhost:{port}/open", ca_file=str(certificate[0])).text
    assert [headers.get("authorization") is None for headers in site.headers] == [False, False, True]


def test_credentials_belong_to_scheme_host_and_port() -> None:
    assert origin_of("https://H.example/a?b") == "https://h.example"
    assert origin_of("http://h.example/") != origin_of("https://h.example/") != origin_of("https://h.example:444/")
