"""Audio as people have it: files whose headers lie, say nothing or cover a part, each with what is right.

Everything is made here, with libsndfile, NumPy and, where it is there, FFmpeg; nothing is a recording.
"""

from __future__ import annotations

import io
import shutil
import struct
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

RATE = 16_000


def sweep(seconds: float, rate: int = RATE, *, low: float = 200.0, high: float = 3_000.0) -> np.ndarray:
    """A rising tone [S]: every moment of it sounds different."""
    time = np.arange(round(seconds * rate)) / rate
    return (0.4 * np.sin(2 * np.pi * (low * time + (high - low) * time**2 / 2 / seconds))).astype(np.float32)


def encoded(wave: np.ndarray, rate: int = RATE, **form: Any) -> bytes:
    """The bytes of a file that libsndfile writes."""
    buffer = io.BytesIO()
    channels = 1 if wave.ndim == 1 else wave.shape[1]
    with soundfile.SoundFile(buffer, "w", rate, channels, **form) as file:
        for start in range(0, len(wave), rate):  # libsndfile puts what it is given on its stack
            file.write(wave[start : start + rate])
    return buffer.getvalue()


def wav(wave: np.ndarray, rate: int = RATE) -> bytes:
    """A WAV of 16 bits."""
    return encoded(wave, rate, format="WAV", subtype="PCM_16")


def wav_of_size(wave: np.ndarray, size: int) -> bytes:
    """A WAV whose header says so many bytes of samples."""
    content = wav(wave)
    place = content.index(b"data") + 4
    return content[:place] + struct.pack("<I", size) + content[place + 4 :]


def flac(wave: np.ndarray) -> bytes:
    """A FLAC of 16 bits."""
    return encoded(wave, format="FLAC")


def flac_of_total(wave: np.ndarray, total: int) -> bytes:
    """A FLAC whose header says so many samples; 0 is unknown."""
    content = bytearray(encoded(wave, format="FLAC"))
    content[21] = content[21] & 0xF0 | total >> 32
    content[22:26] = (total & 0xFFFFFFFF).to_bytes(4, "big")
    return bytes(content)


def ogg(wave: np.ndarray, codec: str, serial: int = 1) -> bytes:
    """An Ogg file of Vorbis or Opus whose stream has this number."""
    pages = ogg_pages(encoded(wave, format="OGG", subtype=codec))
    return b"".join(summed(page[:14] + serial.to_bytes(4, "little") + page[18:]) for page in pages)


def ogg_pages(content: bytes) -> list[bytes]:
    """The pages of an Ogg file."""
    pages, start = [], 0
    while start < len(content):
        segments = content[start + 26]
        end = start + 27 + segments + sum(content[start + 27 : start + 27 + segments])
        pages.append(content[start:end])
        start = end
    return pages


def summed(page: bytes) -> bytes:
    """The page with its sum made anew, by RFC 3533's definition: bit by bit."""
    value = 0
    for byte in page[:22] + bytes(4) + page[26:]:
        value ^= byte << 24
        for _ in range(8):
            value = (value << 1 ^ (0x104C11DB7 if value & 0x80000000 else 0)) & 0xFFFFFFFF
    return page[:22] + value.to_bytes(4, "little") + page[26:]


def without_end_mark(content: bytes) -> bytes:
    """An Ogg file as a recorder that was stopped leaves it."""
    *pages, last = ogg_pages(content)
    return b"".join([*pages, summed(last[:5] + bytes([last[5] & ~4]) + last[6:])])


def mp3(wave: np.ndarray, rate: int = RATE) -> bytes:
    """A VBR MP3 of LAME with its Xing header."""
    return encoded(wave, rate, format="MP3", bitrate_mode="VARIABLE", compression_level=0.5)


def without_xing(content: bytes) -> bytes:
    """An MP3 of LAME without its first frame, which holds the header."""
    tags = [content.find(tag, 0, 64) for tag in (b"Xing", b"Info")]
    assert max(tags) > 0, "LAME writes a header"
    return content[content.index(content[:2], max(tags)) :]


def vbri(content: bytes) -> bytes:
    """An MP3 with Fraunhofer's header, which says too little, instead of LAME's."""
    frames = without_xing(content)
    head = bytearray(content[: len(content) - len(frames)])
    head[4:] = bytes(len(head) - 4)
    head[36:62] = b"VBRI" + struct.pack(">HHHIIHHHH", 1, 0, 75, len(content), 7, 0, 1, 2, 0)[:22]
    return bytes(head) + frames


