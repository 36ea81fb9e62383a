"""How long a file is: counted where its header does not say, the same for whoever asks and for whoever decodes."""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import soundfile

from whisper_aut.data.audio import audio_duration_sec, examine_audio, read_waveform
from whisper_aut.data.containers.content import Content, Stretch
from whisper_aut.data.containers.mpeg import SEEK_FRAMES
from whisper_aut.data.containers.ogg import page_sum
from whisper_aut.errors import AudioError


def _agrees(path, seconds: float, *, within: float = 0.002) -> np.ndarray:
    """Header and decoder say ``seconds``; what was read."""
    read = read_waveform(path)
    assert audio_duration_sec(path) == pytest.approx(seconds, abs=within)
    assert len(read) / 16_000 == pytest.approx(seconds, abs=within)
    return read


@pytest.mark.parametrize(
    "form",
    [
        {"format": "WAV", "subtype": subtype}
        for subtype in ("PCM_16", "PCM_24", "PCM_U8", "FLOAT", "ULAW", "IMA_ADPCM", "GSM610")
    ]
    + [{"format": name} for name in ("AIFF", "AU", "CAF", "W64", "RF64", "FLAC", "MP3", "NIST")]
    + [
        {"format": "OGG", "subtype": "VORBIS"},
        {"format": "OGG", "subtype": "OPUS"},
        {"format": "AIFF", "endian": "LITTLE"},
    ]
    + [{"format": "WAV", "endian": "BIG"}, {"format": "CAF", "subtype": "ALAC_16"}],
    ids=lambda form: "-".join(form.values()),
)
@pytest.mark.parametrize(("rate", "channels"), [(8_000, 1), (48_000, 2)])
def test_a_sound_file_has_the_length_that_libsndfile_says(faults, tmp_path, form, rate, channels):
    if form.get("subtype") == "GSM610" and channels == 2:
        pytest.skip("GSM has one channel")
    wave = np.stack([faults.sweep(3.0, rate)] * channels, axis=1)
    (tmp_path / "a").write_bytes(faults.encoded(wave, rate, **form))
    info = soundfile.info(tmp_path / "a")
    read = _agrees(tmp_path / "a", info.frames / info.samplerate)
    assert faults.likeness(read, faults.sweep(3.0)) > 0.95
    wanted = read_waveform(tmp_path / "a", sample_rate=rate)[rate : 2 * rate]
    segment = read_waveform(tmp_path / "a", offset_sec=1.0, duration_sec=1.0, sample_rate=rate)
    np.testing.assert_allclose(segment, wanted, atol=1e-5)  # of MP3, too, which is silent right behind a seek
    assert examine_audio(io.BytesIO((tmp_path / "a").read_bytes()), "a").duration_sec == pytest.approx(
        info.frames / info.samplerate, abs=1e-4
    )


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 0x7FFFF000, 0x80000000])
def test_a_wav_that_was_written_to_a_pipe_is_read_to_its_end(faults, tmp_path, size):
    wave = faults.sweep(2.0)
    (tmp_path / "a.wav").write_bytes(faults.wav_of_size(wave, size))
    np.testing.assert_allclose(_agrees(tmp_path / "a.wav", 2.0), wave, atol=1e-4)


def test_a_wav_of_size_0_with_a_chunk_behind_it_is_empty(faults, tmp_path):
    content = faults.wav_of_size(np.zeros(0, np.float32), 0) + b"LIST\x04\0\0\0INFO"
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(AudioError, match="holds no audio"):
        audio_duration_sec(tmp_path / "a.wav")


def test_chunks_and_tags_behind_a_wav_are_no_audio(faults, tmp_path):
    for name, tail in (("chunk", b"LIST\x04\0\0\0INFO"), ("id3", faults.id3v2(40_000)), ("zeros", bytes(40_000))):
        (tmp_path / name).write_bytes(faults.wav(faults.sweep(1.0)) + tail)
        _agrees(tmp_path / name, 1.0)


