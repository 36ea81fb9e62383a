"""The tables of data_manifests/README.md that show corpora and the keys of their descriptions, from both.

    python docs/source_tables.py            # writes them
    python docs/source_tables.py --check    # exit code 1 where the page shows something else

Between `<!-- sources -->` and `<!-- /sources -->` stands what data_manifests/sources/*.yaml say, between
`<!-- keys -->` and `<!-- /keys -->` what whisper_aut/data/sources/spec.py reads, and between `<!-- clean-ups -->` and
`<!-- /clean-ups -->` what whisper_aut/data/sources/cleanup.py can do.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from whisper_aut.data.sources.cleanup import CLEANUPS
from whisper_aut.data.sources.spec import SourceSpec, load_source, shipped_sources

PAGE = Path(__file__).resolve().parents[1] / "data_manifests" / "README.md"
_COMMERCIAL = {"allowed": "yes", "forbidden": "**no**", "by clip": "**by clip**", "unclear": "**unclear**"}


def with_tables(page: str) -> str:
    """The text with every table made anew."""
    for name, table in (("sources", sources_table()), ("keys", keys_table()), ("clean-ups", cleanups_table())):
        pattern = re.compile(rf"(?<=<!-- {name} -->\n).*?(?=<!-- /{name} -->)", re.DOTALL)
        page = pattern.sub(lambda _, table=table: table, page)
    return page


def sources_table() -> str:
    """A row for each source that comes with the package, by domain."""
    specs = [load_source(name) for name in shipped_sources()]
    rows = ["| name | corpus | domain | hours | commercial use | licence |", "| --- | --- | --- | ---: | --- | --- |"]
    for domain in ("speech", "environment", "music"):
        for spec in specs:
            if spec.domain == domain:
                hours = "?" if spec.hours is None else f"{spec.hours:,.0f}"
                corpus = f"[{spec.title}]({spec.homepage})"
                commercial = _COMMERCIAL[spec.commercial]
                rows.append(f"| `{spec.name}` | {corpus} | {domain} | {hours} | {commercial} | {spec.license} |")
    return "\n".join(rows) + "\n"


def keys_table() -> str:
    """Every key of a source with its values, default and meaning."""
    schema = SourceSpec.model_json_schema()
    rows = ["| key | values | what it is |", "| --- | --- | --- |"]
    rows += _rows(schema, schema["$defs"], "")
    return "\n".join(rows) + "\n"


def cleanups_table() -> str:
    """Every clean-up with what it does."""
    rows = ["| name | what it does |", "| --- | --- |"]
    for name, function in CLEANUPS.items():
        what = " ".join((function.__doc__ or "").partition("Raises:")[0].split())
        rows.append(f"| `{name}` | {what.replace('|', chr(92) + '|')} |")
    return "\n".join(rows) + "\n"


def _rows(section: dict[str, Any], sections: dict[str, Any], prefix: str) -> list[str]:
    rows = []
    for name, field in section["properties"].items():
        if name == "read":
            for option in field["oneOf"]:
                below = sections[option["$ref"].rpartition("/")[2]]
                kind = below["properties"]["kind"]["const"]
                rows.append(f"| `read.kind: {kind}` | | {' '.join(below['description'].split())} |")
                inner = {key: value for key, value in below["properties"].items() if key != "kind"}
                rows += _rows({"properties": inner}, sections, "read.")
            continue
        nested, suffix = _nested(field)
        if nested:
            rows += _rows(sections[nested], sections, f"{prefix}{name}{suffix}.")
        else:
            rows.append(f"| `{prefix}{name}` | {_values(field)} | {field.get('description', '')} |")
    return list(dict.fromkeys(rows))  # readers have keys in common


def _nested(field: dict[str, Any]) -> tuple[str, str]:
    """(section below a key, how it is reached)."""
    for option in [field, *field.get("anyOf", ())]:
        if "$ref" in option:
            return option["$ref"].rpartition("/")[2], ""
        items = option.get("items") or {}
        if "$ref" in items:
            return items["$ref"].rpartition("/")[2], "[]"
        values = option.get("additionalProperties") or {}
        if isinstance(values, dict) and "$ref" in values:
            return values["$ref"].rpartition("/")[2], ".FIELD"
        if isinstance(values, dict) and "$ref" in (values.get("items") or {}):
            return values["items"]["$ref"].rpartition("/")[2], ".SPLIT[]"
    return "", ""


def _values(field: dict[str, Any]) -> str:
    options = [option for option in field.get("anyOf", [field]) if option.get("type") != "null"]
    return " or ".join(_one(option) for option in options)


def _one(option: dict[str, Any]) -> str:
    if "enum" in option:
        return ", ".join(f"`{value}`" for value in option["enum"])
    kinds = {"integer": "whole number", "number": "number", "string": "text", "boolean": "true or false"}
    return kinds.get(option.get("type", ""), "list" if option.get("type") == "array" else "mapping")


def main(arguments: list[str]) -> int:
    """Exit code."""
    if arguments not in ([], ["--check"]):
        print(__doc__, file=sys.stderr)
        return 2
    page = PAGE.read_text("utf-8")
    wanted = with_tables(page)
    if page == wanted:
        return 0
    if arguments:
        print("data_manifests/README.md is not what sources say: run `python docs/source_tables.py`", file=sys.stderr)
        return 1
    PAGE.write_text(wanted, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
