"""An audio file opened for reading: by libsndfile, stretch by stretch where a header is wrong, or by FFmpeg."""

from __future__ import annotations

import io
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from whisper_aut.data.containers.content import Content, Stretch
from whisper_aut.data.containers.ffmpeg import FFmpegReader, kind_of
from whisper_aut.data.containers.flac import examine_flac
from whisper_aut.data.containers.layout import DecodingError, Frames, Layout, Part, Reader, short_by
from whisper_aut.data.containers.mpeg import examine_mpeg, headed, parse_frame
from whisper_aut.data.containers.ogg import examine_ogg
from whisper_aut.data.containers.pcm import examine_pcm
from whisper_aut.data.containers.tags import audio_start
from whisper_aut.data.locate import AudioSource
from whisper_aut.errors import AudioError
from whisper_aut.files import missing_hint

_CONVERT = "convert the file to WAV, FLAC, Ogg or MP3"
_MAX_KNOWN = 256  # files whose layouts a process keeps: clips of one recording follow one another
_MPEG_LEAD = (32 * 576, 32 * 1152)  # samples decoded before the wanted ones, below 32 kHz and from there on
_SKIPPED_FRAMES = 2**18  # at once, of a form that cannot be sought in
_UNKNOWN = 2**60  # frames from here on are libsndfile's way to say that it does not know
_known: dict[tuple[str, int, int], Layout | None] = {}
Limits = Callable[[int, int, int], None]  # of rate, channels and frames; raises AudioError


class SndfileReader:
    """A file that libsndfile reads as it is; see :class:`whisper_aut.data.containers.layout.Reader`."""

    def __init__(self, file: soundfile.SoundFile, layout: Layout | None = None) -> None:
        self._file, self.fault = file, layout.fault if layout is not None else ""
        self.rate, self.channels = int(file.samplerate), int(file.channels)
        stated = layout.frames if layout is not None else None
        self.frames: int | None = int(file.frames) if stated is None else stated

    def read(self, start: int, num_frames: int) -> Frames:
        """See :class:`whisper_aut.data.containers.layout.Reader`."""
        # Right behind a seek MP3 is silent, up to 0.3 s: its frames use bytes of those before them.
        lead = min(start, _MPEG_LEAD[self.rate >= 32_000]) if self._file.format == "MP3" else 0
        try:
            if start - lead:  # a seek to where the file stands makes Vorbis start anew, a quarter of its decoding
                self._go_to(start - lead)
            frames: Frames = self._file.read(lead + num_frames, dtype="float32", always_2d=True)
        except (soundfile.LibsndfileError, RuntimeError, ValueError) as error:
            raise DecodingError(str(error)) from None
        return frames[lead:]

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def _go_to(self, start: int) -> None:
        if self._file.seekable():
            self._file.seek(start)
            return
        while start > 0 and (held := len(self._file.read(min(start, _SKIPPED_FRAMES), dtype="float32"))):  # GSM
            start -= held


class PartsReader:
    """Stretches of a file, one after another; see :class:`whisper_aut.data.containers.layout.Reader`.

    Raises:
        DecodingError: libsndfile cannot open one of them.
    """

    def __init__(self, content: Content, layout: Layout) -> None:
        self._content, self.rate, self.channels, self.fault = content, layout.rate, layout.channels, layout.fault
        self._parts = [(part, self._frames_of(part)) for part in layout.parts]
        self.frames: int | None = sum(frames for _, frames in self._parts)

    def read(self, start: int, num_frames: int) -> Frames:
        """See :class:`whisper_aut.data.containers.layout.Reader`."""
        found = [np.zeros((0, self.channels), dtype=np.float32)]
        begin = 0
        for part, held in self._parts:
            first, last = max(start, begin), min(start + num_frames, begin + held)
            if first < last:
                read = self._headerless if part.seek_points else self._stretch
                found.append(read(part, first - begin, last - first))
                if found[-1].shape[1] != self.channels:
                    raise DecodingError(f"{found[-1].shape[1]} channels follow {self.channels}")
                if len(found[-1]) < last - first:
                    break
            begin += held
        return found[1] if len(found) == 2 else np.concatenate(found)

    def close(self) -> None:
        """Let go of the file."""
        self._content.close()

    def _frames_of(self, part: Part) -> int:
        if part.frames is not None:
            return part.frames
        with self._opened(part) as file:
            return int(file.frames)

    def _opened(self, part: Part) -> soundfile.SoundFile:
        file, problem = _try_sndfile(Stretch(self._content, part.start, part.end, part.patches))
        if file is None:
            raise DecodingError(problem)
        return file

    def _stretch(self, part: Part, start: int, num_frames: int) -> Frames:
        with self._opened(part) as file:
            return SndfileReader(file).read(start, num_frames)

    def _headerless(self, part: Part, start: int, num_frames: int) -> Frames:
        """Some frames of MPEG audio as a file of their own; ``start`` and ``num_frames`` count samples."""
        assert part.seek_points is not None, "who calls has looked"
        frame = parse_frame(self._content.at(int(part.seek_points[0]), 4))
        assert frame is not None, "a seek point is a frame"
        first, last = start // frame.samples, -(-(start + num_frames) // frame.samples)
        data, lead = headed(self._content, part, first, last - first)
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            # What the decoder takes off the beginning comes out of the silent frame that stands in front.
            taken_off = (1 + lead + last - first) * frame.samples - int(file.frames)
            skip = (1 + lead - first) * frame.samples - taken_off + start
            return SndfileReader(file).read(0, skip + num_frames)[skip:]


