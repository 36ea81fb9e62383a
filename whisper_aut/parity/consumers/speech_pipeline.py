"""transformers' pipeline for speech recognition, on the decoder that the export keeps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from whisper_aut.constants import SAMPLE_RATE
from whisper_aut.model.base import quiet_loading
from whisper_aut.parity.compare import Mismatch
from whisper_aut.parity.consumers.base import Consumer, Found, LeftOut
from whisper_aut.parity.consumers.hugging_face import NO_DECODER, compare_encoder, in_arithmetic
from whisper_aut.parity.reference import Reference


def words_of(text: str) -> list[str]:
    """Words without case and punctuation."""
    return "".join(c.lower() if c.isalnum() or c == "'" else " " for c in text).split()


def _pipeline(folder: Path, reference: Reference) -> Found:
    """States through the pipeline's own parts; then its text, against the decoder fed with the reference's states."""
    from transformers import pipeline
    from transformers.modeling_outputs import BaseModelOutput

    if not reference.keeps_decoder:
        raise LeftOut(NO_DECODER)
    with quiet_loading():
        recognise = pipeline("automatic-speech-recognition", model=str(folder), device="cpu")
        waveforms = [clip.waveform for clip in reference.clips]
        features = recognise.feature_extractor(waveforms, sampling_rate=SAMPLE_RATE, return_tensors="pt").input_features
        found = compare_encoder(recognise.model.model.encoder, features, reference, "the pipeline's model")
        in_arithmetic(recognise.model, reference)  # the decoder, too
        heard = []
        for number, clip in enumerate(reference.clips):
            # Greedy on both sides: of its own accord the pipeline searches with five beams, `generate` with one.
            sound = {"raw": clip.waveform, "sampling_rate": SAMPLE_RATE}
            text = recognise(sound, generate_kwargs={"num_beams": 1})["text"]
            states = reference.states[number : number + 1].to(recognise.model.dtype)
            with torch.no_grad():
                tokens = recognise.model.generate(encoder_outputs=BaseModelOutput(last_hidden_state=states))
            expected = recognise.tokenizer.decode(tokens[0], skip_special_tokens=True)
            if words_of(text) != words_of(expected):
                raise Mismatch(
                    f"on {clip.name} it writes '{text.strip()}', on the reference's states '{expected.strip()}'"
                )
            heard.append(text.strip())
    return replace(found, note="writes: " + " | ".join(heard))


CONSUMERS = (
    Consumer("transformers pipeline", "hf", ("transformers",),
             'pipeline("automatic-speech-recognition", model=DIR)', _pipeline),
)  # fmt: skip
