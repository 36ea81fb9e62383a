"""Whisper-shaped encoders: original, adapted, exported, or of the same shape with random weights.

Legend: B clips, S samples, F mel frames, T positions (F/2).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from whisper_aut.constants import HOP_LENGTH, Context, context_frames, real_positions
from whisper_aut.data.features import LogMel
from whisper_aut.model.base import LoadedEncoder
from whisper_aut.model.encode import encode_layers
from whisper_aut.model.hashes import weights_sha256
from whisper_aut.probe.encoders.base import ProbedEncoder, States


class WhisperProbed(ProbedEncoder):
    """A Whisper encoder with Whisper's own front end; layer 0 is the input of the first block, the last is normed."""

    family = "whisper"
    trims = True

    def __init__(self, loaded: LoadedEncoder) -> None:
        self._module = loaded.module
        self._log_mel = LogMel(loaded.num_mel_bins)
        self.name = loaded.name
        self.weights_sha256 = self.content_sha256 = loaded.weights_sha256
        self.num_layers = len(loaded.module.layers) + 1
        self.width = int(loaded.module.config.d_model)
        self.num_parameters = sum(parameter.numel() for parameter in loaded.module.parameters())

    def to(self, device: str) -> None:
        """Move the weights and the front end."""
        torch.nn.Module.to(self._module, device)  # Hugging Face's own .to has no usable type
        self._log_mel.to(device)

    def padded_samples(self, num_samples: int, context: Context) -> int:
        """30 s, or the clip's length rounded up to half a second."""
        return context_frames(num_samples, context) * HOP_LENGTH

    def encode(self, waveforms: Tensor, num_samples: Sequence[int]) -> States:
        """One position for 20 ms."""
        features = self._log_mel(waveforms)  # [B, M, F]
        positions = torch.arange(features.shape[-1] // 2, device=features.device)
        num_real = torch.tensor([real_positions(n) for n in num_samples], device=features.device)
        return States(encode_layers(self._module, features), positions < num_real[:, None])


class RandomWhisper(WhisperProbed):
    """An encoder of the same shape as ``loaded`` whose weights were never trained: what the architecture alone gives.

    Initialised as Hugging Face initialises a new Whisper; the sinusoidal positions, which nothing learns, are kept.
    """

    is_floor = True

    def __init__(self, loaded: LoadedEncoder, seed: int) -> None:
        from transformers.models.whisper.modeling_whisper import WhisperEncoder

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            module = WhisperEncoder(copy.deepcopy(loaded.module.config)).float().eval()
        with torch.no_grad():
            nn.Module.get_parameter(module, "embed_positions.weight").copy_(loaded.module.embed_positions.weight)
        super().__init__(LoadedEncoder(module, f"random:{loaded.name}", weights_sha256(module.state_dict())))
        self.notes = (f"weights initialised at random, seed {seed}",)
