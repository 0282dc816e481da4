/** The instrument list: grouped, filtered, one row selected; only rows whose numbers changed are drawn. */

import { byId, h, setText } from "../dom";
import type { InstrumentState } from "../instrument";
import type { View } from "../schedule";
import type { Store } from "../store";
import { Row, rowId } from "./row";

export type Grouping = "commodity" | "venue";

export class ListView implements View {
  private readonly body = byId("list");
  private readonly filter = byId("filter") as HTMLInputElement;
  private readonly empty = byId("list-empty");
  private readonly rows = new Map<string, Row>();
  private order: string[] = [];
  private drawnSelected: string | null = null;
  private grouping: Grouping = "commodity";

  constructor(
    private readonly store: Store,
    private readonly choose: (instrument: string, opened: boolean) => void,
  ) {
    this.body.addEventListener("click", (event) => this.clicked(event));
    this.filter.addEventListener("input", () => (this.store.dirty.list = true));
  }

  draw(): void {
    const { dirty, selected } = this.store;
    if (dirty.list) this.rebuild();
    for (const key of dirty.rows) this.drawRow(key);
    dirty.rows.clear();
    dirty.list = false;
    if (selected !== this.drawnSelected) this.drawSelection(selected);
  }

  /** Select the row `step` places on; stops at the ends. */
  move(step: number): void {
    const at = this.store.selected === null ? -1 : this.order.indexOf(this.store.selected);
    const next = this.order[Math.min(this.order.length - 1, Math.max(0, at + step))];
    if (next !== undefined && next !== this.store.selected) this.choose(next, false);
  }

  focusFilter(): void {
    this.filter.focus();
    this.filter.select();
  }

  clearFilter(): void {
    this.filter.value = "";
    this.store.dirty.list = true;
    this.body.focus();
  }

  toggleGrouping(): Grouping {
    this.grouping = this.grouping === "commodity" ? "venue" : "commodity";
    this.store.dirty.list = true;
    return this.grouping;
  }

  private rebuild(): void {
    const shown = [...this.store.instruments.values()].filter((state) => matches(state, this.filter.value));
    const groups = groupBy(shown, (state) => state.meta[this.grouping]);
    this.order = [];
    const children = [...groups].map(([name, states]) => this.group(name, states));
    this.body.replaceChildren(...children);
    this.drawnSelected = null;
    this.drawEmpty(shown.length);
  }

  private group(name: string, states: readonly InstrumentState[]): HTMLElement {
    const element = h("div", { class: "group", role: "group", "aria-label": name });
    element.append(h("div", { class: "group-name", "aria-hidden": "true" }, name, h("span", {}, String(states.length))));
    for (const state of states) {
      const key = state.meta.instrument;
      this.order.push(key);
      element.append(this.row(state).element);
      this.store.dirty.rows.add(key);
    }
    return element;
  }

  private row(state: InstrumentState): Row {
    const held = this.rows.get(state.meta.instrument);
    if (held?.shows(state)) return held;
    const row = new Row(state);
    this.rows.set(state.meta.instrument, row);
    return row;
  }

  private drawRow(key: string): void {
    const row = this.rows.get(key);
    if (row === undefined) return;
    const odd = this.store.anomalies.openOf(key)?.kind ?? "";
    row.draw(this.store.feedOf(row.instrument), odd.replaceAll("_", " "));
  }

  private drawSelection(selected: string | null): void {
    this.body.querySelector('[aria-selected="true"]')?.setAttribute("aria-selected", "false");
    const element = selected === null ? null : document.getElementById(rowId(selected));
    element?.setAttribute("aria-selected", "true");
    element?.scrollIntoView({ block: "nearest" });
    if (selected !== null) this.body.setAttribute("aria-activedescendant", rowId(selected));
    this.drawnSelected = selected;
  }

  private drawEmpty(shown: number): void {
    this.empty.hidden = shown > 0;
    const filter = this.filter.value;
    if (filter !== "") setText(this.empty, `Nothing matches \u201c${filter}\u201d. Press Esc to clear the filter.`);
    else setText(this.empty, "No instruments yet. They appear as soon as the gateway names them or a venue sends a price.");
  }

  private clicked(event: Event): void {
    const row = (event.target as Element).closest<HTMLElement>(".row");
    if (row?.dataset["key"] !== undefined) this.choose(row.dataset["key"], true);
  }
}

/** Every word of the filter must occur in the key, the commodity or the unit. */
export function matches(state: InstrumentState, filter: string): boolean {
  const { instrument, commodity, unit } = state.meta;
  const text = `${instrument} ${commodity} ${unit}`.toLowerCase();
  return filter.toLowerCase().split(/\s+/).every((word) => text.includes(word));
}

function groupBy(
  states: readonly InstrumentState[],
  name: (state: InstrumentState) => string,
): Map<string, InstrumentState[]> {
  const groups = new Map<string, InstrumentState[]>();
  const sorted = [...states].sort((a, b) => compare(name(a), name(b)) || compare(place(a), place(b)));
  for (const state of sorted) groups.set(name(state), [...(groups.get(name(state)) ?? []), state]);
  return groups;
}

// An exchange (its MIC has four letters) before a vendor of its prices, who tells the top of the book only: what the
// page opens with has depth.
function place(state: InstrumentState): string {
  const { venue, instrument } = state.meta;
  return `${venue.length === 4 ? 0 : 1} ${instrument}`;
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
