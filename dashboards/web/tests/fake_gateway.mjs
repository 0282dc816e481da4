/**
 * Stands for the gateway in the dashboard's own tests: the same messages, made here from a seeded random walk, so that
 * a test can order a fault at a known moment (a hole, a late bar, a silent socket). It is no part of the product and
 * is never built into the bundle; the real gateway is tested against its own log.
 */

import { createServer } from "node:http";
import { readFile } from "node:fs/promises";
import { extname, join, normalize } from "node:path";
import { WebSocketServer } from "ws";

const WIDTH_S = { "1s": 1, "5s": 5, "1m": 60, "5m": 300, "15m": 900, "1h": 3600, "1d": 86400 };
const CONTRACTS = [
  ["XCEC:GC:202612", "gold", 0.1, 4075.3, "USD", "troy oz", "America/New_York"],
  ["XCEC:GC:202702", "gold", 0.1, 4104.8, "USD", "troy oz", "America/New_York"],
  ["XIMC:GOLD:202612", "gold", 1, 124350, "INR", "10 g", "Asia/Kolkata"],
  ["XIMC:GOLDM:202612", "gold", 1, 124410, "INR", "10 g", "Asia/Kolkata"],
  ["XCEC:SI:202612", "silver", 0.005, 50.34, "USD", "troy oz", "America/New_York"],
  ["XIMC:SILVER:202612", "silver", 1, 157880, "INR", "kg", "Asia/Kolkata"],
  ["XCEC:HG:202612", "copper", 0.0005, 5.0415, "USD", "lb", "America/New_York"],
  ["XIMC:COPPER:202612", "copper", 0.05, 1004.55, "INR", "kg", "Asia/Kolkata"],
  ["XNYM:CL:202701", "crude", 0.01, 58.06, "USD", "bbl", "America/New_York"],
  ["IFEU:B:202702", "crude", 0.01, 62.56, "USD", "bbl", "Europe/London"],
  ["XIMC:CRUDEOIL:202612", "crude", 1, 5210, "INR", "bbl", "Asia/Kolkata"],
  ["XNYM:NG:202701", "gas", 0.001, 4.58, "USD", "MMBtu", "America/New_York"],
  ["IFUS:CT:202612", "cotton", 0.01, 62.1, "USX", "lb", "America/New_York"],
  ["IFUS:SB:202703", "sugar", 0.01, 14.78, "USX", "lb", "America/New_York"],
  ["XCBT:ZW:202612", "wheat", 0.25, 527.25, "USX", "bu", "America/Chicago"],
  ["BBG:USDINR:SPOT", "fx", 0.0025, 88.71, "INR", "USD", null],
];
const TYPES = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml" };

const ns = (ms) => `${Math.round(ms * 1000)}000`;
const round = (price, tick) => Number((Math.round(price / tick) * tick).toFixed(6));

