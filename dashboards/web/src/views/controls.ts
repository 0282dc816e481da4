/** Buttons, keys and the help that lists them; on a phone, going from the list to the chart and back. */

import type { App } from "../app";
import { byId, h, setShape, setText } from "../dom";
import { bindKeys, type KeyCommand } from "../keys";
import { MEANING, QUALITIES } from "../quality";
import { readRoute } from "../route";
import type { Store } from "../store";
import type { Theme } from "../theme";
import { INTERVALS, type Interval } from "../time";
import type { ChartView } from "./chart";
import type { AnomaliesView } from "./anomalies";
import type { ArbitrageView } from "./arbitrage";
import type { BookView } from "./book";
import type { DepthMapView } from "./depthmap";
import type { Dock, PaneId } from "./dock";
import type { ListView } from "./list";

interface Parts {
  readonly app: App;
  readonly store: Store;
  readonly chart: ChartView;
  readonly list: ListView;
  readonly dock: Dock;
  readonly anomalies: AnomaliesView;
  readonly arbitrage: ArbitrageView;
  readonly book: BookView;
  readonly depth: DepthMapView;
  readonly signIn: () => void;
  readonly toggleTheme: () => Theme;
}

export interface Controls {
  /** On a phone: show the chart over the list, or the list again. */
  open(shown: boolean): void;
  /** Select the first row when nothing is selected yet and the screen has room for both. */
  chooseFirst(): void;
  /** Mark the button of the interval that is shown, whoever chose it. */
  draw(): void;
}

export function bindControls(parts: Parts): Controls {
  const { app, store, chart, list, dock, toggleTheme } = parts;
  const { press: pressInterval, mark } = bindIntervals(app, store);
  const follow = (): void => {
    const route = readRoute(location.hash);
    if (route.instrument === null) return;
    app.select(route.instrument, route.interval);
    pressInterval(route.interval);
  };
  const vwap = (): void => byId("vwap-button").setAttribute("aria-pressed", String(chart.toggleVwap()));
  const depth = (): void => byId("depth-button").setAttribute("aria-pressed", String(parts.depth.toggle()));
  const cone = (): void => byId("cone-button").setAttribute("aria-pressed", String(chart.toggleForecast()));
  const only = (): void => byId("mine-only").setAttribute("aria-pressed", String(parts.anomalies.toggleOnly()));
  const otherLeg = (): void => {
    const leg = parts.arbitrage.otherLeg();
    if (leg !== null) app.select(leg);
  };
  const pane = (key: string, id: PaneId, says: string): KeyCommand => ({ keys: [key], shown: key.toUpperCase(), says, run: () => dock.enter(id) });
  const open = (shown: boolean): void => openChart(dock, shown);
  const group = (): void => setText(byId("group-button"), `by ${list.toggleGrouping()}`);
  const help = byId("help") as HTMLDialogElement;
  const commands: readonly KeyCommand[] = [
    { keys: ["ArrowUp", "k"], shown: "\u2191", says: "instrument above", run: () => list.move(-1) },
    { keys: ["ArrowDown", "j"], shown: "\u2193", says: "instrument below", run: () => list.move(1) },
    { keys: ["Enter"], shown: "Enter", says: "open the chart (on a phone)", run: () => open(true) },
    { keys: ["/"], shown: "/", says: "filter the list; Esc clears it, and leads back to the list from any pane", run: () => list.focusFilter() },
    { keys: ["1", "2", "3", "4", "5", "6", "7"], shown: "1 \u2026 7", says: `bar width ${INTERVALS.join(" ")}`, run: (key) => pressInterval(INTERVALS[Number(key) - 1] ?? "1m") },
    { keys: ["v"], shown: "V", says: "VWAP line on or off", run: vwap },
    { keys: ["n"], shown: "N", says: "newest bar", run: () => chart.toNewest() },
    { keys: ["d"], shown: "D", says: "depth over time, on or off", run: depth },
    { keys: ["q"], shown: "Q", says: "lots of the buy and sell price under the book", run: () => parts.book.nextLots() },
    pane("a", "arbitrage", "arbitrage; arrows move, the list follows"),
    { keys: ["o"], shown: "O", says: "the other leg of the pair", run: otherLeg },
    pane("s", "sectors", "returns by sector"),
    pane("f", "forecasts", "forecasts and scores"),
    { keys: ["c"], shown: "C", says: "the cone of the forecast, on or off", run: cone },
    pane("m", "mine", "my trades"),
    pane("x", "anomalies", "anomalies; arrows move, the chart follows"),
    { keys: ["i"], shown: "I", says: "anomalies of this commodity only", run: only },
    pane("h", "health", "feeds and the balance of rows"),
    pane("e", "ledger", "gaps and status changes"),
    { keys: ["l"], shown: "L", says: "sign in with another token", run: () => parts.signIn() },
    { keys: ["g"], shown: "G", says: "group by commodity or venue", run: group },
    { keys: ["r"], shown: "R", says: "connect or read again now", run: () => app.retry() },
    { keys: ["t"], shown: "T", says: "light or dark", run: () => toggleTheme() },
    { keys: ["?"], shown: "?", says: "this help", run: () => help.showModal() },
  ];
  bindKeys(commands, () => list.clearFilter());
  fillHelp(commands);
  byId("depth-button").addEventListener("click", depth);
  byId("cone-button").addEventListener("click", cone);
  byId("mine-only").addEventListener("click", only);
  byId("who-button").addEventListener("click", () => parts.signIn());
  byId("vwap-button").addEventListener("click", vwap);
  byId("group-button").addEventListener("click", group);
  byId("theme-button").addEventListener("click", () => toggleTheme());
  byId("help-button").addEventListener("click", () => help.showModal());
  byId("newest").addEventListener("click", () => chart.toNewest());
  byId("back").addEventListener("click", () => history.back());
  addEventListener("popstate", () => dock.screen(history.state === "chart" ? "chart" : "list"));
  addEventListener("hashchange", follow);
  return { open, chooseFirst: () => chooseFirst(store, list), draw: mark };
}

