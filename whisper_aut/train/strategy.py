"""How ZeRO splits the work: DeepSpeed's strategy files in ``ds_configs/``, read without DeepSpeed or torch.

Batch sizes, optimizer and precision come from the recipe; a strategy that sets them too is refused.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from whisper_aut.errors import RecipeError
from whisper_aut.resources import resource

_RECIPE_OWNS = {
    "train_batch_size": "train.clips_per_step",
    "train_micro_batch_size_per_gpu": "train.micro_batch_clips",
    "gradient_accumulation_steps": "train.clips_per_step",
    "optimizer": "train.lr, train.betas, train.weight_decay",
    "scheduler": "train.warmup_fraction",
    "gradient_clipping": "train.max_grad_norm",
    "bf16": "train.precision",
    "fp16": "train.precision",
}


def read_strategy(name_or_path: str) -> dict[str, Any]:
    """A DeepSpeed strategy by name in ``ds_configs/`` or by path.

    Raises:
        RecipeError: it is not there, is not JSON, or sets what the recipe owns.
    """
    path = Path(name_or_path) if name_or_path.endswith(".json") else resource(f"ds_configs/{name_or_path}.json")
    try:
        strategy = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        known = ", ".join(sorted(file.stem for file in resource("ds_configs").glob("*.json")))
        raise RecipeError(
            f"train.deepspeed: there is no strategy '{name_or_path}'", remedy=f"use {known}, or the path of a JSON file"
        ) from None
    except (OSError, ValueError) as error:
        raise RecipeError(f"train.deepspeed: the strategy is not JSON: {error}", where=str(path)) from None
    zero = strategy.get("zero_optimization") if isinstance(strategy, dict) else None
    stage = zero.get("stage") if isinstance(zero, dict) else None
    if stage not in (1, 2, 3):
        raise RecipeError(
            f"train.deepspeed: zero_optimization.stage is {stage}", where=str(path), remedy="set it to 1, 2 or 3"
        )
    for key, owner in _RECIPE_OWNS.items():
        if key in strategy:
            raise RecipeError(
                f"the strategy sets '{key}', which the recipe owns", where=str(path), remedy=f"remove it; set {owner}"
            )
    return dict(strategy)
