/**
 * Reads of the gateway's REST interface: history and reference data, never the live numbers.
 *
 * Raises: RestError with a sentence for the trader; a malformed row is skipped and counted, not fatal.
 */

import { parseAnomaly, type Anomaly } from "./anomalies";
import { parseOpportunity, type Opportunity } from "./arbitrage";
import { parseBook, type Book } from "./depth";
import { parseModelScore, type ModelScore } from "./forecasts";
import { parseHealth, type Health } from "./health";
import {
  parseBar,
  parseHeadline,
  parseInstrument,
  parseStatus,
  parseTrade,
  ProtocolError,
  type Bar,
  type Headline,
  type Instrument,
  type Json,
  type Status,
  type Trade,
} from "./protocol";
import type { Interval, Ns } from "./time";

const TIMEOUT_MS = 10_000;
const AT_ONCE = 4; // requests in flight: the page must not crowd out the stream

export class RestError extends Error {
  constructor(
    message: string,
    readonly status: number,
  ) {
    super(message);
  }
}

export class Rest {
  private inFlight = 0;
  private readonly waiting: (() => void)[] = [];
  malformedRows = 0;

  constructor(
    private readonly base: string,
    private readonly token: () => string | null = () => null,
  ) {}

  async instruments(): Promise<readonly Instrument[]> {
    return this.rows("/v1/instruments", {}, parseInstrument);
  }

  async status(): Promise<readonly Status[]> {
    return this.rows("/v1/status", {}, parseStatus);
  }

  async books(instrument: string, limit: number, signal?: AbortSignal): Promise<readonly Book[]> {
    return this.rows("/v1/books", { instrument, limit }, parseBook, signal);
  }

  async anomalies(limit: number): Promise<readonly Anomaly[]> {
    return this.rows("/v1/anomalies", { limit }, parseAnomaly);
  }

  async arbitrage(limit: number): Promise<readonly Opportunity[]> {
    return this.rows("/v1/arbitrage", { limit }, parseOpportunity);
  }

  async scoreboard(instrument: string): Promise<readonly ModelScore[]> {
    return this.rows("/v1/forecast_scoreboard", { instrument, limit: 500 }, parseModelScore);
  }

  async health(): Promise<Health> {
    return parseHealth(await this.queued(() => this.get("/v1/health", {})));
  }

  async news(limit: number): Promise<readonly Headline[]> {
    return this.rows("/v1/news", { limit }, parseHeadline);
  }

  async trades(instrument: string, limit: number, signal?: AbortSignal): Promise<readonly Trade[]> {
    return this.rows("/v1/trades", { instrument, limit }, parseTrade, signal);
  }

  async bars(
    query: { instrument: string; interval: Interval; limit: number; to?: Ns },
    signal?: AbortSignal,
  ): Promise<readonly Bar[]> {
    return this.rows("/v1/bars", query, parseBar, signal);
  }

  private async rows<Row>(
    path: string,
    query: Readonly<Record<string, string | number>>,
    parse: (row: Json) => Row,
    signal?: AbortSignal,
  ): Promise<readonly Row[]> {
    const body = await this.queued(() => this.get(path, query, signal));
    const result: Row[] = [];
    for (const row of listOf(body)) {
      try {
        result.push(parse(row as Json));
      } catch (error) {
        if (!(error instanceof ProtocolError || error instanceof TypeError)) throw error;
        this.malformedRows += 1;
      }
    }
    return result;
  }

  private async get(
    path: string,
    query: Readonly<Record<string, string | number>>,
    signal?: AbortSignal,
  ): Promise<unknown> {
    const parameters = new URLSearchParams(Object.entries(query).map(([name, value]) => [name, String(value)]));
    const token = this.token();
    const timeout = AbortSignal.timeout(TIMEOUT_MS);
    const response = await fetch(`${this.base}${path}?${parameters.toString()}`, {
      signal: signal === undefined ? timeout : AbortSignal.any([signal, timeout]),
      headers: token === null ? {} : { authorization: `Bearer ${token}` },
    });
    if (!response.ok) throw new RestError(await reason(path, response), response.status);
    return response.json();
  }

  private async queued<Result>(run: () => Promise<Result>): Promise<Result> {
    if (this.inFlight >= AT_ONCE) await new Promise<void>((go) => this.waiting.push(go));
    this.inFlight += 1;
    try {
      return await run();
    } finally {
      this.inFlight -= 1;
      this.waiting.shift()?.();
    }
  }
}

/** The gateway's own sentence when it gave one ({"error":{"message":...}}), else the status. */
async function reason(path: string, response: Response): Promise<string> {
  const text = await response.text();
  const found = /"message":"([^"]{1,200})"/.exec(text);
  return found?.[1] ?? `${path} answered ${response.status}`;
}

/** Rows come bare or under one name ({"bars": [...]}); anything else is no list. */
function listOf(body: unknown): readonly unknown[] {
  if (Array.isArray(body)) return body;
  if (typeof body === "object" && body !== null) {
    for (const value of Object.values(body)) if (Array.isArray(value)) return value;
  }
  throw new RestError("the gateway's answer is not a list", 200);
}
