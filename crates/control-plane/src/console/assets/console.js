// The console works without this. It adds: live updates, countdowns, local times, keys.
"use strict";

(() => {
  const main = document.querySelector("main");

  // Times. The server writes UTC; the reader's own zone is better.
  const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "short" });
  const calendar = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
  const show = (at) => (at.toDateString() === new Date().toDateString() ? clock : calendar).format(at);
  const showTimes = () => {
    for (const time of document.querySelectorAll("time[data-at]:not([title])")) {
      time.title = time.dateTime;
      time.textContent = show(new Date(time.dateTime));
    }
  };

  // Countdowns. The server's clock counts, not the reader's.
  const skew = Date.parse(document.body.dataset.now || "") - Date.now() || 0;
  const left = (millis) => {
    const seconds = Math.max(0, Math.ceil(millis / 1000));
    if (seconds === 0) return "time is over";
    const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60];
    if (hours > 0) return `${hours} h ${String(minutes).padStart(2, "0")} min left`;
    return `${minutes}:${String(seconds % 60).padStart(2, "0")} left`;
  };
  const countDown = () => {
    for (const time of document.querySelectorAll("time.countdown")) {
      const millis = Date.parse(time.dateTime) - (Date.now() + skew);
      time.textContent = left(millis);
      time.classList.toggle("soon", millis < 60_000);
    }
  };

  // Live updates: an event says that something has changed; the page is then read anew, and what
  // differs is put in place. A card in which somebody is typing stays until they are done.
  const busy = (element) => {
    if (element.querySelector("form[data-sent]")) return true;
    const typed = [...element.querySelectorAll("textarea, input[type=text]")].some((field) => field.value);
    return typed || (element.contains(document.activeElement) && document.activeElement.matches("textarea, input"));
  };
  const replaceRegion = (region, fresh) => {
    const focus = document.activeElement && region.contains(document.activeElement) && document.activeElement.dataset.key;
    const known = new Map([...region.querySelectorAll("[data-item]")].map((item) => [item.dataset.item, item]));
    for (const item of fresh.querySelectorAll("[data-item]")) {
      const old = known.get(item.dataset.item);
      if (!old) item.classList.add("arrived");
      else if (old.dataset.version === item.dataset.version || (busy(old) && item.querySelector("form"))) item.replaceWith(old);
    }
    region.replaceWith(fresh);
    if (focus) document.querySelector(`[data-key="${CSS.escape(focus)}"]`)?.focus();
  };
  let reading = false;
  let again = false;
  const readAnew = async () => {
    if (reading) { again = true; return; }
    reading = true;
    try {
      const url = new URL(location.href);
      url.searchParams.delete("done");
      const response = await fetch(url, { headers: { accept: "text/html" }, cache: "no-store" });
      if (response.redirected) { location.reload(); return; }
      if (!response.ok) return;
      const page = new DOMParser().parseFromString(await response.text(), "text/html");
      for (const region of document.querySelectorAll("[data-region]")) {
        const fresh = page.querySelector(`[data-region="${region.dataset.region}"]`);
        if (fresh) replaceRegion(region, document.adoptNode(fresh));
      }
      document.title = page.title;
      showTimes();
      countDown();
      mark();
    } catch {
      // The event stream will say when there is a connection again.
    } finally {
      reading = false;
      if (again) { again = false; readAnew(); }
    }
  };
  const state = document.querySelector(".live");
  if (state && window.EventSource) {
    const say = (on) => {
      state.hidden = false;
      state.className = `live ${on ? "on" : "off"}`;
      state.textContent = on ? "Live" : "Reconnecting…";
    };
    const listen = () => {
      const events = new EventSource("/api/v1/events");
      events.addEventListener("sync", () => { say(true); readAnew(); });
      events.addEventListener("approval", readAnew);
      events.addEventListener("error", () => {
        say(false);
        if (events.readyState === EventSource.CLOSED) setTimeout(listen, 5_000);
      });
    };
    listen();
  }

  // A form is sent once.
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.dataset.sent) { event.preventDefault(); return; }
    form.dataset.sent = "yes";
  });
  window.addEventListener("pageshow", () => {
    for (const form of document.querySelectorAll("form[data-sent]")) delete form.dataset.sent;
  });

  // A choice in a filter is enough: no button is needed.
  document.addEventListener("change", (event) => {
    const form = event.target.form;
    if (form?.dataset.auto !== undefined) form.requestSubmit();
  });

  // Keys.
  const cards = () => [...document.querySelectorAll("[data-item].card")];
  let selected = null;
  const mark = () => {
    for (const card of cards()) card.classList.toggle("selected", card.dataset.item === selected);
  };
  const move = (step) => {
    const all = cards();
    if (all.length === 0) return;
    const at = all.findIndex((card) => card.dataset.item === selected);
    const next = all[Math.min(all.length - 1, Math.max(0, at < 0 ? 0 : at + step))];
    selected = next.dataset.item;
    mark();
    next.scrollIntoView({ block: "nearest" });
    next.querySelector("[data-key^='open-']")?.focus({ preventScroll: true });
  };
  const within = (selector) => {
    const all = cards();
    const card = all.find((card) => card.dataset.item === selected) || (all.length === 1 ? all[0] : null);
    const found = card?.querySelector(selector);
    found?.focus();
    return Boolean(found);
  };
  const help = document.querySelector("dialog#keys");
  const keys = {
    j: () => move(1),
    k: () => move(-1),
    // Only moves there: Enter decides.
    a: () => within("button.approve"),
    d: () => within("button.deny"),
    r: () => within("textarea"),
    x: () => within(".select input") && document.activeElement.click(),
    o: () => within("[data-key^='open-']") && document.activeElement.click(),
    "?": () => help?.showModal(),
  };
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = event.target.matches("input, textarea, select");
    if (event.key === "Escape" && typing) { event.target.blur(); return; }
    if (typing || help?.open || !Object.hasOwn(keys, event.key)) return;
    event.preventDefault();
    keys[event.key]();
  });
  document.addEventListener("focusin", (event) => {
    const card = event.target.closest?.("[data-item].card");
    if (card) { selected = card.dataset.item; mark(); }
  });

  showTimes();
  countDown();
  setInterval(countDown, 1_000);
  main?.classList.add("ready");
})();
