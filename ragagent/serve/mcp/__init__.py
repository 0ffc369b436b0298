"""A knowledge base as an MCP server, over standard input and output or HTTP. docs/mcp.md shows it in use."""

from ragagent.serve.mcp.limits import Limits
from ragagent.serve.mcp.server import build_server, serve_stdio
from ragagent.serve.mcp.writing import Writes

__all__ = ["Limits", "Writes", "build_server", "serve_stdio"]
