/** Builders of the values the tests need: only what a test says differs from the plain case. */

import type { Bar, DataMessage, Trade } from "../../src/protocol";

export const T0_S = 1_795_231_380; // 2026-11-21, on a minute

export const ns = (s: number, nanos = 0): string => `${s}${String(nanos).padStart(9, "0")}`;

export function bar(minute: number, change: Partial<Bar> = {}): Bar {
  return {
    instrument: "XCEC:GC:202612",
    interval: "1m",
    tsOpen: ns(T0_S + 60 * minute),
    tsClose: ns(T0_S + 60 * minute + 60),
    open: 10,
    high: 12,
    low: 9,
    close: 11,
    volume: 5,
    vwap: 10.5,
    trades: 3,
    revision: 0,
    final: true,
    quality: "LIVE",
    ...change,
  };
}

export function trade(number: number, change: Partial<Trade> = {}): Trade {
  return {
    instrument: "XCEC:GC:202612",
    tsEvent: ns(T0_S, number),
    tsRecv: null,
    price: 100,
    size: 1,
    side: "buy",
    tradeId: `T${number}`,
    ...change,
  };
}

export function message(seq: number, change: Partial<DataMessage> = {}): DataMessage {
  return { op: "update", channel: "trades", instrument: "XCEC:GC:202612", interval: null, seq, skipped: 0, tsOut: null, rows: [], ...change };
}

export function rawTrade(number: number, change: Record<string, unknown> = {}): Record<string, unknown> {
  return { instrument: "XCEC:GC:202612", ts_event: ns(T0_S, number), price: 100, size: 1, side: "buy", trade_id: `T${number}`, ...change };
}
