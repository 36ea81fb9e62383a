"""faster-whisper: ``WhisperModel(DIR)``, its own spectrogram, ``encode`` and ``transcribe``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from whisper_aut.constants import WINDOW_FRAMES
from whisper_aut.parity.compare import Distance, Mismatch, distance
from whisper_aut.parity.consumers.base import Consumer, Found, LeftOut, over_clips
from whisper_aut.parity.consumers.ctranslate2 import as_tensor, as_view, check_file
from whisper_aut.parity.consumers.hugging_face import NO_DECODER
from whisper_aut.parity.reference import Reference


def _load(folder: Path, reference: Reference) -> Any:
    from faster_whisper import WhisperModel

    check_file(folder, reference)
    return WhisperModel(str(folder / "ctranslate2"), device="cpu", compute_type="float32", cpu_threads=1)


def _distance(model: Any, reference: Reference) -> Distance:
    def states_of(clip: int) -> Distance:
        found = as_tensor(model.encode(_features(model, reference, clip)))
        return distance(found, reference.states[clip : clip + 1])

    return over_clips(reference, states_of)


def _features(model: Any, reference: Reference, clip: int) -> Any:
    # Its spectrogram has one frame more than the window; transcribe cuts it away, too.
    return model.feature_extractor(reference.waveforms[clip].numpy())[:, :WINDOW_FRAMES]


def _encode(folder: Path, reference: Reference) -> Found:
    return Found(_distance(_load(folder, reference), reference))


def _transcribe(folder: Path, reference: Reference) -> Found:
    if not reference.keeps_decoder:
        raise LeftOut(NO_DECODER)
    from faster_whisper.tokenizer import Tokenizer

    model = _load(folder, reference)
    tokens = Tokenizer(model.hf_tokenizer, model.model.is_multilingual, task="transcribe", language="en")
    prompt = [*tokens.sot_sequence, tokens.no_timestamps]
    heard = []
    for number, clip in enumerate(reference.clips):
        # The decoder on its own encoder's states and on the reference's; CTranslate2 takes states in place of features.
        own = model.encode(_features(model, reference, number))
        states = as_view(reference.states[number : number + 1])
        written, expected = (model.model.generate(one, [prompt], beam_size=1)[0].sequences_ids for one in (own, states))
        if written != expected:
            texts = [tokens.decode(ids[0]).strip() for ids in (written, expected)]
            raise Mismatch(f"on {clip.name} it writes '{texts[0]}', on the reference's states '{texts[1]}'")
        segments, _ = model.transcribe(clip.waveform, language="en", temperature=0.0)
        heard.append(" ".join(segment.text.strip() for segment in segments))
    return Found(_distance(model, reference), note="writes: " + " | ".join(heard))


_PACKAGES = ("faster-whisper", "ctranslate2")
CONSUMERS = (
    Consumer("faster-whisper encode", "ctranslate2", _PACKAGES, "faster_whisper.WhisperModel(DIR/ctranslate2).encode",
             _encode),
    Consumer("faster-whisper transcribe", "ctranslate2", _PACKAGES,
             "faster_whisper.WhisperModel(DIR/ctranslate2).transcribe", _transcribe),
)  # fmt: skip
