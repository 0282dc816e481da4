"""Replay files: every good row exactly, every bad row in the ledger with its reason."""

import gzip
from pathlib import Path

import polars as pl
import pytest

from connectors.repeats import Repeats
from connectors.replay import ReplayFile, ReplayFileError
from market.columns import concat_batches
from market.schemas import BUST, BUY, CORRECTION, SELL, UNKNOWN_SIDE

HEADER = "ts_event,instrument,price,size,seq,kind,bid_price,bid_size,ask_price,ask_size,side,trade_id,ts_recv"
TS = "1700000000000000000"
GC = "XCEC:GC:202612"


def write(tmp_path: Path, *lines: str, header: str = HEADER, name: str = "file.csv") -> Path:
    path = tmp_path / name
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


def read(path: Path, batch_rows: int = 20_000) -> tuple[int, list[dict], list[dict]]:
    rows_in, good, bad = 0, [], []
    for batch in ReplayFile(path=path, batch_rows=batch_rows).batches():
        rows_in += batch.rows_in
        for _, arrivals in batch.arrivals:
            good += arrivals.to_pylist()
        bad += [] if batch.rejected is None else batch.rejected.to_pylist()
    return rows_in, good, bad


def trade(**changes: str) -> str:
    row = {"ts_event": TS, "instrument": GC, "price": "1313.7", "size": "1", **changes}
    return ",".join(row.get(name, "") for name in HEADER.split(","))


def quote(**changes: str) -> str:
    book = {"bid_price": "1", "bid_size": "2", "ask_price": "3", "ask_size": "4"}
    return trade(**{"kind": "quote", "price": "", "size": "", **book, **changes})


def test_a_trade_is_exact(tmp_path) -> None:
    line = trade(price="1313.700000001", size="0.5", seq="9", side="Buy", trade_id="t1", ts_recv=str(int(TS) + 5))
    _, [row], bad = read(write(tmp_path, line))
    assert bad == []
    assert (row["price"], row["size"], row["seq"], row["side"]) == (1_313_700_000_001, 500_000_000, 9, 1)
    assert (row["ts_event"], row["ts_recv"], row["trade_id"]) == (int(TS), int(TS) + 5, "t1")
    assert (row["venue"], row["instrument"], row["kind"], row["bid_price"]) == ("XCEC", GC, 0, None)


def test_a_quote_may_have_one_side(tmp_path) -> None:
    _, [row], bad = read(write(tmp_path, quote(ask_price="", ask_size="")))
    assert bad == []
    assert (row["kind"], row["bid_price"], row["ask_price"], row["price"]) == (1, 10**9, None, None)


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        (TS, int(TS)),
        ("2023-11-14T22:13:20Z", int(TS)),
        ("2023-11-14T22:13:20", int(TS)),
        ("2023-11-14 22:13:20.000000001Z", int(TS) + 1),
        ("2023-11-15T03:43:20+05:30", int(TS)),
        ("2023-11-14T22:13:20.5+00:00", int(TS) + 500_000_000),
        ("2023-11-14T22:13Z", int(TS) - 20 * 10**9),
        ("2023-11-15 03:43+0530", int(TS) - 20 * 10**9),
        ("2023-11-14", 1_699_920_000 * 10**9),
        ("1969-12-31T23:59:59.999999999Z", -1),
        ("1678-01-01", -9_214_560_000 * 10**9),
        ("2261-12-31T23:59:59", 9_214_646_399 * 10**9),
    ],
)
def test_times(tmp_path, text, ns) -> None:
    _, good, bad = read(write(tmp_path, trade(ts_event=text)))
    assert bad == []
    assert good[0]["ts_event"] == ns


