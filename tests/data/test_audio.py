"""Reading real files: values against SciPy, segments, and every way in which a file can be bad."""

from __future__ import annotations

import os
import struct
import tracemalloc

import numpy as np
import pytest
import scipy.signal
import soundfile

from whisper_aut.data.audio import MAX_PEAK, read_waveform
from whisper_aut.errors import AudioError


def _tone(rate: int, duration_sec: float, hertz: float = 440.0) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(rate * duration_sec)) / rate)


def _forged_wav(path, *, rate=16_000, channels=1, data_bytes=0xFFFFFF00, real_bytes=3200) -> None:
    """A 16-bit WAV file whose header says what it likes."""
    fmt = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, channels, rate, rate * channels * 2 % 2**32, channels * 2, 16)
    data = struct.pack("<4sI", b"data", data_bytes) + bytes(real_bytes)
    path.write_bytes(struct.pack("<4sI4s", b"RIFF", 0xFFFFFFF0, b"WAVE") + fmt + data)


def test_16_khz_mono_comes_back_sample_by_sample(tmp_path):
    wave = _tone(16_000, 1.0).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", wave, 16_000, subtype="FLOAT")
    read = read_waveform(tmp_path / "a.wav")
    assert read.dtype == np.float32 and read.flags.c_contiguous
    np.testing.assert_array_equal(read, wave)


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000])
def test_resampling_agrees_with_scipy(tmp_path, rate):
    wave = _tone(rate, 1.0)
    soundfile.write(tmp_path / "a.wav", wave, rate, subtype="FLOAT")
    read = read_waveform(tmp_path / "a.wav", duration_sec=1.0)
    divisor = int(np.gcd(rate, 16_000))
    expected = scipy.signal.resample_poly(wave, 16_000 // divisor, rate // divisor)
    assert len(read) == 16_000
    np.testing.assert_allclose(read[800:-800], expected[800:-800], atol=2e-3)


def test_channels_are_averaged(tmp_path):
    left, right = _tone(16_000, 0.5), _tone(16_000, 0.5, 700.0)
    soundfile.write(tmp_path / "a.wav", np.stack([left, right], axis=1), 16_000, subtype="FLOAT")
    np.testing.assert_allclose(read_waveform(tmp_path / "a.wav"), (left + right) / 2, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "subtype", "tolerance"),
    [("a.wav", "PCM_16", 1e-4), ("a.flac", "PCM_16", 1e-4), ("a.ogg", "VORBIS", 0.2), ("a.ogg", "OPUS", 0.2)],
)
def test_only_the_wanted_segment_is_read_in_every_format(tmp_path, name, subtype, tolerance):
    wave = np.concatenate([np.zeros(16_000), _tone(16_000, 1.0), np.zeros(16_000)])
    soundfile.write(tmp_path / name, wave, 16_000, subtype=subtype)
    segment = read_waveform(tmp_path / name, offset_sec=1.25, duration_sec=0.5)
    assert len(segment) == 8_000
    np.testing.assert_allclose(segment, wave[20_000:28_000], atol=tolerance)
    assert np.abs(segment).max() == pytest.approx(0.5, abs=tolerance / 2)


def test_a_segment_near_the_end_may_be_short_by_a_rounding(tmp_path):
    soundfile.write(tmp_path / "a.wav", _tone(16_000, 1.0), 16_000)
    assert len(read_waveform(tmp_path / "a.wav", duration_sec=1.1)) == 16_000


def test_real_opus_files_have_their_declared_length(real_data_dir):
    file = next((real_data_dir / "train" / "audio" / "urbansound8k").glob("*.ogg"))
    whole = read_waveform(file)
    segment = read_waveform(file, offset_sec=1.0, duration_sec=1.0)
    assert len(segment) == 16_000
    assert np.corrcoef(whole[16_000:32_000], segment)[0, 1] > 0.99


