"""The frozen ways to probe, each with a version: ``paper``, to compare with what was published; ``strict``, to believe.

``xares`` and ``xares-knn`` are those of X-ARES, ``few-shot`` asks what sixteen clips a class give. A protocol's numbers
mean nothing under another's rules. Change a rule and its version counts up, in the same commit. ``variant`` is for
looking into an encoder: another pooling or layer makes another protocol, and its name says so.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from whisper_aut.constants import Context
from whisper_aut.errors import ProbeError
from whisper_aut.probe import heads_xares as xares
from whisper_aut.probe import predict
from whisper_aut.probe.arrays import TaskArrays
from whisper_aut.probe.encoders.base import Pooling
from whisper_aut.probe.few_shot import NUM_DRAWS, NUM_SHOTS, C
from whisper_aut.probe.fits import ListFits, Predictions, predict_all
from whisper_aut.probe.heads import BATCH_CLIPS, C_GRID, LR, NUM_EPOCHS
from whisper_aut.probe.names import Layer, ProtocolName, Statistic
from whisper_aut.probe.splits import NUM_INNER_FOLDS
from whisper_aut.probe.workers import Workers


@dataclass(frozen=True)
class Protocol:
    """A named, frozen way to probe."""

    name: str
    version: int
    contexts: tuple[Context, ...]  # those it is defined for
    pooling: Pooling
    layer: Layer
    rules: str  # of the head: pooling and layer are said by ``describe``
    on_folds: str  # who trains and what is tested, where a task has folds
    on_parts: str  # the same where it has a fixed split
    several_labels: str | None  # the head where a clip may have several; None: it is not defined for such tasks
    fits: ListFits  # the heads of a task
    learns_weights: bool = False  # whether the head can learn a weighted sum over layers

    def predict(self, features: np.ndarray, arrays: TaskArrays, seed: int, device: str = "cpu") -> Predictions:
        """Fit all heads in this process: features float32 [N, D], or [N, K, D] where a weighted sum is learned."""
        (found,) = predict_all([(self.fits(arrays, seed), features)], Workers(1), device=device)
        return found

    def describe(self, *, fixed: bool = False, several_labels: bool = False) -> str:
        """The protocol in one sentence, as it is for a kind of task: folds or a fixed split, one label or several."""
        where = {"all": "all encoder positions, padding included", "real": "the encoder positions of real audio only"}
        statistic = {"mean": "mean", "mean+std": "mean and standard deviation", "max": "maximum"}
        layer = "the final layer" if self.layer == "last" else f"layer {self.layer}"
        if self.layer == "weighted":
            layer = "a learned weighted sum of all layers"
        pooled = f"{statistic[self.pooling.statistic]} over {where[self.pooling.positions]}, of {layer}"
        rules = [pooled, self.rules, self.on_parts if fixed else self.on_folds]
        return "; ".join([*rules, self.several_labels] if several_labels and self.several_labels else rules)


def variant(protocol: Protocol, *, statistic: Statistic | None = None, layer: Layer | None = None) -> Protocol:
    """The protocol with another pooling or layer, under a name that says so; itself where nothing differs.

    Raises:
        ProbeError: the protocol's head cannot learn weights of layers, or not of what is pooled so.
    """
    pooling = replace(protocol.pooling, statistic=statistic or protocol.pooling.statistic)
    chosen = protocol.layer if layer is None else layer
    if chosen == "weighted" and not (protocol.learns_weights and pooling.statistic == "mean"):
        able = ", ".join(name for name, one in PROTOCOLS.items() if one.learns_weights)
        raise ProbeError(
            f"the protocol '{protocol.name}' with pooling '{pooling.statistic}' cannot learn weights of layers",
            remedy=f"use pooling 'mean' and one of the protocols {able}",
        )
    parts: list[str] = [pooling.statistic] * (pooling != protocol.pooling)
    parts += [f"layer {chosen}"] * (chosen != protocol.layer)
    if not parts:
        return protocol
    return replace(protocol, name=f"{protocol.name} [{', '.join(parts)}]", pooling=pooling, layer=chosen)


_EVERY_FOLD = "every official fold is the test once"
_ONE_TEST = "the official test part is tested once"
_SEEDS = f"the first of {predict.NUM_SEEDS} seeds counts, all give the spread"
_GRID = f"C from {C_GRID[0]:g} to {C_GRID[-1]:g} in {len(C_GRID)} steps"
_INNER = f"in up to {NUM_INNER_FOLDS} inner folds"

# Fixed splits and several labels came after these versions and change no number that a version has given.
PROTOCOLS: dict[ProtocolName, Protocol] = {
    "paper": Protocol(
        name="paper",
        version=1,
        contexts=("full",),
        pooling=Pooling("mean", "all"),
        layer="last",
        rules=f"not standardised; nn.Linear, {NUM_EPOCHS} epochs, Adam lr {LR:g}, batch {BATCH_CLIPS}; {_SEEDS}",
        on_folds="the paper tests on one fold (ESC-50: fold 5), here every fold is the test once with the others "
        "training, and all are reported",
        on_parts="official training and validation parts train together, as the paper's 80/20 split has no validation "
        f"part; {_ONE_TEST}",
        several_labels="binary cross entropy for each class",
        fits=predict.paper_fits,
        learns_weights=True,
    ),
    "strict": Protocol(
        name="strict",
        version=2,
        contexts=("trimmed", "full"),
        pooling=Pooling("mean", "real"),
        layer="last",
        rules=f"standardised by the clips that train; L2 logistic regression, {_GRID} chosen by cross entropy",
        on_folds=f"C is chosen inside the training folds, {_INNER} grouped by recording; {_EVERY_FOLD}",
        on_parts=f"C is chosen on the official validation part (without one: {_INNER} of the training part grouped by "
        f"recording), then training and validation parts train together; {_ONE_TEST}",
        several_labels="one logistic regression a class, one C for all",
        fits=predict.strict_fits,
    ),
    "xares": Protocol(
        name="xares",
        version=2,
        contexts=("full",),
        pooling=Pooling("mean", "all"),
        layer="last",
        rules=f"nn.LayerNorm and nn.Linear, {xares.NUM_EPOCHS} epochs, Adam lr {xares.LR:g} with a cosine to "
        f"{xares.LR * xares.FINAL_LR_SHARE:g} by epoch, batch {xares.BATCH_CLIPS}; {_SEEDS}, each of them drawn anew "
        "for every fold",
        on_folds=f"{_EVERY_FOLD}; X-ARES averages folds and, in k-fold tasks, keeps the epoch that is best on the test "
        "fold; here all clips count alike and the last epoch is taken",
        on_parts="the official training part trains, the epoch that is best on the official validation part counts "
        f"(without one: the last), as in X-ARES; {_ONE_TEST}",
        several_labels="binary cross entropy for each class",
        fits=predict.xares_fits,
        learns_weights=True,
    ),
    "xares-knn": Protocol(
        name="xares-knn",
        version=2,
        contexts=("full",),
        pooling=Pooling("mean", "all"),
        layer="last",
        rules=f"the {xares.NUM_NEIGHBOURS} most similar training clips vote, weighted by a softmax at temperature "
        f"{xares.TEMPERATURE:g}; similarity is the product with training features whose every dimension is scaled to "
        "length one over the training clips, as in X-ARES, not the cosine; nothing is fitted",
        on_folds=_EVERY_FOLD,
        on_parts=f"the official training part votes, the validation part does not, as in X-ARES; {_ONE_TEST}",
        several_labels="a class scores by the share of the votes that has it",
        fits=predict.neighbour_fits,
    ),
    "few-shot": Protocol(
        name="few-shot",
        version=1,
        contexts=("trimmed", "full"),
        pooling=Pooling("mean", "real"),
        layer="last",
        rules=f"{NUM_SHOTS} training clips a class, from as many recordings as there are, drawn {NUM_DRAWS} times, the "
        f"same clips for all encoders; standardised by those clips; L2 logistic regression, C = {C:g}; a clip counts "
        "by the share of draws that get it right",
        on_folds=_EVERY_FOLD,
        on_parts=f"drawn from the official training and validation parts; {_ONE_TEST}",
        several_labels=None,
        fits=predict.few_shot_fits,
    ),
}
