/** The feed of anomalies: what, how odd, who saw it too, and whether it goes on. */

import type { Anomaly } from "../anomalies";
import { byId, h, setData, setText, setTitle } from "../dom";
import * as format from "../format";
import { isObject, type Json } from "../json";
import type { View } from "../schedule";
import type { Store } from "../store";
import { elapsedMs, nsToMs } from "../time";
import { bindRows, KeyedRows, select, type Line } from "./rows";

export const WITNESS: Readonly<Record<string, string>> = {
  bad_tick: "bad tick",
  real_move: "real move",
  fx_move: "FX move",
  policy_step: "policy step",
  unconfirmed: "unconfirmed",
};
const WITNESS_MEANS: Readonly<Record<string, string>> = {
  bad_tick: "other venues of the same commodity looked on and did not move: this price is likely wrong",
  real_move: "another venue moved with it: the market moved",
  fx_move: "the rupee moved: the metal did not",
  policy_step: "nobody abroad moved, and it stayed or went to the limit: as when a duty changes",
  unconfirmed: "nobody else looked on, or what they say is between",
};

const PEERS_SHOWN = 4;

export class AnomaliesView implements View {
  private readonly panel = byId("anomalies");
  private readonly body = byId("anomaly-rows");
  private readonly empty = byId("anomalies-empty");
  private readonly rows: KeyedRows<Anomaly>;
  private only = false;
  private chosen: string | null = null;
  private drawnFor: string | null = null;

  constructor(
    private readonly store: Store,
    nowMs: () => number,
    open: (instrument: string) => void,
  ) {
    this.rows = new KeyedRows(this.body, (row) => row.id, () => new AnomalyLine(store, nowMs));
    bindRows(this.body, (key) => {
      this.chosen = this.chosen === key ? null : key;
      const row = store.anomalies.all.find((each) => each.id === key);
      if (row !== undefined) open(row.instrument);
      store.dirty.anomalies = true;
    });
  }

  /** Show all, or those of the selected commodity. */
  toggleOnly(): boolean {
    this.only = !this.only;
    this.store.dirty.anomalies = true;
    return this.only;
  }

  draw(): void {
    const { dirty, selected } = this.store;
    if (this.panel.hidden) return;
    // An open one says how long it goes on.
    if (!dirty.anomalies && this.drawnFor === selected && this.store.anomalies.open === 0) return;
    dirty.anomalies = false;
    this.drawnFor = selected;
    const shown = this.shown();
    this.rows.draw(shown);
    select(this.body, this.chosen);
    this.empty.hidden = shown.length > 0;
    const refused = this.store.refusals.get("anomalies");
    setText(this.empty, refused ?? (this.only ? "Nothing odd in this commodity. Press I to see all." : "Nothing odd so far. Each detector first learns what is usual: give it half a minute."));
  }

  private shown(): readonly Anomaly[] {
    const all = this.store.anomalies.all;
    const commodity = this.store.current?.meta.commodity;
    if (!this.only || commodity === undefined) return all;
    return all.filter((row) => this.store.instruments.get(row.instrument)?.meta.commodity === commodity);
  }
}

class AnomalyLine implements Line<Anomaly> {
  private readonly time = h("span", { class: "num time" });
  private readonly severity = h("span", { class: "severity", "aria-hidden": "true" });
  private readonly kind = h("b", { class: "kind" });
  private readonly instrument = h("span", { class: "subject" });
  private readonly witness = h("span", { class: "chip" });
  private readonly lasts = h("span", { class: "num lasts" });
  private readonly numbers = h("span", { class: "num numbers" });
  private readonly evidence = h("span", { class: "evidence" });
  readonly root = h("div", { class: "anomaly" });

  constructor(
    private readonly store: Store,
    private readonly nowMs: () => number,
  ) {
    this.root.append(this.time, this.severity, this.kind, this.instrument, this.witness, this.lasts, h("div", { class: "more" }, this.numbers, this.evidence));
  }