@pytest.mark.parametrize(
    ("line", "reason", "said"),
    [
        (trade(size="0"), "size_not_positive", "size '0'"),
        (trade(size="-3"), "size_not_positive", "size '-3'"),
        (trade(price="nan"), "price_not_finite", "price 'nan'"),
        (trade(price="inf"), "price_not_finite", "price 'inf'"),
        (trade(price="-Infinity"), "price_not_finite", "-Infinity"),
        (trade(price="abc"), "unparseable", "price 'abc'"),
        (trade(price=""), "missing_field", "price is empty"),
        (trade(size=""), "missing_field", "size is empty"),
        (trade(price="1e308"), "out_of_range", "1e308"),
        (trade(price="1000000000"), "out_of_range", "1e9"),
        (trade(ts_event=""), "missing_field", "ts_event is empty"),
        (trade(ts_event="yesterday"), "unparseable", "yesterday"),
        (trade(ts_event="2262-06-01T00:00:00Z"), "unparseable", "2262"),
        (trade(ts_event="9999-12-31"), "unparseable", "9999"),
        (trade(ts_event="0001-01-01T00:00:00Z"), "unparseable", "0001"),
        (trade(ts_recv="soon"), "unparseable", "soon"),
        (trade(seq="first"), "unparseable", "first"),
        (trade(instrument=""), "missing_field", "instrument is empty"),
        (trade(instrument="gold"), "unparseable", "gold"),
        (trade(kind="order"), "unparseable", "order"),
        (trade(kind="bust"), "missing_field", "trade_id is empty"),
        (trade(kind="correction"), "missing_field", "trade_id is empty"),
        (trade(kind="correction", trade_id="t1", price=""), "missing_field", "price is empty"),
        (trade(kind="correction", trade_id="t1", size="0"), "size_not_positive", "size '0'"),
        (quote(bid_price="x"), "unparseable", "bid_price 'x'"),
        (quote(bid_size="-1"), "size_not_positive", "bid_size"),
        (quote(bid_price="", ask_price=""), "missing_field", "bid_price and ask_price"),
        (trade(side="sideways"), "unparseable", "side 'sideways'"),
        (trade(kind="correction", trade_id="t1", side="long"), "unparseable", "side 'long'"),
        ("a,b", "malformed_frame", "line"),
    ],
)
def test_a_bad_row_is_refused_with_its_reason_and_stops_nothing(tmp_path, line, reason, said) -> None:
    rows_in, good, [row] = read(write(tmp_path, trade(), line, trade()))
    assert (rows_in, len(good)) == (3, 2)
    assert row["reason"] == reason
    assert said in row["detail"] or said in row["raw"]


@pytest.mark.parametrize(
    ("text", "side"), [("Ask", SELL), ("A", SELL), ("b", BUY), ("N", UNKNOWN_SIDE), ("", UNKNOWN_SIDE)]
)
def test_sides(tmp_path, text, side) -> None:
    _, [row], bad = read(write(tmp_path, trade(side=text)))
    assert (row["side"], bad) == (side, [])


@pytest.mark.parametrize("batch_rows", [500, 20_000])
@pytest.mark.parametrize(
    "bad",
    [
        trade(trade_id='"t'),
        trade(instrument=f'"{GC}'),
        trade(side='x"', trade_id='"t'),
        trade(trade_id='"t""'),
        trade(trade_id="t" * 100_000),
        trade() + "," * 100_000,
        "\0" * 100_000,
    ],
    ids=["open_quote", "open_in_the_middle", "open_after_a_quote", "doubled", "long", "many_fields", "nul"],
)
def test_a_line_that_is_no_row_harms_no_other(tmp_path, bad, batch_rows) -> None:
    lines = [trade(seq=str(i)) for i in range(1_500)]
    lines[100:100] = [bad]
    lines[1_200:1_200] = [bad]
    rows_in, good, rejected = read(write(tmp_path, *lines), batch_rows)
    assert (rows_in, [row["seq"] for row in good]) == (1_502, list(range(1_500)))
    assert [(row["reason"], row["source_row"]) for row in rejected] == [
        ("malformed_frame", 102),
        ("malformed_frame", 1_202),
    ]


def test_values_in_quotes(tmp_path) -> None:
    ids = ['"t1"', '"t,2"', '"t""3"', 't"4', '"t"5', '""']
    _, good, bad = read(write(tmp_path, *[trade(trade_id=one, side='"buy"') for one in ids]))
    assert bad == []
    assert [row["trade_id"] for row in good] == ["t1", "t,2", 't"3', 't"4', "t5", None]


def test_a_mark_of_the_byte_order_is_no_part_of_the_header(tmp_path) -> None:
    path = write(tmp_path, trade())
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    rows_in, [row], bad = read(path)
    assert (rows_in, row["ts_event"], bad) == (1, int(TS), [])


def test_busts_and_corrections(tmp_path) -> None:
    bust = trade(kind="Bust", trade_id="t1", price="", size="")
    ignored = trade(kind="bust", trade_id="t1", price="5", size="nonsense")
    _, good, bad = read(write(tmp_path, bust, ignored, trade(kind="correction", trade_id="t1", side="sell")))
    assert bad == []
    assert [(row["kind"], row["trade_id"]) for row in good] == [(BUST, "t1"), (BUST, "t1"), (CORRECTION, "t1")]
    assert [(row["price"], row["size"], row["side"]) for row in good[:2]] == [(None, None, None)] * 2
    assert (good[2]["price"], good[2]["side"], good[2]["bid_price"]) == (1_313_700_000_000, SELL, None)


