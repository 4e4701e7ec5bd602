// People who sign in at identity providers in a real browser, and what is tried instead.
//
// Usage: node sign_in.mjs CONSOLE PICTURES, run where node_modules is. Prints one JSON object a step.
import { createRequire } from "node:module";
import path from "node:path";
import { readFileSync } from "node:fs";

const require = createRequire(path.join(process.cwd(), "package.json"));
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

const [url, pictures] = process.argv.slice(2);
const tell = (step, more = {}) => console.log(JSON.stringify({ step, ...more }));
const browser = await chromium.launch({
  executablePath: "/usr/bin/chromium",
  args: [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
  ],
});

/** A browser of somebody's own, with what it came back with. */
async function person() {
  const context = await browser.newContext({ viewport: { width: 1100, height: 800 } });
  const page = await context.newPage();
  const visit = { context, page, callback: null, kept: [] };
  page.on("request", async (request) => {
    if (request.url().startsWith(url) && request.url().includes("/callback?")) visit.callback ??= request.url();
  });
  return visit;
}

const go = async (page, address) => (await page.goto(address)).status();
const text = (page) => page.locator("main").innerText();
const problem = (page) => page.locator("#problem").innerText();
const who = (page) => page.locator("header .person").innerText();

/** At the provider: the emulated ones show their users, the other one asks for a name and for consent. */
async function atProvider(page, provider, name) {
  if (provider !== "sso") {
    await page.getByRole("button", { name: `${name}@example.com` }).first().click();
    return;
  }
  await page.locator("input[name=login]").fill(name);
  await page.locator("input[name=password]").fill("any");
  await page.getByRole("button", { name: /sign-in/i }).click();
  await page.getByRole("button", { name: /continue/i }).click();
}

async function signIn(visit, provider, name, at = url) {
  const { page, context } = visit;
  await page.goto(`${at}/sign-in`);
  await page.getByRole("link", { name: new RegExp(`sign in with ${provider}`, "i") }).click();
  await page.waitForURL((address) => !address.href.startsWith(at));
  visit.kept = await context.cookies(at);
  await atProvider(page, provider, name);
  await page.waitForURL((address) => address.href.startsWith(at));
}

/** Waits for what must come; the page's own words say what came instead. */
async function settled(page, selector) {
  await page.locator(selector).first().waitFor().catch(async () => {
    throw new Error(`no ${selector} at ${page.url()}: ${await page.locator("body").innerText()}`);
  });
}

// A session that will have run out by the end, kept by somebody whose browser does not forget it.
const short = process.env.SHORT;
const keeper = await person();
await signIn(keeper, "okta", "reviewer-one", short);
await settled(keeper.page, "header .person");
const cookie = (await keeper.context.cookies(short)).map(({ name, value }) => `${name}=${value}`).join("; ");
const knock = () => fetch(short, { headers: { cookie }, redirect: "manual" });
tell("kept", { status: (await knock()).status });

// Somebody of each provider comes in.
const okta = await person();
await okta.page.goto(`${url}/sign-in`);
await okta.page.screenshot({ path: path.join(pictures, "sign-in-providers.png"), fullPage: true });
const found = await okta.page.evaluate(`(async () => { ${axe}; return await axe.run(); })()`);
tell("page", { violations: found.violations.map((one) => one.id), text: await text(okta.page) });
await signIn(okta, "okta", "reviewer-one");
await settled(okta.page, "header .person");
tell("okta", { person: await who(okta.page), url: okta.page.url() });

const google = await person();
await signIn(google, "google", "reviewer-two");
await settled(google.page, "header .person");
tell("google", { person: await who(google.page) });

const sso = await person();
await signIn(sso, "sso", "reviewer-three");
await settled(sso.page, "header .person");
tell("sso", { person: await who(sso.page) });

// Somebody else's organisation, nobody's organisation, and no group with a role.
for (const [provider, name] of [["google", "guest"], ["google", "private"], ["okta", "outsider"], ["sso", "outsider"]]) {
  const visit = await person();
  await signIn(visit, provider, name);
  await settled(visit.page, "#problem");
  tell("refused", { provider, name, problem: await problem(visit.page), inside: (await go(visit.page, url)) && visit.page.url() });
  await visit.context.close();
}

// The code again: first as the browser would send it, then with the cookie that it had.
await okta.page.goto(okta.callback);
tell("replay", { problem: await problem(okta.page).catch(() => "still signed in"), url: okta.page.url() });
const again = await person();
await again.context.addCookies(okta.kept);
await again.page.goto(okta.callback);
await settled(again.page, "#problem");
tell("replay-with-cookie", { problem: await problem(again.page) });

// An answer that never arrived, opened in another browser, and given for another provider's.
const victim = await person();
const attacker = await person();
await attacker.page.goto(`${url}/sign-in`);
await attacker.page.getByRole("link", { name: /sign in with okta/i }).click();
await attacker.page.waitForURL((address) => !address.href.startsWith(url));
const stolen = await new Promise((resolve, reject) => {
  const keep = async (route) => {
    const answer = await route.fetch({ maxRedirects: 0 });
    resolve(answer.headers().location);
    await route.abort();
  };
  attacker.page.route((address) => !address.href.startsWith(url), (route) => keep(route).catch(reject));
  atProvider(attacker.page, "okta", "reviewer-one").catch(reject);
});
await victim.page.goto(stolen);
await settled(victim.page, "#problem");
tell("another-browser", { problem: await problem(victim.page) });
await attacker.page.unrouteAll();
await attacker.page.goto(stolen.replace("/okta/", "/google/"));
await settled(attacker.page, "#problem");
tell("mix-up", { problem: await problem(attacker.page) });

// Another nonce than the one that was asked with.
const forger = await person();
const departure = await forger.context.request.get(`${url}/sign-in/oidc/okta`, { maxRedirects: 0 });
const address = new URL(departure.headers().location);
address.searchParams.set("nonce", "another");
await forger.page.goto(address.href);
await atProvider(forger.page, "okta", "reviewer-one");
await settled(forger.page, "#problem");
tell("nonce", { problem: await problem(forger.page) });

// Signing out here signs out there, and that ends this person's session in every browser that shares it.
await sso.page.goto(url);
const twin = await sso.context.newPage();
await twin.goto(url);
await sso.page.getByRole("button", { name: /sign out/i }).click();
await sso.page.getByRole("button", { name: /yes/i }).click();
await sso.page.waitForURL(`${url}/sign-in`);
await twin.goto(url);
tell("signed-out", { url: twin.url() });

// Signing out there ends the session here, at once.
const other = await person();
await signIn(other, "sso", "reviewer-three");
await settled(other.page, "header .person");
const issuer = process.env.SSO;
await other.page.goto(`${issuer}/session/end`);
await other.page.getByRole("button", { name: /yes/i }).click();
await other.page.waitForURL(/session\/end\/success/);
await other.page.goto(`${url}/approvals/x`);
tell("ended-there", { url: other.page.url() });

// The session that has run out.
let answer = await knock();
while (answer.status === 200) {
  await new Promise((later) => setTimeout(later, 500));
  answer = await knock();
}
tell("expired", { status: answer.status, location: answer.headers.get("location") });
await browser.close();
