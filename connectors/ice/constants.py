"""Limits, timeouts and names of the ICE profile. Source, where none is named: docs/ice-profile.md."""

from typing import Final

FEED: Final = "ICE"
"""The feed as a whole, in GAPS.venue and REJECTED.venue: one session carries several MICs."""

MIC_BY_ROOT: Final = {"CT": "IFUS", "SB": "IFUS", "KC": "IFUS", "CC": "IFUS", "B": "IFEU"}
"""Which exchange lists a root. The contract master is keyed by MIC, the venue's symbol has none."""

TRADES: Final = "trades"
BOOK: Final = "book"
STATUS: Final = "status"
SETTLE: Final = "settle"
CHANNELS: Final = (TRADES, BOOK, STATUS, SETTLE)

DEPTH_LEVELS: Final = 5  # of 1..10; more costs bandwidth and changes no quote

SECOND_NS: Final = 1_000_000_000
AUTH_TIMEOUT_NS: Final = 10 * SECOND_NS  # the venue wants `auth` within 10 s; we give its answer as long
SUBSCRIBE_TIMEOUT_NS: Final = 5 * SECOND_NS  # our choice: an answer is one round trip
REPLAY_TIMEOUT_NS: Final = 2 * SECOND_NS  # without progress; a long replay that flows is not given up
IMAGE_TIMEOUT_NS: Final = 2 * SECOND_NS
IMAGE_PAUSE_NS: Final = 30 * SECOND_NS  # our choice: between tries once a symbol's image stayed away
ATTEMPTS: Final = 3  # of a replay that came back incomplete, or an image that did not come

REPLAY_ROWS: Final = 10_000
"""Asked at once. The venue keeps 200,000, but closes with 4008 at 4 MiB unsent; a message is about 200 bytes."""

BRIDGED_ROWS: Final = 500
"""Two holes with no more than this between them are asked for at once. What lies between comes twice, at some 20 us a
message: less than a round trip. Hole by hole, a line that loses every 40th message is repaired more slowly than it
goes on losing."""

HELD_ROWS: Final = 100_000
"""Hold-back of a channel. What does not fit is dropped, counted and replayed later: the venue keeps 200,000."""

PENDING_ROWS: Final = 10_000
"""Changes kept for a symbol that waits for its image."""

JUMP_ROWS: Final = 10_000_000
"""A live number further ahead is damage, not loss: 5,000 a second for the ten minutes a session lives is 3 M."""

HEARTBEATS_BEHIND: Final = 3  # in a row with a seq below ours: the venue restarted its count, so we log on anew

PING_INTERVAL_S: Final = 20.0
DEAD_AFTER_S: Final = 2.5 * PING_INTERVAL_S

CLOSE_AUTH: Final = 4001
CLOSE_ENTITLEMENT: Final = 4003
CLOSE_SLOW: Final = 4008
CLOSE_DUPLICATE: Final = 4009
AUTH_RETRY_S: Final = 5.0  # our choice: refused credentials must not become a hot loop (PROTOCOLS D10)
