"""Containers that libsndfile does not read: through FFmpeg where it is, with the command that helps where it is not."""

from __future__ import annotations

import builtins
import sys

import numpy as np
import pytest

from whisper_aut.data import containers
from whisper_aut.data.audio import audio_duration_sec, read_waveform
from whisper_aut.data.containers import ffmpeg as ffmpeg_module
from whisper_aut.data.containers.content import Content
from whisper_aut.data.containers.ffmpeg import NEEDS_FFMPEG, advice, kind_of, missing_command
from whisper_aut.data.containers.finish import cut_off, is_fragmented
from whisper_aut.errors import AudioError

AAC = ("-c:a", "aac", "-b:a", "96k")
# Name, options of FFmpeg, and by how much the file is longer than what went in (encoders pad) or off in time.
FILES = {
    "a.m4a": (*AAC,),
    "faststart.m4a": (*AAC, "-movflags", "+faststart"),
    "fragmented.m4a": (*AAC, "-movflags", "frag_keyframe+empty_moov", "-frag_duration", "500000"),
    "lossless.m4a": ("-c:a", "alac"),
    "opus.mp4": ("-c:a", "libopus"),
    "a.mov": (*AAC,),
    "opus.webm": ("-c:a", "libopus"),
    "vorbis.webm": ("-c:a", "libvorbis"),
    "live.webm": ("-c:a", "libopus", "-f", "webm", "-live", "1"),
    "an_hour_late.webm": ("-c:a", "libopus", "-output_ts_offset", "3600"),
    "a.mkv": (*AAC,),
    "a.aac": (*AAC,),
    "a.ts": (*AAC,),
    "a_day_late.ts": (*AAC, "-output_ts_offset", "80000"),
    "speex.ogg": ("-c:a", "libspeex"),
    "flac.ogg": ("-c:a", "flac"),
    "a.wv": ("-c:a", "wavpack"),
    "a.wma": ("-c:a", "wmav2"),
}


@pytest.mark.parametrize("name", FILES)
def test_length_and_audio_are_right_and_agree(faults, ffmpeg, torchcodec, tmp_path, name):
    wave = faults.sweep(4.0, 48_000)
    path = ffmpeg(tmp_path / name, wave, *FILES[name], rate=48_000)
    length_sec, read = audio_duration_sec(path), read_waveform(path)
    assert len(read) == pytest.approx(length_sec * 16_000, abs=2)
    assert length_sec == pytest.approx(4.0, abs=0.1)
    wanted = faults.sweep(4.0)
    assert faults.likeness(read, wanted) > 0.97
    segment = read_waveform(path, offset_sec=2.0, duration_sec=1.0)
    assert len(segment) == 16_000 and faults.likeness(segment, read[32_000:48_000], max_shift=32) > 0.95
    memory = read_waveform_of_bytes(path)
    np.testing.assert_allclose(memory, read, atol=1e-4)


def read_waveform_of_bytes(path) -> np.ndarray:
    """As it is read from a member of a shard."""
    from whisper_aut.data.locate import locate
    from whisper_aut.data.tarfiles import BLOCK, END, packed

    content = path.read_bytes()
    shard = path.with_name("shard.tar")
    shard.write_bytes(packed(f"a{path.suffix}", content) + END)
    return read_waveform(locate(f"shard.tar#{BLOCK}:{len(content)}", path.parent.resolve()))


def test_an_edit_list_decides_the_length_of_m4a(faults, ffmpeg, torchcodec, tmp_path):
    path = ffmpeg(tmp_path / "a.m4a", faults.sweep(2.5, 44_100), *AAC, rate=44_100)
    assert audio_duration_sec(path) == pytest.approx(2.5, abs=1e-3)
    assert len(read_waveform(path)) == 40_000


def test_webm_written_to_a_pipe_has_no_length_and_is_counted(faults, ffmpeg, torchcodec, tmp_path):
    path = ffmpeg(tmp_path / "a.webm", faults.sweep(3.0, 48_000), "-c:a", "libopus", rate=48_000, pipe="webm")
    assert audio_duration_sec(path) == pytest.approx(3.0, abs=0.01)


