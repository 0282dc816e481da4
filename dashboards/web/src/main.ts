/** The page's composition: makes every part, gives each its clock, and starts the frame. Nothing else reads a clock. */

import "./styles/tokens.css";
import "./styles/layout.css";
import "./styles/panels.css";

import { App } from "./app";
import { byId } from "./dom";
import { Rest } from "./rest";
import { readRoute } from "./route";
import { Frames } from "./schedule";
import { Store } from "./store";
import { browserWorld } from "./browser";
import { initTheme } from "./theme";
import { askForToken, token } from "./token";
import { BookView } from "./views/book";
import { ChartView } from "./views/chart";
import { bindControls } from "./views/controls";
import { HeadlineView } from "./views/headline";
import { FeedsView } from "./views/feeds";
import { LedgerView } from "./views/ledger";
import { LegendView } from "./views/legend";
import { ListView } from "./views/list";
import { NewsView } from "./views/news";
import { TimeSalesView } from "./views/timesales";
import { TopBarView } from "./views/topbar";

const TITLE_EVERY_MS = 1_000;
const TEXT_EVERY_MS = 80; // faster than this no eye reads a number
const CLOCK_EVERY_MS = 200;

const nowMs = (): number => performance.now();
const world = browserWorld();
const route = readRoute(location.hash);
const store = new Store(nowMs);
const app = new App(store, new Rest("", token), world, token, route, () => askForToken(() => app.retry()));

const chart = new ChartView(byId("chart"), store, () => app.readOlder());
const list = new ListView(store, (instrument, opened) => {
  app.select(instrument);
  if (opened) controls.open(true);
});
const headline = new HeadlineView(store);
const ledger = new LedgerView(store);
const toggleTheme = initTheme(() => chart.restyle());
const controls = bindControls({ app, store, chart, list, ledger, toggleTheme });

function openInstrument(instrument: string): void {
  app.select(instrument);
  controls.open(true);
}

const frames = new Frames();
frames.add(chart);
frames.add(list, TEXT_EVERY_MS);
frames.add(controls, TEXT_EVERY_MS);
frames.add(headline, TEXT_EVERY_MS);
frames.add(new LegendView(store, chart, nowMs), TEXT_EVERY_MS);
frames.add(new TimeSalesView(store), TEXT_EVERY_MS);
frames.add(new BookView(store, nowMs), TEXT_EVERY_MS);
frames.add(new FeedsView(store), CLOCK_EVERY_MS);
frames.add(new TopBarView(store, () => app.stream.lastHeardMs, nowMs), CLOCK_EVERY_MS);
frames.add(ledger, CLOCK_EVERY_MS);
frames.add(new NewsView(store, openInstrument), CLOCK_EVERY_MS);
frames.start();

// Not in the frame: a tab in the background has none, and its title is what is watched then.
world.every(TITLE_EVERY_MS, () => {
  const title = headline.title();
  if (document.title !== title) document.title = title;
  controls.chooseFirst();
});

if (route.instrument !== null) {
  app.select(route.instrument);
  controls.open(route.open);
}
addEventListener("error", (event) => app.failed(event.message));
addEventListener("unhandledrejection", (event) => app.failed(String(event.reason)));
addEventListener("online", () => app.stream.retryNow());
addEventListener("pagehide", () => app.stream.stop());
app.stream.start();
