// A real browser that goes to a URL, does what a person would do there, and tells what it sees in the end.
//
//     node browser.mjs CHROMIUM FOLDER STEPS URL
//
// STEPS is a JSON list: ["type", "Name", "alice"] into the field of that label or placeholder, ["press", "Sign in"] the
// button of that name, ["see", "Go back"] waits for a text, ["goto", URL] goes elsewhere, ["rewrite", "state", "other"]
// has another value of a parameter arrive at /callback, ["audit"] waits for the page that bearerd ends on and has axe look at
// it, light and dark. FOLDER gets seen.json (`url`, `title`, `text`,
// `status`, `audits`, and `error` with the step that failed) and seen.png, a screenshot.

import { renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import AxeBuilder from '@axe-core/playwright';
import { chromium } from 'playwright-core';

const [executablePath, folder, script, start] = process.argv.slice(2);
const PATIENCE = 60_000; // ms that a slow machine may take for anything

// Without a sandbox, because the tests run as root in containers; nothing but loopback is visited.
const browser = await chromium.launch({ executablePath, args: ['--no-sandbox', '--no-proxy-server'] });
const context = await browser.newContext({ viewport: { width: 900, height: 700 } });
const page = await context.newPage();
page.setDefaultTimeout(PATIENCE);

let status = null;
page.on('response', (response) => {
  if (response.request().isNavigationRequest() && response.status() < 300) status = response.status();
  if (response.request().isNavigationRequest() && response.status() >= 400) status = response.status();
});

const seen = {};
const verbs = {
  goto: (url) => page.goto(url),
  press: async (name) => {
    await page.getByRole('button', { name, exact: true }).click();
    await page.waitForLoadState();
  },
  type: (label, text) => page.getByLabel(label).or(page.getByPlaceholder(label)).first().fill(text),
  audit: async () => {
    await page.waitForURL(/^http:\/\/127\.0\.0\.1:\d+\/callback\/done$/);
    seen.audits = [];
    for (const colorScheme of ['light', 'dark']) {
      await page.emulateMedia({ colorScheme });
      const { violations, passes } = await new AxeBuilder({ page }).analyze();
      const found = violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.failureSummary).join(' | ')}`);
      seen.audits.push({ colorScheme, violations: found, passes: passes.length });
    }
  },
  see: (text) => page.getByText(text).first().waitFor(),
  rewrite: async (name, value) => {
    // Below the page's own routes, which redirects do not pass.
    const devtools = await page.context().newCDPSession(page);
    devtools.on('Fetch.requestPaused', ({ requestId, request }) => {
      const url = new URL(request.url);
      url.searchParams.set(name, value);
      devtools.send('Fetch.continueRequest', { requestId, url: url.toString() });
    });
    await devtools.send('Fetch.enable', { patterns: [{ urlPattern: '*/callback?*' }] });
  },
};

let at = ['goto', start];
try {
  const steps = JSON.parse(script);
  // What has to be in place before anything is asked goes first.
  const before = steps.filter(([verb]) => verb === 'rewrite');
  for (at of [...before, ['goto', start], ...steps.filter((step) => !before.includes(step))]) {
    await verbs[at[0]](...at.slice(1));
  }
  await page.waitForLoadState();
} catch (error) {
  seen.error = `${JSON.stringify(at)}: ${error.message}`;
}
try {
  await page.screenshot({ path: join(folder, 'seen.png') });
  Object.assign(seen, { url: page.url(), title: await page.title(), status });
  seen.text = await page.evaluate(() => document.body?.innerText ?? '');
} catch (error) {
  seen.error ??= error.message;
}
// Whoever waits for the file finds it whole.
writeFileSync(join(folder, 'seen.tmp'), JSON.stringify(seen));
renameSync(join(folder, 'seen.tmp'), join(folder, 'seen.json'));
await browser.close();
