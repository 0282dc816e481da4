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
import { askForToken, bearerOf, dropToken, stopAsking, token } from "./token";
import { AnomaliesView } from "./views/anomalies";
import { ArbitrageView } from "./views/arbitrage";
import { BookView } from "./views/book";
import { ChartView } from "./views/chart";
import { bindControls } from "./views/controls";
import { CountsView } from "./views/counts";
import { DepthMapView } from "./views/depthmap";
import { Dock } from "./views/dock";
import { ForecastsView } from "./views/forecasts";
import { HeadlineView } from "./views/headline";
import { HealthView } from "./views/health";
import { LedgerView } from "./views/ledger";
import { LegendView } from "./views/legend";
import { ListView } from "./views/list";
import { MyTradesView } from "./views/mytrades";
import { NewsView } from "./views/news";
import { SectorsView } from "./views/sectors";
import { TimeSalesView } from "./views/timesales";
import { TopBarView } from "./views/topbar";

const TITLE_EVERY_MS = 1_000;
const TEXT_EVERY_MS = 80; // faster than this no eye reads a number
const CLOCK_EVERY_MS = 200;
const BOARD_EVERY_MS = 250;
const HEAT_EVERY_MS = 500;

const nowMs = (): number => performance.now();
const world = browserWorld();
const route = readRoute(location.hash);
const store = new Store(nowMs);
const signIn = (why: string): void => askForToken(why, () => app.signedIn());
const refused = (why: string): void => {
  dropToken();
  signIn(why);
};
const app = new App(store, new Rest("", token), world, token, route, { ask: refused, done: welcomed });

function welcomed(): void {
  stopAsking();
  const held = token();
  const button = byId("who-button");
  button.hidden = held === null;
  button.textContent = held === null ? "" : (bearerOf(held) ?? "signed in");
}

const chart = new ChartView(byId("chart"), store, () => app.readOlder());
const list = new ListView(store, (instrument, opened) => {
  app.select(instrument);
  if (opened) controls.open(true);
});
const headline = new HeadlineView(store);
const ledger = new LedgerView(store);
const book = new BookView(store, nowMs);
const depth = new DepthMapView(store);
const anomalies = new AnomaliesView(store, nowMs, (instrument) => app.select(instrument));
const arbitrage = new ArbitrageView(store, (instrument) => app.select(instrument));
const dock = new Dock((pane) => {
  Object.assign(store.dirty, { events: true, anomalies: true, mine: true });
  if (pane === "forecasts") void app.readScores();
});
app.scoresWanted = () => dock.isShown("forecasts");
const toggleTheme = initTheme(() => {
  chart.restyle();
  depth.restyle();
});
const voluntary = (): void => signIn("Another token takes the place of the one this tab has.");
const controls = bindControls({ app, store, chart, list, dock, anomalies, arbitrage, book, depth, signIn: voluntary, toggleTheme });

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
frames.add(book, BOARD_EVERY_MS);
frames.add(depth, HEAT_EVERY_MS);
frames.add(arbitrage, BOARD_EVERY_MS);
frames.add(anomalies, BOARD_EVERY_MS);
frames.add(new SectorsView(store, openInstrument), HEAT_EVERY_MS);
frames.add(new ForecastsView(store, (instrument) => app.select(instrument)), HEAT_EVERY_MS);
frames.add(new MyTradesView(store, (instrument) => app.select(instrument)), BOARD_EVERY_MS);
frames.add(new HealthView(store), HEAT_EVERY_MS);
frames.add(new CountsView(store), BOARD_EVERY_MS);
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