// The chart is a step in the history, so that a phone's back gesture leads to the list and not off the page.
function openChart(dock: Dock, shown: boolean): void {
  if (shown && history.state !== "chart") {
    history.replaceState("list", "");
    history.pushState("chart", "");
  }
  dock.screen(shown ? "chart" : "list");
}

function bindIntervals(app: App, store: Store): { press: (interval: Interval) => void; mark: () => void } {
  const buttons = new Map<Interval, HTMLElement>();
  const press = (interval: Interval): void => {
    if (store.selected === null) app.interval = interval;
    else app.select(store.selected, interval);
    mark();
  };
  let marked: Interval | null = null;
  const mark = (): void => {
    if (marked === app.interval) return;
    marked = app.interval;
    for (const [each, button] of buttons) button.setAttribute("aria-pressed", String(each === marked));
  };
  for (const [at, interval] of INTERVALS.entries()) {
    const button = h("button", { type: "button", title: `${interval} bars (${at + 1})` }, interval);
    button.addEventListener("click", () => press(interval));
    buttons.set(interval, button);
    byId("intervals").append(button);
  }
  mark();
  return { press, mark };
}

function chooseFirst(store: Store, list: ListView): void {
  const wide = matchMedia("(min-width: 761px)").matches;
  if (store.selected === null && store.described && wide) list.move(1);
}

function fillHelp(commands: readonly KeyCommand[]): void {
  for (const { shown, says } of commands) byId("help-keys").append(h("dt", {}, h("kbd", {}, shown)), h("dd", {}, says));
  for (const quality of QUALITIES) {
    const mark = h("span", { class: "mark" });
    setShape(mark, quality);
    byId("help-states").append(h("dt", {}, mark, quality), h("dd", {}, MEANING[quality]));
  }
}
