/**
 * The arbitrage board: what is known now of each pair of contracts. Pure.
 *
 * A pair is named by its Indian and its foreign contract, whichever of them is bought. State: one row a pair, and the
 * last CLOSED_ROWS opportunities that ended.
 */

import { optionalNumber, requiredTime, string, strings, text, type Json } from "./json";
import { compareNs, type Ns } from "./time";

export const CLOSED_ROWS = 50;

/** In the order in which they fall due on the way from one market to the other. */
export const COSTS = ["freight", "duty", "bank", "inland", "fees", "taxes", "financing", "margin", "fx_hedge", "slippage"] as const;
export type CostName = (typeof COSTS)[number];

export type ArbitrageState = "open" | "update" | "close" | "silent" | "watch";

export interface Opportunity {
  readonly id: string;
  readonly tsEvent: Ns;
  readonly commodity: string;
  readonly buyForeign: boolean;
  readonly buyInstrument: string;
  readonly sellInstrument: string;
  readonly state: ArbitrageState;
  readonly reason: string;
  readonly currency: string;
  readonly unit: string;
  readonly buyPrice: number | null;
  readonly sellPrice: number | null;
  readonly fxPrice: number | null;
  readonly gross: number | null;
  readonly costs: Readonly<Record<CostName, number | null>>;
  readonly net: number | null;
  readonly basis: number | null;
  readonly level: number | null;
  readonly size: number | null;
  readonly foreignSize: number | null;
  readonly netInr: number | null;
  readonly netUsd: number | null;
  readonly buyAgeMs: number | null;
  readonly sellAgeMs: number | null;
  readonly fxAgeMs: number | null;
  readonly skewMs: number | null;
  readonly assumed: readonly string[];
}

export function parseOpportunity(row: Json): Opportunity {
  const costs = Object.fromEntries(COSTS.map((name) => [name, optionalNumber(row, `cost_${name}`)]));
  return {
    id: string(row, "opportunity_id"),
    tsEvent: requiredTime(row, "ts_event"),
    commodity: string(row, "commodity"),
    buyForeign: text(row, "direction") !== "buy_local",
    buyInstrument: string(row, "buy_instrument"),
    sellInstrument: string(row, "sell_instrument"),
    state: string(row, "state") as ArbitrageState,
    reason: text(row, "reason"),
    currency: text(row, "currency"),
    unit: text(row, "unit"),
    buyPrice: optionalNumber(row, "buy_price"),
    sellPrice: optionalNumber(row, "sell_price"),
    fxPrice: optionalNumber(row, "fx_price"),
    gross: optionalNumber(row, "gross"),
    costs: costs as Record<CostName, number | null>,
    net: optionalNumber(row, "net"),
    basis: optionalNumber(row, "basis"),
    level: optionalNumber(row, "level"),
    size: optionalNumber(row, "size"),
    foreignSize: optionalNumber(row, "foreign_size"),
    netInr: optionalNumber(row, "net_inr"),
    netUsd: optionalNumber(row, "net_usd"),
    buyAgeMs: optionalNumber(row, "buy_age_ms"),
    sellAgeMs: optionalNumber(row, "sell_age_ms"),
    fxAgeMs: optionalNumber(row, "fx_age_ms"),
    skewMs: optionalNumber(row, "skew_ms"),
    assumed: strings(row["assumed"]),
  };
}

/** The Indian contract. */
export function localOf(row: Opportunity): string {
  return row.buyForeign ? row.sellInstrument : row.buyInstrument;
}

export function foreignOf(row: Opportunity): string {
  return row.buyForeign ? row.buyInstrument : row.sellInstrument;
}

export function isOpen(row: Opportunity): boolean {
  return row.state === "open" || row.state === "update";
}

/** All costs together, or null where one is not known. */
export function totalCost(row: Opportunity): number | null {
  return row.gross === null || row.net === null ? null : row.gross - row.net;
}

/** Net in basis points of the Indian price. */
export function netBps(row: Opportunity): number | null {
  const local = row.buyForeign ? row.sellPrice : row.buyPrice;
  return row.net === null || local === null || local === 0 ? null : (10_000 * row.net) / Math.abs(local);
}

/** Net if the basis only goes back to its level, and not to parity: an opportunity needs both to be positive. */
export function beyondUsual(row: Opportunity): number | null {
  if (row.net === null || row.level === null) return null;
  return row.buyForeign ? row.net - row.level : row.net + row.level;
}

/** An opportunity that is over: its last word, and the one when most was to be had. */
export interface Ended {
  readonly end: Opportunity;
  readonly peak: Opportunity;
}

export class Board {
  private readonly byPair = new Map<string, Opportunity>();
  private readonly peaks = new Map<string, Opportunity>(); // of those that are open: when most was to be had
  private ended: Ended[] = [];
  version = 0;

  /** Open ones first, then by what is left, those that say nothing last. */
  get rows(): readonly Opportunity[] {
    return [...this.byPair.values()].sort((a, b) => rank(b) - rank(a) || (localOf(a) < localOf(b) ? -1 : 1));
  }

  /** Opportunities that ended, newest first. */
  get closed(): readonly Ended[] {
    return this.ended;
  }

  get open(): number {
    return [...this.byPair.values()].filter(isOpen).length;
  }

  /** The pair of which `instrument` is a leg; of several the one that leaves most. */
  of(instrument: string): Opportunity | null {
    return this.rows.find((row) => localOf(row) === instrument || foreignOf(row) === instrument) ?? null;
  }

  add(row: Opportunity): void {
    const key = `${localOf(row)}/${foreignOf(row)}`;
    const held = this.byPair.get(key);
    if (isOpen(row) && (row.netInr ?? 0) >= (this.peaks.get(row.id)?.netInr ?? 0)) this.peaks.set(row.id, row);
    if (row.state === "close") this.end(row);
    if (held !== undefined && compareNs(row.tsEvent, held.tsEvent) < 0) return;
    // While one direction is open, the sample of the other one is no news of the pair.
    if (held !== undefined && isOpen(held) && row.state === "watch") return;
    this.byPair.set(key, row);
    this.version += 1;
  }

  private end(row: Opportunity): void {
    if (this.ended.some((each) => each.end.id === row.id)) return;
    const ended = { end: row, peak: this.peaks.get(row.id) ?? row };
    this.peaks.delete(row.id);
    this.ended = [ended, ...this.ended].sort((a, b) => compareNs(b.end.tsEvent, a.end.tsEvent)).slice(0, CLOSED_ROWS);
    this.version += 1;
  }
}

function rank(row: Opportunity): number {
  if (isOpen(row)) return 2e9 + (netBps(row) ?? 0);
  return row.state === "silent" ? -2e9 : (netBps(row) ?? -1e9);
}
