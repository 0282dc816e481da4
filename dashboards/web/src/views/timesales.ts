/** Time and sales: the newest trade on top. Only new rows are made; the oldest are taken off the end. */

import { byId, h, setText } from "../dom";
import * as format from "../format";
import type { View } from "../schedule";
import type { Store } from "../store";
import { TAPE_ROWS, type Tape, type TapeRow } from "../tape";

export class TimeSalesView implements View {
  private readonly body = byId("tape");
  private readonly empty = byId("tape-empty");
  private drawnTape: Tape | null = null;
  private drawnGeneration = -1;
  private drawnNumber = -1;
  private drawnDecimals = -1;

  constructor(private readonly store: Store) {}

  draw(): void {
    const { tape, dirty } = this.store;
    const decimals = this.store.current?.decimals ?? 2;
    if (!dirty.tape && decimals === this.drawnDecimals) return;
    dirty.tape = false;
    if (tape !== this.drawnTape || tape.generation !== this.drawnGeneration || decimals !== this.drawnDecimals) {
      this.body.replaceChildren();
      this.drawnNumber = -1;
    }
    [this.drawnTape, this.drawnGeneration, this.drawnDecimals] = [tape, tape.generation, decimals];
    this.addNew(tape, decimals);
    this.empty.hidden = tape.all.length > 0;
    setText(this.empty, this.store.selected === null ? "Choose an instrument." : "Waiting for the first trade\u2026");
  }

  private addNew(tape: Tape, decimals: number): void {
    const fresh = tape.all.filter((row) => row.number > this.drawnNumber).slice(-TAPE_ROWS);
    if (fresh.length === 0) return;
    const fragment = document.createDocumentFragment();
    for (const row of fresh.reverse()) fragment.append(tapeRow(row, decimals));
    this.body.prepend(fragment);
    while (this.body.childElementCount > TAPE_ROWS) this.body.lastElementChild?.remove();
    this.drawnNumber = tape.all.at(-1)?.number ?? -1;
  }
}

function tapeRow(row: TapeRow, decimals: number): HTMLElement {
  const { trade, large, late } = row;
  const stamp = format.stamp(trade.tsEvent);
  const time = h("span", { class: "num time" }, stamp.slice(0, 8), h("i", {}, stamp.slice(8)));
  const price = h("span", { class: "num price" }, format.price(trade.price, decimals));
  const size = h("span", { class: "num size" }, format.size(trade.size));
  const side = h("span", { class: "side" }, trade.side === "buy" ? "\u25b2" : trade.side === "sell" ? "\u25bc" : "");
  const element = h("div", { class: "print", role: "listitem", "data-side": trade.side ?? "" }, time, side, price, size);
  if (large) element.dataset["large"] = "yes";
  if (late) {
    element.dataset["late"] = "yes";
    element.title = "arrived out of order";
  }
  return element;
}
