/** The arbitrage board: every pair with what it leaves, and of the chosen one each cost from gross to net. */

import { beyondUsual, COSTS, foreignOf, isOpen, localOf, netBps, totalCost, type CostName, type Ended, type Opportunity } from "../arbitrage";
import { byId, h, setData, setText, setTitle } from "../dom";
import * as format from "../format";
import type { View } from "../schedule";
import type { Store } from "../store";
import { nsToMs } from "../time";
import { bindRows, KeyedRows, select, type Line } from "./rows";

const COST_NAMES: Readonly<Record<CostName, string>> = {
  freight: "Freight, insurance",
  duty: "Customs duty",
  bank: "Bank charges",
  inland: "Inland",
  fees: "Exchange, broker",
  taxes: "CTT, stamp, GST",
  financing: "Financing",
  margin: "Margin reserve",
  fx_hedge: "FX hedge",
  slippage: "Slippage",
};

export class ArbitrageView implements View {
  private readonly panel = byId("arbitrage");
  private readonly body = byId("arbitrage-rows");
  private readonly empty = byId("arbitrage-empty");
  private readonly note = byId("arbitrage-note");
  private readonly rows: KeyedRows<Opportunity>;
  private readonly detail: Detail;
  private drawn = "";

  constructor(
    private readonly store: Store,
    open: (instrument: string) => void,
  ) {
    this.rows = new KeyedRows(this.body, keyOf, () => new OpportunityLine());
    this.detail = new Detail(byId("arbitrage-detail"), open);
    bindRows(this.body, (key) => open(key.split("/")[0] ?? key));
  }

  /** The other contract of the pair of which the selected one is a leg. */
  otherLeg(): string | null {
    const selected = this.store.selected;
    const row = selected === null ? null : this.store.board.of(selected);
    if (row === null) return null;
    return localOf(row) === selected ? foreignOf(row) : localOf(row);
  }

  draw(): void {
    this.note.hidden = this.panel.hidden;
    if (this.panel.hidden) return;
    const { board, selected, refusals } = this.store;
    const state = `${board.version}|${selected}|${refusals.get("arbitrage")}`;
    if (state === this.drawn) return;
    this.drawn = state;
    const rows = board.rows;
    this.rows.draw(rows);
    const mine = selected === null ? null : board.of(selected);
    select(this.body, mine === null ? null : keyOf(mine));
    this.detail.draw(mine ?? rows[0] ?? null, this.store);
    this.empty.hidden = rows.length > 0;
    setText(this.empty, refusals.get("arbitrage") ?? "No pair yet: both legs and USDINR must have been quoted.");
    setText(this.note, noteOf(rows, board.closed[0]));
  }
}

function keyOf(row: Opportunity): string {
  return `${localOf(row)}/${foreignOf(row)}`;
}

// Most last a second or two: what was there stays to be read.
function noteOf(rows: readonly Opportunity[], closed: Ended | undefined): string {
  if (rows.length === 0) return "";
  const [open, silent] = [rows.filter(isOpen).length, rows.filter((row) => row.state === "silent").length];
  const last = closed === undefined ? "" : ` \u00b7 last ${pairText(closed.peak)} ${money(closed.peak.netInr)} \u20b9, closed ${format.clock(nsToMs(closed.end.tsEvent))}`;
  return `${open} open, ${silent} silent of ${rows.length}${last}`;
}

/** `GOLD Z6 / GC G7` */
function pairText(row: Opportunity): string {
  return [localOf(row), foreignOf(row)].map((key) => `${key.split(":")[1] ?? key} ${format.monthCode(key)}`).join(" / ");
}

class OpportunityLine implements Line<Opportunity> {
  private readonly pair = h("span", { class: "pair" });
  private readonly side = h("span", { class: "side" });
  private readonly cells = Array.from({ length: 7 }, () => h("span", { class: "num right" }));
  private readonly reason = h("span", { class: "reason" });
  readonly root = h("div", { class: "line opportunity" });

