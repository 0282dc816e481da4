/** The heat map of returns: a tile for each instrument, by sector and commodity; the stronger the further it has come. */

import { byId, h, setData, setText, setTitle } from "../dom";
import * as format from "../format";
import type { InstrumentState } from "../instrument";
import type { View } from "../schedule";
import { returnOf, sectorsOf, SPANS, type Span } from "../sectors";
import type { Store } from "../store";

const FULL: Readonly<Record<Span, number>> = { "5m": 0.003, "15m": 0.005, "1h": 0.01, session: 0.02 }; // return at full colour

export class SectorsView implements View {
  private readonly panel = byId("sectors");
  private readonly spans = byId("spans");
  private readonly tiles = new Map<string, HTMLElement>();
  private span: Span = "session";
  private drawnShape = "";

  constructor(
    private readonly store: Store,
    private readonly open: (instrument: string) => void,
  ) {
    for (const span of SPANS) {
      const button = h("button", { type: "button", "data-span": span, "aria-pressed": String(span === this.span) }, span);
      button.addEventListener("click", () => this.choose(span));
      this.spans.append(button);
    }
    this.panel.addEventListener("click", (event) => {
      const key = (event.target as Element).closest<HTMLElement>(".tile")?.dataset["key"];
      if (key !== undefined) this.open(key);
    });
  }

  private choose(span: Span): void {
    this.span = span;
    for (const button of this.spans.children) button.setAttribute("aria-pressed", String((button as HTMLElement).dataset["span"] === span));
  }

  draw(): void {
    this.spans.hidden = this.panel.hidden;
    if (this.panel.hidden) return;
    const states = [...this.store.instruments.values()];
    const shape = states.map((state) => `${state.meta.instrument}${state.meta.commodity}`).join();
    if (shape !== this.drawnShape) this.build(states, shape);
    for (const state of states) this.drawTile(state);
  }

  private build(states: readonly InstrumentState[], shape: string): void {
    this.drawnShape = shape;
    this.tiles.clear();
    const groups = sectorsOf(states).map((sector) =>
      h("div", { class: "sector" }, h("h2", {}, sector.name), h("div", { class: "commodities" }, ...sector.commodities.map((commodity) => this.commodity(commodity.name, commodity.states)))),
    );
    this.panel.replaceChildren(h("div", { class: "sectors" }, ...groups));
  }

  private commodity(name: string, states: readonly InstrumentState[]): HTMLElement {
    return h("div", { class: "commodity" }, h("span", { class: "key" }, name), h("div", { class: "tiles" }, ...states.map((state) => this.tile(state))));
  }

  private tile(state: InstrumentState): HTMLElement {
    const key = state.meta.instrument;
    const tile = h("button", { type: "button", class: "tile", "data-key": key }, h("span", {}, `${state.meta.root} ${format.monthCode(key)} `, h("i", {}, state.meta.venue)), h("b", { class: "num" }));
    this.tiles.set(key, tile);
    return tile;
  }

  private drawTile(state: InstrumentState): void {
    const tile = this.tiles.get(state.meta.instrument);
    if (tile === undefined) return;
    const share = returnOf(state, this.span);
    const strength = share === null ? 0 : Math.min(1, Math.abs(share) / FULL[this.span]);
    const quality = this.store.feedOf(state).quality;
    setText(tile.querySelector("b") as HTMLElement, share === null ? format.NONE : format.percent(100 * share));
    setData(tile, "sign", share === null || share === 0 ? "" : share > 0 ? "up" : "down");
    setData(tile, "quality", quality);
    setData(tile, "selected", state.meta.instrument === this.store.selected ? "yes" : "");
    const text = `${(12 + 62 * strength).toFixed(0)}%`;
    if (tile.style.getPropertyValue("--strength") !== text) tile.style.setProperty("--strength", text);
    setTitle(tile, `${state.meta.instrument}, last ${format.price(state.last, state.decimals)}, ${quality}`);
  }
}
