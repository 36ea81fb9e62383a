"""What an export says of its making; and the citation file itself."""

import yaml

import whisper_aut
from whisper_aut.export.provenance import add_provenance


def test_recipe_and_citation_come_along_word_for_word(tmp_path, repository):
    run, export = tmp_path / "run", tmp_path / "export"
    run.mkdir()
    export.mkdir()
    (run / "recipe.yaml").write_text("name: small\n")
    add_provenance(export, run)
    assert (export / "recipe.yaml").read_text() == "name: small\n"
    assert (export / "CITATION.cff").read_bytes() == (repository / "CITATION.cff").read_bytes()


def test_a_run_without_a_recipe_has_none_to_give(tmp_path):
    add_provenance(tmp_path, tmp_path / "none")
    assert [path.name for path in tmp_path.iterdir()] == ["CITATION.cff"]


def test_the_citation_names_this_release_and_its_licence(repository):
    citation = yaml.safe_load((repository / "CITATION.cff").read_text("utf-8"))
    assert citation["version"] == whisper_aut.__version__
    assert citation["license"] == "Apache-2.0"
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= set(citation)
