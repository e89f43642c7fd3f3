"use strict";
// What the page can do by itself; without it, the page is whole all the same.

const all = (selector, root = document) => [...root.querySelectorAll(selector)];

// Moments in the reader's own time.
function localize(root) {
  const today = new Date().toDateString();
  for (const time of all("time[datetime]", root)) {
    const at = new Date(time.dateTime);
    const clock = at.toLocaleTimeString([], { hourCycle: "h23" });
    const day = at.toLocaleDateString([], { day: "numeric", month: "short" });
    time.textContent = at.toDateString() === today ? clock : `${day} ${clock}`;
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

function show(id, html) {
  const part = document.getElementById(id);
  if (!part || shown.get(id) === html || (paused && id === "requests")) return;
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

function say(isLive) {
  link.hidden = false;
  link.classList.toggle("lost", !isLive);
  link.textContent = paused && isLive ? "Live, requests paused" : isLive ? "Live" : "bearerd does not answer; trying again";
}

function listen() {
  const source = new EventSource("/api/v1/events");
  source.onopen = () => say(true);
  source.onmessage = (event) => {
    const { began, ids, title, parts } = JSON.parse(event.data);
    const here = all(".live[id]").map((part) => part.id);
    // Another process, or other grants: the page is another one.
    if (began !== document.body.dataset.began || ids.some((id) => !here.includes(id)) || ids.length !== here.length) {
      source.close();
      location.reload();
      return;
    }
    document.title = title;
    for (const [id, html] of Object.entries(parts)) show(id, html);
    for (const id of Object.keys(parts)) if (id.endsWith("-history")) settle(id.slice(0, -"-history".length));
  };
  source.onerror = () => {
    say(false);
    // What was refused is not tried again by itself.
    if (source.readyState === EventSource.CLOSED) setTimeout(listen, 5000);
  };
}

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
    button.textContent = paused ? "Go on" : "Pause";
    say(true);
  });
  heading.parentElement.append(button);
}

prepare(document);
listen();
