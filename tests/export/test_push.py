"""Pushing an export with huggingface_hub's own client to a hub on this machine; and what is refused before."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from whisper_aut.errors import CheckpointError, GateFailed
from whisper_aut.export.push import check_repo_id, prepare
from whisper_aut.export.sums import compare_sums, write_sums

_spec = importlib.util.spec_from_file_location("hub_of_the_test", Path(__file__).with_name("hub.py"))
assert _spec and _spec.loader
_hub = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_hub)
Hub, TOKEN = _hub.Hub, _hub.TOKEN


@pytest.fixture
def export(tmp_path):
    """The files of an export; pushing looks at sums, card and names, not into the weights."""
    folder = tmp_path / "export"
    (folder / "encoder").mkdir(parents=True)
    (folder / "whisper_aut.json").write_text('{"step": 1}')
    (folder / "README.md").write_text("---\nlicense: other\nmodel_name: demo\n---\n# demo\n")
    save_file({"encoder.conv1.weight": torch.arange(8.0)}, folder / "model.safetensors")
    save_file({"conv1.weight": torch.arange(8.0)}, folder / "encoder" / "model.safetensors")
    write_sums(folder)
    return folder


def push(folder: Path, hub: object, *more: str, token: str = TOKEN) -> "subprocess.CompletedProcess[str]":
    """The command in a process of its own: huggingface_hub reads its settings once, when it is imported."""
    settings = {
        "HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1",
        "HF_HOME": str(folder.parent / "home"),
        "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "NO_PROXY": "127.0.0.1",
    }  # fmt: skip
    environment = {k: v for k, v in os.environ.items() if k not in {"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"}} | settings
    if token:
        environment["HF_TOKEN"] = token
    command = [sys.executable, "-P", "-m", "whisper_aut", "push", str(folder), "ada/demo", *more]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_every_file_arrives_as_it_is_and_the_repository_verifies(export, tmp_path):
    with Hub() as hub:
        done = push(export, hub, "--private")
        assert done.returncode == 0, done.stderr
        assert "private" in (
            hub.made[0].get("visibility"),
            *(key for key, value in hub.made[0].items() if value is True),
        )
        assert f"pushed: {hub.url}" in done.stdout
        for name, content in hub.files.items():
            path = tmp_path / "downloaded" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    assert compare_sums(tmp_path / "downloaded").sound


def test_an_upload_that_broke_off_shows_nothing_and_again_sends_only_the_rest(export):
    with Hub() as hub:
        hub.breaks_off = True
        broken = push(export, hub)
        assert broken.returncode == 2
        assert "run the same command again" in broken.stderr
        assert "Traceback" not in broken.stderr
        assert (hub.files, hub.commits, len(hub.uploaded)) == ({}, 0, 1)
        hub.breaks_off = False
        done = push(export, hub)
        assert done.returncode == 0, done.stderr
        assert set(hub.files) == set(prepare(export).sizes)
        assert len(hub.uploaded) == len(set(hub.uploaded)) == 2


def test_a_hub_that_does_not_answer_is_told_without_a_traceback(export):
    with Hub() as hub:
        pass
    done = push(export, hub)
    assert done.returncode == 2
    assert "run the same command again" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_a_token_it_says_how_to_get_one(export):
    with Hub() as hub:
        done = push(export, hub, token="")
        assert done.returncode == 2
        assert "hf auth login" in done.stderr
        assert hub.made == []


def test_a_wrong_token_is_told(export):
    with Hub() as hub:
        done = push(export, hub, token="hf_of_somebody_else")
        assert done.returncode == 2
        assert "token is wrong" in done.stderr
        assert "Traceback" not in done.stderr


def test_a_dry_run_shows_files_sizes_and_card_and_asks_nobody(export):
    with Hub() as hub:
        done = push(export, hub, "--dry-run", token="")
        assert done.returncode == 0, done.stderr
        assert (hub.made, hub.commits, hub.uploaded) == ([], 0, [])
    for shown in ("encoder/model.safetensors", "SHA256SUMS", "MB", "# demo", "license: other"):
        assert shown in done.stdout


def test_a_folder_that_does_not_verify_never_leaves(export):
    (export / "notes.txt").write_text("private")
    with pytest.raises(GateFailed, match=r"extra: notes\.txt"):
        prepare(export)
    with Hub() as hub:
        assert push(export, hub).returncode == 3
        assert hub.made == []


def test_a_folder_that_is_no_export_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="not an export"):
        prepare(tmp_path)


def test_a_card_whose_head_is_no_yaml_is_refused(export):
    (export / "README.md").write_text("---\nlicense: [other\n---\n# demo\n")
    write_sums(export)
    with pytest.raises(CheckpointError, match="head of the model card"):
        prepare(export)
    (export / "README.md").unlink()
    write_sums(export)
    with pytest.raises(CheckpointError, match="no model card"):
        prepare(export)


@pytest.mark.parametrize("name", ["demo", "a/b/c", "ada/de mo", "../x", "ada/"])
def test_a_name_that_is_no_repository_is_refused(name):
    with pytest.raises(CheckpointError, match="no name of a repository"):
        check_repo_id(name)
