import { describe, expect, it } from "vitest";

import { Backoff } from "../../src/backoff";
import type { DataMessage, GapMessage } from "../../src/protocol";
import { Stream, type Connection, type Socket, type World } from "../../src/stream";

/** A socket and a clock that the test moves by hand: it stands for the browser, not for the gateway. */
class HandWorld implements World {
  now = 0;
  readonly sockets: HandSocket[] = [];
  private readonly timers: { at: number; run: () => void; every: number | null }[] = [];

  open(): Socket {
    const socket = new HandSocket();
    this.sockets.push(socket);
    return socket;
  }
  nowMs(): number {
    return this.now;
  }
  random(): number {
    return 1;
  }
  every(ms: number, run: () => void): () => void {
    return this.timer({ at: this.now + ms, run, every: ms });
  }
  after(ms: number, run: () => void): () => void {
    return this.timer({ at: this.now + ms, run, every: null });
  }
  pass(ms: number): void {
    for (const end = this.now + ms; ; ) {
      const due = this.timers.filter((each) => each.at <= end).sort((a, b) => a.at - b.at)[0];
      if (due === undefined) return void (this.now = end);
      this.now = due.at;
      if (due.every === null) this.timers.splice(this.timers.indexOf(due), 1);
      else due.at += due.every;
      due.run();
    }
  }
  get socket(): HandSocket {
    return this.sockets.at(-1) as HandSocket;
  }
  private timer(timer: { at: number; run: () => void; every: number | null }): () => void {
    this.timers.push(timer);
    return () => void (this.timers.includes(timer) && this.timers.splice(this.timers.indexOf(timer), 1));
  }
}

class HandSocket implements Socket {
  readonly sent: Record<string, unknown>[] = [];
  closed = false;
  onopen: (() => void) | null = null;
  onmessage: ((event: { data: unknown }) => void) | null = null;
  onclose: ((event: { code: number; reason: string }) => void) | null = null;
  onerror: (() => void) | null = null;
  send(text: string): void {
    this.sent.push(JSON.parse(text) as Record<string, unknown>);
  }
  close(): void {
    this.closed = true;
  }
  say(message: object): void {
    this.onmessage?.({ data: JSON.stringify(message) });
  }
  subscribes(): Record<string, unknown>[] {
    return this.sent.filter((each) => each["op"] === "subscribe");
  }
}

function setup(token: string | null = null) {
  const world = new HandWorld();
  const connections: Connection[] = [];
  const data: DataMessage[] = [];
  const gaps: [GapMessage, boolean][] = [];
  const errors: string[] = [];
  const stream = new Stream(
    world,
    {
      connection: (connection) => connections.push(connection),
      data: (message) => data.push(message),
      other: () => undefined,
      gap: (gap, resync) => gaps.push([gap, resync]),
      malformed: (error) => errors.push(error.message),
    },
    () => token,
  );
  return { world, stream, connections, data, gaps, errors };
}

const welcome = { op: "welcome", epoch: "E1", limits: {} };
const update = (seq: number, more: object = {}) => ({ op: "update", channel: "trades", instrument: "XCEC:GC:202612", seq, data: null, ...more });

