"""Mistakes are found before anything is loaded: torch is not imported for them."""

import subprocess
import sys

import pytest

from whisper_aut.config import load_recipe
from whisper_aut.errors import WhisperAutError
from whisper_aut.train.preflight import check_before_loading


@pytest.fixture(scope="module")
def recipe(tmp_path_factory, write_corpus, make_recipe):
    return make_recipe(write_corpus(tmp_path_factory.mktemp("preflight") / "corpus"))


def test_a_sound_recipe_passes(demo_weights, recipe, tmp_path):
    check_before_loading(load_recipe(recipe), tmp_path / "run")
    check_before_loading(load_recipe(recipe), None)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.root=nowhere", "there is no manifest at"),
        ("data.mixture.music.manifests=[music.csv]", "ends in .jsonl or .parquet"),
        ("base.model=./nowhere", "there is no model at './nowhere'"),
        ("train.deepspeed=zero9", "there is no strategy 'zero9'"),
    ],
)
def test_what_is_not_there_is_named(demo_weights, recipe, override, message):
    with pytest.raises(WhisperAutError) as caught:
        check_before_loading(load_recipe(recipe, [override]), None)
    assert message in str(caught.value)


def test_a_file_in_the_place_of_the_run_is_named(demo_weights, recipe, tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(WhisperAutError, match="a file is in its place"):
        check_before_loading(load_recipe(recipe), tmp_path / "run")


@pytest.mark.parametrize(
    "arguments",
    [["nowhere.yaml"], ["RECIPE", "train.lrr=1"], ["RECIPE", "data.root=nowhere"], ["RECIPE", "train.precision=fp16"]],
)
def test_a_mistake_is_said_without_importing_torch(recipe, arguments):
    words = [str(recipe) if word == "RECIPE" else word for word in arguments]
    code = (
        "import sys; sys.argv = ['whisper-aut', 'train', *sys.argv[1:]]\n"
        "from whisper_aut.cli import main\n"
        "try: main()\n"
        "finally: print('heavy:', sorted({'torch', 'transformers', 'deepspeed'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert "remedy:" in done.stderr and "Traceback" not in done.stderr
    assert "heavy: []" in done.stdout, done.stdout
