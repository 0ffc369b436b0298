from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragagent.connectors.addresses import public, split_credentials

_plain = st.text("abcxyz019-_.~", min_size=1)
_secret = st.text(st.characters(codec="ascii", exclude_characters="/?#\n\r"), min_size=9).map(lambda text: "S3" + text)


@given(user=_plain, secret=_secret, path=_plain, scheme=st.sampled_from(["https", "s3", "sql+x", "git+file"]))
def test_a_password_shows_in_no_address(user: str, secret: str, path: str, scheme: str) -> None:
    address = f"{scheme}://{user}:{secret}@host:1/{path}"
    assert public(address) == f"{scheme}://host:1/{path}"
    assert public(address, keep_user=True) == f"{scheme}://{user}@host:1/{path}"


@given(host=_plain, path=_plain, query=_plain)
def test_an_address_without_secrets_stays_as_it_is(host: str, path: str, query: str) -> None:
    for address in (f"https://{host}/{path}?{query}=1&b", f"git+file:///{path}", f"zip://{path}::s3://{host}/{path}"):
        assert public(address) == address
        assert split_credentials(address) == (address, None)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("https://h/p?X-Amz-Signature=1&a=2&X-Amz-Credential=3", "https://h/p?a=2"),
        ("https://h/p?token=1", "https://h/p"),
        ("https://h/p?api_key=1&key=2", "https://h/p?key=2"),
        ("https://account.example/c?sv=1&sig=abc", "https://account.example/c?sv=1"),
        ("zip://a::ftp://u:p@h/x.zip", "zip://a::ftp://h/x.zip"),
    ],
)
def test_parameters_that_carry_a_secret_are_left_out(address: str, shown: str) -> None:
    assert public(address) == shown
