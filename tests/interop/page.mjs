// Looks at the status page with a real browser: `node page.mjs SCENARIO JSON` prints what it has seen, as JSON.

import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import AxeBuilder from "@axe-core/playwright";
import { chromium } from "playwright-core";

const [scenario, given] = [process.argv[2], JSON.parse(process.argv[3])];

// Whatever hangs is told by the end of this process.
setTimeout(() => {
  console.error(`${scenario} took too long`);
  process.exit(3);
}, 540_000).unref();

const browser = await chromium.launch({
  executablePath: given.chromium,
  args: ["--no-sandbox", "--host-resolver-rules=MAP evil.test 127.0.0.1", ...(given.args ?? [])],
});

// What a browser without scripts makes of the page, in one with scripts, which axe needs to run.
async function withoutScript(route) {
  const answer = await route.fetch();
  const whole = await answer.text();
  const body = whole.replace(/<script>[^]*?<\/script>/g, "").replace(/<\/?noscript>/g, "");
  await route.fulfill({ response: answer, body });
}

async function open(options = {}, url = given.page) {
  const context = await browser.newContext({ viewport: { width: 1100, height: 900 }, ...options });
  context.setDefaultTimeout(20_000);
  const page = await context.newPage();
  if (options.stripped) await page.route(url, withoutScript);
  const complaints = [];
  page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
  page.on("pageerror", (error) => complaints.push(String(error)));
  for (let tries = 3; ; tries--) {
    try {
      await page.goto(url, { waitUntil: "load" });
      break;
    } catch (error) {
      // A machine that is busy enough lets a connection rest for longer than bearerd waits for a request on it.
      if (tries === 0 || !String(error).includes("ERR_CONNECTION_RESET")) throw error;
    }
  }
  return { page, context, complaints };
}