def test_the_picture_of_a_cover_is_no_stream_of_audio(faults, ffmpeg, torchcodec, tmp_path):
    picture = ("-f", "lavfi", "-i", "testsrc=duration=1:size=64x64:rate=1")
    options = (*picture, "-map", "0:a", "-map", "1:v", "-c:v", "png", *AAC, "-disposition:v", "attached_pic")
    path = ffmpeg(tmp_path / "cover.m4a", faults.sweep(2.0, 44_100), *options, rate=44_100)
    assert audio_duration_sec(path) == pytest.approx(2.0, abs=0.01)
    assert faults.likeness(read_waveform(path), faults.sweep(2.0)) > 0.97


def test_audio_that_begins_after_the_picture_begins_at_0(faults, ffmpeg, torchcodec, tmp_path):
    options = ("-f", "lavfi", "-i", "testsrc=duration=4:size=64x64:rate=5", "-map", "1:v", "-map", "0:a",
               "-af", "asetpts=PTS+1/TB", "-c:v", "mpeg4", *AAC)  # fmt: skip
    path = ffmpeg(tmp_path / "late.mp4", faults.sweep(2.0, 44_100, high=600), *options, rate=44_100)
    assert faults.likeness(read_waveform(path), faults.sweep(2.0, high=600)) > 0.97


def test_of_several_streams_the_default_one_is_read(faults, ffmpeg, torchcodec, tmp_path):
    waves = [faults.sweep(2.0, 44_100), faults.sweep(2.0, 44_100, low=3_000, high=200)]
    options = ("-map", "0:a", "-map", "1:a", *AAC, "-disposition:a:0", "0", "-disposition:a:1", "default")
    path = ffmpeg(tmp_path / "two.m4a", waves, *options, rate=44_100)
    assert faults.likeness(read_waveform(path), faults.sweep(2.0, low=3_000, high=200)) > 0.97


@pytest.mark.parametrize("name", ["a.m4a", "faststart.m4a", "opus.webm", "a.aac", "a.amr"])
def test_a_file_whose_end_is_missing_is_refused(faults, ffmpeg, torchcodec, tmp_path, name):
    path = tmp_path / name
    if name == "a.amr":
        path.write_bytes(faults.amr(100))
    else:
        ffmpeg(path, faults.sweep(4.0, 48_000), *FILES[name], rate=48_000)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 6 // 10 + 1])
    with pytest.raises(AudioError, match="missing"):
        audio_duration_sec(path)


@pytest.mark.parametrize("name", ["a.m4a", "opus.webm"])
def test_joined_files_are_refused(faults, ffmpeg, torchcodec, tmp_path, name):
    path = ffmpeg(tmp_path / name, faults.sweep(2.0, 48_000), *FILES[name], rate=48_000)
    path.write_bytes(2 * path.read_bytes())
    with pytest.raises(AudioError, match="write them into one"):
        audio_duration_sec(path)


def test_an_m4a_whose_header_declares_more_than_there_is(faults, ffmpeg, torchcodec, tmp_path):
    path = ffmpeg(tmp_path / "a.m4a", faults.sweep(2.0, 44_100), *AAC, rate=44_100)
    content = bytearray(path.read_bytes())
    for name, at in ((b"mdhd", 20), (b"mvhd", 20), (b"tkhd", 24), (b"elst", 12)):
        start = content.index(name) + at
        content[start : start + 4] = (3 * int.from_bytes(content[start : start + 4], "big")).to_bytes(4, "big")
    path.write_bytes(content)
    try:
        assert audio_duration_sec(path) == pytest.approx(2.0, abs=0.05)
        assert len(read_waveform(path)) == pytest.approx(32_000, abs=800)
    except AudioError as error:
        assert "missing" in error.what or "before its header says" in error.what


def test_amr_of_a_phone(faults, torchcodec, tmp_path):
    (tmp_path / "a.amr").write_bytes(faults.amr(150))
    assert audio_duration_sec(tmp_path / "a.amr") == pytest.approx(3.0, abs=0.01)
    assert len(read_waveform(tmp_path / "a.amr", offset_sec=1.0, duration_sec=1.5)) == 24_000