describe("the stream", () => {
  it("subscribes once welcomed, and greets with its token first", () => {
    const { world, stream } = setup("secret");
    stream.subscribe({ channel: "trades", instruments: ["*"] });
    stream.start();
    world.socket.onopen?.();
    expect(world.socket.sent).toEqual([{ op: "auth", token: "secret" }]);
    world.socket.say(welcome);
    world.socket.say(welcome);
    expect(world.socket.subscribes()).toEqual([{ op: "subscribe", id: 1, channel: "trades", instruments: ["*"] }]);
  });

  it("resumes events where they were and asks for images of states", () => {
    const { world, stream } = setup();
    stream.subscribe({ channel: "trades", instruments: ["XCEC:*"] });
    stream.subscribe({ channel: "quotes", instruments: ["*"], conflateMs: 100 });
    stream.start();
    world.socket.say(welcome);
    world.socket.say(update(41));
    world.socket.say(update(42));
    world.socket.say({ ...update(7), channel: "quotes" });
    world.socket.onclose?.({ code: 1006, reason: "" });
    world.pass(60_000);
    world.socket.say(welcome);
    expect(world.socket.subscribes()).toEqual([
      { op: "subscribe", id: 1, channel: "trades", instruments: ["XCEC:*"], since: { epoch: "E1", seq: { "XCEC:GC:202612": 42 } } },
      { op: "subscribe", id: 2, channel: "quotes", instruments: ["*"], conflate_ms: 100 },
    ]);
  });

  it("starts anew in another epoch", () => {
    const { world, stream, data, gaps } = setup();
    stream.subscribe({ channel: "trades", instruments: ["*"] });
    stream.start();
    world.socket.say(welcome);
    world.socket.say(update(42));
    world.socket.onclose?.({ code: 1006, reason: "" });
    world.pass(60_000);
    world.socket.say({ ...welcome, epoch: "E2" });
    expect(world.socket.subscribes()[0]).not.toHaveProperty("since");
    world.socket.say(update(1));
    expect([data.length, gaps.length]).toEqual([2, 0]);
  });

  it("reports a hole and subscribes anew without `since`, not more than every two seconds", () => {
    const { world, stream, gaps, data } = setup();
    stream.subscribe({ channel: "trades", instruments: ["*"] });
    stream.start();
    world.socket.say(welcome);
    world.socket.say(update(5));
    world.socket.say(update(9));
    world.socket.say(update(19));
    world.pass(10);
    expect(gaps.map(([gap, resync]) => [gap.from, gap.to, resync])).toEqual([[6, 8, true], [10, 18, true]]);
    expect(world.socket.sent.slice(1)).toEqual([{ op: "unsubscribe", id: 1 }, { op: "subscribe", id: 1, channel: "trades", instruments: ["*"] }]);
    world.socket.say(update(20, { op: "snapshot" }));
    world.socket.say(update(30));
    expect(world.socket.subscribes().length).toBe(2);
    world.pass(1_900);
    expect(world.socket.subscribes().length).toBe(2);
    world.pass(100);
    expect(world.socket.subscribes().length).toBe(3);
    expect(data.length).toBe(5);
  });

  it("hands on a gap the gateway explains without asking again", () => {
    const { world, stream, gaps, data } = setup();
    stream.subscribe({ channel: "trades", instruments: ["*"] });
    stream.start();
    world.socket.say(welcome);
    world.socket.say(update(5));
    world.socket.say({ op: "gap", channel: "trades", instrument: "XCEC:GC:202612", from: 6, to: 8, reason: "slow" });
    world.socket.say(update(9));
    world.pass(100);
    expect(gaps.map(([gap, resync]) => [gap.reason, resync])).toEqual([["slow", false]]);
    expect([world.socket.subscribes().length, data.length]).toEqual([1, 2]);
  });

  it("waits longer after each failure, up to a cap, and again little after a success", () => {
    const backoff = new Backoff(() => 1);
    expect(Array.from({ length: 7 }, () => backoff.next())).toEqual([500, 1000, 2000, 4000, 8000, 15000, 15000]);
    backoff.reset();
    expect(backoff.next()).toBe(500);
    expect(new Backoff(() => 0).next()).toBe(250);
  });

  it("tells the countdown and can be hurried", () => {
    const { world, stream, connections } = setup();
    stream.start();
    world.socket.onclose?.({ code: 1006, reason: "" });
    expect(connections.at(-1)).toEqual({ state: "reconnecting", attempt: 1, retryAtMs: 500, reason: "connection lost" });
    stream.retryNow();
    expect(world.sockets.length).toBe(2);
    world.pass(5_000);
    expect(world.sockets.length).toBe(2);
  });

  it("pings a quiet socket and gives up a mute one", () => {
    const { world, stream, connections } = setup();
    stream.start();
    world.socket.say(welcome);
    const first = world.socket;
    world.pass(7_000);
    expect(first.sent).toContainEqual({ op: "ping" });
    first.say({ op: "pong" });
    world.pass(14_000);
    expect(first.closed).toBe(false);
    world.pass(3_000);
    expect(first.closed).toBe(true);
    expect(connections.some((each) => each.state === "reconnecting" && each.reason.startsWith("silent"))).toBe(true);
    expect(world.sockets.length).toBe(2);
  });

  it("survives text that is no message", () => {
    const { world, stream, errors, data } = setup();
    stream.start();
    world.socket.say(welcome);
    world.socket.onmessage?.({ data: "<html>" });
    world.socket.onmessage?.({ data: new ArrayBuffer(2) });
    world.socket.say(update(1));
    expect([errors.length, data.length]).toEqual([2, 1]);
  });
});