@pytest.mark.parametrize("name", ["a.wav", "a.flac"])
def test_a_truncated_file_is_refused(tmp_path, name):
    file = tmp_path / name
    soundfile.write(file, np.random.default_rng(0).normal(0, 0.1, 5 * 16_000), 16_000)
    os.truncate(file, file.stat().st_size // 2)
    with pytest.raises(AudioError, match=r"less|damaged|ends|not readable"):
        read_waveform(file, duration_sec=5.0)


def test_a_truncated_real_opus_file_is_refused(tmp_path, real_data_dir):
    file = next((real_data_dir / "train" / "audio" / "urbansound8k").glob("*.ogg"))
    duration_sec = soundfile.info(file).duration
    (tmp_path / "cut.ogg").write_bytes(file.read_bytes()[: file.stat().st_size // 3])
    with pytest.raises(AudioError):
        read_waveform(tmp_path / "cut.ogg", duration_sec=duration_sec)


def test_errors_name_clip_and_file(tmp_path):
    (tmp_path / "text.wav").write_text("this is a transcript, not audio\n" * 50)
    with pytest.raises(AudioError, match="not readable audio") as caught:
        read_waveform(tmp_path / "text.wav", clip_id="clip-7")
    assert "clip-7" in str(caught.value) and "text.wav" in str(caught.value) and caught.value.remedy


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(tmp_path, bad):
    wave = _tone(16_000, 0.5)
    wave[100] = bad
    soundfile.write(tmp_path / "a.wav", wave, 16_000, subtype="FLOAT")
    with pytest.raises(AudioError, match="not finite"):
        read_waveform(tmp_path / "a.wav")


def test_integers_stored_as_floats_are_refused(tmp_path):
    soundfile.write(tmp_path / "a.wav", 32_000 * _tone(16_000, 0.5), 16_000, subtype="FLOAT")
    with pytest.raises(AudioError, match="times full scale"):
        read_waveform(tmp_path / "a.wav")
    assert MAX_PEAK < 32_000


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"rate": 4_000_000}, "sample rate"),
        ({"rate": 100}, "sample rate"),
        ({"channels": 200, "real_bytes": 40_000}, "channels"),
    ],
)
def test_forged_headers_are_refused(tmp_path, header, message):
    _forged_wav(tmp_path / "a.wav", **header)
    with pytest.raises(AudioError, match=message):
        read_waveform(tmp_path / "a.wav")


@pytest.mark.parametrize("num_frames", [2**36 - 1, 4_000_000_000])
def test_a_flac_that_declares_absurd_frames_costs_no_memory(tmp_path, num_frames):
    file = tmp_path / "a.flac"
    soundfile.write(file, _tone(16_000, 1.0), 16_000)
    content = bytearray(file.read_bytes())
    content[21] = (content[21] & 0xF0) | (num_frames >> 32)  # STREAMINFO: 36 bits of total samples
    content[22:26] = (num_frames & 0xFFFFFFFF).to_bytes(4, "big")
    file.write_bytes(content)
    tracemalloc.start()
    with pytest.raises(AudioError, match=r"declares|MiB"):
        read_waveform(file)
    assert tracemalloc.get_traced_memory()[1] < 4 * 2**20
    tracemalloc.stop()


def test_a_segment_that_decodes_to_too_much_is_refused_but_a_part_of_it_is_read(tmp_path):
    file = tmp_path / "long.wav"
    _forged_wav(file, data_bytes=300 * 2**20)
    os.truncate(file, 300 * 2**20 + 44)  # a sparse file: the header is true, the disk stays empty
    with pytest.raises(AudioError, match="MiB"):
        read_waveform(file)
    assert len(read_waveform(file, offset_sec=60.0, duration_sec=1.0)) == 16_000


def test_missing_empty_and_special_files_are_refused(tmp_path):
    with pytest.raises(AudioError, match="cannot be opened"):
        read_waveform(tmp_path / "none.wav")
    with pytest.raises(AudioError, match="not a regular file"):
        read_waveform(tmp_path)
    os.mkfifo(tmp_path / "pipe.wav")
    with pytest.raises(AudioError, match="not a regular file"):
        read_waveform(tmp_path / "pipe.wav")
    (tmp_path / "zero.wav").touch()
    with pytest.raises(AudioError, match="not readable"):
        read_waveform(tmp_path / "zero.wav")
    (tmp_path / "headerless.raw").write_bytes(bytes(3200))
    with pytest.raises(AudioError, match="headerless"):
        read_waveform(tmp_path / "headerless.raw")
    soundfile.write(tmp_path / "none.flac", np.zeros(0), 16_000)
    with pytest.raises(AudioError):
        read_waveform(tmp_path / "none.flac")


def test_a_segment_behind_the_end_is_refused(tmp_path):
    soundfile.write(tmp_path / "a.wav", _tone(16_000, 1.0), 16_000)
    with pytest.raises(AudioError, match=r"starts at 2\.000 s, the file ends at 1\.000 s"):
        read_waveform(tmp_path / "a.wav", offset_sec=2.0, duration_sec=0.5)
