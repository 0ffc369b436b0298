"""A server for tests: run with a name of a transport and, for HTTP, a port."""

import asyncio
import os
import signal
import sys

from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError

server = MCPServer("peer", log_level="ERROR")


@server.tool(description=os.environ.get("PEER_DESCRIPTION", "Adds two numbers."))
def add(a: int, b: int) -> int:
    return a + b


@server.tool()
def fail(why: str) -> str:
    """Fails."""
    raise ToolError(why)


@server.tool()
def environment() -> str:
    """The names of the variables it sees."""
    return " ".join(sorted(os.environ))


@server.tool()
async def die() -> str:
    """Ends in the middle of the call."""
    os.kill(os.getpid(), signal.SIGKILL)
    return "never"


@server.tool()
async def wait(seconds: float, context: Context) -> str:
    """Waits."""
    await context.report_progress(1, 2, "half")
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        if name := os.environ.get("PEER_CANCELLED"):
            open(name, "w").close()
        raise
    return "waited"


if taken := os.environ.get("PEER_TAKES"):
    server.add_tool(add, name=taken)


@server.resource("note://one")
def one() -> str:
    return "the note"


@server.resource("note://long/{number}")
def long(number: int) -> str:
    return " ".join(map(str, range(number)))


@server.prompt()
def greet(who: str) -> str:
    """Greets."""
    return f"Greet {who}"


if sys.argv[1] == "stdio":
    print("a word on standard error", file=sys.stderr)
    server.run("stdio")
else:
    server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[2]))