def test_a_wav_that_holds_more_than_it_declares_is_refused(faults, tmp_path):
    (tmp_path / "a.wav").write_bytes(faults.wav_of_size(faults.sweep(3.0), 32_000))
    with pytest.raises(AudioError, match=r"2\.000 s of data follow the 1\.000 s"):
        audio_duration_sec(tmp_path / "a.wav")
    assert len(read_waveform(tmp_path / "a.wav", duration_sec=1.0)) == 16_000


@pytest.mark.parametrize("name", ["a.caf", "a.au"])
def test_caf_and_au_of_unknown_size(faults, tmp_path, name):
    content = faults.encoded(faults.sweep(2.0), format=name[2:].upper(), subtype="PCM_16")
    place, unknown = (content.index(b"data") + 4, b"\xff" * 8) if name == "a.caf" else (8, b"\xff" * 4)
    (tmp_path / name).write_bytes(content[:place] + unknown + content[place + len(unknown) :])
    assert faults.likeness(_agrees(tmp_path / name, 2.0), faults.sweep(2.0)) > 0.999


def test_joined_files_are_read_to_the_last(faults, tmp_path):
    """``cat a.x b.x > c.x``, also of one file twice: then both streams have one number and one length."""
    one, two = faults.sweep(2.0), faults.sweep(2.0, low=3_000, high=200)
    makers = {
        "wav": faults.wav,
        "flac": lambda wave: faults.encoded(wave, format="FLAC"),
        "ogg": lambda wave: faults.ogg(wave, "VORBIS"),
        "opus": lambda wave: faults.ogg(wave, "OPUS"),
        "mp3": faults.mp3,
    }
    for ending, make in makers.items():
        for second in (one, two):
            path = tmp_path / f"a.{ending}"
            path.write_bytes(make(one) + make(second))
            wanted = np.concatenate([one, second])
            assert faults.likeness(_agrees(path, 4.0), wanted) > 0.98, ending
            middle = read_waveform(path, offset_sec=1.5, duration_sec=1.0)
            assert faults.likeness(middle, wanted[24_000:40_000]) > 0.98, ending


def test_streams_of_other_rates_behind_the_first_are_refused(faults, tmp_path):
    for form in ("OGG", "FLAC", "MP3", "WAV"):
        name = f"a.{form.lower()}"
        streams = [faults.encoded(faults.sweep(1.0, rate), rate, format=form) for rate in (16_000, 8_000)]
        (tmp_path / name).write_bytes(b"".join(streams))
        with pytest.raises(AudioError, match="follow one another"):
            audio_duration_sec(tmp_path / name)
        assert len(read_waveform(tmp_path / name, duration_sec=0.9)) == round(0.9 * 16_000)


@pytest.mark.parametrize("codec", ["VORBIS", "OPUS"])
def test_an_ogg_without_the_mark_of_its_end(faults, tmp_path, codec):
    (tmp_path / "a.ogg").write_bytes(faults.without_end_mark(faults.ogg(faults.sweep(3.3), codec)))
    assert faults.likeness(_agrees(tmp_path / "a.ogg", 3.3), faults.sweep(3.3)) > 0.98
    assert len(read_waveform(tmp_path / "a.ogg", offset_sec=2.0, duration_sec=1.3)) == 20_800


@pytest.mark.parametrize("codec", ["VORBIS", "OPUS"])
def test_an_ogg_that_was_recorded_from_a_running_stream(faults, tmp_path, codec):
    """Its positions count from the stream's begin, an hour before."""
    pages = faults.ogg_pages(faults.ogg(faults.sweep(12.0), codec))
    hour = 3_600 * (48_000 if codec == "OPUS" else 16_000)
    moved = []
    for page in pages:
        position = int.from_bytes(page[6:14], "little")
        moved.append(
            faults.summed(page[:6] + (position + hour).to_bytes(8, "little") + page[14:]) if position else page
        )
    (tmp_path / "a.ogg").write_bytes(b"".join(moved))
    _agrees(tmp_path / "a.ogg", 12.0, within=0.03)