  draw(row: Anomaly): void {
    const decimals = this.store.instruments.get(row.instrument)?.decimals ?? 2;
    setText(this.time, format.clock(nsToMs(row.tsEvent)));
    setData(this.root, "severity", row.severity);
    setData(this.root, "open", row.tsEnd === null ? "yes" : "no");
    setText(this.kind, row.kind.replaceAll("_", " "));
    setText(this.instrument, row.instrument);
    setText(this.witness, WITNESS[row.witness] ?? row.witness);
    setData(this.witness, "witness", row.witness);
    setTitle(this.witness, WITNESS_MEANS[row.witness] ?? "");
    setText(this.lasts, this.lastsText(row));
    setText(this.numbers, numbersText(row, decimals));
    setText(this.evidence, evidenceText(row));
    setTitle(this.root, `${row.severity} \u00b7 ${row.kind} \u00b7 ${evidenceText(row)}`);
  }

  private lastsText(row: Anomaly): string {
    if (row.tsEnd !== null) return `ended, ${format.age(elapsedMs(row.tsEvent, row.tsEnd))}`;
    const now = this.store.clock.read(this.nowMs());
    return now === null ? "open" : `open ${format.age(now - nsToMs(row.tsEvent))}`;
  }
}

// Lots and seconds have no tick: only a price has the instrument's decimals.
function numbersText(row: Anomaly, decimals: number): string {
  const unit = row.kind === "volume_surge" ? " lots" : row.kind === "stale_feed" ? " s" : "";
  const show = (value: number | null): string => (unit === "" ? format.price(value, decimals) : format.size(value));
  const against = row.expected === null ? "" : ` vs ${show(row.expected)}`;
  return `${show(row.value)}${against}${unit} \u00b7 \u00d7${row.score.toFixed(1)}`;
}

/** What was found, in words: `move 150.1 bp, deviations 40; meanwhile XIMC:GOLD:202612 +0.1 bp`. */
export function evidenceText(row: Anomaly): string {
  const { witness, ...found } = row.detail;
  const own = Object.entries(found).map(([name, value]) => (name === "ended" ? `ended: ${shown(value)}` : measured(name, value)));
  return [own.join(", "), isObject(witness) ? othersText(witness) : ""].filter(Boolean).join("; ");
}

// `move_bps` 150.1 is `move 150.1 bp`.
function measured(name: string, value: unknown): string {
  const unit = name.endsWith("_bps") ? " bp" : "";
  return `${name.replace(/_bps$/, "").replaceAll("_", " ")} ${shown(value)}${unit}`;
}

// Of the others that move most first: they are what the witness rests on.
function othersText(witness: Json): string {
  const peers = (Array.isArray(witness["peers"]) ? witness["peers"] : []).filter(isObject);
  const moved = peers.map((peer) => [String(peer["instrument"]), Number(peer["bps"])] as const).sort(([, a], [, b]) => Math.abs(b) - Math.abs(a));
  const too = Array.isArray(witness["too"]) && witness["too"].length > 0 ? `there too: ${witness["too"].map(shown).join(" ")}` : "";
  const seen = moved.slice(0, PEERS_SHOWN).map(([key, bps]) => `${key} ${format.signed(bps, 1)} bp`);
  return [seen.length === 0 ? "" : `meanwhile ${seen.join(", ")}${moved.length > PEERS_SHOWN ? ` and ${moved.length - PEERS_SHOWN} more` : ""}`, too].filter(Boolean).join("; ");
}

function shown(value: unknown): string {
  if (Array.isArray(value)) return value.map(shown).join(" ");
  if (typeof value === "object" && value !== null) return Object.entries(value).map(([name, each]) => `${name} ${shown(each)}`).join(" ");
  return typeof value === "number" ? String(Number(value.toFixed(3))) : String(value);
}
