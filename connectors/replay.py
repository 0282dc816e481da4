"""Replay files: trades, quotes, busts and corrections from CSV (plain or gzip) or Parquet, checked at this one edge.

Every column is read as text and never meets a float; a number of more than nine decimals is rounded to the nearest of
nine. A row that is not what CONTRACTS.md promises becomes a REJECTED row with its reason; it never stops the run. Rows
keep file order, which is their order of arrival.
"""

import codecs
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from connectors.csv_lines import MAX_LINE_BYTES, SafeLines
from connectors.repeats import Repeats
from market.instruments import BadInstrumentKey, InstrumentKey, InstrumentMaster, venue_of
from market.kernel import ARRIVALS
from market.schemas import BUST, BUY, CORRECTION, PRICE_LIMIT, QUOTE, REJECTED, SELL, TRADE, UNKNOWN_SIDE

REQUIRED_COLUMNS: Final = ("ts_event", "instrument")
TRADE_COLUMNS: Final = ("price", "size")
QUOTE_COLUMNS: Final = ("bid_price", "bid_size", "ask_price", "ask_size")
OPTIONAL_COLUMNS: Final = ("kind", "side", "trade_id", "seq", "ts_recv", *TRADE_COLUMNS, *QUOTE_COLUMNS)

DEFAULT_BATCH_ROWS: Final = 20_000
_BYTES_PER_ROW: Final = 48  # of a CSV; only a first guess at how many bytes hold a batch
_RAW_CHARACTERS: Final = 4_096
_SIDES: Final = {
    **dict.fromkeys(("buy", "b", "bid", "1"), BUY),
    **dict.fromkeys(("sell", "s", "ask", "a", "-1"), SELL),
    **dict.fromkeys(("unknown", "none", "n", "0"), UNKNOWN_SIDE),
}
_KINDS: Final = {"trade": TRADE, "quote": QUOTE, "bust": BUST, "correction": CORRECTION}
_YEARS: Final = (1678, 2261)  # whole ones that int64 ns hold
_MALFORMED: Final = 1  # source_offset of lines that are no row of the file; its rows have 0


