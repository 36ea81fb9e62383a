"""The two reports on manifests: every problem with its line, and sums that add up."""

from __future__ import annotations

import pytest

from whisper_aut.data import manifest_report
from whisper_aut.data.manifest_report import manifest_stats, validate_manifest


def test_a_sound_manifest_has_no_problems(write_manifest, tokenizer_folder):
    path = write_manifest("good.jsonl", [{}, {}, {"duration_sec": 2.0}])
    report = validate_manifest(path, check_audio=True, tokenizer_dir=tokenizer_folder)
    assert report.problems == []
    assert (report.summary["clips"], report.summary["hours"]) == (3, pytest.approx(4 / 3600))


def test_every_problem_is_listed_in_order_with_line_field_and_clip(write_manifest, tokenizer_folder):
    path = write_manifest(
        "bad.jsonl",
        [
            {"id": "ok"},
            {"domain": "noise"},
            {"text": "strange words " * 300},
            {},
            {"duration_sec": 31.0},
            {"text": ...},
        ],
    )
    (path.parent / "audio" / "bad-3.wav").write_text("no audio")
    (path.parent / "audio" / "ok.wav").unlink()
    report = validate_manifest(path, check_audio=True, tokenizer_dir=tokenizer_folder)
    assert [(problem.where, problem.field, problem.clip_id) for problem in report.problems] == [
        (f"{path}:1", "audio", "ok"),
        (f"{path}:2", "domain", "bad-1"),
        (f"{path}:3", "text", "bad-2"),
        (f"{path}:4", "audio", "bad-3"),
        (f"{path}:5", "duration_sec", "bad-4"),
        (f"{path}:6", "text", "bad-5"),
    ]
    assert "603 tokens" in report.problems[2].message
    assert report.summary["problems_by_field"] == {"audio": 2, "domain": 1, "text": 2, "duration_sec": 1}


def test_whispers_tokens_spelled_out_in_a_text_are_named(write_manifest):
    texts = ["a<|endoftext|>", "<|12.34|> b", "x <| y |> z"]
    path = write_manifest("tokens.jsonl", [{"text": text} for text in texts])
    problems = validate_manifest(path, check_audio=False).problems
    assert [(problem.where, problem.field) for problem in problems] == [(f"{path}:1", "text"), (f"{path}:2", "text")]
    assert "'<|12.34|>'" in problems[1].message


def test_the_list_of_problems_does_not_grow_with_the_manifest(write_manifest, monkeypatch):
    monkeypatch.setattr(manifest_report, "MAX_PROBLEMS", 3)
    path = write_manifest("a.jsonl", [{"id": f"clip{n}"} for n in range(50)], audio=False)
    problems = validate_manifest(path, check_audio=False).problems
    assert [problem.clip_id for problem in problems] == ["clip0", "clip1", "clip2", ""]
    assert problems[-1].where.endswith(":4") and "what follows was not looked at" in problems[-1].message


def test_audio_is_decoded_only_when_asked_for(write_manifest):
    path = write_manifest("clips.jsonl", [{}])
    (path.parent / "audio" / "clips-0.wav").write_text("no audio")
    assert validate_manifest(path, check_audio=False).problems == []
    assert len(validate_manifest(path, check_audio=True).problems) == 1


def test_stats_add_up_over_files(write_manifest):
    paths = [
        write_manifest("a.jsonl", [{"license": "CC0-1.0"}, {"duration_sec": 3.0}], audio=False),
        write_manifest("b.jsonl", [{"text": "Rain, rain."}], domain="environment", audio=False),
    ]
    stats = manifest_stats(paths)
    assert stats["clips"] == 3 and stats["hours"] == pytest.approx(5 / 3600)
    assert stats["domains"] == {
        "speech": {"clips": 2, "hours": pytest.approx(4 / 3600)},
        "environment": {"clips": 1, "hours": pytest.approx(1 / 3600)},
    }
    assert {name: entry["clips"] for name, entry in stats["sources"].items()} == {"a": 2, "b": 1}
    assert {name: entry["clips"] for name, entry in stats["licenses"].items()} == {"unknown": 2, "CC0-1.0": 1}
    assert (stats["duration_sec"]["min"], stats["duration_sec"]["median"], stats["duration_sec"]["max"]) == (1, 1, 3)
    assert stats["text_chars"]["max"] == len("Rain, rain.")
    assert stats["duration_histogram"]["counts"][:4] == [0, 2, 0, 1] and stats["duration_histogram"]["over"] == 0
    assert stats["text_histogram"]["counts"][0] == 3
