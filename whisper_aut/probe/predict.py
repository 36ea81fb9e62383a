"""The heads of each protocol on a task, test by test; no head has heard a recording that it is tested on.

Legend: N clips, K layers, D embedding width, C classes, R runs (seeds of a head, or draws of training clips).
"""

from __future__ import annotations

from functools import partial

import numpy as np

from whisper_aut.probe.arrays import TaskArrays
from whisper_aut.probe.few_shot import NUM_DRAWS, NUM_SHOTS, draw_shots, fit_predict_few
from whisper_aut.probe.fits import Fit, ProtocolFits
from whisper_aut.probe.heads import NUM_EPOCHS, Features, RowsOf, fit_predict_linear, fit_predict_logistic
from whisper_aut.probe.heads_xares import NUM_EPOCHS as NUM_NORMED_EPOCHS
from whisper_aut.probe.heads_xares import fit_predict_normed, predict_neighbours
from whisper_aut.probe.splits import Indices, InnerSplits, Split, inner_splits, outer_splits

NUM_SEEDS = 3  # of a head that begins at random: the first gives the result, all of them its spread
# Multiplications of one pass of a logistic regression from which on all cores share it: the threads of smaller ones
# spend their time waiting for each other. Such heads also need much memory: they are fitted one after another.
LARGE_PASS = 300_000_000
LARGE_SEARCH = 10_000_000_000  # the same of a search for neighbours, which is one pass
_COPIED_BYTES = 64_000_000  # of features; more are read from the disk batch by batch, since every process needs them
# Seconds on one core, roughly: a clip in an epoch of Adam; a clip in all fits by which C is chosen.
_ADAM_SEC, _LOGISTIC_SEC = 6e-6, 1.2e-3


def paper_fits(arrays: TaskArrays, seed: int) -> ProtocolFits:
    """``nn.Linear``; everything that is not tested trains."""
    fits = []
    for split in outer_splits(arrays.folds, arrays.groups):
        work_sec = _ADAM_SEC * NUM_EPOCHS * len(split.train)
        for run in range(NUM_SEEDS):
            fits.append(Fit(run, split.test, partial(_answer_linear, arrays, split, seed + run), work_sec))
    return ProtocolFits(arrays, tuple(fits), NUM_SEEDS, notes=_notes_on_parts(arrays))


def _answer_linear(arrays: TaskArrays, split: Split, seed: int, features: np.ndarray, device: str) -> np.ndarray:
    return fit_predict_linear(
        _rows(features, split.train),
        arrays.targets[split.train],
        _rows(features, split.test),
        num_classes=arrays.num_classes,
        seed=seed,
    )


def xares_fits(arrays: TaskArrays, seed: int) -> ProtocolFits:
    """``nn.LayerNorm`` and ``nn.Linear``; an official validation part chooses the epoch and does not train.

    Every fold's head begins elsewhere. One beginning for all folds makes their errors go together, which doubled the
    spread over seeds (docs/experiments.md).
    """
    fits = []
    for split in outer_splits(arrays.folds, arrays.groups):
        work_sec = _ADAM_SEC * NUM_NORMED_EPOCHS * len(split.train)
        for run in range(NUM_SEEDS):
            answer = partial(_answer_normed, arrays, split, beginning(seed + run, split.fold))
            fits.append(Fit(run, split.test, answer, work_sec))
    return ProtocolFits(arrays, tuple(fits), NUM_SEEDS, notes=_notes_on_parts(arrays))


def _answer_normed(arrays: TaskArrays, split: Split, seed: int, features: np.ndarray, device: str) -> np.ndarray:
    train, held_out = split.choose or (split.train, None)
    return fit_predict_normed(
        _rows(features, train),
        arrays.targets[train],
        _rows(features, split.test),
        num_classes=arrays.num_classes,
        seed=seed,
        valid=None if held_out is None else (_rows(features, held_out), arrays.targets[held_out]),
    )


def neighbour_fits(arrays: TaskArrays, seed: int) -> ProtocolFits:
    """Training clips vote; an official validation part does not."""
    fits = []
    for split in outer_splits(arrays.folds, arrays.groups):
        train, _ = split.choose or (split.train, None)
        large_width = LARGE_SEARCH / (len(train) * len(split.test))
        fits.append(
            Fit(0, split.test, partial(_answer_by_neighbours, arrays, train, split.test), large_width=large_width)
        )
    return ProtocolFits(arrays, tuple(fits), 1, notes=_notes_on_parts(arrays))


def _answer_by_neighbours(
    arrays: TaskArrays, train: Indices, test: Indices, features: np.ndarray, device: str
) -> np.ndarray:
    return predict_neighbours(features[train], arrays.targets[train], features[test], num_classes=arrays.num_classes)


