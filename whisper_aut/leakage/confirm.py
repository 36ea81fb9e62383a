"""Whether two waveforms share audio where landmarks say so: their phases agree at one lag and at no other.

Generalised cross-correlation with phase transform (Knapp and Carter, "The Generalized Correlation Method for Estimation
of Time Delay", IEEE Trans. ASSP 24(4), 1976), over blocks of 128 ms. Every frequency and every block counts alike, so
that neither gain, nor an equaliser, nor one loud click, nor a hum decides: a note or a hum that both clips have agrees
at every lag a period apart, and only what is the same down to the waveform agrees at one.

Shapes: S samples, B blocks, F bins between 100 Hz and 4 kHz, G lags.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import scipy.fft
import soxr

from whisper_aut.constants import SAMPLE_RATE
from whisper_aut.leakage.landmarks import Floats, Ints

BLOCK_SAMPLES = 2048  # 128 ms
_STEP_SAMPLES = BLOCK_SAMPLES // 2
_REACH_SAMPLES = 640  # lags to either side: landmarks are right within 16 ms, and the rest shows what chance gives
_PEAK_SAMPLES = 24  # 1.5 ms to either side belong to the peak
_LOW, _HIGH = 100 * BLOCK_SAMPLES // SAMPLE_RATE, 4_000 * BLOCK_SAMPLES // SAMPLE_RATE
_NUM_BEST = 3  # blocks that are left out when it is asked whether the others agree, too
MIN_BLOCKS = _NUM_BEST + 1
_SHORT_SAMPLES = SAMPLE_RATE
_QUIET = 1e-6  # of the loudest block's power; digital silence has no phase
_SILENT = 1e-10

# In the middle (of logarithms) between 49,000 wrong guesses over real recordings, of which the best reached 13, 3.5 and
# 10, none in all three, and changed copies, of which the weakest had 23, 4 and 4; see docs/leakage.md. Two hums of one
# machine had support 10 and margin 1.2, the faint noise of two short words confidence 13 and support -1: each of the
# three keeps another kind of stranger out.
MIN_CONFIDENCE = 17.0
MIN_MARGIN = 3.0
MIN_SUPPORT = 3.5

_FINE_SPEEDS = np.arange(-3, 4) * 1e-3  # around the speed that landmarks tell, which is right within 0.25%
_SLOPES = np.arange(-13, 14) * 4e-5  # and around each of those

_HANN: Floats = np.hanning(BLOCK_SAMPLES + 1)[:-1].astype(np.float32)
Complexes = npt.NDArray[np.complex64]


@dataclass(frozen=True)
class Confirmation:
    """What the waveforms say. ``b``'s time is ``a``'s times ``speed`` plus ``offset_sec``.

    Attributes:
        correlation: mean cosine of the phase difference over blocks and frequencies, 1 for equal waveforms, -1 where
            one is the other upside down.
        confidence: the peak over the root mean square at other lags.
        margin: the peak over the highest other.
        support: standard deviations by which the blocks other than the best three agree.
        start_sec: where in ``a`` the audio that was compared begins.
        overlap_sec: its length.
    """

    offset_sec: float
    speed: float
    correlation: float
    confidence: float
    margin: float
    support: float
    start_sec: float
    overlap_sec: float

    @property
    def shared(self) -> bool:
        """Whether the two share audio."""
        return self.confidence >= MIN_CONFIDENCE and self.margin >= MIN_MARGIN and self.support >= MIN_SUPPORT

    def later_by(self, seconds: float) -> Confirmation:
        """The same where ``a`` is a piece of something longer, and began so much after it."""
        return replace(self, offset_sec=self.offset_sec - seconds * self.speed, start_sec=self.start_sec + seconds)


def confirm(a: Floats, b: Floats, offset_sec: float) -> Confirmation | None:
    """Compare waveforms [S] about a guessed offset; None where they share less than a fifth of a second of sound."""
    return _confirm(a, b, round(offset_sec * SAMPLE_RATE), 1.0)


def confirm_at_speed(a: Floats, b: Floats, offset_sec: float, speed: float) -> Confirmation | None:
    """The same where ``a`` is played about ``speed`` times as fast; the exact speed is searched within 0.35% of it."""
    speed, lag = _refined(a, b, offset_sec, speed)
    return _confirm(_at_speed(a, speed), b, lag, speed)


def _confirm(a: Floats, b: Floats, lag: int, speed: float) -> Confirmation | None:
    found = _phases(a, b, lag)
    if found is None:
        return None
    # Blocks that do not lie on each other share only a part: move, then look again.
    lag += int(np.argmax(np.abs(_correlation(found[0].mean(axis=0))))) - _REACH_SAMPLES
    found = _phases(a, b, lag)
    if found is None:
        return None
    phases, _ = found
    curve = _correlation(phases.mean(axis=0))
    near = curve[_REACH_SAMPLES - _PEAK_SAMPLES : _REACH_SAMPLES + _PEAK_SAMPLES + 1]
    best = int(np.argmax(np.abs(near)))  # below zero where one of the two is upside down, which no ear hears
    moved, peak = best - _PEAK_SAMPLES, float(near[best])
    others = np.delete(np.abs(curve), np.arange(2 * _PEAK_SAMPLES + 1) + _REACH_SAMPLES + moved - _PEAK_SAMPLES)
    turn = np.exp(2j * np.pi * np.arange(_LOW, _HIGH) * moved / BLOCK_SAMPLES)
    by_block = np.sort(np.sign(peak) * (phases @ turn).real)[:-_NUM_BEST]
    lag += moved
    start = max(0, -lag)
    return Confirmation(
        offset_sec=lag / SAMPLE_RATE,
        speed=speed,
        correlation=peak,
        confidence=abs(peak) / max(float(np.sqrt((others**2).mean())), 1e-9),
        margin=abs(peak) / max(float(others.max()), 1e-9),
        support=float(by_block.sum() / np.sqrt(len(by_block)) / _BLOCK_DEVIATION),
        start_sec=start / SAMPLE_RATE / speed,
        overlap_sec=(min(len(a), len(b) - lag) - start) / SAMPLE_RATE / speed,
    )


# Of a block's mean cosine when nothing is shared: F bins of random phase; the window makes neighbours alike.
_BLOCK_DEVIATION = 1.2 / np.sqrt(2 * (_HIGH - _LOW))


def _phases(a: Floats, b: Floats, lag: int) -> tuple[Complexes, Ints] | None:
    """Cross spectra of overlapping blocks, of magnitude 1/F each [B, F], and where in ``a`` the blocks begin [B], in
    samples; None where fewer than four have sound."""
    start, stop = max(0, -lag), min(len(a), len(b) - lag)
    # A spoken digit is hardly longer than a block: what is short gets blocks that reach beyond its ends.
    edge = _STEP_SAMPLES if stop - start < _SHORT_SAMPLES else 0
    if stop - start + 2 * edge < BLOCK_SAMPLES + (MIN_BLOCKS - 1) * _STEP_SAMPLES:
        return None
    cut = [
        np.lib.stride_tricks.sliding_window_view(np.pad(wave, edge), BLOCK_SAMPLES)[::_STEP_SAMPLES]
        for wave in (a[start:stop], b[start + lag : stop + lag])
    ]
    powers = [(blocks**2).mean(axis=1) for blocks in cut]
    sounding = np.logical_and(*(power > max(_SILENT, _QUIET * float(power.max())) for power in powers))
    if sounding.sum() < MIN_BLOCKS:
        return None
    spectra = [scipy.fft.rfft(blocks[sounding] * _HANN, axis=1)[:, _LOW:_HIGH] for blocks in cut]
    cross = np.conj(spectra[0]) * spectra[1]
    phases: Complexes = cross / ((np.abs(cross) + 1e-20) * np.float32(_HIGH - _LOW))
    return phases, start - edge + np.flatnonzero(sounding) * _STEP_SAMPLES


def _correlation(phases: Complexes) -> Floats:
    """Correlation at every lag within reach, from phases [..., F] to [..., G]."""
    whole = np.zeros((*phases.shape[:-1], BLOCK_SAMPLES // 2 + 1), dtype=np.complex64)
    whole[..., _LOW:_HIGH] = phases
    curve = scipy.fft.irfft(whole, axis=-1) * np.float32(BLOCK_SAMPLES / 2)
    return np.concatenate([curve[..., -_REACH_SAMPLES:], curve[..., : _REACH_SAMPLES + 1]], axis=-1)


def _at_speed(wave: Floats, speed: float) -> Floats:
    """A wave that was played ``speed`` times as fast, as it was before."""
    resampled: Floats = soxr.resample(wave, 1.0, speed, quality="HQ")
    return resampled


def _refined(a: Floats, b: Floats, offset_sec: float, speed: float) -> tuple[float, int]:
    """Speed and lag at which most blocks agree, when the lag drifts along a straight line from block to block."""
    best = (-1.0, speed, round(offset_sec * SAMPLE_RATE))
    for near in speed * (1 + _FINE_SPEEDS):
        wave = _at_speed(a, near)
        # The offset was found where most landmarks agree, near the middle of what is shared: keep it there.
        first_sec, last_sec = (
            max(0.0, -offset_sec),
            min(len(a) / SAMPLE_RATE * speed, len(b) / SAMPLE_RATE - offset_sec),
        )
        middle_sec = (first_sec + last_sec) / 2
        lag = round((offset_sec + middle_sec * (1 - near / speed)) * SAMPLE_RATE)
        found = _phases(wave, b, lag)
        if found is None:
            continue
        curves, begins = _correlation(found[0]), found[1]
        middle = int(begins[len(begins) // 2])
        for slope in _SLOPES:
            score, moved = _along(curves, np.rint((begins - middle) * slope).astype(np.int64))
            if score > best[0]:
                best = (score, float(near * (1 + slope)), lag + moved - round(middle * slope))
    return best[1], best[2]


def _along(curves: Floats, drift: Ints) -> tuple[float, int]:
    """The highest mean over blocks when block n's lag is shifted by ``drift[n]``, and the lag of the middle."""
    edge = int(np.abs(drift).max(initial=0))
    width = curves.shape[1] - 2 * edge
    if width <= 0:
        return -1.0, 0
    total = np.zeros(width, dtype=np.float32)
    for curve, shift in zip(curves, drift, strict=True):
        total += curve[edge + shift : edge + shift + width]
    best = int(np.argmax(np.abs(total)))
    return float(abs(total[best])) / len(curves), best + edge - _REACH_SAMPLES
