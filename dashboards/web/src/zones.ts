/** Which wall clock an exchange keeps, for showing its date; never for deciding anything. */

import type { Instrument } from "./protocol";

// Used only when the contract master names no zone. Source: the exchanges' trading-hours pages, read 2026-11.
const BY_VENUE: Readonly<Record<string, string>> = {
  XCEC: "America/New_York",
  XNYM: "America/New_York",
  XCBT: "America/Chicago",
  IFUS: "America/New_York",
  IFEU: "Europe/London",
  XIMC: "Asia/Kolkata",
};

export function zoneOf(meta: Instrument): string | null {
  return meta.timeZone ?? BY_VENUE[meta.venue] ?? null;
}

const formatters = new Map<string, Intl.DateTimeFormat>();

/** `13:45 EST Sat 21 Nov`; empty when the zone is not known. */
export function exchangeTime(ms: number, zone: string | null): string {
  const formatter = zone === null ? null : formatterOf(zone);
  if (formatter === null) return "";
  const parts = Object.fromEntries(formatter.formatToParts(ms).map((part) => [part.type, part.value]));
  const { hour, minute, timeZoneName, weekday, day, month } = parts;
  return `${hour}:${minute} ${INDIA[zone ?? ""] ?? timeZoneName} ${weekday} ${day} ${month}`;
}

// English locales without Indian defaults call it GMT+5:30.
const INDIA: Readonly<Record<string, string>> = { "Asia/Kolkata": "IST" };

function formatterOf(zone: string): Intl.DateTimeFormat | null {
  const held = formatters.get(zone);
  if (held !== undefined) return held;
  try {
    const formatter = new Intl.DateTimeFormat("en-US", {
      timeZone: zone,
      hour: "2-digit",
      minute: "2-digit",
      hourCycle: "h23",
      weekday: "short",
      day: "2-digit",
      month: "short",
      timeZoneName: "short",
    });
    formatters.set(zone, formatter);
    return formatter;
  } catch (error) {
    if (error instanceof RangeError) return null; // a zone this browser does not know
    throw error;
  }
}
