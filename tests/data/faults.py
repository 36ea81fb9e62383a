"""Audio as people have it: files whose headers lie, say nothing or cover a part, each with what is right.

Everything is made here, with libsndfile, NumPy and, where it is there, FFmpeg; nothing is a recording.
"""

from __future__ import annotations

import io
import shutil
import struct
import subprocess
from collections.abc import Callable
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


Make = Callable[[Path], Any]