def strict_fits(arrays: TaskArrays, seed: int) -> ProtocolFits:
    """Logistic regression, C chosen inside the training folds or on the official validation part."""
    fits, ungrouped = [], []
    for split in outer_splits(arrays.folds, arrays.groups):
        rows, inner, refit = _to_choose_on(split, arrays, seed)
        if not inner.grouped:
            ungrouped.append(split.fold)
        # Nearly all of the work is the inner fits, so that their size counts.
        large_width = LARGE_PASS / (min(len(fitted) for fitted, _ in inner.splits) * arrays.num_classes)
        answer = partial(_answer_logistic, arrays, rows, inner, refit, split.test)
        fits.append(Fit(0, split.test, answer, _LOGISTIC_SEC * len(rows), large_width))
    notes = _notes_on_parts(arrays)
    if ungrouped:
        folds = ", ".join(map(str, ungrouped))
        notes += (f"for test fold(s) {folds} the training clips hold too few recordings to group: inner folds by clip",)
    return ProtocolFits(arrays, tuple(fits), 1, notes=notes)


def _answer_logistic(
    arrays: TaskArrays,
    rows: Indices,
    inner: InnerSplits,
    refit: Indices,
    test: Indices,
    features: np.ndarray,
    device: str,
) -> np.ndarray:
    answers, _ = fit_predict_logistic(features[rows], arrays.targets[rows], features[test], inner, refit, device=device)
    return answers


def few_shot_fits(arrays: TaskArrays, seed: int) -> ProtocolFits:
    """A handful of training clips a class, drawn several times; of tasks whose clips have one class each."""
    assert arrays.label_matrix is None, "a clip with several labels is no shot of one class"
    fits, short = [], set[int]()
    for split in outer_splits(arrays.folds, arrays.groups):
        classes, groups = arrays.class_ids[split.train], arrays.groups[split.train]
        short |= set(np.flatnonzero(np.bincount(classes, minlength=arrays.num_classes) < NUM_SHOTS).tolist())
        for draw in range(NUM_DRAWS):
            # Of test and draw, not of the encoder: all encoders learn from the same clips.
            shots = split.train[draw_shots(classes, groups, np.random.default_rng([seed, _number(split.fold), draw]))]
            fits.append(Fit(draw, split.test, partial(_answer_few, arrays, shots, split.test)))
    notes = _notes_on_parts(arrays)
    if short:
        notes += (f"{len(short)} class(es) have fewer than {NUM_SHOTS} training clips in a fold: all are taken",)
    return ProtocolFits(arrays, tuple(fits), NUM_DRAWS, averaged=True, notes=notes)


def _answer_few(arrays: TaskArrays, shots: Indices, test: Indices, features: np.ndarray, device: str) -> np.ndarray:
    return fit_predict_few(features[shots], arrays.class_ids[shots], features[test])


def _number(fold: int | str) -> int:
    return 0 if isinstance(fold, str) else fold & 0xFFFF


def beginning(seed: int, fold: int | str) -> int:
    """Of seed and fold, not of the encoder: all encoders' heads begin alike."""
    return int(np.random.SeedSequence([seed, _number(fold)]).generate_state(1)[0])


def _rows(features: np.ndarray, rows: Indices) -> Features:
    several_layers, num_bytes = features.ndim == 3, len(rows) * features.shape[-1] * features.itemsize
    return RowsOf(features, rows) if several_layers or num_bytes > _COPIED_BYTES else features[rows]


def _to_choose_on(split: Split, arrays: TaskArrays, seed: int) -> tuple[Indices, InnerSplits, Indices]:
    """Rows to fit and choose on, how to choose (indices into them), which of them the tested head is fitted on."""
    if split.choose is None:
        rows = split.train
        return rows, inner_splits(arrays.class_ids[rows], arrays.groups[rows], seed), np.arange(len(rows))
    fit, held_out = split.choose
    rows = np.concatenate([fit, held_out])
    numbers = np.arange(len(rows))
    inner = InnerSplits(((numbers[: len(fit)], numbers[len(fit) :]),), grouped=True)
    return rows, inner, np.flatnonzero(np.isin(rows, split.train))


def _notes_on_parts(arrays: TaskArrays) -> tuple[str, ...]:
    """What the parts of this fixed split make different from the rules."""
    if not arrays.fixed:
        return ()
    (split,) = outer_splits(arrays.folds, arrays.groups)
    if split.choose is None:
        return ("the task has no validation part",)
    num_apart = sum(map(len, split.choose)) - len(split.train)
    if not num_apart:
        return ()
    return (
        f"{num_apart} validation clips share their recording, instrument or speaker with the test: never fitted on",
    )