const scenarios = {
  // Each look of a page in one state: what axe finds, and whether it can be moved sideways.
  async audit() {
    const found = [];
    for (const colorScheme of ["light", "dark"]) {
      for (const stripped of [false, true]) {
        for (const width of [320, 1100]) {
          const look = { colorScheme, stripped, viewport: { width, height: 800 } };
          const { page, context, complaints } = await open(look);
          // What is behind a door is looked at, too.
          await page.evaluate(() => document.querySelectorAll("details").forEach((details) => (details.open = true)));
          const audited = await new AxeBuilder({ page }).analyze();
          const sideways = await page.evaluate(
            () => document.documentElement.scrollWidth - document.documentElement.clientWidth,
          );
          const rows = await page.locator("table.asked tbody tr").count();
          found.push({
            look: `${colorScheme} ${stripped ? "without" : "with"} script, ${width} px`,
            violations: audited.violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html + " " + node.failureSummary).join(" | ")}`),
            passes: audited.passes.length,
            sideways,
            rows,
            headings: await page.locator("h1").count(),
            text: await page.locator("body").innerText(),
            complaints,
          });
          await context.close();
        }
      }
    }
    return found;
  },

  // A refresh that somebody else asks for shows by itself, without the page being left or the focus lost.
  async live() {
    const { page, complaints } = await open();
    await page.locator("#link:has-text('Live')").waitFor();
    const rows = page.locator("#default-history tbody tr");
    const before = await rows.count();
    await page.evaluate(() => (globalThis.stayed = true));
    await page.locator("#default-sign-in summary").focus();
    await fetch(given.page + "api/v1/grants/default/refresh", { method: "POST", headers: { "bearerd-action": "1" } });
    await rows.nth(before).waitFor();
    const focused = await page.evaluate(() => document.activeElement.textContent);
    // The page's own button does the same, and is itself again afterwards.
    const button = page.getByRole("button", { name: /Refresh/ });
    await button.click();
    await rows.nth(before + 1).waitFor();
    await page.getByRole("button", { name: "Refresh now" }).waitFor();
    const stayed = await page.evaluate(() => globalThis.stayed === true);
    const state = await page.locator("#announce").textContent();
    return { before, after: await rows.count(), stayed, focused, state, complaints };
  },

  // Everything works in a browser that runs no script.
  async plain() {
    const { page } = await open({ javaScriptEnabled: false });
    const rows = page.locator("#default-history tbody tr");
    const before = await rows.count();
    await page.getByRole("button", { name: "Refresh now" }).click();
    const back = page.url();
    for (let tries = 0; (await rows.count()) === before && tries < 100; tries++) {
      await page.waitForTimeout(100);
      await page.goto(given.page);
    }
    await page.locator("#default-sign-in summary").click();
    const command = await page.locator("#default-sign-in .command code").innerText();
    await page.getByRole("link", { name: "Load it again every 10 seconds" }).click();
    const loads = await page.locator("meta[http-equiv=refresh]").count();
    return { before, after: await rows.count(), back, command, loads, buttons: await page.locator("button").allInnerTexts() };
  },

  // Signing out, to the sentence that says what came of it, and what the page shows then.
  async signOut() {
    const { page } = await open({ javaScriptEnabled: given.script });
    if (given.script) await page.locator("#link:has-text('Live')").waitFor();
    await page.locator("#default-sign-out summary").click();
    await page.getByRole("button", { name: "Sign out of default" }).click();
    const told = given.script ? page.locator("#default-sign-out .told:not(:empty)") : page.locator("main .card p").first();
    await told.waitFor();
    const said = await told.innerText();
    if (!given.script) {
      await page.getByRole("link", { name: "Back to the status page" }).click();
      await page.locator("#default-state").waitFor();
    }
    const isOut = said.includes("erased here.");
    for (let tries = 0; isOut && !(await page.locator("#verdict").innerText()).includes("Sign-in needed") && tries < 200; tries++) {
      await page.waitForTimeout(100);
      if (!given.script) await page.goto(given.page);
    }
    return { said, page: await page.locator("body").innerText() };
  },

  // What comes during a pause is shown after it, and a pause says nothing of the link.
  async pause() {
    const { page } = await open();
    const [link, list] = [page.locator("#link"), page.locator("#requests")];
    await page.locator("#link:has-text('Live')").waitFor();
    await fetch(given.proxy + "/before").then((answer) => answer.text());
    await list.getByText("/before").waitFor();
    await page.getByRole("button", { name: "Pause" }).click();
    const rows = page.locator("#default-history tbody tr");
    const before = await rows.count();
    await fetch(given.proxy + "/while-paused").then((answer) => answer.text());
    // What is told of this refresh is told with that request or after it.
    await fetch(given.page + "api/v1/grants/default/refresh", { method: "POST", headers: { "bearerd-action": "1" } });
    await rows.nth(before).waitFor();
    const seen = { link: await link.innerText(), paused: await list.innerText() };
    const button = page.locator("button.pause");
    seen.button = await button.innerText();
    await button.click();
    Object.assign(seen, { resumed: await list.innerText(), again: await link.innerText() });
    // Another page, which is told nothing.
    const context = await browser.newContext();
    await context.route("**/api/v1/events", (route) => route.abort("connectionrefused"));
    const deaf = await context.newPage();
    await deaf.goto(given.page);
    await deaf.locator("#link.lost").waitFor();
    await deaf.getByRole("button", { name: "Pause" }).click();
    seen.lost = await deaf.locator("#link").innerText();
    return seen;
  },

  // More tabs than a browser has connections to one address; only one of them is seen at a time.
  async tabs() {
    const context = await browser.newContext();
    context.setDefaultTimeout(20_000);
    const look = (page, hidden) =>
      page.evaluate((hidden) => {
        Object.defineProperty(document, "hidden", { get: () => hidden, configurable: true });
        document.dispatchEvent(new Event("visibilitychange"));
      }, hidden);
    const pages = [];
    for (let number = 0; number < 9; number++) {
      if (pages.length > 0) await look(pages.at(-1), true);
      const page = await context.newPage();
      await page.goto(given.page);
      await page.locator("#link:has-text('Live')").waitFor();
      pages.push(page);
    }
    // The first is looked at again, and has missed nothing.
    const rows = pages[0].locator("#default-history tbody tr");
    const before = await rows.count();
    await fetch(given.page + "api/v1/grants/default/refresh", { method: "POST", headers: { "bearerd-action": "1" } });
    await look(pages.at(-1), true);
    await look(pages[0], false);
    await rows.nth(before).waitFor();
    return { live: pages.length, kept: (await rows.count()) > before };
  },

  // Every place of those who are told what changes is taken, and then given back.
  async crowd() {
    const crowd = new AbortController();
    for (let number = 0; number < 16; number++) {
      const answer = await fetch(given.page + "api/v1/events", { signal: crowd.signal });
      if (answer.status !== 200) throw new Error(`place ${number}: ${answer.status}`);
    }
    const { page } = await open();
    const link = page.locator("#link");
    await page.locator("#link.lost").waitFor();
    const full = await link.innerText();
    crowd.abort();
    await page.locator("#link:not(.lost)").waitFor();
    return { full, room: await link.innerText() };
  },

  // Another configuration is taken into use while the page is open.
  async reload() {
    const { page } = await open();
    await page.locator("#link:has-text('Live')").waitFor();
    const moved = page.locator("table.routes code", { hasText: "/moved" });
    const before = (await moved.count()) > 0;
    const answer = await fetch(given.page + "api/v1/reload", { method: "POST", headers: { "bearerd-action": "1" } });
    if (!answer.ok) throw new Error(await answer.text());
    await moved.waitFor();
    return { before, after: (await moved.count()) === 1 };
  },

  // Every action can be reached and done with the keyboard alone.
  async keyboard() {
    const { page } = await open();
    await page.locator("#link:has-text('Live')").waitFor();
    const reached = [];
    for (let presses = 0; presses < 40; presses++) {
      await page.keyboard.press("Tab");
      const here = await page.evaluate(() => {
        const { activeElement: element } = document;
        if (element === document.body) return null;
        const { outlineStyle, outlineWidth } = getComputedStyle(element);
        return { name: element.textContent.trim(), seen: outlineStyle !== "none" && outlineWidth !== "0px" };
      });
      if (here === null) break;
      reached.push(here);
      if (here.name === "Refresh now") await page.keyboard.press("Enter");
      if (here.name === "Sign in again" || here.name === "Sign out") await page.keyboard.press("Space");
    }
    const open_ = await page.locator("details[open]").count();
    return { reached, open: open_ };
  },

  // Pages of other origins, at another port and at another name that leads here, try what they can.
  async strangers() {
    const server = createServer((_, answer) => {
      answer.setHeader("content-type", "text/html");
      answer.end("<!doctype html><title>a stranger</title><form method=post></form>");
    });
    await new Promise((done) => server.listen(0, "127.0.0.1", done));
    const { port } = server.address();
    const admin = new URL(given.page);
    const rebound = `http://evil.test:${admin.port}/`;
    const attempts = [];
    for (const origin of [`http://127.0.0.1:${port}/`, `http://localhost:${port}/`, `http://evil.test:${port}/`]) {
      for (const target of [given.page, rebound]) {
        const { page, context } = await open({}, origin);
        const documents = [];
        page.on("response", (response) => {
          if (response.request().resourceType() === "document") documents.push(response);
        });
        const seen = await page.evaluate(async (target) => {
          const read = async (path, options) => {
            try {
              const answer = await fetch(target + path, options);
              return answer.type === "opaque" ? "opaque" : `${answer.status} ${await answer.text()}`;
            } catch {
              return "nothing";
            }
          };
          const act = "api/v1/grants/default/refresh";
          const form = new URLSearchParams({ token: "00000000000000000000000000000000" });
          const frame = document.createElement("iframe");
          frame.src = target;
          document.body.append(frame);
          await new Promise((done) => (frame.onload = done));
          const events = await new Promise((done) => {
            const source = new EventSource(target + "api/v1/events");
            source.onmessage = (event) => done(event.data);
            source.onerror = () => done("nothing");
          });
          return {
            read: [await read(""), await read("api/v1/status"), await read("", { mode: "no-cors" })],
            acted: [
              await read(act, { method: "POST", mode: "no-cors", body: form }),
              await read(act, { method: "POST", headers: { "bearerd-action": "1" } }),
              await read(act, { method: "POST", body: form, credentials: "include" }),
              await read("api/v1/stop", { method: "POST", headers: { "bearerd-action": "1" } }),
            ],
            events,
          };
        }, target);
        // What the frame was sent, and what it shows: from here, not from the page, which may not look into it.
        const frame = page.frames().find((one) => one !== page.mainFrame());
        const framed = {
          status: documents.find((one) => one.frame() === frame)?.status() ?? null,
          text: (await frame.evaluate(() => document.documentElement.innerText).catch(() => "")) ?? "",
        };
        // A link, followed by a person, and then the answer's own.
        const link = await (async () => {
          const tab = await context.newPage();
          await tab.goto(origin);
          await tab.evaluate((href) => document.body.append(Object.assign(document.createElement("a"), { href, textContent: "go" })), target);
          const [answer] = await Promise.all([tab.waitForNavigation(), tab.getByText("go").click()]);
          const text = await tab.locator("body").innerText();
          const on = tab.getByRole("link", { name: "Open the status page" });
          if ((await on.count()) === 0) return { status: answer.status(), text };
          await Promise.all([tab.waitForNavigation(), on.click()]);
          const leads = (await tab.locator("#default-state").count()) === 1;
          return { status: answer.status(), text, on: tab.url(), leads };
        })();
        // A form leaves the page for where it is sent.
        const [answer] = await Promise.all([
          page.waitForNavigation(),
          page.evaluate((action) => Object.assign(document.forms[0], { action }).submit(), target + "api/v1/stop"),
        ]);
        attempts.push({ origin, target, ...seen, framed, link, form: answer.status() });
        await context.close();
      }
    }
    // The name that leads here is no name of this page's.
    const { page } = await open({}, `http://127.0.0.1:${port}/`);
    const answer = await page.goto(rebound);
    server.close();
    return { attempts, rebound: { status: answer.status(), text: await answer.text() } };
  },

  async picture() {
    const { page, complaints } = await open({
      colorScheme: given.scheme,
      javaScriptEnabled: given.script ?? true,
      viewport: { width: given.width, height: given.height ?? 900 },
      deviceScaleFactor: given.scale ?? 1,
      timezoneId: "UTC",
    });
    await page.waitForTimeout(700);
    for (const selector of given.open ?? []) await page.locator(selector).click();
    // Names instead of this moment's ports and folders.
    await page.evaluate((names) => {
      const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
      while (texts.nextNode()) {
        for (const [from, to] of names) texts.currentNode.data = texts.currentNode.data.replaceAll(from, to);
      }
    }, given.names ?? []);
    // Down to the end of a card.
    const last = given.until && (await page.locator(given.until).boundingBox());
    const clip = last && { x: 0, y: 0, width: given.width, height: Math.ceil(last.y + last.height + 12) };
    await page.screenshot({ path: given.file, fullPage: true, ...(clip && { clip }) });
    return { complaints };
  },
};

try {
  console.log(JSON.stringify(await scenarios[scenario]()));
} finally {
  await browser.close();
}
