"""One segment of an audio file as 16 kHz mono samples, with every limit checked before memory is allocated."""

from __future__ import annotations

import io
from functools import partial

import numpy as np
import numpy.typing as npt
import soxr

from whisper_aut.constants import SAMPLE_RATE
from whisper_aut.data.channels import MAX_CHANNELS, Channels, mixed
from whisper_aut.data.containers.layout import SHORT_BY_SEC, DecodingError, Frames, Reader
from whisper_aut.data.containers.read import AudioInfo, SndfileReader, audio_info, open_audio, reopen_examined
from whisper_aut.data.locate import AudioSource
from whisper_aut.data.silence import Silence, find_silence
from whisper_aut.errors import AudioError

MIN_SAMPLE_RATE, MAX_SAMPLE_RATE = 2_000, 384_000  # Hz
MAX_FILE_SEC = 7 * 24 * 3600  # a week: longer than any recording, shorter than a forged header
MAX_DECODED_BYTES = 256 * 2**20  # of the wanted segment in float32, all channels
MAX_PEAK = 1_000.0  # full scale is 1; integers stored as floats reach 32 768

_BYTES_PER_SAMPLE = 4


def read_waveform(
    source: AudioSource,
    *,
    offset_sec: float = 0.0,
    duration_sec: float | None = None,
    clip_id: str = "",
    sample_rate: int = SAMPLE_RATE,
    channels: Channels = (),
) -> npt.NDArray[np.float32]:
    """Samples [S] of one segment of ``source``, 16 kHz, one channel, full scale 1; only the segment is decoded.

    Args:
        source: a file, or bytes of one: WAV, FLAC, Ogg Vorbis or Opus, MP3 and whatever else libsndfile reads; m4a,
            webm, AAC, AMR and so on where FFmpeg and torchcodec are installed.
        offset_sec: where the segment starts.
        duration_sec: its length, or None for all that follows; S is at most ``num_samples_of(duration_sec)``.
        clip_id: named in errors.
        sample_rate: Hz of the samples; Whisper knows 16 kHz only, other encoders have their own.
        channels: of the file that are averaged, from 0; none: all.

    Raises:
        AudioError: missing, not audio, damaged, empty, shorter than declared, not finite or over a limit; or FFmpeg is
            needed and not installed.
        EnvironmentProblem: a URL's kind needs a package that is not installed.
    """
    where = f"clip {clip_id}: {source}" if clip_id else str(source)
    frames, rate = read_frames(source, where, offset_sec, duration_sec)
    mono = mixed(frames, channels, where)
    check_values(mono, where)
    return _resampled(mono, rate, sample_rate, duration_sec, where)


def read_clip(
    source: AudioSource, *, offset_sec: float, duration_sec: float, clip_id: str = "", channels: Channels = ()
) -> tuple[npt.NDArray[np.float32], Silence | None]:
    """As :func:`read_waveform`, and whether there is anything to hear."""
    where = f"clip {clip_id}: {source}" if clip_id else str(source)
    frames, rate = read_frames(source, where, offset_sec, duration_sec)
    mono = mixed(frames, channels, where)
    silence = find_silence(frames, channels, mono, *check_values(mono, where))
    return _resampled(mono, rate, SAMPLE_RATE, duration_sec, where), silence


def _resampled(
    mono: npt.NDArray[np.float32], rate: int, sample_rate: int, duration_sec: float | None, where: str
) -> npt.NDArray[np.float32]:
    if rate != sample_rate:
        mono = soxr.resample(mono, rate, sample_rate, quality="HQ")
    if duration_sec is not None:
        mono = mono[: round(duration_sec * sample_rate)]
    if not len(mono):
        raise AudioError("the segment is empty", where=where, remedy="check offset_sec and duration_sec")
    return np.ascontiguousarray(mono, dtype=np.float32)


def read_frames(source: AudioSource, where: str, offset_sec: float, duration_sec: float | None) -> tuple[Frames, int]:
    """The segment as it is in the file, float32 [S, C], and its rate in Hz; see :func:`read_waveform`.

    Raises:
        AudioError: missing, not audio, damaged, shorter than declared or over a limit.
        EnvironmentProblem: a URL's kind needs a package that is not installed.
    """
    end_sec = None if duration_sec is None else offset_sec + duration_sec
    reader = open_audio(source, where, end_sec)
    try:
        return _read(reader, where, offset_sec, duration_sec), reader.rate
    except DecodingError as error:
        # Some files that libsndfile opens it cannot read: an Ogg without the mark of its end, a FLAC without a length.
        repaired = reopen_examined(source, where) if isinstance(reader, SndfileReader) else None
        if repaired is None:
            raise AudioError(f"the audio is damaged: {error}", where=where, remedy="replace the file") from None
        reader.close()
        reader = repaired
        try:
            return _read(reader, where, offset_sec, duration_sec), reader.rate
        except DecodingError as again:
            raise AudioError(f"the audio is damaged: {again}", where=where, remedy="replace the file") from None
    finally:
        reader.close()


