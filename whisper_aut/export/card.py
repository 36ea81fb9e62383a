"""The model card of an export: base, data with licences, recipe, how to load it, and results where there are any."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from whisper_aut.errors import CheckpointError
from whisper_aut.export.sums import record_sums
from whisper_aut.files import write_whole

_LOAD = """\
```python
from transformers import WhisperModel, WhisperFeatureExtractor

encoder = WhisperModel.from_pretrained("{folder}").encoder  # or WhisperEncoder.from_pretrained("{folder}/encoder")
features = WhisperFeatureExtractor.from_pretrained("{folder}")(waveform, sampling_rate=16000, return_tensors="pt")
states = encoder(features.input_features).last_hidden_state  # [1, 1500, width]
```
"""
_DECODER = {
    "none": "the decoder is discarded",
    "adapted": "the decoder that was trained with it is there, too",
    "original": "the base's own decoder stands on top of it",
}
_RESULTS_BEGIN, _RESULTS_END = "<!-- results -->", "<!-- /results -->"


def is_non_commercial(license_name: str) -> bool:
    """Whether a licence name says non-commercial, in any of the usual spellings."""
    parts = license_name.lower().replace("_", "-").replace(" ", "-").split("-")
    return "nc" in parts or "noncommercial" in parts or {"non", "commercial"} <= set(parts)


def model_card(
    run: Mapping[str, Any], step: int, num_mel_bins: int, blend: float = 1.0, *, keep_decoder: str = "none"
) -> str:
    """Markdown with the YAML head that model hubs read.

    Args:
        run: ``run.json`` of the training run.
        step: finished steps of the exported checkpoint.
        num_mel_bins: M, which the consumer's feature extractor must use too.
        blend: share of the trained weights in the export.
        keep_decoder: none, adapted (the run's own) or original (the base's, under the new encoder).
    """
    domains = run["data"]["domains"]
    sources = [source for part in domains.values() for source in part["sources"]]
    lines = [
        _head(run, sources),
        "",
        f"# {run['name']}",
        "",
        *_loud(sources),
        run["description"] or "An audio encoder adapted from Whisper with whisper-aut.",
        "",
        f"The encoder of `{run['base']['spec']}` (licence {run['base']['license']}), fine-tuned on speech transcripts "
        f"and sound captions for {step} steps of {run['clips_per_step']} clips; {_DECODER[keep_decoder]}. "
        f"Input: Whisper's log-mel with {num_mel_bins} bins, 16 kHz.",
        *(
            [
                "",
                f"The weights are {blend:g} × trained + {1 - blend:g} × base: they keep more of what training did not "
                "speak of (WiSE-FT, Wortsman et al. 2022).",
            ]
            if blend < 1
            else []
        ),
        "",
        "## Load it",
        "",
        _LOAD.format(folder="DIR"),
        *(
            ["Loading the whole `WhisperModel` warns of missing `decoder.*` keys: there is no decoder in here.", ""]
            if keep_decoder == "none"
            else []
        ),
        "## Data",
        "",
    ]
    lines += ["| domain | its share | source | clips | hours | licence |", "|---|---:|---|---:|---:|---|"]
    for domain, part in domains.items():
        for number, source in enumerate(part["sources"]):
            share = f"{part['weight']:.0%}" if number == 0 else ""  # the domain's, not each source's
            lines.append(
                f"| {domain} | {share} | {source['name']} | {source['clips']} | {source['hours']:.2f} | "
                f"{', '.join(source['licenses'])} |"
            )
    lines += [
        "",
        *_licences(run, sources),
        "",
        "## Results",
        "",
        _RESULTS_BEGIN,
        "Not probed yet: run `whisper-aut probe` and `whisper-aut report`.",
        _RESULTS_END,
        "",
        "## Provenance",
        "",
        f"- recipe SHA-256 `{run['recipe_sha256']}`, seed {run['seed']}",
        f"- manifests SHA-256 `{run['data']['fingerprint']}`, plan SHA-256 `{run['plan']['fingerprint']}`",
        f"- base weights SHA-256 `{run['base']['weights_sha256']}`",
        f"- `{run['command']}`",
        "- " + ", ".join(f"{name} {version}" for name, version in run["versions"].items()),
        "",
    ]
    return "\n".join(lines)


@dataclass(frozen=True)
class Result:
    """One score of a probe, as model hubs list it.

    Attributes:
        task: the probing task.
        metric: accuracy or mAP.
        value: in percent.
        protocol: how it was probed: protocol with version, context.
    """

    task: str
    metric: str
    value: float
    protocol: str


def write_results(export_dir: Path, table_markdown: str, results: Sequence[Result] = ()) -> bool:
    """Put the probe table into the card of an export, and its scores into the head (``model-index``).

    ``SHA256SUMS``, where there is one, then has the new card's sum.

    Returns:
        Whether there was such a card; a folder without one is left alone.

    Raises:
        CheckpointError: the head of the card is not YAML any more.
    """
    card = export_dir / "README.md"
    if not card.is_file():
        return False
    before, begin, rest = card.read_text("utf-8").partition(_RESULTS_BEGIN)
    _, end, after = rest.partition(_RESULTS_END)
    if not (begin and end):
        return False
    if results:
        before = _with_model_index(before, results, str(card))
    write_whole(card, f"{before}{begin}\n{table_markdown.strip()}\n{end}{after}")
    record_sums(export_dir, [card.name])
    return True


def _with_model_index(text: str, results: Sequence[Result], where: str) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    try:
        _, head, body = text.split("---\n", 2)
        settings = yaml.safe_load(head)
        name = next(line.removeprefix("# ") for line in body.splitlines() if line.startswith("# "))
        if not isinstance(settings, dict):
            raise ValueError("it is no mapping")
    except (ValueError, StopIteration, yaml.YAMLError) as error:
        raise CheckpointError(f"the head of the model card cannot be read: {error}", where=where) from None
    settings.pop("model-index", None)
    listed = [
        EvalResult(
            task_type="audio-classification",
            dataset_type=result.task,
            dataset_name=result.task,
            metric_type=result.metric.lower(),
            metric_value=round(result.value, 2),
            metric_name=f"linear probe, {result.protocol}",
        )
        for result in results
    ]
    data: Any = ModelCardData(model_name=name, eval_results=listed)
    index = data.to_dict()["model-index"]
    return f"---\n{_as_yaml(settings | {'model-index': index})}---\n{body}"


def _head(run: Mapping[str, Any], sources: Sequence[Mapping[str, Any]]) -> str:
    """The YAML that model hubs read, between its two lines."""
    spec = run["base"]["spec"]
    base = {"pypi:tiny.en": "openai/whisper-tiny.en"}.get(spec, spec)
    settings: dict[str, Any] = {
        "library_name": "transformers",
        "pipeline_tag": "feature-extraction",
        "tags": ["whisper", "audio-encoder", "whisper-aut"],
        # A hub takes its own names only, and a folder of somebody's disk is nobody else's base.
        **({"base_model": base} if base.count("/") == 1 and not base.startswith((".", "/", "~")) else {}),
        # The weights learnt from data under several licences; the hub's field takes one, so it points to the list.
        "license": "other",
        "license_name": "non-commercial-data" if _non_commercial(sources) else "see-licences-of-base-and-data",
        "license_link": "#licences",
    }
    return f"---\n{_as_yaml(settings)}---"


def _as_yaml(settings: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(settings), sort_keys=False, allow_unicode=True)


def _non_commercial(sources: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Sources with a licence that forbids commercial use, each with that licence."""
    return sorted({(s["name"], licence) for s in sources for licence in s["licenses"] if is_non_commercial(licence)})


