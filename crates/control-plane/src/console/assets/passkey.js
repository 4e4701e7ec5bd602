// Passkeys. A form whose button has data-passkey is not sent at once: that address says what the browser is to
// be asked, and the form is then sent with what the browser answered. Only a script can ask the browser.
"use strict";

(() => {
  const bytes = (text) =>
    Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (byte) => byte.charCodeAt(0));
  const text = (buffer) =>
    btoa(String.fromCharCode(...new Uint8Array(buffer))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
  const named = (list) => list.map((one) => ({ ...one, id: bytes(one.id) }));

  const confirm = async (options) => {
    const challenge = bytes(options.challenge);
    const publicKey = { ...options, challenge, allowCredentials: named(options.allowCredentials) };
    const { id, type, response } = await navigator.credentials.get({ publicKey });
    const answer = {
      clientDataJSON: text(response.clientDataJSON),
      authenticatorData: text(response.authenticatorData),
      signature: text(response.signature),
    };
    return JSON.stringify({ id, rawId: id, type, response: answer });
  };

  const create = async (options) => {
    const challenge = bytes(options.challenge);
    const user = { ...options.user, id: bytes(options.user.id) };
    const excludeCredentials = named(options.excludeCredentials);
    const publicKey = { ...options, challenge, user, excludeCredentials };
    const { id, type, response } = await navigator.credentials.create({ publicKey });
    const answer = {
      clientDataJSON: text(response.clientDataJSON),
      authenticatorData: text(response.getAuthenticatorData()),
      publicKey: text(response.getPublicKey()),
      publicKeyAlgorithm: response.getPublicKeyAlgorithm(),
    };
    return JSON.stringify({ id, rawId: id, type, response: answer });
  };

  // What the server asks for, by the form as it stands.
  const ask = async (form, button) => {
    const fields = new URLSearchParams(new FormData(form));
    if (button.name) fields.set(button.name, button.value);
    const response = await fetch(button.dataset.passkey, { method: "POST", body: fields });
    if (!response.headers.get("content-type")?.startsWith("application/json")) {
      throw new Error("This page is out of date. Load it again, and sign in if you are asked to.");
    }
    const asked = await response.json();
    if (asked.problem) throw new Error(asked.problem);
    if (asked.origin !== location.origin) {
      throw new Error(`Passkeys work at ${asked.origin} only. Open this page there.`);
    }
    if (!window.PublicKeyCredential) throw new Error("This browser has no passkeys.");
    return asked;
  };

  const put = (form, name, value) => {
    const field = document.createElement("input");
    Object.assign(field, { type: "hidden", name, value });
    form.append(field);
  };

  const words = (error) => {
    if (error.name === "NotAllowedError") return "Nothing was confirmed: it was cancelled, or took too long.";
    if (error.name === "InvalidStateError") return "This device has a passkey of yours for this console already.";
    return error.message;
  };

  const run = async (form, button) => {
    const status = form.querySelector("[data-passkey-status]");
    status.textContent = "Confirm with your passkey…";
    try {
      const asked = await ask(form, button);
      // One after the other: a browser runs one ceremony at a time.
      const assertion = asked.get && (await confirm(asked.get));
      const registration = asked.create && (await create(asked.create));
      if (assertion) put(form, "assertion", assertion);
      if (registration) put(form, "registration", registration);
      if (button.name) put(form, button.name, button.value);
      status.textContent = "";
      form.submit();
    } catch (error) {
      status.textContent = words(error);
      delete form.dataset.sent;
    }
  };

  document.addEventListener("submit", (event) => {
    const button = event.submitter;
    if (event.defaultPrevented || !button?.dataset.passkey) return;
    event.preventDefault();
    run(event.target, button);
  });
})();
