/**
 * Checks that nothing is missing between two messages of one (channel, instrument, interval).
 *
 * Pure. State: one number per key seen; dropped by `reset` (a new epoch) or `forget` (a resubscription).
 */

import type { DataMessage, GapMessage } from "./protocol";

export type Verdict =
  | { readonly kind: "accept" }
  | { readonly kind: "duplicate" }
  | { readonly kind: "hole"; readonly from: number; readonly to: number };

const ACCEPT: Verdict = { kind: "accept" };
const DUPLICATE: Verdict = { kind: "duplicate" };

export function sequenceKey(channel: string, instrument: string, interval: string | null): string {
  return `${channel}|${instrument}|${interval ?? ""}`;
}

export type Matches = (channel: string, instrument: string, interval: string | null) => boolean;

function parts(key: string): [channel: string, instrument: string, interval: string | null] {
  const [channel = "", instrument = "", interval = ""] = key.split("|");
  return [channel, instrument, interval || null];
}

export class SequenceTracker {
  private readonly last = new Map<string, number>();

  /** Judge a message and remember its place. After a hole the count goes on from it: each hole is told once. */
  check(message: DataMessage): Verdict {
    const key = sequenceKey(message.channel, message.instrument, message.interval);
    const last = this.last.get(key);
    if (message.op === "snapshot") return this.image(key, last, message.seq);
    if (last === undefined) return this.accept(key, message.seq);
    if (message.seq <= last) return DUPLICATE;
    const expected = last + 1 + message.skipped;
    this.last.set(key, message.seq);
    // An update that covers more than is missing overlaps what we have: nothing is lost.
    if (message.seq <= expected) return ACCEPT;
    return { kind: "hole", from: last + 1, to: message.seq - message.skipped - 1 };
  }

  // An image older than what we hold would turn time back; one at the same place is harmless and may be asked for.
  private image(key: string, last: number | undefined, seq: number): Verdict {
    return last !== undefined && seq < last ? DUPLICATE : this.accept(key, seq);
  }

  private accept(key: string, seq: number): Verdict {
    this.last.set(key, seq);
    return ACCEPT;
  }

  /** The gateway has told what is missing: the next update continues after it. */
  explain(gap: GapMessage): void {
    const key = sequenceKey(gap.channel, gap.instrument, gap.interval);
    this.last.set(key, Math.max(gap.to, this.last.get(key) ?? gap.to));
  }

  /** The last number of each instrument whose key `matches`: where to resume. */
  positions(matches: Matches): Record<string, number> {
    const result: Record<string, number> = {};
    for (const [key, seq] of this.last) {
      const [channel, instrument, interval] = parts(key);
      if (matches(channel, instrument, interval)) result[instrument] = seq;
    }
    return result;
  }

  /** Forget every key that `matches` says belongs to a subscription that starts anew. */
  forget(matches: Matches): void {
    for (const key of this.last.keys()) if (matches(...parts(key))) this.last.delete(key);
  }

  reset(): void {
    this.last.clear();
  }

  get size(): number {
    return this.last.size;
  }
}