class ReplayFileError(ValueError):
    """A file that cannot be replayed at all. Carries `path` and `reason`."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"cannot replay {path}: {reason}")
        self.path, self.reason = path, reason


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayBatch:
    """A stretch of a file: its good rows by commodity, in file order, and its bad ones.

    Shape: `arrivals` (commodity, ARRIVALS) pairs; `rejected` REJECTED or None; rows_in = all of them.
    """

    rows_in: int
    arrivals: Sequence[tuple[str, pa.RecordBatch]]
    rejected: pa.RecordBatch | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayFile:
    """One file to replay.

    Raises: ReplayFileError if it does not exist, is no CSV or Parquet, or lacks a required column.
    """

    path: Path
    batch_rows: int = DEFAULT_BATCH_ROWS

    def __post_init__(self) -> None:
        if not self.path.is_file():
            raise ReplayFileError(self.path, "there is no such file")

    def batches(self, repeats: Repeats | None = None) -> Iterator[ReplayBatch]:
        """Yield the file in order, about `batch_rows` rows at a time. `repeats` knows the rows of files before it."""
        repeats = Repeats() if repeats is None else repeats
        source = f"{self.path.name}#{_digest(self.path)}"
        row = 0
        for table, malformed in self._tables():
            yield _convert(table, row, source, malformed, repeats)
            row += table.height

    def total_bytes(self) -> int:
        return self.path.stat().st_size

    def _tables(self) -> Iterator[tuple[pl.DataFrame, list[tuple[int, str]]]]:
        """Text columns, and (line, text) of each line that is no row."""
        try:
            yield from self._parquet() if self._is_parquet() else self._csv()
        except (pa.ArrowInvalid, pa.ArrowKeyError, OSError) as error:
            raise ReplayFileError(self.path, str(error).splitlines()[0]) from error

    def _is_parquet(self) -> bool:
        with self.path.open("rb") as file:
            return file.read(4) == b"PAR1"

    def _parquet(self) -> Iterator[tuple[pl.DataFrame, list[tuple[int, str]]]]:
        file = pa.parquet.ParquetFile(self.path)
        self._check_header(file.schema_arrow.names)
        for batch in file.iter_batches(self.batch_rows):
            columns = [_as_text(column) for column in batch.columns]
            yield _frame(pa.RecordBatch.from_arrays(columns, names=batch.schema.names)), []

    def _csv(self) -> Iterator[tuple[pl.DataFrame, list[tuple[int, str]]]]:
        names = self._header()
        self._check_header(names)
        malformed: list[tuple[int, str]] = []

        def skip(line: Any) -> str:
            malformed.append((line.number or 0, line.text))
            return "skip"

        block_bytes = max(2 * MAX_LINE_BYTES, self.batch_rows * _BYTES_PER_ROW)
        reader = pa.csv.open_csv(
            SafeLines(pa.input_stream(str(self.path)), fields=len(names)),
            # Without threads lines are numbered, and bad ones are met in order.
            read_options=pa.csv.ReadOptions(use_threads=False, block_size=block_bytes),
            parse_options=pa.csv.ParseOptions(invalid_row_handler=skip),
            convert_options=pa.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.binary())),
        )
        for batch in reader:
            found, malformed[:] = list(malformed), []
            for frame in _slices(_frame(batch), self.batch_rows):
                yield frame, found
                found = []
        if malformed:
            yield pl.DataFrame(schema=dict.fromkeys(names, pl.String)), malformed

    def _header(self) -> list[str]:
        with pa.input_stream(str(self.path)) as stream:
            head = stream.read(65_536).removeprefix(codecs.BOM_UTF8).split(b"\n", 1)[0]
        return [name.strip().strip('"') for name in head.decode("utf-8", "replace").rstrip("\r").split(",")]

    def _check_header(self, names: Sequence[str]) -> None:
        missing = [name for name in REQUIRED_COLUMNS if name not in names]
        if missing:
            raise ReplayFileError(self.path, f"it has no column {', '.join(missing)}; it has {', '.join(names)}")
        if not set(TRADE_COLUMNS) <= set(names) and not set(QUOTE_COLUMNS) <= set(names):
            wanted = f"{', '.join(TRADE_COLUMNS)} (trades) or {', '.join(QUOTE_COLUMNS)} (quotes)"
            raise ReplayFileError(self.path, f"it has neither the columns {wanted}")


@cache
def _digest(path: Path) -> str:
    """Eight hex digits of the content: the same file is the same source, wherever it lies."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:8]


def _slices(frame: pl.DataFrame, rows: int) -> Iterator[pl.DataFrame]:
    for start in range(0, max(frame.height, 1), rows):
        yield frame.slice(start, rows)


def _as_text(column: pa.Array) -> pa.Array:
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("ns", tz=column.type.tz)).cast(pa.int64())
    return pc.cast(column, pa.utf8())


def _frame(batch: pa.RecordBatch) -> pl.DataFrame:
    """Known columns as text; bytes that are no UTF-8 are replaced, and then fail their conversion."""
    columns = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if name in REQUIRED_COLUMNS or name in OPTIONAL_COLUMNS:
            columns[name] = _utf8(column)
    frame = pl.DataFrame({name: pl.Series(name, pl.from_arrow(column)) for name, column in columns.items()})
    return frame.with_columns(pl.all().cast(pl.String).str.strip_chars())


def _utf8(column: pa.Array) -> pa.Array:
    try:
        return pc.cast(column, pa.utf8())
    except pa.ArrowInvalid:
        texts = [None if raw is None else raw.decode("utf-8", "replace") for raw in column.to_pylist()]
        return pa.array(texts, pa.utf8())


