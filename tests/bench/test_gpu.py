"""The GPU's command on a CPU: every measurement leaves a result, whatever becomes of it, and numbers follow from it."""

import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch

from whisper_aut.bench import gpu_jobs
from whisper_aut.bench.gpu import Job, markdown, measure_gpu, padding_ratios, planned, run_jobs
from whisper_aut.bench.gpu_jobs import Case, Setting
from whisper_aut.errors import WhisperAutError
from whisper_aut.model.loss import WhisperSummedLoss

TINY = Setting("cpu", "tiny")


@pytest.mark.integration
def test_the_whole_command_on_a_cpu(tmp_path):
    results = measure_gpu(tmp_path, TINY, budget_sec=300, only=["plain", "padded", "checkpointing", "log-mel", "head"])
    assert {result["status"] for result in results} == {"ok"}
    assert [json.loads(line) for line in (tmp_path / "gpu.jsonl").read_text().splitlines()] == results
    written = json.loads((tmp_path / "gpu.json").read_text())
    assert written["results"] == results
    assert {"commit", "machine", "versions", "command", "budget, s"} < set(written)
    plain = results[0]
    assert plain["engine"] == "plain PyTorch" and plain["clip, s"] == 1.0
    clips = 2 * plain["clips per micro-batch"]  # of a step
    assert plain["clips/s"] == pytest.approx(clips / plain["s"])
    assert plain["audio s/s"] == pytest.approx(clips / plain["s"])
    assert plain["useful TFLOP/s"] > 0
    page = (tmp_path / "gpu.md").read_text()
    assert page.count("| plain PyTorch |") == 4 and "as Hugging Face's trainer" in page and "- head: " in page


@pytest.mark.integration
def test_one_failure_costs_one_measurement(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))  # children inherit it, and find the functions by name
    from sides import dying, endless, good, good_then_bad, importing

    jobs = [
        Job("bad", good_then_bad), Job("endless", endless, 3.0), Job("dying", dying), Job("absent", importing),
        Job("good", good),
    ]  # fmt: skip
    results = run_jobs(tmp_path, jobs, "cpu", budget_sec=300, head={"device": "cpu", "shape": "tiny"})
    assert [(result["measurement"], result["status"]) for result in results] == [
        ("bad", "ok"), ("bad", "failed"), ("endless", "ok"), ("endless", "timed out"), ("dying", "ok"),
        ("dying", "failed"), ("absent", "not installed"), ("good", "ok"),
    ]  # fmt: skip
    assert "a bug" in results[1]["error"] and "-9" in results[5]["error"]
    late = run_jobs(tmp_path, jobs[-1:], "cpu", budget_sec=1, head={"device": "cpu", "shape": "tiny"})
    assert late == [{"measurement": "good", "status": "skipped", "error": "the time was up"}]


def test_both_plans_have_the_same_measurements_and_names_are_checked(tmp_path):
    large = [job.name for job in planned(Setting("cuda", "large-v3"))]
    tiny = [job.name for job in planned(TINY)]
    assert [name for name in large if name in tiny] == tiny
    assert len(set(large)) == len(large)
    with pytest.raises(WhisperAutError, match="no measurement 'plane'"):
        measure_gpu(tmp_path, TINY, budget_sec=10, only=["plane"])


def test_the_large_shape_is_large_v3():
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    with torch.device("meta"):
        whisper = WhisperForConditionalGeneration(WhisperConfig(**gpu_jobs._SHAPES["large-v3"]))
    assert sum(parameter.numel() for parameter in whisper.parameters()) == pytest.approx(1.5434e9, rel=1e-3)


