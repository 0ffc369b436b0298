"""What a download may do and how patient it is: hub options, timeouts, offline. All of it is passed in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ragagent.errors import ConfigError

_TRUE = frozenset({"1", "on", "yes", "true"})


@dataclass(frozen=True, slots=True, kw_only=True)
class HubOptions:
    """Where the model hub is, who asks, and where its usual cache lies (None: no cache is looked at)."""

    endpoint: str = "https://huggingface.co"
    token: str | None = field(default=None, repr=False)
    cache: Path | None = None
    offline: bool = False

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> HubOptions:
        """Options from the variables that hub tools share: HF_ENDPOINT, HF_TOKEN, HF_HOME, HF_HUB_CACHE,
        HF_HUB_OFFLINE, and XDG_CACHE_HOME or HOME for the default cache. Raises ConfigError for a bad endpoint.
        """
        endpoint = (environ.get("HF_ENDPOINT") or cls().endpoint).rstrip("/")
        if not endpoint.startswith(("http://", "https://")):
            raise ConfigError(f"HF_ENDPOINT = {endpoint!r} must begin with http:// or https://")
        return cls(
            endpoint=endpoint,
            token=environ.get("HF_TOKEN", "").strip() or None,
            cache=_hub_cache(environ),
            offline=environ.get("HF_HUB_OFFLINE", "").strip().lower() in _TRUE,
        )


def _hub_cache(environ: Mapping[str, str]) -> Path | None:
    if environ.get("HF_HUB_CACHE"):
        return Path(environ["HF_HUB_CACHE"])
    if environ.get("HF_HOME"):
        return Path(environ["HF_HOME"]) / "hub"
    if environ.get("XDG_CACHE_HOME"):
        return Path(environ["XDG_CACHE_HOME"]) / "huggingface" / "hub"
    if environ.get("HOME"):
        return Path(environ["HOME"]) / ".cache" / "huggingface" / "hub"
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """How patient a download is. `attempts` are those in a row that bring nothing new; one that does starts afresh."""

    connect_timeout_s: float = 10.0
    read_timeout_s: float = 30.0
    attempts: int = 4
    backoff_s: float = 1.0
    index_timeout_s: float = 3600.0
    """For one wheel of a package index."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Everything a fetch needs to know about the world."""

    hub: HubOptions = field(default_factory=HubOptions)
    network: Network = field(default_factory=Network)
    download: Literal["auto", "never"] = "auto"

    @classmethod
    def from_environ(cls, environ: Mapping[str, str], download: Literal["auto", "never"] = "auto") -> Access:
        """Access under the hub's variables in `environ` (see HubOptions) and the setting models.download."""
        return cls(hub=HubOptions.from_environ(environ), download=download)

    @property
    def offline(self) -> str | None:
        """Why the network must not be used, or None when it may."""
        if self.download == "never":
            return "downloads are switched off (models.download = never)"
        # The variable is the hub's, but who sets it wants no calls to the outside from anywhere.
        return "the network is switched off (HF_HUB_OFFLINE)" if self.hub.offline else None
