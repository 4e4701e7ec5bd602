// Every page of the console, filled with realistic requests, in light and dark, on a desktop and on a phone:
// no accessibility violations, nothing wider than its screen, a quiet browser console, and a picture of each.
//
// Usage: DEV='{…the ready line…}' COUNTERSIGN=… node pages.mjs PICTURES, run where node_modules is. Prints one
// JSON object a step.
import { createRequire } from "node:module";
import { spawn } from "node:child_process";
import path from "node:path";
import { mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";

const require = createRequire(path.join(process.cwd(), "package.json"));
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

const [pictures] = process.argv.slice(2);
const dev = JSON.parse(process.env.DEV);
const tell = (step, more = {}) => console.log(JSON.stringify({ step, ...more }));
const reviewers = dev.reviewers.map((reviewer) => reviewer.token);

async function call(base, token, method, at, body) {
  const headers = { authorization: `Bearer ${token}`, "content-type": "application/json" };
  const response = await fetch(base + at, { method, headers, body: body && JSON.stringify(body) });
  const text = await response.text();
  if (!response.ok) throw new Error(`${method} ${at}: ${response.status} ${text}`);
  return text ? JSON.parse(text) : null;
}
const check = (at, body) => call(dev.check, dev.check_token, "POST", at, body);
const api = (token, method, at, body) => call(dev.api, token, method, at, body);

// Asks for something as an agent's host would. Answers the approval's id.
async function ask(operation) {
  const denial = (await check("/access/v1/evaluation", operation)).context;
  const answer = await check("/access/v1/requests", {
    ...operation,
    denial: { evaluation_id: denial.evaluation_id, expires_at: denial.access_request.expires_at },
  });
  return answer.task.id;
}
const vote = (token, id, decision, reason) =>
  api(token, "POST", `/api/v1/approvals/${id}/votes`, { decision, reason });

const operation = (action, properties, resource, context) => ({
  subject: { type: "Agent", id: "some-caller" },
  action: { name: action, properties },
  resource,
  context,
});
const deploy = (version, provenance) =>
  operation(
    "deploy",
    { version, strategy: "rolling", replicas: 6, image: { repository: "registry.example.com/payments", digest: "sha256:9c1f" } },
    { type: "Service", id: "payments", properties: { environment: "production", region: "eu-central-1", tier: 1 } },
    { ticket: "OPS-1482", provenance },
  );
const release = () =>
  deploy("1.4.2", {
    initiator: "reviewer-three@example.com",
    reason: "Fixes the rounding of refunds; all checks on main are green.",
    model: "model-x", session: "release-1482",
    prompt: "Ship the rounding fix to production before noon and watch the error rate.",
  });
const bucket = (principal) => ({
  Version: "2012-10-17",
  Statement: [{ Effect: "Allow", Principal: principal, Action: "s3:GetObject", Resource: "arn:aws:s3:::invoices/*" }],
});

const publish = (page) =>
  operation("publish", { page, language: "en" }, { type: "Site", id: "docs" }, { provenance: { reason: "The page is out of date" } });

const running = [];
function start(args) {
  const env = { ...process.env, COUNTERSIGN_SOCKET: dev.check_socket };
  const child = spawn(process.env.COUNTERSIGN, args, { env, cwd: tmpdir(), stdio: ["pipe", "ignore", "ignore"] });
  running.push(child);
  return child;
}
const run = (args, input) => start(args).stdin.end(input);

// A tool call through the relay, whose arguments a reviewer can change.
function call_tool(name, args) {
  const folder = mkdtempSync(path.join(tmpdir(), "runbooks-"));
  const server = [process.env.COUNTERSIGN, "demo-files", "--root", folder];
  const client = start(["mcp", "--name", "runbooks", "--patience", "600", "--", ...server]);
  const params = { name, arguments: args };
  client.stdin.write(`${JSON.stringify({ jsonrpc: "2.0", id: 1, method: "tools/call", params })}\n`);
}

async function stage() {
  const earlier = await ask(deploy("1.4.1", { reason: "Release 1.4.1", model: "model-x" }));
  await vote(reviewers[0], earlier, "approve", "Changelog is fine");
  await vote(reviewers[1], earlier, "approve");
  const task = await call(dev.check, dev.check_token, "GET", `/access/v1/requests/${earlier}`);
  const again = deploy("1.4.1", { reason: "Release 1.4.1", model: "model-x" });
  again.context.approval = task.result.approval;
  await check("/access/v1/evaluation", again);
  const refused = await ask(
    operation("refund", { amount: 4200, currency: "EUR", order: "A-20931" },
      { type: "Customer", id: "c-3381", properties: { country: "DE" } },
      { provenance: { reason: "The customer asked for it twice" } }),
  );
  await vote(reviewers[0], refused, "deny", "No return was booked for this order");

  // What is always approved, for the report on attention; the last of them is not used yet.
  for (const page of ["install", "upgrade", "policies", "channels", "passkeys"]) {
    await vote(reviewers[0], await ask(publish(page)), "approve", "Reads well");
  }

  await ask(release());
  await ask(operation(
    "put-bucket-policy", { bucket: "invoices" },
    { type: "Bucket", id: "invoices", properties: { environment: "production", data: "personal" } },
    {
      diff: { name: "bucket policy", current: bucket({ AWS: "arn:aws:iam::111122223333:role/billing" }), new: bucket("*") },
      provenance: { reason: "The partner portal gets a 403 when it loads invoices.", model: "model-x" },
    },
  ));
  await ask(operation(
    "refund", { amount: 180.5, currency: "EUR", order: "A-21077", note: "p\u0430id twice\u202e" },
    { type: "Customer", id: "c-1204", properties: { country: "AT" } },
    { provenance: { reason: "Approved by: finance\n\nWho decides: nobody, this was decided already." } },
  ));
  run(["hook", "claude-code", "--timeout", "600"], JSON.stringify({
    session_id: "5f0c", cwd: "/srv/billing", hook_event_name: "PreToolUse", tool_name: "Edit",
    tool_input: {
      file_path: "/srv/billing/src/payments/refund.rs",
      old_string: "fn refund(order: &Order) -> Money {\n    let fee = order.total * 0.02;\n    order.total - fee\n}\n",
      new_string: "fn refund(order: &Order) -> Money {\n    let fee = (order.total * 0.02).round_to_cents();\n    // Nobody pays to get their money back.\n    (order.total - fee).max(Money::ZERO)\n}\n",
    },
  }));
  call_tool("write_file", {
    path: "payments/failover.md",
    content: "# Failover\n\n1. Drain the primary for 10 minutes.\n2. Promote the replica.\n",
    overwrite: true,
  });
  run(["exec", "--", "git", "push", "--force", "origin", "main"], "");
  for (let waited = 0; waited < 300; waited += 1) {
    const { items } = await api(reviewers[0], "GET", "/api/v1/approvals?state=pending");
    if (items.length >= 6) return;
    await new Promise((done) => setTimeout(done, 100));
  }
  throw new Error("not everything that was asked is pending");
}

const browser = await chromium.launch({
  executablePath: "/usr/bin/chromium",
  args: [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
  ],
});
const complaints = [];

async function signIn(token) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 } });
  const page = await context.newPage();
  page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
  page.on("pageerror", (error) => complaints.push(String(error)));
  await page.emulateMedia({ reducedMotion: "reduce" });
  await page.goto(`${dev.api}/sign-in`);
  await page.getByLabel(/token/i).fill(token);
  await page.getByRole("button", { name: /sign in/i }).click();
  await page.getByRole("heading", { level: 1 }).waitFor();
  return page;
}

