import { describe, expect, it } from "vitest";

import { parseBar, parseInstrument, parseMessage, parseStatus, parseTrade, ProtocolError } from "../../src/protocol";
import { rawTrade } from "./rows";

const rawBar = {
  instrument: "XCEC:GC:202612", interval: "1m", ts_open: "1795231380000000000", ts_close: "1795231440000000000",
  revision: 2, final: true, open: 1, high: 2, low: 0.5, close: 1.5, volume: "12.5", vwap: 1.2, trades: 3, quality: "STALE",
};

describe("reading the wire", () => {
  it("reads an update with its interval wherever that stands", () => {
    const inData = parseMessage(JSON.stringify({ op: "update", channel: "bars", instrument: "XCEC:GC:202612", seq: 3, ts_out: "5", data: rawBar }));
    expect(inData).toMatchObject({ op: "update", interval: "1m", seq: 3, skipped: 0, tsOut: "5" });
  });

  it("puts the previous final bar of an image before the forming one", () => {
    const image = parseMessage(JSON.stringify({ op: "snapshot", channel: "bars", instrument: "A", seq: 1, data: { n: 2 }, previous: { n: 1 } }));
    expect(image).toMatchObject({ rows: [{ n: 1 }, { n: 2 }] });
  });

  it("reads rows, with volumes as text or number and times kept as text", () => {
    expect(parseBar(rawBar)).toMatchObject({ volume: 12.5, tsOpen: "1795231380000000000", quality: "STALE", revision: 2 });
    expect(parseTrade(rawTrade(1, { side: null }))).toMatchObject({ side: null, price: 100 });
  });

  it("takes a venue-wide status as the venue's", () => {
    expect(parseStatus({ instrument: "XCEC:*", venue: "XCEC", quality: "GAP", reason: "r" })).toMatchObject({ instrument: null, venue: "XCEC" });
  });

  it("fills an unknown instrument from its key", () => {
    expect(parseInstrument({ instrument: "XCEC:GC:202612", tick_size: null })).toMatchObject({ venue: "XCEC", root: "GC", commodity: "gc", tickSize: null });
    expect(parseInstrument({ instrument: "IFUS:CT:202612", currency: "USX", quote_unit: "lb" }).unit).toBe("USc/lb");
  });

  it("lets an op it does not know pass, since adding is free", () => {
    expect(parseMessage('{"op":"brand_new","x":1}')).toEqual({ op: "unknown", name: "brand_new" });
  });

  it.each(["", "[]", "null", '{"op":5}', '{"op":"update","channel":"trades","instrument":"A"}', '{"op":"status","quality":"FINE"}', '{"op":"heartbeat","ts_out":12}'])(
    "refuses %s",
    (text) => expect(() => parseMessage(text)).toThrow(ProtocolError),
  );

  it("refuses numbers that are none and times that are numbers", () => {
    expect(() => parseTrade(rawTrade(1, { price: "abc" }))).toThrow(ProtocolError);
    expect(() => parseTrade(rawTrade(1, { price: null }))).toThrow(ProtocolError);
    expect(() => parseTrade(rawTrade(1, { ts_event: 1795231380000000000 }))).toThrow(ProtocolError);
    expect(() => parseBar({ ...rawBar, interval: "2m" })).toThrow(ProtocolError);
  });
});
