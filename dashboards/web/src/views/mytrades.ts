/** The trader's own trades with the market joined: arrival price, slippage, and where the price was minutes later. */

import { byId, h, setData, setText } from "../dom";
import * as format from "../format";
import type { MyTrade } from "../mytrades";
import type { View } from "../schedule";
import type { Store } from "../store";
import { nsToMs } from "../time";
import { bindRows, KeyedRows, type Line } from "./rows";

export class MyTradesView implements View {
  private readonly panel = byId("mine");
  private readonly body = byId("mine-rows");
  private readonly empty = byId("mine-empty");
  private readonly rows: KeyedRows<MyTrade>;

  constructor(
    private readonly store: Store,
    open: (instrument: string) => void,
  ) {
    this.rows = new KeyedRows(this.body, (row) => row.eventId, () => new TradeLine(store));
    bindRows(this.body, (key) => {
      const row = store.myTrades.all.find((each) => each.eventId === key);
      if (row !== undefined) open(row.instrument);
    });
  }

  draw(): void {
    if (this.panel.hidden || !this.store.dirty.mine) return;
    this.store.dirty.mine = false;
    this.rows.draw(this.store.myTrades.all);
    this.empty.hidden = this.store.myTrades.all.length > 0;
    setText(this.empty, this.store.refusals.get("user.trades") ?? "No trade of yours yet. They appear as the trading backend reports them.");
  }
}

class TradeLine implements Line<MyTrade> {
  private readonly cells = Array.from({ length: 10 }, (_, at) => h("span", { class: at < 3 ? "num" : "num right" }));
  readonly root = h("div", { class: "line own" });

  constructor(private readonly store: Store) {
    this.root.append(...this.cells);
  }

  draw(row: MyTrade): void {
    const decimals = this.store.instruments.get(row.instrument)?.decimals ?? 2;
    const moves = [row.slippage, row.markout1m, row.markout5m, row.markout30m];
    const texts = [
      format.clock(nsToMs(row.tsEvent)),
      row.eventType,
      row.instrument,
      `${row.side === "buy" ? "+" : format.MINUS}${format.size(row.quantity)}`,
      format.price(row.price, decimals),
      format.price(row.arrivalPrice, decimals),
      ...moves.map((move) => format.signed(move, decimals)),
    ];
    for (const [at, cell] of this.cells.entries()) setText(cell, texts[at] ?? "");
    setData(this.root, "side", row.side);
    // Slippage is a cost, a mark-out a gain.
    for (const [at, move] of moves.entries()) {
      const good = move === null || move === 0 ? "" : move > 0 === (at > 0) ? "up" : "down";
      const cell = this.cells[6 + at];
      if (cell !== undefined) setData(cell, "sign", good);
    }
  }
}
