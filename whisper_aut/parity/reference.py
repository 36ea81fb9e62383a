"""The reference: the training model's own encoder, its weights and its states on real audio.

Legend: B clips, M mel bins, F mel frames, T encoder positions (F/2), D width.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from whisper_aut.constants import WINDOW_SAMPLES, context_frames
from whisper_aut.data.features import LogMel
from whisper_aut.errors import BaseModelError, CheckpointError
from whisper_aut.export.about import keeps_decoder, read_about
from whisper_aut.model.base import load_encoder, quiet_loading
from whisper_aut.model.encode import encode
from whisper_aut.model.hashes import weights_sha256
from whisper_aut.model.stored import ENCODER
from whisper_aut.model.tensors import safetensors_folder
from whisper_aut.parity.audio import Audio, Clip
from whisper_aut.train.checkpoint import newest_checkpoint, open_checkpoint

if TYPE_CHECKING:
    from transformers.models.whisper.modeling_whisper import WhisperEncoder


class Reference:
    """An encoder in float32 and evaluation mode, with what it makes of some clips.

    Args:
        encoder: the encoder itself.
        audio: the clips to compare on.
        precision: of the export that is compared: float32, float16 or bfloat16.
        keeps_decoder: whether the export has one.
        states_dtype: arithmetic that PyTorch's consumers compute states in; None: that of the weights they load.
    """

    def __init__(
        self,
        encoder: WhisperEncoder,
        audio: Audio,
        *,
        precision: str,
        keeps_decoder: bool,
        states_dtype: torch.dtype | None = None,
    ) -> None:
        self.encoder = encoder
        self.audio = audio
        self.precision = precision
        self.keeps_decoder = keeps_decoder
        self.states_dtype = states_dtype
        self.log_mel = LogMel(encoder.num_mel_bins)

    @property
    def clips(self) -> tuple[Clip, ...]:
        """The clips, in the order of every batch."""
        return self.audio.clips

    @cached_property
    def weights(self) -> dict[str, Tensor]:
        """Float32 weights under the names of ``WhisperEncoder``."""
        return dict(self.encoder.state_dict())

    @cached_property
    def waveforms(self) -> Tensor:
        """The clips padded with silence to 30 s: [B, 480000]."""
        padded = torch.zeros(len(self.clips), WINDOW_SAMPLES)
        for row, clip in zip(padded, self.clips, strict=True):
            row[: len(clip.waveform)] = torch.from_numpy(clip.waveform)
        return padded

    @cached_property
    def features(self) -> Tensor:
        """Log-mel of the full window: [B, M, 3000]."""
        features: Tensor = self.log_mel(self.waveforms)
        return features

    @cached_property
    def states(self) -> Tensor:
        """Final states of the full window: [B, 1500, D]."""
        with torch.no_grad():
            return encode(self.encoder, self.features)

    @cached_property
    def pooled_states(self) -> Tensor:
        """What Qwen2-Audio makes of these weights: pairs of positions averaged *before* the last norm, [B, 750, D]."""
        entered: list[Tensor] = []
        norm: nn.Module = self.encoder.layer_norm
        handle = norm.register_forward_pre_hook(lambda _, inputs: entered.append(inputs[0]))
        try:
            with torch.no_grad():
                encode(self.encoder, self.features)
                handle.remove()
                pooled = entered[0].unflatten(1, (-1, 2)).mean(2)
                states: Tensor = norm(pooled)
                return states
        finally:
            handle.remove()

    def trimmed(self, clip: int) -> tuple[Tensor, Tensor]:
        """Features [1, M, F] and states [1, T, D] of one clip at its own length, rounded up to half a second."""
        num_frames = context_frames(len(self.clips[clip].waveform), "trimmed")
        features = self.features[clip : clip + 1, :, :num_frames]
        with torch.no_grad():
            return features, encode(self.encoder, features)


def load_reference(
    export_dir: Path, audio: Audio, source: Path | None = None, states_dtype: torch.dtype | None = None
) -> Reference:
    """The encoder to hold an export against.

    Args:
        export_dir: the export.
        audio: the clips to compare on.
        source: a run's folder, one of its checkpoints, or a folder of a model; the export's own form ``encoder``
            where None, whose hash is then compared with the one that the export noted.
        states_dtype: as for ``Reference``.

    Raises:
        CheckpointError: this is no export, it has no form ``encoder`` and ``source`` is missing, its weights are not
            those that were exported, or ``source`` holds none.
        BaseModelError: an encoder cannot be loaded.
    """
    about = read_about(export_dir)

    def made(encoder: WhisperEncoder) -> Reference:
        precision = str(about.get("dtype", "float32"))
        encoder.requires_grad_(False)
        return Reference(
            encoder.float().eval(),
            audio,
            precision=precision,
            keeps_decoder=keeps_decoder(about),
            states_dtype=states_dtype,
        )

    if source is None:
        bare = export_dir / "encoder"
        if not (bare / "config.json").is_file():
            raise CheckpointError(
                "the export has no form `encoder` to compare the others with",
                where=str(export_dir),
                remedy="give --reference RUN (or a checkpoint or a model's folder), or export with --to encoder,…",
            )
        encoder = _bare_encoder(bare)
        _check_noted(encoder, about, bare)
        return made(encoder)
    if (source / "run.json").is_file():
        checkpoint = newest_checkpoint(source / "checkpoints")
        if checkpoint is None:
            raise CheckpointError("the run has no checkpoint", where=str(source), remedy="give another --reference")
        return made(_of_checkpoint(checkpoint.weights(), export_dir, about))
    if (source / "sha256.json").is_file():
        return made(_of_checkpoint(open_checkpoint(source).weights(), export_dir, about))
    if (source / "whisper_aut.json").is_file() and (source / "encoder" / "config.json").is_file():
        return made(_bare_encoder(source / "encoder"))
    return made(load_encoder(source).module)


def _bare_encoder(folder: Path) -> WhisperEncoder:
    """By the module's own strict loading, not by ``from_pretrained``, which fills gaps with random numbers."""
    from transformers import WhisperConfig
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    with quiet_loading():
        encoder = WhisperEncoder(WhisperConfig.from_pretrained(folder))
    try:
        encoder.load_state_dict(dict(safetensors_folder(folder)), strict=True)
    except (RuntimeError, BaseModelError) as error:
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(
            f"the form `encoder` does not hold an encoder: {reason}",
            where=str(folder),
            remedy="export again, or give --reference",
        ) from None
    return encoder


