"""Write the tables of README.md and docs/ from the results that they show.

    python docs/readme_tables.py            # writes them
    python docs/readme_tables.py --check    # exit code 1 where a page shows something else

Between `<!-- table: NAME -->` and `<!-- /table -->` stands the table of `docs/results/NAME.json`, which is the
`probe.json` of a run or, where NAME begins with speech, the word errors of a `speech.json`, kept without its clips
(their texts are the corpora's). `short_NAME` has the primary rows of NAME alone. The table `parity` is made of the
`parity.json` of two exports.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from whisper_aut.errors import WhisperAutError
from whisper_aut.probe.results import ProbeReport
from whisper_aut.report.markdown import markdown_table, speech_table
from whisper_aut.report.speech import speech_section
from whisper_aut.report.verdict import Row, make_rows
from whisper_aut.speech.results import SpeechReport

PAGES = ("README.md", "docs/results.md", "docs/export.md")
ROOT = Path(__file__).resolve().parents[1]
PARITIES = {"parity_demo": "demo", "parity_real_tiny": "real run"}  # files, and their columns
TABLE = re.compile(r"(?<=<!-- table: )(?P<name>\w+) -->\n.*?(?=<!-- /table -->)", re.DOTALL)


def with_tables(page: str) -> str:
    """Return the text with every table made anew."""
    return TABLE.sub(lambda found: f"{found['name']} -->\n{_table(found['name'])}", page)


def _table(name: str) -> str:
    path = ROOT / "docs" / "results" / f"{name.removeprefix('short_')}.json"
    if name.startswith("short_"):
        return _short_table(make_rows(ProbeReport.from_json(path)))
    if name == "parity":
        return _parity_table()
    if name.startswith("speech"):
        rows = speech_section(SpeechReport.from_json(path), []).rows
        # At short contexts decoders that were never trained on them repeat themselves without end: README says so.
        word_errors = [row for row in rows if row.metric == "WER"]
        shown = [row for row in word_errors if row.context == "full" or row.role == "adapted decoder"]
        return speech_table(shown) + "\n"
    return markdown_table(make_rows(ProbeReport.from_json(path)))


def _short_table(rows: list[Row]) -> str:
    """Return the primary protocol's rows: scores before and after, and the change with its interval."""
    lines = ["| task | original | adapted | Δ [95%] |", "|---|---:|---:|---:|"]
    for row in (row for row in rows if row.believed):
        low, high = (f"{edge:+.1f}".replace("-", "−") for edge in row.interval)
        delta = f"{row.delta:+.1f}".replace("-", "−")
        lines.append(f"| {row.task} | {row.base:.1f} | {row.adapted:.1f} | **{delta}** [{low}, {high}] |")
    return "\n".join(lines) + "\n"


def _parity_table() -> str:
    """Every consumer, with what was measured on each export of ``PARITIES``."""
    reports = [json.loads((ROOT / "docs" / "results" / f"{name}.json").read_text("utf-8")) for name in PARITIES]
    measured = [{(row["consumer"], row["call"]): row for row in report["rows"]} for report in reports]
    titles = [f"{title}: largest, rms" for title in PARITIES.values()]
    lines = [f"| consumer | version | its own call | {' | '.join(titles)} | verdict |"]
    lines.append("|---|---|---|" + "---:|" * len(titles) + "---|")
    for key, row in measured[0].items():
        found = [rows[key] for rows in measured]  # a consumer that one of them lacks is an error
        numbers = [f"{one['distance']['largest']:.1e}, {one['distance']['rms']:.1e}" for one in found]
        verdict = ", ".join(dict.fromkeys(one["status"] for one in found))
        lines.append(f"| {key[0]} | {row['version']} | `{key[1]}` | {' | '.join(numbers)} | {verdict} |")
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> int:
    """Exit code."""
    if arguments not in ([], ["--check"]):
        print(__doc__, file=sys.stderr)
        return 2
    try:
        pages = {ROOT / name: with_tables((ROOT / name).read_text("utf-8")) for name in PAGES}
    except WhisperAutError as error:
        print(error, file=sys.stderr)
        return 2
    changed = [path for path, wanted in pages.items() if path.read_text("utf-8") != wanted]
    for path in changed:
        if arguments:
            print(f"{path.name} does not show docs/results: run `python docs/readme_tables.py`", file=sys.stderr)
        else:
            path.write_text(pages[path], "utf-8")
    return 1 if changed and arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
