"""The ground truth on disk: acts once each, counts as they stand."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from feeds_simulator.events import Event, TradeEvent
from feeds_simulator.faults import Faults
from feeds_simulator.model import MarketModel, ModelConfig
from feeds_simulator.pacing import Pacer
from feeds_simulator.scenarios import Script
from feeds_simulator.stage import Stage
from feeds_simulator.truth import TruthFolder

S = 1_000_000_000
START_NS = int(datetime(2026, 11, 24, 14, 40, tzinfo=UTC).timestamp()) * S


def test_acts_are_appended_and_counts_replaced(tmp_path: Path) -> None:
    script, faults = Script(("gap", "halt"), START_NS, ("ice",)), Faults()
    stage = Stage("ice", MarketModel(ModelConfig(start_ns=START_NS, rate=50.0)), script, faults)
    truth = TruthFolder(tmp_path / "truth", "r1", {"ice": (stage, faults)})
    for seconds in (10, 30, 100):
        stage.count(stage.pull(START_NS + seconds * S))
        truth.write(START_NS + seconds * S)
    acts = [json.loads(line) for line in (tmp_path / "truth" / "acts.jsonl").read_text().splitlines()]
    gaps = [(act["venue"], act["instrument"], act["from"], act["to"]) for act in acts if act["what"] == "gap"]
    assert gaps == [("ice", None, str(START_NS + at * S), str(START_NS + (at + 20) * S)) for at in (20, 80)]
    halts = {act["instrument"] for act in acts if act["what"] == "halt" and "kind" in act}
    assert halts == {"IFUS:CT:202612", "IFUS:CT:202703", "IFEU:B:202701", "IFEU:B:202702"}
    counts = json.loads((tmp_path / "truth" / "counts-r1.json").read_text())
    assert counts["ts"] == str(START_NS + 100 * S)
    front = counts["venues"]["ice"]["instruments"]["IFEU:B:202701"]
    assert front["trades"] == stage.said["IFEU:B:202701", "trades"] > 0


def test_only_what_somebody_hears_is_counted() -> None:
    faults = Faults()
    stage = Stage("ice", MarketModel(ModelConfig(start_ns=START_NS, rate=50.0)), Script(), faults)
    stage.heard = lambda symbol: symbol == "IFEU:B:202701"
    stage.count(stage.pull(START_NS + 5 * S))
    assert {symbol for symbol, _ in stage.said} == {"IFEU:B:202701"}


def test_what_the_wire_lost_is_told_by_those_who_know(tmp_path: Path) -> None:
    faults = Faults()
    stage = Stage("bloomberg", MarketModel(ModelConfig(start_ns=START_NS)), Script(), faults)
    truth, path = TruthFolder(tmp_path, "r1", {"bloomberg": (stage, faults)}), tmp_path / "counts-r1.json"
    truth.write(START_NS)
    assert "lost" not in json.loads(path.read_text())["venues"]["bloomberg"]
    stage.lost = lambda: {"BBG:GC:202612": 3}
    truth.write(START_NS)
    assert json.loads(path.read_text())["venues"]["bloomberg"]["lost"] == {"BBG:GC:202612": 3}


def test_a_trade_that_is_told_late_is_counted_for_whoever_listens_then() -> None:
    faults, clock, told = Faults(late_every=1, late_s=10.0), [START_NS], []
    stage = Stage("ice", MarketModel(ModelConfig(start_ns=START_NS, rate=50.0)), Script(), faults)
    stage.heard = lambda _: clock[0] > START_NS + 4 * S

    class Venue:
        def publish(self, actions: Sequence[Sequence[Event]], ts_send: int) -> None:  # noqa: ARG002
            told.extend(event for action in actions for event in action if stage.heard(event.symbol))

        def keep_house(self, at_s: float, published_ns: int) -> None: ...

        def flush(self) -> None: ...

    pacer = Pacer(stage, Venue(), lambda: clock[0], faults=faults)
    for second in range(12):
        clock[0] = START_NS + second * S
        pacer.turn(float(second))
    trades = [event for event in told if isinstance(event, TradeEvent)]
    assert trades
    assert sum(count for (_, what), count in stage.said.items() if what == "trades") == len(trades)
