import { describe, expect, it } from "vitest";

import { News, NEWS_ROWS } from "../../src/news";
import { parseHeadline, ProtocolError } from "../../src/protocol";
import { Store } from "../../src/store";
import { message, ns, T0_S } from "./rows";

const raw = (number: number, change: Record<string, unknown> = {}): Record<string, unknown> => ({
  news_id: `N${number}`, venue: "BBG", ts_event: ns(T0_S, number), ts_recv: null, headline: `headline ${number}`, body: "body",
  topics: ["gold"], instruments: ["BBG:GC:202612"], urgency: 2, ...change,
});
const headline = (number: number) => parseHeadline(raw(number));
const ids = (news: News) => news.all.map((row) => row.id);

describe("headlines", () => {
  it("are read from the wire, and refused without an id, a time or a text", () => {
    expect(headline(1)).toEqual({
      id: "N1", venue: "BBG", tsEvent: ns(T0_S, 1), headline: "headline 1", body: "body", instruments: ["BBG:GC:202612"], urgency: 2,
    });
    for (const name of ["news_id", "ts_event", "headline"]) expect(() => parseHeadline(raw(1, { [name]: null }))).toThrow(ProtocolError);
    expect(parseHeadline(raw(1, { urgency: null, instruments: [] }))).toMatchObject({ urgency: 0, instruments: [] });
  });

  it("stand once, newest first, whether the stream or history brings them first", () => {
    const news = new News();
    expect(news.add([headline(3)])).toBe(true);
    expect(news.add([headline(1), headline(2), headline(3), headline(2)])).toBe(true);
    expect(ids(news)).toEqual(["N3", "N2", "N1"]);
    expect(news.add([headline(2)])).toBe(false);
  });

  it("are bounded, and an old one does not push a newer one out", () => {
    const news = new News();
    for (let number = 1; number <= NEWS_ROWS + 10; number += 1) news.add([headline(number)]);
    expect(news.all).toHaveLength(NEWS_ROWS);
    expect(ids(news)[0]).toBe(`N${NEWS_ROWS + 10}`);
    expect(news.add([headline(1)])).toBe(false);
  });

  it("come over the stream of their venue, which becomes no instrument of the list", () => {
    const store = new Store(() => 0);
    store.dirty.news = false;
    store.apply(message(1, { channel: "news", instrument: "BBG:*", rows: [raw(1)] }));
    store.gap({ op: "gap", channel: "news", instrument: "BBG:*", interval: null, from: 2, to: 3, reason: "too_old" }, false);
    expect(ids(store.news)).toEqual(["N1"]);
    expect(store.dirty.news).toBe(true);
    expect([...store.instruments.keys()]).toEqual([]);
    expect(store.gaps).toBe(1);
  });
});
