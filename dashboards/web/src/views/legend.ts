/** The line over the chart: open, high, low, close and the rest of the bar under the crosshair, else the newest. */

import { byId, h, setData, setText } from "../dom";
import * as format from "../format";
import type { Bar } from "../protocol";
import type { View } from "../schedule";
import type { Store } from "../store";
import { INTERVAL_MS, nsToMs } from "../time";
import type { ChartView } from "./chart";

const FIELDS = ["O", "H", "L", "C", "V", "VWAP", "Trades"] as const;

export class LegendView implements View {
  private readonly values = new Map<string, HTMLElement>();
  private readonly when = h("span", { class: "when num" });
  private readonly forming = h("span", { class: "forming" });
  private readonly revised = h("span", { class: "revised" });
  private readonly quality = h("span", { class: "badge" });
  private readonly closing = byId("closing");
  private readonly revisions = byId("revisions");
  private readonly note = byId("history-note");
  private readonly message = byId("chart-message");
  private readonly newest = byId("newest");

  constructor(
    private readonly store: Store,
    private readonly chart: ChartView,
    private readonly nowMs: () => number,
  ) {
    const legend = byId("legend");
    legend.append(this.when);
    for (const name of FIELDS) {
      const value = h("span", { class: "num" });
      this.values.set(name, value);
      legend.append(h("span", { class: "field", "data-field": name }, h("span", { class: "key" }, name), value));
    }
    legend.append(this.forming, this.revised, this.quality);
  }

  draw(): void {
    const bar = this.chart.pointed;
    this.drawBar(bar);
    this.drawClosing(this.store.series?.last ?? null);
    this.drawMessage();
    setText(this.revisions, revisionsText(this.store.series?.revisions ?? 0));
    this.newest.hidden = this.chart.atNewest || this.store.series?.last === undefined;
  }

  private drawBar(bar: Bar | null): void {
    const decimals = this.store.current?.decimals ?? 2;
    const show = (name: string, text: string): void => setText(this.values.get(name) as HTMLElement, text);
    const direction = bar === null ? "" : bar.close > bar.open ? "up" : bar.close < bar.open ? "down" : "";
    for (const [name, value] of [["O", bar?.open], ["H", bar?.high], ["L", bar?.low], ["C", bar?.close]] as const) {
      show(name, format.price(value, decimals));
      setData(this.values.get(name) as HTMLElement, "sign", direction);
    }
    show("VWAP", format.price(bar?.vwap, decimals));
    show("V", format.size(bar?.volume));
    show("Trades", bar === null ? format.NONE : format.count(bar.trades));
    setText(this.when, bar === null ? "" : `${format.dateTime(nsToMs(bar.tsOpen))} UTC`);
    this.drawMarks(bar);
  }

  private drawMarks(bar: Bar | null): void {
    setText(this.forming, bar === null || bar.final ? "" : "forming");
    setText(this.revised, bar === null || bar.revision === 0 ? "" : `revision ${bar.revision}`);
    setText(this.quality, bar === null || bar.quality === "LIVE" ? "" : bar.quality);
  }

  private drawClosing(last: Bar | null): void {
    const clockMs = this.store.clock.read(this.nowMs());
    if (last === null || clockMs === null || this.store.connection.state !== "live") return setText(this.closing, "");
    const closeMs = last.tsClose === null ? nsToMs(last.tsOpen) + INTERVAL_MS[last.interval] : nsToMs(last.tsClose);
    if (last.final) setText(this.closing, "next bar opens with its first trade");
    else if (closeMs > clockMs) setText(this.closing, `closes in ${format.countdown(closeMs - clockMs)}`);
    else setText(this.closing, "closing\u2026");
  }

  private drawMessage(): void {
    const { series, historyState } = this.store;
    const empty = series === null || series.all.length === 0;
    this.message.hidden = !empty;
    setText(this.note, empty ? "" : NOTES[historyState]);
    if (empty) setText(this.message, emptyText(historyState, series === null, this.store.instruments.size > 0));
  }
}

const NOTES = { loading: "loading history\u2026", ready: "", failed: "history not read, press R" } as const;

function revisionsText(revisions: number): string {
  return revisions === 0 ? "" : `${revisions} ${revisions === 1 ? "revision" : "revisions"} applied`;
}

function emptyText(history: string, nothingChosen: boolean, instruments: boolean): string {
  if (nothingChosen) return instruments ? "Choose an instrument from the list." : "Waiting for the gateway to name its instruments\u2026";
  if (history === "loading") return "Loading history\u2026";
  if (history === "failed") return "History could not be read. Live bars will appear here; press R to try again.";
  return "No bars yet. Waiting for the first trade\u2026";
}
