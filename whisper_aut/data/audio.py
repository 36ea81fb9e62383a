"""One segment of an audio file as 16 kHz mono samples, with every limit checked before memory is allocated."""

from __future__ import annotations

import stat
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from whisper_aut.constants import SAMPLE_RATE
from whisper_aut.data.locate import AudioSource
from whisper_aut.errors import AudioError
from whisper_aut.files import missing_hint

MAX_CHANNELS = 32
MIN_SAMPLE_RATE, MAX_SAMPLE_RATE = 2_000, 384_000  # Hz
MAX_FILE_SEC = 7 * 24 * 3600  # a week: longer than any recording, shorter than a forged header
MAX_DECODED_BYTES = 256 * 2**20  # of the wanted segment in float32, all channels
MAX_PEAK = 1_000.0  # full scale is 1; integers stored as floats reach 32 768
SHORT_BY_SEC = 0.25  # how much less than declared a segment may hold: codec delay, rounded durations

_BYTES_PER_SAMPLE = 4
_CONVERT = "convert the file to WAV, FLAC, Ogg or MP3"


def read_waveform(
    source: AudioSource,
    *,
    offset_sec: float = 0.0,
    duration_sec: float | None = None,
    clip_id: str = "",
    sample_rate: int = SAMPLE_RATE,
) -> npt.NDArray[np.float32]:
    """Samples [S] of one segment of ``source``, 16 kHz, channels averaged, full scale 1; only the segment is decoded.

    Args:
        source: a file, or bytes of one, that libsndfile reads: WAV, FLAC, Ogg Vorbis or Opus, MP3, ...
        offset_sec: where the segment starts.
        duration_sec: its length, or None for all that follows; S is at most ``num_samples_of(duration_sec)``.
        clip_id: named in errors.
        sample_rate: Hz of the samples; Whisper knows 16 kHz only, other encoders have their own.

    Raises:
        AudioError: missing, not audio, damaged, empty, shorter than declared, not finite or over a limit.
        EnvironmentProblem: a URL's kind needs a package that is not installed.
    """
    where = f"clip {clip_id}: {source}" if clip_id else str(source)
    with _open(source, where) as file:
        rate = file.samplerate
        start = round(offset_sec * rate)
        num_wanted = _checked_frames(file, start, duration_sec, where)
        try:
            if start:  # a seek to where the file stands makes Vorbis start anew, a quarter of its decoding
                file.seek(start)
            frames = file.read(num_wanted, dtype="float32", always_2d=True)
        except (soundfile.LibsndfileError, RuntimeError, ValueError) as error:
            raise AudioError(f"the audio is damaged: {error}", where=where, remedy="replace the file") from None
    _check_length(len(frames), num_wanted, rate, where)
    mono = frames[:, 0] if frames.shape[1] == 1 else frames.mean(axis=1, dtype=np.float32)
    _check_values(mono, where)
    if rate != sample_rate:
        mono = soxr.resample(mono, rate, sample_rate, quality="HQ")
    if duration_sec is not None:
        mono = mono[: round(duration_sec * sample_rate)]
    if not len(mono):
        raise AudioError("the segment is empty", where=where, remedy="check offset_sec and duration_sec")
    return np.ascontiguousarray(mono, dtype=np.float32)


def audio_duration_sec(source: AudioSource, *, clip_id: str = "") -> float:
    """Seconds of audio that the header of ``source`` declares, within the limits; nothing is decoded.

    Raises:
        AudioError: missing, not audio, empty or over a limit.
    """
    where = f"clip {clip_id}: {source}" if clip_id else str(source)
    with _open(source, where) as file:
        _checked_frames(file, 0, None, where, max_bytes=None)
        return float(file.frames / file.samplerate)