def test_rows_are_told_apart_by_number_when_the_file_has_no_sequence(tmp_path) -> None:
    _, good, _ = read(write(tmp_path, trade(), trade(size="0"), trade()))
    assert [row["seq"] for row in good] == [0, 2]


@pytest.mark.parametrize("batch_rows", [1, 7, 50, 20_000])
def test_the_same_rows_whatever_the_batch_size_and_packing(tmp_path, batch_rows) -> None:
    lines = [trade(seq=str(i), size=str(i % 5), price=f"{1300 + i / 10}") for i in range(100)]
    lines.insert(50, "not,a,row")
    plain = write(tmp_path, *lines)
    packed = tmp_path / "file.csv.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    rows_in, good, bad = read(plain)
    assert (rows_in, len(good), len(bad)) == (101, 80, 21)
    assert [row["seq"] for row in read(plain, batch_rows)[1]] == [row["seq"] for row in good]
    assert strip(read(plain, batch_rows)[2]) == strip(bad)
    assert strip(read(packed, batch_rows)[1]) == strip(good)


def strip(rows: list[dict]) -> list[dict]:
    return sorted(
        ({k: v for k, v in row.items() if k != "source"} for row in rows),
        key=lambda row: (row["source_offset"], row["source_row"]),
    )


def test_parquet_reads_as_csv_does(tmp_path) -> None:
    path = write(tmp_path, *[trade(seq=str(i), price=f"{1300 + i / 10:.1f}", size=str(i % 3)) for i in range(50)])
    frame = pl.read_csv(path).with_columns(pl.from_epoch("ts_event", time_unit="ns"))
    frame.select("ts_event", "instrument", "price", "size", "seq").write_parquet(tmp_path / "file.parquet")
    _, good, bad = read(path)
    _, good_parquet, bad_parquet = read(tmp_path / "file.parquet")
    assert strip(good_parquet) == strip(good)
    assert [row["reason"] for row in bad_parquet] == [row["reason"] for row in bad]


def test_a_trade_that_comes_again_is_refused_as_a_duplicate(tmp_path) -> None:
    lines = [trade(seq="1", trade_id="a"), trade(seq="2", trade_id="b"), trade(seq="3", trade_id="a"), trade(seq="9")]
    path = write(tmp_path, *lines, trade(seq="9"), quote(seq="9"), trade(seq="1", trade_id="a", size="0"))
    rows_in, good, bad = read(path)
    assert (rows_in, [row["seq"] for row in good]) == (7, [1, 2, 9, 9])
    assert [(row["source_row"], row["reason"]) for row in bad] == [
        (2, "duplicate"),
        (4, "duplicate"),
        (6, "size_not_positive"),
    ]
    assert [row["detail"] for row in bad[:2]] == [
        "trade_id 'a' came before on this trade date",
        "seq 9 came before with this ts_event",
    ]
    one, two = Repeats(), ReplayFile(path=path)
    first, again = [sum(a.num_rows for b in two.batches(one) for _, a in b.arrivals) for _ in range(2)]
    assert (first, again) == (4, 0)


def test_bytes_that_are_no_text_are_refused(tmp_path) -> None:
    path = tmp_path / "file.csv"
    path.write_bytes(HEADER.encode() + b"\n" + trade(price="\xff").encode("latin-1") + b"\n" + trade().encode() + b"\n")
    rows_in, good, [row] = read(path)
    assert (rows_in, len(good), row["reason"]) == (2, 1, "unparseable")


@pytest.mark.parametrize("content", ["", "a,b\n1,2\n", "ts_event,instrument\n1,2\n"])
def test_a_file_without_the_columns_is_refused_as_a_whole(tmp_path, content) -> None:
    path = tmp_path / "file.csv"
    path.write_text(content)
    with pytest.raises(ReplayFileError, match=r"cannot replay .*file\.csv"):
        list(ReplayFile(path=path).batches())


def test_two_commodities_are_two_shards_in_file_order(tmp_path) -> None:
    lines = [trade(seq=str(i), instrument=GC if i % 2 else "IFUS:CT:202612") for i in range(10)]
    [batch] = ReplayFile(path=write(tmp_path, *lines)).batches()
    shards = dict(batch.arrivals)
    assert set(shards) == {"gold", "cotton"}
    assert concat_batches([shards["gold"]]).column("seq").to_pylist() == [1, 3, 5, 7, 9]
