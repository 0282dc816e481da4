/**
 * The page's state: what was received, and what of it has changed since the views last looked.
 *
 * Pure of DOM and network. Everything is bounded: instruments by the contract master, the tape by TAPE_ROWS, bars by
 * MAX_BARS, events by MAX_EVENTS, headlines by NEWS_ROWS, anomalies, opportunities and own trades by their own limits. Messages only mark things dirty; views draw once per animation frame.
 */

import { Anomalies, parseAnomaly, type Anomaly } from "./anomalies";
import { Board, parseOpportunity } from "./arbitrage";
import { BarSeries, type Applied } from "./bars";
import { DepthHistory, parseBook, type Book } from "./depth";
import { Forecasts, parseForecast, type ModelScore } from "./forecasts";
import type { Health } from "./health";
import { InstrumentState } from "./instrument";
import { MyTrades, parseMyTrade, type MyTrade } from "./mytrades";
import { News } from "./news";
import { parseBar, parseHeadline, parseInstrument, parseQuote, parseStatus, parseTrade, parseVenueGap } from "./protocol";
import type { Bar, DataMessage, GapMessage, Headline, Instrument, Json, Status, Trade } from "./protocol";
import { worst, type Quality } from "./quality";
import { LatencyMeter, MarketClock, RateMeter } from "./stats";
import type { Connection } from "./stream";
import { Tape } from "./tape";
import type { Interval, Ns } from "./time";

export const MAX_EVENTS = 200;
const MAX_CHANGED_BARS = 500;

export type EventKind = "status" | "gap" | "resync" | "connection" | "error";

export interface LedgerEvent {
  readonly number: number;
  readonly atMs: number | null; // gateway time; null before the first message
  readonly kind: EventKind;
  readonly subject: string;
  readonly quality: Quality | null;
  readonly text: string;
}

export interface Feed {
  readonly quality: Quality;
  readonly reason: string;
}

export class Store {
  readonly instruments = new Map<string, InstrumentState>();
  readonly venues = new Map<string, Status>();
  readonly events: LedgerEvent[] = [];
  readonly news = new News();
  readonly anomalies = new Anomalies();
  readonly board = new Board();
  readonly myTrades = new MyTrades();
  /** Why a channel brings nothing, in the gateway's words. */
  readonly refusals = new Map<string, string>();
  health: Health | null = null;
  readonly forecasts = new Forecasts();
  /** Of the selected instrument. */
  scoreboard: readonly ModelScore[] = [];
  readonly clock = new MarketClock();
  readonly rate = new RateMeter();
  readonly latency = new LatencyMeter();
  connection: Connection = { state: "connecting", attempt: 0 };
  heardMs = 0;
  /** The contract master has been read: names, groups and ticks are the real ones. */
  described = false;
  gaps = 0;
  malformed = 0;

  selected: string | null = null;
  series: BarSeries | null = null;
  tape = new Tape();
  book: Book | null = null;
  depth = new DepthHistory();
  historyState: "loading" | "ready" | "failed" = "loading";

  /** Changed since the views last drew; each view clears its own. */
  readonly dirty = { rows: new Set<string>(), list: true, tape: true, chart: true, events: true, bar: true, news: true, anomalies: true, mine: true };
  readonly changedBars = new Map<string, Applied>();
  private eventNumber = 0;

  constructor(private readonly nowMs: () => number) {}

  select(instrument: string, interval: Interval): void {
    if (this.selected !== instrument) [this.tape, this.book, this.depth] = [new Tape(), null, new DepthHistory()];
    if (this.selected !== instrument) this.scoreboard = [];
    this.selected = instrument;
    this.series = new BarSeries(instrument, interval);
    this.historyState = "loading";
    this.changedBars.clear();
    Object.assign(this.dirty, { tape: true, chart: true, bar: true, anomalies: true });
  }

  get current(): InstrumentState | null {
    return this.selected === null ? null : (this.instruments.get(this.selected) ?? null);
  }

  addInstruments(list: readonly Instrument[]): void {
    for (const meta of list) {
      const held = this.instruments.get(meta.instrument);
      if (held === undefined) this.admit(meta);
      else held.meta = meta; // a price came before the name did
    }
    this.dirty.list = this.dirty.chart = true;
    this.described = true;
  }

