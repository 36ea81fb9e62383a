"""Containers that libsndfile does not read, by FFmpeg through torchcodec where both are there: m4a, webm, AAC, AMR

Time 0 of a clip is the first sample that the audio stream plays, wherever the container's own clock stands: what
``ffmpeg -i FILE out.wav`` writes. Of several audio streams FFmpeg's choice is read (the one that is marked as default).
An edit list's length is the length; what an encoder padded behind it is cut off. Where a container does not state the
length of its audio, it is decoded to count.
"""

from __future__ import annotations

import ctypes.util
import math
from collections.abc import Callable, Iterable
from functools import lru_cache
from importlib.util import find_spec
from typing import Any

import numpy as np

from whisper_aut.data.containers.content import Content
from whisper_aut.data.containers.finish import cut_off, is_fragmented
from whisper_aut.data.containers.layout import DecodingError, Frames
from whisper_aut.data.containers.tags import audio_start
from whisper_aut.errors import AudioError, first_line

NEEDS_FFMPEG = "needs FFmpeg"  # in every reason that installing it would do away with
_CHUNK_SEC = 30.0  # decoded at once where a length has to be counted
_GAP_SEC = 60.0  # in front of the first sample, at most
_FROM_0_SEC = 600.0  # that are decoded for one clip where a file cannot be sought in
_LATE_SEC = 0.05  # after the wanted moment: more than a codec's frame
_OF_LIBSNDFILE = (b"lpcm", b"alaw", b"ulaw", b"alac")  # forms in CAF
_MAGIC = {
    b"#!AMR": "AMR", b"\x30\x26\xb2\x75\x8e\x66\xcf\x11": "Windows Media", b"FLV\x01": "Flash video",
    b"wvpk": "WavPack", b"TTA1": "True Audio", b"MAC ": "Monkey's Audio", b"\x0b\x77": "AC-3",
}  # fmt: skip


def kind_of(content: Content) -> str:
    """The name of a container that is FFmpeg's, by its first bytes; nothing for all others.

    Only these are handed to FFmpeg: other things that it reads (play lists, scripts) name further files.
    """
    head = content.at(audio_start(content), 64)
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
        return "MPEG-4"
    if head.startswith(b"\x1aE\xdf\xa3"):
        return "WebM" if b"webm" in head else "Matroska"
    if head[:1] == b"\xff" and head[1:2] in (b"\xf1", b"\xf9", b"\xf0", b"\xf8"):
        return "AAC"
    if head.startswith(b"OggS"):
        codecs = {b"Speex   ": "Ogg Speex", b"\x7fFLAC": "Ogg FLAC"}
        return next((name for magic, name in codecs.items() if magic in head), "")
    if head.startswith(b"caff"):
        return "" if head[28:32] in _OF_LIBSNDFILE else "CAF of a compressed form"
    if head[:1] == b"G" and content.at(188, 1) == content.at(376, 1) == b"G":
        return "MPEG transport stream"
    return next((name for magic, name in _MAGIC.items() if head.startswith(magic)), "")


