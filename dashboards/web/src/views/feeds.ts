/** The panel of feeds, above the events: one line a venue, its state and the reason in full. */

import { byId, h, setData, setShape, setText } from "../dom";
import { feedsOf, type VenueFeed } from "../feeds";
import type { View } from "../schedule";
import type { Store } from "../store";

export class FeedsView implements View {
  private readonly panel = byId("ledger");
  private readonly body = byId("feeds");
  private readonly lines = new Map<string, Line>();

  constructor(private readonly store: Store) {}

  draw(): void {
    if (this.panel.hidden) return;
    for (const feed of feedsOf(this.store)) this.line(feed.venue).draw(feed);
  }

  private line(venue: string): Line {
    const held = this.lines.get(venue);
    if (held !== undefined) return held;
    const line = new Line(venue);
    const after = [...this.lines.keys()].filter((each) => each > venue).sort()[0];
    this.body.insertBefore(line.root, after === undefined ? null : (this.lines.get(after)?.root ?? null));
    this.lines.set(venue, line);
    return line;
  }
}

class Line {
  private readonly mark = h("span", { class: "mark" });
  private readonly word = h("span", { class: "badge" });
  private readonly instruments = h("span", { class: "num" });
  private readonly reason = h("span", { class: "text" });
  readonly root: HTMLElement;

  constructor(venue: string) {
    const name = h("span", { class: "subject" }, venue);
    this.root = h("div", { class: "feed", role: "listitem" }, this.mark, name, this.word, this.instruments, this.reason);
  }

  draw(feed: VenueFeed): void {
    setShape(this.mark, feed.quality);
    setData(this.root, "quality", feed.quality);
    setText(this.word, feed.quality);
    setText(this.instruments, feed.instruments);
    setText(this.reason, feed.reason);
  }
}