def audio_duration_sec(source: AudioSource, *, clip_id: str = "") -> float:
    """Seconds of audio that ``source`` holds, within the limits: counted where its container does not state them.

    Raises:
        AudioError: missing, not audio, empty, not whole or over a limit.
    """
    where = f"clip {clip_id}: {source}" if clip_id else str(source)
    return examine_audio(source, where).duration_sec


def examine_audio(source: AudioSource | io.BytesIO, where: str) -> AudioInfo:
    """What a file holds, within the limits; nothing is decoded where its container states it.

    Raises:
        AudioError: missing, not audio, empty, not whole or over a limit.
    """
    info = audio_info(source, where, partial(_check_limits, where), MAX_FILE_SEC)
    if not info.frames:
        raise AudioError("the file holds no audio", where=where, remedy="replace the file")
    return info


def _read(reader: Reader, where: str, offset_sec: float, duration_sec: float | None) -> Frames:
    start = round(offset_sec * reader.rate)
    num_wanted = _checked_frames(reader, start, duration_sec, where)
    frames = reader.read(start, num_wanted)
    if reader.frames is None and duration_sec is None:
        if len(frames) == num_wanted:
            raise _too_much(num_wanted, reader.channels, where)
        num_wanted = len(frames)
    _check_length(len(frames), num_wanted, reader.rate, where)
    return frames


def _check_limits(where: str, rate: int, num_channels: int, num_frames: int) -> None:
    """Refuse what no recording has, before memory is taken for it."""
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


def _checked_frames(reader: Reader, start: int, duration_sec: float | None, where: str) -> int:
    """Frames to decode, at the file's rate, after every limit has been checked against what the file declares."""
    rate, num_channels = reader.rate, reader.channels
    _check_limits(where, rate, num_channels, reader.frames or 0)
    max_frames = MAX_DECODED_BYTES // _BYTES_PER_SAMPLE // num_channels
    if reader.frames is None:  # known when it is decoded; then what is over the limit is refused
        num_wanted = max_frames + 1 if duration_sec is None else int(duration_sec * rate) + 1
    else:
        num_wanted = _frames_of_known(reader, reader.frames, start, duration_sec, where)
    if num_wanted > max_frames and (reader.frames is not None or duration_sec is not None):
        raise _too_much(num_wanted, num_channels, where)
    if duration_sec is None and reader.fault:
        raise AudioError(reader.fault, where=where, remedy="replace the file")
    return num_wanted


def _frames_of_known(reader: Reader, num_frames: int, start: int, duration_sec: float | None, where: str) -> int:
    """Frames to decode of a file with ``num_frames``."""
    rate = reader.rate
    if num_frames <= start:
        what = f"the segment starts at {start / rate:.3f} s, the file ends at {num_frames / rate:.3f} s"
        raise AudioError(what if num_frames else "the file holds no audio", where=where, remedy="correct the manifest")
    num_left = num_frames - start
    if duration_sec is None:
        return num_left
    missing_sec = duration_sec - num_left / rate
    if missing_sec > SHORT_BY_SEC:
        because = f"; {reader.fault}" if reader.fault else ""
        raise AudioError(
            f"the segment should last {duration_sec:.3f} s, the file holds {missing_sec:.3f} s less{because}",
            where=where,
            remedy="replace the file, which may be cut short, or correct the manifest",
        )
    # One frame too many at most: resampling may need it to reach the last sample.
    return min(num_left, int(duration_sec * rate) + 1)


def _too_much(num_frames: int, num_channels: int, where: str) -> AudioError:
    num_bytes = num_frames * num_channels * _BYTES_PER_SAMPLE
    return AudioError(
        f"the segment would decode to {num_bytes / 2**20:.0f} MiB; the limit is {MAX_DECODED_BYTES // 2**20} MiB",
        where=where,
        remedy="cut the segment shorter, downmix or resample the file",
    )


def _check_length(num_read: int, num_wanted: int, rate: int, where: str) -> None:
    missing_sec = (num_wanted - num_read) / rate
    if not num_read or missing_sec > SHORT_BY_SEC:
        raise AudioError(
            f"the audio ends {missing_sec:.3f} s before its header says", where=where, remedy="replace the cut-off file"
        )


def check_values(mono: npt.NDArray[np.float32], where: str) -> tuple[float, float]:
    """Refuse samples [S] that no recording has; the lowest and the highest.

    Raises:
        AudioError: one is not finite, or far beyond full scale.
    """
    low, high = float(mono.min()), float(mono.max())  # NaN and infinity come through both
    peak = max(abs(low), abs(high))
    if not np.isfinite(peak):
        raise AudioError("the audio holds values that are not finite", where=where, remedy="replace the file")
    if peak > MAX_PEAK:
        raise AudioError(
            f"the loudest sample is {peak:.4g} times full scale",
            where=where,
            remedy="scale the file to -1..1; it seems to hold integers stored as floats",
        )
    return low, high
