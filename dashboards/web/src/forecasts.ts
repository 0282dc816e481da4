/**
 * Forecasts as they are served, and how good each model was. Pure. State: the newest of each instrument.
 *
 * A horizon is trading time. Where nothing can be said (`quality: ...`) the numbers are null and the reason says why.
 */

import { isObject, number, optionalNumber, requiredTime, string, text, type Json } from "./json";
import { compareNs, type Ns } from "./time";

export interface ConePoint {
  readonly horizonS: number;
  readonly level: number; // 0.9 or 0.8
  readonly mean: number | null;
  readonly lo: number | null;
  readonly hi: number | null;
  readonly crashProbability: number | null;
  readonly skill: number | null; // 1 - error / naive's error, of late
  readonly coverage: number | null; // how many intervals of late held what came
}

export interface Forecast {
  readonly instrument: string;
  readonly model: string;
  readonly reason: string;
  readonly tsMade: Ns;
  readonly price: number;
  readonly scored: number;
  /** Shortest horizon first, of each the widest interval first. */
  readonly cone: readonly ConePoint[];
}

export function parseForecast(row: Json): Forecast {
  const cone = Array.isArray(row["cone"]) ? row["cone"].filter(isObject) : [row];
  return {
    instrument: string(row, "instrument"),
    model: string(row, "model"),
    reason: text(row, "reason"),
    tsMade: requiredTime(row, "ts_made"),
    price: number(row, "price"),
    scored: optionalNumber(row, "scored") ?? 0,
    cone: cone.map((point) => ({
      horizonS: number(point, "horizon_s"),
      level: number(point, "level"),
      mean: optionalNumber(point, "mean"),
      lo: optionalNumber(point, "lo"),
      hi: optionalNumber(point, "hi"),
      crashProbability: optionalNumber(point, "crash_probability"),
      skill: optionalNumber(point, "skill"),
      coverage: optionalNumber(point, "coverage"),
    })),
  };
}

/** A line of the scoreboard: one model at one horizon, over the last day. */
export interface ModelScore {
  readonly instrument: string;
  readonly model: string;
  readonly horizonS: number;
  readonly scored: number;
  readonly absError: number;
  readonly skill: number | null;
  readonly coverage: number | null;
  readonly coverage80: number | null;
  readonly crashSkill: number | null;
  readonly served: number | null;
}

export function parseModelScore(row: Json): ModelScore {
  return {
    instrument: string(row, "instrument"),
    model: string(row, "model"),
    horizonS: number(row, "horizon_s"),
    scored: number(row, "scored"),
    absError: number(row, "abs_error"),
    skill: optionalNumber(row, "skill"),
    coverage: optionalNumber(row, "coverage"),
    coverage80: optionalNumber(row, "coverage_80"),
    crashSkill: optionalNumber(row, "crash_skill"),
    served: optionalNumber(row, "served"),
  };
}

export class Forecasts {
  private readonly newest = new Map<string, Forecast>();
  version = 0;

  get all(): readonly Forecast[] {
    return [...this.newest.values()].sort((a, b) => (a.instrument < b.instrument ? -1 : 1));
  }

  of(instrument: string): Forecast | null {
    return this.newest.get(instrument) ?? null;
  }

  add(forecast: Forecast): void {
    const held = this.newest.get(forecast.instrument);
    if (held !== undefined && compareNs(forecast.tsMade, held.tsMade) < 0) return;
    this.newest.set(forecast.instrument, forecast);
    this.version += 1;
  }
}

/** The points of one interval, shortest horizon first, those with numbers. */
export function bandOf(forecast: Forecast, level: number): readonly ConePoint[] {
  return forecast.cone.filter((point) => Math.abs(point.level - level) < 1e-6 && point.mean !== null);
}

/** What is served, and why it is not more: `naive (no skill)`. */
export function servedText(forecast: Forecast): string {
  return forecast.reason === "" ? forecast.model : `${forecast.model} (${forecast.reason.replaceAll("_", " ")})`;
}