def test_a_large_ogg_is_told_by_a_few_of_its_pages(faults, tmp_path):
    wave = np.random.default_rng(0).normal(0, 0.2, (70 * 44_100, 2)).astype(np.float32)
    content = faults.encoded(wave, 44_100, format="OGG", subtype="VORBIS")
    assert len(content) > 2**20
    (tmp_path / "a.ogg").write_bytes(content)
    assert audio_duration_sec(tmp_path / "a.ogg") == pytest.approx(70.0, abs=1e-4)
    (tmp_path / "b.ogg").write_bytes(content + content)
    assert audio_duration_sec(tmp_path / "b.ogg") == pytest.approx(140.0, abs=1e-4)


def test_pages_that_are_missing_in_the_middle_are_noticed(faults, tmp_path):
    pages = faults.ogg_pages(faults.ogg(faults.sweep(8.0), "OPUS"))
    (tmp_path / "a.opus").write_bytes(b"".join(pages[:4] + pages[5:]))
    with pytest.raises(AudioError, match="pages are missing"):
        audio_duration_sec(tmp_path / "a.opus")


def test_the_sum_of_a_page_is_that_of_its_definition(faults):
    page = faults.ogg_pages(faults.ogg(faults.sweep(1.0), "OPUS"))[2]
    blank = page[:22] + bytes(4) + page[26:]
    assert page_sum(blank).to_bytes(4, "little") == faults.summed(page)[22:26]


@pytest.mark.parametrize("total", [0, 20_000])
def test_a_flac_of_unknown_or_too_small_total(faults, tmp_path, total):
    (tmp_path / "a.flac").write_bytes(faults.flac_of_total(faults.sweep(5.0), total))
    np.testing.assert_allclose(_agrees(tmp_path / "a.flac", 5.0), faults.sweep(5.0), atol=1e-4)
    segment = read_waveform(tmp_path / "a.flac", offset_sec=3.0, duration_sec=1.5)
    np.testing.assert_allclose(segment, faults.sweep(5.0)[48_000:72_000], atol=1e-4)


def test_tags_around_a_flac(faults, tmp_path):
    (tmp_path / "a.flac").write_bytes(
        faults.id3v2(5_000) + faults.encoded(faults.sweep(2.0), format="FLAC") + faults.ape(False)
    )
    _agrees(tmp_path / "a.flac", 2.0)


