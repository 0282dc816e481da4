/**
 * Joins the stream, the store and the history: what is asked of the gateway when, and what an answer changes.
 *
 * One subscription each for all trades, quotes, session bars, states, headlines, anomalies, opportunities and own trades;
 * one for the bars of the chart and one for the book beside it.
 * History is merged into the live series by key, so it does not matter which of the two arrives first.
 */

import { ANOMALY_ROWS } from "./anomalies";
import { MAX_BARS, type BarSeries } from "./bars";
import { NEWS_ROWS } from "./news";
import { ProtocolError, type DataMessage, type GapMessage } from "./protocol";
import { RestError, type Rest } from "./rest";
import { DEFAULT_INTERVAL, type Route, writeRoute, YOUNG_BARS, YOUNG_INTERVAL } from "./route";
import type { Store } from "./store";
import { Stream, type Connection, type StreamEvents, type World } from "./stream";
import { TAPE_ROWS } from "./tape";
import { beforeNs, type Interval } from "./time";
import { SPARK_MINUTES } from "./instrument";

const HISTORY_BARS = 1_000;
const SETTLE_MS = 120; // an arrow key held down passes many instruments; only the one it stops at is asked for
const QUOTES_CONFLATE_MS = 100;
const SESSION_CONFLATE_MS = 1_000;
const BOOK_CONFLATE_MS = 250;
const DEPTH_ROWS = 480; // two minutes of a busy book
const ARBITRAGE_ROWS = 200;
const HEALTH_EVERY_MS = 5_000;
const FORECASTS_CONFLATE_MS = 1_000;
const SCORES_EVERY_MS = 10_000;
const DESCRIBE_AFTER_MS = 1_000;
const ERRORS_SHOWN_EVERY_MS = 5_000;

/** How a token is asked for, when the gateway wants one. */
export interface SignIn {
  ask(why: string): void;
  done(): void;
}

export class App implements StreamEvents {
  readonly stream: Stream;
  interval: Interval;
  /** Whether a pane shows the scores: the store adds them up anew for each reader. */
  scoresWanted: () => boolean = () => false;
  private mayNarrow: boolean;
  private subscription: number | null = null;
  private bookSubscription: number | null = null;
  private settle: () => void = () => undefined;
  private reading = new AbortController();
  private readingOlder = false;
  private oldestReached = false;
  private errorShownMs = Number.NEGATIVE_INFINITY;
  private referenceRead = false;
  private described = 0; // instruments known when the reference data was last asked for
  private describing = false;
  private readonly sparked = new Set<string>();

  constructor(
    private readonly store: Store,
    private readonly rest: Rest,
    private readonly world: World,
    private readonly token: () => string | null,
    route: Route,
    private readonly signIn: SignIn,
  ) {
    this.interval = route.interval;
    this.mayNarrow = !route.chosen;
    this.stream = new Stream(world, this, token);
    this.stream.subscribe({ channel: "status", instruments: ["*"] });
    this.stream.subscribe({ channel: "quotes", instruments: ["*"], conflateMs: QUOTES_CONFLATE_MS });
    this.stream.subscribe({ channel: "bars", interval: "1d", instruments: ["*"], conflateMs: SESSION_CONFLATE_MS });
    this.stream.subscribe({ channel: "trades", instruments: ["*"] });
    this.stream.subscribe({ channel: "news", instruments: ["*"] });
    this.stream.subscribe({ channel: "anomalies", instruments: ["*"] });
    this.stream.subscribe({ channel: "arbitrage", instruments: ["*"] });
    this.stream.subscribe({ channel: "forecasts", instruments: ["*"], conflateMs: FORECASTS_CONFLATE_MS });
    this.stream.subscribe({ channel: "user.trades", instruments: ["*"] });
    this.world.every(SCORES_EVERY_MS, () => void this.readScores());
    this.world.every(HEALTH_EVERY_MS, () => void this.readHealth());
  }

  /** Show an instrument and a bar width. */
  select(instrument: string, interval: Interval = this.interval): void {
    if (this.store.selected === instrument && this.interval === interval && this.store.series !== null) return;
    this.interval = interval;
    this.store.instrument(instrument);
    this.store.select(instrument, interval);
    history.replaceState(history.state, "", writeRoute(instrument, interval));
    this.settle();
    this.settle = this.world.after(SETTLE_MS, () => this.follow(instrument, interval));
  }

  /** There is a new token: show it, and read again what was refused without. */
  signedIn(): void {
    this.stream.signIn();
    if (this.store.connection.state === "live") this.readAll();
  }

