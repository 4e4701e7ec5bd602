"""The official Python MCP SDK as an agent: reads, writes and deletes through a server that it was given.

Usage: mcp_client.py FOLDER COMMAND [ARG ...]
Prints one JSON object a step, so that the test can follow along.
"""

import asyncio
import json
import os
import sys

from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client


def tell(step, **more):
    print(json.dumps({"step": step, **more}), flush=True)


def text_of(result):
    return "".join(part.text for part in result.content if part.type == "text")


def is_error(result):
    return bool(getattr(result, "is_error", None) or getattr(result, "isError", None))


async def call(session, step, tool, arguments):
    try:
        result = await session.call_tool(tool, arguments)
        tell(step, error=is_error(result), text=text_of(result))
    except Exception as error:  # a JSON-RPC error is an answer, too
        tell(step, error=True, text=str(error))


async def main():
    folder, command, *args = sys.argv[1:]
    server = StdioServerParameters(command=command, args=args, env=dict(os.environ))
    async with stdio_client(server) as (read, write), ClientSession(read, write) as session:
        await session.initialize()
        tools = await session.list_tools()
        tell("tools", names=sorted(tool.name for tool in tools.tools))
        note = os.path.join(folder, "note.txt")
        await call(session, "read", "read_text_file", {"path": note})
        await call(session, "write", "write_file", {"path": note, "content": "countersigned"})
        await call(session, "move", "move_file", {"source": note, "destination": note + ".moved"})
    tell("done")


asyncio.run(main())