function randomOf(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

class Market {
  constructor(seed, nowMs) {
    this.random = randomOf(seed);
    this.items = CONTRACTS.map(([key, commodity, tick, price, currency, unit, zone]) => ({ key, commodity, tick, price, currency, unit, zone, bars: {}, trades: [], tradeCount: 0 }));
    for (const item of this.items) {
      for (let i = 60; i > 0; i -= 1) this.tick(item, nowMs - i * 900);
      this.history(item, nowMs);
    }
  }

  history(item, nowMs) {
    let price = item.price * (1 - 0.004 * (this.random() - 0.3));
    for (const interval of Object.keys(WIDTH_S)) {
      const width = WIDTH_S[interval] * 1000;
      const now = Math.floor(nowMs / width) * width;
      const bars = [];
      price = item.price;
      for (let at = now - width; bars.length < 400 && at > 0; at -= width) {
        const close = price;
        const step = item.price * 0.00012 * Math.sqrt(width / 1000) ** 0.7;
        const open = round(close - step * (this.random() - 0.5) * 2, item.tick);
        const high = round(Math.max(open, close) + step * this.random() * 0.8, item.tick);
        const low = round(Math.min(open, close) - step * this.random() * 0.8, item.tick);
        const volume = Math.max(1, Math.round((20 + 200 * this.random() ** 3) * Math.sqrt(width / 1000)));
        bars.unshift(barOf(item, interval, at, { open, high, low, close, volume, final: true, trades: Math.ceil(volume / 3), revision: this.random() < 0.02 ? 1 : 0 }));
        price = open;
      }
      item.bars[interval] = bars;
    }
  }

  /** One trade and the quote after it; the bars it forms. */
  tick(item, nowMs, size = null) {
    const step = this.random() < 0.5 ? -1 : 1;
    if (this.random() < 0.6) item.price = round(item.price + step * item.tick, item.tick);
    const side = step > 0 ? "buy" : "sell";
    const trade = { instrument: item.key, venue: item.key.split(":")[0], ts_event: ns(nowMs - 2.4), ts_recv: ns(nowMs - 0.9 - this.random()), seq: ++item.tradeCount, trade_id: `T${item.tradeCount}`, price: item.price, size: size ?? Math.ceil(8 * this.random() ** 4 * 10), side, flags: 0 };
    item.trades.push(trade);
    if (item.trades.length > 400) item.trades.splice(0, 200);
    const spread = item.tick * Math.ceil(2 * this.random());
    item.quote = { instrument: item.key, venue: trade.venue, ts_event: trade.ts_event, ts_recv: trade.ts_recv, seq: item.tradeCount, bid_price: round(item.price - spread, item.tick), bid_size: Math.ceil(40 * this.random()), ask_price: round(item.price + item.tick, item.tick), ask_size: Math.ceil(40 * this.random()), flags: 0 };
    return trade;
  }

  fold(item, interval, trade, nowMs) {
    const open = Math.floor(nowMs / 1000 / WIDTH_S[interval]) * WIDTH_S[interval] * 1000;
    const bars = item.bars[interval];
    const out = [];
    let bar = bars.at(-1);
    if (bar === undefined || bar.ts_open !== ns(open)) {
      if (bar && !bar.final) out.push(Object.assign(bar, { final: true }));
      bar = barOf(item, interval, open, { open: trade.price, high: trade.price, low: trade.price, close: trade.price, volume: 0, final: false, trades: 0, revision: 0 });
      bars.push(bar);
      if (bars.length > 2000) bars.splice(0, 1000);
    }
    Object.assign(bar, { high: Math.max(bar.high, trade.price), low: Math.min(bar.low, trade.price), close: trade.price, volume: bar.volume + trade.size, trades: bar.trades + 1 });
    bar.vwap = Number(((bar.high + bar.low + bar.close) / 3).toFixed(4));
    out.push(bar);
    return out;
  }
}

/** A book of five levels a side around an instrument's price. */
function bookOf(item, seq, atMs) {
  const row = { instrument: item.key, venue: item.key.split(":")[0], ts_event: ns(atMs), ts_recv: ns(atMs), seq, state: "NORMAL", quality: "LIVE", mid_price: round(item.price + item.tick / 2, item.tick / 2), micro_price: item.price, imbalance: -0.2 };
  for (let level = 1; level <= 10; level += 1) {
    const there = level <= 5;
    row[`bid_${level}_price`] = there ? round(item.price - (level - 1) * item.tick, item.tick) : null;
    row[`bid_${level}_size`] = there ? 2 * level : null;
    row[`ask_${level}_price`] = there ? round(item.price + level * item.tick, item.tick) : null;
    row[`ask_${level}_size`] = there ? 3 * level : null;
  }
  return row;
}

const COSTS = { freight: 98, duty: 19_838, bank: 149, inland: 0, fees: 4, taxes: 4, financing: 9, margin: 13, fx_hedge: 6, slippage: 4 };

/** A pair of which 20,290 gross and 165 net are left; `changes` say what else is to be known. */
function opportunityOf(local, foreign, atMs, changes = {}) {
  const costs = Object.fromEntries(Object.entries(COSTS).map(([name, value]) => [`cost_${name}`, value]));
  return { opportunity_id: `${local}/${foreign}`, ts_event: ns(atMs), commodity: "gold", direction: "buy_foreign", buy_instrument: foreign, sell_instrument: local, state: "watch", reason: "", currency: "INR", unit: "10g", buy_price: 4192.3, sell_price: 148960, fx_price: 96.035, gross: 20_290, ...costs, net: 165, basis: 220, level: 60, size: 3, foreign_size: 1, net_inr: 49_500, net_usd: 515.4, buy_age_ms: 120, sell_age_ms: 40, fx_age_ms: 300, skew_ms: 7, assumed: ["gold/bank"], ...changes };
}

function anomalyOf(id, instrument, atMs, changes = {}) {
  return { anomaly_id: id, venue: instrument.split(":")[0], instrument, ts_event: ns(atMs), ts_end: null, kind: "return_spike", severity: "high", score: 7.5, value: 4136.4, expected: 4075.3, witness: "unconfirmed", detail: { move_bps: 150.1, peers: ["XIMC:GOLD:202612"] }, as_known_at: ns(atMs), ...changes };
}

function myTradeOf(id, instrument, atMs, changes = {}) {
  return { event_id: id, event_type: "matched", trade_id: "T1", user_id: "asha", instrument, side: "buy", quantity: 3, price: 4075.6, ts_event: ns(atMs), ts_recv: ns(atMs), arrival_price: 4075.3, slippage: 0.3, markout_1m: null, markout_5m: null, markout_30m: null, as_known_at: ns(atMs), ...changes };
}

/** A cone of three horizons around a price: 60 s, 300 s, 1,200 s. */
function forecastOf(item, atMs, changes = {}) {
  const cone = [60, 300, 1200].flatMap((horizon_s) => [0.9, 0.8].map((level) => {
    const half = item.tick * Math.sqrt(horizon_s) * (level === 0.9 ? 1 : 0.7);
    return { horizon_s, level, ts_target: ns(atMs + horizon_s * 1000), mean: item.price, lo: item.price - half, hi: item.price + half, crash_probability: 0.02, skill: -0.004, coverage: 0.904 };
  }));
  return { venue: item.key.split(":")[0], instrument: item.key, model: "naive", ts_made: ns(atMs), price: item.price, reason: "no_skill", scored: 240, as_known_at: ns(atMs), ...cone[0], cone, ...changes };
}

const SCORES = ["naive", "ensemble"].flatMap((model) => [60, 300, 1200].map((horizon_s) => ({ model, horizon_s, scored: 240, abs_error: 0.4, skill: model === "naive" ? 0 : 0.031, coverage: 0.904, coverage_80: 0.79, crash_skill: null, served: model === "naive" ? 1 : 0 })));

const HEALTH = {
  balance: ["bars", "timescale"].map((consumer) => ({ consumer, rows_in: 1000, rows_out: 990, late: 6, rejected: 3, held: 1, conflated: 0 })),
  venues: [{ venue: "XCEC", rows: 12_345, gaps: 1, lag_s: 0.4, skew_s: 0 }],
  processes: [{ process: "ingest", up: true, restarts: 0 }],
  gateway: { clients: 1, sent: 5, conflated: 0 },
};

function barOf(item, interval, openMs, values) {
  const vwap = Number(((values.high + values.low + values.close) / 3).toFixed(4));
  return { instrument: item.key, venue: item.key.split(":")[0], interval, ts_open: ns(openMs), ts_close: ns(openMs + WIDTH_S[interval] * 1000), vwap, quality: "LIVE", as_known_at: ns(openMs), ...values };
}

/** Start on a free port; `ticksPerSecond` is over all instruments. */
export async function startFakeGateway({ dist, port = 0, ticksPerSecond = 60, seed = 7, token = null }) {
  const market = new Market(seed, Date.now());
  const clients = new Set();
  const seqs = new Map();
  const state = { epoch: "E1", mute: false, refuse: false, statuses: new Map(), requests: [], anomalies: [], opportunities: new Map(), mine: [] };
  const next = (key) => (seqs.set(key, (seqs.get(key) ?? 100) + 1), seqs.get(key));
  const keyOf = (channel, instrument, interval) => `${channel}|${instrument}|${interval ?? ""}`;
  const wants = (client, channel, instrument, interval) => [...client.subs.values()].some((sub) => sub.channel === channel && (sub.interval ?? null) === (interval ?? null) && sub.instruments.some((p) => p === instrument || new RegExp(`^${p.replaceAll("*", ".*")}$`).test(instrument)));
  const send = (client, message) => client.readyState === 1 && !state.mute && client.send(JSON.stringify(message));
  const publish = (channel, instrument, data, interval, skip = 0) => {
    const key = keyOf(channel, instrument, interval);
    for (let i = 0; i < skip; i += 1) next(key);
    const message = { op: "update", channel, instrument, ...(interval ? { interval } : {}), seq: next(key), ts_out: ns(Date.now()), data };
    const text = JSON.stringify(message);
    for (const client of clients) if (!state.mute && client.readyState === 1 && wants(client, channel, instrument, interval)) client.send(text);
  };
  const snapshot = (client, channel, item, interval) => {
    const data = channel === "trades" ? item.trades.at(-1) : channel === "quotes" ? item.quote : channel === "book" ? bookOf(item, item.tradeCount, Date.now()) : item.bars[interval]?.at(-1);
    const previous = interval && data && !data.final ? { previous: item.bars[interval].at(-2) } : {};
    if (data) send(client, { ...previous, op: "snapshot", channel, instrument: item.key, ...(interval ? { interval } : {}), seq: seqs.get(keyOf(channel, item.key, interval)) ?? 100, ts_out: ns(Date.now()), data });
  };
  const welcome = (client) => send(client, { op: "welcome", epoch: state.epoch, limits: {} });
  const onRequest = (client, request) => {
    state.requests.push(request);
    if (request.op === "auth") {
      client.known = request.token === token;
      return client.known ? welcome(client) : send(client, { op: "error", id: null, code: "bad_token", message: "the token is not valid here" });
    }
    if (request.op === "ping") return send(client, { op: "pong" });
    if (request.op === "unsubscribe") return client.subs.delete(request.id);
    if (request.op !== "subscribe") return;
    client.subs.set(request.id, request);
    send(client, { op: "subscribed", id: request.id, channel: request.channel, instruments: request.instruments });
    if (request.channel === "arbitrage") for (const [key, data] of state.opportunities) send(client, { op: "snapshot", channel: "arbitrage", instrument: key, seq: seqs.get(keyOf("arbitrage", key)) ?? 100, ts_out: ns(Date.now()), data });
    if (["arbitrage", "anomalies", "news", "status", "forecasts", "user.trades"].includes(request.channel)) return;
    for (const item of market.items) if (wants({ subs: new Map([[0, request]]) }, request.channel, item.key, request.interval)) snapshot(client, request.channel, item, request.interval);
  };
  const step = (item, size) => {
    const now = Date.now();
    const trade = market.tick(item, now, size);
    publish("trades", item.key, trade);
    publish("quotes", item.key, item.quote);
    publish("book", item.key, bookOf(item, item.tradeCount, now));
    for (const interval of Object.keys(WIDTH_S)) for (const bar of market.fold(item, interval, trade, now)) publish("bars", item.key, bar, interval);
  };
  const body = (url) => {
    const q = url.searchParams;
    const item = market.items.find((each) => each.key === q.get("instrument"));
    if (url.pathname === "/v1/instruments") return market.items.map((i) => ({ instrument: i.key, venue: i.key.split(":")[0], root: i.key.split(":")[1], commodity: i.commodity, tick_size: i.tick, currency: i.currency, quote_unit: i.unit, time_zone: i.zone }));
    if (url.pathname === "/v1/status") return [...new Set(market.items.map((i) => i.key.split(":")[0]))].map((venue) => state.statuses.get(venue) ?? { venue, instrument: null, ts_event: ns(Date.now()), quality: "LIVE", reason: "feed is live" });
    if (url.pathname === "/v1/health") return HEALTH;
    if (url.pathname === "/v1/anomalies") return state.anomalies;
    if (url.pathname === "/v1/forecast_scoreboard") return SCORES.map((row) => ({ ...row, venue: "XCEC", instrument: q.get("instrument") }));
    if (url.pathname === "/v1/arbitrage") return [];
    if (url.pathname === "/v1/books") return item === undefined ? [] : Array.from({ length: 60 }, (_, at) => bookOf(item, at, Date.now() - (60 - at) * 500));
    if (url.pathname === "/v1/news") return [{ news_id: "N1", venue: "BBG", ts_event: ns(Date.now()), ts_recv: null, headline: "Duty cut on gold", body: "To 6 %", topics: ["gold"], instruments: [market.items[0].key], urgency: 2 }];
    if (url.pathname === "/v1/trades") return item?.trades.slice(-Number(q.get("limit"))) ?? [];
    if (url.pathname === "/v1/bars") return (item?.bars[q.get("interval")] ?? []).filter((bar) => bar.final && (!q.has("to") || BigInt(bar.ts_open) <= BigInt(q.get("to")))).slice(-Number(q.get("limit")));
    return null;
  };
  const server = createServer(async (request, response) => {
    const url = new URL(request.url, "http://gateway");
    if (token !== null && url.pathname.startsWith("/v1/") && request.headers.authorization !== `Bearer ${token}`) return response.writeHead(401, { "content-type": "application/json" }).end('{"error":{"code":"not_authenticated","message":"this needs a token"}}');
    const rows = body(url);
    if (rows !== null) return response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(rows));
    const name = url.pathname === "/" ? "index.html" : normalize(url.pathname).replace(/^(\.\.[/\\])+/, "");
    try {
      const content = await readFile(join(dist, name));
      response.writeHead(200, { "content-type": TYPES[extname(name)] ?? "application/octet-stream" }).end(content);
    } catch {
      response.writeHead(404).end();
    }
  });
  const sockets = new WebSocketServer({ server, path: "/v1/stream", verifyClient: () => !state.refuse });
  sockets.on("connection", (client) => {
    client.subs = new Map();
    clients.add(client);
    client.on("close", () => clients.delete(client));
    client.on("message", (text) => onRequest(client, JSON.parse(text)));
    if (token === null) welcome(client);
  });
  const timers = [setInterval(() => clients.forEach((c) => send(c, { op: "heartbeat", ts_out: ns(Date.now()) })), 1000)];
  let owed = 0;
  const pace = { ticksPerSecond };
  timers.push(setInterval(() => {
    for (owed += pace.ticksPerSecond / 50; owed >= 1; owed -= 1) step(market.items[Math.floor(market.random() ** 1.7 * market.items.length)]);
  }, 20));
  await new Promise((done) => server.listen(port, "127.0.0.1", done));
  const itemOf = (key) => market.items.find((each) => each.key === key);
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    requests: state.requests,
    pace,
    opportunity: (local, foreign, changes) => {
      const row = opportunityOf(local, foreign, Date.now(), changes);
      state.opportunities.set(local, row);
      publish("arbitrage", local, row);
    },
    anomaly: (id, key, changes) => publish("anomalies", key, anomalyOf(id, key, Date.now(), changes)),
    forecast: (key, changes) => publish("forecasts", key, forecastOf(itemOf(key), Math.floor(Date.now() / 60_000) * 60_000, changes)),
    myTrade: (id, key, changes) => publish("user.trades", key, myTradeOf(id, key, Date.now(), changes)),
    refuse: (channel) => clients.forEach((client) => [...client.subs.values()].filter((sub) => sub.channel === channel).forEach((sub) => send(client, { op: "error", id: sub.id, code: "not_entitled", message: `your token does not grant channel ${channel}` }))),
    trade: (key, size) => step(itemOf(key), size),
    /** The next update of a stream comes after `missing` numbers nobody explains. */
    hole: (key, missing = 3) => publish("trades", key, market.tick(itemOf(key), Date.now()), undefined, missing),
    revise: (key, interval, back = 2) => {
      const bar = itemOf(key).bars[interval].filter((each) => each.final).at(-back);
      Object.assign(bar, { revision: bar.revision + 1, high: bar.high + itemOf(key).tick * 4, volume: bar.volume + 5, trades: bar.trades + 1 });
      publish("bars", key, bar, interval);
      return bar;
    },
    /** Several new bars at once, as after a resume. */
    append: (key, interval, count) => {
      const item = itemOf(key);
      for (let i = 0; i < count; i += 1) {
        const last = item.bars[interval].at(-1);
        const openMs = Number(BigInt(last.ts_open) / 1_000_000n) + WIDTH_S[interval] * 1000;
        const bar = barOf(item, interval, openMs, { open: last.close, high: last.close, low: last.close, close: last.close, volume: 1, final: true, trades: 1, revision: 0 });
        item.bars[interval].push(bar);
        publish("bars", key, bar, interval);
      }
    },
    status: (venue, instrument, quality, reason) => {
      const row = { venue, instrument, ts_event: ns(Date.now()), quality, reason };
      if (instrument === null) state.statuses.set(venue, row);
      for (const client of clients) send(client, { op: "status", ...row });
    },
    venueGap: (venue, row) => publish("status", `${venue}:*`, { kind: "gap", gap_id: "g", venue, instrument: null, channel: "md", seq_from: 11, seq_to: 26, ts_detected: ns(Date.now()), ts_resolved: null, resolution: null, recovered_rows: 0, reason: "sequence jump", ...row }),
    gap: (key) => clients.forEach((c) => send(c, { op: "gap", channel: "trades", instrument: key, from: 5, to: 9, reason: "reader too slow" })),
    drop: (refuse = false) => {
      state.refuse = refuse;
      clients.forEach((client) => client.terminate());
    },
    accept: () => (state.refuse = false),
    mute: (on) => (state.mute = on),
    close: () => {
      timers.forEach(clearInterval);
      clients.forEach((client) => client.terminate());
      server.close();
    },
  };
}
