"""Imports go one way, and DeepSpeed has one importer. Read from the source, so that imports inside functions count."""

import ast
import functools
import subprocess
import sys
from pathlib import Path

import pytest

# Lowest first; a part imports from parts before it and from itself. ``resources`` imports nothing.
ORDER = (
    ("__init__",), ("constants", "errors", "files", "progress", "resources"), ("machine", "records"), ("config",),
    ("data", "model"), ("encoder", "train"), ("export",), ("speech",), ("probe",), ("leakage",), ("report",),
    ("watch",), ("demo",), ("parity",), ("bench",), ("doctor",), ("commands",), ("cli",), ("__main__",),
)  # fmt: skip
LEVEL = {part: level for level, parts in enumerate(ORDER) for part in parts}

# Stricter than the order: who may import what of the package.
ALLOWED = {
    "constants": set(), "errors": set(), "files": set(), "progress": set(), "resources": set(), "machine": {"errors"},
    "records": {"errors"},
    "config": {"constants", "errors"},
    "data": {"constants", "errors", "files", "machine", "progress", "resources", "config"},
    "model": {"constants", "errors", "files"},
    "__init__": {"encoder"},  # what it offers, imported when asked for
    "encoder": {"constants", "errors", "data", "model"},
    "train": {
        "__init__", "constants", "errors", "files", "machine", "progress", "resources", "config", "data", "model",
    },
    # Checkpoints, the one thing of training that anything later knows.
    "export": {"constants", "errors", "files", "resources", "model", "train"},
    # Of training the checkpoints alone, as export; of export what a folder says of the run that it is from.
    "speech": {
        "__init__", "constants", "errors", "files", "progress", "records", "resources", "config", "data", "model",
        "train", "export",
    },
    "probe": {"__init__", "constants", "errors", "files", "machine", "progress", "resources", "data", "model"},
    "leakage": {"__init__", "constants", "errors", "files", "machine", "progress", "resources", "data", "probe"},
    "report": {"__init__", "constants", "errors", "files", "progress", "records", "model", "probe", "export", "speech"},
    "parity": {
        "__init__", "constants", "errors", "files", "machine", "resources", "data", "model", "train", "export", "demo",
    },
}  # fmt: skip


def source_files() -> list[Path]:
    package = Path(__file__).resolve().parents[1] / "whisper_aut"
    return sorted(path for path in package.rglob("*.py") if "_resources" not in path.parts)


def part_of(path: Path) -> str:
    """``data`` for data/plan.py, ``config`` for config.py."""
    inside = path.relative_to(Path(__file__).resolve().parents[1] / "whisper_aut")
    return inside.parts[0].removesuffix(".py")


@functools.cache
def modules_imported(path: Path) -> set[str]:
    """Dotted names that a file imports anywhere, ``TYPE_CHECKING`` and function bodies included."""
    modules: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            modules |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            # `from whisper_aut import config` names a module, `from whisper_aut.config import Recipe` does not.
            modules |= {f"{node.module}.{name.name}" for name in node.names}
    return modules


def parts_imported(path: Path) -> set[str]:
    parts = set()
    for module in modules_imported(path):
        top, *rest = module.split(".")
        if top == "whisper_aut":
            parts.add(rest[0] if rest and rest[0] in LEVEL else "__init__")
    return parts - {part_of(path)}


def test_every_part_of_the_package_has_its_place():
    assert {part_of(path) for path in source_files()} <= set(LEVEL)


def test_imports_go_one_way():
    wrong = {}
    for path in source_files():
        level = LEVEL[part_of(path)]
        offered = {"encoder"} if part_of(path) == "__init__" else set()
        wrong[str(path)] = {part for part in parts_imported(path) if LEVEL[part] >= level} - offered
    assert {path: parts for path, parts in wrong.items() if parts} == {}


def test_the_package_itself_is_light():
    """`import whisper_aut` and `whisper-aut --help` wait for neither torch nor transformers."""
    code = "import sys, whisper_aut; print({'torch', 'transformers', 'numpy'} & set(sys.modules), whisper_aut.__all__)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found.startswith("set()") and "load_encoder" in found


@pytest.mark.parametrize("part", ALLOWED)
def test_a_part_imports_only_what_it_may(part):
    found = {path.name: parts_imported(path) - ALLOWED[part] for path in source_files() if part_of(path) == part}
    assert {name: parts for name, parts in found.items() if parts} == {}


@pytest.mark.parametrize("part", ["export", "speech"])
def test_export_and_speech_know_of_training_only_its_checkpoints(part):
    found = {m for path in source_files() if part_of(path) == part for m in modules_imported(path)}
    training = {".".join(module.split(".")[:3]) for module in found if module.startswith("whisper_aut.train")}
    assert training <= {"whisper_aut.train.checkpoint"}


def test_deepspeed_has_one_importer():
    importers = [
        path.name for path in source_files() if any(m.split(".")[0] == "deepspeed" for m in modules_imported(path))
    ]
    assert importers == ["engine.py"]


def test_inside_each_part_files_import_no_circle():
    graph: dict[str, set[str]] = {}
    for path in source_files():
        name = ".".join(path.relative_to(Path(__file__).resolve().parents[1]).with_suffix("").parts)
        graph[name] = set()
        for module in modules_imported(path):
            for known in (module, module.rpartition(".")[0]):
                if known.startswith("whisper_aut."):
                    graph[name].add(known)
    done: set[str] = set()
    while ready := {name for name in graph if name not in done and (graph[name] & set(graph)) - {name} <= done}:
        done |= ready
    assert set(graph) - done == set()
