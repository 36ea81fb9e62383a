"""One call of ``whisper-aut wer``: models and clips loaded, everything heard, counted and written."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import torch

from whisper_aut import __version__
from whisper_aut.constants import CONTEXTS, Context
from whisper_aut.errors import EnvironmentProblem, ProbeError
from whisper_aut.files import write_whole
from whisper_aut.model.precision import choose_and_say
from whisper_aut.model.word_errors import Normaliser, WordCounter, word_counter
from whisper_aut.resources import command_line
from whisper_aut.speech.captions import CaptionScore
from whisper_aut.speech.clips import clips_of_manifests, clips_of_run, limited, text_encoder_of
from whisper_aut.speech.listen import HeardClip, hear
from whisper_aut.speech.models import Heard, load_models
from whisper_aut.speech.request import check_clips_given, is_run
from whisper_aut.speech.results import ClipResult, Output, SpeechReport
from whisper_aut.speech.score import make_rows

PACKAGES = ("torch", "transformers", "numpy", "jiwer", "sacrebleu", "soundfile", "soxr")


def measure(
    adapted: str,
    out_dir: Path,
    *,
    base: str | None = None,
    run_dir: Path | None = None,
    step: int | None = None,
    manifests: Sequence[Path] = (),
    split: str | None = None,
    contexts: Sequence[Context] = CONTEXTS,
    max_clips: int | None = None,
    seed: int = 0,
    device: str = "cpu",
    precision: str = "auto",
    normaliser: Normaliser = "auto",
) -> SpeechReport:
    """Hear held-out clips before and after; writes ``speech.json`` into ``out_dir``.

    Args:
        adapted: a run's folder, or an adapted model's.
        out_dir: made where it is not there.
        base: what is compared with; a run's own where None.
        run_dir: the run that the clips were held out by; ``adapted`` where that is one.
        step: of the run's checkpoint; the newest where None.
        manifests: hear these instead of what the run held out.
        split: only rows of this split of the manifests.
        contexts: full, trimmed.
        max_clips: of each source.
        seed: of the bootstrap.
        device: cpu, cuda or cuda:N.
        precision: of encoding and decoding: float32, bfloat16 (autocast), or auto, what the device is faster in.
        normaliser: of texts before words are counted; ``auto`` chooses by language, see :class:`WordCounter`.

    Raises:
        WhisperAutError: models or clips cannot be used, or nothing can be written.
    """
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise EnvironmentProblem(f"there is no {device} on this machine", remedy="give --device cpu")
    check_clips_given(adapted, run_dir, manifests)
    if run_dir is None and is_run(Path(adapted)):
        run_dir = Path(adapted)
    choice = choose_and_say(precision, device, command="wer")
    loaded, models = load_models(adapted, base, step, run_dir)
    text_encoder = text_encoder_of(loaded.tokenizer, run_dir)
    if manifests:
        selection = clips_of_manifests(manifests, split, run_dir, text_encoder)
    else:
        assert run_dir is not None
        selection = clips_of_run(run_dir, text_encoder)
    counter, captions = word_counter(loaded.tokenizer, normaliser), CaptionScore()
    chosen = list(dict.fromkeys(contexts))
    to_hear = limited(selection.clips, max_clips)
    heard, left_out = hear(models, to_hear, chosen, text_encoder, device=device, dtype=choice.dtype)
    clips = [_counted(one, models, chosen, counter, captions) for one in heard]
    languages = sorted({clip.language for clip in clips if clip.domain == "speech"})
    report = SpeechReport(
        command=command_line(),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        versions=_versions(),
        clips_from=selection.origin,
        held_out=selection.held_out,
        normaliser=counter.describe(languages),
        normalisers={language: counter.normaliser_of(language) for language in languages},
        caption_metric=captions.signature,
        seed=seed,
        precision=choice.name,
        precision_reason=choice.reason,
        models=[one.record for one in models],
        rows=make_rows(clips, seed=seed),
        left_out=left_out,
        clips=clips,
    )
    try:
        write_whole(out_dir / "speech.json", report.to_json())
    except OSError as error:
        raise ProbeError(
            f"the results cannot be written: {error.strerror}", where=str(out_dir), remedy="give another --out"
        ) from None
    return report


def _counted(
    heard: HeardClip, models: Sequence[Heard], contexts: Sequence[Context], counter: WordCounter, score: CaptionScore
) -> ClipResult:
    clip = heard.held.clip
    outputs: list[Output] = []
    num_words: int | None = None
    for context in contexts:
        for place, model in enumerate(models):
            written = heard.written[place, context]
            errors = counter.count(clip.text, written.text, clip.language) if clip.domain == "speech" else None
            num_words = errors.num_words if errors else None
            outputs.append(
                Output(
                    role=model.record.role,
                    context=context,
                    text=written.text,
                    ended=written.ended,
                    substitutions=errors.substitutions if errors else None,
                    deletions=errors.deletions if errors else None,
                    insertions=errors.insertions if errors else None,
                    chrf=None if errors else score(written.text, clip.text),
                    loss=written.loss,
                )
            )
    return ClipResult(
        id=clip.id,
        source=clip.source,
        domain=clip.domain,
        language=clip.language,
        group=heard.held.group,
        duration_sec=clip.duration_sec,
        reference=clip.text,
        num_words=num_words,
        num_tokens=heard.num_tokens,
        outputs=outputs,
    )


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "whisper-aut": __version__}
    return found | {name: importlib.metadata.version(name) for name in PACKAGES}
