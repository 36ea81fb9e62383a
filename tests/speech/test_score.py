"""Rates and intervals against counts made by hand and against SciPy's bootstrap."""

import numpy as np
import pytest
import scipy.stats

from whisper_aut.speech.results import ClipResult, Output
from whisper_aut.speech.score import make_rows, rate_interval


def clip(number, errors, *, words=10, source="a", group=None, domain="speech", chrf=None):
    """``errors`` of the base and of the two adapted models."""
    roles = ("base", "adapted decoder", "original decoder")
    return ClipResult(
        id=f"c{number}", source=source, domain=domain, language="en", group=group or f"c{number}", duration_sec=1.0,
        reference="words", num_words=words if domain == "speech" else None, num_tokens=5,
        outputs=[
            Output(
                role=role, context="trimmed", text="", ended=True, loss=float(count),
                substitutions=count if domain == "speech" else None, deletions=0, insertions=0,
                chrf=chrf[place] if chrf else None,
            )
            for place, (role, count) in enumerate(zip(roles, errors, strict=True))
        ],
    )  # fmt: skip


def test_a_rate_is_errors_over_words_and_a_change_is_paired():
    rows = make_rows([clip(0, (5, 1, 2)), clip(1, (1, 1, 4), words=30)], seed=0)
    found = {(row.metric, row.role): row for row in rows}
    assert found["WER", "base"].value == pytest.approx(100 * 6 / 40) and found["WER", "base"].delta is None
    assert found["WER", "adapted decoder"].delta == pytest.approx(100 * -4 / 40)
    assert found["WER", "original decoder"].delta == pytest.approx(0.0)
    assert found["loss", "base"].value == pytest.approx(6 / 10)
    assert all(row.num_clips == row.num_groups == 2 and row.source == "all" for row in rows)


def test_changes_are_against_the_base_at_full_context():
    """What Whisper is worth on contexts that it was not made for is shown, but nothing is measured by it."""
    short = clip(0, (90, 4, 5))
    full = [one.model_copy(update={"context": "full", "substitutions": 2}) for one in short.outputs]
    rows = make_rows([short.model_copy(update={"outputs": [*full, *short.outputs]})], seed=0)
    found = {(row.role, row.context): row.delta for row in rows if row.metric == "WER"}
    assert found["base", "full"] is None
    assert found["base", "trimmed"] == pytest.approx(880.0)
    assert found["adapted decoder", "trimmed"] == pytest.approx(20.0)
    assert found["original decoder", "full"] == pytest.approx(0.0)


def test_sources_stand_by_themselves_and_together():
    rows = make_rows([clip(0, (1, 0, 0)), clip(1, (3, 0, 0), source="b")], seed=0)
    assert [row.source for row in rows if (row.metric, row.role) == ("WER", "base")] == ["a", "b", "all"]


def test_captions_have_the_mean_of_their_scores():
    clips = [clip(n, (1, 1, 1), domain="music", chrf=(10.0 * n, 50.0, 20.0)) for n in range(3)]
    rows = {row.role: row for row in make_rows(clips, seed=0) if row.metric == "chrF"}
    assert rows["base"].value == pytest.approx(10.0) and rows["adapted decoder"].delta == pytest.approx(40.0)
    assert rows["base"].num_units == 3


def test_a_source_of_empty_references_has_no_word_error_rate():
    rows = make_rows([clip(0, (0, 0, 1), words=0)], seed=0)
    assert {row.metric for row in rows} == {"loss"}


def test_the_interval_is_that_of_scipys_bootstrap():
    generator = np.random.default_rng(0)
    words = generator.integers(1, 20, size=150)
    errors = generator.binomial(words, 0.2)
    found = rate_interval(errors.astype(float), words.astype(float), [str(n) for n in range(150)], seed=0)
    expected = scipy.stats.bootstrap(
        (errors, words), lambda e, w, axis: e.sum(axis) / w.sum(axis), paired=True, vectorized=True,
        n_resamples=10_000, method="percentile", rng=np.random.default_rng(1),
    ).confidence_interval  # fmt: skip
    assert found == pytest.approx((expected.low, expected.high), abs=0.004)


def test_clips_of_one_speaker_go_together():
    errors = np.repeat(np.random.default_rng(0).integers(0, 10, size=20), 10).astype(float)
    words, alone = np.full(200, 10.0), [str(n) for n in range(200)]
    speakers = [str(n // 10) for n in range(200)]
    low, high = rate_interval(errors, words, alone, seed=0)
    wide_low, wide_high = rate_interval(errors, words, speakers, seed=0)
    assert wide_high - wide_low > 2 * (high - low)
    assert rate_interval(errors, words, speakers, seed=0) == (wide_low, wide_high)
    assert rate_interval(errors, words, ["one"] * 200, seed=0) == pytest.approx((errors.sum() / 2000,) * 2)