  /** Apply one accepted, in-order message. Raises: ProtocolError for a row that cannot be read. */
  apply(message: DataMessage): void {
    const now = this.nowMs();
    this.rate.count(now);
    if (message.tsOut !== null) this.clock.hear(message.tsOut, now);
    if (message.op === "snapshot") this.instruments.get(message.instrument)?.holes.delete(holeOf(message));
    switch (message.channel) {
      case "trades":
        return this.trades(message);
      case "quotes":
        for (const row of message.rows) this.instrument(message.instrument).setQuote(parseQuote(row));
        break;
      case "bars":
        for (const row of message.rows) this.bar(parseBar({ interval: message.interval, ...row }));
        break;
      case "status":
        for (const row of message.rows) this.statusRow(row);
        break;
      case "news":
        return this.addNews(message.rows.map(parseHeadline));
      case "book":
        return this.addBook(message.rows.map(parseBook));
      case "anomalies":
        return this.addAnomalies(message.rows.map(parseAnomaly));
      case "arbitrage":
        return message.rows.map(parseOpportunity).forEach((row) => this.board.add(row));
      case "forecasts":
        return message.rows.map(parseForecast).forEach((row) => this.forecasts.add(row));
      case "user.trades":
        return this.addMyTrades(message.rows.map(parseMyTrade));
    }
    this.dirty.rows.add(message.instrument);
  }

  addNews(headlines: readonly Headline[]): void {
    if (this.news.add(headlines)) this.dirty.news = true;
  }

  addAnomalies(found: readonly Anomaly[]): void {
    if (!this.anomalies.add(found)) return;
    this.dirty.anomalies = true;
    for (const row of found) this.dirty.rows.add(row.instrument);
  }

  addMyTrades(found: readonly MyTrade[]): void {
    if (this.myTrades.add(found)) this.dirty.mine = true;
  }

  /** Why a channel is silent: the gateway has refused it. */
  refuse(channel: string, why: string): void {
    this.refusals.set(channel, why);
    Object.assign(this.dirty, { anomalies: true, mine: true, news: true });
  }

  private addBook(books: readonly Book[]): void {
    for (const book of books) {
      if (book.instrument !== this.selected) continue;
      this.book = book;
      this.depth.add(book);
    }
  }

  private trades(message: DataMessage): void {
    const trades = message.rows.map(parseTrade);
    const state = this.instrument(message.instrument);
    for (const trade of trades) state.trade(trade);
    const last = trades.at(-1);
    if (message.op === "update" && last?.tsRecv && message.tsOut !== null) this.latency.add(last.tsRecv, message.tsOut);
    this.dirty.rows.add(message.instrument);
    if (message.instrument !== this.selected) return;
    if (message.op === "snapshot") this.tape.merge(trades);
    else for (const trade of trades) this.tape.add(trade);
    this.dirty.tape = true;
  }

  bar(bar: Bar): void {
    if (bar.interval === "1d") this.instrument(bar.instrument).setDay(bar);
    const series = this.series;
    if (series === null || series.instrument !== bar.instrument || series.interval !== bar.interval) return;
    const applied = series.apply(bar);
    if (applied === "ignored") return;
    this.changedBars.set(bar.tsOpen, applied);
    // In a hidden tab nothing draws: past this many it is cheaper to give the chart everything again.
    if (applied === "rebuild" || this.changedBars.size > MAX_CHANGED_BARS) this.redrawChart();
  }

  /** Merge a page of history into the series it was asked for; a page for a selection left since is dropped. */
  history(series: BarSeries, page: readonly Bar[]): void {
    if (series !== this.series) return;
    series.merge(page);
    this.redrawChart();
  }

  tapeHistory(instrument: string, trades: readonly Trade[]): void {
    const state = this.instrument(instrument);
    for (const trade of trades) state.trade(trade);
    this.dirty.rows.add(instrument);
    if (instrument !== this.selected) return;
    this.tape.merge(trades);
    this.dirty.tape = true;
  }

