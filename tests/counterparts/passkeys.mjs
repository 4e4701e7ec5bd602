// A reviewer with a passkey, in a real browser with a virtual authenticator (WebDriver's, over CDP): is told how to
// come by one, adds it, and approves with it what nothing else approves.
//
// Usage: CONSOLE_TOKEN=… node passkeys.mjs URL APPROVAL PICTURES, run where node_modules is. Prints one JSON object
// a step.
import { createRequire } from "node:module";
import path from "node:path";
import { readFileSync } from "node:fs";

const require = createRequire(path.join(process.cwd(), "package.json"));
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

const [url, approval, pictures] = process.argv.slice(2);
const tell = (step, more = {}) => console.log(JSON.stringify({ step, ...more }));

const browser = await chromium.launch({
  executablePath: "/usr/bin/chromium",
  args: [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
  ],
});
const context = await browser.newContext({ viewport: { width: 1100, height: 800 }, bypassCSP: false });
const page = await context.newPage();
const complaints = [];
const isComplaint = (text) => /Content Security Policy|Uncaught/.test(text);
page.on("console", (message) => isComplaint(message.text()) && complaints.push(message.text()));
page.on("pageerror", (error) => complaints.push(String(error)));
const picture = (name) => page.screenshot({ path: path.join(pictures, `${name}.png`), fullPage: true });
const request = `${url}/approvals/${approval}`;
const status = () => page.locator("[data-passkey-status]").first();
const confirm = () => page.getByRole("button", { name: "Approve with passkey" }).first().click();

const cdp = await context.newCDPSession(page);
await cdp.send("WebAuthn.enable");
const { authenticatorId } = await cdp.send("WebAuthn.addVirtualAuthenticator", {
  options: {
    protocol: "ctap2", transport: "internal", hasResidentKey: false, hasUserVerification: true,
    isUserVerified: true, automaticPresenceSimulation: true,
  },
});

await page.goto(url);
await page.getByLabel(/token/i).fill(process.env.CONSOLE_TOKEN);
await page.getByRole("button", { name: /sign in/i }).click();
await page.getByRole("heading", { level: 1 }).waitFor();

// Without a passkey there is no other way to approve, and the page says how to come by one.
await page.goto(request);
const plain = await page.getByRole("button", { name: "Approve", exact: true }).count();
await confirm();
await status().filter({ hasText: "add one" }).waitFor();
tell("told", { plain });

await page.goto(`${url}/passkeys`);
await page.getByLabel("Name").fill("Laptop");
await page.getByRole("button", { name: "Add a passkey" }).click();
await page.getByText("Laptop").waitFor();
const found = await page.evaluate(`(async () => { ${axe}; return await axe.run(); })()`);
tell("added", { violations: found.violations.map((v) => `${v.id}: ${v.nodes.map((n) => n.target).join(" ")}`) });
await picture("passkeys");

// A finger that is not the person's confirms nothing.
await cdp.send("WebAuthn.setUserVerified", { authenticatorId, isUserVerified: false });
await page.goto(request);
await confirm();
await status().filter({ hasText: "Nothing was confirmed" }).waitFor();
tell("unverified");

await cdp.send("WebAuthn.setUserVerified", { authenticatorId, isUserVerified: true });
await page.getByLabel(/reason/i).first().fill("Reviewed the change,\nand the tests.");
await picture("passkey-approval");
await confirm();
await page.waitForURL(/done=/);
tell("approved", { complaints });
await browser.close();
process.exit(0);
