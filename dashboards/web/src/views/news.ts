/** Headlines, newest first; one that names an instrument leads to its chart. */

import { byId, h } from "../dom";
import * as format from "../format";
import type { Headline } from "../protocol";
import type { View } from "../schedule";
import type { Store } from "../store";

export class NewsView implements View {
  private readonly panel = byId("news-panel");
  private readonly body = byId("news");

  constructor(
    private readonly store: Store,
    private readonly open: (instrument: string) => void,
  ) {}

  draw(): void {
    if (!this.store.dirty.news) return;
    this.store.dirty.news = false;
    const headlines = this.store.news.all;
    const refused = this.store.refusals.get("news");
    this.panel.hidden = headlines.length === 0 && refused === undefined;
    if (headlines.length === 0 && refused !== undefined) return this.body.replaceChildren(h("p", { class: "empty" }, refused));
    this.body.replaceChildren(...headlines.map((headline) => this.row(headline)));
  }

  private row(headline: Headline): HTMLElement {
    const time = h("span", { class: "num time" }, format.stamp(headline.tsEvent).slice(0, 5));
    const text = h("span", { class: "text" }, headline.headline);
    const about = headline.instruments.find((key) => this.store.instruments.has(key));
    const row = h("div", { class: "headline", role: "listitem", "data-urgency": String(headline.urgency), title: headline.body }, time);
    if (about === undefined) row.append(text);
    else {
      const button = h("button", { type: "button" }, text);
      button.addEventListener("click", () => this.open(about));
      row.append(button);
    }
    return row;
  }
}
