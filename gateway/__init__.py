"""The fan-out server: WebSocket, REST, metrics, and the dashboard.

What it decides where the public contract leaves room:

* `snapshot` has `seq` and `data` (the newest row). While the newest bar is forming, `previous` is the last final
  one. An instrument that appears later is announced by a snapshot with seq 0 that holds its first row; the row then
  follows as update 1, so that counting updates counts every row.
* `since.seq` is one number, when the subscription covers exactly one stream, or an object of numbers by instrument.
  Missed updates come with the `ts_out` of their first sending. Reasons of a `gap`: epoch_changed, unknown_seq,
  ambiguous_since, too_old, too_many_missed, already_subscribed, log_truncated.
* State channels (quotes, forming bars) are conflated for slow clients and by `conflate_ms`; events (trades, final
  bars, revisions, status, news) never are, and `subscribed` answers `conflate_ms` 0 for them. More than 1 MiB of
  waiting events: error `slow_consumer`, close 4408. Too many messages: close 4429.
* A client that follows an instrument is told its quality by `status` messages, too, without asking; what concerns a
  whole venue is instrument `XCEC:*`. Rows of the status channel have `kind` "status" or "gap" (a hole in a venue's
  feed, with the columns of `gaps`).
* Without keys for tokens anyone may see everything, and `auth` is answered with `welcome`; then it listens on loopback,
  where a page must be of the same host or a configured origin, and the host name must be a loopback one.
* REST answers a JSON list of rows; ranges are [from, to); the newest `limit` of the range, oldest first.
"""
