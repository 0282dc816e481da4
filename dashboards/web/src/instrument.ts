/** All the page knows of one instrument. Mutable, owned by the store; views only read it. */

import { decimalsOf, dateTime } from "./format";
import type { Bar, Instrument, Quote, Status, Trade } from "./protocol";
import { compareNs, nsToMs } from "./time";

export const SPARK_MINUTES = 60;
const INFERRED_DECIMALS_CAP = 6;

export interface Reference {
  readonly price: number;
  readonly label: string;
}

export class InstrumentState {
  last: number | null = null;
  lastNs = "0";
  /** Which way the last price that differed went: 1 up, -1 down, 0 not known. */
  direction: -1 | 0 | 1 = 0;
  /** Rises with every price change: what a view flashes on. */
  ticks = 0;
  quote: Quote | null = null;
  day: Bar | null = null;
  status: Status | null = null;
  /** Channels whose messages are missing and whose fresh image has not come yet. */
  readonly holes = new Set<string>();
  spark: { minute: number; close: number }[] = [];
  private firstSeen: Reference | null = null;
  private inferred = 0;

  constructor(public meta: Instrument) {}

  get decimals(): number {
    return this.meta.tickSize === null ? this.inferred : decimalsOf(this.meta.tickSize);
  }

  /** Take a trade; one that happened before the last shown does not turn the price back. */
  trade(trade: Trade): void {
    if (compareNs(trade.tsEvent, this.lastNs) < 0) return;
    this.lastNs = trade.tsEvent;
    this.infer(trade.price);
    if (this.last !== null && trade.price !== this.last) {
      this.direction = trade.price > this.last ? 1 : -1;
      this.ticks += 1;
    }
    this.last = trade.price;
    this.firstSeen ??= { price: trade.price, label: `first trade seen, ${dateTime(nsToMs(trade.tsEvent))} UTC` };
    this.sparkPoint(Math.floor(nsToMs(trade.tsEvent) / 60_000), trade.price);
  }

  setQuote(quote: Quote): void {
    if (this.quote !== null && compareNs(quote.tsEvent, this.quote.tsEvent) < 0) return;
    this.quote = quote;
    for (const each of [quote.bidPrice, quote.askPrice]) if (each !== null) this.infer(each);
  }

  /** Take the session's bar; an older session or a lower revision changes nothing. */
  setDay(bar: Bar): void {
    const held = this.day;
    if (held !== null) {
      const order = compareNs(bar.tsOpen, held.tsOpen);
      if (order < 0 || (order === 0 && bar.revision < held.revision)) return;
    }
    this.day = bar;
  }

  /** Take closes of the last minutes from history; what came live stays. */
  seedSpark(bars: readonly Bar[]): void {
    const live = this.spark;
    const from = live[0]?.minute ?? Number.POSITIVE_INFINITY;
    const seeded = bars
      .map((bar) => ({ minute: Math.floor(nsToMs(bar.tsOpen) / 60_000), close: bar.close }))
      .filter((point) => point.minute < from);
    this.spark = [...seeded, ...live].slice(-SPARK_MINUTES);
    const last = bars.at(-1);
    if (this.last === null && last !== undefined) {
      this.last = last.close;
      this.lastNs = last.tsOpen;
      this.infer(last.close);
    }
    const first = bars[0];
    if (first !== undefined) {
      this.firstSeen = { price: first.open, label: `open of ${dateTime(nsToMs(first.tsOpen))} UTC` };
    }
  }

  /** What the change is measured from: the session's open, else the oldest price we have. */
  get reference(): Reference | null {
    if (this.day === null) return this.firstSeen;
    return { price: this.day.open, label: `session open, ${dateTime(nsToMs(this.day.tsOpen))} UTC` };
  }

  private sparkPoint(minute: number, close: number): void {
    const point = this.spark.at(-1);
    if (point !== undefined && point.minute === minute) point.close = close;
    else if (point === undefined || minute > point.minute) this.spark.push({ minute, close });
    if (this.spark.length > SPARK_MINUTES) this.spark.shift();
  }

  private infer(price: number): void {
    if (this.meta.tickSize !== null) return;
    const fraction = String(price).split(".")[1] ?? "";
    this.inferred = Math.min(INFERRED_DECIMALS_CAP, Math.max(this.inferred, fraction.length));
  }
}
