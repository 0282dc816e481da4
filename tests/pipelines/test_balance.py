"""The balance of a flow: 0 whatever comes, over a restart too, and another number when a row is lost or doubled."""

import pickle

import pytest
from arrivals import batch
from prometheus_client import REGISTRY
from reference import SECOND, Row
from strategies import T0

from market.admission import AdmissionKernel
from market.watermark import Lateness
from pipelines.balance import BalancedAdmission
from pipelines.metrics import OUTCOMES

GC = ("XCEC", "XCEC:GC:202612")


def row(kind: str, at_s: float, name: int = 0) -> Row:
    ts = T0 + int(at_s * SECOND)
    price = 6 if kind == "correction" else 5
    return Row(kind, *GC, ts, ts, price * SECOND, SECOND, name, name, f"T{name}")


# A trade, one that is late, a clock row, a correction that comes before its trade, and that trade.
DAY = [row("trade", 1), row("trade", 600, 1), row("trade", 2, 2), row("clock", 601), row("correction", 602, 3)]
REST = [row("trade", 602, 3), row("trade", 700, 4)]


def gauge(consumer: str) -> float | None:
    return REGISTRY.get_sample_value("mandi_unaccounted_rows", {"consumer": consumer})


def judged(consumer: str) -> dict[str, float]:
    found = {
        outcome: REGISTRY.get_sample_value("mandi_judged_rows_total", {"consumer": consumer, "outcome": outcome}) or 0
        for outcome in OUTCOMES
    }
    return found | {"held": REGISTRY.get_sample_value("mandi_held_rows", {"consumer": consumer}) or 0}


def test_what_is_late_or_held_is_accounted_for() -> None:
    admission = BalancedAdmission("balanced", Lateness())
    assert "late" in admission.on_batch(batch(DAY))
    assert gauge("balanced") == 0
    admission.on_batch(batch(REST))
    admission.on_eof()
    assert gauge("balanced") == 0
    assert judged("balanced") == {"rows_in": 6, "rows_out": 5, "late": 1, "rejected": 0, "held": 0}


def test_a_row_held_over_a_restart_is_accounted_for() -> None:
    before, after = BalancedAdmission("before", Lateness()), BalancedAdmission("after", Lateness())
    before.on_batch(batch(DAY))
    after.restore(pickle.loads(pickle.dumps(before.snapshot())))
    outputs = after.on_batch(batch(REST))
    assert outputs["trades"].num_rows == 3  # the correction that was held with them
    assert gauge("after") == 0
    assert judged("before") == {"rows_in": 4, "rows_out": 2, "late": 1, "rejected": 0, "held": 1}
    assert judged("after") == {"rows_in": 3, "rows_out": 3, "late": 0, "rejected": 0, "held": 0}


@pytest.mark.parametrize(("change", "rows"), [(lambda trades: trades.slice(1), 1), (lambda _: None, 2)])
def test_a_row_that_the_kernel_loses_shows(monkeypatch: pytest.MonkeyPatch, change, rows: int) -> None:
    whole = AdmissionKernel.on_batch

    def lossy(self: AdmissionKernel, arrivals):
        outputs = whole(self, arrivals)
        kept = change(outputs.pop("trades"))
        return outputs if kept is None else {**outputs, "trades": kept}

    monkeypatch.setattr(AdmissionKernel, "on_batch", lossy)
    admission = BalancedAdmission(f"lossy-{rows}", Lateness())
    admission.on_batch(batch(DAY))
    assert gauge(f"lossy-{rows}") == rows


def test_a_row_that_comes_twice_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = AdmissionKernel.on_batch

    def doubling(self: AdmissionKernel, arrivals):
        outputs = whole(self, arrivals)
        return {**outputs, "again": outputs["trades"]}

    monkeypatch.setattr(AdmissionKernel, "on_batch", doubling)
    admission = BalancedAdmission("doubling", Lateness())
    admission.on_batch(batch(DAY))
    assert gauge("doubling") == 2
