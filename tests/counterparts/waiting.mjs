// The official TypeScript MCP SDKs as an agent that calls a tool which people must approve, under the SDK's
// default time-outs. Told that the approval is pending, it makes the same call again, as a model does.
//
// Usage: COUNTERSIGN_SDK=v1|v2|v2-stateless node waiting.mjs URL TOKEN TOOL, run where node_modules is.
import { createRequire } from "node:module";
import path from "node:path";
import { pathToFileURL } from "node:url";

const require = createRequire(path.join(process.cwd(), "package.json"));
const load = (name) => import(pathToFileURL(require.resolve(name)).href);
const tell = (step, more = {}) => console.log(JSON.stringify({ step, ...more }));

const [url, token, tool] = process.argv.slice(2);
const kind = process.env.COUNTERSIGN_SDK;
const about = { name: "countersign-e2e", version: "1.0.0" };
let client;
let Transport;
if (kind === "v1") {
  const { Client } = await load("@modelcontextprotocol/sdk/client/index.js");
  ({ StreamableHTTPClientTransport: Transport } = await load("@modelcontextprotocol/sdk/client/streamableHttp.js"));
  client = new Client(about);
} else {
  const sdk = await load("@modelcontextprotocol/client");
  Transport = sdk.StreamableHTTPClientTransport;
  const mode = kind === "v2-stateless" ? { pin: "2026-07-28" } : "legacy";
  client = new sdk.Client(about, { versionNegotiation: { mode } });
}
await client.connect(new Transport(new URL(url), { requestInit: { headers: { Authorization: `Bearer ${token}` } } }));
tell("connected");
for (let tries = 1; tries <= 400; tries += 1) {
  let text;
  let error = true;
  try {
    const result = await client.callTool({ name: tool, arguments: {} });
    text = result.content.map((part) => part.text ?? "").join("");
    error = Boolean(result.isError);
  } catch (thrown) {
    text = String(thrown);
  }
  const waits = error && /pending|rounds/i.test(text);
  if (!waits) {
    tell("done", { error, text, tries });
    break;
  }
  if (tries === 1) tell("pending", { text });
}
await client.close();
process.exit(0);
