/**
 * The panes under the chart: two slots side by side, one pane of each shown. On a phone one pane fills the screen, chosen in
 * the bar at the bottom; the list, the chart and the book are panes there, too.
 */

import { byId, h } from "../dom";

export type PaneId = "arbitrage" | "sectors" | "forecasts" | "mine" | "anomalies" | "health" | "ledger";
export type ScreenId = PaneId | "list" | "chart" | "book";

const LEFT: readonly PaneId[] = ["arbitrage", "sectors", "forecasts", "mine"];
const RIGHT: readonly PaneId[] = ["anomalies", "health", "ledger"];
const TABS: Readonly<Record<PaneId, string>> = {
  arbitrage: "tab-arbitrage",
  sectors: "tab-sectors",
  forecasts: "tab-forecasts",
  mine: "tab-mine",
  anomalies: "tab-anomalies",
  health: "tab-health",
  ledger: "ledger-button",
};
const SCREENS: readonly (readonly [ScreenId, string])[] = [
  ["list", "Markets"],
  ["chart", "Chart"],
  ["book", "Book"],
  ["arbitrage", "Arbitrage"],
  ["anomalies", "Anomalies"],
  ["sectors", "Sectors"],
  ["forecasts", "Forecasts"],
  ["mine", "My trades"],
  ["health", "Feeds"],
  ["ledger", "Events"],
];

export class Dock {
  private readonly screens = new Map<ScreenId, HTMLElement>();

  constructor(private readonly shown: (pane: PaneId) => void) {
    for (const pane of [...LEFT, ...RIGHT]) byId(TABS[pane]).addEventListener("click", () => this.show(pane));
    for (const [screen, name] of SCREENS) {
      const button = h("button", { type: "button", "data-screen": screen }, name);
      button.addEventListener("click", () => this.screen(screen));
      this.screens.set(screen, button);
      byId("panes").append(button);
    }
    this.show("arbitrage");
    this.show("anomalies");
    this.screen("list");
  }

  /** Show a pane in its slot, and on a phone alone. */
  show(pane: PaneId): void {
    for (const each of LEFT.includes(pane) ? LEFT : RIGHT) {
      byId(each).hidden = each !== pane;
      byId(TABS[each]).setAttribute("aria-selected", String(each === pane));
      byId(TABS[each]).tabIndex = each === pane ? 0 : -1;
    }
    this.mark(pane);
    this.shown(pane);
  }

  isShown(pane: PaneId): boolean {
    return !byId(pane).hidden;
  }

  /** On a phone, what fills the screen; a desk shows everything at once. */
  screen(screen: ScreenId): void {
    const pane = [...LEFT, ...RIGHT].find((each) => each === screen);
    if (pane === undefined) this.mark(screen);
    else this.show(pane);
  }

  /** Put the focus into a pane, so that arrows move in it. */
  enter(pane: PaneId): void {
    this.show(pane);
    byId(pane).querySelector<HTMLElement>('[tabindex="0"], button')?.focus({ preventScroll: true });
  }

  private mark(screen: ScreenId): void {
    document.body.dataset["screen"] = screen;
    for (const [each, button] of this.screens) {
      button.setAttribute("aria-pressed", String(each === screen));
      if (each === screen) button.scrollIntoView({ block: "nearest", inline: "nearest" });
    }
  }
}
