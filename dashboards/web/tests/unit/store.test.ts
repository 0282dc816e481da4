import { describe, expect, it } from "vitest";

import { MAX_EVENTS, Store } from "../../src/store";
import { Tape, TAPE_ROWS } from "../../src/tape";
import { bar, message, ns, rawTrade, T0_S, trade } from "./rows";

const GOLD = "XCEC:GC:202612";

function live(): Store {
  const store = new Store(() => 0);
  store.setConnection({ state: "live" });
  return store;
}

describe("prices", () => {
  it("takes the newest trade by event time, not by arrival", () => {
    const store = live();
    store.apply(message(1, { rows: [rawTrade(5, { price: 101 })] }));
    store.apply(message(2, { rows: [rawTrade(3, { price: 90 })] }));
    store.apply(message(3, { rows: [rawTrade(6, { price: 100.5 })] }));
    const gold = store.instrument(GOLD);
    expect([gold.last, gold.direction, gold.ticks, gold.decimals]).toEqual([100.5, -1, 1, 1]);
  });

  it("measures the change from the session's open, newest session and revision", () => {
    const gold = live().instrument(GOLD);
    gold.trade(trade(1, { price: 50 }));
    expect(gold.reference?.price).toBe(50);
    gold.setDay(bar(10, { interval: "1d", open: 40, revision: 1 }));
    gold.setDay(bar(10, { interval: "1d", open: 41 }));
    gold.setDay(bar(0, { interval: "1d", open: 42 }));
    expect(gold.reference?.price).toBe(40);
  });

  it("takes decimals from the tick size once it is known", () => {
    const store = live();
    store.apply(message(1, { rows: [rawTrade(1, { price: 4.5 })] }));
    expect(store.instrument(GOLD).decimals).toBe(1);
    store.addInstruments([{ ...store.instrument(GOLD).meta, tickSize: 0.0005 }]);
    expect(store.instrument(GOLD).decimals).toBe(4);
    expect(store.instrument(GOLD).last).toBe(4.5);
  });
});

describe("feed state", () => {
  it("is the worst of instrument, venue and connection", () => {
    const store = live();
    const gold = store.instrument(GOLD);
    expect(store.feedOf(gold).quality).toBe("LIVE");
    store.status({ instrument: GOLD, venue: "XCEC", tsEvent: null, quality: "STALE", reason: "quiet" });
    expect(store.feedOf(gold)).toEqual({ quality: "STALE", reason: "quiet" });
    store.status({ instrument: null, venue: "XCEC", tsEvent: null, quality: "HALTED", reason: "limit up" });
    expect(store.feedOf(gold)).toEqual({ quality: "HALTED", reason: "limit up" });
    store.status({ instrument: null, venue: "XCEC", tsEvent: null, quality: "LIVE", reason: "" });
    store.status({ instrument: GOLD, venue: "XCEC", tsEvent: null, quality: "LIVE", reason: "" });
    store.setConnection({ state: "reconnecting", attempt: 1, retryAtMs: 0, reason: "gone" });
    expect(store.feedOf(gold).quality).toBe("STALE");
  });

  it("shows a hole until the image of that stream comes", () => {
    const store = live();
    store.gap({ op: "gap", channel: "trades", instrument: GOLD, interval: null, from: 1, to: 3, reason: "r" }, true);
    const gold = store.instrument(GOLD);
    expect(store.feedOf(gold).quality).toBe("RESYNC");
    store.apply(message(9, { op: "snapshot", channel: "quotes" }));
    store.apply(message(9, { rows: [rawTrade(9)] }));
    expect(store.feedOf(gold).quality).toBe("RESYNC");
    store.apply(message(10, { op: "snapshot", rows: [rawTrade(10)] }));
    expect(store.feedOf(gold).quality).toBe("LIVE");
    expect(store.gaps).toBe(1);
  });

  it("tells a change once and the first good word never", () => {
    const store = live();
    const count = store.events.length;
    const status = { instrument: null, venue: "XCEC", tsEvent: null, quality: "LIVE", reason: "ok" } as const;
    store.status(status);
    expect(store.events.length).toBe(count);
    for (let i = 0; i < 3; i += 1) store.status({ ...status, quality: "GAP", reason: "lost" });
    expect(store.events.length).toBe(count + 1);
  });

  it("writes a venue's gap into the ledger, open and recovered", () => {
    const store = live();
    const row = { kind: "gap", venue: "IFUS", channel: "md", seq_from: 5, seq_to: 9, resolution: null, recovered_rows: 0, reason: "jump" };
    store.apply(message(1, { channel: "status", instrument: "IFUS:*", rows: [row] }));
    store.apply(message(2, { channel: "status", instrument: "IFUS:*", rows: [{ ...row, resolution: "replay", recovered_rows: 5 }] }));
    expect(store.events.slice(-2).map((event) => event.text)).toEqual([
      "md: 5 missing at the venue, not yet recovered; jump",
      "md: 5 missing at the venue, recovered 5 by replay; jump",
    ]);
    expect(store.instruments.size).toBe(0);
  });

  it("keeps a bounded ledger", () => {
    const store = live();
    for (let i = 0; i < MAX_EVENTS * 2; i += 1) store.log("error", "x", String(i));
    expect(store.events.length).toBe(MAX_EVENTS);
    expect(store.events.at(-1)?.text).toBe(String(MAX_EVENTS * 2 - 1));
  });
});

