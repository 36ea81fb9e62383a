import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from whisper_aut.probe.heads import (
    BATCH_CLIPS,
    C_GRID,
    LR,
    NUM_EPOCHS,
    RowsOf,
    WeightedLayers,
    fit_predict_adam,
    fit_predict_linear,
    fit_predict_logistic,
)
from whisper_aut.probe.splits import InnerSplits, inner_splits


@pytest.fixture
def blobs() -> tuple[np.ndarray, np.ndarray]:
    """Four overlapping classes [400, 20], in features of very different scale."""
    rng = np.random.default_rng(0)
    classes = rng.integers(0, 4, 400)
    features = 0.8 * rng.normal(size=(4, 20))[classes] + rng.normal(size=(400, 20))
    return (features * np.geomspace(0.1, 10, 20)).astype(np.float32), classes


def test_the_logistic_head_equals_scikit_learns_grid_search(blobs):
    features, classes = blobs
    inner = inner_splits(classes[:300], np.arange(300) // 3, seed=0)
    ours, chosen = fit_predict_logistic(features[:300], classes[:300], features[300:], inner)
    search = GridSearchCV(
        make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
        {"logisticregression__C": C_GRID},
        cv=list(inner.splits),
        scoring="neg_log_loss",
    ).fit(features[:300].astype(np.float64), classes[:300])
    # Theirs weighs folds alike and ours clips, so that a tie may fall to a neighbour.
    scores = dict(zip(C_GRID, search.cv_results_["mean_test_score"], strict=True))
    assert scores[chosen] == pytest.approx(max(scores.values()), abs=1e-3)
    assert scores[chosen] > scores[C_GRID[0]] + 0.1
    reference = make_pipeline(StandardScaler(), LogisticRegression(C=chosen, max_iter=1000))
    expected = reference.fit(features[:300].astype(np.float64), classes[:300]).predict(features[300:])
    assert np.array_equal(ours, expected)


def test_the_paper_head_agrees_with_scikit_learns_adam_without_hidden_layers():
    # Enough clips that 50 epochs forget the first weights, which the two draw differently.
    rng = np.random.default_rng(4)
    classes = rng.integers(0, 4, 2400)
    features = (0.6 * rng.normal(size=(4, 20))[classes] + rng.normal(size=(2400, 20))).astype(np.float32)
    train, test = slice(0, 2000), slice(2000, None)
    ours = fit_predict_linear(features[train], classes[train], features[test], num_classes=4, seed=0)
    reference = MLPClassifier(
        hidden_layer_sizes=(),
        alpha=0.0,
        batch_size=BATCH_CLIPS,
        learning_rate_init=LR,
        max_iter=NUM_EPOCHS,
        n_iter_no_change=NUM_EPOCHS,
        random_state=0,
    )
    with pytest.warns(UserWarning, match="converge"):
        expected = reference.fit(features[train], classes[train]).predict(features[test])
    assert np.mean(expected == classes[test]) > 0.6  # chance is 0.25
    assert np.mean(ours == expected) >= 0.95


def test_one_known_linear_feature_separates_perfectly_under_both_heads():
    rng = np.random.default_rng(1)
    classes = rng.integers(0, 2, 200)
    features = rng.normal(scale=0.3, size=(200, 16)).astype(np.float32)
    features[:, 5] += 4.0 * classes - 2.0
    inner = inner_splits(classes[:150], np.arange(150), seed=0)
    logistic, _ = fit_predict_logistic(features[:150], classes[:150], features[150:], inner)
    linear = fit_predict_linear(features[:150], classes[:150], features[150:], num_classes=2, seed=0)
    assert np.array_equal(logistic, classes[150:])
    assert np.array_equal(linear, classes[150:])


def test_only_the_logistic_head_standardises(blobs):
    features, classes = blobs
    inner = inner_splits(classes[:300], np.arange(300), seed=0)
    plain, _ = fit_predict_logistic(features[:300], classes[:300], features[300:], inner)
    shifted = features * np.float32(64.0) + np.float32(8.0)
    scaled, _ = fit_predict_logistic(shifted[:300], classes[:300], shifted[300:], inner)
    assert np.mean(plain == scaled) >= 0.98
    assert (
        np.mean(
            fit_predict_linear(features[:300], classes[:300], features[300:], num_classes=4, seed=0)
            == fit_predict_linear(shifted[:300], classes[:300], shifted[300:], num_classes=4, seed=0)
        )
        < 0.98
    )


def test_a_seed_fixes_the_paper_head_and_the_callers_random_state_stays(blobs):
    features, classes = blobs
    state = torch.get_rng_state()
    runs = [
        fit_predict_linear(features[:300], classes[:300], features[300:], num_classes=4, seed=seed)
        for seed in (0, 0, 1)
    ]
    assert torch.equal(torch.get_rng_state(), state)
    assert np.array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])


def test_a_class_that_training_lacks_is_never_predicted_but_does_no_harm(blobs):
    features, classes = blobs
    seen = classes[:300] != 2
    inner = inner_splits(classes[:300][seen], np.flatnonzero(seen), seed=0)
    logistic, _ = fit_predict_logistic(features[:300][seen], classes[:300][seen], features[300:], inner)
    assert 2 not in logistic and {0, 1, 3} <= set(logistic)


def test_c_is_chosen_by_cross_entropy_where_counting_errors_cannot_tell():
    # One clip in five is labelled at random: every C separates the rest, only a strong penalty is not overconfident.
    rng = np.random.default_rng(2)
    classes = rng.integers(0, 2, 300)
    features = rng.normal(scale=0.1, size=(300, 60)).astype(np.float32)
    features[:, 0] += 2.0 * classes
    labelled = np.where(rng.random(300) < 0.2, 1 - classes, classes)
    inner = inner_splits(labelled, np.arange(300), seed=0)
    predicted, chosen = fit_predict_logistic(features, labelled, features, inner)
    assert chosen < 0.1
    assert np.mean(predicted == classes) > 0.9


