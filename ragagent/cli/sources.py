"""What the command line says about a source: an address or a name of the settings file, and its options."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import click

from ragagent.connectors.addresses import names_secret, public
from ragagent.errors import ConfigError, MissingExtra

NAMED = "source:"
_PLACES = "write env:NAME, keyring:SERVICE/USER or prompt:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """One source to ingest; `options` hold secrets and are not shown."""

    address: str
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def without(self, key: str) -> Chosen:
        """The same without one of its options."""
        return replace(self, options={name: value for name, value in self.options.items() if name != key})


def chosen_sources(
    given: Sequence[str], assignments: Sequence[str], named: Mapping[str, Mapping[str, Any]]
) -> list[Chosen]:
    """The sources that `given` names: addresses, or `source:NAME`; none given are all those of the settings file.

    Raises ConfigError for an unknown name, for options that go with several sources, and for a secret that is written
    out where others can read it.
    """
    if not given and not named:
        raise ConfigError("name a SOURCE: a path or an address, or write [sources.NAME] tables in ragagent.toml")
    options = _options(assignments)
    if options and len(given) != 1:
        raise ConfigError("--option goes with one source; ingest the others by a command of their own")
    return [_chosen(one, options, named) for one in given or [NAMED + name for name in named]]


def shown_address(address: str) -> str:
    """The address as it may be printed: a path as it is, any other without what is secret in it."""
    return public(address, keep_user=True) if "://" in address else address


def _chosen(given: str, options: Mapping[str, Any], named: Mapping[str, Mapping[str, Any]]) -> Chosen:
    if not given.startswith(NAMED):
        return Chosen(address=given, options=_revealed(options))
    name = given.removeprefix(NAMED)
    if name not in named:
        known = f"; there are {', '.join(named)}" if named else "; there are none"
        raise ConfigError(f"{given}: no table [sources.{name}] in the settings file{known}")
    table = {**named[name], **options}
    return Chosen(address=str(table.pop("address")), options=_revealed(table))


def _options(assignments: Sequence[str]) -> dict[str, str]:
    options: dict[str, str] = {}
    for assignment in assignments:
        key, separator, value = assignment.partition("=")
        if not separator or not key.strip():
            raise ConfigError(f"--option {assignment}: write it as KEY=VALUE")
        options[key.strip()] = value.strip()
    return options


def _revealed(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options with secrets fetched from where they are kept."""
    return {key: _value(key, value) for key, value in options.items()}


def _value(key: str, value: Any) -> Any:
    if isinstance(value, Mapping):
        return {inner: _value(inner, one) for inner, one in value.items()}
    if isinstance(value, str) and value.startswith("env:"):
        return _from_environment(key, value.removeprefix("env:"))
    if isinstance(value, str) and value.startswith("keyring:"):
        return _from_keyring(key, value.removeprefix("keyring:"))
    if value == "prompt:":
        return click.prompt(key, hide_input=True, err=True)
    if isinstance(value, str) and value and names_secret(key) and not os.path.exists(value):
        raise ConfigError(f"option {key}: a secret that is written out can be read by others; {_PLACES}")
    return value


def _from_environment(key: str, variable: str) -> str:
    if variable not in os.environ:
        raise ConfigError(f"option {key}: the environment has no {variable}")
    return os.environ[variable]


def _from_keyring(key: str, entry: str) -> str:
    try:
        import keyring
    except ImportError as error:
        raise MissingExtra(f"option {key} = keyring:", "keyring") from error
    service, _, user = entry.partition("/")
    found = keyring.get_password(service, user)
    if found is None:
        raise ConfigError(f"option {key}: the keyring has no password of {user!r} for {service!r}")
    return str(found)
