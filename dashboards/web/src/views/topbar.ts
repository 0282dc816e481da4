/** The top bar: the gateway's clock, each venue's state, speed, and the state of our own connection. */

import { byId, h, setData, setShape, setText, setTitle } from "../dom";
import * as format from "../format";
import { MEANING, type Quality } from "../quality";
import type { View } from "../schedule";
import type { Store } from "../store";
import { exchangeTime, zoneOf } from "../zones";

const SILENT_SHOWN_MS = 7_000; // more than one heartbeat of 5 s late

export class TopBarView implements View {
  private readonly clock = byId("clock");
  private readonly local = byId("clock-local");
  private readonly venues = byId("venues");
  private readonly speed = byId("speed");
  private readonly link = byId("link");
  private readonly linkMark = byId("link-mark");
  private readonly linkText = byId("link-text");
  private readonly banner = byId("banner");
  private readonly pills = new Map<string, { root: HTMLElement; mark: HTMLElement; state: HTMLElement }>();

  constructor(
    private readonly store: Store,
    private readonly heardMs: () => number,
    private readonly nowMs: () => number,
  ) {}

  draw(): void {
    this.drawClock();
    this.drawVenues();
    this.drawSpeed();
    this.drawLink();
  }

  private drawClock(): void {
    const ms = this.store.clock.read(this.nowMs());
    // A clock that runs on without its source would be the browser's own.
    const running = this.store.connection.state === "live" && ms !== null;
    setText(this.clock, running ? format.clock(ms) : "--:--:--");
    const meta = this.store.current?.meta;
    setText(this.local, running ? exchangeTime(ms, meta === undefined ? null : zoneOf(meta)) : "");
    if (meta !== undefined) setTitle(this.local, `${meta.venue}: local time and date of the exchange`);
  }

  private drawVenues(): void {
    const names = new Set([...this.store.instruments.values()].map((state) => state.meta.venue));
    for (const name of [...names].sort()) {
      const status = this.store.venues.get(name);
      const disconnected = this.store.connection.state !== "live";
      const quality: Quality = disconnected ? "STALE" : (status?.quality ?? "LIVE");
      const pill = this.pills.get(name) ?? this.addPill(name);
      setShape(pill.mark, quality);
      setData(pill.root, "quality", quality);
      setText(pill.state, quality === "LIVE" ? "" : quality);
      const why = `${name} ${quality}: ${disconnected ? "no connection to the gateway" : status?.reason || MEANING[quality]}`;
      if (pill.root.title !== why) pill.root.setAttribute("aria-label", why);
      setTitle(pill.root, why);
    }
  }

  private addPill(name: string): { root: HTMLElement; mark: HTMLElement; state: HTMLElement } {
    const [mark, state] = [h("span", { class: "mark" }), h("span", { class: "badge" })];
    const root = h("span", { class: "pill", role: "note", tabindex: "0" }, mark, name, state);
    const after = [...this.pills.keys()].filter((each) => each > name).sort()[0];
    this.venues.insertBefore(root, after === undefined ? null : (this.pills.get(after)?.root ?? null));
    const pill = { root, mark, state };
    this.pills.set(name, pill);
    return pill;
  }

  private drawSpeed(): void {
    const latency = this.store.latency.read();
    const rate = `${format.count(this.store.rate.perSecond(this.nowMs()))} msg/s`;
    if (latency === null) return setText(this.speed, rate);
    setText(this.speed, `${rate} \u00b7 delay ${format.latency(latency.p50Ms)}, p99 ${format.latency(latency.p99Ms)}`);
  }

  private drawLink(): void {
    const { connection } = this.store;
    const now = this.nowMs();
    const live = connection.state === "live";
    setShape(this.linkMark, live ? "LIVE" : connection.state === "connecting" ? "RESYNC" : "STALE");
    setData(this.link, "state", connection.state);
    const silentMs = now - this.heardMs();
    if (live) setText(this.linkText, silentMs > SILENT_SHOWN_MS ? `silent ${format.age(silentMs)}` : "live");
    else if (connection.state === "connecting") setText(this.linkText, "connecting\u2026");
    else setText(this.linkText, `retry in ${Math.ceil(Math.max(0, connection.retryAtMs - now) / 1000)} s`);
    setTitle(this.link, live ? `last heartbeat ${format.age(now - this.store.heardMs)} ago` : "press R to try now");
    this.drawBanner(now);
  }

  private drawBanner(now: number): void {
    const { connection } = this.store;
    this.banner.hidden = connection.state !== "reconnecting" && !(connection.state === "connecting" && connection.attempt > 0);
    if (connection.state === "reconnecting") {
      const seconds = Math.ceil(Math.max(0, connection.retryAtMs - now) / 1000);
      setText(this.banner, `Gateway unreachable (${connection.reason}), retrying in ${seconds} s. Prices below are not live. Press R to retry now.`);
    } else if (connection.state === "connecting") setText(this.banner, "Gateway unreachable, trying now\u2026 Prices below are not live.");
  }
}
