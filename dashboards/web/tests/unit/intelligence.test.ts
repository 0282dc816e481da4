import { describe, expect, it } from "vitest";

import { Anomalies, parseAnomaly } from "../../src/anomalies";
import { beyondUsual, Board, foreignOf, localOf, netBps, parseOpportunity, totalCost } from "../../src/arbitrage";
import { missing, parseHealth } from "../../src/health";
import { bandOf, Forecasts, parseForecast, servedText } from "../../src/forecasts";
import { InstrumentState } from "../../src/instrument";
import { MyTrades, parseMyTrade } from "../../src/mytrades";
import { parseBar, parseInstrument, parseTrade } from "../../src/protocol";
import { returnOf, sectorsOf } from "../../src/sectors";
import { bearerOf } from "../../src/token";

const [GC, GOLD] = ["XCEC:GC:202612", "XIMC:GOLD:202612"];

function anomaly(id: string, atMs: number, changes: Record<string, unknown> = {}) {
  return parseAnomaly({ anomaly_id: id, instrument: GC, ts_event: `${atMs}`, ts_end: null, kind: "return_spike", severity: "high", score: 7.5, value: 1, expected: null, witness: "unconfirmed", detail: {}, as_known_at: `${atMs}`, ...changes });
}

describe("anomalies", () => {
  it("take the newest word about each, whatever comes first", () => {
    const feed = new Anomalies();
    expect(feed.add([anomaly("A", 10), anomaly("B", 20)])).toBe(true);
    expect(feed.open).toBe(2);
    expect(feed.add([anomaly("A", 10, { witness: "bad_tick", ts_end: "14", as_known_at: "14" })])).toBe(true);
    expect(feed.add([anomaly("A", 10, { as_known_at: "11" })])).toBe(false);
    expect(feed.all.map((row) => [row.id, row.witness])).toEqual([["B", "unconfirmed"], ["A", "bad_tick"]]);
    expect([feed.open, feed.openOf(GC)?.id]).toEqual([1, "B"]);
  });
});

function opportunity(changes: Record<string, unknown> = {}) {
  return parseOpportunity({ opportunity_id: "O", ts_event: "10", commodity: "gold", direction: "buy_foreign", buy_instrument: GC, sell_instrument: GOLD, state: "watch", reason: "", currency: "INR", unit: "10g", buy_price: 4150, sell_price: 100_000, gross: 500, net: 30, level: 50, cost_duty: 470, ...changes });
}

describe("the arbitrage board", () => {
  it("reads an opportunity either way round", () => {
    const [abroad, home] = [opportunity(), opportunity({ direction: "buy_local", buy_instrument: GOLD, sell_instrument: GC, buy_price: 100_000, sell_price: 4150, level: -50 })];
    for (const row of [abroad, home]) {
      expect([localOf(row), foreignOf(row), totalCost(row), netBps(row), beyondUsual(row)]).toEqual([GOLD, GC, 470, 3, -20]);
    }
    expect(abroad.costs.freight).toBeNull();
  });

  it("has one row a pair: the newest, and no sample while it is open", () => {
    const board = new Board();
    board.add(opportunity());
    board.add(opportunity({ state: "open", ts_event: "20", net: 40 }));
    board.add(opportunity({ state: "watch", ts_event: "21", net: -5 }));
    board.add(opportunity({ ts_event: "15", net: 1 }));
    expect(board.rows.map((row) => [row.state, row.net])).toEqual([["open", 40]]);
    expect([board.open, board.of(GC)?.net, board.of("XIMC:SILVER:202612")]).toEqual([1, 40, null]);
    board.add(opportunity({ state: "update", ts_event: "25", net_inr: 900 }));
    board.add(opportunity({ state: "update", ts_event: "26", net_inr: 500 }));
    board.add(opportunity({ state: "close", ts_event: "30", reason: "nothing is left", net_inr: 0 }));
    expect([board.open, board.closed.map((each) => [each.peak.netInr, each.end.reason])]).toEqual([0, [[900, "nothing is left"]]]);
  });

  it("puts what is open first and what says nothing last", () => {
    const board = new Board();
    for (const [root, state, net] of [["A", "silent", null], ["B", "watch", -3], ["C", "open", 1], ["D", "watch", 5]] as const) {
      board.add(opportunity({ sell_instrument: `XIMC:${root}:202612`, state, net }));
    }
    expect(board.rows.map((row) => localOf(row).split(":")[1])).toEqual(["C", "D", "B", "A"]);
  });
});

