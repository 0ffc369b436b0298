"""The process: uvicorn around the application, patient with nobody, ending in order."""

from __future__ import annotations

import asyncio
import signal
import socket
from types import FrameType
from typing import Any

import h11
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from ragagent.errors import ConfigError
from ragagent.serve.http import logs, priority
from ragagent.serve.http.guard import is_loopback
from ragagent.serve.http.limits import Limits
from ragagent.serve.http.service import Service
from ragagent.serve.http.tokens import Tokens

MOST_CONNECTIONS = 1000
MOST_HEAD_BYTES = 32 * 1024


def require_safe(host: str, tokens: Tokens) -> None:
    """Raises ConfigError when `host` can be reached from other machines and no token was ever made."""
    if not is_loopback(host) and not tokens.any():
        raise ConfigError(
            f"--host {host} lets other machines in, and there are no tokens yet: make one with "
            "`ragagent token create NAME`, or serve this machine alone with --host 127.0.0.1"
        )


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens there; port 0 takes a free one. Raises ConfigError when it is taken, or not ours.

    Who connects before the server is ready waits, and is not turned away.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Only of a socket that says it is TCP does asyncio send small pieces at once; else each answer takes 40 ms more.
    made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((host, port))
        made.listen(2048)
    except OSError as error:
        made.close()
        raise ConfigError(f"--host {host} --port {port}: {error.strerror}; choose another port") from error
    return made


def configured(app: FastAPI, limits: Limits) -> uvicorn.Config:
    """How uvicorn is run, here and in tests."""
    return uvicorn.Config(
        app,
        http=_Protocol.patient(limits.header_s),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=MOST_CONNECTIONS,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=round(limits.closing_s),
        h11_max_incomplete_event_size=MOST_HEAD_BYTES,
    )


def serve(app: FastAPI, made: socket.socket, limits: Limits) -> None:
    """Serves until SIGTERM or SIGINT; then takes nothing new, lets what is under way end within `limits.closing_s`.

    It returns then; a second SIGINT ends it without patience.
    """
    with priority.quick_turns():
        _Server(configured(app, limits), app.state.service).run(sockets=[made])


class _Server(uvicorn.Server):
    """Tells the application at once when it is to end, so that streams end and nothing new is taken on."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service
        self._loop: asyncio.AbstractEventLoop | None = None

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().serve(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        logs.log("closing", signal=sig)
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._service.begin_closing)
        # What uvicorn itself does beside this is to raise the signal again at the end, which would kill the process
        # before the knowledge base is closed.
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True


class _Protocol(H11Protocol):
    """Hangs up on whoever takes too long over the head of a request."""

    header_s = 20.0
    _late: asyncio.TimerHandle | None = None

    @classmethod
    def patient(cls, header_s: float) -> type[_Protocol]:
        """The protocol with that much patience."""
        return type("Protocol", (cls,), {"header_s": header_s})

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._expect()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
        super().connection_lost(exc)

    def _expect(self) -> None:
        """Starts the clock where a head is awaited or has begun, and stops it where one is there."""
        waits = self.conn.their_state is h11.IDLE
        begun = waits and (self.cycle is None or bool(self.conn.trailing_data[0]))
        if not begun:
            self._forget()
        elif self._late is None:
            self._late = self.loop.call_later(self.header_s, self._hang_up)

    def _forget(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _hang_up(self) -> None:
        self._late = None
        if self.conn.their_state is h11.IDLE and not self.transport.is_closing():
            self.transport.close()
