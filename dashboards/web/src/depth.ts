/**
 * An order book as the gateway tells it, and what it has looked like over the last minutes. Pure.
 *
 * State: DepthHistory keeps at most DEPTH_COLUMNS books of one instrument, one for each DEPTH_STEP_MS.
 */

import { ProtocolError, optionalNumber, requiredTime, string, text, type Json } from "./json";
import type { Quote } from "./protocol";
import { isQuality, type Quality } from "./quality";
import { compareNs, elapsedMs, nsToMs, type Ns } from "./time";

export const BOOK_LEVELS = 10;
export const DEPTH_COLUMNS = 600;
export const DEPTH_STEP_MS = 500;

export interface Level {
  readonly price: number;
  readonly size: number;
}

export type BookState = "NORMAL" | "LOCKED" | "CROSSED" | "DIRTY";

export interface Book {
  readonly instrument: string;
  readonly tsEvent: Ns;
  readonly state: BookState;
  readonly quality: Quality;
  readonly mid: number | null;
  readonly micro: number | null;
  readonly imbalance: number | null; // -1 to 1
  readonly bids: readonly Level[]; // best first
  readonly asks: readonly Level[];
}

const STATES: ReadonlySet<string> = new Set(["NORMAL", "LOCKED", "CROSSED", "DIRTY"]);

export function parseBook(row: Json): Book {
  const state = string(row, "state");
  if (!STATES.has(state)) throw new ProtocolError(`no such state of a book: ${state}`);
  const quality = text(row, "quality");
  return {
    instrument: string(row, "instrument"),
    tsEvent: requiredTime(row, "ts_event"),
    state: state as BookState,
    quality: isQuality(quality) ? quality : "LIVE",
    mid: optionalNumber(row, "mid_price"),
    micro: optionalNumber(row, "micro_price"),
    imbalance: optionalNumber(row, "imbalance"),
    bids: levels(row, "bid"),
    asks: levels(row, "ask"),
  };
}

function levels(row: Json, side: "bid" | "ask"): readonly Level[] {
  const found: Level[] = [];
  for (let level = 1; level <= BOOK_LEVELS; level += 1) {
    const price = optionalNumber(row, `${side}_${level}_price`);
    const size = optionalNumber(row, `${side}_${level}_size`);
    if (price === null || size === null) break; // what is behind a level that is not there is not there either
    found.push({ price, size });
  }
  return found;
}

/**
 * How far a book is behind the best bid and ask that the venue tells apart, in ms; 0 where both say the same, or the book
 * is the newer one. Snapshots are made by a flow of their own, which may be busy; quotes are not.
 */
export function behindMs(book: Book, quote: Quote | null): number {
  if (quote === null || compareNs(quote.tsEvent, book.tsEvent) <= 0) return 0;
  const same = book.bids[0]?.price === (quote.bidPrice ?? undefined) && book.asks[0]?.price === (quote.askPrice ?? undefined);
  return same ? 0 : elapsedMs(book.tsEvent, quote.tsEvent);
}

/** Lots of all levels shown. */
export function depthOf(levels: readonly Level[]): number {
  return levels.reduce((sum, level) => sum + level.size, 0);
}

/** Mean price of taking `lots` at once, or null where the levels shown do not hold as many. */
export function sweepPrice(levels: readonly Level[], lots: number): number | null {
  let [left, paid] = [lots, 0];
  for (const { price, size } of levels) {
    const taken = Math.min(left, size);
    paid += taken * price;
    left -= taken;
    if (left <= 0) return paid / lots;
  }
  return null;
}

export interface DepthColumn {
  readonly step: number; // market time in DEPTH_STEP_MS
  readonly book: Book;
}

/** The last minutes of one instrument's book, oldest first; a step without a change repeats nothing. */
export class DepthHistory {
  private columns: DepthColumn[] = [];
  version = 0; // rises with each change: what a view has drawn

  get all(): readonly DepthColumn[] {
    return this.columns;
  }

  /** Take a book; the newest of a step stays. One that is older than the last changes nothing. */
  add(book: Book): void {
    const step = stepOf(book);
    const last = this.columns.at(-1);
    if (last !== undefined && step < last.step) return;
    if (last?.step === step) this.columns.pop();
    this.columns.push({ step, book });
    if (this.columns.length > DEPTH_COLUMNS) this.columns.shift();
    this.version += 1;
  }

  /** Put a page of history before what came live. */
  seed(books: readonly Book[]): void {
    const first = this.columns[0]?.step ?? Number.POSITIVE_INFINITY;
    const bySteps = new Map<number, DepthColumn>();
    for (const book of books) if (stepOf(book) < first) bySteps.set(stepOf(book), { step: stepOf(book), book });
    const older = [...bySteps.values()].sort((a, b) => a.step - b.step);
    this.columns = [...older, ...this.columns].slice(-DEPTH_COLUMNS);
    this.version += 1;
  }
}

function stepOf(book: Book): number {
  return Math.floor(nsToMs(book.tsEvent) / DEPTH_STEP_MS);
}