def open_audio(source: AudioSource, where: str, end_sec: float | None) -> Reader:
    """Open a file for reading up to ``end_sec`` seconds; None reads all of it.

    A file whose header libsndfile understands is looked at no further as long as the wanted stretch lies within what
    the header declares; all others are examined.

    Raises:
        AudioError: it is missing or no audio, or FFmpeg is needed and not installed.
        EnvironmentProblem: a URL's kind needs a package that is not installed.
    """
    if isinstance(source, Path):
        _check_regular(source, where)
        opened: Path | io.BytesIO = source
    else:
        opened = source.read(where)
    if end_sec is None or (isinstance(source, Path) and source.suffix.lower() == ".mp3"):
        return _examined(Content(opened, where), where)
    file, _ = _try_sndfile(opened)
    if file is not None:
        if file.format != "MP3" and end_sec * file.samplerate <= file.frames < _UNKNOWN:
            return SndfileReader(file)
        file.close()
    return _examined(Content(opened, where), where)


def reopen_examined(source: AudioSource, where: str) -> Reader | None:
    """The file by what an examination finds, after libsndfile failed in it; None where that puts nothing right.

    Raises:
        AudioError: it is missing.
    """
    content = Content(source if isinstance(source, Path) else source.read(where), where)
    layout = _layout(content)
    if layout is None or not layout.parts:
        content.close()
        return None
    return PartsReader(content, layout)


@dataclass(frozen=True, slots=True)
class AudioInfo:
    """What a file holds: Hz, channels, samples of each."""

    rate: int
    channels: int
    frames: int

    @property
    def duration_sec(self) -> float:
        """Seconds."""
        return self.frames / self.rate


def audio_info(source: AudioSource | io.BytesIO, where: str, check: Limits, max_sec: int) -> AudioInfo:
    """The true length of a file; nothing is decoded where its container states it.

    Args:
        source: where it lies, or its bytes.
        where: named in errors.
        check: the limits; asked before anything is counted by decoding (with 0 for unknown frames) and after.
        max_sec: seconds that are counted at most.

    Raises:
        AudioError: it is missing, no audio, over a limit or not whole, or FFmpeg is needed and not installed.
        EnvironmentProblem: a URL's kind needs a package that is not installed.
    """
    opened = source if isinstance(source, Path | io.BytesIO) else source.read(where)
    with Content(opened, where) as content:
        layout = _layout(content)
        if layout is not None and layout.frames is not None and (not layout.parts or layout.fault):
            rate, channels, frames, fault = layout.rate, layout.channels, layout.frames, layout.fault
        else:
            reader = _examined(content, where)
            rate, channels, fault = reader.rate, reader.channels, reader.fault
            check(rate, channels, reader.frames or 0)
            if fault:
                raise AudioError(fault, where=where, remedy="replace the file")
            try:
                frames = reader.count(max_sec * rate) if isinstance(reader, FFmpegReader) else reader.frames or 0
                fault = short_by((reader.frames or 0) / rate, frames / rate)
            except DecodingError as error:
                raise _damaged(error, where) from None
            finally:
                reader.close()
        check(rate, channels, frames)
    if fault:
        raise AudioError(fault, where=where, remedy="replace the file")
    return AudioInfo(rate, channels, frames)


def _examined(content: Content, where: str) -> Reader:
    """The reader that the file needs."""
    layout = _layout(content)
    file, problem = None, ""
    if layout is None or not layout.parts:
        file, problem = _try_sndfile(content.path or content.memory)
        if layout is None and file is not None and file.format == "MP3":  # something stands before the first frame
            layout = examine_mpeg(content)
    if layout is not None and layout.parts:
        try:
            return PartsReader(content, layout)
        except DecodingError as error:
            raise _unreadable(str(error), where) from None
    if file is not None:
        content.close()
        return SndfileReader(file, layout)
    if kind := kind_of(content):
        return FFmpegReader(content, kind, where)
    content.close()
    raise _unreadable(layout.fault if layout is not None and layout.fault else problem, where)


def _layout(content: Content) -> Layout | None:
    """What the file holds, by its first bytes; None where libsndfile is to say."""
    if content.stamp is not None and content.stamp in _known:
        return _known[content.stamp]
    start = audio_start(content)
    head = content.at(start, 4)
    if head == b"fLaC":
        found = examine_flac(content)
    elif head == b"OggS":
        found = examine_ogg(content)
    elif start or parse_frame(head) is not None:
        found = examine_mpeg(content)
    else:
        found = examine_pcm(content)
    if content.stamp is not None:
        if len(_known) >= _MAX_KNOWN:
            _known.clear()
        _known[content.stamp] = found
    return found


def _try_sndfile(opened: Path | io.RawIOBase | io.BytesIO | None) -> tuple[soundfile.SoundFile | None, str]:
    """The file, or what libsndfile says why it cannot open it."""
    try:
        if isinstance(opened, io.BytesIO):
            opened.seek(0)
        return soundfile.SoundFile(opened), ""
    except soundfile.LibsndfileError as error:
        return None, str(error.error_string)
    except TypeError:  # soundfile asks for a sample rate when a name ends in .raw
        return None, "headerless audio has no sample rate"


def _check_regular(path: Path, where: str) -> None:
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        reason = f"{error.strerror}{missing_hint(path)}" if isinstance(error, OSError) else str(error)
        raise AudioError(f"the audio file cannot be opened: {reason}", where=where, remedy="check the path") from None
    if not stat.S_ISREG(mode):  # a pipe or a device would never end
        raise AudioError("this is not a regular file", where=where, remedy="give the path of an audio file")


def _unreadable(problem: str, where: str) -> AudioError:
    return AudioError(f"this is not readable audio: {problem}", where=where, remedy=_CONVERT)


def _damaged(error: DecodingError, where: str) -> AudioError:
    return AudioError(f"the audio is damaged: {error}", where=where, remedy="replace the file")
