/** The order book of the selected instrument: a ladder of ten levels a side, and what the book is worth. */

import { behindMs, BOOK_LEVELS, depthOf, sweepPrice, type Book, type Level } from "../depth";
import { byId, h, setData, setText } from "../dom";
import * as format from "../format";
import type { InstrumentState } from "../instrument";
import type { View } from "../schedule";
import type { Store } from "../store";
import { nsToMs } from "../time";

const BEHIND_MS = 2_000; // a snapshot comes four times a second, and a busy machine may take a second

export const SWEEP_LOTS: readonly number[] = [1, 5, 10, 25, 50];

interface Step {
  readonly root: HTMLElement;
  readonly bid: HTMLElement;
  readonly price: HTMLElement;
  readonly ask: HTMLElement;
}

export class BookView implements View {
  private readonly root = byId("book");
  private readonly ladder = byId("ladder");
  private readonly state = byId("book-state");
  private readonly asks: readonly Step[]; // best first
  private readonly bids: readonly Step[];
  private readonly between = h("div", { class: "between num" });
  private lots = 10;

  constructor(
    private readonly store: Store,
    private readonly nowMs: () => number,
  ) {
    this.asks = Array.from({ length: BOOK_LEVELS }, () => step("ask"));
    this.bids = Array.from({ length: BOOK_LEVELS }, () => step("bid"));
    this.ladder.append(...[...this.asks].reverse().map((each) => each.root), this.between, ...this.bids.map((each) => each.root));
  }

  /** Ask what the next number of lots would cost. */
  nextLots(): void {
    this.lots = SWEEP_LOTS[(SWEEP_LOTS.indexOf(this.lots) + 1) % SWEEP_LOTS.length] ?? 1;
  }

  draw(): void {
    const state = this.store.current;
    this.drawLadder(state);
    this.drawSession(state);
  }

  // Where a venue tells no depth, its quote is the book.
  private drawLadder(state: InstrumentState | null): void {
    const { book } = this.store;
    const decimals = state?.decimals ?? 2;
    const bids = book?.bids ?? top(state?.quote?.bidPrice, state?.quote?.bidSize);
    const asks = book?.asks ?? top(state?.quote?.askPrice, state?.quote?.askSize);
    const widest = Math.max(1, ...bids.map((level) => level.size), ...asks.map((level) => level.size));
    for (let at = 0; at < BOOK_LEVELS; at += 1) {
      drawStep(this.bids[at], bids[at], widest, decimals, "bid");
      drawStep(this.asks[at], asks[at], widest, decimals, "ask");
    }
    const live = state === null ? "LIVE" : this.store.feedOf(state).quality;
    setData(this.root, "quality", live);
    const lagMs = book === null ? 0 : behindMs(book, state?.quote ?? null);
    const behind = lagMs > BEHIND_MS;
    setData(this.root, "state", behind ? "BEHIND" : (book?.state ?? ""));
    setText(this.state, behind ? `${format.age(lagMs)} BEHIND` : stateText(book, state));
    this.drawWorth(bids, asks, state);
  }

  private drawWorth(bids: readonly Level[], asks: readonly Level[], state: InstrumentState | null): void {
    const { book } = this.store;
    const decimals = state?.decimals ?? 2;
    // Between the sides stands what is newest: the quote, while the book is behind it.
    const quoted = book !== null && behindMs(book, state?.quote ?? null) > 0 ? state?.quote : null;
    const [bid, ask] = [quoted?.bidPrice ?? bids[0]?.price ?? null, quoted?.askPrice ?? asks[0]?.price ?? null];
    const spread = bid === null || ask === null ? null : ask - bid;
    const mid = bid === null || ask === null ? null : (bid + ask) / 2;
    const spreadText = this.spreadText(spread, decimals, state?.meta.tickSize ?? null);
    setText(this.between, spread === null ? format.NONE : `${format.price(mid, decimals + 1)}  \u00b7  ${spreadText}`);
    setData(this.between, "crossed", spread !== null && spread <= 0 ? "yes" : "");
    this.set("micro", format.price(book?.micro, decimals + 1));
    const [bidLots, askLots] = [depthOf(bids), depthOf(asks)];
    const imbalance = bidLots + askLots === 0 ? null : (bidLots - askLots) / (bidLots + askLots);
    this.set("imbalance", imbalance === null ? format.NONE : `${format.signed(100 * imbalance, 0)}%  ${format.size(bidLots)} / ${format.size(askLots)}`);
    this.root.style.setProperty("--bid-share", (imbalance === null ? 0.5 : (1 + imbalance) / 2).toFixed(3));
    this.set("sweep-lots", String(this.lots));
    this.set("sweep-lots-too", String(this.lots));
    this.set("sweep-buy", this.sweepText(sweepPrice(asks, this.lots), mid, decimals));
    this.set("sweep-sell", this.sweepText(sweepPrice(bids, this.lots), mid, decimals));
    setText(byId("book-age"), this.ageText(state));
  }

