/** What the pipeline's processes say of themselves, from /v1/health: rows by venue, and whether they balance. Pure. */

import { isObject, number, optionalNumber, string, type Json } from "./json";

/** Rows that a consumer judged since it started, and what came of them. `held`: not judged yet. */
export interface Balance {
  readonly consumer: string;
  readonly rowsIn: number;
  readonly out: number;
  readonly late: number;
  readonly rejected: number;
  readonly held: number;
  readonly conflated: number;
}

export interface VenueHealth {
  readonly venue: string;
  readonly rows: number;
  readonly gaps: number;
  readonly lagS: number | null;
  readonly skewS: number | null;
}

export interface Health {
  readonly balances: readonly Balance[];
  readonly venues: ReadonlyMap<string, VenueHealth>;
  /** What left the gateway, and what a newer update replaced before it left. */
  readonly sent: { readonly updates: number; readonly conflated: number; readonly clients: number } | null;
  readonly processes: readonly { readonly name: string; readonly up: boolean; readonly restarts: number }[];
}

export function parseHealth(body: unknown): Health {
  const root = isObject(body) ? body : {};
  return {
    balances: rowsOf(root["balance"]).map((row) => ({
      consumer: string(row, "consumer"),
      rowsIn: number(row, "rows_in"),
      out: number(row, "rows_out"),
      late: number(row, "late"),
      rejected: number(row, "rejected"),
      held: number(row, "held"),
      conflated: number(row, "conflated"),
    })),
    venues: new Map(rowsOf(root["venues"]).map((row) => [string(row, "venue"), venue(row)])),
    sent: isObject(root["gateway"]) ? sentOf(root["gateway"]) : null,
    processes: rowsOf(root["processes"]).map((row) => ({
      name: string(row, "process"),
      up: row["up"] === true,
      restarts: optionalNumber(row, "restarts") ?? 0,
    })),
  };
}

function sentOf(row: Json): Health["sent"] {
  return { updates: number(row, "sent"), conflated: number(row, "conflated"), clients: number(row, "clients") };
}

function venue(row: Json): VenueHealth {
  return {
    venue: string(row, "venue"),
    rows: number(row, "rows"),
    gaps: number(row, "gaps"),
    lagS: optionalNumber(row, "lag_s"),
    skewS: optionalNumber(row, "skew_s"),
  };
}

function rowsOf(value: unknown): readonly Json[] {
  return Array.isArray(value) ? value.filter(isObject) : [];
}

/** Rows that are nowhere (or in two places): 0 while everything is accounted for. */
export function missing(balance: Balance): number {
  return balance.rowsIn - balance.out - balance.late - balance.rejected - balance.held - balance.conflated;
}
