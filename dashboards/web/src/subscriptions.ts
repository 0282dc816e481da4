/** What this page has asked the gateway for, so that it can be asked again after a reconnect. */

import type { Channel } from "./protocol";
import type { SequenceTracker } from "./sequence";
import type { Interval } from "./time";

// Of these each event counts. Of quotes, books and states only the newest is worth having, and so it is of arbitrage: most
// of its rows are samples, and what opened and closed meanwhile is in the stores.
const REPLAYED: ReadonlySet<Channel> = new Set(["trades", "bars", "news", "anomalies", "user.trades"]);
const MAX_POSITIONS = 200; // keeps the request well under the gateway's 16 KiB

export interface Since {
  readonly epoch: string;
  readonly seq: number | Readonly<Record<string, number>>;
}

export interface SubscriptionRequest {
  readonly channel: Channel;
  readonly instruments: readonly string[];
  readonly interval?: Interval;
  readonly conflateMs?: number;
}

export class Subscription {
  restarting = false;
  restartedMs = Number.NEGATIVE_INFINITY;
  private readonly patterns: readonly RegExp[];

  constructor(
    readonly id: number,
    readonly request: SubscriptionRequest,
  ) {
    this.patterns = request.instruments.map(pattern);
  }

  covers(channel: string, instrument: string, interval: string | null): boolean {
    if (channel !== this.request.channel || interval !== (this.request.interval ?? null)) return false;
    return this.patterns.some((each) => each.test(instrument));
  }

  /** Where each instrument is, for a channel that is worth replaying; undefined asks for fresh images. */
  positions(tracker: SequenceTracker): Record<string, number> | undefined {
    if (!REPLAYED.has(this.request.channel)) return undefined;
    const positions = tracker.positions((...key) => this.covers(...key));
    const keys = Object.keys(positions).length;
    return keys === 0 || keys > MAX_POSITIONS ? undefined : positions;
  }
}

export class Subscriptions {
  private readonly byId = new Map<number, Subscription>();
  private nextId = 1;

  add(request: SubscriptionRequest): Subscription {
    const subscription = new Subscription(this.nextId++, request);
    this.byId.set(subscription.id, subscription);
    return subscription;
  }

  remove(id: number): Subscription | undefined {
    const subscription = this.byId.get(id);
    this.byId.delete(id);
    return subscription;
  }

  channelOf(id: number): Channel | null {
    return this.byId.get(id)?.request.channel ?? null;
  }

  has(id: number): boolean {
    return this.byId.has(id);
  }

  all(): readonly Subscription[] {
    return [...this.byId.values()];
  }

  covering(channel: string, instrument: string, interval: string | null): readonly Subscription[] {
    return this.all().filter((each) => each.covers(channel, instrument, interval));
  }

  message(subscription: Subscription, since: Since | null): object {
    const { channel, interval, instruments, conflateMs } = subscription.request;
    return {
      op: "subscribe",
      id: subscription.id,
      channel,
      ...(interval === undefined ? {} : { interval }),
      instruments,
      ...(conflateMs === undefined ? {} : { conflate_ms: conflateMs }),
      ...(since === null ? {} : { since }),
    };
  }
}

/** `*` stands for any text, as in `XCEC:GC:*`. */
function pattern(text: string): RegExp {
  const parts = text.split("*").map((part) => part.replace(/[.+?^${}()|[\]\\]/g, "\\$&"));
  return new RegExp(`^${parts.join(".*")}$`);
}