  private spreadText(spread: number | null, decimals: number, tick: number | null): string {
    if (spread === null) return format.NONE;
    const text = format.price(spread, decimals);
    const state = spread < 0 ? " crossed" : spread === 0 ? " locked" : "";
    return tick === null ? text + state : `${text} (${Math.round(spread / tick)} t)${state}`;
  }

  private sweepText(price: number | null, mid: number | null, decimals: number): string {
    if (price === null) return mid === null ? format.NONE : "not in the book";
    const bps = mid === null || mid === 0 ? "" : `  ${format.signed((10_000 * (price - mid)) / Math.abs(mid), 1)} bp`;
    return format.price(price, decimals) + bps;
  }

  // Against the gateway's clock, so it also says how old the number is when the feed is silent.
  private ageText(state: InstrumentState | null): string {
    const clockMs = this.store.clock.read(this.nowMs());
    if (state?.quote == null || clockMs === null) return "";
    return format.age(clockMs - nsToMs(state.quote.tsEvent));
  }

  private drawSession(state: InstrumentState | null): void {
    const day = state?.day ?? null;
    const decimals = state?.decimals ?? 2;
    this.set("day-open", format.price(day?.open, decimals));
    this.set("day-high", format.price(day?.high, decimals));
    this.set("day-low", format.price(day?.low, decimals));
    this.set("day-vwap", format.price(day?.vwap, decimals));
    this.set("day-volume", format.size(day?.volume));
    this.set("day-trades", day === null ? format.NONE : format.count(day.trades));
  }

  private set(name: string, text: string): void {
    const element = this.values.get(name);
    if (element !== undefined) setText(element, text);
  }

  private readonly values = new Map(
    [...document.querySelectorAll<HTMLElement>("[data-value]")].map((element) => [element.dataset["value"] ?? "", element]),
  );
}

function step(side: "bid" | "ask"): Step {
  const [bid, price, ask] = [h("span", { class: "num bid" }), h("span", { class: "num price" }), h("span", { class: "num ask" })];
  return { root: h("div", { class: "step", "data-side": side, role: "row" }, bid, price, ask), bid, price, ask };
}

function drawStep(held: Step | undefined, level: Level | undefined, widest: number, decimals: number, side: "bid" | "ask"): void {
  if (held === undefined) return;
  setText(held[side], level === undefined ? "" : format.size(level.size));
  setText(held.price, level === undefined ? "" : format.price(level.price, decimals));
  const share = level === undefined ? 0 : level.size / widest;
  const width = `${(100 * share).toFixed(0)}%`;
  if (held.root.style.getPropertyValue("--share") !== width) held.root.style.setProperty("--share", width);
}

function top(price: number | null | undefined, size: number | null | undefined): readonly Level[] {
  return price == null ? [] : [{ price, size: size ?? 0 }];
}

function stateText(book: Book | null, state: InstrumentState | null): string {
  if (book === null) return state?.quote == null ? "" : "top only";
  return { NORMAL: "", LOCKED: "LOCKED", CROSSED: "CROSSED", DIRTY: "DIRTY" }[book.state];
}
