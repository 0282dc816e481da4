/** The numbers on the tabs: what is open now, seen also while another pane is shown. */

import { setText } from "../dom";
import type { View } from "../schedule";
import type { Store } from "../store";

export class CountsView implements View {
  private readonly arbitrage = document.querySelector<HTMLElement>('[data-count="arbitrage"]');
  private readonly anomalies = document.querySelector<HTMLElement>('[data-count="anomalies"]');

  constructor(private readonly store: Store) {}

  draw(): void {
    count(this.arbitrage, this.store.board.open);
    count(this.anomalies, this.store.anomalies.open);
  }
}

function count(element: HTMLElement | null, number: number): void {
  if (element !== null) setText(element, number === 0 ? "" : String(number));
}