def _open(source: AudioSource, where: str) -> soundfile.SoundFile:
    if isinstance(source, Path):
        _check_regular(source, where)
    opened = source if isinstance(source, Path) else source.read(where)
    try:
        return soundfile.SoundFile(opened)
    except soundfile.LibsndfileError as error:
        raise AudioError(f"this is not readable audio: {error.error_string}", where=where, remedy=_CONVERT) from None
    except TypeError:  # soundfile asks for a sample rate when a name ends in .raw
        raise AudioError("headerless audio has no sample rate", where=where, remedy=_CONVERT) from None


def _check_regular(path: Path, where: str) -> None:
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        reason = f"{error.strerror}{missing_hint(path)}" if isinstance(error, OSError) else str(error)
        raise AudioError(f"the audio file cannot be opened: {reason}", where=where, remedy="check the path") from None
    if not stat.S_ISREG(mode):  # a pipe or a device would never end
        raise AudioError("this is not a regular file", where=where, remedy="give the path of an audio file")


def _checked_frames(
    file: soundfile.SoundFile,
    start: int,
    duration_sec: float | None,
    where: str,
    max_bytes: int | None = MAX_DECODED_BYTES,
) -> int:
    """Frames to decode, at the file's rate, after every limit has been checked against what the header declares."""
    rate, num_channels, num_frames = int(file.samplerate), int(file.channels), int(file.frames)
    if not MIN_SAMPLE_RATE <= rate <= MAX_SAMPLE_RATE:
        raise AudioError(
            f"a sample rate of {rate} Hz is outside {MIN_SAMPLE_RATE} to {MAX_SAMPLE_RATE} Hz",
            where=where,
            remedy="resample the file; its header may be damaged",
        )
    if not 1 <= num_channels <= MAX_CHANNELS:
        raise AudioError(f"{num_channels} channels; at most {MAX_CHANNELS}", where=where, remedy="downmix the file")
    if not 0 <= num_frames <= MAX_FILE_SEC * rate:
        raise AudioError(
            f"the header declares {num_frames} frames at {rate} Hz, more than {MAX_FILE_SEC} s",
            where=where,
            remedy="replace the file; its header is damaged or forged",
        )
    if num_frames <= start:
        length_sec = num_frames / rate
        what = f"the segment starts at {start / rate:.3f} s, the file ends at {length_sec:.3f} s"
        raise AudioError(what if num_frames else "the file holds no audio", where=where, remedy="correct the manifest")
    num_wanted = num_left = num_frames - start
    if duration_sec is not None:
        # One frame too many at most: resampling may need it to reach the last sample.
        num_wanted = min(num_left, int(duration_sec * rate) + 1)
        missing_sec = duration_sec - num_left / rate
        if missing_sec > SHORT_BY_SEC:
            raise AudioError(
                f"the segment should last {duration_sec:.3f} s, the file holds {missing_sec:.3f} s less",
                where=where,
                remedy="replace the file, which may be cut short, or correct the manifest",
            )
    num_bytes = num_wanted * num_channels * _BYTES_PER_SAMPLE
    if max_bytes is not None and num_bytes > max_bytes:
        raise AudioError(
            f"the segment would decode to {num_bytes / 2**20:.0f} MiB; the limit is {max_bytes // 2**20} MiB",
            where=where,
            remedy="cut the segment shorter, downmix or resample the file",
        )
    return num_wanted


def _check_length(num_read: int, num_wanted: int, rate: int, where: str) -> None:
    missing_sec = (num_wanted - num_read) / rate
    if not num_read or missing_sec > SHORT_BY_SEC:
        raise AudioError(
            f"the audio ends {missing_sec:.3f} s before its header says", where=where, remedy="replace the cut-off file"
        )


def _check_values(mono: npt.NDArray[np.float32], where: str) -> None:
    peak = float(np.maximum(mono.max(), -mono.min()))  # NaN and infinity come through all three
    if not np.isfinite(peak):
        raise AudioError("the audio holds values that are not finite", where=where, remedy="replace the file")
    if peak > MAX_PEAK:
        raise AudioError(
            f"the loudest sample is {peak:.4g} times full scale",
            where=where,
            remedy="scale the file to -1..1; it seems to hold integers stored as floats",
        )