  constructor() {
    this.root.append(this.pair, this.side, ...this.cells, this.reason);
  }

  draw(row: Opportunity): void {
    const silent = row.net === null;
    setText(this.pair, pairText(row));
    setText(this.side, silent ? "" : row.buyForeign ? "abroad" : "India");
    setData(this.root, "state", isOpen(row) ? "open" : row.state);
    const beyond = beyondUsual(row);
    const decimals = decimalsFor(row);
    const texts = [
      format.signed(row.gross, decimals),
      format.signed(totalCost(row), decimals),
      format.signed(row.net, decimals),
      format.signed(netBps(row), 1),
      format.signed(beyond, decimals),
      row.size === null || row.size === 0 ? format.NONE : format.size(row.size),
      row.size ? money(row.netInr) : format.NONE,
    ];
    for (const [at, cell] of this.cells.entries()) setText(cell, silent ? "" : (texts[at] ?? ""));
    for (const [at, value] of [[2, row.net], [3, row.net], [4, beyond]] as const) {
      const cell = this.cells[at];
      if (cell !== undefined) setData(cell, "sign", value !== null && value > 0 ? "up" : "");
    }
    setText(this.reason, silent ? row.reason : "");
    setTitle(this.root, [keyOf(row), row.reason].filter(Boolean).join(": "));
  }
}

/** The chosen pair: both legs, the rate, gross, each cost as a bar, net, and how old everything is. */
class Detail {
  private readonly title = h("h2");
  private readonly legs = [h("button", { type: "button", class: "leg" }), h("button", { type: "button", class: "leg" })];
  private readonly costs = new Map(COSTS.map((name) => [name, new Bar(COST_NAMES[name])]));
  private readonly gross = new Bar("Gross");
  private readonly net = new Bar("Net");
  private readonly facts = h("dl", { class: "facts" });
  private readonly reason = h("p", { class: "reason" });
  private readonly values = new Map<string, HTMLElement>();

  constructor(
    private readonly root: HTMLElement,
    open: (instrument: string) => void,
  ) {
    for (const leg of this.legs) leg.addEventListener("click", () => open(leg.dataset["instrument"] ?? ""));
    this.gross.root.classList.add("sum");
    this.net.root.classList.add("sum");
    const bars = h("div", { class: "bars" }, this.gross.root, ...[...this.costs.values()].map((bar) => bar.root), this.net.root);
    for (const [name, label] of FACTS) {
      const value = h("dd", { class: "num" });
      this.values.set(name, value);
      this.facts.append(h("dt", {}, label), value);
    }
    root.append(h("div", { class: "ladder" }, this.title, bars), h("div", { class: "sides" }, ...this.legs, this.reason, this.facts));
  }

  draw(row: Opportunity | null, store: Store): void {
    this.root.hidden = row === null;
    if (row === null) return;
    const decimals = decimalsFor(row);
    setText(this.title, `${pairText(row)} \u00b7 ${row.currency} / ${row.unit.replaceAll("_", " ")}`);
    this.drawLeg(0, "Buy", row.buyInstrument, row.buyPrice, row.buyAgeMs, store);
    this.drawLeg(1, "Sell", row.sellInstrument, row.sellPrice, row.sellAgeMs, store);
    const widest = Math.max(1e-9, Math.abs(row.gross ?? 0), Math.abs(row.net ?? 0), ...COSTS.map((name) => Math.abs(row.costs[name] ?? 0)));
    this.gross.draw(row.gross, widest, decimals);
    for (const [name, bar] of this.costs) bar.draw(row.costs[name] === null ? null : -(row.costs[name] ?? 0), widest, decimals);
    this.net.draw(row.net, widest, decimals);
    setText(this.reason, stateText(row));
    setData(this.reason, "state", isOpen(row) ? "open" : row.state);
    this.drawFacts(row);
  }

