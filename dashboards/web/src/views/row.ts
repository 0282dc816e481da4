/** One instrument's row in the list: two lines, every number in its own column. */

import { h, setData, setShape, setText, setTitle } from "../dom";
import * as format from "../format";
import type { InstrumentState } from "../instrument";
import type { Instrument } from "../protocol";
import { MEANING } from "../quality";
import type { Feed } from "../store";
import { Sparkline } from "./sparkline";

export class Row {
  readonly element: HTMLElement;
  private readonly mark = h("span", { class: "mark" });
  private readonly last = h("span", { class: "last num" });
  private readonly change = h("span", { class: "change num" });
  private readonly state = h("span", { class: "badge" });
  private readonly alert = h("span", { class: "alert" });
  private readonly bid = h("span", { class: "num bid" });
  private readonly bidSize = h("span", { class: "num qty" });
  private readonly ask = h("span", { class: "num ask" });
  private readonly askSize = h("span", { class: "num qty" });
  private readonly spread = h("span", { class: "num spread" });
  private readonly spark = new Sparkline();
  private drawnTicks = -1;

  private readonly meta: Instrument;

  constructor(readonly instrument: InstrumentState) {
    this.meta = instrument.meta;
    const { instrument: key, venue, root, name: title, unit } = instrument.meta;
    const name = h("span", { class: "name" }, h("b", {}, root), ` ${format.delivery(key)}`);
    const where = h("span", { class: "where" }, venue, this.state, this.alert);
    const quote = h("span", { class: "quote" });
    quote.append(this.bidSize, this.bid, h("i", {}, "\u00d7"), this.ask, this.askSize);
    this.element = h(
      "div",
      { class: "row", role: "option", id: rowId(key), "data-key": key, "aria-selected": "false" },
      this.mark,
      name,
      this.spark.element,
      this.last,
      this.change,
      where,
      quote,
      this.spread,
    );
    this.element.title = [key, title, unit].filter(Boolean).join(" \u00b7 ");
  }

  /** A row is made for good; one whose instrument has been described anew is made again. */
  shows(instrument: InstrumentState): boolean {
    return this.instrument === instrument && this.meta === instrument.meta;
  }

  /** `alert` is what is odd about it now, empty if nothing. */
  draw(feed: Feed, alert = ""): void {
    this.drawState(feed);
    setText(this.alert, alert);
    this.drawPrice();
    this.drawQuote();
    this.spark.draw(this.instrument.spark);
  }

  private drawState(feed: Feed): void {
    setShape(this.mark, feed.quality);
    setData(this.element, "quality", feed.quality);
    setText(this.state, feed.quality === "LIVE" ? "" : feed.quality);
    const why = `${feed.quality}: ${feed.reason || MEANING[feed.quality]}`;
    setTitle(this.mark, why);
    setTitle(this.state, why);
    if (this.element.ariaDescription !== why) this.element.ariaDescription = why;
  }

  private drawPrice(): void {
    const { last, decimals, direction, ticks, reference } = this.instrument;
    setText(this.last, format.price(last, decimals));
    setData(this.last, "direction", direction > 0 ? "up" : direction < 0 ? "down" : "");
    // Two names for the same animation: changing the name is what starts it again, without a forced layout.
    if (ticks !== this.drawnTicks && this.drawnTicks >= 0) setData(this.last, "flash", this.last.dataset["flash"] === "0" ? "1" : "0");
    this.drawnTicks = ticks;
    const moved = last === null || reference === null ? null : last - reference.price;
    const share = moved === null || reference === null || reference.price === 0 ? null : (100 * moved) / Math.abs(reference.price);
    setText(this.change, format.percent(share));
    setData(this.change, "sign", moved === null || moved === 0 ? "" : moved > 0 ? "up" : "down");
    if (reference !== null) setTitle(this.change, `${format.signed(moved, decimals)} since ${reference.label}`);
  }

  private drawQuote(): void {
    const { quote, decimals } = this.instrument;
    setText(this.bid, format.price(quote?.bidPrice, decimals));
    setText(this.ask, format.price(quote?.askPrice, decimals));
    setText(this.bidSize, quote?.bidSize == null ? "" : format.size(quote.bidSize));
    setText(this.askSize, quote?.askSize == null ? "" : format.size(quote.askSize));
    const spread = quote?.bidPrice == null || quote.askPrice === null ? null : quote.askPrice - quote.bidPrice;
    setText(this.spread, format.price(spread, decimals));
    setData(this.spread, "crossed", spread !== null && spread < 0 ? "yes" : "");
    setTitle(this.spread, spread === null ? "spread" : spread < 0 ? "crossed book" : spread === 0 ? "locked book" : "spread");
  }
}

export function rowId(instrument: string): string {
  return `row-${instrument.replace(/[^\w-]/g, "_")}`;
}
