"""What Python itself puts into the processes of a demo whose PYTHONPATH has this directory: a defect, and a slow line.

`mandi run bars` loses a row each time that the file named by LOSES_A_ROW appears: admission swallows the first one of
the next trades or quotes. There is no other way to the condition of MandiConservationBroken: no input and no crash has
ever led to it. And the simulated venues know one more scenario, `slow_line`.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path


def _lose_a_row() -> None:
    from market.admission import AdmissionKernel

    sound: Callable[..., dict[str, object]] = AdmissionKernel.on_batch
    order = Path(os.environ["LOSES_A_ROW"])

    def on_batch(self: AdmissionKernel, arrivals: object) -> dict[str, object]:
        outputs = sound(self, arrivals)
        for name in ("trades", "quotes"):
            if name in outputs and order.exists():
                order.unlink()
                outputs[name] = outputs[name].slice(1)
        return outputs

    AdmissionKernel.on_batch = on_batch


def _add_slow_line() -> None:
    from feeds_simulator.scenarios import SCENARIOS, Scenario, When, Wire

    late = Wire(when=When(begin_s=150, length_s=40), faults={"delay_every": 1, "delay_s": 20.0}, first_of=("mcx",))
    SCENARIOS["slow_line"] = Scenario(text="for 40 s everything of MCX comes 20 s late", acts=(late,))


if sys.orig_argv[-4:] == ["-m", "mandi", "run", "bars"]:
    _lose_a_row()
elif sys.orig_argv[1:3] == ["-m", "mandi"] and sys.orig_argv[3] in ("demo", "simulate"):
    _add_slow_line()
