"""Scenarios of the simulated market, through the kernels and the log, as a client of the stream hears them.

No process but this one: connectors are left out, the events are the simulator's own. tests/chaos/test_scenarios.py
does the same with every process of a demo.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from gateway_running import gateway, receive, receive_until, say
from scenario_truth import CHECKS, Heard
from simulated_arrivals import START_NS, S, market

from market import topics
from market.anomalies import AnomalyKernel
from market.arbitrage import ArbitrageKernel
from market.records import TopicPartition

CHUNK_ROWS = 2_000
SECONDS = 96.0
COMMODITIES = ("gold", "cotton", "brent")


def _outputs(arrivals: pa.RecordBatch) -> Iterator[tuple[str, str, pa.RecordBatch]]:
    kernels = ((topics.ANOMALIES, "anomalies", AnomalyKernel()), (topics.ARBITRAGE, "arbitrage", ArbitrageKernel()))
    for start in range(0, arrivals.num_rows, CHUNK_ROWS):
        for topic, kind, kernel in kernels:
            outputs = kernel.on_batch(arrivals.slice(start, CHUNK_ROWS))
            if kind in outputs and outputs[kind].num_rows:
                yield topic, kind, outputs[kind]


def test_a_client_hears_of_a_spike_what_the_simulator_did(tmp_path: Path) -> None:
    shards, acts = market("spike", SECONDS)
    outputs = [output for name in COMMODITIES for output in _outputs(shards[name])]
    rows = Counter[str]()
    for _, kind, batch in outputs:
        rows[kind] += batch.num_rows
    heard = Heard(until=START_NS + int(SECONDS * S))

    async def run() -> None:
        async with gateway(tmp_path) as running, running.connect() as client:
            for number, channel in enumerate(sorted(rows)):
                await say(client, op="subscribe", id=number, channel=channel, instruments=["*"])
            await receive_until(client, lambda messages: len(messages) == 1 + len(rows))
            for topic, kind, batch in outputs:
                running.writer.append(TopicPartition(topic), kind, batch)
            running.writer.flush()
            updates = 0
            while updates < rows.total():
                message = await receive(client)
                updates += message["op"] == "update"
                heard.take(message)

    asyncio.run(run())
    assert set(rows) == {"anomalies", "arbitrage"}
    CHECKS["spike"](acts, heard)
    silent = replace(heard, anomalies=[row for row in heard.anomalies if row["venue"] != "XIMC"])
    with pytest.raises(AssertionError, match="no bad tick of XIMC:GOLD"):
        CHECKS["spike"](acts, silent)
