"""Principals and acls: who has which name, and what is no name at all."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragagent.access import PUBLIC, Mask, Principal, acl_of, principal_of
from ragagent.errors import ConfigError
from ragagent.testing.plain import accepts
from ragagent.types import Document

NAMES = st.text(min_size=1, max_size=8).filter(lambda name: name.isprintable() and name.strip() == name)
PLAIN = st.sampled_from(["ann", "bob", "law", "tax", "Ann", "public", "group:law", "user:ann", "cn=law,ou=groups", "é"])
PRINCIPALS = st.builds(Principal, user=st.none() | NAMES | PLAIN, groups=st.lists(NAMES | PLAIN, max_size=3).map(tuple))
ACLS = st.lists(
    st.one_of(st.just(PUBLIC), PLAIN.map("user:{}".format), PLAIN.map("group:{}".format), PLAIN), max_size=4
).map(tuple)


@given(principal=PRINCIPALS, acl=ACLS, unlabelled=st.sampled_from(["owner", "public"]))
def test_a_document_is_admitted_as_its_filter_lets_it_through(principal: Principal, acl: Any, unlabelled: Any) -> None:
    mask = Mask(principal=principal, unlabelled=unlabelled)
    assert mask.admits(acl) == accepts(mask.where, Document(text="x", acl=acl))
    # Metadata of that name says nothing.
    assert mask.admits(acl) == accepts(mask.where, Document(text="x", acl=acl, metadata={"acl": [PUBLIC, None]}))


@given(acl=ACLS, principal=PRINCIPALS)
def test_a_principal_is_its_names_and_no_others(acl: Any, principal: Principal) -> None:
    wanted = {PUBLIC} | {f"group:{name}" for name in principal.groups}
    wanted |= set() if principal.user is None else {f"user:{principal.user}"}
    assert set(principal.names) == wanted
    assert Mask(principal=principal).admits(acl) == bool(wanted & set(acl))


@given(PRINCIPALS)
def test_a_principal_is_read_back_from_its_names(principal: Principal) -> None:
    assert principal_of(acl_of(list(principal.names))) == principal


def test_a_user_who_calls_himself_a_group_or_public_is_neither() -> None:
    for name in ("public", "group:law"):
        mask = Mask(principal=Principal(user=name))
        assert not mask.admits(("group:law",))
        assert mask.admits((f"user:{name}",))
    assert not Mask(principal=Principal(groups=("ann",))).admits(("user:ann",))


def test_a_document_without_an_acl_is_the_owners_unless_it_is_said_to_be_public() -> None:
    everybody = Principal(user="ann", groups=("law",))
    assert not Mask(principal=everybody).admits(())
    assert Mask(principal=everybody, unlabelled="public").admits(())


@pytest.mark.parametrize(
    ("written", "acl"),
    [
        ("", ()),
        ([], ()),
        ("public", ("public",)),
        ("user:ann, group:law", ("group:law", "user:ann")),
        (["user:ann", "group:law", "user:ann"], ("group:law", "user:ann")),
        ("group:cn=law,ou=groups,user:ann", ("group:cn=law,ou=groups", "user:ann")),
        ("public,user:public", ("public", "user:public")),
        ("group:public, public", ("group:public", "public")),
    ],
)
def test_an_acl_is_read_as_it_is_written(written: Any, acl: tuple[str, ...]) -> None:
    assert acl_of(written) == acl


@pytest.mark.parametrize(
    "wrong",
    ["ann", "users:ann", "user:", "group: ", "user: ann", "Public", "*", "user:a\nb", ["ann"], [3], 3, None,
     {"user": "ann"}, "user:" + "x" * 2000, ["user:ann"] * 20_000],
)  # fmt: skip
def test_what_is_no_principal_is_refused(wrong: Any) -> None:
    with pytest.raises(ConfigError, match="user:NAME"):
        acl_of(wrong)


def test_a_principal_is_one_user_and_named_groups() -> None:
    with pytest.raises(ConfigError, match="one user at most"):
        principal_of(["user:ann", "user:bob"])
    with pytest.raises(ConfigError, match="tuple of names"):
        Principal(groups="law")  # type: ignore[arg-type]
    for wrong in ({"user": ""}, {"user": "a\n"}, {"groups": ("",)}, {"groups": (" law",)}):
        with pytest.raises(ConfigError, match="no principal"):
            Principal(**wrong)
    assert principal_of(["user:ann,group:law", "group:tax"]) == Principal(user="ann", groups=("tax", "law"))
    assert str(Principal(user="ann", groups=("law",))) == "user:ann, group:law"
    assert str(Principal()) == "public"