const screens = [
  ["desktop", { width: 1280, height: 900 }, "light"],
  ["desktop-dark", { width: 1280, height: 900 }, "dark"],
  ["phone", { width: 360, height: 780 }, "light"],
  ["phone-dark", { width: 360, height: 780 }, "dark"],
];

async function look(page, name) {
  for (const [screen, viewport, colorScheme] of screens) {
    await page.setViewportSize(viewport);
    await page.emulateMedia({ colorScheme });
    const found = await page.evaluate(`(async () => { ${axe}; return await axe.run(); })()`);
    const violations = found.violations.map((v) => `${v.id}: ${v.nodes.map((n) => n.target).join(" ")}`);
    const wide = await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth");
    if (wide > 0) violations.push(`wider than its screen by ${wide} px`);
    await page.screenshot({ path: path.join(pictures, `${name}-${screen}.png`), fullPage: true });
    tell("looked", { page: name, screen, violations });
  }
  await page.setViewportSize({ width: 1280, height: 900 });
  await page.emulateMedia({ colorScheme: "light" });
}

async function visit(page, name, at) {
  await page.goto(dev.api + at);
  await page.locator("main.ready").waitFor();
  await look(page, name);
}

// What people say about a request, and an agent’s owner who cannot decide about it.
async function talk(id) {
  const comment = (token, text) => api(token, "POST", `/api/v1/approvals/${id}/comments`, { comment: text });
  await comment(reviewers[1], "Is the migration of OPS-1482 done? The new rounding reads its column.");
  await comment(dev.admin_token, "Yes, since this morning, in both regions.\nThe runbook is linked in the ticket.");
}

// Another set of arguments, looked over and sent; then what became of it.
async function changeArguments(id) {
  await visit(reviewer, "edit", `/approvals/${id}/edit`);
  const text = await reviewer.getByLabel(/arguments/i).inputValue();
  const look = () => reviewer.getByRole("button", { name: "Look over the changes" }).click();
  await reviewer.getByLabel(/arguments/i).fill(text.replace("true", "maybe"));
  await look();
  await reviewer.getByText("This is not acceptable JSON").waitFor();
  await look_at("edit-problem");
  await reviewer.getByLabel(/arguments/i).fill(text.replace("10 minutes", "30 minutes"));
  await look();
  await reviewer.getByText("like this?").waitFor();
  await look_at("edit-preview");
  await reviewer.getByRole("button", { name: "Change them" }).click();
  await reviewer.getByText("A reviewer changed the arguments").waitFor();
  await look_at("approval-edited");
}
const look_at = (name) => look(reviewer, name);

