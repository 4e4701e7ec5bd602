// A reviewer in the Microsoft 365 Agents Playground: sees the card, links their account, approves, sees the card change.
//
// Usage: CONSOLE_TOKEN=… node teams.mjs PLAYGROUND CONSOLE PICTURES, run where node_modules is. Reads a line on standard
// input when a request was made, then the card's link, then one when to decide; prints one JSON object a step.
import { createRequire } from "node:module";
import path from "node:path";
import readline from "node:readline";

const require = createRequire(path.join(process.cwd(), "package.json"));
const { chromium } = require("playwright-core");

const [playground, console_, pictures] = process.argv.slice(2);
const tell = (step) => console.log(JSON.stringify({ step }));
const lines = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const browser = await chromium.launch({
  executablePath: "/usr/bin/chromium",
  args: [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
  ],
});
const context = await browser.newContext({ viewport: { width: 1300, height: 1000 } });
const patience = { timeout: 60_000 };
process.on("uncaughtException", async (error) => {
  console.error(error);
  await chat.screenshot({ path: path.join(pictures, "teams-failed.png") });
  process.exit(1);
});

const desk = await context.newPage();
await desk.goto(console_);
await desk.getByLabel(/token/i).fill(process.env.CONSOLE_TOKEN);
await desk.getByRole("button", { name: /sign in/i }).click();
await desk.getByRole("heading", { level: 1 }).waitFor();

const chat = await context.newPage();
const approve = () => chat.getByRole("button", { name: "Approve", exact: true });
await chat.goto(playground);
await chat.getByText("Connected.").waitFor(patience);
tell("connected");

await lines.next();
await approve().waitFor(patience);
await chat.screenshot({ path: path.join(pictures, "teams-card.png") });
tell("card");

await approve().click();
await chat.getByText(/not linked to a person/).waitFor(patience);
await chat.getByText("Link this account", { exact: true }).last().waitFor(patience);
tell("unlinked");
// The Playground opens no pages for a card's links.
const popup = await context.newPage();
await popup.goto((await lines.next()).value);
await popup.getByRole("heading", { name: "Is this your account?" }).waitFor(patience);
await popup.screenshot({ path: path.join(pictures, "teams-link.png") });
await popup.getByRole("button", { name: "Link this account" }).click();
await popup.getByText(/now votes as/).waitFor(patience);
tell("linked");

await lines.next();
await chat.getByLabel(/reason/i).last().fill("looked at it");
await approve().last().click();
await chat.getByText(/: approved/).first().waitFor(patience);
await chat.screenshot({ path: path.join(pictures, "teams-approved.png") });
if (await approve().count()) throw new Error("there is still something to approve");
tell("approved");
await browser.close();
process.exit(0);
