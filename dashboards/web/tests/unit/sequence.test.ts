import { describe, expect, it } from "vitest";

import { SequenceTracker } from "../../src/sequence";
import { message } from "./rows";

describe("the sequence check", () => {
  it("accepts numbers that rise by one, per channel, instrument and interval", () => {
    const tracker = new SequenceTracker();
    const one = [message(5, { op: "snapshot" }), message(6), message(7)];
    const other = [message(90, { channel: "bars", interval: "1m" }), message(1, { channel: "bars", interval: "5m" })];
    expect([...one, ...other].map((each) => tracker.check(each).kind)).toEqual(Array(5).fill("accept"));
  });

  it("reports a hole once, with what is missing", () => {
    const tracker = new SequenceTracker();
    tracker.check(message(5));
    expect(tracker.check(message(9))).toEqual({ kind: "hole", from: 6, to: 8 });
    expect(tracker.check(message(10)).kind).toBe("accept");
  });

  it("takes `skipped` as the explanation of exactly that many", () => {
    const tracker = new SequenceTracker();
    tracker.check(message(5));
    expect(tracker.check(message(9, { skipped: 3 })).kind).toBe("accept");
    expect(tracker.check(message(20, { skipped: 3 }))).toEqual({ kind: "hole", from: 10, to: 16 });
  });

  it("drops what it has already seen", () => {
    const tracker = new SequenceTracker();
    tracker.check(message(5));
    expect(tracker.check(message(5)).kind).toBe("duplicate");
    expect(tracker.check(message(4)).kind).toBe("duplicate");
    expect(tracker.check(message(4, { op: "snapshot" })).kind).toBe("duplicate");
    expect(tracker.check(message(6)).kind).toBe("accept");
  });

  it("goes on after a gap the gateway told of", () => {
    const tracker = new SequenceTracker();
    tracker.check(message(5));
    tracker.explain({ op: "gap", channel: "trades", instrument: "XCEC:GC:202612", interval: null, from: 6, to: 8, reason: "" });
    expect(tracker.check(message(9)).kind).toBe("accept");
  });

  it("tells where to resume, and forgets", () => {
    const tracker = new SequenceTracker();
    tracker.check(message(5));
    tracker.check(message(3, { instrument: "XIMC:GOLD:202612" }));
    tracker.check(message(8, { channel: "quotes" }));
    const trades = (channel: string): boolean => channel === "trades";
    expect(tracker.positions(trades)).toEqual({ "XCEC:GC:202612": 5, "XIMC:GOLD:202612": 3 });
    tracker.forget(trades);
    expect(tracker.size).toBe(1);
  });
});