describe("forecasts", () => {
  const row = (tsMade: string, changes: Record<string, unknown> = {}) => {
    const point = (horizon_s: number, level: number, mean: number | null) => ({ horizon_s, level, mean, lo: 1, hi: 3, crash_probability: null, skill: null, coverage: 0.9 });
    return parseForecast({ instrument: GC, model: "naive", reason: "no_skill", ts_made: tsMade, price: 2, scored: 7, cone: [point(5, 0.9, 2), point(5, 0.8, 2), point(25, 0.9, null), point(25, 0.8, 2)], ...changes });
  };

  it("have a band for each level, without what cannot be said", () => {
    expect(bandOf(row("10"), 0.9).map((point) => point.horizonS)).toEqual([5]);
    expect(bandOf(row("10"), 0.8).map((point) => point.horizonS)).toEqual([5, 25]);
    expect([servedText(row("10")), servedText(row("10", { model: "ensemble", reason: "" }))]).toEqual(["naive (no skill)", "ensemble"]);
  });

  it("are the newest of each instrument", () => {
    const all = new Forecasts();
    for (const made of ["10", "30", "20"]) all.add(row(made));
    expect([all.of(GC)?.tsMade, all.version, all.of(GOLD)]).toEqual(["30", 2, null]);
  });
});

describe("my trades", () => {
  it("grow by what becomes known of them", () => {
    const trades = new MyTrades();
    const row = { event_id: "E", event_type: "matched", trade_id: "T", instrument: GC, side: "sell", quantity: 2, price: 5, ts_event: "10", as_known_at: "10", markout_1m: null };
    expect(trades.add([parseMyTrade(row)])).toBe(true);
    expect(trades.add([parseMyTrade({ ...row, as_known_at: "70", markout_1m: -0.5 })])).toBe(true);
    expect(trades.add([parseMyTrade(row)])).toBe(false);
    expect(trades.all.map((each) => [each.side, each.markout1m])).toEqual([["sell", -0.5]]);
  });
});

describe("health", () => {
  it("says how many rows are missing", () => {
    const health = parseHealth({ balance: [{ consumer: "bars", rows_in: 10, rows_out: 6, late: 1, rejected: 1, held: 1, conflated: 0 }], venues: [{ venue: "XCEC", rows: 1, gaps: 0, lag_s: null, skew_s: 0 }] });
    expect(health.balances.map(missing)).toEqual([1]);
    expect([health.venues.get("XCEC")?.lagS, health.processes.length]).toEqual([null, 0]);
    expect(parseHealth({}).balances).toEqual([]);
  });
});

function instrument(key: string, commodity: string, minutes: readonly number[]): InstrumentState {
  const state = new InstrumentState(parseInstrument({ instrument: key, commodity }));
  minutes.forEach((price, at) => state.trade(parseTrade({ instrument: key, ts_event: `${at * 60}000000000`, price, size: 1 })));
  return state;
}

describe("returns by sector", () => {
  it("are over a span of the instrument's own minutes, or since the session opened", () => {
    const state = instrument(GC, "gold", [100, 101, 102, 103, 104, 105, 110]);
    expect(returnOf(state, "5m")).toBeCloseTo(110 / 101 - 1);
    expect(returnOf(state, "1h")).toBeCloseTo(0.1); // younger than an hour: since its first minute
    state.setDay(parseBar({ instrument: GC, interval: "1d", ts_open: "0", open: 88, high: 110, low: 88, close: 110, volume: 1, vwap: 1, trades: 1 }));
    expect(returnOf(state, "session")).toBeCloseTo(0.25);
    expect(returnOf(instrument("IFUS:CT:202612", "cotton", [5]), "5m")).toBeNull();
  });

  it("group instruments by sector and commodity", () => {
    const found = sectorsOf([instrument(GOLD, "gold", []), instrument(GC, "gold", []), instrument("BBG:USDINR:SPOT", "usdinr", []), instrument("X:Y:202612", "wool", [])]);
    expect(found.map((sector) => sector.name)).toEqual(["Precious metals", "Currencies", "Other"]);
    expect(found[0]?.commodities[0]?.states.map((state) => state.meta.instrument)).toEqual([GC, GOLD]);
  });
});

describe("a token", () => {
  it("is read only to show whom it names", () => {
    expect(bearerOf(`x.${btoa('{"sub":"asha"}')}.y`)).toBe("asha");
    expect([bearerOf("nonsense"), bearerOf(`x.${btoa("[]")}.y`)]).toEqual([null, null]);
  });
});
