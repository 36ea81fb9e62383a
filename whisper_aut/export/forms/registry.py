"""All forms by name; a new one is a module here and a line below."""

from __future__ import annotations

from whisper_aut.export.forms.ctranslate2 import CTRANSLATE2
from whisper_aut.export.forms.form import Form
from whisper_aut.export.forms.hugging_face import ENCODER, HF, QWEN2_AUDIO
from whisper_aut.export.forms.onnx import ONNX
from whisper_aut.export.forms.openai import OPENAI

FORMS: dict[str, Form] = {form.name: form for form in (HF, ENCODER, OPENAI, ONNX, CTRANSLATE2, QWEN2_AUDIO)}
DEFAULT_FORMS = ("hf", "encoder")