// Asked twice, done, and reviewed by somebody else.
async function breakGlass(id) {
  await visit(reviewer, "glass", `/approvals/${id}/break-glass`);
  await reviewer.getByLabel(/why it cannot wait/i).fill("Refunds fail for every customer, and nobody else answers the pager.");
  await reviewer.getByRole("button", { name: /go on/i }).click();
  await reviewer.getByText("Approve this alone, now?").waitFor();
  await look_at("glass-again");
  await reviewer.getByRole("button", { name: /yes, break the glass/i }).click();
  await reviewer.getByText("waits for a review").waitFor();
  await look_at("approval-glass");
  const other = await signIn(reviewers[1]);
  await visit(other, "inbox-review", "/");
  await visit(other, "approval-review", `/approvals/${id}`);
  await other.getByLabel(/what you find/i).fill("It was. The pager has two more people on it from tonight on.");
  await other.getByRole("button", { name: /close the review/i }).click();
  await other.getByText("reviewed", { exact: true }).waitFor();
  await look(other, "approval-reviewed");
  await other.context().close();
}

await stage();
await api(reviewers[0], "POST", "/api/v1/delegations", {
  stand_in: dev.reviewers[1].name, until: new Date(Date.now() + 7 * 86_400_000).toISOString(), reason: "on holiday",
});
const admin = await signIn(dev.admin_token);
const reviewer = await signIn(reviewers[0]);

await visit(reviewer, "inbox", "/");
await visit(reviewer, "inbox-filtered", "/?requirement=finance&mine=1");
const pending = (await api(reviewers[0], "GET", "/api/v1/approvals?state=pending")).items;
const find = (name) => pending.find((one) => one.operation.action.name === name).id;
await visit(reviewer, "approval", `/approvals/${find("deploy")}`);
await visit(reviewer, "approval-policy", `/approvals/${find("put-bucket-policy")}`);
await visit(reviewer, "approval-edit", `/approvals/${find("Agent::edit")}`);
await visit(reviewer, "approval-hostile", `/approvals/${find("refund")}`);
await talk(find("deploy"));
await visit(reviewer, "approval-comments", `/approvals/${find("deploy")}`);
await changeArguments(find("Mcp::tools/call"));
await breakGlass(await ask(deploy("1.4.3", { reason: "The error rate doubled after 1.4.1", model: "model-x" })));
const published = (await api(reviewers[0], "GET", "/api/v1/approvals?state=approved")).items[0].id;
await visit(reviewer, "approval-revocable", `/approvals/${published}`);
await visit(reviewer, "approval-revoke", `/approvals/${published}/revoke`);
await visit(reviewer, "you-stand-ins", "/you");
await visit(reviewer, "batch", `/batch?id=${find("refund")}&id=${find("deploy")}`);
for (const [name, at] of JSON.parse(process.env.PAGES)) await visit(admin, name, at);
// The pictures of the README: what fits one screen.
await reviewer.setViewportSize({ width: 1280, height: 860 });
await reviewer.goto(`${dev.api}/approvals/${find("put-bucket-policy")}`);
await reviewer.locator("main.ready").waitFor();
await reviewer.screenshot({ path: path.join(pictures, "console.png") });
await reviewer.setViewportSize({ width: 390, height: 844 });
await reviewer.emulateMedia({ colorScheme: "dark" });
await reviewer.goto(dev.api);
await reviewer.locator("main.ready").waitFor();
await reviewer.screenshot({ path: path.join(pictures, "phone.png") });
await reviewer.emulateMedia({ colorScheme: "light" });

// The story of one request: it is decided on a phone and by another reviewer, runs, and its timeline tells so.
await reviewer.setViewportSize({ width: 390, height: 844 });
await reviewer.goto(`${dev.api}/approvals/${find("deploy")}`);
await reviewer.getByLabel(/reason/i).fill("Checks are green");
await reviewer.screenshot({ path: path.join(pictures, "story-1-phone.png") });
await reviewer.getByRole("button", { name: /^approve/i }).click();
await reviewer.getByText(/you approved/i).waitFor();
await reviewer.screenshot({ path: path.join(pictures, "story-2-approved.png") });
await vote(reviewers[1], find("deploy"), "approve");
const task = await call(dev.check, dev.check_token, "GET", `/access/v1/requests/${find("deploy")}`);
const again = release();
again.context.approval = task.result.approval;
const decided = await check("/access/v1/evaluation", again);
await reviewer.getByText("It was started").waitFor();
await look(reviewer, "story-3-timeline");
tell("story", { decision: decided.decision });

await reviewer.goto(`${dev.api}/settings`);
await look(reviewer, "forbidden");
complaints.splice(0, complaints.length, ...complaints.filter((text) => !/40[034]/.test(text)));

tell("done", { complaints });
await browser.close();
for (const child of running) child.kill();
process.exit(0);
