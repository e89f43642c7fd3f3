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
}, 120_000).unref();

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
  await page.goto(url, { waitUntil: "load" });
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
    await page.screenshot({ path: given.file, fullPage: given.whole ?? true });
    return { complaints };
  },
};

try {
  console.log(JSON.stringify(await scenarios[scenario]()));
} finally {
  await browser.close();
}
