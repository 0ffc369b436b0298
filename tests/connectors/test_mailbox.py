from __future__ import annotations

import mailbox
import os
import tempfile
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragagent.connectors import open_connector
from ragagent.errors import ConfigError, ConnectorError, ReadError, TooLarge
from ragagent.protocols import Fetched, SourceItem
from ragagent.settings import IngestSettings
from ragagent.testing.connector import check_connector


def _mail(number: int, text: str, *, known: bool = True) -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "ann@example.org", "bob@example.org", f"Letter {number}"
    if known:
        message["Message-ID"] = f"<{number}@example.org>"
    message.set_content(text)
    return message


def _mbox(path: Path, *messages: EmailMessage) -> None:
    path.unlink(missing_ok=True)
    box = mailbox.mbox(path)
    for message in messages:
        box.add(message)
    box.close()


def _items(connector: Any) -> list[SourceItem]:
    return [item for item in connector.items() if isinstance(item, SourceItem)]


def _content(connector: Any, item: SourceItem) -> bytes:
    found = connector.fetch(item)
    assert isinstance(found, Fetched)
    assert isinstance(found.content, bytes)
    return found.content


def test_an_mbox_keeps_the_rules(tmp_path: Path) -> None:
    path = tmp_path / "box"
    source = f"mbox://{path}"
    _mbox(path, _mail(1, "One."), _mail(2, "Two."), _mail(3, "Three.", known=False))
    first, second, _ = _items(open_connector(source))

    def change() -> str:
        _mbox(path, _mail(1, "Uno."), _mail(2, "Two."), _mail(3, "Three.", known=False))
        return first.uri

    def remove() -> str:
        _mbox(path, _mail(1, "Uno."), _mail(3, "Three.", known=False))
        return second.uri

    check_connector(lambda: open_connector(source), change=change, remove=remove, unreachable=path.unlink)


def test_a_mailbox_that_grew_or_shrank_brings_only_what_is_new(tmp_path: Path) -> None:
    path = tmp_path / "box"
    _mbox(path, _mail(1, "One."), _mail(2, "Two."))
    before = _items(open_connector(f"mbox://{path}"))
    _mbox(path, _mail(2, "Two."), _mail(3, "Three."), _mail(2, "Two again."))
    after = _items(open_connector(f"mbox://{path}"))
    assert [item in before for item in after] == [True, False, False]
    assert after[2].uri == after[0].uri + "~2"


def test_what_a_mail_program_notes_is_no_change(tmp_path: Path) -> None:
    path = tmp_path / "box"
    read = _mail(1, "One.")
    _mbox(path, _mail(1, "One."))
    (before,) = _items(open_connector(f"mbox://{path}"))
    read["Status"], read["X-Mozilla-Status"] = "RO", "0001"
    _mbox(path, read)
    (after,) = _items(open_connector(f"mbox://{path}"))
    assert (before.uri, before.stamp) == (after.uri, after.stamp)


