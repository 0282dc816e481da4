from tests.connectors.cme.fuzz_cme import run


def test_any_bytes_are_rows_or_a_clean_error() -> None:
    outcomes = run(3_000, seed=3)
    rows, ledger_rows = outcomes.pop("rows"), outcomes.pop("ledger rows")
    assert outcomes.total() > 50  # sessions ended in many ways, and none by an exception
    assert rows > 500
    assert ledger_rows > 500
