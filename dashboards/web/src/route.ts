/** The address bar's hash `#XCEC:GC:202612/1m`: what is shown can be bookmarked and survives a reload. */

import { isInterval, type Interval } from "./time";

export interface Route {
  readonly instrument: string | null;
  readonly interval: Interval;
  /** Whether the address names the interval, or it is only the default. */
  readonly chosen: boolean;
  /** On a phone: whether the chart is open over the list. */
  readonly open: boolean;
}

export const DEFAULT_INTERVAL: Interval = "1m";

/** With fewer bars than this at the default interval a market is young, and says more at YOUNG_INTERVAL. */
export const YOUNG_BARS = 20;
export const YOUNG_INTERVAL: Interval = "5s";

export function readRoute(hash: string): Route {
  const [instrument = "", interval = ""] = decodeURIComponent(hash.replace(/^#/, "")).split("/");
  return {
    instrument: instrument || null,
    interval: isInterval(interval) ? interval : DEFAULT_INTERVAL,
    chosen: isInterval(interval),
    open: instrument !== "",
  };
}

export function writeRoute(instrument: string, interval: Interval): string {
  return `#${instrument}/${interval}`;
}