  private statusRow(row: Json): void {
    if (row["kind"] !== "gap") return this.status(parseStatus(row));
    const { venue, channel, missing, resolution, recoveredRows, reason } = parseVenueGap(row);
    const outcome = resolution === null ? "not yet recovered" : `recovered ${recoveredRows} by ${resolution}`;
    this.log("gap", venue, `${channel}: ${missing} missing at the venue, ${outcome}; ${reason}`, resolution === null ? "GAP" : null);
    if (resolution === null) this.gaps += 1;
  }

  status(status: Status): void {
    const { instrument, quality, reason } = status;
    const venue = status.venue ?? instrument?.split(":")[0] ?? null;
    const subject = instrument ?? venue ?? "gateway";
    const before = instrument === null ? this.venues.get(subject) : this.instruments.get(subject)?.status;
    if (instrument !== null) this.instrument(instrument).status = status;
    else this.venues.set(subject, status);
    if (before?.quality === quality && before.reason === reason) return;
    // The first word of a feed that is well is no event.
    if (before !== undefined || quality !== "LIVE") this.log("status", subject, reason, quality);
    this.allChanged();
  }

  gap(gap: GapMessage, resync: boolean): void {
    this.gaps += 1;
    const missing = gap.to - gap.from + 1;
    const interval = gap.interval === null ? "" : ` ${gap.interval}`;
    const text = `${gap.channel}${interval}: ${missing} missing (${gap.from}\u2026${gap.to}); ${gap.reason}`;
    this.log(resync ? "resync" : "gap", gap.instrument, text, resync ? "RESYNC" : "GAP");
    // `MIC:*` names a venue, which is no instrument of the list.
    if (gap.instrument && !gap.instrument.endsWith(":*")) this.instrument(gap.instrument).holes.add(holeOf(gap));
    this.dirty.rows.add(gap.instrument);
  }

  setConnection(connection: Connection): void {
    const was = this.connection.state;
    this.connection = connection;
    if (connection.state === "live" && was !== "live") this.log("connection", "gateway", "connected", "LIVE");
    if (connection.state === "reconnecting" && connection.attempt === 1) {
      this.log("connection", "gateway", connection.reason, "STALE");
    }
    this.allChanged();
  }

  heartbeat(tsOut: Ns | null): void {
    this.heardMs = this.nowMs();
    if (tsOut !== null) this.clock.hear(tsOut, this.heardMs, true);
  }

  log(kind: EventKind, subject: string, text: string, quality: Quality | null = null): void {
    this.events.push({ number: this.eventNumber++, atMs: this.clock.read(this.nowMs()), kind, subject, quality, text });
    if (this.events.length > MAX_EVENTS) this.events.shift();
    this.dirty.events = true;
  }

  /** The state to show beside a number of this instrument: the worst of all it depends on, and why. */
  feedOf(state: InstrumentState): Feed {
    const venue = this.venues.get(state.meta.venue);
    const quality = worst(state.status?.quality ?? "LIVE", venue?.quality ?? "LIVE");
    if (this.connection.state !== "live") return { quality: worst(quality, "STALE"), reason: "no connection to the gateway" };
    if (state.holes.size > 0) {
      return { quality: worst(quality, "RESYNC"), reason: `messages missing on ${[...state.holes].join(", ")}` };
    }
    const why = state.status?.quality === quality ? state.status.reason : (venue?.reason ?? "");
    return { quality, reason: why };
  }

  instrument(key: string): InstrumentState {
    return this.instruments.get(key) ?? this.admit(parseInstrument({ instrument: key }));
  }

  private admit(meta: Instrument): InstrumentState {
    const state = new InstrumentState(meta);
    this.instruments.set(meta.instrument, state);
    this.dirty.list = true;
    return state;
  }

  private redrawChart(): void {
    this.changedBars.clear();
    this.dirty.chart = true;
  }

  private allChanged(): void {
    for (const key of this.instruments.keys()) this.dirty.rows.add(key);
    this.dirty.bar = true;
  }
}

function holeOf(message: { readonly channel: string; readonly interval: string | null }): string {
  return message.interval === null ? message.channel : `${message.channel} ${message.interval}`;
}
