/**
 * The newest headlines, each once, newest first.
 *
 * Pure. State: at most NEWS_ROWS headlines. A headline may come by the stream and by history, in any order.
 */

import type { Headline } from "./protocol";
import { compareNs } from "./time";

export const NEWS_ROWS = 50;

export class News {
  private rows: Headline[] = [];

  /** Newest first. */
  get all(): readonly Headline[] {
    return this.rows;
  }

  /** Take headlines; says whether anything changed. */
  add(headlines: readonly Headline[]): boolean {
    const known = new Set(this.rows.map((row) => row.id));
    const fresh = headlines.filter((row) => !known.has(row.id) && known.add(row.id));
    if (fresh.length === 0) return false;
    const before = this.rows;
    this.rows = [...fresh, ...before].sort((a, b) => compareNs(b.tsEvent, a.tsEvent)).slice(0, NEWS_ROWS);
    return this.rows.some((row, at) => row !== before[at]);
  }
}
