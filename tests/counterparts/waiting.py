"""The official Python MCP SDK as an agent that calls a tool which people must approve, as waiting.mjs does.

Usage: waiting.py URL TOKEN TOOL
"""

import asyncio
import json
import sys

from mcp import ClientSession
from mcp.client.streamable_http import create_mcp_http_client, streamable_http_client


def tell(step, **more):
    print(json.dumps({"step": step, **more}), flush=True)


async def call(session, tool):
    try:
        result = await session.call_tool(tool, {})
    except Exception as error:  # a JSON-RPC error is an answer, too
        return True, str(error)
    is_error = bool(getattr(result, "is_error", None) or getattr(result, "isError", None))
    return is_error, "".join(part.text for part in result.content if part.type == "text")


async def main():
    url, token, tool = sys.argv[1:]
    http = create_mcp_http_client(headers={"Authorization": f"Bearer {token}"})
    async with http, streamable_http_client(url, http_client=http) as streams:
        async with ClientSession(streams[0], streams[1]) as session:
            await session.initialize()
            tell("connected")
            for tries in range(1, 401):
                error, text = await call(session, tool)
                if not (error and "pending" in text.lower()):
                    tell("done", error=error, text=text, tries=tries)
                    return
                if tries == 1:
                    tell("pending", text=text)


asyncio.run(main())
