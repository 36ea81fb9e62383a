"""Audio that means harm, read in a process of its own: a clear error each, and memory that stays bounded."""

from __future__ import annotations

import io
import json
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from whisper_aut.data.containers.ogg import page_sum
from whisper_aut.data.encode import encode
from whisper_aut.data.tarfiles import BLOCK, END, packed

MAX_GROWTH_MB = 500  # over what the interpreter with its packages needs

# Reads each manifest-like line (audio, offset, duration), prints what came of it; then its peak memory over its start.
READER = """
import json, resource, sys
from pathlib import Path
import numpy as np, soundfile, soxr
from whisper_aut.data.audio import read_waveform
from whisper_aut.data.locate import locate
from whisper_aut.errors import AudioError, ManifestError
soxr.resample(np.zeros(44100, np.float32), 44100, 16000)
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before = peak()
audio, offset_sec, duration_sec = json.loads(sys.argv[1])
try:
    wave = read_waveform(locate(audio, Path("/")), offset_sec=offset_sec, duration_sec=duration_sec, clip_id="c")
    found = {"samples": len(wave), "peak": float(np.abs(wave).max())}
except (AudioError, ManifestError) as error:
    found = {"error": error.what, "where": error.where}
print(json.dumps(found | {"grown_mb": peak() - before}))
"""


def _read(audio: Path | str, offset_sec: float = 0.0, duration_sec: float | None = None) -> dict:
    asked = json.dumps([str(audio), offset_sec, duration_sec])
    done = subprocess.run([sys.executable, "-P", "-c", READER, asked], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["grown_mb"] < MAX_GROWTH_MB, found
    return found


def _noise(num_samples: int, channels: int = 1) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.1, (num_samples, channels))


def _wav(path: Path, *, rate=16_000, channels=1, data_bytes=3200, real_bytes=3200, bits=16) -> Path:
    block = channels * bits // 8
    fmt = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, channels, rate, rate * block % 2**32, block, bits)
    data = struct.pack("<4sI", b"data", data_bytes)
    with path.open("wb") as file:
        file.write(struct.pack("<4sI4s", b"RIFF", min(data_bytes + 36, 2**32 - 1), b"WAVE") + fmt + data)
        file.truncate(44 + real_bytes)
    return path


def _ogg_pages(ogg: bytes) -> list[bytearray]:
    pages, start = [], 0
    while start < len(ogg):
        num_segments = ogg[start + 26]
        end = start + 27 + num_segments + sum(ogg[start + 27 : start + 27 + num_segments])
        pages.append(bytearray(ogg[start:end]))
        start = end
    return pages


def _summed(page: bytearray) -> bytes:
    page[22:26] = bytes(4)
    page[22:26] = struct.pack("<I", page_sum(bytes(page)))
    return bytes(page)


def test_zero_bytes_and_zeros_and_text(tmp_path):
    for name, content in (
        ("a.flac", b""),
        ("b.ogg", bytes(100_000)),
        ("c.wav", b"RIFF" * 1000),
        ("d.mp3", b"x" * 9999),
    ):
        (tmp_path / name).write_bytes(content)
        assert "error" in _read(tmp_path / name), name


@pytest.mark.parametrize("kept", [0.02, 0.5, 0.97])
@pytest.mark.parametrize("container", ["FLAC", "WAV", "OGG", "MP3"])
def test_files_cut_off_anywhere(tmp_path, container, kept):
    file = tmp_path / f"a.{container.lower()}"
    soundfile.write(file, _noise(5 * 44_100), 44_100, format=container)
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * kept)])
    found = _read(file, 0.0, 5.0)
    # A few per cent less may be what a rounded duration allows.
    assert "error" in found or (kept == 0.97 and found["samples"] >= (5 - 0.25) * 16_000)


