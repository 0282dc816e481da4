import { describe, expect, it } from "vitest";

import { feedsOf } from "../../src/feeds";
import { Store } from "../../src/store";

function store(): Store {
  const made = new Store(() => 0);
  made.setConnection({ state: "live" });
  for (const key of ["XCEC:GC:202612", "XCEC:GC:202702", "XIMC:GOLD:202612"]) made.instrument(key);
  return made;
}

const skew = "clock_skew: stamps are 5 h 30 min 0 s ahead: Indian time taken for UTC";

describe("feeds", () => {
  it("names every venue with its state, its reason and its instruments by state", () => {
    const made = store();
    made.status({ instrument: "XCEC:GC:202702", venue: "XCEC", tsEvent: null, quality: "STALE", reason: "silent" });
    made.status({ instrument: null, venue: "XIMC", tsEvent: null, quality: "DELAYED", reason: skew });
    expect(feedsOf(made)).toEqual([
      { venue: "XCEC", quality: "LIVE", reason: "prices arrive as expected", instruments: "1 live, 1 stale" },
      { venue: "XIMC", quality: "DELAYED", reason: skew, instruments: "1 delayed" },
    ]);
  });

  it("knows a venue that has no instrument yet", () => {
    const made = store();
    made.status({ instrument: null, venue: "IFUS", tsEvent: null, quality: "STALE", reason: "cannot connect" });
    expect(feedsOf(made)[0]).toEqual({ venue: "IFUS", quality: "STALE", reason: "cannot connect", instruments: "" });
  });

  it("trusts nothing without a connection", () => {
    const made = store();
    made.setConnection({ state: "reconnecting", attempt: 1, retryAtMs: 0, reason: "gone" });
    expect(feedsOf(made).map((feed) => [feed.quality, feed.reason])).toEqual([
      ["STALE", "no connection to the gateway"],
      ["STALE", "no connection to the gateway"],
    ]);
  });
});