def _loud(sources: Sequence[Mapping[str, Any]]) -> list[str]:
    found = _non_commercial(sources)
    if not found:
        return []
    names = ", ".join(dict.fromkeys(licence for _, licence in found))
    return [
        f"> **Non-commercial data:** part of the training data is licensed {names} "
        f"({', '.join(dict.fromkeys(name for name, _ in found))}). Take these weights as non-commercial, unless you "
        "have checked that your use of them is allowed.",
        "",
    ]


def _licences(run: Mapping[str, Any], sources: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the weights inherit: every licence once, with whom it comes from and what it asks for."""
    by_licence: dict[str, list[str]] = {run["base"]["license"]: [f"the base `{run['base']['spec']}`"]}
    for source in sources:
        for licence in source["licenses"]:
            by_licence.setdefault(licence, []).append(source["name"])
    lines = [
        "## Licences",
        "",
        "The weights were made from these; whoever shares them passes on what they ask for.",
        "",
    ]
    for licence, names in by_licence.items():
        asks = [
            text
            for says, text in (
                (is_non_commercial(licence), "**no commercial use**"),
                ("sa" in licence.lower().replace("_", "-").replace(" ", "-").split("-"), "share alike"),
                (licence.strip().lower() in {"", "unknown"}, "**nobody noted it: find out before you share**"),
            )
            if says
        ]
        told = f": {', '.join(asks)}" if asks else ""
        lines.append(f"- {licence or 'no licence given'}{told} ({', '.join(dict.fromkeys(names))})")
    return lines
