"""From single clips to rows: rates over sources with bootstrap intervals over recordings, paired with the base."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from whisper_aut.constants import DOMAINS
from whisper_aut.speech.results import ALL_SOURCES, ClipResult, Metric, Output, Row

NUM_RESAMPLES = 10_000
CONFIDENCE = 0.95
_CHUNK_CELLS = 5_000_000  # resamples x groups held at once: 40 MB
Floats = npt.NDArray[np.float64]


def rate_interval(
    numerators: Floats, denominators: Floats, groups: Sequence[str], *, seed: int, num_resamples: int = NUM_RESAMPLES
) -> tuple[float, float]:
    """95% percentile interval of sum(``numerators``) / sum(``denominators``), groups of clips resampled together.

    A word error rate is a ratio of sums, so that both sums are drawn anew each time (Bisani and Ney, ICASSP 2004);
    clips of one recording go together (cluster bootstrap; Davison and Hinkley 1997, section 3.8). Numerators of a
    paired difference are the adapted model's minus the base's.

    Args:
        numerators: [N], e.g. errors of each clip.
        denominators: [N], e.g. words of each clip; their sum is positive.
        groups: name of each clip's group.
        seed: the same seed gives the same interval.
        num_resamples: how often the groups are drawn. With one group the interval has no width and means nothing.
    """
    _, numbers = np.unique(np.asarray(groups, dtype=np.str_), return_inverse=True)
    tops, bottoms = np.bincount(numbers, weights=numerators), np.bincount(numbers, weights=denominators)
    num_groups, rng = len(tops), np.random.default_rng(seed)
    rates: list[Floats] = []
    chunk = max(1, _CHUNK_CELLS // num_groups)
    for start in range(0, num_resamples, chunk):
        size = min(chunk, num_resamples - start)
        draws = rng.multinomial(num_groups, np.full(num_groups, 1.0 / num_groups), size=size).astype(np.float64)
        below = draws @ bottoms
        rates.append((draws @ tops)[below > 0] / below[below > 0])  # a draw of clips without words has no rate
    tail = (1.0 - CONFIDENCE) / 2.0
    low, high = np.quantile(np.concatenate(rates), [tail, 1.0 - tail])
    return float(low), float(high)


def make_rows(clips: Sequence[ClipResult], *, seed: int) -> list[Row]:
    """Every metric by domain, source, context and model; the only source of its domain stands as 'all'.

    Changes are against the base at full context, the only one that it was made for: Whisper as everybody runs it. On
    short contexts an unadapted Whisper repeats itself without end, and anything is a gain beside that. Where full
    context was not heard they are against the base at the same context.
    """
    rows: list[Row] = []
    for domain in DOMAINS:
        members = [clip for clip in clips if clip.domain == domain]
        sources = sorted({clip.source for clip in members})
        metrics: tuple[Metric, ...] = ("WER", "loss") if domain == "speech" else ("chrF", "loss")
        for metric in metrics:
            for source in [*(sources if len(sources) > 1 else ()), *([ALL_SOURCES] if sources else ())]:
                chosen = [clip for clip in members if source in (clip.source, ALL_SOURCES)]
                rows += _rows_of(metric, source, chosen, seed)
    return rows


def _rows_of(metric: Metric, source: str, clips: Sequence[ClipResult], seed: int) -> Iterator[Row]:
    units = np.array([_units(metric, clip) for clip in clips], dtype=np.float64)
    if not units.sum():
        return
    scale = 100.0 if metric == "WER" else 1.0
    groups = [clip.group for clip in clips]
    outputs = clips[0].outputs  # the same models and contexts for every clip
    bases = {output.context: number for number, output in enumerate(outputs) if output.role == "base"}
    for number, output in enumerate(outputs):
        reference = bases.get("full", bases[output.context])
        amounts, before = (
            np.array([scale * _amount(metric, clip.outputs[place]) for clip in clips]) for place in (number, reference)
        )
        change = None if number == reference else amounts - before
        yield Row(
            metric=metric,
            domain=clips[0].domain,
            source=source,
            context=output.context,
            role=output.role,
            value=float(amounts.sum() / units.sum()),
            interval=rate_interval(amounts, units, groups, seed=seed),
            delta=None if change is None else float(change.sum() / units.sum()),
            delta_interval=None if change is None else rate_interval(change, units, groups, seed=seed),
            num_clips=len(clips),
            num_groups=len(set(groups)),
            num_units=int(units.sum()),
        )


def _units(metric: Metric, clip: ClipResult) -> int:
    if metric == "WER":
        assert clip.num_words is not None, f"clip {clip.id} has no words counted"
        return clip.num_words
    return clip.num_tokens if metric == "loss" else 1


def _amount(metric: Metric, output: Output) -> float:
    if metric == "loss":
        return output.loss
    if metric == "chrF":
        assert output.chrf is not None
        return output.chrf
    errors = (output.substitutions, output.deletions, output.insertions)
    return float(sum(count for count in errors if count is not None))