  /** Read again what failed, or connect now. */
  retry(): void {
    this.stream.retryNow();
    if (this.store.historyState === "failed" && this.store.series !== null) void this.readHistory(this.store.series);
  }

  /** Read the page of bars before the oldest shown. */
  readOlder(): void {
    const series = this.store.series;
    const oldest = series?.all[0];
    if (series === null || oldest === undefined || this.readingOlder || this.oldestReached) return;
    if (this.store.historyState !== "ready" || series.all.length + HISTORY_BARS > MAX_BARS) return;
    this.readingOlder = true;
    void this.reported(async () => {
      const { instrument, interval } = series;
      const query = { instrument, interval, limit: HISTORY_BARS, to: beforeNs(oldest.tsOpen) };
      const page = await this.rest.bars(query, this.reading.signal);
      if (series === this.store.series && page.length === 0) this.oldestReached = true;
      this.store.history(series, page);
    }).finally(() => (this.readingOlder = false));
  }

  private follow(instrument: string, interval: Interval): void {
    this.reading.abort();
    this.reading = new AbortController();
    this.oldestReached = false;
    if (this.subscription !== null) this.stream.unsubscribe(this.subscription);
    // Session bars of everything are subscribed already.
    const covered = interval === "1d";
    if (this.bookSubscription !== null) this.stream.unsubscribe(this.bookSubscription);
    this.bookSubscription = this.stream.subscribe({ channel: "book", instruments: [instrument], conflateMs: BOOK_CONFLATE_MS });
    this.subscription = covered ? null : this.stream.subscribe({ channel: "bars", interval, instruments: [instrument] });
    const day = this.store.instrument(instrument).day;
    if (covered && day !== null) this.store.bar(day);
    const series = this.store.series;
    if (series !== null) void this.readHistory(series);
    void this.readTape(instrument);
    void this.readDepth(instrument);
    void this.readScores();
  }

  private async readHistory(series: BarSeries): Promise<void> {
    const { instrument, interval } = series;
    const read = await this.reported(async () => {
      const page = await this.rest.bars({ instrument, interval, limit: HISTORY_BARS }, this.reading.signal);
      this.store.history(series, page);
      this.narrow(instrument, interval, page.length);
    });
    if (series === this.store.series) this.store.historyState = read ? "ready" : "failed";
  }

  // Once, where nobody has chosen an interval: a market that opened minutes ago would be two bars on an empty chart.
  private narrow(instrument: string, interval: Interval, bars: number): void {
    if (this.mayNarrow && interval === DEFAULT_INTERVAL && bars < YOUNG_BARS) this.select(instrument, YOUNG_INTERVAL);
    this.mayNarrow = false;
  }

  private async readTape(instrument: string): Promise<void> {
    await this.reported(async () => {
      this.store.tapeHistory(instrument, await this.rest.trades(instrument, TAPE_ROWS, this.reading.signal));
    });
  }

  private async readDepth(instrument: string): Promise<void> {
    const { depth } = this.store;
    await this.reported(async () => depth.seed(await this.rest.books(instrument, DEPTH_ROWS, this.reading.signal)));
  }

  private async readHealth(): Promise<void> {
    if (this.store.connection.state !== "live" || document.hidden) return;
    await this.reported(async () => {
      this.store.health = await this.rest.health();
    });
  }

  /** Read how good each model was for the selected instrument, if anybody looks. */
  async readScores(): Promise<void> {
    const { selected } = this.store;
    if (selected === null || this.store.connection.state !== "live" || !this.scoresWanted()) return;
    await this.reported(async () => {
      const found = await this.rest.scoreboard(selected);
      if (selected === this.store.selected) this.store.scoreboard = found;
    });
  }

  // What was before we looked; the streams go on from there.
  private readAll(): void {
    void this.readNews();
    void this.readHealth();
    void this.reported(async () => this.store.addAnomalies(await this.rest.anomalies(ANOMALY_ROWS)));
    void this.reported(async () => (await this.rest.arbitrage(ARBITRAGE_ROWS)).forEach((row) => this.store.board.add(row)));
  }

  private async readNews(): Promise<void> {
    await this.reported(async () => this.store.addNews(await this.rest.news(NEWS_ROWS)));
  }