def _convert(
    frame: pl.DataFrame, first_row: int, source: str, malformed: Sequence[tuple[int, str]], repeats: Repeats
) -> ReplayBatch:
    rows = frame.with_row_index("row", first_row).with_columns(pl.col("row").cast(pl.Int64))
    for name in OPTIONAL_COLUMNS:
        if name not in rows.columns:
            rows = rows.with_columns(pl.lit(None, pl.String).alias(name))
    rows = rows.with_columns(pl.col(pl.String).replace("", None))
    rows = rows.with_columns(kind=pl.col("kind").fill_null("trade").str.to_lowercase())
    typed = _typed(rows)
    good = typed.filter(pl.col("reason").is_null())
    if (repeated := repeats.among(good)).any():
        typed = _without(typed, good["row"].filter(pl.Series(repeated)))
        good = typed.filter(pl.col("reason").is_null())
    bad = rows.join(typed.filter(pl.col("reason").is_not_null()).select("row", "reason", "detail"), on="row")
    return ReplayBatch(
        rows_in=rows.height + len(malformed),
        arrivals=_by_commodity(good, source) if good.height else [],
        rejected=_rejected(bad.sort("row"), source, malformed) if bad.height or malformed else None,
    )


def _typed(rows: pl.DataFrame) -> pl.DataFrame:
    """Convert every column and say, per row, the first thing that is wrong with it."""
    typed = rows.with_columns(
        instrument_ok=pl.col("instrument").map_batches(_known_keys, return_dtype=pl.Boolean),
        kind_code=pl.col("kind").replace_strict(_KINDS, default=None, return_dtype=pl.Int8),
        side_code=pl.col("side").str.to_lowercase().replace_strict(_SIDES, default=None, return_dtype=pl.Int8),
        **{f"{name}_ns": _time(name) for name in ("ts_event", "ts_recv")},
        seq_number=pl.coalesce(pl.col("seq").cast(pl.Int64, strict=False), pl.col("row")),
        **{f"{name}_fixed": _fixed(name) for name in (*TRADE_COLUMNS, *QUOTE_COLUMNS)},
    )
    checks = list(_checks())
    return typed.with_columns(
        reason=pl.coalesce(pl.when(wrong).then(pl.lit(reason)) for wrong, reason, _ in checks),
        detail=pl.coalesce(pl.when(wrong).then(detail) for wrong, _, detail in checks),
    )


def _without(typed: pl.DataFrame, repeated: pl.Series) -> pl.DataFrame:
    """Say of rows that came before what they are."""
    named = (pl.col("kind_code") == TRADE) & pl.col("trade_id").is_not_null()
    by_id = pl.format("trade_id '{}' came before on this trade date", pl.col("trade_id").str.slice(0, 80))
    by_number = pl.format("seq {} came before with this ts_event", pl.col("seq_number"))
    return typed.with_columns(
        pl.when(pl.col("row").is_in(repeated.implode())).then(said).otherwise(pl.col(name)).alias(name)
        for name, said in (
            ("reason", pl.lit("duplicate")),
            ("detail", pl.when(named).then(by_id).otherwise(by_number)),
        )
    )