describe("the chart's changes", () => {
  it("names the bars to draw, and asks for everything when one was inserted", () => {
    const store = live();
    store.select(GOLD, "1m");
    store.dirty.chart = false;
    store.bar(bar(0));
    store.bar(bar(2));
    store.bar(bar(0, { revision: 1 }));
    expect([...store.changedBars]).toEqual([[bar(0).tsOpen, "late"], [bar(2).tsOpen, "appended"]]);
    store.bar(bar(1));
    expect([store.dirty.chart, store.changedBars.size]).toEqual([true, 0]);
  });

  it("ignores bars of another interval or instrument, and history of a selection left since", () => {
    const store = live();
    store.select(GOLD, "1m");
    const left = store.series;
    store.select(GOLD, "5m");
    store.bar(bar(0));
    if (left !== null) store.history(left, [bar(0)]);
    expect(store.series?.all).toEqual([]);
  });

  it("does not pile up changes while nothing is drawn", () => {
    const store = live();
    store.select(GOLD, "1m");
    for (let minute = 0; minute < 5_000; minute += 1) store.bar(bar(minute));
    expect(store.changedBars.size).toBeLessThanOrEqual(500);
    expect(store.dirty.chart).toBe(true);
  });
});

describe("the tape", () => {
  it("keeps arrival order, marks late trades and stays bounded", () => {
    const tape = new Tape();
    for (let i = 0; i < 5_000; i += 1) tape.add(trade(i));
    tape.add(trade(10));
    expect(tape.all.length).toBeLessThanOrEqual(2 * TAPE_ROWS);
    expect(tape.all.at(-1)).toMatchObject({ late: true });
    expect(tape.all.at(-2)).toMatchObject({ late: false });
  });

  it("merges an image without showing a trade twice", () => {
    const tape = new Tape();
    [1, 2, 3].forEach((number) => tape.add(trade(number)));
    tape.merge([trade(0), trade(2), trade(3)]);
    expect(tape.all.map((row) => row.trade.tradeId)).toEqual(["T0", "T1", "T2", "T3"]);
  });

  it("marks what is large for this instrument", () => {
    const tape = new Tape();
    for (let i = 0; i < 100; i += 1) tape.add(trade(i, { size: 1 + (i % 3) }));
    tape.add(trade(101, { size: 50 }));
    tape.add(trade(102, { size: 2 }));
    expect(tape.all.slice(-2).map((row) => row.large)).toEqual([true, false]);
  });
});

describe("time", () => {
  it("runs by the gateway's clock", () => {
    let now = 1_000;
    const store = new Store(() => now);
    expect(store.clock.read(now)).toBeNull();
    store.heartbeat(ns(T0_S));
    now += 2_500;
    expect(store.clock.read(now)).toBe(T0_S * 1000 + 2_500);
    store.apply(message(1, { tsOut: ns(T0_S - 60) })); // replayed after a reconnect
    expect(store.clock.read(now)).toBe(T0_S * 1000 + 2_500);
    store.heartbeat(ns(T0_S - 60)); // the gateway's clock was put back
    expect(store.clock.read(now)).toBe((T0_S - 60) * 1000);
  });

  it("measures rate and latency", () => {
    const store = live();
    for (let i = 0; i < 10; i += 1) {
      store.apply(message(i, { tsOut: ns(T0_S, 2_000_000), rows: [rawTrade(i, { ts_recv: ns(T0_S, 500_000) })] }));
    }
    expect(store.rate.perSecond(0)).toBe(2);
    expect(store.latency.read()).toEqual({ p50Ms: 1.5, p99Ms: 1.5 });
    expect(store.rate.perSecond(60_000)).toBe(0);
  });
});
