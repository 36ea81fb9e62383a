"""docs/recipe.md, every field of a recipe, from the code that reads recipes.

python docs/recipe_fields.py            # writes it
python docs/recipe_fields.py --check    # exit code 1 where it says something else
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from whisper_aut.config import Recipe

PAGE = Path(__file__).with_name("recipe.md")
HEAD = """# Every field of a recipe

A recipe is YAML; `whisper-aut train RECIPE.yaml train.lr=3e-5 data.root=/data` overrides single fields by their names
below. Unknown fields are refused, with the nearest known one. `DOMAIN` is `speech`, `environment` or `music`. The
recipe that a run was trained with, every default written out, lies in the run's folder as `recipe.yaml`.

Written by `python docs/recipe_fields.py` from `whisper_aut/config.py`.

| field | values | default | what it is |
| --- | --- | --- | --- |
"""


def page() -> str:
    """The whole page."""
    schema = Recipe.model_json_schema()
    return HEAD + "".join(_rows(schema, schema["$defs"], ""))


def _rows(section: dict[str, Any], sections: dict[str, Any], prefix: str) -> list[str]:
    rows = []
    for name, field in section["properties"].items():
        nested = _nested(field) or _nested(field.get("additionalProperties") or {})
        if nested:
            below = f"{prefix}{name}." if "$ref" in field else f"{prefix}{name}.DOMAIN."
            rows += _rows(sections[nested], sections, below)
            continue
        default = "required" if name in section.get("required", ()) else f"`{_shown(field.get('default'))}`"
        rows.append(f"| `{prefix}{name}` | {_values(field)} | {default} | {field.get('description', '')} |\n")
    return rows


def _nested(field: dict[str, Any]) -> str:
    return str(field.get("$ref", "")).rpartition("/")[2]


def _values(field: dict[str, Any]) -> str:
    options = [option for option in field.get("anyOf", [field]) if option.get("type") != "null"]
    return " or ".join(_one_value(option) for option in options)


def _one_value(option: dict[str, Any]) -> str:
    if "enum" in option:
        return ", ".join(f"`{value}`" for value in option["enum"])
    kinds = {"integer": "whole number", "number": "number", "string": "text", "boolean": "true or false"}
    kind = kinds.get(option["type"]) or ("two numbers" if "prefixItems" in option else "list of texts")
    if option["type"] == "object":
        kind = f"{_one_value(option['additionalProperties'])} by name"
    low = f"from {option['minimum']:g}" if "minimum" in option else ""
    low = f"above {option['exclusiveMinimum']:g}" if "exclusiveMinimum" in option else low
    high = f"up to {option['maximum']:g}" if "maximum" in option else ""
    high = f"below {option['exclusiveMaximum']:.10g}" if "exclusiveMaximum" in option else high
    return " ".join(part for part in (kind, low, high) if part)


def _shown(default: Any) -> str:
    if isinstance(default, bool):
        return str(default).lower()
    if default is None:
        return "null"
    return '""' if default == "" else str(default)


def main(arguments: list[str]) -> int:
    """Exit code."""
    if arguments not in ([], ["--check"]):
        print(__doc__, file=sys.stderr)
        return 2
    wanted = page()
    if PAGE.is_file() and PAGE.read_text("utf-8") == wanted:
        return 0
    if arguments:
        print("docs/recipe.md is not what the code says: run `python docs/recipe_fields.py`", file=sys.stderr)
        return 1
    PAGE.write_text(wanted, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
