import { describe, expect, it } from "vitest";

import { BarSeries, MAX_BARS } from "../../src/bars";
import { bar, T0_S } from "./rows";

const series = (): BarSeries => new BarSeries("XCEC:GC:202612", "1m");

describe("applying bars", () => {
  it("appends new bars and replaces the forming one", () => {
    const bars = series();
    expect(bars.apply(bar(0))).toBe("appended");
    expect(bars.apply(bar(1, { final: false, close: 1 }))).toBe("appended");
    expect(bars.apply(bar(1, { final: false, close: 2 }))).toBe("current");
    expect(bars.apply(bar(1, { close: 3 }))).toBe("current");
    expect(bars.all.map((each) => each.close)).toEqual([11, 3]);
    expect(bars.revisions).toBe(0);
  });

  it("puts a revision of an older bar in its place and counts it", () => {
    const bars = series();
    [0, 1, 2].forEach((minute) => bars.apply(bar(minute)));
    expect(bars.apply(bar(1, { revision: 1, high: 99 }))).toBe("late");
    expect(bars.all[1]?.high).toBe(99);
    expect(bars.revisions).toBe(1);
    expect(bars.wasRevisedLive(bar(1))).toBe(true);
    expect(bars.wasRevisedLive(bar(0))).toBe(false);
  });

  it("never lets a lower revision or a forming sample win", () => {
    const bars = series();
    bars.apply(bar(0, { revision: 2, close: 22 }));
    for (const older of [bar(0), bar(0, { revision: 1 }), bar(0, { revision: 2, close: 5 }), bar(0, { revision: 2, final: false })]) {
      expect(bars.apply(older)).toBe("ignored");
    }
    expect(bars.last?.close).toBe(22);
  });

  it("ends with the same bars in whatever order the revisions come", () => {
    const states = [bar(0, { final: false, close: 1 }), bar(0, { close: 2 }), bar(0, { revision: 1, close: 3 }), bar(0, { revision: 2, close: 4 })];
    for (const order of permutations(states)) {
      const bars = series();
      order.forEach((each) => bars.apply(each));
      expect(bars.all).toEqual([states[3]]);
    }
  });

  it("inserts a late bar that was never there, which the chart must be rebuilt for", () => {
    const bars = series();
    [0, 1, 3].forEach((minute) => bars.apply(bar(minute)));
    expect(bars.apply(bar(2))).toBe("rebuild");
    expect(bars.all.map((each) => each.tsOpen)).toEqual([0, 1, 2, 3].map((minute) => bar(minute).tsOpen));
  });

  it("merges history under live bars by key and revision", () => {
    const bars = series();
    bars.apply(bar(2, { revision: 1, close: 7 }));
    bars.apply(bar(3, { final: false }));
    expect(bars.merge([bar(0), bar(1), bar(2, { close: 1 })])).toBe(2);
    expect(bars.all.map((each) => [each.tsOpen, each.close])).toEqual([0, 1, 2, 3].map((m) => [bar(m).tsOpen, m === 2 ? 7 : 11]));
    expect(bars.revisions).toBe(0);
  });

  it("finds a bar by the second it opens", () => {
    const bars = series();
    bars.apply(bar(0));
    expect(bars.at(T0_S)).toEqual(bar(0));
    expect(bars.at(T0_S + 1)).toBeUndefined();
  });

  it("stays bounded", () => {
    const bars = series();
    for (let minute = 0; minute <= MAX_BARS * 2; minute += 1) bars.apply(bar(minute));
    expect(bars.all.length).toBeLessThanOrEqual(MAX_BARS);
    expect(bars.last?.tsOpen).toBe(bar(MAX_BARS * 2).tsOpen);
  });
});

function permutations<T>(items: readonly T[]): T[][] {
  if (items.length < 2) return [[...items]];
  return items.flatMap((item, at) => permutations([...items.slice(0, at), ...items.slice(at + 1)]).map((rest) => [item, ...rest]));
}
