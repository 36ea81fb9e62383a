"""Floors that no training reaches for: mean and standard deviation of MFCC or of Whisper's own log-mel spectrum.

Legend: B clips, S samples, M mel bins or coefficients, T mel frames.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from whisper_aut.constants import HOP_LENGTH, N_FFT, SAMPLE_RATE, Context, context_frames
from whisper_aut.data.features import LogMel
from whisper_aut.errors import EnvironmentProblem
from whisper_aut.probe.encoders.base import ProbedEncoder, States

NUM_MFCC = 20  # coefficients; the first is the energy
NUM_MFCC_BINS = 40  # mel bins below them
NUM_LOG_MEL_BINS = 80
_VERSION = 1  # any change of what a state means counts this up


class SpectrumStatistics(ProbedEncoder):
    """One "layer" of frames without a weight, always pooled as mean and standard deviation."""

    family = "spectrum"
    is_floor = True
    trims = True
    num_layers = 1
    num_parameters = 0
    statistic = "mean+std"

    def __init__(self, name: str, front_end: nn.Module, width: int, settings: dict[str, Any], note: str) -> None:
        self._front_end = front_end
        self.name, self.width = name, width
        description = json.dumps({"name": name, "version": _VERSION, **settings}, sort_keys=True)
        self.weights_sha256 = self.content_sha256 = hashlib.sha256(description.encode()).hexdigest()
        self.notes = (note, "pooled as mean and standard deviation over frames under every protocol")

    def to(self, device: str) -> None:
        """Move the filters."""
        self._front_end.to(device)

    def padded_samples(self, num_samples: int, context: Context) -> int:
        """As for Whisper, so that both hear the same padding."""
        return context_frames(num_samples, context) * HOP_LENGTH

    def encode(self, waveforms: Tensor, num_samples: Sequence[int]) -> States:
        """One position for 10 ms."""
        with torch.autocast(waveforms.device.type, enabled=False):
            frames = self._front_end(waveforms).float()[..., : waveforms.shape[1] // HOP_LENGTH]  # [B, M, T]
        num_real = torch.tensor([max(1, -(-n // HOP_LENGTH)) for n in num_samples], device=frames.device)
        real = torch.arange(frames.shape[-1], device=frames.device) < num_real[:, None]
        return States(iter([frames.transpose(1, 2)]), real)


def mfcc() -> SpectrumStatistics:
    """Mel-frequency cepstral coefficients (Davis and Mermelstein 1980) as torchaudio computes them.

    Raises:
        EnvironmentProblem: torchaudio cannot be imported.
    """
    try:
        from torchaudio.transforms import MFCC
    except (ImportError, OSError, RuntimeError) as error:  # it raises where it was built for another CUDA than torch
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise EnvironmentProblem(
            f"mfcc needs torchaudio, which cannot be imported: {reason}",
            remedy="install the torchaudio that fits this torch (pip install 'torchaudio>=2.11,<2.12'), or use logmel",
        ) from None
    settings = {"n_fft": N_FFT, "hop_length": HOP_LENGTH, "n_mels": NUM_MFCC_BINS}
    # The logarithm without torchaudio's limit of 80 dB, which is taken over the batch: neighbours would count.
    front_end = MFCC(sample_rate=SAMPLE_RATE, n_mfcc=NUM_MFCC, log_mels=True, melkwargs=settings)
    note = f"{NUM_MFCC} MFCC of {NUM_MFCC_BINS} mel bins every 10 ms, nothing learned"
    return SpectrumStatistics("mfcc", front_end, NUM_MFCC, settings | {"n_mfcc": NUM_MFCC}, note)


def logmel() -> SpectrumStatistics:
    """The log-mel spectrum that Whisper is fed."""
    note = f"{NUM_LOG_MEL_BINS} bins of Whisper's log-mel spectrum every 10 ms, nothing learned"
    return SpectrumStatistics("logmel", LogMel(NUM_LOG_MEL_BINS), NUM_LOG_MEL_BINS, {"bins": NUM_LOG_MEL_BINS}, note)
