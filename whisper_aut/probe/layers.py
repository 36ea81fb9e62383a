"""What each layer knows of a task, after arXiv 2410.12948: neighbours, a small network, clusters, and maps to look at.

Everything is cheap on purpose: a few hundred clips, one setting for all layers, fixed seeds. The curves compare layers
and encoders with each other; the protocols are the numbers to quote. Legend: N clips, D embedding width.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice

import numpy as np
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.manifold import TSNE
from sklearn.metrics import f1_score, normalized_mutual_info_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler

from whisper_aut.constants import Context
from whisper_aut.probe.arrays import TaskArrays
from whisper_aut.probe.embed import Embeddings
from whisper_aut.probe.encoders.base import Pooling
from whisper_aut.probe.results import EmbeddingMap, LayerAnalysis, LayerCurve, LayerTask
from whisper_aut.probe.splits import outer_splits, rows_tested
from whisper_aut.probe.tasks.labelled import Task
from whisper_aut.probe.workers import Workers

VERSION = 1
POOLING = Pooling("mean", "real")
MAX_CLIPS = 2000  # of a task; more make curves smoother and nothing else
MAX_MAP_CLIPS = 300
MAX_FOLDS = 5
NUM_NEIGHBOURS = 10
NUM_HIDDEN = 64
NUM_EPOCHS = 60
NUM_CLUSTERINGS = 4  # starts of k-means; the tightest counts
PERPLEXITY = 30.0
WORK_SEC = 0.01  # a clip with all layers, roughly, on one core
RULES = (
    f"{POOLING}; standardised by the clips that train; macro-F1 in percent over {MAX_FOLDS} folds (official ones, "
    f"merged where there are more), or on the test part of a fixed split, of {NUM_NEIGHBOURS} nearest neighbours and "
    f"of a network with one hidden layer of {NUM_HIDDEN}, {NUM_EPOCHS} epochs; normalised mutual information, in "
    f"percent, of classes and as many k-means clusters; of larger tasks {MAX_CLIPS} clips, of a fixed split at most "
    f"half of them tested; layer 0 is the input of the first block, the last is the encoder's output; after arXiv "
    f"2410.12948"
)


@dataclass(frozen=True)
class Layered:
    """An encoder's vectors of one task, and its place among the report's encoders (None: a floor that is none)."""

    name: str
    number: int | None
    embeddings: Embeddings


def can_analyse(task: Task) -> bool:
    """Whether each clip has one class, which is what clusters and macro-F1 are held against."""
    return task.metric == "accuracy"


def analyse_task(
    name: str,
    arrays: TaskArrays,
    classes: Sequence[str],
    encoders: Sequence[Layered],
    seed: int,
    workers: Workers | None = None,
) -> LayerTask:
    """Curves over depth for every encoder, and maps of the first, the middle and the last layer.

    Args:
        name: of the task.
        arrays: the task as numbers.
        classes: their names.
        encoders: with all layers embedded under ``POOLING``.
        seed: of everything drawn; the same seed gives the same numbers.
        workers: who compute layers and maps; this process where None.
    """
    workers = workers or Workers(1)
    rows = _looked_at(arrays, seed)
    mapped = rows[choose_clips(arrays.class_ids[rows], MAX_MAP_CLIPS, seed)]
    stored = [encoder.embeddings.all_layers(POOLING) for encoder in encoders]  # [N, K, D] of each
    scores = workers.map(
        partial(_score_stored, one[:, layer], arrays, rows, seed) for one in stored for layer in range(one.shape[1])
    )
    curves = []
    for encoder, one in zip(encoders, stored, strict=True):
        knn, network, nmi = (list(column) for column in zip(*islice(scores, one.shape[1]), strict=True))
        curves.append(LayerCurve(name=encoder.name, encoder=encoder.number, knn=knn, network=network, nmi=nmi))
    drawn = [
        (encoder, one, layer)
        for encoder, one in zip(encoders, stored, strict=True)
        if encoder.number is not None and one.shape[1] > 1
        for layer in sorted({0, one.shape[1] // 2, one.shape[1] - 1})
    ]
    points = workers.map(partial(_map_stored, one[:, layer], mapped, seed) for _, one, layer in drawn)
    maps = [
        EmbeddingMap(name=encoder.name, encoder=encoder.number, layer=layer, points=found)
        for (encoder, _, layer), found in zip(drawn, points, strict=True)
    ]
    return LayerTask(
        name=name,
        num_clips=len(rows),
        classes=list(classes),
        curves=curves,
        map_classes=[int(label) for label in arrays.class_ids[mapped]],
        maps=maps,
    )


def analysis(context: Context, tasks: Sequence[LayerTask], left_out: Sequence[str]) -> LayerAnalysis:
    """The tasks with the rules they were analysed by, and the names of those that cannot be."""
    return LayerAnalysis(version=VERSION, context=context, rules=RULES, tasks=list(tasks), left_out=list(left_out))


def _looked_at(arrays: TaskArrays, seed: int) -> np.ndarray:
    """Ascending indices of at most ``MAX_CLIPS`` clips, of a fixed split at most half of them for the test."""
    if not arrays.fixed:
        return choose_clips(arrays.class_ids, MAX_CLIPS, seed)
    (split,) = outer_splits(arrays.folds, arrays.groups)
    halves = [part[choose_clips(arrays.class_ids[part], MAX_CLIPS // 2, seed)] for part in (split.train, split.test)]
    return np.sort(np.concatenate(halves))


def choose_clips(class_ids: np.ndarray, at_most: int, seed: int) -> np.ndarray:
    """Ascending indices of at most ``at_most`` clips, each class with its share (at least one clip where it fits)."""
    if len(class_ids) <= at_most:
        return np.arange(len(class_ids))
    order = np.random.default_rng(seed).permutation(len(class_ids))
    # A clip's place within its class, as a share of the class: the lowest shares take of every class alike.
    share = np.empty(len(class_ids))
    for label in np.unique(class_ids):
        own = order[class_ids[order] == label]
        share[own] = np.arange(len(own)) / len(own)
    return np.sort(order[np.argsort(share[order], kind="stable")[:at_most]])


def _score_stored(layer: np.ndarray, arrays: TaskArrays, rows: np.ndarray, seed: int) -> tuple[float, float, float]:
    return score_layer(layer[rows], arrays, rows, seed)


def score_layer(features: np.ndarray, arrays: TaskArrays, rows: np.ndarray, seed: int) -> tuple[float, float, float]:
    """Macro-F1 of neighbours and of the network, and normalised mutual information of clusters, in percent.

    Args:
        features: float32 [N, D] of the clips ``rows``.
        arrays: the whole task.
        rows: int [N], which of its clips.
        seed: of network and clusters.
    """
    classes = arrays.class_ids[rows]
    folds = arrays.folds[rows]
    if not arrays.fixed:
        folds = np.unique(folds, return_inverse=True)[1].reshape(-1) % MAX_FOLDS
    neighbours, network = np.full(len(rows), -1), np.full(len(rows), -1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the network is stopped, not finished
        for split in outer_splits(folds, arrays.groups[rows]):
            scaler = StandardScaler().fit(features[split.train])
            train, test = scaler.transform(features[split.train]), scaler.transform(features[split.test])
            knn = KNeighborsClassifier(min(NUM_NEIGHBOURS, len(train)))
            neighbours[split.test] = knn.fit(train, classes[split.train]).predict(test)
            small = MLPClassifier((NUM_HIDDEN,), max_iter=NUM_EPOCHS, random_state=seed)
            network[split.test] = small.fit(train, classes[split.train]).predict(test)
        clusters = KMeans(min(arrays.num_classes, len(rows)), n_init=NUM_CLUSTERINGS, random_state=seed).fit_predict(
            StandardScaler().fit_transform(features)
        )
    tested = rows_tested(folds)
    known = np.unique(classes[tested])
    f1 = [
        100.0 * f1_score(classes[tested], found[tested], labels=known, average="macro")
        for found in (neighbours, network)
    ]
    return float(f1[0]), float(f1[1]), 100.0 * float(normalized_mutual_info_score(classes, clusters))


def _map_stored(layer: np.ndarray, rows: np.ndarray, seed: int) -> list[tuple[float, float]]:
    return tsne(layer[rows], seed)


def tsne(features: np.ndarray, seed: int) -> list[tuple[float, float]]:
    """Vectors [N, D] as points in the plane (van der Maaten and Hinton 2008), each axis from 0 to 1: for the eye."""
    scaled = StandardScaler().fit_transform(features.astype(np.float64))
    settings = {"perplexity": min(PERPLEXITY, max(1.0, (len(scaled) - 1) / 3)), "random_state": seed}
    points = TSNE(2, init="random" if len(scaled) < 3 else "pca", **settings).fit_transform(scaled)
    low, span = points.min(axis=0), np.maximum(np.ptp(points, axis=0), 1e-12)
    return [(round(float(x), 4), round(float(y), 4)) for x, y in (points - low) / span]
