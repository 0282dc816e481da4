/**
 * Time and sales of one instrument: the last trades, newest first.
 *
 * Pure. State: at most TAPE_ROWS trades. Order is arrival order; a trade that happened before one already shown is
 * marked late, never moved, so that rows do not jump under the eye.
 */

import type { Trade } from "./protocol";
import { compareNs } from "./time";

export const TAPE_ROWS = 200;
const LARGE_QUANTILE = 0.95;
const LARGE_FROM_TRADES = 20; // below this a quantile says nothing
const RECOMPUTE_EVERY = 25;

export interface TapeRow {
  readonly trade: Trade;
  readonly number: number; // rises by one per trade: what a view has already drawn
  readonly late: boolean;
  readonly large: boolean;
}

export class Tape {
  private rows: TapeRow[] = [];
  private added = 0;
  private newestNs = "0";
  private largeFrom = Number.POSITIVE_INFINITY;
  private sinceRecompute = 0;
  generation = 0; // changes when rows were replaced, not only added

  /** Newest last. */
  get all(): readonly TapeRow[] {
    return this.rows;
  }

  add(trade: Trade): void {
    const late = compareNs(trade.tsEvent, this.newestNs) < 0;
    if (!late) this.newestNs = trade.tsEvent;
    this.rows.push({ trade, number: this.added++, late, large: trade.size >= this.largeFrom });
    if (this.rows.length > TAPE_ROWS * 2) this.rows = this.rows.slice(-TAPE_ROWS);
    if (++this.sinceRecompute >= RECOMPUTE_EVERY) this.findLarge();
  }

  /** Merge an image or a page of history: each trade once, in event order. */
  merge(trades: readonly Trade[]): void {
    const byKey = new Map<string, Trade>();
    for (const trade of [...trades, ...this.rows.map((row) => row.trade)]) byKey.set(keyOf(trade), trade);
    const merged = [...byKey.values()].sort((a, b) => compareNs(a.tsEvent, b.tsEvent)).slice(-TAPE_ROWS);
    this.rows = merged.map((trade) => ({ trade, number: this.added++, late: false, large: false }));
    this.findLarge();
    this.rows = this.rows.map((row) => ({ ...row, large: row.trade.size >= this.largeFrom }));
    this.newestNs = merged.at(-1)?.tsEvent ?? "0";
    this.generation += 1;
  }

  // Large is relative to what this instrument trades now: the top twentieth, and more than the usual size.
  private findLarge(): void {
    this.sinceRecompute = 0;
    if (this.rows.length < LARGE_FROM_TRADES) return;
    const sizes = this.rows.map((row) => row.trade.size).sort((a, b) => a - b);
    const median = sizes[sizes.length >> 1] ?? 0;
    const quantile = sizes[Math.floor(sizes.length * LARGE_QUANTILE)] ?? Number.POSITIVE_INFINITY;
    this.largeFrom = Math.max(quantile, median * 2);
  }
}

function keyOf(trade: Trade): string {
  return `${trade.tsEvent}|${trade.tradeId ?? ""}|${trade.price}|${trade.size}`;
}