def test_the_plain_step_is_adamw_on_float32_masters(small_whisper):
    """The same updates as PyTorch's own AdamW in float32, as far as bf16 gradients allow; masters keep small steps."""
    features, tokens = torch.randn(2, 80, 100), torch.randint(2, 99, (2, 6))
    exact = WhisperSummedLoss(small_whisper().train())
    rounded = WhisperSummedLoss(small_whisper().train().to(torch.bfloat16))
    optimizer = gpu_jobs._MasterAdamW(rounded)
    plain = torch.optim.AdamW([p for p in exact.parameters() if p.requires_grad], lr=gpu_jobs._LR, weight_decay=0.01)
    for _ in range(3):
        for _ in range(2):
            (exact(features, tokens, tokens) / 24).backward()
            (rounded(features.bfloat16(), tokens, tokens) / 24).backward()
        assert all(parameter.grad is None for parameter in rounded.parameters())
        torch.nn.utils.clip_grad_norm_(list(exact.parameters()), 1.0)
        plain.step()
        plain.zero_grad()
        optimizer.step()
    name = "model.decoder.layers.0.fc1.weight"
    begun = dict(small_whisper().named_parameters())[name].bfloat16().float()
    index = [n for n, p in rounded.named_parameters() if p.requires_grad].index(f"whisper.{name}")
    change = optimizer._masters[index] - begun
    expected = dict(exact.named_parameters())[f"whisper.{name}"] - dict(small_whisper().named_parameters())[name]
    agreement = torch.nn.functional.cosine_similarity(change.flatten(), expected.flatten(), dim=0)
    assert agreement > 0.9
    assert change.abs().max() < 4e-5  # three steps of 1e-5, which bf16 weights alone could not hold


def test_out_of_memory_is_a_result_and_the_next_case_has_its_chance():
    def full() -> dict:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB\nmore")

    found = gpu_jobs._guarded({"clip, s": 5.0}, full)
    assert found == {"clip, s": 5.0, "status": "out of memory", "error": "CUDA out of memory. Tried to allocate 9 GiB"}


def test_the_ratio_compares_the_same_clips():
    def row(measurement: str, clips: int, rate: float, status: str = "ok") -> dict:
        return {"measurement": measurement, "status": status, "clip, s": 10.0, "clips per micro-batch": clips,
                "clips/s": rate}  # fmt: skip

    results = [row("plain", 16, 30.0), row("more sizes", 8, 20.0), row("padded", 16, 10.0), row("padded", 8, 8.0),
               row("padded", 4, 1.0), row("compile", 16, 99.0)]  # fmt: skip
    assert padding_ratios(results) == {16: 3.0, 8: 2.5}
    page = "\n".join(markdown({"device": "cpu", "shape": "tiny"}, results))
    assert "16 a micro-batch: 3.00" in page
    failed = {"measurement": "compile", "status": "failed", "error": "no compiler"}
    assert "failed: no compiler" in "\n".join(markdown({"device": "cpu", "shape": "tiny"}, [failed]))


def test_jobs_can_be_sent_to_another_process():
    import pickle

    job = pickle.loads(pickle.dumps(Job("x", partial(gpu_jobs.log_mel, TINY, [0.5], 2))))
    (result,) = job.results()
    assert result["status"] == "ok" and result["clips"] == 2
    (result, *_) = gpu_jobs.train_plain(TINY, [Case(0.5, 1, 4)])
    assert result["status"] == "ok" and result["torch.compile"] is False


def test_it_needs_no_more_than_torch_transformers_and_scikit_learn():
    """GPU machines without a network have those; DeepSpeed's jobs alone may be missing there."""
    script = (
        "import sys\n"
        "missing = ('pydantic', 'soundfile', 'soxr', 'deepspeed', 'datasets', 'torchaudio')\n"
        "sys.modules.update(dict.fromkeys(missing))\n"
        "import whisper_aut.bench.head, whisper_aut.bench.record\n"
        "from whisper_aut.bench.gpu_jobs import Case, Setting, train_plain\n"
        "(result,) = train_plain(Setting('cpu', 'tiny'), [Case(0.5, 1, 4)])\n"
        "assert result['status'] == 'ok', result\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)
