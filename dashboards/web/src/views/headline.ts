/** The selected instrument's name, last price, change and feed state, over the chart; also the window's title. */

import { byId, setData, setShape, setText, setTitle } from "../dom";
import * as format from "../format";
import type { InstrumentState } from "../instrument";
import { MEANING } from "../quality";
import type { View } from "../schedule";
import type { Feed, Store } from "../store";

export class HeadlineView implements View {
  private readonly root = byId("headline");
  private readonly name = byId("headline-name");
  private readonly key = byId("headline-key");
  private readonly last = byId("headline-last");
  private readonly change = byId("headline-change");
  private readonly mark = byId("headline-mark");
  private readonly state = byId("headline-state");

  constructor(private readonly store: Store) {}

  draw(): void {
    const state = this.store.current;
    if (state === null) return this.drawNothing();
    const feed = this.store.feedOf(state);
    const { root, instrument, name, unit } = state.meta;
    setText(this.name, `${root} ${format.delivery(instrument)}`);
    setText(this.key, [name, instrument, unit].filter(Boolean).join(" \u00b7 "));
    this.drawPrice(state);
    this.drawFeed(feed);
  }

  /** `4,075.30 GC Dec 26 - Mandi`; a price that is not live says so first. */
  title(): string {
    const state = this.store.current;
    if (state === null || state.last === null) return "Mandi";
    const { quality } = this.store.feedOf(state);
    const arrow = state.direction > 0 ? "\u25b2" : state.direction < 0 ? "\u25bc" : "";
    const prefix = quality === "LIVE" ? arrow : `[${quality}]`;
    const name = `${state.meta.root} ${format.delivery(state.meta.instrument)}`;
    return `${prefix} ${format.price(state.last, state.decimals)} ${name} \u00b7 Mandi`.trim();
  }

  private drawPrice(state: InstrumentState): void {
    const { last, decimals, direction, reference } = state;
    setText(this.last, format.price(last, decimals));
    setData(this.last, "direction", direction > 0 ? "up" : direction < 0 ? "down" : "");
    const moved = last === null || reference === null ? null : last - reference.price;
    const share = moved === null || reference === null || reference.price === 0 ? null : (100 * moved) / Math.abs(reference.price);
    setText(this.change, moved === null ? "" : `${format.signed(moved, decimals)}  ${format.percent(share)}`);
    setData(this.change, "sign", moved === null || moved === 0 ? "" : moved > 0 ? "up" : "down");
    if (reference !== null) setTitle(this.change, `since ${reference.label}`);
  }

  private drawFeed(feed: Feed): void {
    setShape(this.mark, feed.quality);
    setData(this.root, "quality", feed.quality);
    setText(this.state, feed.quality);
    setTitle(this.state, feed.reason || MEANING[feed.quality]);
  }

  private drawNothing(): void {
    setText(this.name, "No instrument chosen");
    for (const element of [this.key, this.last, this.change, this.state]) setText(element, "");
  }
}
