"""The numbers Whisper was built with, each derived from another; nothing else in the package repeats them.

They are fixed by OpenAI's released weights: change one and every pretrained model stops meaning anything.
"""

from __future__ import annotations

from typing import Literal, get_args

Domain = Literal["speech", "environment", "music"]
DOMAINS: tuple[Domain, ...] = get_args(Domain)

Context = Literal["full", "trimmed"]
CONTEXTS: tuple[Context, ...] = get_args(Context)

SAMPLE_RATE = 16_000  # Hz; the only rate that Whisper's front end knows
N_FFT = 400  # samples: 25 ms analysis window
HOP_LENGTH = 160  # samples: 10 ms between mel frames
FRAMES_PER_SEC = SAMPLE_RATE // HOP_LENGTH  # 100 mel frames a second

WINDOW_SEC = 30  # the encoder's learned window
WINDOW_SAMPLES = WINDOW_SEC * SAMPLE_RATE  # 480 000 samples
WINDOW_FRAMES = WINDOW_SAMPLES // HOP_LENGTH  # 3 000 mel frames

ENCODER_STRIDE = 2  # the second convolution halves the frame rate
SAMPLES_PER_POSITION = HOP_LENGTH * ENCODER_STRIDE  # 320 samples behind one encoder position
POSITIONS_PER_SEC = SAMPLE_RATE // SAMPLES_PER_POSITION  # 50 encoder positions a second
WINDOW_POSITIONS = WINDOW_FRAMES // ENCODER_STRIDE  # 1 500 encoder positions

MAX_TOKENS = 448  # decoder positions: prompt, text and end token together
IGNORE_LABEL = -100  # a target that does not count in the loss

# Trimmed contexts are rounded up to a multiple of this, so that a clip's context is a function of its own duration
# alone (never of the clips beside it) and only WINDOW_SEC / BUCKET_SEC = 60 shapes exist.
BUCKET_FRAMES = 50  # mel frames: 0.5 s


def num_samples_of(duration_sec: float) -> int:
    """Samples at 16 kHz in ``duration_sec`` seconds, rounded to the nearest."""
    return round(duration_sec * SAMPLE_RATE)


def context_frames(num_samples: int, context: Context) -> int:
    """Mel frames that the encoder computes for a clip of ``num_samples`` samples at 16 kHz.

    ``full`` is always the 30 s window; ``trimmed`` is the clip's own length rounded up to ``BUCKET_FRAMES``.
    """
    if context == "full":
        return WINDOW_FRAMES
    frames = -(-num_samples // HOP_LENGTH)
    buckets = max(1, -(-frames // BUCKET_FRAMES))
    return min(WINDOW_FRAMES, buckets * BUCKET_FRAMES)


def real_positions(num_samples: int) -> int:
    """Encoder positions that see audio of the clip itself (at least one): ``ceil(num_samples / 320)``."""
    return min(WINDOW_POSITIONS, max(1, -(-num_samples // SAMPLES_PER_POSITION)))