class FFmpegReader:
    """See :class:`whisper_aut.data.containers.layout.Reader`.

    Args:
        content: is the reader's from now on.
        kind: of :func:`kind_of`.
        where: named in errors.

    Raises:
        AudioError: FFmpeg is not installed, or finds no audio.
    """

    def __init__(self, content: Content, kind: str, where: str) -> None:
        self._content = content
        if command := missing_command():
            what = f"{kind} {NEEDS_FFMPEG}, which is not installed here"
            raise AudioError(what, where=where, remedy=f"install it: {command}")
        from torchcodec.decoders import AudioDecoder

        self.fault = cut_off(content, kind)
        source: Any = str(content.path) if content.path is not None else content.at(0, content.size)
        self._open: Callable[[], Any] = lambda: AudioDecoder(source)
        try:
            self._decoder = self._open()
        except (RuntimeError, ValueError, OSError) as error:
            said = self.fault or f"FFmpeg finds no audio in it: {_plain(error)}"
            raise AudioError(f"this is not readable {kind}: {said}", where=where, remedy="replace the file") from None
        told = self._decoder.metadata
        self.rate, self.channels = int(told.sample_rate or 0), int(told.num_channels or 0)
        self._begin_sec = max(0.0, float(told.begin_stream_seconds or 0.0))
        self._begin_is_sure = False
        self._next_sec = 0.0  # where the decoder stands
        # Other containers state the length of all their streams together, or where the last one ends, or none.
        stated = float(told.duration_seconds_from_header or 0.0) if kind == "MPEG-4" else 0.0
        self.frames = round(stated * self.rate) if stated and not is_fragmented(content) else None

    def read(self, start: int, num_frames: int) -> Frames:
        """See :class:`whisper_aut.data.containers.layout.Reader`."""
        begin_sec = self._begin()
        start_sec = begin_sec + start / self.rate
        stop_sec = start_sec + num_frames / self.rate
        samples = self._samples(start_sec, stop_sec)
        if samples is None:
            return np.zeros((0, self.channels), dtype=np.float32)
        skipped = 0
        if float(samples.pts_seconds) - start_sec > _LATE_SEC:  # a seek may lead too far, a decoding from 0 on does not
            if start > _FROM_0_SEC * self.rate:
                raise DecodingError("it cannot be sought in; cut it into shorter files with FFmpeg")
            self._next_sec = math.inf
            samples, skipped = self._samples(begin_sec, stop_sec), start
            if samples is None:
                raise DecodingError("what was played when asked for once was not played when asked for again")
        data: Frames = samples.data.T.numpy()[skipped : skipped + num_frames]
        return data

    def count(self, max_frames: int) -> int:
        """Samples of the stream; where the container does not state them, or more than there are, it is decoded to the
        end, a little at a time.

        More than ``max_frames`` are not looked for.

        Raises:
            DecodingError: the data are damaged.
        """
        if self.frames is not None and len(self.read(max(self.frames - self.rate // 4, 0), self.rate // 4)):
            return self.frames
        total, chunk = 0, round(_CHUNK_SEC * self.rate)
        while total <= max_frames:
            held = len(self.read(total, chunk))
            total += held
            if held < chunk:
                break
        return total

    def close(self) -> None:
        """Let go of the file."""
        self._content.close()

    def _begin(self) -> float:
        """When the first sample is played: headers are off by an encoder's delay."""
        if not self._begin_is_sure:
            samples = self._samples(self._begin_sec, self._begin_sec + 1.0)
            samples = samples or self._samples(self._begin_sec, self._begin_sec + _GAP_SEC)
            self._begin_sec = self._begin_sec if samples is None else float(samples.pts_seconds)
            self._begin_is_sure = True
        return self._begin_sec

    def _samples(self, start_sec: float, stop_sec: float) -> Any:
        """What is played then; None for nothing."""
        if start_sec < self._next_sec:  # back in the file: Opus in MPEG-4 would lack a second there
            self._decoder = self._open()
        self._next_sec = stop_sec
        try:
            return self._decoder.get_samples_played_in_range(start_sec, stop_sec)
        except RuntimeError as error:
            if "No audio frames were decoded" in str(error):
                return None
        try:  # some files cannot be sought in, only be decoded from their beginning
            self._decoder = self._open()
            return self._decoder.get_samples_played_in_range(start_sec, stop_sec)
        except RuntimeError as error:
            raise DecodingError(_plain(error)) from None


@lru_cache(maxsize=1)
def missing_command() -> str:
    """The command that makes FFmpeg's containers readable; nothing where they are."""
    pip, apt = "pip install 'whisper-aut[ffmpeg]'", "apt-get install -y ffmpeg"
    has_libraries = ctypes.util.find_library("avcodec") is not None
    if find_spec("torchcodec") is None:
        return pip if has_libraries else f"{apt} && {pip}"
    try:
        import torchcodec.decoders  # noqa: F401
    except (ImportError, OSError, RuntimeError):
        return f"pip install --upgrade {pip.removeprefix('pip install ')}" if has_libraries else apt
    return ""


def advice(reasons: Iterable[str]) -> str:
    """What to say, once a run, where some clips have such reasons; nothing where FFmpeg is not the matter."""
    if not any(NEEDS_FFMPEG in reason for reason in reasons):
        return ""
    return f"clips are in containers that need FFmpeg (m4a, webm, …); install it: {missing_command()}"


def _plain(error: BaseException) -> str:
    """What torchcodec says without the place in its own source."""
    return first_line(error).rpartition(".cpp:")[2].partition(", ")[2] or first_line(error)
