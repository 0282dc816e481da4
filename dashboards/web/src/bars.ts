/**
 * The bars of one instrument and one interval: each `ts_open` once, at its highest revision.
 *
 * Pure. Order of arrival does not matter for final bars: a lower revision never replaces a higher one, a forming
 * sample never replaces a final bar. State: at most MAX_BARS bars; the oldest go first.
 */

import type { Bar } from "./protocol";
import { compareNs, type Interval } from "./time";

export const MAX_BARS = 10_000;
const TRIM_BARS = 1_000; // dropped at once, since the chart must then be given everything again

/** What a bar did. `late` changed a bar that is not the newest; `rebuild` needs the whole series set anew. */
export type Applied = "ignored" | "appended" | "current" | "late" | "rebuild";

export class BarSeries {
  private readonly bars: Bar[] = [];
  private revisionsApplied = 0;
  private readonly revised = new Set<string>();

  constructor(
    readonly instrument: string,
    readonly interval: Interval,
  ) {}

  get all(): readonly Bar[] {
    return this.bars;
  }

  get last(): Bar | undefined {
    return this.bars.at(-1);
  }

  /** Revisions that arrived while we watched: history read at revision 3 is not three of them. */
  get revisions(): number {
    return this.revisionsApplied;
  }

  /** Apply one live bar. */
  apply(bar: Bar): Applied {
    const at = this.find(bar);
    const held = this.bars[at];
    if (held === undefined) return this.append(bar);
    if (held.tsOpen !== bar.tsOpen) return this.insert(at, bar);
    if (!supersedes(bar, held)) return "ignored";
    this.bars[at] = bar;
    if (held.final && bar.revision > held.revision) this.countRevision(bar);
    return at === this.bars.length - 1 ? "current" : "late";
  }

  /** Merge a page of history; return the number of bars that were new or newer. */
  merge(page: readonly Bar[]): number {
    let changed = 0;
    for (const bar of page) {
      const at = this.find(bar);
      const held = this.bars[at];
      if (held !== undefined && held.tsOpen === bar.tsOpen) {
        if (!supersedes(bar, held)) continue;
        this.bars[at] = bar;
      } else this.bars.splice(at, 0, bar);
      changed += 1;
    }
    this.trim();
    return changed;
  }

  at(timeS: number): Bar | undefined {
    const at = this.find({ tsOpen: `${timeS}000000000` });
    const bar = this.bars[at];
    return bar !== undefined && bar.tsOpen === `${timeS}000000000` ? bar : undefined;
  }

  wasRevisedLive(bar: Bar): boolean {
    return this.revised.has(bar.tsOpen);
  }

  private append(bar: Bar): Applied {
    this.bars.push(bar);
    return this.trim() ? "rebuild" : "appended";
  }

  private insert(at: number, bar: Bar): Applied {
    this.bars.splice(at, 0, bar);
    if (bar.revision > 0) this.countRevision(bar);
    return "rebuild";
  }

  private countRevision(bar: Bar): void {
    this.revisionsApplied += 1;
    this.revised.add(bar.tsOpen);
  }

  private trim(): boolean {
    if (this.bars.length <= MAX_BARS) return false;
    for (const bar of this.bars.splice(0, this.bars.length - MAX_BARS + TRIM_BARS)) this.revised.delete(bar.tsOpen);
    return true;
  }

  /** First position whose bar does not open before `bar`. Live bars are at the end, so look there first. */
  private find(bar: Pick<Bar, "tsOpen">): number {
    let low = 0;
    let high = this.bars.length;
    const last = this.bars[high - 1];
    if (last === undefined || compareNs(last.tsOpen, bar.tsOpen) < 0) return high;
    while (low < high) {
      const middle = (low + high) >> 1;
      const open = this.bars[middle]?.tsOpen ?? "";
      if (compareNs(open, bar.tsOpen) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/** Tell whether `bar` replaces `held` (same ts_open): the higher revision; then final over forming; then the later. */
export function supersedes(bar: Bar, held: Bar): boolean {
  if (bar.revision !== held.revision) return bar.revision > held.revision;
  if (bar.final !== held.final) return bar.final;
  return !bar.final;
}