@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_mp3_without_a_header_is_counted_and_read_alike(faults, tmp_path, rate):
    wave = faults.sweep(4.0, rate)
    wave[:rate] = 0  # VBR: libsndfile guesses from the quiet beginning
    content = faults.mp3(wave, rate)
    (tmp_path / "with.mp3").write_bytes(content)
    (tmp_path / "without.mp3").write_bytes(faults.without_xing(content))
    samples = 576 if rate == 16_000 else 1_152
    frames = (len(soundfile.read(tmp_path / "with.mp3")[0]) // samples + 1, 4 * rate // samples + 4)
    guessed, read = soundfile.info(tmp_path / "without.mp3").duration, read_waveform(tmp_path / "without.mp3")
    length_sec = audio_duration_sec(tmp_path / "without.mp3")
    assert abs(guessed - 4.0) > 0.15, "libsndfile's guess is what this is about"
    assert frames[0] * samples <= round(length_sec * rate) <= frames[1] * samples
    assert len(read) == pytest.approx(length_sec * 16_000, abs=2)
    # Without the header nobody knows the encoder's delay: the same audio, a little later.
    assert faults.likeness(read, read_waveform(tmp_path / "with.mp3")) > 0.995


def test_segments_of_an_mp3_without_a_header_are_those_of_the_whole(faults, tmp_path, capfd):
    wave = faults.sweep(12.0, 44_100)
    (tmp_path / "a.mp3").write_bytes(faults.without_xing(faults.mp3(wave, 44_100)))
    whole = read_waveform(tmp_path / "a.mp3", sample_rate=44_100)
    assert len(whole) > 2 * SEEK_FRAMES * 1_152
    for offset_sec in (0.0, 0.013, 0.9, 3.21, 7.77, 11.4):
        segment = read_waveform(tmp_path / "a.mp3", offset_sec=offset_sec, duration_sec=0.5, sample_rate=44_100)
        start = round(offset_sec * 44_100)
        np.testing.assert_allclose(segment, whole[start : start + len(segment)], atol=2e-5)
    assert "error" not in capfd.readouterr().err  # the decoder complains of bytes that it lacks


@pytest.mark.parametrize("place", ["id3", "two id3", "cover of 2 MB", "ape", "zeros", "ape behind", "id3v1 behind"])
def test_tags_and_junk_around_an_mp3_without_a_header(faults, tmp_path, place):
    content = faults.without_xing(faults.mp3(faults.sweep(3.0)))
    plain = tmp_path / "plain.mp3"
    plain.write_bytes(content)
    before = {"id3": faults.id3v2(3_000), "two id3": 2 * faults.id3v2(3_000), "cover of 2 MB": faults.id3v2(2**21 - 1),
              "ape": faults.ape(True), "zeros": bytes(500)}.get(place, b"")  # fmt: skip
    behind = {"ape behind": faults.ape(False), "id3v1 behind": b"TAG".ljust(128, b"\0")}.get(place, b"")
    (tmp_path / "a.mp3").write_bytes(before + content + behind)
    np.testing.assert_allclose(_agrees(tmp_path / "a.mp3", audio_duration_sec(plain)), read_waveform(plain), atol=1e-6)


def test_a_header_that_covers_a_part_is_not_believed(faults, tmp_path):
    """Joined to one that has none; Fraunhofer's header, which says 7 frames."""
    one = faults.mp3(faults.sweep(2.0))
    (tmp_path / "joined.mp3").write_bytes(one + faults.without_xing(one))
    assert audio_duration_sec(tmp_path / "joined.mp3") == pytest.approx(4.1, abs=0.1)
    (tmp_path / "vbri.mp3").write_bytes(faults.vbri(one))
    assert faults.likeness(_agrees(tmp_path / "vbri.mp3", 2.08, within=0.05), faults.sweep(2.0)) > 0.99


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_a_xing_header_with_a_wrong_number_of_frames(faults, tmp_path, factor):
    content = bytearray(faults.mp3(faults.sweep(3.0)))
    place = max(content.find(b"Xing"), content.find(b"Info")) + 8
    frames = int.from_bytes(content[place : place + 4], "big")
    content[place : place + 4] = round(frames * factor).to_bytes(4, "big")
    (tmp_path / "a.mp3").write_bytes(content)
    if factor > 1:
        with pytest.raises(AudioError, match="missing"):
            audio_duration_sec(tmp_path / "a.mp3")
    else:
        assert faults.likeness(_agrees(tmp_path / "a.mp3", 3.08, within=0.05), faults.sweep(3.0)) > 0.99


def test_opus_whose_positions_are_not_those_of_48_khz_is_refused(faults, tmp_path):
    """As some programs write it: libsndfile would read a third."""
    pages = []
    for page in faults.ogg_pages(faults.ogg(faults.sweep(9.0), "OPUS")):
        position = int.from_bytes(page[6:14], "little") // 3
        pages.append(faults.summed(page[:6] + position.to_bytes(8, "little") + page[14:]))
    (tmp_path / "a.opus").write_bytes(b"".join(pages))
    with pytest.raises(AudioError, match="its packets hold about 9"):
        audio_duration_sec(tmp_path / "a.opus")


@pytest.mark.parametrize("name", ["wav", "flac", "ogg", "opus", "mp3", "au", "aiff", "w64", "rf64", "flac of total 0"])
def test_a_file_whose_end_is_missing_is_refused_by_its_header(faults, tmp_path, name):
    wave = np.random.default_rng(0).normal(0, 0.1, 6 * 16_000).astype(np.float32)
    own = {"opus": partial(faults.ogg, wave, "OPUS"), "flac of total 0": partial(faults.flac_of_total, wave, 0)}
    content = own.get(name, partial(faults.encoded, wave, format=name.upper()))()
    (tmp_path / "a").write_bytes(content[: len(content) * 6 // 10])
    with pytest.raises(AudioError, match="missing"):
        audio_duration_sec(tmp_path / "a")
    with pytest.raises(AudioError, match="missing"):
        read_waveform(tmp_path / "a")
    if name != "ogg":  # all of whose audio may be in one page
        assert len(read_waveform(tmp_path / "a", offset_sec=0.5, duration_sec=1.0)) == 16_000  # what is there is there


@pytest.mark.parametrize("seed", range(4))
def test_damage_is_an_error_or_less_audio_and_nothing_else(faults, tmp_path, seed):
    """Bytes changed at random, most of them in the headers."""
    wave, draw = faults.sweep(0.7), np.random.default_rng(seed)
    kinds = [
        faults.wav(wave), faults.flac(wave), faults.ogg(wave, "VORBIS"), faults.ogg(wave, "OPUS"), faults.mp3(wave),
        faults.without_xing(faults.mp3(wave)), 2 * faults.mp3(wave), 2 * faults.ogg(wave, "OPUS"),
        2 * faults.flac(wave), faults.flac_of_total(wave, 0), faults.amr(30),
        *(faults.encoded(wave, format=form) for form in ("CAF", "AIFF", "AU", "W64", "RF64")),
    ]  # fmt: skip
    path = tmp_path / "a"
    for number in range(160):
        content = bytearray(kinds[number % len(kinds)])
        for _ in range(draw.integers(1, 12)):
            place = draw.integers(0, len(content) if draw.random() < 0.4 else min(200, len(content)))
            size = draw.integers(1, 8)
            content[place : place + size] = draw.bytes(size) if draw.random() < 0.5 else b"\xff" * size
        path.write_bytes(content)
        for read in (audio_duration_sec, read_waveform, partial(read_waveform, offset_sec=0.2, duration_sec=0.3)):
            with contextlib.suppress(AudioError):
                read(path)
        with contextlib.suppress(AudioError):
            examine_audio(io.BytesIO(bytes(content)), "a")


def test_a_stretch_is_a_file_with_other_bytes_in_it(tmp_path):
    (tmp_path / "a").write_bytes(bytes(range(200)))
    with Content(tmp_path / "a") as content:
        stretch = Stretch(content, 10, 60, ((8, b"abcd"), (30, b"xyz")))
        wanted = bytearray(range(200))
        wanted[8:12], wanted[30:33] = b"abcd", b"xyz"
        assert stretch.read() == bytes(wanted[10:60])
        for start, size in ((0, 1), (1, 30), (21, 1), (49, 9), (22, 3)):
            stretch.seek(start)
            assert stretch.read(size) == bytes(wanted[10 + start : min(10 + start + size, 60)])


def test_a_mountain_of_nothing_behind_one_frame_costs_neither_time_nor_memory(faults, tmp_path):
    path = tmp_path / "a.mp3"
    path.write_bytes(faults.without_xing(faults.mp3(faults.sweep(1.0))))
    with path.open("ab") as file:
        file.truncate(20 * 2**30)
    code = f"""
import resource
from pathlib import Path
from whisper_aut.data.audio import audio_duration_sec
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(audio_duration_sec(Path({str(path)!r})), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    seconds, grown_kb = done.stdout.split()
    assert float(seconds) == pytest.approx(1.0, abs=0.15) and int(grown_kb) < 200_000
