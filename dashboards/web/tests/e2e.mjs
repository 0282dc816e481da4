/**
 * Drives the built page in headless Chromium against the fake gateway, whose faults come on order.
 *
 * Usage: node tests/e2e.mjs [screenshot directory]. The browser is CHROMIUM or the first usual path that exists.
 * Exit code 0 when every check passed; each check prints one line.
 */

import { existsSync, mkdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import { startFakeGateway } from "./fake_gateway.mjs";

const DIST = join(dirname(fileURLToPath(import.meta.url)), "..", "dist");
const BROWSERS = [process.env.CHROMIUM, "/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome", "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"];
const FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const DEADLINE_MS = 15_000;
const GC = "XCEC:GC:202612";
const shots = process.argv[2];

const executablePath = BROWSERS.find((path) => path && existsSync(path));
if (executablePath === undefined) throw new Error("no Chromium found: set CHROMIUM to its path");
if (!existsSync(join(DIST, "index.html"))) throw new Error("no bundle: run `npm run build` first");
if (shots) mkdirSync(shots, { recursive: true });

let failed = 0;
let passed = 0;

/** Poll until `probe` gives a truthy value or the deadline passes; print the outcome. */
async function check(says, probe) {
  const end = Date.now() + DEADLINE_MS;
  let value = await probe();
  while (!value && Date.now() < end) {
    await new Promise((done) => setTimeout(done, 50));
    value = await probe();
  }
  console.log(`${value ? "ok  " : "FAIL"} ${says}`);
  if (value) passed += 1;
  else failed += 1;
}

async function openPage(browser, gateway, options, hash = "") {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  const problems = [];
  page.on("pageerror", (error) => problems.push(`exception: ${error.message}`));
  page.on("request", (request) => {
    if (!request.url().startsWith(gateway.url) && !request.url().startsWith("data:")) problems.push(`external: ${request.url()}`);
  });
  await page.goto(`${gateway.url}/${hash}`);
  return { context, page, problems };
}

const text = (page, selector) => page.locator(selector).first().textContent();
const shot = async (page, name) => shots && page.screenshot({ path: join(shots, `${name}.png`) });

async function desk(browser, gateway) {
  const { context, page, problems } = await openPage(browser, gateway, { viewport: { width: 1440, height: 900 }, colorScheme: "dark" });
  await check("lists every instrument of the gateway", async () => (await page.locator(".row").count()) === 16);
  await check("selects one and goes live", async () => (await text(page, "#link-text")) === "live" && (await text(page, "#headline-last")) !== "");
  await page.goto(`${gateway.url}/#${GC}/1m`);
  await check("opens what the address names", async () => (await text(page, "#headline-name")) === "GC Dec 26");
  await check("draws history and trades", async () => (await page.locator(".print").count()) > 20 && (await page.locator("#chart-message").isHidden()));
  await check("shows the last price in the window's title", async () => (await page.title()).includes("GC Dec 26"));
  await check("shows headlines", async () => (await text(page, '.headline[data-urgency="2"] .text')) === "Duty cut on gold");
  await shot(page, "desk-dark");

  const before = await text(page, "#tape .print");
  gateway.trade(GC, 777);
  await check("prints a trade and marks a large one", async () => (await page.locator('.print[data-large="yes"]', { hasText: "777" }).count()) > 0 && before !== null);

  gateway.revise(GC, "1m", 5);
  await check("applies a revision of an older bar and counts it", async () => (await text(page, "#revisions")).startsWith("1 revision"));

  gateway.append(GC, "1m", 3);
  await check("draws several bars that open within one frame", async () => (await text(page, "#closing")).startsWith("next bar") && problems.length === 0);

  const subscribes = gateway.requests.filter((each) => each.op === "subscribe" && each.channel === "trades").length;
  gateway.hole(GC);
  await check("sees a hole, tells it and subscribes anew", async () => (await page.locator("#ledger-count").textContent()) !== "" && gateway.requests.filter((each) => each.op === "subscribe" && each.channel === "trades").length > subscribes);
  await check("is live again after the fresh image", async () => (await text(page, "#headline-state")) === "LIVE");

  gateway.status("XCEC", null, "STALE", "no message for 12 s");
  await check("labels and dims a stale price", async () => (await text(page, "#headline-state")) === "STALE" && (await page.title()).startsWith("[STALE]"));
  await shot(page, "desk-stale");
  gateway.status("XCEC", null, "LIVE", "back");
  await check("and clears it", async () => (await text(page, "#headline-state")) === "LIVE");

  await page.keyboard.press("4");
  await check("key 4 chooses 5m bars", async () => page.url().endsWith(`${GC}/5m`) && (await page.locator("#intervals [aria-pressed=true]").textContent()) === "5m");
  await page.keyboard.press("ArrowDown");
  await check("arrow down moves on", async () => (await text(page, "#headline-name")) === "GC Feb 27");
  await page.keyboard.press("/");
  await page.keyboard.type("silver ximc");
  await check("/ filters", async () => (await page.locator(".row").count()) === 1);
  await page.keyboard.press("Escape");
  await check("Escape clears the filter", async () => (await page.locator(".row").count()) === 16);
  await page.keyboard.press("t");
  await check("t changes the theme", async () => (await page.evaluate(() => document.documentElement.dataset.theme)) === "light");
  await page.reload();
  await check("which a reload keeps", async () => (await page.evaluate(() => document.documentElement.dataset.theme)) === "light");
  await check("and the instrument too", async () => (await text(page, "#headline-name")) === "GC Feb 27" && (await text(page, "#link-text")) === "live");
  await shot(page, "desk-light");
  await page.keyboard.press("e");
  await check("e opens the ledger", async () => page.locator("#ledger").isVisible());
  await page.keyboard.press("Escape");

  gateway.drop(true);
  await check("says that the gateway is gone, with a countdown", async () => /unreachable .*retrying in \d+ s/.test(await text(page, "#banner")) && (await text(page, "#headline-state")) === "STALE");
  await shot(page, "desk-gone");
  gateway.accept();
  await page.keyboard.press("r");
  await check("comes back by itself and resumes", async () => (await text(page, "#link-text")) === "live" && gateway.requests.some((each) => each.since?.epoch === "E1"));
  await check("without a lasting mark", async () => (await page.locator("#banner").isHidden()) && (await text(page, "#headline-state")) === "LIVE");

  await flood(page, gateway);
  await check(`no exception, no request to another host: ${problems.join("; ") || "none"}`, () => problems.length === 0);
  await context.close();
}

// About 5,000 messages a second on an idle machine; how many a busy one makes is printed, not judged.
async function flood(page, gateway) {
  await page.evaluate(() => {
    window.worst = 0;
    let last = performance.now();
    const frame = (now) => {
      window.worst = Math.max(window.worst, now - last);
      last = now;
      requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
  });
  gateway.pace.ticksPerSecond = 1_700;
  const rate = async () => Number((await text(page, "#speed")).split(" ")[0].replace(",", ""));
  await check("takes a flood of messages", async () => (await rate()) > 1_000);
  await page.waitForTimeout(3_000);
  const worstMs = await page.evaluate(() => window.worst);
  const nodes = await page.evaluate(() => document.querySelectorAll("*").length);
  gateway.pace.ticksPerSecond = 60;
  console.log(`     ${await text(page, "#speed")}; longest frame ${Math.round(worstMs)} ms; ${nodes} elements`);
  await check("without freezing or growing", () => worstMs < 2_000 && nodes < 3_000);
}

async function phone(browser, gateway) {
  const options = { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true, colorScheme: "light", deviceScaleFactor: 2 };
  const { context, page, problems } = await openPage(browser, gateway, options);
  await check("phone: starts with the list", async () => (await page.locator(".row").count()) === 16 && (await page.locator("#chart-panel").isHidden()));
  await shot(page, "phone-list");
  await page.locator(`[data-key="${GC}"]`).tap();
  await check("phone: a tap opens the chart", async () => (await page.locator("#chart canvas").first().isVisible()) && (await page.locator(".print").count()) > 0);
  await check("phone: nothing is wider than the screen", () => page.evaluate(() => document.documentElement.scrollWidth <= innerWidth));
  await shot(page, "phone-chart");
  await page.locator("#back").tap();
  await check("phone: back to the list", async () => page.locator("#list-panel").isVisible());
  await check(`phone: no exception, no request to another host: ${problems.join("; ") || "none"}`, () => problems.length === 0);
  await context.close();
}

const gateway = await startFakeGateway({ dist: DIST });
const browser = await chromium.launch({ executablePath, args: FLAGS });
try {
  await desk(browser, gateway);
  await phone(browser, gateway);
} finally {
  await browser.close();
  gateway.close();
}
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;