  private drawLeg(at: number, word: string, instrument: string, price: number | null, ageMs: number | null, store: Store): void {
    const leg = this.legs[at];
    if (leg === undefined) return;
    const decimals = store.instruments.get(instrument)?.decimals ?? 2;
    setData(leg, "instrument", instrument);
    setText(leg, `${word} ${price === null ? "" : `${format.price(price, decimals)} `}${instrument} \u00b7 ${ageMs === null ? format.NONE : format.age(ageMs)}`);
  }

  private drawFacts(row: Opportunity): void {
    const lots = (value: number | null): string => (value === null ? format.NONE : format.size(value));
    const texts: Readonly<Record<string, string>> = {
      fx: `${format.price(row.fxPrice, 4)} \u00b7 ${row.fxAgeMs === null ? format.NONE : format.age(row.fxAgeMs)}`,
      skew: row.skewMs === null ? format.NONE : format.latency(Math.abs(row.skewMs)),
      size: row.size === null ? format.NONE : row.size === 0 ? "too few at these prices" : `${lots(row.size)} with ${lots(row.foreignSize)} abroad`,
      inr: row.size ? `\u20b9 ${format.signed(row.netInr, 0)}` : format.NONE,
      usd: row.size ? `$ ${format.signed(row.netUsd, 0)}` : format.NONE,
      basis: format.signed(row.basis, 2),
      level: format.signed(row.level, 2),
      beyond: format.signed(beyondUsual(row), 2),
      assumed: row.assumed.length === 0 ? "nothing" : `${row.assumed.length} rates`,
    };
    for (const [name, element] of this.values) setText(element, texts[name] ?? "");
    const assumed = this.values.get("assumed");
    if (assumed !== undefined) setTitle(assumed, row.assumed.join(", "));
  }
}

const FACTS = [
  ["fx", "USDINR"],
  ["size", "Lots"],
  ["inr", "Net, all lots"],
  ["usd", "in dollars"],
  ["basis", "Basis"],
  ["level", "usually"],
  ["beyond", "Net beyond that"],
  ["skew", "Skew of stamps"],
  ["assumed", "Assumed"],
] as const;

function stateText(row: Opportunity): string {
  switch (row.state) {
    case "open":
    case "update":
      return "OPEN: profitable after all costs";
    case "silent":
      return `SILENT: ${row.reason}`;
    case "close":
      return `CLOSED: ${row.reason}`;
    default:
      if (row.reason !== "") return `Watched: ${row.reason}`;
      return (row.net ?? 0) <= 0 ? "Watched: no profit after costs" : "Watched: no more than there always is";
  }
}

class Bar {
  private readonly value = h("span", { class: "num right" });
  private readonly bar = h("i");
  readonly root: HTMLElement;

  constructor(name: string) {
    this.root = h("div", { class: "bar" }, h("span", { class: "key" }, name), h("span", { class: "track" }, this.bar), this.value);
  }

  draw(value: number | null, widest: number, decimals: number): void {
    setText(this.value, value === null ? format.NONE : format.signed(value, decimals));
    setData(this.root, "sign", value === null || value === 0 ? "" : value > 0 ? "up" : "down");
    const width = `${((100 * Math.abs(value ?? 0)) / widest).toFixed(1)}%`;
    if (this.bar.style.width !== width) this.bar.style.width = width;
  }
}

// Of a price of five digits nobody reads the hundredths.
function decimalsFor(row: Opportunity): number {
  const price = Math.abs((row.buyForeign ? row.sellPrice : row.buyPrice) ?? 1000);
  return price >= 10_000 ? 0 : price >= 1_000 ? 1 : 2;
}

function money(value: number | null): string {
  if (value === null) return format.NONE;
  const sign = value < 0 ? format.MINUS : "+";
  return `${sign}${format.size(Math.round(Math.abs(value)))}`;
}
