/**
 * What the gateway says, typed, and the only place that reads its raw JSON.
 *
 * Every parser takes `unknown` and gives a value or throws ProtocolError: nothing half-read goes further.
 * Units: times are ns strings, prices in the instrument's quote unit, sizes and volumes in lots.
 */

import { isObject, number, object, optionalNumber, requiredTime, string, strings, text, time, ProtocolError, type Json } from "./json";
import { isInterval, type Interval, type Ns } from "./time";
import { isQuality, type Quality } from "./quality";

export { ProtocolError, type Json } from "./json";

export type Channel = "trades" | "quotes" | "bars" | "book" | "status" | "news" | "anomalies" | "arbitrage" | "forecasts" | "user.trades";
export type Side = "buy" | "sell" | null;

export interface Trade {
  readonly instrument: string;
  readonly tsEvent: Ns;
  readonly tsRecv: Ns | null;
  readonly price: number;
  readonly size: number;
  readonly side: Side;
  readonly tradeId: string | null;
}

export interface Quote {
  readonly instrument: string;
  readonly tsEvent: Ns;
  readonly tsRecv: Ns | null;
  readonly bidPrice: number | null;
  readonly bidSize: number | null;
  readonly askPrice: number | null;
  readonly askSize: number | null;
}

export interface Bar {
  readonly instrument: string;
  readonly interval: Interval;
  readonly tsOpen: Ns;
  readonly tsClose: Ns | null;
  readonly open: number;
  readonly high: number;
  readonly low: number;
  readonly close: number;
  readonly volume: number;
  readonly vwap: number;
  readonly trades: number;
  readonly revision: number;
  readonly final: boolean;
  readonly quality: Quality;
}

export interface Status {
  readonly instrument: string | null;
  readonly venue: string | null;
  readonly tsEvent: Ns | null;
  readonly quality: Quality;
  readonly reason: string;
}

/** A row of the gap ledger: what a venue's session lost, and how it was recovered (null while it is open). */
export interface VenueGap {
  readonly venue: string;
  readonly channel: string;
  readonly missing: number;
  readonly resolution: string | null;
  readonly recoveredRows: number;
  readonly reason: string;
}

export interface Headline {
  readonly id: string;
  readonly venue: string;
  readonly tsEvent: Ns;
  readonly headline: string;
  readonly body: string;
  readonly instruments: readonly string[];
  readonly urgency: number; // 0 routine, 1 urgent, 2 flash
}

export interface Instrument {
  readonly instrument: string;
  readonly name: string;
  readonly venue: string;
  readonly root: string;
  readonly commodity: string;
  readonly tickSize: number | null;
  readonly unit: string;
  readonly timeZone: string | null;
}

/** A sequenced message: an image or a change of one (channel, instrument, interval). */
export interface DataMessage {
  readonly op: "snapshot" | "update";
  readonly channel: string;
  readonly instrument: string;
  readonly interval: string | null;
  readonly seq: number;
  readonly skipped: number;
  readonly tsOut: Ns | null;
  readonly rows: readonly Json[];
}

export interface GapMessage {
  readonly op: "gap";
  readonly channel: string;
  readonly instrument: string;
  readonly interval: string | null;
  readonly from: number;
  readonly to: number;
  readonly reason: string;
}

export type ServerMessage =
  | { readonly op: "welcome"; readonly epoch: string; readonly limits: Json }
  | { readonly op: "subscribed"; readonly id: number; readonly instruments: readonly string[] }
  | DataMessage
  | GapMessage
  | ({ readonly op: "status" } & Status)
  | { readonly op: "heartbeat"; readonly tsOut: Ns | null }
  | { readonly op: "error"; readonly id: number | null; readonly code: string; readonly message: string }
  | { readonly op: "expiring"; readonly expires: Ns | null }
  | { readonly op: "pong" }
  | { readonly op: "unknown"; readonly name: string };

/** Read one text frame. An op this page does not know is `unknown`, since adding is free in the contract. */
export function parseMessage(frame: string): ServerMessage {
  let raw: unknown;
  try {
    raw = JSON.parse(frame);
  } catch {
    throw new ProtocolError(`not JSON: ${frame.slice(0, 80)}`);
  }
  const message = object(raw, "message");
  const op = string(message, "op");
  switch (op) {
    case "snapshot":
    case "update":
      return dataMessage(op, message);
    case "gap":
      return gapMessage(message);
    case "status":
      return { op, ...parseStatus(message) };
    case "heartbeat":
      return { op, tsOut: time(message, "ts_out") };
    case "welcome":
      return { op, epoch: string(message, "epoch"), limits: isObject(message["limits"]) ? message["limits"] : {} };
    case "subscribed":
      return { op, id: number(message, "id"), instruments: strings(message["instruments"]) };
    case "error":
      return { op, id: optionalNumber(message, "id"), code: text(message, "code"), message: text(message, "message") };
    case "expiring":
      return { op, expires: time(message, "expires") };
    case "pong":
      return { op };
    default:
      return { op: "unknown", name: op };
  }
}

