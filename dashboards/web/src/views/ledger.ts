/** The panel of recent gaps, status changes and errors, newest first. */

import { byId, h, setShape, setText } from "../dom";
import * as format from "../format";
import type { View } from "../schedule";
import type { LedgerEvent, Store } from "../store";

export class LedgerView implements View {
  private readonly panel = byId("ledger");
  private readonly body = byId("ledger-body");
  private readonly counter = byId("ledger-count");
  private seen = 0;

  constructor(private readonly store: Store) {}

  get open(): boolean {
    return !this.panel.hidden;
  }

  draw(): void {
    if (!this.store.dirty.events) return;
    this.store.dirty.events = false;
    if (this.open) this.seen = (this.store.events.at(-1)?.number ?? -1) + 1;
    const news = this.store.events.filter((event) => event.number >= this.seen && event.quality !== "LIVE").length;
    setText(this.counter, news === 0 ? "" : String(news));
    if (this.open) this.body.replaceChildren(...this.rows());
  }

  private rows(): readonly HTMLElement[] {
    if (this.store.events.length === 0) return [h("p", { class: "empty" }, "Nothing has happened yet: no gap, no status change.")];
    return [...this.store.events].reverse().map(eventRow);
  }
}

function eventRow(event: LedgerEvent): HTMLElement {
  const mark = h("span", { class: "mark" });
  if (event.quality !== null) setShape(mark, event.quality);
  const time = h("span", { class: "num time" }, event.atMs === null ? "--:--:--" : format.clock(event.atMs));
  const subject = h("span", { class: "subject" }, event.subject);
  const word = h("span", { class: "badge" }, event.quality ?? event.kind.toUpperCase());
  return h("div", { class: "event", "data-quality": event.quality ?? "", role: "listitem" }, time, mark, word, subject, h("span", { class: "text" }, event.text));
}
