"""The main table lines up on a terminal and survives Markdown."""

from types import ModuleType

import pytest

from whisper_aut.report.markdown import code, escape, fenced, markdown_table, terminal_table
from whisper_aut.report.verdict import make_rows


def test_the_terminal_table_lines_up_and_marks_the_rows_of_the_verdict(made: ModuleType) -> None:
    lines = terminal_table(make_rows(made.demo_probe())).splitlines()
    assert len(lines) == 2 + 12
    column = lines[0].index("verdict")
    assert {line[column:] for line in lines[2:]} == {"gained", "lost", "within noise"}
    assert [line[0] for line in lines[2:]].count("*") == 4
    assert lines[2].startswith("* urban10") and "+9.9 [+6.8, +13.0]" in lines[2]


def test_wide_characters_keep_the_columns_aligned(made: ModuleType) -> None:
    tasks = [made.make_task(name, made.make_result(60, 1, 3, 0.5)) for name in ("音楽", "abcd")]
    first, second = terminal_table(make_rows(made.make_probe(*tasks))).splitlines()[2:]
    assert first.index("strict") == second.index("strict") - 2  # two characters of two columns each


def test_every_markdown_row_has_the_columns_of_the_head(made: ModuleType) -> None:
    probe = made.make_probe(made.make_task("a|b", made.make_result(60, 1, 3, 0.5)))
    lines = markdown_table(make_rows(probe)).splitlines()
    assert "a\\|b" in lines[2]
    assert {line.replace("\\|", "").count("|") for line in lines} == {14}


@pytest.mark.parametrize(
    ("text", "expected"), [("<b>", "&lt;b&gt;"), ("a\nb", "a b"), ("*x*", "\\*x\\*"), ("a & b", "a &amp; b")]
)
def test_text_is_escaped(text: str, expected: str) -> None:
    assert escape(text) == expected


def test_fences_are_longer_than_those_inside() -> None:
    assert code("a`b") == "`` a`b ``"
    assert fenced("x\n```\ny").startswith("````\n")


def test_several_encoders_are_named_in_a_column_of_their_own(made: ModuleType) -> None:
    result = made.side_by_side(made.make_result(60, 1, 3, 0.5), made.make_result(60, -40, 3, 1e-9))
    rows = make_rows(made.make_probe(made.make_task("a", result), more=(("floor", "mf|cc"),)))
    head, _, first, second = markdown_table(rows).splitlines()
    assert "| context | encoder | base" in head
    assert "| runs/demo/export |" in first and "| mf\\|cc (floor) |" in second
    lines = terminal_table(rows).splitlines()
    assert lines[0].index("encoder") == lines[2].index("runs/demo/export") == lines[3].index("mf|cc")
