/** Top of book and the session's numbers of the selected instrument. */

import { byId, setData, setText } from "../dom";
import * as format from "../format";
import type { InstrumentState } from "../instrument";
import type { View } from "../schedule";
import type { Store } from "../store";
import { nsToMs } from "../time";

export class BookView implements View {
  private readonly root = byId("book");

  constructor(
    private readonly store: Store,
    private readonly nowMs: () => number,
  ) {}

  draw(): void {
    const state = this.store.current;
    this.drawQuote(state);
    this.drawSession(state);
  }

  private drawQuote(state: InstrumentState | null): void {
    const quote = state?.quote ?? null;
    const decimals = state?.decimals ?? 2;
    const [bid, ask] = [quote?.bidPrice ?? null, quote?.askPrice ?? null];
    this.set("bid", format.price(bid, decimals));
    this.set("ask", format.price(ask, decimals));
    this.set("bid-size", format.size(quote?.bidSize));
    this.set("ask-size", format.size(quote?.askSize));
    const spread = bid === null || ask === null ? null : ask - bid;
    this.set("spread", this.spreadText(spread, decimals, state?.meta.tickSize ?? null));
    this.set("mid", format.price(bid === null || ask === null ? null : (bid + ask) / 2, decimals + 1));
    this.set("age", this.ageText(state));
    const [bidSize, askSize] = [quote?.bidSize ?? 0, quote?.askSize ?? 0];
    const share = bidSize + askSize === 0 ? 0.5 : bidSize / (bidSize + askSize);
    this.root.style.setProperty("--bid-share", share.toFixed(3));
    setData(this.root, "quality", state === null ? "LIVE" : this.store.feedOf(state).quality);
  }

  private spreadText(spread: number | null, decimals: number, tick: number | null): string {
    if (spread === null) return format.NONE;
    const text = format.price(spread, decimals);
    const state = spread < 0 ? " crossed" : spread === 0 ? " locked" : "";
    return tick === null ? text + state : `${text} (${Math.round(spread / tick)} t)${state}`;
  }

  // Against the gateway's clock, so it also says how old the number is when the feed is silent.
  private ageText(state: InstrumentState | null): string {
    const clockMs = this.store.clock.read(this.nowMs());
    if (state?.quote == null || clockMs === null) return format.NONE;
    return format.age(clockMs - nsToMs(state.quote.tsEvent));
  }

  private drawSession(state: InstrumentState | null): void {
    const day = state?.day ?? null;
    const decimals = state?.decimals ?? 2;
    this.set("day-open", format.price(day?.open, decimals));
    this.set("day-high", format.price(day?.high, decimals));
    this.set("day-low", format.price(day?.low, decimals));
    this.set("day-vwap", format.price(day?.vwap, decimals));
    this.set("day-volume", format.size(day?.volume));
    this.set("day-trades", day === null ? format.NONE : format.count(day.trades));
  }

  private set(name: string, text: string): void {
    const element = this.root.querySelector<HTMLElement>(`[data-value="${name}"]`);
    if (element !== null) setText(element, text);
  }
}
