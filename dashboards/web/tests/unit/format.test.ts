import { describe, expect, it } from "vitest";

import * as format from "../../src/format";
import { compareNs, elapsedMs, nsToMs, nsToS } from "../../src/time";
import { exchangeTime } from "../../src/zones";

describe("numbers", () => {
  it("shows every multiple of a tick exactly", () => {
    const ticks = [1, 10, 0.1, 0.25, 0.005, 0.0005, 0.0025, 0.05, 2.5];
    expect(ticks.map(format.decimalsOf)).toEqual([0, 0, 1, 2, 3, 4, 4, 2, 1]);
  });

  it("groups thousands, keeps the sign, and shows a dash for nothing", () => {
    expect(format.price(124350, 0)).toBe("124,350");
    expect(format.price(4075.1, 1)).toBe("4,075.1");
    expect(format.price(-37.63, 2)).toBe("\u221237.63");
    expect(format.price(null, 2)).toBe("\u2013");
    expect(format.price(0, 2)).toBe("0.00");
  });

  it("signs a change but not a zero", () => {
    expect([1.25, -1.25, 0, -0.001].map((each) => format.signed(each, 2))).toEqual(["+1.25", "\u22121.25", "0.00", "0.00"]);
    expect(format.percent(-0.456)).toBe("\u22120.46%");
  });

  it("shortens sizes", () => {
    expect([1, 0.5, 9999, 12345, 1_234_567, 0].map(format.size)).toEqual(["1", "0.5", "9,999", "12.3K", "1.2M", "0"]);
  });

  it("names the delivery month", () => {
    expect(["XCEC:GC:202612", "BBG:USDINR:SPOT", "A:B:XX"].map(format.delivery)).toEqual(["Dec 26", "Spot", "XX"]);
  });
});

describe("times", () => {
  const event = "1795231397678123456";

  it("cuts ns without losing what a number could not hold", () => {
    expect(nsToMs(event)).toBe(1795231397678);
    expect(nsToS(event)).toBe(1795231397);
    expect(elapsedMs(event, "1795231397678123956")).toBe(0.0005);
    expect(compareNs(event, "1795231397678123457")).toBeLessThan(0);
    expect(compareNs("999", "1000")).toBeLessThan(0);
    expect(compareNs(event, event)).toBe(0);
  });

  it("shows UTC whatever the browser's zone", () => {
    expect(format.stamp(event)).toBe("03:23:17.678");
    expect(exchangeTime(nsToMs(event), "Asia/Kolkata")).toBe("08:53 IST Sat 21 Nov");
    expect(exchangeTime(nsToMs(event), "America/New_York")).toBe("22:23 EST Fri 20 Nov");
    expect(exchangeTime(nsToMs(event), "Not/AZone")).toBe("");
  });

  it("counts down and tells ages", () => {
    expect([0, 59_001, 61_000, 3_700_000].map(format.countdown)).toEqual(["0:00", "1:00", "1:01", "1:01:40"]);
    expect([400, 12_000, 300_000, 1e7].map(format.age)).toEqual(["0.4 s", "12 s", "5 min", "3 h"]);
    expect([0.42, 12.3, 1300].map(format.latency)).toEqual(["0.42 ms", "12 ms", "1.3 s"]);
  });
});

describe("a delivery month", () => {
  it("is written as the trade writes it", () => {
    expect(["XCEC:GC:202612", "IFUS:CT:202703", "BBG:USDINR:SPOT"].map(format.monthCode)).toEqual(["Z6", "H7", "Spot"]);
  });
});
