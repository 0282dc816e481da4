/** The pane of feeds: each venue's state and numbers, and whether every row that came in is accounted for. */

import { byId, h, setData, setShape, setText, setTitle } from "../dom";
import { feedsOf, type VenueFeed } from "../feeds";
import * as format from "../format";
import { missing, type Balance, type Health } from "../health";
import type { View } from "../schedule";
import type { Store } from "../store";

const PARTS = [
  ["rows in", "rowsIn"],
  ["out", "out"],
  ["late", "late"],
  ["rejected", "rejected"],
  ["conflated", "conflated"],
  ["held", "held"],
] as const;

export class HealthView implements View {
  private readonly panel = byId("health");
  private readonly body = byId("feeds");
  private readonly balance = byId("balance");
  private readonly processes = byId("processes");
  private readonly counter = document.querySelector<HTMLElement>('[data-count="health"]');
  private readonly lines = new Map<string, FeedLine>();

  constructor(private readonly store: Store) {}

  draw(): void {
    const feeds = feedsOf(this.store);
    const balances = this.store.health?.balances ?? [];
    const bad = feeds.filter((feed) => feed.quality !== "LIVE" && feed.quality !== "CLOSED").length + balances.filter((each) => missing(each) !== 0).length;
    if (this.counter !== null) setText(this.counter, bad === 0 ? "" : String(bad));
    if (this.panel.hidden) return;
    for (const feed of feeds) this.line(feed.venue).draw(feed, this.store);
    this.drawBalance(balances);
    this.drawProcesses();
  }

  private line(venue: string): FeedLine {
    const held = this.lines.get(venue);
    if (held !== undefined) return held;
    const line = new FeedLine(venue);
    const after = [...this.lines.keys()].filter((each) => each > venue).sort()[0];
    this.body.insertBefore(line.root, after === undefined ? null : (this.lines.get(after)?.root ?? null));
    this.lines.set(venue, line);
    return line;
  }

  private drawBalance(balances: readonly Balance[]): void {
    const head = h("div", { class: "line sum head" }, h("span", {}, "judged by"), ...PARTS.map(([name]) => h("span", { class: "right" }, name)), h("span", { class: "right" }, "missing"));
    const lines = balances.map((each) => {
      const lost = missing(each);
      const cells = PARTS.map(([, part]) => h("span", { class: "num right" }, format.count(each[part])));
      return h("div", { class: "line sum", "data-balanced": String(lost === 0) }, h("span", {}, each.consumer), ...cells, h("b", { class: "num right" }, lost === 0 ? "0 \u2713" : format.count(lost)));
    });
    const none = h("p", { class: "empty" }, this.store.health === null ? "Not read yet." : "This gateway knows no process to ask.");
    this.balance.replaceChildren(...(lines.length === 0 ? [none] : [head, ...lines]));
  }

  private drawProcesses(): void {
    const all = this.store.health?.processes ?? [];
    const down = all.filter((each) => !each.up).map((each) => each.name);
    const restarted = all.filter((each) => each.restarts > 0).map((each) => `${each.name} ${each.restarts}`);
    const up = `${all.length - down.length} of ${all.length} processes answer`;
    setText(this.processes, all.length === 0 ? "" : [up, down.length === 0 ? "" : `down: ${down.join(", ")}`, restarted.length === 0 ? "" : `restarted: ${restarted.join(", ")}`, sentText(this.store.health?.sent ?? null)].filter(Boolean).join(" \u00b7 "));
  }
}

function sentText(sent: Health["sent"]): string {
  return sent === null ? "" : `gateway: ${format.count(sent.updates)} updates sent, ${format.count(sent.conflated)} conflated, ${sent.clients} ${sent.clients === 1 ? "client" : "clients"}`;
}

class FeedLine {
  private readonly mark = h("span", { class: "mark" });
  private readonly word = h("span", { class: "badge" });
  private readonly instruments = h("span", { class: "num" });
  private readonly rows = h("span", { class: "num right" });
  private readonly gaps = h("span", { class: "num right" });
  private readonly lag = h("span", { class: "num right" });
  private readonly reason = h("span", { class: "text" });
  readonly root: HTMLElement;

  constructor(venue: string) {
    const name = h("span", { class: "subject" }, venue);
    this.root = h("div", { class: "feed", role: "listitem" }, this.mark, name, this.word, this.rows, this.gaps, this.lag, this.instruments, this.reason);
  }

  draw(feed: VenueFeed, store: Store): void {
    const numbers = store.health?.venues.get(feed.venue);
    setShape(this.mark, feed.quality);
    setData(this.root, "quality", feed.quality);
    setText(this.word, feed.quality);
    setText(this.instruments, feed.instruments);
    setText(this.reason, feed.reason);
    setTitle(this.root, feed.reason);
    setText(this.rows, numbers === undefined ? "" : `${format.count(numbers.rows)} rows`);
    setText(this.gaps, numbers === undefined ? "" : `${format.count(numbers.gaps)} ${numbers.gaps === 1 ? "gap" : "gaps"}`);
    const skew = numbers?.skewS ? `skew ${format.signed(numbers.skewS, 1)} s` : "";
    setText(this.lag, skew || (numbers?.lagS == null ? "" : `${numbers.lagS.toFixed(1)} s late`));
  }
}
