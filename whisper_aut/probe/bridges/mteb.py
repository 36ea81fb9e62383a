"""Any probed encoder as mteb takes a model (github.com/embeddings-benchmark/mteb): audio in, one vector a clip out.

mteb asks for methods, not for a base class, and is imported when the first of them needs it.
Legend: N clips, B clips in a batch, D numbers in a pooled vector.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from whisper_aut.constants import Context
from whisper_aut.errors import ProbeError
from whisper_aut.probe.bridges import import_suite
from whisper_aut.probe.embed import pool
from whisper_aut.probe.encoders.base import Pooling
from whisper_aut.probe.encoders.load import load_probed


class MtebAudioModel:
    """An ``EncoderProtocol`` of mteb over whatever ``load_probed`` loads; vectors are pooled as in our own probes.

    mteb files its results under name, revision and settings: the revision is the hash of weights and front end.
    """

    def __init__(
        self,
        model_name: str,
        revision: str | None = None,
        *,
        device: str | None = None,
        context: Context = "trimmed",
        pooling: Pooling = Pooling("mean", "real"),  # noqa: B008, frozen
        **_: Any,
    ) -> None:
        """Load the encoder.

        Args:
            model_name: as for ``load_probed``: hub name, folder, export, ``pypi:tiny.en``, ``hf:...``, ``mfcc``, ...
            revision: given by mteb, not used: what is loaded says itself what it is.
            device: 'cuda' where there is one, else 'cpu', if None.
            context: how much of the window is computed; of a longer clip the beginning is heard.
            pooling: of the last layer's states.

        Raises:
            BaseModelError: the encoder cannot be loaded.
            EnvironmentProblem: mteb is not installed.
        """
        import_suite("mteb.models")  # before weights of gigabytes are read
        self._encoder = load_probed(model_name)
        self._device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self._encoder.to(self._device)
        self._context: Context = context if self._encoder.trims else "full"
        self._pooling = pooling
        self.mteb_model_meta: Any = self._meta()

    def encode(
        self, inputs: Any, *, task_metadata: Any, hf_split: str, hf_subset: str, prompt_type: Any = None, **_: Any
    ) -> np.ndarray:
        """Vectors of the clips of a ``DataLoader``, float32 [N, D]; a clip's vector does not depend on its neighbours.

        Raises:
            ProbeError: the task has no audio.
        """
        if "audio" not in task_metadata.modalities:
            raise ProbeError(
                f"the mteb task '{task_metadata.name}' has {', '.join(task_metadata.modalities)}, not audio",
                remedy="choose tasks of the modality audio",
            )
        encoder = self._encoder
        inputs.collate_fn = import_suite("mteb.models.modality_collators").AudioCollator(
            target_sampling_rate=encoder.sample_rate, max_samples=round(encoder.window_sec * encoder.sample_rate)
        )
        vectors = [self._encode_batch(batch["audio"]) for batch in inputs]
        return np.concatenate(vectors)

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Any:
        """Cosine of every pair."""
        return import_suite("mteb.similarity_functions").cos_sim(embeddings1, embeddings2)

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Any:
        """Cosine of corresponding pairs."""
        return import_suite("mteb.similarity_functions").pairwise_cos_sim(embeddings1, embeddings2)

    def _encode_batch(self, audio: Iterable[dict[str, Any]]) -> np.ndarray:
        clips = [np.asarray(one["array"], dtype=np.float32).reshape(-1) for one in audio]
        rows_of: dict[int, list[int]] = defaultdict(list)  # by padded length
        for row, clip in enumerate(clips):
            rows_of[self._encoder.padded_samples(len(clip), self._context)].append(row)
        vectors = np.empty((len(clips), self._encoder.vector_size(self._pooling.statistic)), dtype=np.float32)
        for size, rows in rows_of.items():
            waveforms = torch.zeros(len(rows), size)
            for target, row in zip(waveforms, rows, strict=True):
                target[: len(clips[row])] = torch.from_numpy(clips[row])
            with torch.inference_mode():
                states = self._encoder.encode(waveforms.to(self._device), [len(clips[row]) for row in rows])
                *_, last = states.layers
                statistic = self._encoder.statistic or self._pooling.statistic
                vectors[rows] = pool(last.float(), states.real, self._pooling, statistic).cpu().numpy()
        return vectors

    def _meta(self) -> Any:
        encoder = self._encoder
        return import_suite("mteb.models").ModelMeta(
            loader=None,
            name=f"whisper-aut/{_short(encoder.name)}",
            revision=encoder.content_sha256[:12],
            release_date=None,
            languages=None,
            n_parameters=encoder.num_parameters,
            memory_usage_mb=encoder.num_parameters * 4 / 2**20,
            max_tokens=None,
            embed_dim=encoder.vector_size(self._pooling.statistic),
            license=None,
            open_weights=None,
            public_training_code=None,
            public_training_data=None,
            framework=["PyTorch"],
            similarity_fn_name="cosine",
            use_instructions=False,
            training_datasets=None,
            modalities=["audio"],
            experiment_kwargs={"context": self._context, "pooling": str(self._pooling)},
        )


def _short(name: str) -> str:
    """A name of one part, as mteb's folders need it: the folder of an export, the hub's name without its owner."""
    text = Path(name).name if "/" in name else name
    return "".join(c if c.isalnum() or c in "._-" else "-" for c in text) or "encoder"
