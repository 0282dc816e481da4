import { describe, expect, it } from "vitest";

import { behindMs, DEPTH_COLUMNS, DEPTH_STEP_MS, DepthHistory, depthOf, parseBook, sweepPrice } from "../../src/depth";
import { ProtocolError } from "../../src/json";
import { parseQuote } from "../../src/protocol";

const GC = "XCEC:GC:202612";

function row(atMs: number, changes: Record<string, unknown> = {}): Record<string, unknown> {
  const levels = Object.fromEntries([1, 2].flatMap((level) => [
    [`bid_${level}_price`, 100 - level], [`bid_${level}_size`, level],
    [`ask_${level}_price`, 100 + level], [`ask_${level}_size`, 2 * level],
  ]));
  return { instrument: GC, ts_event: `${atMs}000000`, state: "NORMAL", quality: "LIVE", mid_price: 100, micro_price: 99.7, imbalance: -0.3, bid_3_price: null, ...levels, ...changes };
}

describe("a book", () => {
  it("has the levels that are there, best first", () => {
    const book = parseBook(row(1_000));
    expect(book.bids).toEqual([{ price: 99, size: 1 }, { price: 98, size: 2 }]);
    expect(book.asks.map((level) => level.price)).toEqual([101, 102]);
    expect(parseBook(row(1, { state: "DIRTY", bid_1_price: null, ask_1_price: null, mid_price: null })).bids).toEqual([]);
    expect(() => parseBook(row(1, { state: "ODD" }))).toThrow(ProtocolError);
  });

  it("says what lots cost at once, and that it does not hold as many", () => {
    const { asks } = parseBook(row(1));
    expect(depthOf(asks)).toBe(6);
    expect(sweepPrice(asks, 1)).toBe(101);
    expect(sweepPrice(asks, 4)).toBe((2 * 101 + 2 * 102) / 4);
    expect(sweepPrice(asks, 7)).toBeNull();
  });
});

describe("a book that is behind the quote", () => {
  const quote = (atMs: number, bid: number) => parseQuote({ instrument: GC, ts_event: `${atMs}000000`, bid_price: bid, ask_price: 101 });

  it("says by how much, unless both say the same or it is the newer one", () => {
    const book = parseBook(row(1_000));
    expect([behindMs(book, quote(26_000, 98)), behindMs(book, quote(26_000, 99)), behindMs(book, quote(900, 98)), behindMs(book, null)]).toEqual([25_000, 0, 0, 0]);
  });
});

describe("the history of a book", () => {
  it("keeps the newest of each step and nothing that is older", () => {
    const history = new DepthHistory();
    for (const [atMs, mid] of [[1_000, 1], [1_100, 2], [1_600, 3], [1_200, 4]] as const) history.add(parseBook(row(atMs, { mid_price: mid })));
    expect(history.all.map((column) => column.book.mid)).toEqual([2, 3]);
  });

  it("takes history before what came live, and stays bounded", () => {
    const history = new DepthHistory();
    history.add(parseBook(row(10_000, { mid_price: 9 })));
    history.seed([parseBook(row(9_000)), parseBook(row(10_100, { mid_price: 7 }))]);
    expect(history.all.map((column) => column.book.mid)).toEqual([100, 9]);
    for (let at = 0; at < DEPTH_COLUMNS + 5; at += 1) history.add(parseBook(row(20_000 + at * DEPTH_STEP_MS)));
    expect(history.all.length).toBe(DEPTH_COLUMNS);
  });
});
