/**
 * Times of the wire, which are decimal strings of ns UTC, and what the screen needs of them.
 *
 * A JavaScript number cannot hold ns (2^53 ns is 104 days), so a time stays a string until it is cut to ms or s.
 * Units: `ns` decimal string; `Ms`, `S` numbers since 1970 UTC.
 */

export type Ns = string;

export type Interval = "1s" | "5s" | "1m" | "5m" | "15m" | "1h" | "1d";

export const INTERVALS: readonly Interval[] = ["1s", "5s", "1m", "5m", "15m", "1h", "1d"];

export const INTERVAL_MS: Readonly<Record<Interval, number>> = {
  "1s": 1_000,
  "5s": 5_000,
  "1m": 60_000,
  "5m": 300_000,
  "15m": 900_000,
  "1h": 3_600_000,
  "1d": 86_400_000,
};

export function isInterval(value: string): value is Interval {
  return (INTERVALS as readonly string[]).includes(value);
}

/** Cut ns to ms. The last six digits go, so 0 <= error < 1 ms for times after 1970. */
export function nsToMs(ns: Ns): number {
  return ns.length > 6 ? Number(ns.slice(0, -6)) : 0;
}

/** Cut ns to whole seconds: what the chart takes as time. */
export function nsToS(ns: Ns): number {
  return ns.length > 9 ? Number(ns.slice(0, -9)) : 0;
}

/** Return `later - earlier` in ms, exact to the ns before the division: for latencies below a millisecond. */
export function elapsedMs(earlier: Ns, later: Ns): number {
  return Number(BigInt(later) - BigInt(earlier)) / 1e6;
}

/** Compare two times without turning them into numbers: negative, zero or positive. */
export function compareNs(a: Ns, b: Ns): number {
  if (a.length !== b.length) return a.length - b.length;
  return a < b ? -1 : a > b ? 1 : 0;
}

/** The ns string one ns before `ns`: the exclusive end of a page of history. */
export function beforeNs(ns: Ns): Ns {
  return String(BigInt(ns) - 1n);
}
