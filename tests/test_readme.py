"""README and docs show what was measured: tables are those of docs/results, and links lead to files."""

import re
import subprocess
import sys
from pathlib import Path

import pytest


def tables_of(page: Path) -> list[str]:
    return re.findall(r"<!-- table: (\w+) -->", page.read_text("utf-8"))


def test_the_tables_are_those_of_the_results(repository):
    checked = subprocess.run(
        [sys.executable, "docs/readme_tables.py", "--check"], cwd=repository, capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stderr
    assert tables_of(repository / "README.md") == ["short_real_tiny"]
    assert tables_of(repository / "docs" / "results.md") == ["real_tiny", "speech_real_tiny", "demo"]
    assert tables_of(repository / "docs" / "export.md") == ["parity"]


@pytest.mark.parametrize(
    ("page", "row", "number", "other"),
    [("docs/results.md", "| **urban10**", "| 837 |", "| 838 |"), ("README.md", "| urban10", "+13.4", "+23.4")],
)
def test_a_changed_number_is_noticed(repository, tmp_path, page, row, number, other):
    for part in ("docs", "README.md"):
        subprocess.run(["cp", "-r", repository / part, tmp_path / part], check=True)
    path = tmp_path / page
    line = next(line for line in path.read_text("utf-8").splitlines() if line.startswith(row))
    assert number in line
    path.write_text(path.read_text("utf-8").replace(line, line.replace(number, other)), "utf-8")
    command = [sys.executable, tmp_path / "docs" / "readme_tables.py"]
    assert subprocess.run([*command, "--check"], capture_output=True).returncode == 1
    subprocess.run(command, check=True)
    assert path.read_text("utf-8") == (repository / page).read_text("utf-8")


def test_the_page_of_recipe_fields_is_what_the_code_reads(repository):
    checked = subprocess.run(
        [sys.executable, "docs/recipe_fields.py", "--check"], cwd=repository, capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stderr


def test_every_relative_link_leads_to_a_file(repository):
    pages = [repository / name for name in ("README.md", "CONTRIBUTING.md", "data_manifests/README.md")]
    for page in [*pages, *(repository / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
            assert (page.parent / target).exists(), f"{page}: {target}"