def test_a_wav_that_claims_four_gigabytes(tmp_path):
    found = _read(_wav(tmp_path / "a.wav", data_bytes=0xFFFFFFF0, real_bytes=3200))
    assert "error" in found or found["samples"] == 1600  # what is there, no more
    assert "error" in _read(_wav(tmp_path / "b.wav", data_bytes=0xFFFFFFF0, real_bytes=3200), 0.0, 5.0)
    assert "MiB" in _read(_wav(tmp_path / "c.wav", data_bytes=2**32 - 100, real_bytes=2**32 - 100))["error"]
    assert _read(tmp_path / "c.wav", 100_000.0, 2.0)["samples"] == 32_000  # sparse; the end of it is read alone


@pytest.mark.parametrize("rate", [1, 100, 1_000_000, 2**31 - 1])
def test_an_ogg_with_a_forged_sample_rate(tmp_path, rate):
    soundfile.write(tmp_path / "a.ogg", _noise(16_000), 16_000, format="OGG", subtype="VORBIS")
    pages = _ogg_pages((tmp_path / "a.ogg").read_bytes())
    start = bytes(pages[0]).index(b"\x01vorbis")
    pages[0][start + 12 : start + 16] = struct.pack("<I", rate)
    (tmp_path / "a.ogg").write_bytes(b"".join(_summed(page) for page in pages))
    found = _read(tmp_path / "a.ogg", 0.0, 1.0)
    assert "sample rate" in found["error"] or "not readable" in found["error"], found


def _long_opus(hours: float) -> bytes:
    """Silence of hours in about 1 MB an hour … written packet by packet: 120 ms in a few bytes, 255 to a page."""
    pages = _ogg_pages(encode(np.zeros(16_000, np.float32), "opus").data)
    head, tags = bytes(pages[0]), bytes(pages[1])
    # TOC of a CELT frame of 20 ms, code 3 (counted frames): six frames of no bytes, 120 ms in two bytes.
    packet = bytes([(31 << 3) | 3, 6])
    content, granule, number = [head, tags], 0, 2
    num_pages = int(hours * 3600 / 0.12 / 255)
    for index in range(num_pages):
        granule += 255 * 5760
        flags = 4 if index == num_pages - 1 else 0
        page = struct.pack("<4sBBqIIIB", b"OggS", 0, flags, granule, 1, number, 0, 255)
        content.append(_summed(bytearray(page + bytes([len(packet)]) * 255 + packet * 255)))
        number += 1
    return b"".join(content)


def test_an_opus_file_that_decodes_to_hours(tmp_path):
    file = tmp_path / "long.opus"
    file.write_bytes(_long_opus(100))
    assert file.stat().st_size < 20e6 and soundfile.info(file).duration > 99 * 3600
    assert "MiB" in _read(file)["error"]
    for offset_sec in (0.0, 180_000.0, 359_000.0):
        found = _read(file, offset_sec, 2.0)
        assert found["samples"] == 32_000 and found["peak"] < 1e-3, found


@pytest.mark.parametrize("granule", [2**62, -1, -(2**62), 0])
def test_an_opus_file_whose_length_lies(tmp_path, granule):
    pages = _ogg_pages(encode(_noise(16_000)[:, 0].astype(np.float32), "opus").data)
    pages[-1][6:14] = struct.pack("<q", granule)
    (tmp_path / "a.opus").write_bytes(b"".join(_summed(page) for page in pages))
    for duration_sec in (None, 1.0, 30.0):
        found = _read(tmp_path / "a.opus", 0.0, duration_sec)
        assert "error" in found or found["samples"] <= 16_000
    assert "error" in _read(tmp_path / "a.opus", 3600.0, 1.0)


def test_a_flac_whose_length_lies(tmp_path):
    buffer = io.BytesIO()
    soundfile.write(buffer, _noise(16_000), 16_000, format="FLAC")
    content = bytearray(buffer.getvalue())
    content[21] |= 0x0F  # STREAMINFO: 36 bits of total samples
    content[22:26] = b"\xff" * 4
    (tmp_path / "a.flac").write_bytes(content)
    for offset_sec, duration_sec in ((0.0, None), (0.0, 30.0), (100_000.0, 1.0)):
        assert "error" in _read(tmp_path / "a.flac", offset_sec, duration_sec)


