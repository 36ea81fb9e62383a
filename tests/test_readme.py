"""README shows what was measured: its tables are those of docs/results, and its files exist."""

import re
import subprocess
import sys


def test_the_tables_are_those_of_the_results(repository):
    checked = subprocess.run(
        [sys.executable, "docs/readme_tables.py", "--check"], cwd=repository, capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stderr
    assert re.findall(r"<!-- table: (\w+) -->", (repository / "README.md").read_text("utf-8")) == [
        "real_tiny", "speech_real_tiny", "demo", "parity",
    ]  # fmt: skip


def test_a_changed_number_is_noticed(repository, tmp_path):
    for part in ("docs", "README.md"):
        subprocess.run(["cp", "-r", repository / part, tmp_path / part], check=True)
    readme = tmp_path / "README.md"
    row = next(line for line in readme.read_text("utf-8").splitlines() if line.startswith("| **urban10**"))
    readme.write_text(readme.read_text("utf-8").replace(row, row.replace("| 837 |", "| 838 |")), "utf-8")
    command = [sys.executable, tmp_path / "docs" / "readme_tables.py"]
    assert subprocess.run([*command, "--check"], capture_output=True).returncode == 1
    subprocess.run(command, check=True)
    assert readme.read_text("utf-8") == (repository / "README.md").read_text("utf-8")


def test_the_page_of_recipe_fields_is_what_the_code_reads(repository):
    checked = subprocess.run(
        [sys.executable, "docs/recipe_fields.py", "--check"], cwd=repository, capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stderr


def test_every_relative_link_leads_to_a_file(repository):
    for page in ("README.md", "CONTRIBUTING.md", "data_manifests/README.md", "docs/experiments.md"):
        folder = (repository / page).parent
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", (repository / page).read_text("utf-8")):
            assert (folder / target).exists(), f"{page}: {target}"
