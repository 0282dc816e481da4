/**
 * The trader's own trades, each with the market joined to it. Pure. State: at most MY_TRADE_ROWS trades.
 *
 * One trade has several events (created, amended, matched, settled) and each may come again with mark-outs that were not
 * known before; a row is one event, newest first.
 */

import { optionalNumber, requiredTime, string, text, time, type Json } from "./json";
import { compareNs, type Ns } from "./time";

export const MY_TRADE_ROWS = 200;

export interface MyTrade {
  readonly eventId: string;
  readonly eventType: string;
  readonly tradeId: string;
  readonly instrument: string;
  readonly side: "buy" | "sell";
  readonly quantity: number | null;
  readonly price: number | null;
  readonly tsEvent: Ns;
  readonly arrivalPrice: number | null;
  readonly slippage: number | null;
  readonly markout1m: number | null;
  readonly markout5m: number | null;
  readonly markout30m: number | null;
  readonly asKnownAt: Ns | null;
}

export function parseMyTrade(row: Json): MyTrade {
  return {
    eventId: string(row, "event_id"),
    eventType: text(row, "event_type"),
    tradeId: text(row, "trade_id"),
    instrument: string(row, "instrument"),
    side: row["side"] === "sell" || row["side"] === -1 ? "sell" : "buy",
    quantity: optionalNumber(row, "quantity"),
    price: optionalNumber(row, "price"),
    tsEvent: requiredTime(row, "ts_event"),
    arrivalPrice: optionalNumber(row, "arrival_price"),
    slippage: optionalNumber(row, "slippage"),
    markout1m: optionalNumber(row, "markout_1m"),
    markout5m: optionalNumber(row, "markout_5m"),
    markout30m: optionalNumber(row, "markout_30m"),
    asKnownAt: time(row, "as_known_at"),
  };
}

export class MyTrades {
  private rows: MyTrade[] = [];

  /** Newest first. */
  get all(): readonly MyTrade[] {
    return this.rows;
  }

  add(found: readonly MyTrade[]): boolean {
    const byId = new Map(this.rows.map((row) => [row.eventId, row]));
    let changed = false;
    for (const row of found) {
      const held = byId.get(row.eventId);
      if (held !== undefined && compareNs(row.asKnownAt ?? "0", held.asKnownAt ?? "0") <= 0) continue;
      byId.set(row.eventId, row);
      changed = true;
    }
    if (changed) this.rows = [...byId.values()].sort((a, b) => compareNs(b.tsEvent, a.tsEvent)).slice(0, MY_TRADE_ROWS);
    return changed;
  }
}