def id3v2(num_bytes: int) -> bytes:
    """A tag with so many bytes of nothing in it."""
    size = bytes(num_bytes >> shift & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3\x04\0\0" + size + bytes(num_bytes)


def ape(front: bool) -> bytes:
    """An APEv2 tag with a title, in front of the audio or behind it."""
    item = struct.pack("<II", 5, 0) + b"Title\0Hello"
    ends = [struct.pack("<8sIIII8x", b"APETAGEX", 2000, len(item) + 32, 1, flags) for flags in (0xA0000000, 0x80000000)]
    return ends[0] + item + ends[1]


def spread(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Two channels [S, 2]."""
    return np.stack([left, right], axis=1)


def likeness(read: np.ndarray, wanted: np.ndarray, *, max_shift: int = RATE // 10) -> float:
    """Correlation with what is wanted at the best small shift: encoders delay."""
    size = 2 * max(len(read), len(wanted))
    correlation = np.fft.irfft(np.fft.rfft(read, size) * np.conj(np.fft.rfft(wanted, size)))
    shift = int(np.argmax(np.concatenate([correlation[-max_shift:], correlation[: max_shift + 1]]))) - max_shift
    one, other = read[max(shift, 0) :].astype(np.float64), wanted[max(-shift, 0) :].astype(np.float64)
    one, other = one[: len(other)], other[: len(one)]
    return float(one @ other / (np.linalg.norm(one) * np.linalg.norm(other) + 1e-12))


class NoFFmpegError(Exception):
    """FFmpeg's program is missing, or lacks an encoder."""


def ffmpeg(path: Path, wave: Any, *options: str, rate: int = RATE, pipe: str = "") -> None:
    """Encode a waveform, or a list of them as inputs, with FFmpeg's program.

    Args:
        path: of the new file.
        wave: [S] or [S, C], or several.
        options: of FFmpeg, for its output.
        rate: Hz of the waveforms.
        pipe: form of a file that is written to a pipe.

    Raises:
        NoFFmpegError: it cannot.
    """
    if shutil.which("ffmpeg") is None:
        raise NoFFmpegError("the program ffmpeg is not installed (Debian's package ffmpeg)")
    inputs: list[str] = []
    for number, one in enumerate([wave] if isinstance(wave, np.ndarray) else wave):
        source = path.with_name(f".{path.name}.{number}.wav")
        source.write_bytes(wav(one, rate))
        inputs += ["-i", str(source)]
    end = ["-f", pipe, "-"] if pipe else [str(path)]
    done = subprocess.run(["ffmpeg", "-v", "error", "-y", *inputs, *options, *end], capture_output=True, check=False)
    for source in inputs[1::2]:
        Path(source).unlink()
    if done.returncode:
        raise NoFFmpegError(f"this ffmpeg cannot write {path.name}: {done.stderr.decode()[:200]}")
    if pipe:
        path.write_bytes(done.stdout)


def amr(num_frames: int) -> bytes:
    """AMR of the narrow band: noise, since nobody's free encoder is in FFmpeg; 20 ms a frame."""
    draw = np.random.default_rng(0)
    return b"#!AMR\n" + b"".join(b"\x3c" + draw.bytes(31) for _ in range(num_frames))


SECONDS = 3.0  # of every sound here that is whole


@dataclass(frozen=True)
class Fault:
    """A file with something wrong, and what is right.

    Attributes:
        name: of the file.
        make: writes it.
        seconds: that are right; None where the file has to be refused.
        sound: what is heard at 16 kHz; None where that cannot be said.
        says: part of the reason for which it is refused, or that validation reports although it can be read.
        channel: that its row names.
        by_ffmpeg: torchcodec has to read it.
        replaced: training takes another clip in its place.
    """

    name: str
    make: Callable[[Path], Any]
    seconds: float | None = SECONDS
    sound: np.ndarray | None = None
    says: str = ""
    channel: int | list[int] | None = None
    by_ffmpeg: bool = False
    replaced: bool = False

    @property
    def id(self) -> str:
        """The file's name as an id."""
        return self.name.replace(".", "_")


def _bytes(make: Callable[[], bytes]) -> Callable[[Path], Any]:
    return lambda path: path.write_bytes(make())


def _cut(make: Callable[[], bytes], share: float = 0.6) -> Callable[[Path], Any]:
    def write(path: Path) -> None:
        content = make()
        path.write_bytes(content[: round(len(content) * share) + 1])

    return write


def _ffmpeg(*options: str, rate: int = 48_000, **more: Any) -> Callable[[Path], Any]:
    return lambda path: ffmpeg(path, sweep(SECONDS, rate), *options, rate=rate, **more)


def audio_faults() -> list[Fault]:
    """Some forty kinds of fault, each once."""
    one, other = sweep(SECONDS), sweep(SECONDS, low=3_000, high=200)
    both, silence = np.concatenate([one, other]), np.zeros_like(one)
    noise = np.random.default_rng(0).normal(0, 0.1, len(one)).astype(np.float32)
    lame, plain_mp3 = mp3(one), without_xing(mp3(one))
    call = wav(spread(one, other))
    aac = ("-c:a", "aac", "-b:a", "96k")
    joined = [
        Fault("joined.ogg", _bytes(lambda: ogg(one, "VORBIS", 1) + ogg(other, "VORBIS", 2)), 2 * SECONDS, both),
        Fault("joined.opus", _bytes(lambda: ogg(one, "OPUS", 7) + ogg(other, "OPUS", 7)), 2 * SECONDS, both),
        Fault("joined.mp3", _bytes(lambda: mp3(one) + id3v2(500) + mp3(other)), 2 * SECONDS, both),
        Fault("joined.flac", _bytes(lambda: flac(one) + flac(other)), 2 * SECONDS, both),
        Fault("joined.wav", _bytes(lambda: wav(one) + wav(other)), 2 * SECONDS, both),
        Fault("two_rates.ogg", _bytes(lambda: ogg(one, "VORBIS", 1) + encoded(sweep(1.0, 8_000), 8_000, format="OGG")),
              None, says="follow one another"),
    ]  # fmt: skip
    unknown = [
        Fault("size_0.wav", _bytes(lambda: wav_of_size(one, 0)), sound=one),
        Fault("size_ffffffff.wav", _bytes(lambda: wav_of_size(one, 0xFFFFFFFF)), sound=one),
        Fault("size_7ffff000.wav", _bytes(lambda: wav_of_size(one, 0x7FFFF000)), sound=one),
        Fault("stale_size.wav", _bytes(lambda: wav_of_size(one, 16_000)), None, says="follow the 0.500 s"),
        Fault("total_0.flac", _bytes(lambda: flac_of_total(one, 0)), sound=one),
        Fault("total_too_small.flac", _bytes(lambda: flac_of_total(one, 9_000)), sound=one),
        Fault("total_absurd.flac", _bytes(lambda: flac_of_total(one, 2**36 - 1)), None, says="missing"),
        Fault("no_end_mark.ogg", _bytes(lambda: without_end_mark(ogg(one, "VORBIS"))), sound=one),
        Fault("no_end_mark.opus", _bytes(lambda: without_end_mark(ogg(one, "OPUS"))), sound=one),
        Fault("no_header.mp3", _bytes(lambda: plain_mp3), SECONDS + 0.1, one),
        Fault("vbri.mp3", _bytes(lambda: vbri(lame)), SECONDS + 0.1, one),
        Fault("cover_of_a_megabyte.mp3", _bytes(lambda: id3v2(2**20) + plain_mp3), SECONDS + 0.1, one),
        Fault("ape_in_front.mp3", _bytes(lambda: ape(True) + plain_mp3 + ape(False)), SECONDS + 0.1, one),
        Fault("sound_file_of_another_name.wav", _bytes(lambda: plain_mp3), SECONDS + 0.1, one),
    ]
    cut = [
        Fault("cut.wav", _cut(lambda: wav(noise)), None, says="missing"),
        Fault("cut.flac", _cut(lambda: flac(noise)), None, says="missing"),
        Fault("cut.opus", _cut(lambda: ogg(noise, "OPUS")), None, says="missing"),
        Fault("cut.mp3", _cut(lambda: mp3(noise)), None, says="missing"),
        Fault("text.wav", _bytes(lambda: b"this is a transcript" * 99), None, says="not readable"),
        Fault("empty.ogg", _bytes(lambda: b""), None, says="not readable"),
    ]
    heard = [
        Fault("left.wav", _bytes(lambda: call), sound=one, channel=0),
        Fault("right.wav", _bytes(lambda: call), sound=other, channel=1),
        Fault("mixed.wav", _bytes(lambda: call), sound=(one + other) / 2, channel=[0, 1]),
        Fault("call.wav", _bytes(lambda: call), sound=(one + other) / 2, says="differ"),
        Fault("third.wav", _bytes(lambda: call), None, says="channel 2 is", channel=2),
        Fault("silence.flac", _bytes(lambda: flac(silence)), says="digital silence", replaced=True),
        Fault("antiphase.wav", _bytes(lambda: wav(spread(one, -one))), says="cancel", replaced=True),
        Fault("almost_antiphase.wav", _bytes(lambda: wav(spread(one, -0.95 * one))), says="cancel"),
        Fault("near_silence.flac", _bytes(lambda: flac(one / 2000)), says="near silence"),
    ]
    by_ffmpeg = [
        Fault("phone.m4a", _ffmpeg(*aac), sound=one, by_ffmpeg=True),
        Fault("youtube.webm", _ffmpeg("-c:a", "libopus"), sound=one, by_ffmpeg=True),
        Fault("browser.webm", _ffmpeg("-c:a", "libopus", pipe="webm"), sound=one, by_ffmpeg=True),
        Fault("opus.mp4", _ffmpeg("-c:a", "libopus"), sound=one, by_ffmpeg=True),
        Fault("fragments.m4a", _ffmpeg(*aac, "-movflags", "frag_keyframe+empty_moov"), sound=one, by_ffmpeg=True),
        Fault("stream.aac", _ffmpeg(*aac), sound=one, by_ffmpeg=True),
        Fault("voice.amr", _bytes(lambda: amr(150)), by_ffmpeg=True),
    ]
    return joined + unknown + cut + heard + by_ffmpeg
