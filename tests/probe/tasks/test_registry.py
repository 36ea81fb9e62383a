import re
from pathlib import Path

import pytest

from whisper_aut.errors import ProbeError
from whisper_aut.probe.tasks.registry import BENCHMARKS, find_benchmark, load

DIGITS = {"sha256": 64, "sha1": 40, "md5": 32}


@pytest.mark.parametrize("benchmark", BENCHMARKS.values(), ids=BENCHMARKS)
def test_every_description_is_whole(benchmark):
    assert re.fullmatch(r"[a-z0-9_]+", benchmark.name)
    for text in (
        benchmark.title,
        benchmark.license,
        benchmark.version,
        benchmark.split,
        benchmark.layout,
        benchmark.checked,
    ):
        assert text.strip() == text and text
    assert "group" in benchmark.split
    assert benchmark.num_classes >= 2
    assert benchmark.archives or benchmark.by_hand
    assert benchmark.folders[0].split("/")[0] in {benchmark.home_folder}
    files = [part for archive in benchmark.archives for part in (*archive.volumes, archive)]
    assert len({file.file for file in files}) == len(files)
    for file in files:
        algorithm, _, digits = file.checksum.partition(":")
        assert re.fullmatch(f"[0-9a-f]{{{DIGITS[algorithm]}}}", digits)
        assert file.url.startswith(("https://", "http://")) and file.file
    if len(benchmark.archives) > 1:  # so that a fetch that was interrupted between archives is not taken for whole
        last = benchmark.archives[-1]
        stem = last.file.removesuffix(".zip").removesuffix(".tar.gz").removesuffix(".jsonwav")
        assert benchmark.marker.startswith((last.into, stem) if last.into else stem)
    lines = "\n".join(benchmark.lines())
    assert benchmark.name in lines and benchmark.checked in lines


def test_a_path_is_a_folder_and_a_name_is_a_benchmark(rows, write_task, tmp_path, monkeypatch):
    folder = write_task(rows)
    assert load(folder, None).name == "tones"
    assert load(str(folder), None).name == "tones"
    monkeypatch.chdir(tmp_path)
    assert load("tones", None).name == "tones"  # a folder that is there
    with pytest.raises(ProbeError, match="ESC-50 is not there"):
        load("esc50", tmp_path)
    Path("esc50").mkdir()  # what fetching with --data-root . leaves
    with pytest.raises(ProbeError, match="ESC-50 is not there"):
        load("esc50", tmp_path)
    with pytest.raises(ProbeError, match=r"clips\.jsonl"):
        load("./esc50", tmp_path)


def test_without_a_data_root_a_benchmark_asks_for_one():
    with pytest.raises(ProbeError, match="--data-root"):
        load("esc50", None)


def test_an_unknown_name_gets_the_nearest():
    with pytest.raises(ProbeError, match="esc50"):
        find_benchmark("esc-50")
    with pytest.raises(ProbeError, match="no benchmark 'urbansound'"):
        load("urbansound", None)


def test_the_documentation_lists_the_benchmarks_as_they_are(repository):
    rows = {}
    for line in (repository / "docs" / "probing.md").read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 7 and cells[0].strip("`") in BENCHMARKS:
            rows[cells[0].strip("`")] = cells[1:]
    assert list(rows) == list(BENCHMARKS)
    for name, (clips, classes, _, _, metric, license_name) in rows.items():
        benchmark = BENCHMARKS[name]
        counted = "not counted" if benchmark.num_clips is None else f"{benchmark.num_clips:,}"
        assert (clips, classes, metric) == (counted, str(benchmark.num_classes), benchmark.metric)
        assert benchmark.license.startswith(license_name)
