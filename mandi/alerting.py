"""What Prometheus and Alertmanager read of a running installation: the addresses to scrape, and whom to tell."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import orjson

_ALERTMANAGER: Final = Path(__file__).parents[1] / "dashboards" / "prometheus" / "alertmanager.yml"
DEFAULT_WEBHOOK: Final = "http://127.0.0.1:9094/"
"""What stands in the file: a receiver on this host."""


def scrape_targets(addresses: Mapping[str, str]) -> list[dict[str, object]]:
    """Prometheus' file_sd form of metrics addresses by process; `process` is a label of a metric, so `service`."""
    return [{"targets": [address], "labels": {"service": name}} for name, address in addresses.items()]


def alertmanager_config(webhook: str) -> str:
    """Alertmanager's configuration with the address that alerts are sent to."""
    text = _ALERTMANAGER.read_text()
    assert DEFAULT_WEBHOOK in text
    return text.replace(DEFAULT_WEBHOOK, json.dumps(webhook))  # a JSON string is a YAML one, whatever is in it


def write_json(path: Path, value: object) -> None:
    """Replace a file at once: a reader sees the old or the new one."""
    write_private(path, orjson.dumps(value))


def write_private(path: Path, content: bytes) -> None:
    """The same, for this user's eyes: an address may hold a token."""
    fresh = path.with_suffix(".new")
    with open(os.open(fresh, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
    fresh.replace(path)
