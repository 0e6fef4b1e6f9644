// Keeps the page as it is now: when the event stream says that something happened, the page is fetched again and its <main>
// takes the place of the old one. Without the stream it is fetched now and then. Without this script the page is as it was made.
"use strict";
(() => {
  const LEAST = 1000; // ms between two fetches
  const IDLE = 20000; // without an event: times on the page grow old
  const KINDS = ["alert", "notification", "condition", "message", "presence", "mailbox", "probe", "reset"];
  const here = location.href;
  const status = document.getElementById("live");
  let stream = null;
  let last = Date.now();
  let timer = null;
  let busy = false;
  let again = false;

  function say(text, tone) {
    if (status.textContent !== text) status.textContent = text;
    status.className = tone;
  }

  // In `ms`, unless it is to be sooner already.
  function later(ms) {
    const due = Math.max(last + LEAST, Date.now() + ms);
    if (timer && timer.due <= due) return;
    if (timer) clearTimeout(timer.id);
    timer = { due, id: setTimeout(refresh, due - Date.now()) };
  }

  // A person who writes, or has marked text, is not interrupted.
  function occupied(main) {
    const active = document.activeElement;
    if (active && main.contains(active) && active.matches("input, textarea, select")) return true;
    const marked = document.getSelection();
    return Boolean(marked && !marked.isCollapsed && main.contains(marked.anchorNode));
  }

  // Where the focus is, so that it is there again in the new page.
  function place(element, main) {
    if (!element || !main.contains(element)) return null;
    if (element.id) return (root) => root.querySelector("#" + CSS.escape(element.id));
    const all = (root) => Array.from(root.querySelectorAll("a, button, summary, [tabindex]"));
    const key = (e) => [e.tagName, e.getAttribute("href"), e.form && e.form.getAttribute("action"), e.textContent].join("|");
    const wanted = key(element);
    return (root) => all(root).find((e) => key(e) === wanted) || null;
  }

  async function refresh() {
    timer = null;
    if (document.hidden) return;
    const main = document.getElementById("main");
    if (busy) { again = true; return; }
    if (occupied(main)) { later(2000); return; }
    busy = true;
    last = Date.now();
    try {
      const answer = await fetch(here, { headers: { Accept: "text/html" }, cache: "no-store" });
      if (answer.redirected && new URL(answer.url).pathname === "/login") {
        location.assign(answer.url);
        return;
      }
      if (!answer.ok) throw new Error(String(answer.status));
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const fresh = page.getElementById("main");
      if (!fresh) throw new Error("no content");
      if (!occupied(main)) replace(main, fresh, page.title);
      if (stream && stream.readyState === EventSource.OPEN) say("Live", "on");
      else say("Updated now and then", "slow");
      // One that was refused is not opened again by itself.
      if (stream && stream.readyState === EventSource.CLOSED) { stream = null; listen(); }
    } catch (error) {
      say("Connection lost: this page is old", "off");
    } finally {
      busy = false;
      later(again ? 0 : IDLE);
      again = false;
    }
  }

  function replace(main, fresh, title) {
    const find = place(document.activeElement, main);
    const scrolled = Array.from(main.querySelectorAll("[id]"), (e) => [e.id, e.scrollTop]).filter(([, top]) => top > 0);
    // What is filled in and not sent yet stays as well.
    const filled = Array.from(main.querySelectorAll("input[id], select[id], textarea[id]"), (e) => [e.id, e.value]);
    const node = document.importNode(fresh, true);
    main.replaceWith(node);
    for (const [id, value] of filled) {
      const same = document.getElementById(id);
      if (same) same.value = value;
    }
    for (const [id, top] of scrolled) {
      const same = document.getElementById(id);
      if (same) same.scrollTop = top;
    }
    const focus = find && find(node);
    if (focus) focus.focus({ preventScroll: true });
    if (document.title !== title) document.title = title;
  }

  function listen() {
    if (stream || document.hidden || !window.EventSource) return;
    stream = new EventSource("/api/v1/events");
    // What happened between the making of the page and now.
    stream.onopen = () => { say("Live", "on"); later(0); };
    stream.onerror = () => { if (stream && stream.readyState !== EventSource.OPEN) later(0); };
    for (const kind of KINDS) stream.addEventListener(kind, () => later(0));
  }

  // A page that nobody sees holds no connection: a browser has few of them for one host.
  function look() {
    if (document.hidden) {
      if (stream) stream.close();
      stream = null;
      return;
    }
    listen();
    later(0);
  }

  // What was done is said once, not again to who loads the page anew.
  const clean = new URL(here);
  if (clean.searchParams.has("done")) {
    clean.searchParams.delete("done");
    history.replaceState(null, "", clean);
  }
  document.addEventListener("visibilitychange", look);
  window.addEventListener("pagehide", () => { if (stream) stream.close(); stream = null; });
  window.addEventListener("pageshow", (event) => { if (event.persisted) look(); });
  listen();
  later(IDLE);
})();