  // The list's reference data: names and ticks first, then each instrument's last hour, a few at a time.
  private async readReference(): Promise<void> {
    this.describing = false;
    this.described = this.store.instruments.size;
    this.referenceRead = await this.reported(async () => {
      this.store.addInstruments(await this.rest.instruments());
      this.described = this.store.instruments.size;
      for (const status of await this.rest.status()) this.store.status(status);
    });
    await Promise.all([...this.store.instruments.keys()].map((key) => this.readSpark(key)));
  }

  // The gateway names an instrument once it has traded, so one that is new to us has reference data to be read.
  private describeNew(): void {
    if (this.describing || this.store.instruments.size <= this.described) return;
    this.describing = true;
    this.world.after(DESCRIBE_AFTER_MS, () => void this.readReference());
  }

  private async readSpark(instrument: string): Promise<void> {
    if (this.sparked.has(instrument)) return;
    this.sparked.add(instrument);
    await this.reported(async () => {
      const page = await this.rest.bars({ instrument, interval: "1m", limit: SPARK_MINUTES });
      this.store.instrument(instrument).seedSpark(page);
      this.store.dirty.rows.add(instrument);
    });
  }

  connection(connection: Connection): void {
    const was = this.store.connection.state;
    this.store.setConnection(connection);
    if (connection.state === "connecting" && this.token() === null) void this.knock();
    if (connection.state !== "live" || was === "live") return;
    this.readAll();
    if (!this.referenceRead) void this.readReference();
    // What was final while we were away is in the stores.
    else if (this.store.series !== null) void this.readHistory(this.store.series);
  }

  // A gateway with keys says nothing on the stream to who has no token; over REST it says so at once.
  private async knock(): Promise<void> {
    try {
      await this.rest.status();
    } catch (error) {
      if (error instanceof RestError && error.status === 401) this.signIn.ask("This gateway wants to know who you are.");
    }
  }

  data(message: DataMessage): void {
    try {
      this.store.apply(message);
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      this.malformed(error);
    }
    this.describeNew();
  }

  gap(gap: GapMessage, resync: boolean): void {
    this.store.gap(gap, resync);
    const { series } = this.store;
    if (gap.channel === "news") void this.readNews();
    if (gap.instrument !== this.store.selected || series === null) return;
    if (gap.channel === "bars") void this.readHistory(series);
    if (gap.channel === "trades") void this.readTape(gap.instrument);
  }

  other(message: Parameters<StreamEvents["other"]>[0]): void {
    if (message.op === "heartbeat") this.store.heartbeat(message.tsOut);
    else if (message.op === "status") this.store.status(message);
    else if (message.op === "welcome") this.welcomed();
    else if (message.op === "expiring") this.store.log("error", "gateway", "your access token ends within 30 s: press L", "DELAYED");
    else if (message.op === "error") this.refused(message.id, message.code, message.message);
  }

  private welcomed(): void {
    this.store.heartbeat(null);
    this.store.refusals.clear();
    this.signIn.done();
  }

  malformed(error: ProtocolError): void {
    this.store.malformed += 1;
    this.problem(`a message could not be read: ${error.message} (${this.store.malformed} so far)`);
  }

  /** Tell the trader that a part of this page failed. */
  failed(text: string): void {
    this.problem(`this page failed: ${text}; reload it if something looks wrong`);
  }

  private refused(id: number | null, code: string, text: string): void {
    const channel = this.stream.channelOf(id);
    if (channel !== null) this.store.refuse(channel, text);
    this.store.log("error", channel ?? "gateway", `${code}: ${text}`);
    if (AUTH_CODES.has(code)) this.signIn.ask(`The gateway says: ${text}.`);
  }

  private async reported(run: () => Promise<void>): Promise<boolean> {
    try {
      await run();
      return true;
    } catch (error) {
      if (error instanceof DOMException && error.name === "AbortError") return true;
      if (!(error instanceof RestError || error instanceof TypeError || error instanceof DOMException)) throw error;
      if (error instanceof RestError && error.status === 401) this.signIn.ask(`The gateway says: ${error.message}.`);
      this.problem(`history could not be read: ${error.message}`);
      return false;
    }
  }

  // One line now and then: a gateway that fails every request must not push everything else out of the ledger.
  private problem(text: string): void {
    const now = this.world.nowMs();
    if (now - this.errorShownMs < ERRORS_SHOWN_EVERY_MS) return;
    this.errorShownMs = now;
    this.store.log("error", "gateway", text);
  }
}

const AUTH_CODES = new Set(["not_authenticated", "bad_token", "token_expired", "token_not_yet_valid", "token_revoked"]);
