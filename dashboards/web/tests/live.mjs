/**
 * Watches the page of a running demo in headless Chromium until every pane has live content from every venue.
 *
 * Usage: node tests/live.mjs URL [seconds] [screenshot directory]. Exit code 0 when all came within that time (120 s unless
 * told); each pane prints one line with the second it was there. The browser is CHROMIUM, as in e2e.mjs.
 */

import { existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { chromium } from "playwright-core";

const [, , url, seconds = "120", shots] = process.argv;
const VENUES = ["BBG", "IFEU", "IFUS", "XCBT", "XCEC", "XIMC", "XNYM"];
const BROWSERS = [process.env.CHROMIUM, "/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
const FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const GC = "XCEC:GC:202612";
const GOLD = "XIMC:GOLD:202612";

if (url === undefined) throw new Error("usage: node tests/live.mjs URL [seconds] [screenshot directory]");
const executablePath = BROWSERS.find((path) => path && existsSync(path));
if (executablePath === undefined) throw new Error("no Chromium found: set CHROMIUM to its path");
if (shots) mkdirSync(shots, { recursive: true });

const began = Date.now();
const end = began + Number(seconds) * 1000;
let failed = 0;

/** Poll until `probe` says that a pane is there; what it says instead is printed when time is up. */
async function pane(name, probe) {
  let found = await probe().catch((error) => String(error).slice(0, 200));
  while (found !== true && Date.now() < end) {
    await new Promise((done) => setTimeout(done, 250));
    found = await probe().catch((error) => String(error).slice(0, 200));
  }
  if (found !== true) failed += 1;
  console.log(`${found === true ? "ok  " : "FAIL"} ${((Date.now() - began) / 1000).toFixed(1).padStart(5)} s ${name}${found === true ? "" : `: ${found}`}`);
}

const browser = await chromium.launch({ executablePath, args: FLAGS });
// Without a GPU every frame of an animation costs: what is tested is the pipeline, and it needs the processor.
const page = await (await browser.newContext({ viewport: { width: 1440, height: 900 }, colorScheme: "dark", reducedMotion: "reduce" })).newPage();
const problems = [];
page.on("pageerror", (error) => problems.push(error.message));
await page.goto(`${url.replace(/\/$/, "")}/#${GC}/5s`);

const texts = (selector) => page.locator(selector).allTextContents();
const all = async (selector, wanted) => {
  const found = (await texts(selector)).join(" ");
  const lacking = VENUES.filter((venue) => !found.includes(wanted(venue)));
  return lacking.length === 0 || `nothing of ${lacking.join(", ")}`;
};
const some = async (selector, least = 1) => {
  const count = await page.locator(selector).count();
  return count >= least || `${count} of ${least} of ${selector}`;
};
const press = (key) => page.keyboard.press(key);

await pane("connection and a pill for every venue", () => all("#venues", (venue) => venue));
await pane("list: a price of every venue", async () => {
  const rows = await page.locator(".row").evaluateAll((lines) => lines.map((line) => [line.dataset.key, line.querySelector(".last").textContent]));
  const lacking = VENUES.filter((venue) => !rows.some(([key, last]) => key.startsWith(`${venue}:`) && /\d/.test(last)));
  return lacking.length === 0 || `no price of ${lacking.join(", ")}`;
});
await pane("chart: bars", async () => /\d/.test((await texts('#legend [data-field="C"]')).join()) || "no bar");
await pane("book: levels on both sides", async () => {
  const sizes = (await texts("#ladder .step .bid, #ladder .step .ask")).filter(Boolean).length;
  return sizes >= 10 || `${sizes} levels`;
});
await pane("depth over time", () => page.evaluate(() => {
  const canvas = document.querySelector("#depth");
  const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  const colours = new Set(new Uint32Array(pixels.buffer)).size;
  return colours > 40 || `${colours} colours`;
}));
await pane("time and sales", () => some(".print", 5));
await pane("headlines", () => some(".headline"));
await pane("arbitrage: pairs of every commodity that is compared", async () => {
  const found = (await texts("#arbitrage-rows .pair")).join(" ");
  const lacking = ["GOLD", "SILVER", "COPPER", "CRUDEOIL", "NATURALGAS", "COTTONCNDY"].filter((root) => !found.includes(root));
  return lacking.length === 0 || `no ${lacking.join(", ")}`;
});
await pane("arbitrage: a ladder from gross to net", async () => {
  const lines = (await texts("#arbitrage-detail .bar .num")).filter((text) => /\d/.test(text)).length;
  return lines === 12 || `${lines} of 12 lines have numbers`;
});
await page.goto(`${url.replace(/\/$/, "")}/#${GOLD}/5s`);
await pane("linked: the board follows the chart", async () => (await page.locator('#arbitrage-rows [aria-selected="true"] .pair').textContent())?.startsWith("GOLD Z6") || "another pair");
await pane("anomalies, with a witness", async () => ((await texts(".anomaly .chip")).some((text) => text !== "unconfirmed") ? true : "none yet"));
await press("h");
await pane("feeds: rows of every venue", () => all("#feeds .feed", (venue) => venue));
await pane("feeds: every consumer's rows balance", async () => {
  const found = await page.locator("#balance .sum[data-balanced]").evaluateAll((lines) => lines.map((line) => line.textContent));
  return (found.length >= 3 && (await page.locator('#balance [data-balanced="false"]').count()) === 0) || found.join(" | ") || "no balance";
});
await press("s");
await pane("sectors: a return of every venue", async () => {
  const tiles = await page.locator(".tile").evaluateAll((found) => found.map((tile) => [tile.dataset.key, tile.querySelector("b").textContent]));
  const lacking = VENUES.filter((venue) => !tiles.some(([key, value]) => key.startsWith(`${venue}:`) && /\d/.test(value)));
  return lacking.length === 0 || `no return of ${lacking.join(", ")}`;
});
await press("m");
await pane("my trades: the demo's trader's, with the market joined", async () => (await texts("#mine-rows [data-key]")).some((text) => /\d/.test(text)) || (await texts("#mine-empty")).join());
await press("f");
await pane("forecasts of every venue", () => all("#forecast-rows", (venue) => `${venue}:`));
await pane("forecasts: a scoreboard", () => some("#scoreboard .score", 3));
await pane("the chart's cone says how far it may be believed", async () => /held \d+%/.test((await texts("#forecast-note")).join()) || "nothing has come due");
if (problems.length > 0) failed += 1;
console.log(problems.length === 0 ? "ok   no exception" : `FAIL exceptions: ${problems.join("; ")}`);
if (shots) {
  await page.screenshot({ path: join(shots, "forecasts.png") });
  for (const key of ["Escape", "a", "x", "Escape"]) await press(key);
  await page.waitForTimeout(600);
  await page.screenshot({ path: join(shots, "desk.png") });
  await press("t");
  for (const key of ["s", "h", "Escape"]) await press(key);
  await page.waitForTimeout(800);
  await page.screenshot({ path: join(shots, "light.png") });
}
await browser.close();
process.exitCode = failed === 0 ? 0 : 1;
