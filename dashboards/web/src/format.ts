/**
 * Numbers and times as a trader reads them. Pure; the same text for the same input everywhere (no browser locale).
 */

import { nsToMs, type Ns } from "./time";

export const MINUS = "\u2212"; // as wide as a digit, unlike the hyphen
export const NONE = "\u2013"; // shown for what is not there; never a zero
const THIN_GROUP = /\B(?=(\d{3})+(?!\d))/g;
const MAX_DECIMALS = 9;

/** Decimals that show every multiple of `tick` exactly: 0.25 -> 2, 0.0005 -> 4, 1 -> 0. */
export function decimalsOf(tick: number): number {
  for (let decimals = 0; decimals < MAX_DECIMALS; decimals += 1) {
    const scaled = tick * 10 ** decimals;
    if (Math.abs(scaled - Math.round(scaled)) < 1e-6 * Math.max(1, scaled)) {
      if (Math.round(scaled) > 0) return decimals;
    }
  }
  return MAX_DECIMALS;
}

export function price(value: number | null | undefined, decimals: number): string {
  if (value === null || value === undefined) return NONE;
  return grouped(value.toFixed(decimals));
}

/** A change with its sign: +1.20, a true minus, and no sign for what rounds to zero. */
export function signed(value: number | null | undefined, decimals: number): string {
  if (value === null || value === undefined) return NONE;
  const text = Math.abs(value).toFixed(decimals);
  if (Number(text) === 0) return grouped(text);
  return (value > 0 ? "+" : MINUS) + grouped(text);
}

export function percent(value: number | null | undefined): string {
  return value === null || value === undefined ? NONE : `${signed(value, 2)}%`;
}

/** Lots: no decimals that are zeros; thousands short from 10,000 on (12.3K). */
export function size(value: number | null | undefined): string {
  if (value === null || value === undefined) return NONE;
  for (const [unit, suffix] of [[1e9, "B"], [1e6, "M"], [1e4, "K"]] as const) {
    if (Math.abs(value) >= unit) return `${(value / (suffix === "K" ? 1e3 : unit)).toFixed(1)}${suffix}`;
  }
  return grouped(String(Number(value.toFixed(4))));
}

/** The whole count with its thousands apart: 1,234,567. */
export function count(value: number): string {
  return grouped(String(Math.round(value)));
}

function grouped(text: string): string {
  const [whole = "", fraction] = text.replace("-", MINUS).split(".");
  const groups = whole.replace(THIN_GROUP, ",");
  return fraction === undefined ? groups : `${groups}.${fraction}`;
}

/** hh:mm:ss UTC. */
export function clock(ms: number): string {
  return new Date(ms).toISOString().slice(11, 19);
}

/** hh:mm:ss.mmm UTC of an event. */
export function stamp(ns: Ns): string {
  return new Date(nsToMs(ns)).toISOString().slice(11, 23);
}

/** yyyy-mm-dd hh:mm:ss UTC. */
export function dateTime(ms: number): string {
  return new Date(ms).toISOString().slice(0, 19).replace("T", " ");
}

/** Time left as m:ss, h:mm:ss or d h. */
export function countdown(ms: number): string {
  const total = Math.max(0, Math.ceil(ms / 1000));
  const [h, m, s] = [Math.floor(total / 3600), Math.floor(total / 60) % 60, total % 60];
  const pad = (n: number): string => String(n).padStart(2, "0");
  return h > 0 ? `${h}:${pad(m)}:${pad(s)}` : `${m}:${pad(s)}`;
}

/** An age in its largest unit: 0.4 s, 12 s, 5 min, 3 h. */
export function age(ms: number): string {
  if (ms < 10_000) return `${(Math.max(0, ms) / 1000).toFixed(1)} s`;
  if (ms < 120_000) return `${Math.round(ms / 1000)} s`;
  if (ms < 7_200_000) return `${Math.round(ms / 60_000)} min`;
  return `${Math.round(ms / 3_600_000)} h`;
}

/** A latency: 0.42 ms, 12 ms, 1.3 s. */
export function latency(ms: number): string {
  if (ms < 10) return `${ms.toFixed(ms < 1 ? 2 : 1)} ms`;
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}

const MONTH_CODES = "FGHJKMNQUVXZ";

/** The month as the trade writes it: 202612 -> Z6. */
export function monthCode(instrument: string): string {
  const match = /^\d{3}(\d)(\d{2})$/.exec(instrument.split(":")[2] ?? "");
  return match === null ? delivery(instrument) : `${MONTH_CODES[Number(match[2]) - 1] ?? "?"}${match[1]}`;
}

const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/** The delivery month of an instrument key: 202612 -> Dec 26, SPOT -> Spot. */
export function delivery(instrument: string): string {
  const part = instrument.split(":")[2] ?? "";
  const match = /^\d{2}(\d{2})(\d{2})$/.exec(part);
  if (match === null) return part === "SPOT" ? "Spot" : part;
  return `${MONTHS[Number(match[2]) - 1] ?? match[2]} ${match[1]}`;
}
