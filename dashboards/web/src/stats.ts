/**
 * What the page knows of time and speed: the market clock, the message rate, the latency.
 *
 * The clock is the gateway's: its last `ts_out`, carried on by a monotonic timer. The browser's own date is never
 * shown, since a desk PC that is 40 s off would date every trade wrongly.
 */

import { elapsedMs, nsToMs, type Ns } from "./time";

const DELAY_MS = 1_000;
const LATENCY_SAMPLES = 512;
const RATE_WINDOW_MS = 5_000;
const RATE_SLOTS = 10;

export class MarketClock {
  private gatewayMs: number | null = null;
  private heardMs = 0;

  /**
   * Take a `ts_out`. An update may be late, or minutes old in a replay, so it only ever puts the clock forward;
   * a heartbeat is sent as it is stamped and may put it back, past what a delay explains.
   */
  hear(tsOut: Ns, nowMs: number, heartbeat = false): void {
    const heard = nsToMs(tsOut);
    const running = this.read(nowMs);
    if (running !== null && heard < running && !(heartbeat && running - heard > DELAY_MS)) return;
    this.gatewayMs = heard;
    this.heardMs = nowMs;
  }

  /** Gateway time in ms UTC, or null before the first message. */
  read(nowMs: number): number | null {
    return this.gatewayMs === null ? null : this.gatewayMs + (nowMs - this.heardMs);
  }
}

/** Messages per second over the last RATE_WINDOW_MS. */
export class RateMeter {
  private readonly slots = new Array<number>(RATE_SLOTS).fill(0);
  private slot = 0;
  total = 0;

  count(nowMs: number): void {
    this.roll(nowMs);
    const at = this.slot % RATE_SLOTS;
    this.slots[at] = (this.slots[at] ?? 0) + 1;
    this.total += 1;
  }

  perSecond(nowMs: number): number {
    this.roll(nowMs);
    return this.slots.reduce((sum, each) => sum + each, 0) / (RATE_WINDOW_MS / 1000);
  }

  private roll(nowMs: number): void {
    const slot = Math.floor(nowMs / (RATE_WINDOW_MS / RATE_SLOTS));
    for (let at = Math.max(this.slot + 1, slot - RATE_SLOTS + 1); at <= slot; at += 1) this.slots[at % RATE_SLOTS] = 0;
    this.slot = slot;
  }
}

/** `ts_recv` to `ts_out`, both by the same machine's clock: the pipeline's own part of the way. */
export class LatencyMeter {
  private readonly samples = new Float64Array(LATENCY_SAMPLES);
  private taken = 0;

  add(tsRecv: Ns, tsOut: Ns): void {
    this.samples[this.taken % LATENCY_SAMPLES] = elapsedMs(tsRecv, tsOut);
    this.taken += 1;
  }

  /** Median and 99th percentile of the last samples in ms, or null when there is none. */
  read(): { readonly p50Ms: number; readonly p99Ms: number } | null {
    const n = Math.min(this.taken, LATENCY_SAMPLES);
    if (n === 0) return null;
    const sorted = this.samples.slice(0, n).sort();
    const at = (share: number): number => sorted[Math.min(n - 1, Math.floor(share * n))] ?? 0;
    return { p50Ms: at(0.5), p99Ms: at(0.99) };
  }
}
