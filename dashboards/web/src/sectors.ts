/** Returns by sector: which instruments belong together, and how far each has come over a span. Pure. */

import type { InstrumentState } from "./instrument";

export const SPANS = ["5m", "15m", "1h", "session"] as const;
export type Span = (typeof SPANS)[number];
const SPAN_MINUTES: Readonly<Record<Exclude<Span, "session">, number>> = { "5m": 5, "15m": 15, "1h": 60 };

const SECTORS: Readonly<Record<string, readonly string[]>> = {
  "Precious metals": ["gold", "silver", "platinum", "palladium"],
  "Base metals": ["copper", "aluminium", "zinc", "lead", "nickel"],
  Energy: ["wti", "brent", "natgas", "crude", "gas", "gasoil"],
  Softs: ["cotton", "sugar", "coffee", "cocoa"],
  Grains: ["wheat", "corn", "soybean", "soybeans", "soymeal", "soyoil"],
};
const SECTOR_OF = new Map(Object.entries(SECTORS).flatMap(([sector, names]) => names.map((name) => [name, sector] as const)));
const OTHER = "Other";

export function sectorOf(state: InstrumentState): string {
  const { commodity, instrument } = state.meta;
  return SECTOR_OF.get(commodity) ?? (instrument.endsWith(":SPOT") || commodity === "fx" ? "Currencies" : OTHER);
}

/** The return over a span, as a share; null while there is no price that old. */
export function returnOf(state: InstrumentState, span: Span): number | null {
  const from = span === "session" ? (state.reference?.price ?? null) : closeBefore(state, SPAN_MINUTES[span]);
  return state.last === null || from === null || from === 0 ? null : (state.last - from) / Math.abs(from);
}

// The newest close at least that old, by the instrument's own minutes; a market that is younger has its oldest.
function closeBefore(state: InstrumentState, minutes: number): number | null {
  const newest = state.spark.at(-1);
  if (newest === undefined || state.spark.length < 2) return null;
  const old = state.spark.filter((point) => point.minute <= newest.minute - minutes).at(-1);
  return (old ?? state.spark[0])?.close ?? null;
}

export interface Sector {
  readonly name: string;
  readonly commodities: readonly { readonly name: string; readonly states: readonly InstrumentState[] }[];
}

/** Sectors in a fixed order, each with its commodities and their instruments by key. */
export function sectorsOf(states: Iterable<InstrumentState>): readonly Sector[] {
  const found = new Map<string, Map<string, InstrumentState[]>>();
  for (const state of states) {
    const sector = found.get(sectorOf(state)) ?? new Map<string, InstrumentState[]>();
    found.set(sectorOf(state), sector);
    const name = sectorOf(state) === "Currencies" ? "spot" : state.meta.commodity;
    sector.set(name, [...(sector.get(name) ?? []), state]);
  }
  const order = [...Object.keys(SECTORS), "Currencies", OTHER];
  return order
    .filter((name) => found.has(name))
    .map((name) => ({
      name,
      commodities: [...(found.get(name) ?? [])].sort(([a], [b]) => (a < b ? -1 : 1)).map(([commodity, its]) => ({
        name: commodity,
        states: its.sort((a, b) => (a.meta.instrument < b.meta.instrument ? -1 : 1)),
      })),
    }));
}
