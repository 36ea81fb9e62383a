import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from whisper_aut.probe.heads import C_GRID
from whisper_aut.probe.multilabel import _fit_predict, scores_linear, scores_logistic
from whisper_aut.probe.splits import InnerSplits


@pytest.fixture
def sounds() -> tuple[np.ndarray, np.ndarray]:
    """Features [300, 12] of very different scale, five overlapping labels, the last rare."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(300, 12))
    drive = features[:, :5] + 0.7 * rng.normal(size=(300, 5))
    labels = drive > np.array([0.0, 0.3, -0.5, 1.0, 1.8])
    return (features * np.geomspace(0.1, 10, 12)).astype(np.float32), labels


@pytest.mark.parametrize("c", [C_GRID[2], 0.1, C_GRID[-1]])
def test_the_logistic_heads_are_scikit_learns_one_vs_rest(sounds, c):
    features, labels = sounds
    ours = _fit_predict(features[:200], labels[:200], features[200:], c)
    reference = make_pipeline(StandardScaler(), OneVsRestClassifier(LogisticRegression(C=c, max_iter=1000, tol=1e-8)))
    reference.fit(features[:200].astype(np.float64), labels[:200])
    theirs = reference.decision_function(features[200:].astype(np.float64))
    np.testing.assert_allclose(ours, theirs, atol=0.03)


def test_the_chosen_c_has_the_least_cross_entropy_on_the_held_out_clips(sounds):
    features, labels = sounds
    inner = InnerSplits(((np.arange(150), np.arange(150, 220)),), grouped=True)
    scores, chosen = scores_logistic(features[:220], labels[:220], features[220:], inner)
    losses = []
    for c in C_GRID:
        logits = _fit_predict(features[:150], labels[:150], features[150:220], c)
        losses.append(np.logaddexp(0, -np.where(labels[150:220], logits, -logits)).sum())
    assert chosen == C_GRID[int(np.argmin(losses))]
    np.testing.assert_array_equal(scores, _fit_predict(features[:220], labels[:220], features[220:], chosen))


def test_only_the_rows_to_refit_on_train_the_tested_head(sounds):
    features, labels = sounds
    inner = InnerSplits(((np.arange(150), np.arange(150, 220)),), grouped=True)
    refit = np.arange(180)
    scores, chosen = scores_logistic(features[:220], labels[:220], features[220:], inner, refit)
    np.testing.assert_array_equal(scores, _fit_predict(features[:180], labels[:180], features[220:], chosen))


def test_a_class_that_a_fit_lacks_does_no_harm(sounds):
    features, labels = sounds
    labels = labels.copy()
    labels[:, 4] = False
    assert np.isfinite(_fit_predict(features[:200], labels[:200], features[200:], 1.0)).all()


def test_the_papers_head_learns_the_labels_and_a_seed_fixes_it(sounds):
    features, labels = sounds
    features = features / features.std(axis=0)
    features, labels = np.tile(features[:200], (10, 1)), np.tile(labels[:200], (10, 1))  # more steps, nothing new
    state = torch.get_rng_state()
    first, again, other = (scores_linear(features, labels, features[:200], seed=s) for s in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    assert np.mean((first[:, :3] > 0) == labels[:200, :3]) > 0.7