def test_held_out_clips_of_a_class_that_the_inner_training_lacks_do_not_weigh_in(blobs):
    features, classes = blobs
    lacking, rest = np.flatnonzero(classes == 2), np.flatnonzero(classes != 2)
    without = InnerSplits(((rest[:200], rest[200:]),), grouped=True)
    with_them = InnerSplits(((rest[:200], np.concatenate([lacking, rest[200:]])),), grouped=True)
    chosen = [fit_predict_logistic(features, classes, features, inner)[1] for inner in (without, with_them)]
    assert chosen[0] == chosen[1]


def test_layers_are_weighed_alike_from_memory_and_from_the_disk(tmp_path):
    rng = np.random.default_rng(0)
    classes = rng.integers(0, 3, 1500)
    layers = rng.normal(size=(1500, 4, 8)).astype(np.float32)
    layers[np.arange(1500), 1, classes] += 4.0
    np.save(tmp_path / "layers.npy", layers)
    mapped = np.load(tmp_path / "layers.npy", mmap_mode="r")
    train, test = np.arange(0, 1500, 2), np.arange(1, 1500, 2)
    from_disk = fit_predict_linear(RowsOf(mapped, train), classes[train], RowsOf(mapped, test), num_classes=3, seed=0)
    in_memory = fit_predict_linear(layers[train], classes[train], layers[test], num_classes=3, seed=0)
    assert np.array_equal(from_disk, in_memory)
    assert np.mean(from_disk == classes[test]) > 0.8


def test_weights_of_layers_are_a_softmax_that_begins_with_the_mean():
    layers = torch.randn(5, 3, 7, generator=torch.Generator().manual_seed(0))
    weighing = WeightedLayers(3)
    torch.testing.assert_close(weighing(layers), layers.mean(dim=1))
    with torch.no_grad():
        weighing.logits.copy_(torch.tensor([0.0, 50.0, 0.0]))
    torch.testing.assert_close(weighing(layers), layers[:, 1])


@pytest.fixture
def sounds() -> tuple[np.ndarray, np.ndarray]:
    """Features [300, 12] of very different scale, five overlapping labels, the last rare."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(300, 12))
    drive = features[:, :5] + 0.7 * rng.normal(size=(300, 5))
    labels = drive > np.array([0.0, 0.3, -0.5, 1.0, 1.8])
    return (features * np.geomspace(0.1, 10, 12)).astype(np.float32), labels


def one_vs_rest(c: float, features: np.ndarray, labels: np.ndarray, others: np.ndarray) -> np.ndarray:
    """scikit-learn's logits."""
    head = make_pipeline(StandardScaler(), OneVsRestClassifier(LogisticRegression(C=c, max_iter=1000, tol=1e-8)))
    return head.fit(features.astype(np.float64), labels).decision_function(others.astype(np.float64))


@pytest.mark.parametrize("refit", [None, np.arange(180)])
def test_several_labels_are_scikit_learns_one_vs_rest_with_the_c_of_least_cross_entropy(sounds, refit):
    features, labels = sounds
    inner = InnerSplits(((np.arange(150), np.arange(150, 220)),), grouped=True)
    scores, chosen = fit_predict_logistic(features[:220], labels[:220], features[220:], inner, refit)
    losses = []
    for c in C_GRID:
        logits = one_vs_rest(c, features[:150], labels[:150], features[150:220])
        losses.append(np.logaddexp(0, -np.where(labels[150:220], logits, -logits)).sum())
    assert chosen == C_GRID[int(np.argmin(losses))]
    rows = slice(220) if refit is None else slice(180)
    np.testing.assert_allclose(
        scores, one_vs_rest(chosen, features[rows], labels[rows], features[220:]), atol=0.02, rtol=0.01
    )


def test_the_papers_head_learns_several_labels_and_a_seed_fixes_it(sounds):
    features, labels = sounds
    features = features / features.std(axis=0)
    features, labels = np.tile(features[:200], (10, 1)), np.tile(labels[:200], (10, 1))  # more steps, nothing new
    first, again, other = (
        fit_predict_linear(features, labels, features[:200], num_classes=5, seed=seed) for seed in (0, 0, 1)
    )
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    assert np.mean((first[:, :3] > 0) == labels[:200, :3]) > 0.7


@pytest.mark.parametrize("several", [False, True])
def test_the_epoch_that_is_best_on_validation_predicts(blobs, several):
    features, classes = blobs
    targets = np.eye(4, dtype=bool)[classes] if several else classes

    def trained(num_epochs: int, asked: np.ndarray, valid: tuple[np.ndarray, np.ndarray] | None = None) -> np.ndarray:
        rates = [0.3] * num_epochs  # far too fast: the score jumps from epoch to epoch
        return fit_predict_adam(
            features[:200], targets[:200], asked, layers=lambda width: [torch.nn.Linear(width, 4)],
            lr_by_epoch=rates, batch_clips=32, seed=0, valid=valid,
        )  # fmt: skip

    scores = []
    for epoch in range(1, 7):
        found = trained(epoch, features[200:300])
        scores.append(
            average_precision_score(targets[200:300], found) if several else np.mean(found == targets[200:300])
        )
    best = 1 + int(np.argmax(scores))
    assert best < 6  # else the last would do
    chosen = trained(6, features[300:], (features[200:300], targets[200:300]))
    assert np.array_equal(chosen, trained(best, features[300:]))
