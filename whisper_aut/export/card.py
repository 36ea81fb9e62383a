"""The model card of an export: base, data with licences, recipe, how to load it, and results where there are any."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

_LOAD = """\
```python
from transformers import WhisperModel, WhisperFeatureExtractor

encoder = WhisperModel.from_pretrained("{folder}").encoder  # or WhisperEncoder.from_pretrained("{folder}/encoder")
features = WhisperFeatureExtractor.from_pretrained("{folder}")(waveform, sampling_rate=16000, return_tensors="pt")
states = encoder(features.input_features).last_hidden_state  # [1, 1500, width]
```
"""
_RESULTS_BEGIN, _RESULTS_END = "<!-- results -->", "<!-- /results -->"


def is_non_commercial(license_name: str) -> bool:
    """Whether a licence name says non-commercial, in any of the usual spellings."""
    parts = license_name.lower().replace("_", "-").replace(" ", "-").split("-")
    return "nc" in parts or "noncommercial" in parts or {"non", "commercial"} <= set(parts)


def model_card(run: Mapping[str, Any], step: int, num_mel_bins: int, blend: float = 1.0) -> str:
    """Markdown with the YAML head that model hubs read.

    Args:
        run: ``run.json`` of the training run.
        step: finished steps of the exported checkpoint.
        num_mel_bins: M, which the consumer's feature extractor must use too.
        blend: share of the trained weights in the export.
    """
    domains = run["data"]["domains"]
    licenses = sorted({name for d in domains.values() for source in d["sources"] for name in source["licenses"]})
    non_commercial = [name for name in licenses if is_non_commercial(name)]
    lines = [
        "---",
        "library_name: transformers",
        "tags: [whisper, audio-encoder, whisper-aut]",
        f"base_model: {run['base']['spec']}",
        # The weights learnt from data under several licences; the hub's field takes one, so the card says which below.
        "license: other",
        "---",
        "",
        f"# {run['name']}",
        "",
        run["description"] or "An audio encoder adapted from Whisper with whisper-aut.",
        "",
        f"The encoder of `{run['base']['spec']}` (licence {run['base']['license']}), fine-tuned on speech transcripts "
        f"and sound captions for {step} steps of {run['clips_per_step']} clips; the decoder is discarded. "
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
        "Loading the whole `WhisperModel` warns of missing `decoder.*` keys: there is no decoder in here.",
        "",
        "## Data",
        "",
    ]
    if non_commercial:
        lines += [
            f"**Non-commercial data:** part of the training data is licensed {', '.join(non_commercial)}. "
            "Check whether your use of these weights is allowed.",
            "",
        ]
    lines += ["| domain | share | source | clips | hours | licence |", "|---|---:|---|---:|---:|---|"]
    for domain, part in domains.items():
        for source in part["sources"]:
            lines.append(
                f"| {domain} | {part['weight']:.0%} | {source['name']} | {source['clips']} | {source['hours']:.2f} | "
                f"{', '.join(source['licenses'])} |"
            )
    lines += [
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


def write_results(export_dir: Path, table_markdown: str) -> None:
    """Put the probe table into the card of an export; a folder without such a card is left alone."""
    card = export_dir / "README.md"
    if not card.is_file():
        return
    text = card.read_text("utf-8")
    before, begin, rest = text.partition(_RESULTS_BEGIN)
    _, end, after = rest.partition(_RESULTS_END)
    if begin and end:
        card.write_text(f"{before}{begin}\n{table_markdown.strip()}\n{end}{after}", encoding="utf-8")
