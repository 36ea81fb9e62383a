"""Files beside the code are found in a checkout and in an installed wheel."""

import json

import pytest

from whisper_aut import resources
from whisper_aut.resources import resource


@pytest.mark.parametrize("name", ["zero1", "zero2", "zero3"])
def test_strategies_are_found_in_the_checkout(repository, name):
    path = resource(f"ds_configs/{name}.json")
    assert path == repository / "ds_configs" / f"{name}.json"
    assert json.loads(path.read_text())["zero_optimization"]["stage"] == int(name[-1])


def test_the_copies_of_a_wheel_come_first(tmp_path, monkeypatch):
    package = tmp_path / "site-packages" / "whisper_aut"
    inside = package / "_resources" / "ds_configs" / "zero1.json"
    inside.parent.mkdir(parents=True)
    inside.write_text("{}")
    monkeypatch.setattr(resources, "_PACKAGE", package)
    assert resource("ds_configs/zero1.json") == inside
    assert not resource("ds_configs/absent.json").exists()


def test_a_wheel_carries_everything_that_the_code_asks_for(repository):
    import tomllib

    settings = tomllib.loads((repository / "pyproject.toml").read_text())
    carried = settings["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    wanted = ("ds_configs", "data_manifests", "CITATION.cff")
    assert carried == {name: f"whisper_aut/_resources/{name}" for name in wanted}
    assert all((repository / name).exists() for name in carried)
