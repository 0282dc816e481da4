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
const SECRET = `eyJhbGciOiJub25lIn0.${Buffer.from('{"sub":"asha"}').toString("base64url")}.x`;
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

  await panes(page, gateway);

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
  await check("e shows the events", async () => page.locator("#ledger").isVisible());
  await page.keyboard.press("x");
  await check("and x the anomalies again", async () => (await page.locator("#anomalies").isVisible()) && (await page.locator("#ledger").isHidden()));

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

// Each pane by what it says of one known row.
async function panes(page, gateway) {
  await check("the ladder has the levels of the book", async () => (await text(page, "#ladder .between")).includes("(1 t)") && (await page.locator("#ladder .step").count()) === 20 && (await page.locator("#ladder .step .ask").allTextContents()).includes("15"));
  await check("and says what ten lots cost", async () => (await text(page, '[data-value="sweep-buy"]')).endsWith("bp"));
  await check("depth over time is drawn", () => page.evaluate(() => {
    const canvas = document.querySelector("#depth");
    const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
    return new Set(new Uint32Array(pixels.buffer)).size > 20;
  }));
  gateway.opportunity("XIMC:GOLD:202612", GC);
  gateway.opportunity("XIMC:SILVER:202612", "XCEC:SI:202612", { gross: null, net: null, size: null, state: "silent", reason: "fx: USDINR is 6 s old", commodity: "silver" });
  const line = (key) => page.locator(`#arbitrage-rows [data-key="${key}"]`);
  await check("the board has a pair with what is left", async () => (await line(`XIMC:GOLD:202612/${GC}`).textContent()).includes("+165"));
  await check("and every cost of it by name", async () => (await page.locator("#arbitrage-detail .bar").allTextContents()).join().includes("Customs duty\u221219,838") && (await text(page, "#arbitrage-detail .facts")).includes("$ +515"));
  await check("and why another says nothing", async () => (await line("XIMC:SILVER:202612/XCEC:SI:202612").textContent()).includes("USDINR is 6 s old"));
  gateway.opportunity("XIMC:GOLD:202612", GC, { state: "open", opportunity_id: "O1" });
  await check("an opportunity that opens is counted and comes first", async () => (await text(page, '[data-count="arbitrage"]')) === "1" && (await page.locator("#arbitrage-rows > :first-child").getAttribute("data-state")) === "open");
  await page.keyboard.press("o");
  await check("o goes to the other leg, and the board stays with its pair", async () => (await text(page, "#headline-key")).includes("XIMC:GOLD:202612") && (await page.locator('#arbitrage-rows [aria-selected="true"]').count()) === 1);
  gateway.anomaly("A1", GC);
  await check("an anomaly is open, counted, and marked in the list", async () => (await text(page, ".anomaly .lasts")).startsWith("open") && (await text(page, '[data-count="anomalies"]')) === "1" && (await text(page, `.row[data-key="${GC}"] .alert`)) === "return spike");
  gateway.anomaly("A1", GC, { ts_end: `${Date.now() + 3000}000000`, witness: "bad_tick", as_known_at: `${Date.now() + 3000}000000` });
  await check("its witness and its end come to the same line", async () => (await page.locator(".anomaly").count()) === 1 && (await text(page, ".anomaly .chip")) === "bad tick" && (await text(page, ".anomaly .lasts")).startsWith("ended"));
  await page.locator(".anomaly").click();
  await check("a click on it selects its instrument, and shows the evidence", async () => (await text(page, "#headline-key")).includes(GC) && (await text(page, ".anomaly .evidence")).includes("move 150.1 bp"));
  await page.keyboard.press("h");
  await check("h shows that rows balance", async () => (await page.locator('[data-balanced="true"]').count()) === 2 && (await text(page, "#feeds")).includes("12,345 rows"));
  await page.keyboard.press("s");
  await check("s shows a tile for every instrument", async () => (await page.locator(".tile").count()) === 16);
  await page.keyboard.press("f");
  gateway.forecast(GC);
  await check("f shows what is served of each instrument, and why", async () => (await text(page, ".line.forecast[data-key]")).includes("naive (no skill)"));
  await check("and the scores of every model", async () => (await page.locator("#scoreboard .score").count()) === 3 && (await page.locator("#scoreboard").textContent()).includes("+3.1%"));
  await check("the chart says how far its cone may be believed", async () => (await text(page, "#forecast-note")).includes("held 90% of 240"));
  await shot(page, "desk-forecasts");
  await page.keyboard.press("m");
  gateway.myTrade("E1", GC);
  gateway.myTrade("E1", GC, { markout_1m: 0.5, as_known_at: `${Date.now() + 60_000}000000` });
  await check("m shows my trades with what the market did after", async () => (await page.locator(".line.own[data-key]").count()) === 1 && (await text(page, ".line.own[data-key]")).includes("+0.5"));
  gateway.refuse("user.trades");
  await check("a refusal is told where it matters", async () => (await page.evaluate(() => document.querySelector("#ledger-count").textContent)) !== "");
  await shot(page, "desk-panes");
  await page.keyboard.press("?");
  await check("? lists the keys", async () => (await page.locator("#help-keys dt").count()) > 20);
  await page.keyboard.press("Escape");
  await page.keyboard.press("a");
  await page.keyboard.press("x");
  await page.keyboard.press("Escape");
}

// A gateway with keys: nothing is shown before a token, and what a wrong one is told.
async function door(browser, gateway) {
  const { context, page, problems } = await openPage(browser, gateway, { viewport: { width: 1440, height: 900 } });
  await check("a gateway with keys asks for a token", async () => page.locator("#sign-in").isVisible());
  await page.locator("#token").fill("wrong");
  await page.keyboard.press("Enter");
  await check("a wrong one is refused in plain words", async () => (await text(page, "#sign-in-why")).includes("not valid here") && (await page.locator("#sign-in").isVisible()));
  await page.locator("#token").fill(SECRET);
  await page.keyboard.press("Enter");
  await check("the right one lets in", async () => (await text(page, "#link-text")) === "live" && (await page.locator("#sign-in").isHidden()) && (await page.locator(".row").count()) === 16);
  await check("and says who it is", async () => (await text(page, "#who-button")) === "asha");
  await page.reload();
  await check("a reload does not ask again", async () => (await text(page, "#link-text")) === "live" && (await page.locator("#sign-in").isHidden()));
  await check("the token is in no address", async () => !page.url().includes(SECRET) && problems.length === 0);
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
  await page.locator('[data-screen="book"]').tap();
  await check("phone: the bar leads to the book", async () => (await page.locator("#ladder").isVisible()) && (await page.locator("#chart-panel").isHidden()));
  await page.locator('[data-screen="arbitrage"]').tap();
  await check("phone: and to arbitrage", async () => (await page.locator("#arbitrage-rows").isVisible()) && (await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth)));
  await shot(page, "phone-arbitrage");
  await page.locator('[data-screen="chart"]').tap();
  await page.locator("#back").tap();
  await check("phone: back to the list", async () => page.locator("#list-panel").isVisible());
  await check(`phone: no exception, no request to another host: ${problems.join("; ") || "none"}`, () => problems.length === 0);
  await context.close();
}

const gateway = await startFakeGateway({ dist: DIST });
const guarded = await startFakeGateway({ dist: DIST, token: SECRET });
const browser = await chromium.launch({ executablePath, args: FLAGS });
try {
  await desk(browser, gateway);
  await phone(browser, gateway);
  await door(browser, guarded);
} finally {
  await browser.close();
  gateway.close();
  guarded.close();
}
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;
