"""The programs that load an export, a file each; ``ALL`` in the order of the table."""

from __future__ import annotations

from whisper_aut.parity.consumers import (
    ctranslate2,
    faster_whisper,
    hugging_face,
    onnx,
    openai_whisper,
    qwen2_audio,
    salmonn,
    speech_pipeline,
    ultravox,
)
from whisper_aut.parity.consumers.base import Consumer

ALL: tuple[Consumer, ...] = (
    *hugging_face.CONSUMERS,
    *speech_pipeline.CONSUMERS,
    *salmonn.CONSUMERS,
    *ultravox.CONSUMERS,
    *qwen2_audio.CONSUMERS,
    *openai_whisper.CONSUMERS,
    *onnx.CONSUMERS,
    *ctranslate2.CONSUMERS,
    *faster_whisper.CONSUMERS,
)