def _checks() -> Iterator[tuple[pl.Expr, str, pl.Expr]]:
    """(what is wrong, reason, detail) in the order in which they are reported."""
    trade, quote = pl.col("kind_code").is_in([TRADE, CORRECTION]), pl.col("kind_code") == QUOTE
    amends = pl.col("kind_code").is_in([BUST, CORRECTION])
    yield pl.col("kind_code").is_null(), "unparseable", _said("kind", f"is none of {', '.join(_KINDS)}")
    for name in REQUIRED_COLUMNS:
        yield pl.col(name).is_null(), "missing_field", pl.lit(f"{name} is empty")
    yield ~pl.col("instrument_ok"), "unparseable", _said("instrument", "is no key such as XCEC:GC:202612")
    for name in ("ts_event", "ts_recv"):
        yield _bad(name, f"{name}_ns"), "unparseable", _said(name, "is no time (ns integer or ISO 8601)")
    yield _bad("seq", pl.col("seq").cast(pl.Int64, strict=False)), "unparseable", _said("seq", "is no integer")
    yield trade & _bad("side", "side_code"), "unparseable", _said("side", f"is none of {', '.join(_SIDES)}")
    yield amends & pl.col("trade_id").is_null(), "missing_field", pl.lit("trade_id is empty: which trade?")
    for name in TRADE_COLUMNS:
        yield trade & pl.col(name).is_null(), "missing_field", pl.lit(f"{name} is empty")
    for names, applies in ((TRADE_COLUMNS, trade), (QUOTE_COLUMNS, quote)):
        for name in names:
            number = pl.col(name).cast(pl.Float64, strict=False)
            not_finite = applies & (number.is_nan() | number.is_infinite())
            reason = "price_not_finite" if "price" in name else "unparseable"
            yield not_finite, reason, _said(name, "is not finite")
            too_big = applies & (number.abs() >= PRICE_LIMIT / 1e9)
            yield too_big, "out_of_range", _said(name, "is 1e9 or more")
            yield applies & _bad(name, f"{name}_fixed"), "unparseable", _said(name, "is no number")
    yield trade & (pl.col("size_fixed") <= 0), "size_not_positive", _said("size", "is not positive")
    for name in ("bid_size", "ask_size"):
        yield quote & (pl.col(f"{name}_fixed") < 0), "size_not_positive", _said(name, "is negative")
    empty = pl.col("bid_price").is_null() & pl.col("ask_price").is_null()
    yield quote & empty, "missing_field", pl.lit("bid_price and ask_price are empty")


def _bad(name: str, converted: str | pl.Expr) -> pl.Expr:
    result = pl.col(converted) if isinstance(converted, str) else converted
    return pl.col(name).is_not_null() & result.is_null()


def _said(name: str, complaint: str) -> pl.Expr:
    return pl.format(f"{name} '{{}}' {complaint}", pl.col(name).str.slice(0, 80))


def _fixed(name: str) -> pl.Expr:
    """Decimal text as int64 1e-9, rounded to the nearest; null where it is no number or too big."""
    scaled = pl.col(name).cast(pl.Decimal(38, 9), strict=False).to_physical()
    return pl.when(scaled.abs() < PRICE_LIMIT).then(scaled).cast(pl.Int64)


def _time(name: str) -> pl.Expr:
    """Integer ns, or ISO 8601 (UTC where it names no zone); null where it is neither, or beyond what int64 ns hold."""
    text = pl.col(name)
    iso = text.str.replace(r"[Zz]$", "+00:00").str.replace(r"^(\d{4}-\d\d-\d\d) ", "${1}T")
    iso = iso.str.replace(r"^(\d{4}-\d\d-\d\d)$", "${1}T00:00").str.replace(r"(T\d\d:\d\d)($|[+-])", "${1}:00${2}")
    zoned = pl.when(iso.str.contains(r"[+-]\d\d:?\d\d$")).then(iso).otherwise(iso + "+00:00")
    parsed = zoned.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%:z", time_unit="ns", strict=False)
    held = text.str.slice(0, 4).cast(pl.Int32, strict=False).is_between(*_YEARS)  # polars wraps around beyond them
    return pl.coalesce(text.cast(pl.Int64, strict=False), pl.when(held).then(parsed.dt.epoch("ns")))


def _known_keys(keys: pl.Series) -> pl.Series:
    answers = {key: key is None or _is_key(key) for key in keys.unique().to_list()}
    return keys.replace_strict(answers, return_dtype=pl.Boolean)


@cache
def _is_key(text: str) -> bool:
    try:
        InstrumentKey.parse(text)
    except BadInstrumentKey:
        return False
    return True


