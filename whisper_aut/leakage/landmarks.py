"""Landmarks of a sound: pairs of spectral peaks, which survive gain, resampling, coding, cropping and other sounds.

After Wang, "An Industrial-Strength Audio Search Algorithm" (ISMIR 2003): a peak is the loudest point of its
neighbourhood in time and frequency, a landmark two peaks that are near each other, known by both frequencies and the
time between them. Two things differ. Pieces of two seconds must do, so peaks are dense. And the sides are not alike:
the index holds the strongest peaks only, a query all of them, so that a landmark is found again even where other sounds
add peaks, and no choice of the index has to be made again in the query.

Shapes: S samples, T frames, N peaks, L landmarks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.fft
from scipy.ndimage import maximum_filter1d

from whisper_aut.constants import SAMPLE_RATE

HOP_SAMPLES = 256  # 16 ms
WINDOW_SAMPLES = 1024  # 64 ms: 15.6 Hz a bin
FRAMES_PER_SEC = SAMPLE_RATE / HOP_SAMPLES
FIRST_BIN = 6  # 94 Hz; below is hum
NUM_BINS = 250  # up to 4 kHz: what a recording at 8 kHz still has
HASH_BITS = 20  # 8 of the first peak's bin, 7 of the step to the second, 5 of the frames between

PEAK_FRAMES, PEAK_BINS = 3, 6  # a peak is the loudest within 48 ms and 94 Hz to either side
MAX_GAP_FRAMES = 31
MIN_GAP_FRAMES = 2
MAX_STEP_BINS = 63
# Quieter than 65 dB below the loudest within two seconds is a codec's idling; below the fixed floor, 16-bit rounding.
_RELATIVE_FLOOR = 10**-6.5
_FLOOR_REACH_FRAMES = 251
_ABSOLUTE_FLOOR = 10**-5.5  # power of a bin under the window; full scale is about 10^4.8

INDEX_PEAKS_PER_SEC = 25
INDEX_LANDMARKS_PER_SEC = 60  # times four bytes: 0.86 GB for 1,000 hours
_INDEX_FAN = 8  # landmarks of one peak, where a short sound leaves room for them
_MIN_INDEX_SEC = 1.0  # a shorter clip gets the landmarks of one second
_SLICE_FRAMES = 16  # peaks of an index are chosen by slices of 256 ms
_PIECE_SEC = 60  # of spectrogram in memory at a time

# Cuts a query's frequencies and times down (or up) before hashing: fast and slow copies are looked for as well.
SPEEDS = tuple(round(1 + 0.005 * step, 3) for step in range(-7, 8))

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
_HANN: Floats = np.hanning(WINDOW_SAMPLES + 1)[:-1].astype(np.float32)


@dataclass(frozen=True)
class Peaks:
    """Peaks in order of time: ``frame`` int64 [N], ``bin`` float32 [N] between bins by a parabola, ``power``."""

    frame: Ints
    bin: Floats
    power: Floats

    def __len__(self) -> int:
        return len(self.frame)

    def chosen(self, keep: Ints) -> Peaks:
        """The peaks at the given positions."""
        return Peaks(self.frame[keep], self.bin[keep], self.power[keep])


@dataclass(frozen=True)
class Landmarks:
    """``code`` int64 [L], below 2^HASH_BITS, and ``frame`` int64 [L] of the first peak."""

    code: Ints
    frame: Ints

    def __len__(self) -> int:
        return len(self.code)

    @classmethod
    def none(cls) -> Landmarks:
        """Those of silence."""
        return cls(np.zeros(0, np.int64), np.zeros(0, np.int64))


def find_peaks(wave: Floats) -> Peaks:
    """All peaks of a waveform [S] of any length, in pieces so that memory stays bounded; the seams leave no trace."""
    reach = _FLOOR_REACH_FRAMES // 2 + PEAK_FRAMES
    piece = round(_PIECE_SEC * FRAMES_PER_SEC)
    num_frames = max(1, 1 + (len(wave) - WINDOW_SAMPLES) // HOP_SAMPLES)
    found = []
    for start in range(0, num_frames, piece):
        first, stop = max(0, start - reach), min(num_frames, start + piece + reach)
        samples = wave[first * HOP_SAMPLES : (stop - 1) * HOP_SAMPLES + WINDOW_SAMPLES]
        peaks = _peaks_of(_power(samples))
        frame = peaks.frame + first
        inside = np.flatnonzero((frame >= start) & (frame < start + piece))
        found.append(Peaks(frame, peaks.bin, peaks.power).chosen(inside))
    return Peaks(
        np.concatenate([peaks.frame for peaks in found]),
        np.concatenate([peaks.bin for peaks in found]),
        np.concatenate([peaks.power for peaks in found]),
    )


def _power(wave: Floats) -> Floats:
    """Power spectrogram [T, NUM_BINS]."""
    if len(wave) < WINDOW_SAMPLES:
        wave = np.pad(wave, (0, WINDOW_SAMPLES - len(wave)))
    frames = np.lib.stride_tricks.sliding_window_view(wave, WINDOW_SAMPLES)[::HOP_SAMPLES]
    spectrum = scipy.fft.rfft(frames * _HANN, axis=1)[:, FIRST_BIN : FIRST_BIN + NUM_BINS]
    power: Floats = spectrum.real**2 + spectrum.imag**2
    return power


def _peaks_of(power: Floats) -> Peaks:
    loudest = maximum_filter1d(maximum_filter1d(power, 2 * PEAK_BINS + 1, axis=1), 2 * PEAK_FRAMES + 1, axis=0)
    around = maximum_filter1d(power.max(axis=1), _FLOOR_REACH_FRAMES)
    floor = np.maximum(np.float32(_ABSOLUTE_FLOOR), np.float32(_RELATIVE_FLOOR) * around)
    frame, bin_ = np.nonzero((power == loudest) & (power > floor[:, None]))
    here = np.log(power[frame, bin_])
    below, above = (np.log(power[frame, np.clip(bin_ + step, 0, NUM_BINS - 1)] + 1e-20) for step in (-1, 1))
    bend = np.minimum(below - 2 * here + above, -1e-3)
    shift = np.clip(0.5 * (below - above) / bend, -0.5, 0.5)
    return Peaks(frame.astype(np.int64), (bin_ + shift).astype(np.float32), power[frame, bin_])


def index_landmarks(wave: Floats) -> Landmarks:
    """Landmarks that an index keeps of a waveform [S]: the strongest peaks, evenly over time, at a bounded rate."""
    budget_sec = max(_MIN_INDEX_SEC, len(wave) / SAMPLE_RATE)
    peaks = _strongest(find_peaks(wave), round(INDEX_PEAKS_PER_SEC * budget_sec))
    first, second, order = _pairs(peaks, _INDEX_FAN)
    # Each peak's nearest partners come first; farther ones only where there is room.
    chosen = np.argsort(order, kind="stable")[: round(INDEX_LANDMARKS_PER_SEC * budget_sec)]
    return _hashed(peaks, first[chosen], second[chosen], 1.0)


def query_landmarks(peaks: Peaks) -> Callable[[float], Landmarks]:
    """Landmarks of all pairs of peaks: for a speed, as they were before the sound was played so many times as fast."""
    first, second, _ = _pairs(peaks, None)
    return lambda speed: _hashed(peaks, first, second, speed)


def _strongest(peaks: Peaks, num_kept: int) -> Peaks:
    """Round after round the next strongest of every slice of 256 ms, in order of time."""
    slices = peaks.frame // _SLICE_FRAMES
    order = np.lexsort((-peaks.power, slices))
    rank = np.empty(len(peaks), dtype=np.int64)
    rank[order] = np.arange(len(peaks)) - np.searchsorted(slices[order], slices[order])
    return peaks.chosen(np.sort(np.argsort(rank, kind="stable")[:num_kept]))


def _pairs(peaks: Peaks, fan: int | None) -> tuple[Ints, Ints, Ints]:
    """First peak, second peak and how-many-th partner of the first, for all near pairs or the ``fan`` next in time."""
    frame, bin_ = peaks.frame, np.rint(peaks.bin)
    num_partners = np.zeros(len(peaks), dtype=np.int64)
    firsts, seconds, orders = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for ahead in range(1, len(peaks)):
        gap = frame[ahead:] - frame[:-ahead]
        near = gap <= MAX_GAP_FRAMES
        if not near.any():
            break
        near &= (gap >= MIN_GAP_FRAMES) & (np.abs(bin_[ahead:] - bin_[:-ahead]) <= MAX_STEP_BINS)
        if fan is not None:
            near &= num_partners[:-ahead] < fan
        first = np.flatnonzero(near)
        firsts.append(first)
        seconds.append(first + ahead)
        orders.append(num_partners[first])
        num_partners[first] += 1
    return np.concatenate(firsts), np.concatenate(seconds), np.concatenate(orders)


def _hashed(peaks: Peaks, first: Ints, second: Ints, speed: float) -> Landmarks:
    """Played s times as fast, frequencies are s times as high and times s times as short."""
    scaled = np.rint((peaks.bin + FIRST_BIN) / speed - FIRST_BIN).astype(np.int64)
    low = scaled[first]
    step = scaled[second] - low
    gap = np.rint((peaks.frame[second] - peaks.frame[first]) * speed).astype(np.int64)
    fits = (low >= 0) & (low < 2**8) & (np.abs(step) <= MAX_STEP_BINS) & (gap <= MAX_GAP_FRAMES)
    code = (low << 12) | ((step + MAX_STEP_BINS + 1) << 5) | gap
    return Landmarks(code[fits], np.rint(peaks.frame * speed).astype(np.int64)[first[fits]])