def test_damaged_data_are_an_error_and_no_crash(faults, ffmpeg, torchcodec, tmp_path):
    path = ffmpeg(tmp_path / "a.m4a", faults.sweep(3.0, 44_100), *AAC, rate=44_100)
    content = bytearray(path.read_bytes())
    draw = np.random.default_rng(0)
    for _ in range(20):
        broken = bytearray(content)
        for place in draw.integers(8, len(content), 200):
            broken[place] = draw.integers(256)
        path.write_bytes(broken)
        try:
            assert len(read_waveform(path)) <= 40 * 16_000
        except AudioError:
            continue


def test_a_play_list_is_never_followed(tmp_path):
    """FFmpeg would read what it names, from this disk or from the network."""
    for name, text in (("a.m4a", "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n/etc/passwd\n"),
                       ("b.m4a", "ffconcat version 1.0\nfile /etc/passwd\n")):  # fmt: skip
        (tmp_path / name).write_text(text)
        with Content(tmp_path / name) as content:
            assert kind_of(content) == ""
        with pytest.raises(AudioError, match="not readable audio"):
            read_waveform(tmp_path / name)


def test_without_torchcodec_the_message_names_one_command(faults, ffmpeg, tmp_path, monkeypatch):
    path = tmp_path / "a.amr"
    path.write_bytes(faults.amr(10))
    monkeypatch.setattr(ffmpeg_module, "find_spec", lambda name: None)
    missing_command.cache_clear()
    try:
        for read in (audio_duration_sec, read_waveform):
            with pytest.raises(AudioError, match=NEEDS_FFMPEG) as raised:
                read(path)
            assert raised.value.remedy is not None and "pip install 'whisper-aut[ffmpeg]'" in raised.value.remedy
        said = advice([raised.value.what, "something else", raised.value.what])
        assert "pip install 'whisper-aut[ffmpeg]'" in said and not advice(["else"])
    finally:
        missing_command.cache_clear()


def test_torchcodec_without_the_libraries_of_ffmpeg_names_the_system_s_package(monkeypatch):
    real = builtins.__import__

    def broken(name, *args, **kwargs):
        if name.startswith("torchcodec"):
            raise RuntimeError("Could not load libtorchcodec")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(ffmpeg_module, "find_spec", lambda name: object())
    monkeypatch.setattr(ffmpeg_module.ctypes.util, "find_library", lambda name: None)
    monkeypatch.setattr(builtins, "__import__", broken)
    missing_command.cache_clear()
    try:
        assert missing_command() == "apt-get install -y ffmpeg"
    finally:
        missing_command.cache_clear()


def test_boxes_and_segments_tell_whether_a_file_is_whole(tmp_path):
    """Without FFmpeg, byte by byte."""
    box = lambda name, size: (8 + size).to_bytes(4, "big") + name + bytes(size)  # noqa: E731
    whole = box(b"ftyp", 8) + box(b"moov", 100) + box(b"mdat", 1000)
    segment = b"\x1aE\xdf\xa3\x84webm" + b"\x18\x53\x80\x67" + b"\x01" + (50).to_bytes(7, "big") + bytes(50)
    for kind, content, missing in (
        ("MPEG-4", whole, ""), ("MPEG-4", whole[:-1], "box 'mdat'"), ("MPEG-4", box(b"ftyp", 8), "'moov'"),
        ("WebM", segment, ""), ("WebM", segment[:-1], "segment"),
        ("WebM", segment.replace(b"\x01" + (50).to_bytes(7, "big"), b"\x01" + b"\xff" * 7)[:-1], ""),
        ("AMR", b"#!AMR\n" + b"\x04".ljust(13, b"\0") * 3, ""),
        ("AMR", b"#!AMR\n" + b"\x04".ljust(12, b"\0"), "within a frame"),
    ):  # fmt: skip
        (tmp_path / "a").write_bytes(content)
        with Content(tmp_path / "a") as opened:
            found = cut_off(opened, kind)
            assert (missing in found) if missing else not found, (kind, found)
            assert not is_fragmented(opened) if kind == "MPEG-4" else True


def test_nothing_of_ffmpeg_is_imported_where_it_is_not_needed(faults, tmp_path):
    (tmp_path / "a.wav").write_bytes(faults.wav(faults.sweep(1.0)))
    read_waveform(tmp_path / "a.wav")
    assert (containers is not None and "torchcodec.decoders" not in sys.modules) or missing_command() == ""
