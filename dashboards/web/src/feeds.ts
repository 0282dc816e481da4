/** What the panel of feeds says of each venue: its own state, and how many of its instruments are in which. */

import { MEANING, QUALITIES, worst, type Quality } from "./quality";
import type { Store } from "./store";

export interface VenueFeed {
  readonly venue: string;
  /** The venue's own state: its connection, its clock. */
  readonly quality: Quality;
  readonly reason: string;
  /** Instruments by state, best first, only those that are not LIVE named: "5 live, 1 stale". */
  readonly instruments: string;
}

/** Every venue that has an instrument or a state, by name. */
export function feedsOf(store: Store): readonly VenueFeed[] {
  const states = [...store.instruments.values()];
  const names = new Set([...store.venues.keys(), ...states.map((state) => state.meta.venue)]);
  const connected = store.connection.state === "live";
  return [...names].sort().map((venue) => {
    const status = store.venues.get(venue);
    const own = status?.quality ?? "LIVE";
    const quality = connected ? own : worst(own, "STALE");
    const reason = connected ? status?.reason || MEANING[quality] : "no connection to the gateway";
    const mine = states.filter((state) => state.meta.venue === venue);
    return { venue, quality, reason, instruments: counted(mine.map((state) => store.feedOf(state).quality)) };
  });
}

function counted(qualities: readonly Quality[]): string {
  return QUALITIES.map((quality) => [quality, qualities.filter((each) => each === quality).length] as const)
    .filter(([, count]) => count > 0)
    .map(([quality, count]) => `${count} ${quality.toLowerCase()}`)
    .join(", ");
}
