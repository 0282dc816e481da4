"""The gateway's numbers for Prometheus: plain integers on the hot path, made into metrics when scraped."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, Protocol

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from gateway.protocol import CHANNELS

BUCKETS_S: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_BUCKETS_NS: Final = [int(bound * 1e9) for bound in BUCKETS_S]

DISCONNECT_REASONS: Final = (
    *("closed", "lost", "slow_consumer", "stalled", "rate_limited", "too_long", "shutdown"),
    *("not_authenticated", "token_expired", "token_revoked", "too_many_clients"),
)

REFUSAL_CODES: Final = (
    *("not_authenticated", "bad_token", "token_expired", "token_not_yet_valid", "not_entitled"),
    *("host_not_allowed", "origin_not_allowed", "too_many_clients", "too_many_subscriptions"),
)
"""What is counted as a refusal of access; requests that are merely wrong are not."""


@dataclass(slots=True)
class Latency:
    """A histogram of durations; `buckets` are not cumulative, the last is what lies beyond the bounds."""

    buckets: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS_S) + 1))
    sum_ns: int = 0

    def observe(self, duration_ns: int) -> None:
        # A tick stamped by another host's clock may lie in the future: that is not a negative latency.
        duration_ns = max(duration_ns, 0)
        self.buckets[bisect_left(_BUCKETS_NS, duration_ns)] += 1
        self.sum_ns += duration_ns


@dataclass(slots=True)
class Counts:
    """Everything counted, by closed label sets."""

    sent: Counter[str] = field(default_factory=Counter)  # updates that left to clients that are gone, by channel
    conflated: int = 0  # of those, updates that a newer one replaced before they left
    log_away: bool = False  # while the log's broker is waited for
    log_retries: int = 0
    suppressed: int = 0  # rows of the log that said nothing new: duplicates and outdated samples
    disconnects: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)  # of requests and of messages, by code
    latency: dict[str, Latency] = field(default_factory=lambda: {channel: Latency() for channel in CHANNELS})

    def observe(self, channel: str, ts_recv: int | None, ts_out: int) -> None:
        if ts_recv is not None:
            self.latency[channel].observe(ts_out - ts_recv)


class FollowerCounts(Protocol):
    """What the log's follower counts."""

    lag_rows: dict[str, int]
    bad_records: int
    failures: int


class GatewayCollector(Collector):
    """Turns Counts into metrics at scrape time."""

    def __init__(
        self,
        counts: Counts,
        *,
        clients: Callable[[], int],
        sent: Callable[[], Counter[str]],
        conflated: Callable[[], int],
        follower: FollowerCounts,
    ) -> None:
        self._follower = follower
        self._counts, self._clients, self._sent, self._conflated = counts, clients, sent, conflated

    def collect(self) -> Iterator[Metric]:
        counts = self._counts
        yield GaugeMetricFamily(
            "mandi_gateway_clients", "Open connections: WebSocket and server-sent events.", self._clients()
        )
        yield _labelled("mandi_gateway_sent", "Updates sent to clients.", "channel", CHANNELS, self._sent())
        yield CounterMetricFamily(
            "mandi_gateway_conflated", "Updates replaced by a newer one before they left.", self._conflated()
        )
        yield CounterMetricFamily(
            "mandi_gateway_suppressed", "Log rows that said nothing new: written again, or outdated.", counts.suppressed
        )
        yield CounterMetricFamily(
            "mandi_gateway_bad_records", "Log records that could not be read.", self._follower.bad_records
        )
        yield CounterMetricFamily(
            "mandi_gateway_log_failures", "Times the log could not be read.", self._follower.failures
        )
        yield GaugeMetricFamily(
            "mandi_log_away", "1 while this process waits for the log's broker.", int(counts.log_away)
        )
        yield CounterMetricFamily(
            "mandi_log_retries", "Attempts to reach the log's broker that failed.", counts.log_retries
        )
        yield _labelled(
            "mandi_gateway_disconnects", "Closed connections.", "reason", DISCONNECT_REASONS, counts.disconnects
        )
        text = "Requests and stream messages that were refused."
        yield _labelled("mandi_gateway_refusals", text, "code", REFUSAL_CODES, counts.refusals)
        yield _lag(self._follower.lag_rows)
        yield _latency(counts.latency)


def _labelled(name: str, text: str, label: str, values: tuple[str, ...], counts: Counter[str]) -> CounterMetricFamily:
    family = CounterMetricFamily(name, text, labels=[label])
    for value in values:
        family.add_metric([value], counts[value])
    return family


def _lag(lag_rows: dict[str, int]) -> GaugeMetricFamily:
    text = "Rows in the log that were not read yet; estimated from the mean rows of a record."
    family = GaugeMetricFamily("mandi_log_lag_rows", text, labels=["topic", "consumer"])
    for topic, rows in sorted(lag_rows.items()):
        family.add_metric([topic, "gateway"], rows)
    return family


def _latency(latency: dict[str, Latency]) -> HistogramMetricFamily:
    text = "From ts_recv (bars: as_known_at) to ts_out."
    family = HistogramMetricFamily("mandi_end_to_end_seconds", text, labels=["channel"])
    for channel, histogram in latency.items():
        total, cumulative = 0, []
        for bound, count in zip([*map(str, BUCKETS_S), "+Inf"], histogram.buckets, strict=True):
            total += count
            cumulative.append((bound, total))
        family.add_metric([channel], cumulative, histogram.sum_ns / 1e9)
    return family


class Metrics:
    """The registry of one gateway."""

    def __init__(self, collector: GatewayCollector) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(collector)

    def text(self) -> bytes:
        """Return the exposition format."""
        return generate_latest(self._registry)