def test_nan_infinity_and_giants(tmp_path):
    for name, value, message in (("n", np.nan, "finite"), ("i", -np.inf, "finite"), ("g", 3e38, "full scale")):
        wave = _noise(44_100)
        wave[30_000] = value
        soundfile.write(tmp_path / f"{name}.wav", wave, 44_100, subtype="FLOAT")
        assert message in _read(tmp_path / f"{name}.wav")["error"]


def test_many_channels(tmp_path):
    soundfile.write(tmp_path / "a.wav", _noise(1600, 64), 16_000)
    assert "64 channels" in _read(tmp_path / "a.wav")["error"]
    assert "channels" in _read(_wav(tmp_path / "b.wav", channels=1000, real_bytes=2_000_000))["error"]


def test_a_shard_whose_member_claims_terabytes(tmp_path):
    member = bytearray(packed("a.flac", b"x" * 600))
    member[124:136] = b"\x80" + (2**42).to_bytes(11, "big")
    member[148:156] = b" " * 8
    member[148:156] = b"%06o\0 " % sum(member[:BLOCK])
    (tmp_path / "s.tar").write_bytes(bytes(member) + END)
    assert "no member" in _read(f"{tmp_path}/s.tar#512:{2**42}")["error"]
    assert f"the member there has {2**42}" in _read(f"{tmp_path}/s.tar#512:600")["error"]
    assert "the shard at" in _read(f"{tmp_path}/s.tar#512:{100 * 2**20}")["error"]
    with (tmp_path / "s.tar").open("r+b") as file:  # sparse: the shard is as large as it says, and nothing but holes
        file.truncate(2**41)
    assert "no member begins" in _read(f"{tmp_path}/s.tar#{2**40}:{100 * 2**20}")["error"]


def test_a_member_of_100_mb_that_is_no_audio(tmp_path):
    size = 100 * 2**20
    (tmp_path / "s.tar").write_bytes(packed("a.flac", b"")[:0])
    with (tmp_path / "s.tar").open("wb") as file:
        import tarfile

        info = tarfile.TarInfo("a.flac")
        info.size = size
        file.write(info.tobuf(tarfile.USTAR_FORMAT))
        file.truncate(BLOCK + size + len(END))
    assert "not readable audio" in _read(f"{tmp_path}/s.tar#512:{size}")["error"]


@pytest.mark.parametrize("seed", range(3))
def test_files_with_bits_flipped_never_do_worse_than_an_error(tmp_path, seed):
    """Many files in one process: a crash of the decoder would end it."""
    rng = np.random.default_rng(seed)
    for container, subtype in (("FLAC", None), ("WAV", None), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", None)):
        buffer = io.BytesIO()
        soundfile.write(buffer, _noise(16_000), 16_000, format=container, subtype=subtype)
        for number in range(20):
            content = np.frombuffer(buffer.getvalue(), np.uint8).copy()
            where = rng.integers(0, min(len(content), 200 if number % 2 else len(content)), 8)
            content[where] ^= rng.integers(1, 256, 8).astype(np.uint8)
            (tmp_path / f"{container}-{subtype}-{number}.bin").write_bytes(content.tobytes())
    reader = READER.replace(
        "audio, offset_sec, duration_sec = json.loads(sys.argv[1])", "offset_sec, duration_sec = 0.0, None"
    ).replace("try:\n", "for audio in sorted(map(str, Path(sys.argv[1]).glob('*.bin'))):\n  try:\n", 1)
    reader = reader.replace("    wave =", "      wave =").replace("    found = {", "      found = {")
    reader = reader.replace("except (Audio", "  except (Audio")
    done = subprocess.run([sys.executable, "-P", "-c", reader, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["grown_mb"] < MAX_GROWTH_MB
