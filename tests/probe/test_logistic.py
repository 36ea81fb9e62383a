import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from whisper_aut.probe import logistic
from whisper_aut.probe.logistic import LogisticPath

GRID = (1e-3, 1e-2, 0.1, 1.0, 10.0)


def correlated(num_classes: int, num_clips: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Standardised features [N, 24] whose principal axes differ a thousandfold in variance, and overlapping classes."""
    rng = np.random.default_rng(0)
    classes = np.concatenate([np.arange(num_classes), rng.integers(0, num_classes, num_clips - num_classes)])
    axes, _ = np.linalg.qr(rng.normal(size=(24, 24)))
    features = (rng.normal(size=(num_classes, 24))[classes] + 2 * rng.normal(size=(num_clips, 24))) @ (
        axes * np.geomspace(0.03, 1, 24)
    )
    features = features @ rng.normal(size=(24, 24))
    return (features - features.mean(0)) / features.std(0), classes


@pytest.mark.parametrize("num_classes", [2, 3, 12])
def test_the_optimum_is_scikit_learns(num_classes):
    features, classes = correlated(num_classes)
    for fit in LogisticPath(features, classes).fits(GRID, tolerance=1e-6):
        reference = LogisticRegression(C=fit.c, tol=1e-10, max_iter=100_000).fit(features, classes)
        expected = reference.predict_log_proba(features)
        np.testing.assert_allclose(np.exp(fit.log_probabilities(features)), np.exp(expected), atol=1e-4)
        weights = fit.weights[:, 1:] - fit.weights[:, :-1]  # differences: a common shift changes no probability
        theirs = reference.coef_.T if num_classes == 2 else reference.coef_.T[:, 1:] - reference.coef_.T[:, :-1]
        np.testing.assert_allclose(weights, theirs, atol=1e-3 * np.abs(theirs).max())


def test_a_fit_does_not_depend_on_the_grid_around_it():
    features, classes = correlated(5)
    in_path = {fit.c: fit for fit in LogisticPath(features, classes).fits(GRID, tolerance=1e-6)}
    for c in GRID:
        (alone,) = LogisticPath(features, classes).fits([c], tolerance=1e-6)
        np.testing.assert_allclose(alone.weights, in_path[c].weights, atol=1e-3 * np.abs(alone.weights).max())


def test_the_usual_tolerance_is_good_enough_for_every_probability():
    features, classes = correlated(12)
    path = LogisticPath(features, classes)
    for fit, exact in zip(path.fits(GRID), path.fits(GRID, tolerance=1e-6), strict=True):
        found, expected = fit.log_probabilities(features), exact.log_probabilities(features)
        np.testing.assert_allclose(np.exp(found), np.exp(expected), atol=5e-3)
        assert np.mean(found.argmax(1) == expected.argmax(1)) > 0.995


def test_clips_in_chunks_give_the_same_fit(monkeypatch):
    features, classes = correlated(4)
    (whole,) = LogisticPath(features, classes).fits([0.1], tolerance=1e-6)
    monkeypatch.setattr(logistic, "CHUNK_CLIPS", 37)
    (chunked,) = LogisticPath(features, classes).fits([0.1], tolerance=1e-6)
    np.testing.assert_allclose(chunked.weights, whole.weights, atol=1e-6 * np.abs(whole.weights).max())


def test_a_fit_that_does_not_converge_is_no_result(monkeypatch):
    features, classes = correlated(4)
    monkeypatch.setattr(logistic, "MAX_ITERATIONS", 2)
    with pytest.raises(RuntimeError, match="does not converge"):
        list(LogisticPath(features, classes).fits([10.0]))


def test_more_features_than_clips_and_a_constant_feature():
    rng = np.random.default_rng(1)
    features = rng.normal(size=(40, 100))
    features[:, 7] = 0.0
    classes = np.arange(40) % 4
    (fit,) = LogisticPath(features, classes).fits([0.1], tolerance=1e-6)
    reference = LogisticRegression(C=0.1, tol=1e-10, max_iter=10_000).fit(features, classes)
    np.testing.assert_allclose(fit.log_probabilities(features), reference.predict_log_proba(features), atol=1e-4)
    assert np.abs(fit.weights[7]).max() < 1e-6


def labelled(num_clips: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Correlated features [N, 24] and six labels of very different share, several of them a clip."""
    features, _ = correlated(4, num_clips)
    rng = np.random.default_rng(3)
    drive = features @ rng.normal(size=(24, 6)) / 5 + rng.logistic(size=(num_clips, 6))
    return features, drive > np.quantile(drive, [0.3, 0.5, 0.7, 0.9, 0.95, 0.98], axis=0).diagonal()


def test_several_labels_have_scikit_learns_binomial_optimum_each():
    features, labels = labelled()
    assert labels.mean(axis=0) == pytest.approx([0.7, 0.5, 0.3, 0.1, 0.05, 0.02], abs=0.01)
    for fit in LogisticPath(features, labels).fits(GRID, tolerance=1e-6):
        for number, has in enumerate(labels.T):
            reference = LogisticRegression(C=fit.c, tol=1e-10, max_iter=100_000).fit(features, has)
            expected = reference.decision_function(features)
            np.testing.assert_allclose(fit.logits(features)[:, number], expected, atol=1e-3 * np.abs(expected).max())


def test_the_usual_tolerance_is_good_enough_for_several_labels():
    features, labels = labelled()
    path = LogisticPath(features, labels)
    for fit, exact in zip(path.fits(GRID), path.fits(GRID, tolerance=1e-6), strict=True):
        found, expected = (1 / (1 + np.exp(-one.logits(features))) for one in (fit, exact))
        np.testing.assert_allclose(found, expected, atol=5e-3)


def test_a_label_that_no_clip_has_or_every_one_does_no_harm():
    features, labels = labelled(100)
    labels[:, 0], labels[:, 1] = False, True
    for fit in LogisticPath(features, labels).fits(GRID):
        logits = fit.logits(features)
        assert np.isfinite(logits).all() and (logits[:, 0] < -3).all() and (logits[:, 1] > 3).all()
