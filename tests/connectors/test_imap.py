from __future__ import annotations

import imaplib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragagent.connectors import open_connector
from ragagent.connectors.imap import decoded_name, encoded_name
from ragagent.errors import ConfigError, ConnectorError, ReadError, TooLarge
from ragagent.protocols import Fetched, SourceItem
from ragagent.settings import IngestSettings
from ragagent.testing.connector import check_connector

PASSWORD = "s3cret-ü"


@dataclass
class Account:
    """A new account of a real server; `client` may change what is in it."""

    name: str
    port: int
    tls_port: int
    ca_file: str
    client: Any

    @property
    def address(self) -> str:
        return f"imap://{self.name}@localhost:{self.port}"

    def put(self, folder: str, number: int, text: str = "") -> None:
        body = f"From: a@example.org\r\nSubject: Letter {number}\r\n\r\n{text or f'Text {number}.'}\r\n"
        self.client.append(f'"{encoded_name(folder)}"', None, None, body.encode())

    def open(self, folder: str = "/INBOX", **options: Any) -> Any:
        options = {"password": PASSWORD, "ca_file": self.ca_file, **options}
        return open_connector(self.address + folder, options=options)


@pytest.fixture(scope="module")
def server(certificate: tuple[Path, Path]) -> Iterator[tuple[int, int, str]]:
    """Dovecot on loopback, which lets everyone in who has the password: its ports, and the file of its certificate."""
    program = shutil.which("dovecot") or "/usr/sbin/dovecot"
    if not os.path.exists(program):
        pytest.skip("needs dovecot: apt-get install dovecot-imapd")
    # Not below pytest's own folder: the server's processes give up their rights and could not enter that.
    home = Path(tempfile.mkdtemp(prefix="ragagent-imap-"))
    home.chmod(0o755)
    user = pwd.getpwnam("nobody") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
    (home / "mail").mkdir()
    os.chown(home / "mail", user.pw_uid, user.pw_gid)
    cert, key = certificate
    plain, tls = _free_port(), _free_port()
    here = pwd.getpwuid(os.geteuid()).pw_name
    inner = "dovecot" if os.geteuid() == 0 else here
    login = "dovenull" if os.geteuid() == 0 else here
    (home / "dovecot.conf").write_text(
        f"""
        base_dir = {home}/run
        state_dir = {home}/state
        log_path = {home}/log
        protocols = imap
        listen = 127.0.0.1
        ssl = yes
        ssl_cert = <{cert}
        ssl_key = <{key}
        mail_location = maildir:{home}/mail/%u
        first_valid_uid = 1
        auth_failure_delay = 0
        default_internal_user = {inner}
        default_internal_group = {"dovecot" if os.geteuid() == 0 else inner}
        default_login_user = {login}
        passdb {{
          driver = static
          args = password={PASSWORD}
        }}
        userdb {{
          driver = static
          args = uid={user.pw_uid} gid={user.pw_gid} home={home}/mail/%u
        }}
        service imap-login {{
          chroot =
          inet_listener imap {{
            port = {plain}
          }}
          inet_listener imaps {{
            port = {tls}
            ssl = yes
          }}
        }}
        service anvil {{
          chroot =
          unix_listener anvil-auth-penalty {{
            mode = 0
          }}
        }}
        service stats {{
          chroot =
        }}
        """
    )
    process = subprocess.Popen([program, "-F", "-c", str(home / "dovecot.conf")], stderr=subprocess.DEVNULL)
    try:
        _wait_for(plain, home / "log")
        yield plain, tls, str(cert)
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(home, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(port: int, log: Path) -> None:
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError(log.read_text() if log.exists() else "dovecot did not start")


@pytest.fixture
def account(server: tuple[int, int, str], request: pytest.FixtureRequest) -> Iterator[Account]:
    plain, tls, certificate = server
    name = f"ann{abs(hash(request.node.name)) % 10**8}@example.org"
    client = imaplib.IMAP4("127.0.0.1", plain, timeout=20)
    client.authenticate("PLAIN", lambda _: f"\0{name}\0{PASSWORD}".encode())
    yield Account(name, plain, tls, certificate, client)
    client.logout()


def _items(connector: Any) -> list[SourceItem]:
    return [item for item in connector.items() if isinstance(item, SourceItem)]


def test_a_folder_keeps_the_rules(account: Account) -> None:
    account.client.create("Box")
    for number in range(1, 4):
        account.put("Box", number)

    def remove() -> str:
        account.client.select("Box")
        account.client.uid("STORE", "2", "+FLAGS", "\\Deleted")
        account.client.close()
        return f"{account.address}/Box;UID=2"

    def unreachable() -> None:
        account.client.delete("Box")

    connector = account.open("/Box")
    found = connector.fetch(_items(connector)[0])
    assert isinstance(found, Fetched)
    assert (found.media_type, b"Text 1." in bytes(found.content)) == ("message/rfc822", True)  # type: ignore[arg-type]
    check_connector(lambda: account.open("/Box"), remove=remove, unreachable=unreachable, secrets=(PASSWORD,))


def test_reading_marks_nothing(account: Account) -> None:
    account.put("INBOX", 1)
    connector = account.open()
    connector.fetch(_items(connector)[0])
    account.client.select("INBOX", readonly=True)
    assert account.client.uid("FETCH", "1", "(FLAGS)")[1][0].find(b"\\Seen") == -1


def test_an_account_is_all_its_folders_but_the_bin(account: Account) -> None:
    for folder in ("Sent", 'Grüße & "more"', "Trash", "Work.Junk"):
        account.client.create('"' + encoded_name(folder).replace('"', '\\"') + '"')
    account.put("INBOX", 1)
    account.put("Sent", 2)
    account.client.append('"' + encoded_name('Grüße & "more"').replace('"', '\\"') + '"', None, None, b"A: b\r\n\r\nc")
    account.put("Trash", 4)
    connector = account.open("")
    assert connector.source == account.address
    uris = [item.uri.removeprefix(account.address + "/") for item in _items(connector)]
    assert uris == ["Gr%C3%BC%C3%9Fe%20%26%20%22more%22;UID=1", "INBOX;UID=1", "Sent;UID=1"]
    assert all(isinstance(connector.fetch(item), Fetched) for item in _items(connector))
    check_connector(lambda: account.open(""))


def test_a_number_limit_and_a_day_narrow_a_folder(account: Account) -> None:
    for number in range(1, 6):
        account.put("INBOX", number)
    assert [item.uri[-1] for item in _items(account.open(limit="2"))] == ["4", "5"]
    assert len(_items(account.open(since="2001-01-01"))) == 5
    assert _items(account.open(since="2999-01-01")) == []
    with pytest.raises(ConfigError, match="2025-01-31"):
        account.open(since="yesterday")


def test_numbers_given_anew_bring_the_messages_again(account: Account) -> None:
    account.client.create("Box")
    account.put("Box", 1, "Old.")
    old = account.open("/Box")
    (before,) = _items(old)
    account.client.delete("Box")
    time.sleep(1.1)  # the server makes the validity from the time, in seconds
    account.client.create("Box")
    account.put("Box", 2, "New.")
    (after,) = _items(account.open("/Box"))
    assert before.uri == after.uri
    assert before.stamp != after.stamp
    with pytest.raises(ReadError):
        old.fetch(before)


def test_mail_travels_encrypted(account: Account) -> None:
    account.put("INBOX", 1)
    options = {"password": PASSWORD, "ca_file": account.ca_file}
    address = f"imaps://{account.name}@localhost:{account.tls_port}/INBOX"
    assert len(_items(open_connector(address, options=options))) == 1
    with pytest.raises(ConnectorError, match="CERTIFICATE_VERIFY_FAILED"):
        list(open_connector(address, options={"password": PASSWORD}).items())
    with pytest.raises(ConnectorError, match="CERTIFICATE_VERIFY_FAILED"):
        list(open_connector(account.address + "/INBOX", options={"password": PASSWORD}).items())


def test_a_large_message_is_refused_before_it_comes(account: Account) -> None:
    account.put("INBOX", 1, "x" * 1000)
    address = f"{account.address}/INBOX"
    settings = IngestSettings(max_file_bytes=999)
    options = {"password": PASSWORD, "ca_file": account.ca_file}
    connector = open_connector(address, settings, options=options)
    (item,) = _items(connector)
    with pytest.raises(TooLarge):
        connector.fetch(item)


def test_a_lost_connection_is_made_again(account: Account) -> None:
    account.put("INBOX", 1)
    connector = account.open()
    (item,) = _items(connector)
    connector._server._open[0].sock.shutdown(socket.SHUT_RDWR)
    assert isinstance(connector.fetch(item), Fetched)


def test_what_the_server_refuses_is_told_without_the_password(account: Account) -> None:
    with pytest.raises(ConnectorError, match="does not let ann") as caught:
        list(account.open(password="wr0ng").items())
    assert "wr0ng" not in str(caught.value)
    with pytest.raises(ConnectorError, match="no folder 'Nothing'"):
        list(account.open("/Nothing").items())
    with pytest.raises(ConnectorError, match=r"127\.0\.0\.1:1"):
        list(open_connector("imap://ann@127.0.0.1:1/INBOX", options={"password": "x"}).items())
    with pytest.raises(ConfigError, match="option user"):
        open_connector("imaps://example.org/INBOX")


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc"])))
def test_names_of_folders_travel_in_plain_letters(name: str) -> None:
    spelt = encoded_name(name)
    assert spelt.isascii()
    assert decoded_name(spelt.encode()) == name
