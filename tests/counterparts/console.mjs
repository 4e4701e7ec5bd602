// A reviewer in a real browser: signs in, sees requests come in live, approves one and denies one.
//
// Usage: CONSOLE_TOKEN=… node console.mjs URL PICTURES, run where node_modules is. Reads "requested" lines on
// standard input when a request was made; prints one JSON object a step.
import { createRequire } from "node:module";
import path from "node:path";
import readline from "node:readline";
import { readFileSync } from "node:fs";

const require = createRequire(path.join(process.cwd(), "package.json"));
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

const [url, pictures] = process.argv.slice(2);
const token = process.env.CONSOLE_TOKEN;
const tell = (step, more = {}) => console.log(JSON.stringify({ step, ...more }));
const lines = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();

const browser = await chromium.launch({
  executablePath: "/usr/bin/chromium",
  args: [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
  ],
});
const context = await browser.newContext({ viewport: { width: 1100, height: 800 }, bypassCSP: false });
const page = await context.newPage();
await page.emulateMedia({ reducedMotion: "reduce" });
const complaints = [];
page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
page.on("pageerror", (error) => complaints.push(String(error)));
const picture = (name) => page.screenshot({ path: path.join(pictures, `${name}.png`), fullPage: true });

async function accessible(name) {
  const found = await page.evaluate(`(async () => { ${axe}; return await axe.run(); })()`);
  const violations = found.violations.map((v) => `${v.id}: ${v.nodes.map((n) => n.target).join(" ")}`);
  tell("axe", { page: name, violations });
}

await page.goto(url);
await page.getByLabel(/token/i).fill(token);
await picture("sign-in");
await page.getByRole("button", { name: /sign in/i }).click();
await page.getByRole("heading", { level: 1 }).waitFor();
await picture("empty");
tell("signed-in");

// A request that comes in while the page is open appears without a reload.
await lines.next();
await page.getByText("deploy").first().waitFor();
tell("live");
await picture("pending");
await page.setViewportSize({ width: 390, height: 844 });
await picture("pending-phone");
await page.emulateMedia({ colorScheme: "dark" });
await picture("pending-dark");
await page.emulateMedia({ colorScheme: "light" });
await page.setViewportSize({ width: 1100, height: 800 });
await accessible("inbox");

await page.getByLabel(/reason/i).first().fill("Reviewed the change");
await page.getByRole("button", { name: /^approve/i }).first().click();
await page.getByText(/approved/i).first().waitFor();
await picture("approved");
tell("approved");

await lines.next();
await page.goto(url);
await page.getByText("deploy").first().waitFor();
await page.getByLabel(/reason/i).first().fill("Not during the freeze");
await page.getByRole("button", { name: /^deny/i }).first().click();
await page.getByText(/denied/i).first().waitFor();
await picture("denied");
tell("denied", { complaints });
await browser.close();
process.exit(0);