def _check_noted(encoder: WhisperEncoder, about: Mapping[str, Any], folder: Path) -> None:
    noted = about.get("encoder_sha256")
    found = weights_sha256(encoder.float().state_dict())  # of the written values, taken as float32
    if noted is not None and found != noted:
        raise CheckpointError(
            f"the form `encoder` is not what was exported: its weights' SHA-256 is {found[:16]}…, noted {noted[:16]}…",
            where=str(folder),
            remedy="export again, or hold the other forms against the run: --reference RUN",
        )


def _of_checkpoint(weights: Mapping[str, Tensor], export_dir: Path, about: Mapping[str, Any]) -> WhisperEncoder:
    from transformers import WhisperConfig
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    if about.get("blend", 1) != 1:
        raise CheckpointError(
            f"the export is a blend ({about['blend']:g} of the trained weights), which no checkpoint holds",
            where=str(export_dir),
            remedy="leave --reference away: the export's own form `encoder` is the reference then",
        )
    has_whole = (export_dir / "config.json").is_file()
    encoder = WhisperEncoder(WhisperConfig.from_pretrained(export_dir if has_whole else export_dir / "encoder"))
    own = {name.removeprefix(ENCODER): tensor for name, tensor in weights.items() if name.startswith(ENCODER)}
    try:
        encoder.load_state_dict(own, strict=True)
    except RuntimeError as error:
        raise CheckpointError(
            f"the checkpoint does not fit the export: {' '.join(str(error).split())[:300]}",
            where=str(export_dir),
            remedy="give the run that was exported",
        ) from None
    return encoder
