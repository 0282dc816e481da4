"""What the tests of the log share: batches of any schema, logs on disk, child processes."""

import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pyarrow as pa

from market.records import JSON_KIND, LogReader, Record, TopicPartition
from sinks.group_commit import FsyncPolicy

TP = TopicPartition("market.prices.gold")
NEVER = FsyncPolicy(mode="never")
DEADLINE_S = 30.0


def url_of(directory: Path) -> str:
    return directory.as_uri()


def sample(schema: pa.Schema, rows: int, salt: int = 0) -> pa.RecordBatch:
    """A batch with different values in each row, and nulls where the schema allows them."""
    columns = [_column(field, rows, salt + nth) for nth, field in enumerate(schema)]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _column(field: pa.Field, rows: int, salt: int) -> pa.Array:
    kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    values = [_value(kind, salt + 7 * row) for row in range(rows)]
    if field.nullable:
        values = [None if (salt + row) % 3 == 0 else value for row, value in enumerate(values)]
    array = pa.array(values, type=kind)
    return array.dictionary_encode().cast(field.type) if pa.types.is_dictionary(field.type) else array


def _value(kind: pa.DataType, number: int) -> object:
    if pa.types.is_list(kind):
        return [_value(kind.value_type, number + nth) for nth in range(number % 3)]
    if pa.types.is_decimal(kind):
        return Decimal(number) / 8
    if pa.types.is_boolean(kind):
        return number % 2 == 0
    return number % 100 if pa.types.is_integer(kind) else f"value {number % 50}"


def append_json(writer: object, count: int, first: int = 0, size: int = 20) -> None:
    """Append and flush records whose value starts with their number."""
    for number in range(first, first + count):
        writer.append(TP, JSON_KIND, f"{number}".ljust(size, ".").encode())  # type: ignore[attr-defined]
        writer.flush()  # type: ignore[attr-defined]


def numbers(records: list[Record]) -> list[int]:
    """The numbers of events; without those that a new writer on Kafka repeats."""
    return [int(record.value.rstrip(b".")) for record in records if "repeats" not in record.meta]


def read_all(reader: LogReader, tp: TopicPartition = TP, offset: int = 0) -> list[Record]:
    found: list[Record] = []
    while records := reader.read(tp, offset + len(found)):
        found += records
    return found


def segments(directory: Path, tp: TopicPartition = TP) -> list[Path]:
    return sorted((directory / tp.topic / str(tp.partition)).glob("*.seg"))


def until(condition: Callable[[], object], deadline_s: float = DEADLINE_S) -> None:
    """Poll `condition` until it holds; fail at the deadline."""
    end_s = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end_s, "the deadline passed"
        time.sleep(0.002)


def start(code: str, *args: object, env: dict[str, str] | None = None) -> "subprocess.Popen[str]":
    """Run Python code in a process of its own; `args` are its sys.argv[1:]."""
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, args)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=env,
    )


def finish(process: "subprocess.Popen[str]") -> str:
    """Wait for a child that must end well, and return what it printed."""
    out, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0, err
    return out
