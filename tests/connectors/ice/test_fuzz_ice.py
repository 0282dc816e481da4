from tests.connectors.ice.fuzz_ice import fuzz


def test_any_bytes_are_rows_or_a_clean_error() -> None:
    outcomes = fuzz(3_000, seed=3)
    assert outcomes["ticks"] > 500
    assert outcomes["malformed_frame"] > 100
    assert outcomes["gaps"] > 100
