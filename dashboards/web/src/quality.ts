/**
 * The feed's quality states: how bad each is, and how each looks without relying on colour.
 */

export type Quality = "LIVE" | "STALE" | "GAP" | "RESYNC" | "DELAYED" | "HALTED" | "CLOSED";

/** From best to worst, the order the pipeline uses: a number shows the worst state of what it depends on. */
export const QUALITIES: readonly Quality[] = ["LIVE", "STALE", "GAP", "RESYNC", "DELAYED", "HALTED", "CLOSED"];

const RANK = new Map(QUALITIES.map((quality, rank) => [quality, rank]));

export const MEANING: Readonly<Record<Quality, string>> = {
  LIVE: "prices arrive as expected",
  STALE: "connected, but nothing has arrived for longer than expected",
  GAP: "messages are missing and not yet recovered",
  RESYNC: "a fresh image is being fetched",
  DELAYED: "prices arrive late or by a delayed feed",
  HALTED: "the venue has halted trading",
  CLOSED: "the session is closed",
};

export function isQuality(value: unknown): value is Quality {
  return typeof value === "string" && RANK.has(value as Quality);
}

export function worst(...states: readonly Quality[]): Quality {
  let result: Quality = "LIVE";
  for (const state of states) if ((RANK.get(state) ?? 0) > (RANK.get(result) ?? 0)) result = state;
  return result;
}

// One shape for each state on a 10 x 10 grid: a colour-blind reader tells them apart by outline.
const SHAPES: Readonly<Record<Quality, string>> = {
  LIVE: '<circle cx="5" cy="5" r="3.6"/>',
  STALE: '<circle cx="5" cy="5" r="3.2" fill="none" stroke="currentColor" stroke-width="1.6"/>',
  GAP: '<path d="M5 .8 9.6 9H.4z"/>',
  RESYNC: '<path d="M5 1.2a3.8 3.8 0 1 0 3.8 3.8" fill="none" stroke="currentColor" stroke-width="1.8"/>',
  DELAYED: '<circle cx="5" cy="5" r="3.6" fill="none" stroke="currentColor" stroke-width="1.2"/><path d="M5 1.4A3.6 3.6 0 0 1 5 8.6z"/>',
  HALTED: '<rect x="1.4" y="1.4" width="7.2" height="7.2"/>',
  CLOSED: '<path d="M1 5h8" stroke="currentColor" stroke-width="2"/>',
};

/** The state's shape as inline SVG in the current colour; the word stands beside it or in its title. */
export function shape(quality: Quality): string {
  return `<svg class="shape" viewBox="0 0 10 10" width="10" height="10" fill="currentColor" aria-hidden="true">${SHAPES[quality]}</svg>`;
}
