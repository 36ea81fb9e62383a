"""README's tables, from the results that they show.

    python docs/readme_tables.py            # writes them
    python docs/readme_tables.py --check    # exit code 1 where README shows something else

Between `<!-- table: NAME -->` and `<!-- /table -->` stands the table of `docs/results/NAME.json`, which is the
`probe.json` of a run or, where NAME begins with parity, the `parity.json` of an export.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from whisper_aut.errors import WhisperAutError
from whisper_aut.probe.results import ProbeReport
from whisper_aut.report.markdown import markdown_table
from whisper_aut.report.verdict import make_rows

ROOT = Path(__file__).resolve().parents[1]
TABLE = re.compile(r"(?<=<!-- table: )(?P<name>\w+) -->\n.*?(?=<!-- /table -->)", re.DOTALL)


def with_tables(readme: str) -> str:
    """The text with every table made anew."""
    return TABLE.sub(lambda found: f"{found['name']} -->\n{_table(found['name'])}", readme)


def _table(name: str) -> str:
    path = ROOT / "docs" / "results" / f"{name}.json"
    if name.startswith("parity"):
        return _parity_table(path)
    return markdown_table(make_rows(ProbeReport.from_json(path)))


def _parity_table(path: Path) -> str:
    names = ("consumer", "version", "its own call", "largest difference", "rms", "verdict")
    lines = [f"| {' | '.join(names)} |", "|---|---|---|---:|---:|---|"]
    for row in json.loads(path.read_text("utf-8"))["rows"]:
        far = row["distance"]
        numbers = f"{far['largest']:.1e} | {far['rms']:.1e}" if far else " | "
        lines.append(f"| {row['consumer']} | {row['version']} | `{row['call']}` | {numbers} | {row['status']} |")
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> int:
    """Exit code."""
    if arguments not in ([], ["--check"]):
        print(__doc__, file=sys.stderr)
        return 2
    path = ROOT / "README.md"
    readme = path.read_text("utf-8")
    try:
        wanted = with_tables(readme)
    except WhisperAutError as error:
        print(error, file=sys.stderr)
        return 2
    if readme == wanted:
        return 0
    if arguments:
        print("README.md does not show docs/results: run `python docs/readme_tables.py`", file=sys.stderr)
        return 1
    path.write_text(wanted, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