function dataMessage(op: "snapshot" | "update", message: Json): DataMessage {
  const rows = rowsOf(message["data"]);
  const first = rows[0];
  const interval = message["interval"] ?? first?.["interval"];
  const instrument = message["instrument"] ?? first?.["instrument"];
  if (typeof instrument !== "string") throw new ProtocolError(`${op} without an instrument`);
  return {
    op,
    channel: string(message, "channel"),
    instrument,
    interval: typeof interval === "string" ? interval : null,
    seq: number(message, "seq"),
    skipped: optionalNumber(message, "skipped") ?? 0,
    tsOut: time(message, "ts_out"),
    rows: isObject(message["previous"]) ? [message["previous"], ...rows] : rows,
  };
}

function gapMessage(message: Json): GapMessage {
  const interval = message["interval"];
  return {
    op: "gap",
    channel: string(message, "channel"),
    instrument: text(message, "instrument"),
    interval: typeof interval === "string" ? interval : null,
    from: number(message, "from"),
    to: number(message, "to"),
    reason: text(message, "reason"),
  };
}

/** `data` is a row; an image of a channel of events may be several, and null when there is nothing yet. */
function rowsOf(data: unknown): readonly Json[] {
  if (data === null || data === undefined) return [];
  if (Array.isArray(data)) return data.map((row) => object(row, "row"));
  return [object(data, "data")];
}

export function parseTrade(row: Json): Trade {
  return {
    instrument: string(row, "instrument"),
    tsEvent: requiredTime(row, "ts_event"),
    tsRecv: time(row, "ts_recv"),
    price: number(row, "price"),
    size: number(row, "size"),
    side: side(row["side"]),
    tradeId: typeof row["trade_id"] === "string" ? row["trade_id"] : null,
  };
}

export function parseQuote(row: Json): Quote {
  return {
    instrument: string(row, "instrument"),
    tsEvent: requiredTime(row, "ts_event"),
    tsRecv: time(row, "ts_recv"),
    bidPrice: optionalNumber(row, "bid_price"),
    bidSize: optionalNumber(row, "bid_size"),
    askPrice: optionalNumber(row, "ask_price"),
    askSize: optionalNumber(row, "ask_size"),
  };
}

export function parseBar(row: Json): Bar {
  const interval = string(row, "interval");
  if (!isInterval(interval)) throw new ProtocolError(`no such interval: ${interval}`);
  const quality = row["quality"];
  return {
    instrument: string(row, "instrument"),
    interval,
    tsOpen: requiredTime(row, "ts_open"),
    tsClose: time(row, "ts_close"),
    open: number(row, "open"),
    high: number(row, "high"),
    low: number(row, "low"),
    close: number(row, "close"),
    volume: number(row, "volume"),
    vwap: number(row, "vwap"),
    trades: number(row, "trades"),
    revision: optionalNumber(row, "revision") ?? 0,
    final: row["final"] === true,
    quality: isQuality(quality) ? quality : "LIVE",
  };
}

export function parseStatus(row: Json): Status {
  const quality = row["quality"];
  if (!isQuality(quality)) throw new ProtocolError(`no such quality: ${String(quality)}`);
  const instrument = text(row, "instrument");
  return {
    // `MIC:*` names the venue as a whole.
    instrument: instrument === "" || instrument.endsWith(":*") ? null : instrument,
    venue: typeof row["venue"] === "string" ? row["venue"] : null,
    tsEvent: time(row, "ts_event"),
    quality,
    reason: text(row, "reason"),
  };
}

export function parseVenueGap(row: Json): VenueGap {
  return {
    venue: string(row, "venue"),
    channel: text(row, "channel"),
    missing: number(row, "seq_to") - number(row, "seq_from") + 1,
    resolution: typeof row["resolution"] === "string" ? row["resolution"] : null,
    recoveredRows: optionalNumber(row, "recovered_rows") ?? 0,
    reason: text(row, "reason"),
  };
}

export function parseHeadline(row: Json): Headline {
  return {
    id: string(row, "news_id"),
    venue: text(row, "venue"),
    tsEvent: requiredTime(row, "ts_event"),
    headline: string(row, "headline"),
    body: text(row, "body"),
    instruments: strings(row["instruments"]),
    urgency: optionalNumber(row, "urgency") ?? 0,
  };
}

/** What the contract master lacks is read off the key `MIC:ROOT:YYYYMM`. */
export function parseInstrument(row: Json): Instrument {
  const key = string(row, "instrument");
  const [venue = "", root = key] = key.split(":");
  return {
    instrument: key,
    name: text(row, "name"),
    venue: text(row, "venue") || venue,
    root: text(row, "root") || root,
    commodity: text(row, "commodity") || root.toLowerCase(),
    tickSize: optionalNumber(row, "tick_size"),
    unit: [text(row, "currency").replace("USX", "USc"), text(row, "quote_unit")].filter(Boolean).join("/"),
    timeZone: text(row, "time_zone") || text(row, "timezone") || null,
  };
}

function side(value: unknown): Side {
  if (value === "buy" || value === 1) return "buy";
  if (value === "sell" || value === -1) return "sell";
  return null;
}
