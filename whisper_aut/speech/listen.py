"""Every model hears every clip, greedy and at each context; a clip's context is a function of its own length.

Legend: B clips in a batch, S samples, L text tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from whisper_aut.constants import HOP_LENGTH, IGNORE_LABEL, MAX_TOKENS, WINDOW_SEC, Context, Domain, context_frames
from whisper_aut.data.audio import read_waveform
from whisper_aut.data.captions import TextEncoder, TokenisedText
from whisper_aut.data.features import LogMel
from whisper_aut.errors import AudioError, ManifestError
from whisper_aut.model.encode import encode
from whisper_aut.model.greedy import decoding_rules, greedy
from whisper_aut.progress import Progress
from whisper_aut.speech.clips import HeldClip
from whisper_aut.speech.models import Heard

if TYPE_CHECKING:
    from transformers import WhisperForConditionalGeneration

# Mel frames of a batch. Little: a clip that the decoder repeats itself on should not wait for many others to begin.
BATCH_FRAMES = {"cpu": 24_000, "cuda": 192_000}
_MAX_BATCH = 64
# Prefix and end together. Speech gets all that the decoder has; captions half of it, as OpenAI's own decoding has it: a
# base that was never told of captions repeats itself on many, and what it repeats says nothing.
_MAX_TOKENS: dict[Domain, int] = {"speech": MAX_TOKENS, "environment": MAX_TOKENS // 2, "music": MAX_TOKENS // 2}


@dataclass(frozen=True)
class Written:
    """What one model made of one clip.

    Attributes:
        text: greedy.
        ended: the decoder ended it itself.
        loss: summed negative log-likelihood of the reference, nats.
    """

    text: str
    ended: bool
    loss: float


@dataclass(frozen=True)
class HeardClip:
    """A clip with what each model made of it, by (place of the model, context)."""

    held: HeldClip
    num_tokens: int
    written: dict[tuple[int, Context], Written]


@dataclass(frozen=True)
class _Ready:
    held: HeldClip
    waveform: npt.NDArray[np.float32]
    text: TokenisedText


def hear(
    models: Sequence[Heard],
    clips: Sequence[HeldClip],
    contexts: Sequence[Context],
    text_encoder: TextEncoder,
    *,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> tuple[list[HeardClip], list[str]]:
    """What every model makes of every clip, in the clips' order, and the clips that cannot be heard, with why.

    In ``dtype`` bfloat16 encoding and greedy decoding are autocast; the losses are computed in float32 from the states.

    Raises:
        ManifestError: no clip can be heard.
    """
    for model in models:
        nn.Module.to(model.encoder, device)
        nn.Module.to(model.writer, device)
    log_mel = LogMel(int(models[0].encoder.num_mel_bins)).to(device)
    results: dict[str, dict[tuple[int, Context], Written]] = {}
    num_tokens: dict[str, int] = {}
    left_out: dict[str, str] = {}
    progress = Progress("hear", len(clips) * len(contexts), unit="clips")
    for context in contexts:
        for batch, frames in _batches(clips, context, text_encoder, left_out, BATCH_FRAMES[torch.device(device).type]):
            waveforms = torch.zeros(len(batch), frames * HOP_LENGTH)
            for target, one in zip(waveforms, batch, strict=True):
                target[: len(one.waveform)] = torch.from_numpy(one.waveform)
                num_tokens[one.held.clip.id] = sum(label != IGNORE_LABEL for label in one.text.labels)
            for place, written in _written(models, log_mel(waveforms.to(device)), batch, text_encoder, dtype):
                for one, found in zip(batch, written, strict=True):
                    results.setdefault(one.held.clip.id, {})[place, context] = found
            progress.advance(len(batch), context)
    if not results:
        raise ManifestError("no clip can be heard", where=next(iter(left_out.values()), None), remedy="see the audio")
    heard = [
        HeardClip(held, num_tokens[held.clip.id], results[held.clip.id]) for held in clips if held.clip.id in results
    ]
    return heard, list(left_out.values())


def token_losses(
    writer: WhisperForConditionalGeneration, states: Tensor, decoder_input_ids: Tensor, labels: Tensor
) -> Tensor:
    """Summed negative log-likelihood of each clip's labels: float32 [B].

    Args:
        writer: whose decoder and vocabulary.
        states: [B, T, D] of an encoder.
        decoder_input_ids: [B, L].
        labels: [B, L], ``IGNORE_LABEL`` where a position does not count.
    """
    hidden = writer.model.decoder(
        input_ids=decoder_input_ids, encoder_hidden_states=states, use_cache=False
    ).last_hidden_state
    logits = writer.proj_out(hidden).float().transpose(1, 2)  # [B, V, L]
    return nn.functional.cross_entropy(logits, labels, reduction="none", ignore_index=IGNORE_LABEL).sum(dim=1)


def _read(held: HeldClip, text_encoder: TextEncoder) -> _Ready:
    """Raises: AudioError, ManifestError."""
    clip = held.clip
    if clip.duration_sec > WINDOW_SEC:
        raise AudioError(f"it lasts {clip.duration_sec:.1f} s, more than the window of {WINDOW_SEC} s")
    text = text_encoder.encode(clip.text, clip.domain, clip.language)
    waveform = read_waveform(
        held.audio,
        offset_sec=clip.offset_sec,
        duration_sec=clip.duration_sec,
        clip_id=clip.id,
        channels=clip.channels,
    )
    return _Ready(held, waveform, text)


def _batches(
    clips: Sequence[HeldClip],
    context: Context,
    text_encoder: TextEncoder,
    left_out: dict[str, str],
    batch_frames: int,
) -> Iterator[tuple[list[_Ready], int]]:
    """(clips of one context, one domain and hence one length of prefix; mel frames), short ones first.

    Clips that cannot be read are written into ``left_out``. Few waveforms are in memory at one time.
    """
    waiting: dict[tuple[int, Domain], list[_Ready]] = {}
    for held in sorted(clips, key=lambda one: one.clip.duration_sec):
        try:
            one = _read(held, text_encoder)
        except (AudioError, ManifestError) as error:
            left_out[held.clip.id] = f"{held.clip.id} ({held.where}): {error.what}"
            continue
        frames = context_frames(len(one.waveform), context)
        members = waiting.setdefault((frames, held.clip.domain), [])
        members.append(one)
        if len(members) >= min(_MAX_BATCH, max(1, batch_frames // frames)):
            yield waiting.pop((frames, held.clip.domain)), frames
        elif sum(map(len, waiting.values())) > 4 * _MAX_BATCH:
            shortest = min(waiting)
            yield waiting.pop(shortest), shortest[0]
    for (frames, _), members in sorted(waiting.items()):
        yield members, frames


@torch.inference_mode()
def _written(
    models: Sequence[Heard], features: Tensor, batch: Sequence[_Ready], text_encoder: TextEncoder, dtype: torch.dtype
) -> Iterator[tuple[int, list[Written]]]:
    device, max_tokens = features.device, _MAX_TOKENS[batch[0].held.clip.domain]
    prefix = torch.tensor(
        [text_encoder.prefix(one.held.clip.domain, one.held.clip.language) for one in batch], device=device
    )
    length = max(len(one.text.labels) for one in batch)
    inputs = torch.full((len(batch), length), text_encoder.end_id)
    labels = torch.full((len(batch), length), IGNORE_LABEL)
    for row, one in enumerate(batch):
        inputs[row, : len(one.text.labels)] = torch.tensor(one.text.decoder_input_ids)
        labels[row, : len(one.text.labels)] = torch.tensor(one.text.labels)
    inputs, labels = inputs.to(device), labels.to(device)
    states: dict[int, Tensor] = {}  # by encoder: two models may share one
    for place, model in enumerate(models):
        rules = decoding_rules(model.writer)
        with torch.autocast(device.type, torch.bfloat16, enabled=dtype == torch.bfloat16):
            if id(model.encoder) not in states:
                states[id(model.encoder)] = encode(model.encoder, features)
            heard = states[id(model.encoder)]
            said = greedy(model.writer, heard, prefix, rules, max_tokens=max_tokens)
        losses = token_losses(model.writer, heard.float(), inputs, labels).tolist()
        yield (
            place,
            [
                Written(text_encoder.decode(tokens), len(tokens) + prefix.shape[1] < max_tokens, loss)
                for tokens, loss in zip(said, losses, strict=True)
            ],
        )
