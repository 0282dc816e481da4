/**
 * Anomalies as they are known now, newest first. Pure. State: at most ANOMALY_ROWS.
 *
 * The same `anomaly_id` comes again as more is known of it (its witness) and when it ends; the newest word counts.
 */

import { isObject, number, optionalNumber, requiredTime, string, text, time, type Json } from "./json";
import { compareNs, type Ns } from "./time";

export const ANOMALY_ROWS = 200;

export interface Anomaly {
  readonly id: string;
  readonly instrument: string;
  readonly tsEvent: Ns;
  readonly tsEnd: Ns | null;
  readonly kind: string;
  readonly severity: string; // low, medium, high
  readonly score: number;
  readonly value: number | null;
  readonly expected: number | null;
  readonly witness: string; // bad_tick, real_move, fx_move, policy_step, unconfirmed
  readonly detail: Json;
  readonly asKnownAt: Ns;
}

export function parseAnomaly(row: Json): Anomaly {
  return {
    id: string(row, "anomaly_id"),
    instrument: string(row, "instrument"),
    tsEvent: requiredTime(row, "ts_event"),
    tsEnd: time(row, "ts_end"),
    kind: string(row, "kind"),
    severity: text(row, "severity"),
    score: number(row, "score"),
    value: optionalNumber(row, "value"),
    expected: optionalNumber(row, "expected"),
    witness: text(row, "witness"),
    detail: isObject(row["detail"]) ? row["detail"] : {},
    asKnownAt: requiredTime(row, "as_known_at"),
  };
}

export class Anomalies {
  private rows: Anomaly[] = [];

  /** Newest first. */
  get all(): readonly Anomaly[] {
    return this.rows;
  }

  get open(): number {
    return this.rows.filter((row) => row.tsEnd === null).length;
  }

  /** Of one instrument, what goes on now. */
  openOf(instrument: string): Anomaly | null {
    return this.rows.find((row) => row.instrument === instrument && row.tsEnd === null) ?? null;
  }

  /** Take what the stream or history says; an older word about an anomaly changes nothing. */
  add(found: readonly Anomaly[]): boolean {
    const byId = new Map(this.rows.map((row) => [row.id, row]));
    let changed = false;
    for (const row of found) {
      const held = byId.get(row.id);
      if (held !== undefined && !supersedes(row, held)) continue;
      byId.set(row.id, row);
      changed = true;
    }
    if (changed) this.rows = [...byId.values()].sort((a, b) => compareNs(b.tsEvent, a.tsEvent)).slice(0, ANOMALY_ROWS);
    return changed;
  }
}

function supersedes(row: Anomaly, held: Anomaly): boolean {
  const order = compareNs(row.asKnownAt, held.asKnownAt);
  return order > 0 || (order === 0 && held.tsEnd === null && row.tsEnd !== null);
}