@given(
    texts=st.lists(st.text(st.sampled_from("From >\n:12ab\r")), min_size=1, max_size=5),
    ending=st.sampled_from([b"\n", b"\r\n"]),
)
@settings(max_examples=40)
def test_messages_come_as_they_were_put_in(
    texts: list[str], ending: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("mail") / "box"
    bodies = [text.encode().replace(b"\r", b"").strip(b"\n") for text in texts]
    quoted = [b"\n".join(_quoted(line) for line in body.split(b"\n")) for body in bodies]
    parts = [
        b"From ann Thu Jan  1 00:00:00 1970\nMessage-ID: <%d>\n\n%b\n\n" % (number, body)
        for number, body in enumerate(quoted)
    ]
    path.write_bytes(b"".join(parts).replace(b"\n", ending))
    connector = open_connector(f"mbox://{path}")
    found = [_content(connector, item).replace(b"\r\n", b"\n").partition(b"\n\n")[2] for item in _items(connector)]
    assert [one.strip(b"\n") for one in found] == bodies


def _quoted(line: bytes) -> bytes:
    return b">" + line if line.lstrip(b">").startswith(b"From ") else line


def test_a_message_is_found_where_it_moved_to_while_it_was_read(tmp_path: Path) -> None:
    path = tmp_path / "box"
    _mbox(path, _mail(1, "One."), _mail(2, "Two."))
    connector = open_connector(f"mbox://{path}")
    items = _items(connector)
    _mbox(path, _mail(2, "Two."), _mail(3, "Three."))
    assert b"Two." in _content(connector, items[1])
    with pytest.raises(ReadError, match="message"):
        connector.fetch(items[0])


def test_what_is_no_mailbox_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Dear Ann,\n")
    os.mkfifo(tmp_path / "pipe")
    for name in ("a.txt", "pipe", "missing"):
        with pytest.raises(ConnectorError, match=name):
            list(open_connector(f"mbox://{tmp_path / name}").items())
    with pytest.raises(ConnectorError, match="no maildir"):
        list(open_connector(f"maildir://{tmp_path}").items())
    with pytest.raises(ConfigError, match="takes none"):
        open_connector(f"mbox://{tmp_path}/a.txt", options={"limit": 3})
    (tmp_path / "empty").write_bytes(b"")
    assert list(open_connector(f"mbox://{tmp_path}/empty").items()) == []


def test_a_maildir_keeps_the_rules(tmp_path: Path) -> None:
    box = mailbox.Maildir(tmp_path / "mail")
    keys = [box.add(_mail(number, f"Text {number}.")) for number in range(3)]
    inner = box.add_folder("Sent ü").add(_mail(9, "Sent."))
    source = f"maildir://{tmp_path}/mail"

    def where(key: str) -> Path:
        (path,) = (tmp_path / "mail").rglob(key + "*")
        return path

    def change() -> str:
        where(keys[0]).write_bytes(_mail(0, "Another text.").as_bytes())
        return f"{source}/{keys[0]}"

    def remove() -> str:
        where(keys[1]).unlink()
        return f"{source}/{keys[1]}"

    def unreachable() -> None:
        (tmp_path / "mail").rename(tmp_path / "away")

    uris = [item.uri for item in open_connector(source).items()]
    assert uris == [*sorted(f"{source}/{key}" for key in keys), f"{source}/.Sent%20%C3%BC/{inner}"]
    check_connector(lambda: open_connector(source), change=change, remove=remove, unreachable=unreachable)


def test_a_message_that_is_flagged_or_moved_stays_the_same(tmp_path: Path) -> None:
    box = mailbox.Maildir(tmp_path / "mail")
    key = box.add(_mail(1, "One."))
    connector = open_connector(f"maildir://{tmp_path}/mail")
    (before,) = _items(connector)
    os.rename(tmp_path / "mail/new" / key, tmp_path / "mail/cur" / f"{key}:2,S")
    assert b"One." in _content(connector, before)
    (after,) = _items(open_connector(f"maildir://{tmp_path}/mail"))
    assert before == after


def test_a_large_message_is_refused(tmp_path: Path) -> None:
    box = mailbox.Maildir(tmp_path / "mail")
    box.add(_mail(1, "x" * 1000))
    _mbox(tmp_path / "box", _mail(1, "x" * 1000))
    for source in (f"maildir://{tmp_path}/mail", f"mbox://{tmp_path}/box"):
        connector = open_connector(source, IngestSettings(max_file_bytes=999))
        (item,) = _items(connector)
        with pytest.raises(TooLarge):
            connector.fetch(item)


@given(
    st.binary(max_size=300)
    | st.lists(st.sampled_from([b"From a 12:34\n", b"\n", b"Message-ID:", b" <x>\r\n", b"\0", b"a"])).map(b"".join)
)
@settings(max_examples=60)
def test_any_bytes_are_a_mailbox_or_one_error(data: bytes) -> None:
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        connector = open_connector(f"mbox://{file.name}")
        try:
            items = _items(connector)
        except ConnectorError:
            return
        assert len({item.uri for item in items}) == len(items)
        for item in items:
            _content(connector, item)
