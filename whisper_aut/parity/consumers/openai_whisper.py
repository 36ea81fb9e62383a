"""openai-whisper: ``load_model(FILE)``, its encoder on its own spectrogram, and ``transcribe``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch

from whisper_aut.constants import WINDOW_FRAMES, WINDOW_SAMPLES
from whisper_aut.model.encode import encode
from whisper_aut.parity.compare import Mismatch, check_weights, distance
from whisper_aut.parity.consumers.base import Consumer, Found, LeftOut
from whisper_aut.parity.consumers.hugging_face import NO_DECODER
from whisper_aut.parity.consumers.speech_pipeline import words_of
from whisper_aut.parity.reference import Reference

# openai-whisper's name of each part, by Hugging Face's. Written here once more on purpose: a parity check that shares
# the exporter's table would share its mistakes.
_PARTS = {
    "self_attn.q_proj": "attn.query", "self_attn.k_proj": "attn.key", "self_attn.v_proj": "attn.value",
    "self_attn.out_proj": "attn.out", "self_attn_layer_norm": "attn_ln", "fc1": "mlp.0", "fc2": "mlp.2",
    "final_layer_norm": "mlp_ln",
}  # fmt: skip
_LAYER = re.compile(r"^layers\.(\d+)\.(.+)\.(weight|bias)$")


def openai_name(name: str) -> str:
    """openai-whisper's name of an encoder weight, without ``encoder.``."""
    if match := _LAYER.match(name):
        return f"blocks.{match[1]}.{_PARTS[match[2]]}.{match[3]}"
    return {"embed_positions.weight": "positional_embedding"}.get(name, name.replace("layer_norm.", "ln_post."))


def _load(folder: Path, reference: Reference) -> Any:
    import whisper

    # On the processor, like everything here; load_model is strict about keys by itself.
    model = whisper.load_model(str(folder / "openai" / "model.pt"), device="cpu").eval()
    expected = {openai_name(name): tensor for name, tensor in reference.weights.items()}
    check_weights(model.encoder.state_dict(), expected, "whisper.load_model(FILE).encoder")
    return model


def _encoder(folder: Path, reference: Reference) -> Found:
    import whisper

    model = _load(folder, reference)
    # Clip by clip, as transcribe does: a batch would be scaled by its loudest clip.
    mel = torch.stack([whisper.log_mel_spectrogram(one, n_mels=model.dims.n_mels) for one in reference.waveforms])
    with torch.no_grad():
        return Found(distance(model.encoder(mel.to(model.encoder.conv1.weight.dtype)).float(), reference.states))


def _transcribe(folder: Path, reference: Reference) -> Found:
    import whisper

    if not reference.keeps_decoder:
        raise LeftOut(NO_DECODER)
    model = _load(folder, reference)
    settings: dict[str, Any] = {"language": "en", "temperature": 0.0, "fp16": False, "without_timestamps": True}
    heard = []
    for clip in reference.clips:
        text = model.transcribe(clip.waveform, **settings)["text"]
        # The same decoder on the reference encoder's states; whisper takes encoded audio as it takes a spectrogram.
        # transcribe fills the spectrogram up with zeros where everyone else fills the waveform, so this does, too.
        mel = whisper.log_mel_spectrogram(clip.waveform, n_mels=model.dims.n_mels, padding=WINDOW_SAMPLES)
        features = whisper.pad_or_trim(mel[:, :-WINDOW_FRAMES], WINDOW_FRAMES)
        with torch.no_grad():
            states = encode(reference.encoder, features[None])[0]
        expected = whisper.decode(model, states, whisper.DecodingOptions(**settings)).text
        if words_of(text) != words_of(expected):
            raise Mismatch(f"on {clip.name} it writes '{text.strip()}', on the reference's states '{expected.strip()}'")
        heard.append(text.strip())
    return Found(_encoder(folder, reference).distance, note="writes: " + " | ".join(heard))


CONSUMERS = (
    Consumer("openai-whisper encoder", "openai", ("openai-whisper",),
             "whisper.load_model('DIR/openai/model.pt').encoder", _encoder),
    Consumer("openai-whisper transcribe", "openai", ("openai-whisper",),
             "whisper.load_model('DIR/openai/model.pt').transcribe(audio)", _transcribe),
)  # fmt: skip
