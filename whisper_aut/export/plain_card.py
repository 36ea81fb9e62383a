"""The card of an export that is from no training run: a Whisper put into other forms."""

from __future__ import annotations

from collections.abc import Sequence

from whisper_aut.export.forms.form import Form
from whisper_aut.model.stored import StoredWhisper


def plain_card(model: StoredWhisper, forms: Sequence[Form]) -> str:
    """Markdown with the YAML head that model hubs read.

    Args:
        model: what was exported.
        forms: in which it is there.
    """
    lines = [
        "---",
        "library_name: transformers",
        "tags: [whisper, audio-encoder]",
        "license: other",
        "---",
        "",
        f"# {model.spec} in other forms",
        "",
        f"Exported by whisper-aut from `{model.spec}` (licence: {model.license}). No run of training is known for it.",
        "",
        "## Load it",
        "",
        *(f"- {form.name}: `{form.loads_with}`" for form in forms),
        "",
    ]
    return "\n".join(lines)
