"use strict";
// What the page can do by itself; without it, the page is whole all the same.

const all = (selector, root = document) => [...root.querySelectorAll(selector)];

// Moments in the reader's own time.
function localize(root) {
  const today = new Date();
  for (const time of all("time[datetime]", root)) {
    const at = new Date(time.dateTime);
    const clock = at.toLocaleTimeString([], { hourCycle: "h23" });
    const year = at.getFullYear() === today.getFullYear() ? undefined : "numeric";
    const day = at.toLocaleDateString([], { day: "numeric", month: "short", year });
    time.textContent = at.toDateString() === today.toDateString() ? clock : `${day} ${clock}`;
  }
}

// A button beside each command.
function offerCopies(root) {
  for (const command of all(".command", root)) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "Copy";
    button.setAttribute("aria-label", `Copy: ${command.textContent}`);
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(command.querySelector("code").textContent);
        button.textContent = "Copied";
      } catch {
        getSelection().selectAllChildren(command.querySelector("code"));
        button.textContent = "Selected";
      }
      setTimeout(() => (button.textContent = "Copy"), 2000);
    });
    command.append(button);
  }
}

function prepare(root) {
  localize(root);
  offerCopies(root);
}

// A part is replaced only when it says something else; what was open in it stays open, what had the focus keeps it.
const shown = new Map();
let paused = false;
// What came while it was paused, and is shown afterwards.
let waiting;

function show(id, html) {
  const part = document.getElementById(id);
  if (paused && id === "requests") {
    waiting = html;
    return;
  }
  if (!part || shown.get(id) === html) return;
  const open = all("details[open]", part).map((details) => details.id);
  const focused = part.contains(document.activeElement) ? document.activeElement : null;
  const path = focused && all(focused.tagName, part).indexOf(focused);
  shown.set(id, html);
  part.innerHTML = html;
  for (const details of all("details", part)) details.open = open.includes(details.id);
  prepare(part);
  if (focused) all(focused.tagName, part)[path]?.focus({ preventScroll: true });
}

const link = document.getElementById("link");

// Why nothing is told; empty while all is.
let lost;

function say() {
  if (lost === undefined) return;
  link.hidden = false;
  link.classList.toggle("lost", lost !== "");
  link.textContent = lost || (paused ? "Live, requests paused" : "Live");
}

// A browser has six connections to one address, for all of its tabs: one that nobody sees holds none of them.
let source;
let again;

function rest() {
  clearTimeout(again);
  source?.close();
  source = undefined;
}

async function refusal() {
  try {
    // Not for its answer, which has no end where there is room again: for its head.
    const asked = new AbortController();
    const { status } = await fetch("/api/v1/events", { signal: asked.signal });
    asked.abort();
    return status === 503 ? "So many of these pages are open that this one is not kept up to date: close some" : "";
  } catch {
    return "";
  }
}

function listen() {
  rest();
  if (document.hidden) return;
  const mine = (source = new EventSource("/api/v1/events"));
  source.onopen = () => {
    lost = "";
    say();
  };
  source.onmessage = (event) => {
    const { edition, title, parts } = JSON.parse(event.data);
    // Another process, or another configuration: the page is another one.
    if (edition !== document.body.dataset.edition) {
      rest();
      location.reload();
      return;
    }
    document.title = title;
    for (const [id, html] of Object.entries(parts)) show(id, html);
    for (const id of Object.keys(parts)) if (id.endsWith("-history")) settle(id.slice(0, -"-history".length));
  };
  source.onerror = async () => {
    // What was refused is not tried again by itself.
    const isRefused = mine.readyState === EventSource.CLOSED;
    const why = isRefused ? await refusal() : "";
    if (mine !== source) return;
    lost = why || "bearerd does not answer; trying again";
    say();
    if (isRefused) again = setTimeout(listen, 5000);
  };
}

document.addEventListener("visibilitychange", listen);

// Actions are asked for without leaving the page.
const busy = new Map();

function settle(grant) {
  busy.get(grant)?.();
  busy.delete(grant);
}

document.addEventListener("submit", async (event) => {
  const form = event.target;
  if (form.method !== "post") return;
  event.preventDefault();
  const button = form.querySelector("button");
  if (button.getAttribute("aria-disabled") === "true") return;
  const words = button.textContent;
  const told = form.querySelector(".told") ?? form.appendChild(Object.assign(document.createElement("p"), { className: "told" }));
  told.setAttribute("role", "status");
  const done = () => {
    button.removeAttribute("aria-disabled");
    button.textContent = words;
  };
  button.setAttribute("aria-disabled", "true");
  button.textContent = form.classList.contains("refresh") ? "Refreshing…" : words;
  told.textContent = "";
  try {
    const answer = await fetch(form.action, { method: "POST", headers: { "bearerd-action": "1" } });
    const { grant, attempts, sentence } = await answer.json();
    if (sentence) told.textContent = sentence;
    if (answer.ok && attempts !== undefined) {
      busy.set(grant, done);
      setTimeout(() => settle(grant), 30000);
      return;
    }
  } catch {
    told.textContent = "bearerd does not answer.";
  }
  done();
});

const heading = document.getElementById("requests-heading");
if (heading) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "pause";
  button.textContent = "Pause";
  button.addEventListener("click", () => {
    paused = !paused;
    button.textContent = paused ? "Resume" : "Pause";
    if (!paused && waiting !== undefined) show("requests", waiting);
    waiting = undefined;
    say();
  });
  heading.parentElement.append(button);
}

prepare(document);
listen();
