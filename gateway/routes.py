"""Which path answers what."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from connectors.daemon import in_daemon_thread
from gateway import openapi
from gateway.auth import Grant
from gateway.config import GatewayConfig
from gateway.errors import HttpError, StoreDown
from gateway.follow import Follower
from gateway.http import Bundle, Reply, Target, json_reply
from gateway.live import LiveState
from gateway.metrics import Metrics
from gateway.rest import Store, parse_query

HEALTH_FOR_S: Final = 2.0
_CHANNELS: Final = {"books": "book", "forecast_scores": "forecasts", "forecast_scoreboard": "forecasts"}
"""The channel whose grant a table needs, where they differ in name."""


class Report:
    """What the pipeline's processes say, asked in a thread, at most every HEALTH_FOR_S however many clients want it."""

    def __init__(self, read: Callable[[], Mapping[str, Any]] | None) -> None:
        self._read = read
        self._lock = asyncio.Lock()
        self._found: Mapping[str, Any] = {}
        self._until_s = float("-inf")

    async def newest(self) -> Mapping[str, Any]:
        async with self._lock:
            if self._read is not None and time.monotonic() >= self._until_s:
                self._found = await asyncio.wrap_future(in_daemon_thread(self._read, "health"))
                self._until_s = time.monotonic() + HEALTH_FOR_S
            return self._found


class Routes:
    """Answers every request that is not for the stream."""

    def __init__(
        self, *, config: GatewayConfig, live: LiveState, store: Store, metrics: Metrics, follower: Follower
    ) -> None:
        self._config, self._live, self._store = config, live, store
        self._metrics, self._follower = metrics, follower
        self._report = Report(config.health)
        self._bundle = Bundle(config.bundle_dir)
        self._openapi = json_reply(openapi.document())
        self._handlers: dict[str, Callable[[Target, Grant], Awaitable[Reply]]] = {
            "/v1/instruments": self._instruments,
            "/v1/bars": self._history,
            "/v1/trades": self._history,
            "/v1/quotes": self._history,
            "/v1/books": self._history,
            "/v1/news": self._history,
            "/v1/arbitrage": self._history,
            "/v1/anomalies": self._history,
            "/v1/forecasts": self._history,
            "/v1/forecast_scores": self._history,
            "/v1/forecast_scoreboard": self._history,
            "/v1/status": self._status,
            "/v1/health": self._vitals,
            "/v1/openapi.json": self._document,
            "/healthz": self._health,
            "/readyz": self._ready,
            "/metrics": self._scrape,
        }

    async def reply(self, method: str, target: Target, grant: Grant) -> Reply:
        """Return the answer to a request of a client that may see `grant`.

        Raises: HttpError.
        """
        if method not in ("GET", "HEAD"):
            raise HttpError(405, "method_not_allowed", "only GET and HEAD are answered")
        handler = self._handlers.get(target.path)
        if handler is not None:
            return await handler(target, grant)
        return self._bundle.reply(target.path)

    async def _instruments(self, target: Target, grant: Grant) -> Reply:
        if target.parameters:
            raise HttpError(400, "bad_request", "instruments has no parameters")
        return Reply(body=self._live.instruments(grant))

    async def _history(self, target: Target, grant: Grant) -> Reply:
        table = target.path.rpartition("/")[2]
        query = parse_query(table, target.parameters)
        # Of these an instrument only narrows what comes; the rows themselves say what must be granted.
        refusal = grant.refusal(
            _CHANNELS.get(table, table), [] if table in ("news", "arbitrage") else [query.instrument]
        )
        if refusal:
            raise HttpError(403, "not_entitled", refusal)
        return Reply(body=await self._store.rows(table, query, grant.venues))

    async def _status(self, target: Target, grant: Grant) -> Reply:
        if {"from", "to"} & set(target.parameters):
            return await self._history(target, grant)
        query = parse_query("status", {"instrument": "*"} | target.parameters)
        refusal = grant.refusal("status", [query.instrument])
        if refusal:
            raise HttpError(403, "not_entitled", refusal)
        return Reply(body=self._live.statuses(query.instrument, grant))

    async def _vitals(self, target: Target, grant: Grant) -> Reply:
        if target.parameters:
            raise HttpError(400, "bad_request", "health has no parameters")
        if refusal := grant.refusal("status", []):
            raise HttpError(403, "not_entitled", refusal)
        report = await self._report.newest()
        venues = [row for row in report.get("venues", []) if grant.has_venue(row["venue"])]
        return json_reply({**report, "venues": venues})

    async def _document(self, *_: object) -> Reply:
        return self._openapi

    async def _health(self, *_: object) -> Reply:
        return json_reply({"status": "up"})

    async def _ready(self, *_: object) -> Reply:
        ready = self._follower.caught_up_within(self._config.ready_within_s)
        store = {"configured": self._config.timescale_dsn is not None, "reachable": True, "message": ""}
        try:
            await self._store.check()
        except StoreDown as error:
            store |= {"reachable": False, "message": error.message}
        log = {"caught_up": ready, "lag_rows": self._follower.lag_rows, "message": self._follower.error}
        return json_reply({"ready": ready, "log": log, "store": store}, 200 if ready else 503)

    async def _scrape(self, *_: object) -> Reply:
        return Reply(body=self._metrics.text(), content_type=CONTENT_TYPE_PLAIN_0_0_4)
