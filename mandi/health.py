"""What the processes of a running installation say of themselves, for the dashboard: rows by venue, and their balance.

It picks the few samples it needs out of each process's /metrics: parsing all of the exposition format of a dozen
processes would hold up the streams of the gateway that asks.
"""

import http.client
import json
import re
import time
import urllib.request
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Final

from connectors.daemon import in_daemon_thread
from pipelines.metrics import OUTCOMES

_TIMEOUT_S: Final = 0.5
_WHOLE_S: Final = 1.0  # a process that is stopped in the middle of its answer, or drips, is as good as one without
_SAMPLE: Final = re.compile(r"^(mandi_\w+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)
_LABEL: Final = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')

_Samples = list[tuple[str, dict[str, str], float]]


def health(targets: Path) -> dict[str, object]:
    """Ask every process named in `targets` (Prometheus' file_sd form, as `mandi demo` writes it).

    Returns:
        `balance`: a row for each consumer that judges rows; `venues`; `processes`: whether they answered; `gateway`.
        All empty where there is no such file, or a damaged one: then nobody has told this gateway whom to ask.
    """
    addresses = _addresses(targets)
    # At once: of a dozen that do not answer each would cost its time-out.
    asked = {name: in_daemon_thread(partial(_ask, address), "health") for name, address in addresses.items()}
    texts = {name: answer.result() for name, answer in asked.items()}
    samples = [sample for text in texts.values() for sample in _samples(text or "")]
    restarts = _by_label(samples, "mandi_process_restarts_total", "process")
    return {
        "balance": _balance(samples),
        "venues": _venues(samples),
        "processes": [
            {"process": name, "up": text is not None, "restarts": int(restarts.get(name, 0))}
            for name, text in texts.items()
        ],
        "gateway": {
            "clients": int(_total(samples, "mandi_gateway_clients")),
            "sent": int(_total(samples, "mandi_gateway_sent_total")),
            "conflated": int(_total(samples, "mandi_gateway_conflated_total")),
        },
    }


def _addresses(targets: Path) -> dict[str, str]:
    try:
        groups = json.loads(targets.read_text())
        return {group["labels"]["service"]: group["targets"][0] for group in groups}
    except (OSError, ValueError, LookupError, TypeError):  # it is not there, or a power failure emptied it
        return {}


def _ask(address: str) -> str | None:
    text, end_s = b"", time.monotonic() + _WHOLE_S
    try:
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=_TIMEOUT_S) as answer:
            while part := answer.read1():
                text += part
                if time.monotonic() > end_s:
                    return None
    except (OSError, http.client.HTTPException):
        return None  # it is starting, restarting or gone
    return text.decode()


def _samples(text: str) -> _Samples:
    found = _SAMPLE.findall(text)
    return [(name, dict(_LABEL.findall(labels)), float(value)) for name, labels, value in found]


def _total(samples: Iterable[tuple[str, Mapping[str, str], float]], wanted: str) -> float:
    return sum(value for name, _, value in samples if name == wanted)


def _by_label(samples: _Samples, wanted: str, label: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, labels, value in samples:
        if name == wanted:
            found[labels[label]] = found.get(labels[label], 0.0) + value
    return found


def _balance(samples: _Samples) -> list[dict[str, object]]:
    judged: dict[str, dict[str, int]] = {}
    for name, labels, value in samples:
        if name == "mandi_judged_rows_total":
            judged.setdefault(labels["consumer"], {})[labels["outcome"]] = int(value)
    held = _by_label(samples, "mandi_held_rows", "consumer")
    return [
        # Flows conflate nothing; what the gateway conflates are updates on their way to clients.
        {"consumer": consumer, **{name: counts.get(name, 0) for name in OUTCOMES}}
        | {"held": int(held.get(consumer, 0)), "conflated": 0}
        for consumer, counts in sorted(judged.items())
    ]


def _venues(samples: _Samples) -> list[dict[str, object]]:
    ingested = [sample for sample in samples if sample[1].get("stage", "ingest") == "ingest"]
    rows = _by_label(ingested, "mandi_rows_total", "venue")
    gaps = _by_label(samples, "mandi_gaps_total", "venue")
    lags = _by_label(samples, "mandi_watermark_lag_seconds", "venue")
    skews = _by_label(samples, "mandi_clock_skew_seconds", "venue")
    return [
        {
            "venue": venue,
            "rows": int(count),
            "gaps": int(gaps.get(venue, 0)),
            "lag_s": lags.get(venue),
            "skew_s": skews.get(venue, 0.0),
        }
        for venue, count in sorted(rows.items())
    ]
