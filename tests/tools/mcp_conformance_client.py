"""Our MCP client under the command of the official conformance suite: `mcp_conformance_client.py URL`.

It does what an agent of ours does: lists the tools and calls them. Where the suite says which calls to make, it makes
those. The person at the browser follows the redirects and signs in at once; the one who is asked presses Enter.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import threading
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ragagent.errors import ToolError
from ragagent.tools.mcp import Connection
from ragagent.tools.mcp_config import Registration, Server
from ragagent.tools.mcp_signin import Browser
from ragagent.tools.mcp_tokens import Tokens

METADATA_URL = "https://conformance-test.local/client-metadata.json"
"""The client id that the suite expects of clients that have a document on the web."""


def follow(url: str) -> None:
    """Signs in: the suite's authorization server redirects at once."""

    def visit() -> None:
        with urllib.request.urlopen(url, timeout=20):
            pass

    threading.Thread(target=visit, daemon=True).start()


def sample(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments that fit a simple schema."""
    by_type: dict[str, Any] = {"string": "text", "number": 2, "integer": 2, "boolean": True, "array": [], "object": {}}
    properties = schema.get("properties", {})
    return {name: by_type.get(properties[name].get("type"), "text") for name in schema.get("required", ())}


def calls(connection: Connection, wanted: list[dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    """What to call: what the suite says, or else each tool once."""
    tools = connection.tools()
    if wanted:
        return [(one["name"], one.get("arguments", {})) for one in wanted]
    return [(tool.name, sample(tool.schema)) for tool in tools]


def main() -> int:
    said = json.loads(os.environ.get("MCP_CONFORMANCE_CONTEXT", "{}"))
    server = Server(
        name="suite",
        url=sys.argv[-1],
        oauth=Registration(
            client_id=said.get("client_id", ""),
            client_secret=said.get("client_secret", ""),
            metadata_url="" if said.get("client_id") else METADATA_URL,
        ),
    )
    with tempfile.TemporaryDirectory() as folder:
        tokens = Tokens(Path(folder) / "tokens.json")
        connection = Connection(server, ask=lambda form: {}, tokens=tokens, browser=Browser(open=follow), timeout_s=25)
        failed = 0
        try:
            for name, arguments in calls(connection, said.get("toolCalls", [])):
                try:
                    print(name, connection.call(name, arguments)[:200])
                except ToolError as error:
                    failed += 1
                    print(f"{name}: {error}", file=sys.stderr)
        except ToolError as error:
            print(error, file=sys.stderr)
            return 1
        finally:
            connection.close()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
