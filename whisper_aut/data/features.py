"""Whisper's log-mel spectrogram in batched torch, on whatever device trains.

Equal to ``transformers.WhisperFeatureExtractor`` (OpenAI's ``log_mel_spectrogram``, github.com/openai/whisper,
whisper/audio.py) on the same samples. Legend: B clips in a micro-batch, S samples, M mel bins, F mel frames.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from whisper_aut.constants import HOP_LENGTH, N_FFT, SAMPLE_RATE

_FLOOR = 1e-10  # of the mel power, before the logarithm
_DYNAMIC_RANGE = 8.0  # powers of ten below a clip's own peak; what is quieter is cut off


class LogMel(nn.Module):
    """Waveforms [B, S] at 16 kHz to log-mel features [B, M, F], F = S / 160; float32 whatever autocast says.

    Silence belongs in the waveform: a clip padded with zeros gets the features Whisper was trained on, a padded
    spectrogram does not. Each clip is scaled by its own peak, so a clip's features do not depend on its neighbours.

    Args:
        num_mel_bins: M, 80 for all Whisper models up to large-v2, 128 for large-v3.
    """

    filters: Tensor
    window: Tensor

    def __init__(self, num_mel_bins: int) -> None:
        super().__init__()
        from transformers.audio_utils import mel_filter_bank  # slow to import, and only needed here

        filters = mel_filter_bank(
            num_frequency_bins=N_FFT // 2 + 1,
            num_mel_filters=num_mel_bins,
            min_frequency=0.0,
            max_frequency=SAMPLE_RATE / 2,
            sampling_rate=SAMPLE_RATE,
            norm="slaney",
            mel_scale="slaney",
        )
        self.num_mel_bins = num_mel_bins
        self.register_buffer("filters", torch.from_numpy(filters.T).float().contiguous(), persistent=False)
        self.register_buffer("window", torch.hann_window(N_FFT), persistent=False)

    def forward(self, waveforms: Tensor) -> Tensor:
        """Features [B, M, F] of ``waveforms`` [B, S]; S is a multiple of 160."""
        assert waveforms.ndim == 2 and waveforms.shape[1] % HOP_LENGTH == 0, f"pad the waveforms: {waveforms.shape}"
        assert self.filters.dtype == torch.float32, "cast the model, not its front end: half precision spoils features"
        with torch.autocast(waveforms.device.type, enabled=False):
            spectrum = torch.stft(waveforms.float(), N_FFT, HOP_LENGTH, window=self.window, return_complex=True)
            parts = torch.view_as_real(spectrum[..., :-1])  # the last frame is centred behind the end of the audio
            power = parts[..., 0].square() + parts[..., 1].square()  # a quarter of what abs().square() costs
            mel = (self.filters @ power).clamp(min=_FLOOR).log10()
            mel = mel.maximum(mel.amax(dim=(1, 2), keepdim=True) - _DYNAMIC_RANGE)
            return (mel + 4.0) / 4.0