def _by_commodity(good: pl.DataFrame, source: str) -> list[tuple[str, pa.RecordBatch]]:
    master = InstrumentMaster.load()
    shards: dict[str, list[str]] = {}
    for key in good["instrument"].unique(maintain_order=True).to_list():
        shards.setdefault(master.commodity_of(key), []).append(key)
    if len(shards) == 1:
        return [(next(iter(shards)), _arrivals(good, source))]
    return [
        (commodity, _arrivals(good.filter(pl.col("instrument").is_in(keys)), source))
        for commodity, keys in shards.items()
    ]


def _arrivals(good: pl.DataFrame, source: str) -> pa.RecordBatch:
    n = good.height
    kind = good["kind_code"]
    terms, quote = kind.is_in([TRADE, CORRECTION]), kind == QUOTE
    instrument = _arrow(good["instrument"], pa.utf8()).dictionary_encode()
    names = instrument.dictionary.to_pylist()
    venues = sorted({venue_of(name) for name in names})
    venue_of_name = pa.array([venues.index(venue_of(name)) for name in names], pa.int8())
    columns = {
        "kind": _arrow(good["kind_code"], pa.int8()),
        "venue": pa.DictionaryArray.from_arrays(venue_of_name.take(instrument.indices), venues),
        "instrument": pa.DictionaryArray.from_arrays(instrument.indices.cast(pa.int32()), names),
        "ts_event": _arrow(good["ts_event_ns"], pa.int64()),
        "ts_recv": _arrow(good["ts_recv_ns"], pa.int64()),
        "seq": _arrow(good["seq_number"], pa.int64()),
        **{name: _only(good[f"{name}_fixed"], terms) for name in TRADE_COLUMNS},
        "side": _only(good["side_code"].fill_null(UNKNOWN_SIDE), terms),
        "trade_id": _only(good["trade_id"], ~quote),
        **{name: _only(good[f"{name}_fixed"], quote) for name in QUOTE_COLUMNS},
        "flags": pa.repeat(pa.scalar(0, pa.int32()), n),
        "source": pa.DictionaryArray.from_arrays(pa.repeat(pa.scalar(0, pa.int8()), n), [source]),
        "source_offset": pa.repeat(pa.scalar(0, pa.int64()), n),
        "source_row": _arrow(good["row"], pa.int64()),
    }
    return pa.RecordBatch.from_arrays([columns[name] for name in ARRIVALS.names], schema=ARRIVALS)


def _only(series: pl.Series, where: pl.Series) -> pa.Array:
    """The series with null outside `where`."""
    masked = pl.select(pl.when(where).then(series)).to_series()
    return _arrow(masked, {pl.String: pa.utf8(), pl.Int8: pa.int8()}.get(type(masked.dtype), pa.int64()))


def _arrow(series: pl.Series, to: pa.DataType) -> pa.Array:
    return series.rechunk().to_arrow().cast(to)


def _rejected(bad: pl.DataFrame, source: str, malformed: Sequence[tuple[int, str]]) -> pa.RecordBatch:
    """Ledger rows; bad rows are few, so their text is built row by row."""
    rows = [_ledger_row(row, source) for row in bad.to_dicts()]
    for line, text in malformed:
        detail = f"line {line} is no row: wrong number of fields, open quote or too long"
        rows.append((None, None, None, "malformed_frame", detail, text[:_RAW_CHARACTERS], source, _MALFORMED, line))
    columns = zip(*rows, strict=True)
    return pa.RecordBatch.from_arrays(
        [pa.array(column, field.type) for column, field in zip(columns, REJECTED, strict=True)], schema=REJECTED
    )


def _ledger_row(row: dict[str, Any], source: str) -> tuple[Any, ...]:
    key = row["instrument"]
    venue = venue_of(key) if key and _is_key(key) else None
    received = row["ts_recv"] or ""
    raw = ",".join(f"{k}={v}" for k, v in row.items() if v is not None and k not in ("row", "reason", "detail"))
    ts_recv = int(received) if received.isdigit() and len(received) < 19 else None
    return venue, key, ts_recv, row["reason"], row["detail"], raw[:_RAW_CHARACTERS], source, 0, row["row"]
