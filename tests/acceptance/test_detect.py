"""The series detector on the labelled files of the Numenta Anomaly Benchmark, one setting for all of them."""

import pytest
from shared_data import shared_data

from benchmarks.nab import Series, benchmark_score, detect, load


def test_it_beats_the_published_streaming_detectors_on_the_labelled_files() -> None:
    labels = shared_data("nab", "labels", "combined_windows.json")
    corpus = load(labels.parents[1])
    scores = {name: detect(series) for name, series in corpus.items()}
    assert benchmark_score(corpus, scores, "standard") > 60  # measured 67.4; Random Cut Forest 51.7 on the full corpus


@pytest.fixture
def corpus() -> dict[str, Series]:
    return {
        "a": Series(values=[0.0] * 1_000, windows=[(400, 499), (700, 799)]),
        "b": Series(values=[0.0] * 500, windows=[]),
    }


def marked(corpus: dict[str, Series], **rows: list[int]) -> dict[str, list[float]]:
    return {
        name: [float(at in rows.get(name, [])) for at in range(len(series.values))] for name, series in corpus.items()
    }


def test_the_scorer_gives_nothing_for_silence_and_all_for_being_first(corpus: dict[str, Series]) -> None:
    silence = {name: [0.0] * len(series.values) for name, series in corpus.items()}
    assert benchmark_score(corpus, silence, "standard") == 0.0
    assert benchmark_score(corpus, marked(corpus, a=[400, 700]), "standard") == pytest.approx(100.0)


def test_the_scorer_prefers_early_and_charges_false_alarms(corpus: dict[str, Series]) -> None:
    early, late = (benchmark_score(corpus, marked(corpus, a=[at, 700]), "standard") for at in (420, 490))
    assert 50 < late < early < 100
    # In a file without windows an alarm costs its whole weight, 0.11; from silence to perfection it is 4 of them.
    assert benchmark_score(corpus, marked(corpus, a=[400, 700], b=[300]), "standard") == pytest.approx(97.25)
    # In probation nothing counts.
    assert benchmark_score(corpus, marked(corpus, a=[400, 700], b=[10]), "standard") == pytest.approx(100.0)
