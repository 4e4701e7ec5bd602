// The official TypeScript MCP SDK as an agent: the same steps as mcp_client.py.
//
// Usage: node mcp_client.mjs FOLDER COMMAND [ARG ...], run where node_modules is.
import { createRequire } from "node:module";
import path from "node:path";
import { pathToFileURL } from "node:url";

const require = createRequire(path.join(process.cwd(), "package.json"));
const load = (name) => import(pathToFileURL(require.resolve(name)).href);
const { Client } = await load("@modelcontextprotocol/sdk/client/index.js");
const { StdioClientTransport } = await load("@modelcontextprotocol/sdk/client/stdio.js");

const tell = (step, more = {}) => console.log(JSON.stringify({ step, ...more }));

async function call(client, step, name, args) {
  try {
    const result = await client.callTool({ name, arguments: args });
    const text = result.content.filter((part) => part.type === "text").map((part) => part.text).join("");
    tell(step, { error: Boolean(result.isError), text });
  } catch (error) {
    tell(step, { error: true, text: String(error) });
  }
}

const [folder, command, ...args] = process.argv.slice(2);
const client = new Client({ name: "countersign-e2e", version: "1.0.0" });
await client.connect(new StdioClientTransport({ command, args, env: { ...process.env } }));
const tools = await client.listTools();
tell("tools", { names: tools.tools.map((tool) => tool.name).sort() });
const note = path.join(folder, "note.txt");
await call(client, "read", "read_text_file", { path: note });
await call(client, "write", "write_file", { path: note, content: "countersigned" });
await call(client, "move", "move_file", { source: note, destination: `${note}.moved` });
await client.close();
tell("done");
