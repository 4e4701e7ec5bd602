// Identity providers to sign in at: oidc-provider as somebody's own SSO, and emulate as Okta and Google.
//
// Usage: node idp.mjs CONSOLE…, run where node_modules is. Prints one JSON object with their issuers when they
// are ready, and runs until it is killed.
import { createServer } from "node:http";
import path from "node:path";
import { pathToFileURL } from "node:url";

const load = (file) => import(pathToFileURL(path.join(process.cwd(), "node_modules", file)));
const { createEmulator } = await load("emulate/dist/api.js");
const { Provider } = await load("oidc-provider/lib/index.js");

const consoles = process.argv.slice(2);
const redirect = (id) => consoles.map((url) => `${url}/sign-in/oidc/${id}/callback`);
const user = (name, more = {}) => ({ login: `${name}@example.com`, email: `${name}@example.com`, name, ...more });

const okta = await createEmulator({
  service: "okta",
  port: 0,
  seed: {
    okta: {
      users: [
        user("reviewer-one", { okta_id: "00u-reviewer-one", first_name: "Reviewer", last_name: "One" }),
        user("outsider", { first_name: "Out", last_name: "Sider" }),
      ],
      groups: [{ okta_id: "00g-sre", name: "sre" }],
      group_memberships: [{ group_okta_id: "00g-sre", user_okta_id: "00u-reviewer-one" }],
      oauth_clients: [{ client_id: "countersign", client_secret: "okta-secret", name: "Countersign", redirect_uris: redirect("okta") }],
    },
  },
});
const google = await createEmulator({
  service: "google",
  port: 0,
  seed: {
    google: {
      users: [user("reviewer-two", { hd: "example.com" }), user("guest", { hd: "elsewhere.example" }), user("private", { hd: "" })],
      oauth_clients: [{ client_id: "countersign", client_secret: "google-secret", name: "Countersign", redirect_uris: redirect("google") }],
    },
  },
});

const server = createServer().listen(0, "127.0.0.1");
await new Promise((ready) => server.once("listening", ready));
const issuer = `http://localhost:${server.address().port}`;
const sso = new Provider(issuer, {
  clients: [
    {
      client_id: "countersign",
      token_endpoint_auth_method: "none",
      redirect_uris: redirect("sso"),
      post_logout_redirect_uris: [`${consoles[0]}/sign-in`],
      backchannel_logout_uri: `${consoles[0]}/sign-in/oidc/sso/logout`,
      backchannel_logout_session_required: true,
    },
  ],
  pkce: { required: () => true },
  scopes: ["openid", "email", "groups"],
  claims: { openid: ["sub"], email: ["email", "email_verified"], groups: ["groups"] },
  features: { devInteractions: { enabled: true }, rpInitiatedLogout: { enabled: true }, backchannelLogout: { enabled: true } },
  // Its own would not call loopback addresses.
  fetch: (address, { dispatcher, ...options }) => fetch(address, options),
  findAccount: (_, id) => ({
    accountId: id,
    claims: () => ({
      sub: id,
      email: `${id}@example.com`,
      email_verified: true,
      groups: id.startsWith("reviewer") ? ["sre"] : ["guests"],
    }),
  }),
});
sso.on("backchannel.error", (_, error) => console.error("back-channel logout:", error));
server.on("request", sso.callback());

console.log(JSON.stringify({ sso: issuer, okta: okta.url, google: google.url }));
