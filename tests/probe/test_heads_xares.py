import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

from whisper_aut.probe.heads import fit_predict_adam
from whisper_aut.probe.heads_xares import fit_predict_normed, learning_rates, predict_neighbours


@pytest.fixture
def blobs() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    classes = rng.integers(0, 4, 300)
    features = rng.normal(size=(4, 12))[classes] + rng.normal(size=(300, 12))
    return features.astype(np.float32), classes


def test_the_rate_of_each_epoch_is_torchs_cosine():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=10, eta_min=1e-4)
    expected = []
    for _ in range(10):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert learning_rates() == pytest.approx(expected)


def test_neighbours_vote_as_scikit_learns_with_the_same_similarity(blobs):
    features, classes = blobs
    ours = predict_neighbours(features[:200], classes[:200], features[200:], num_classes=4)

    known = features[:200] / np.linalg.norm(features[:200], axis=0)  # as X-ARES: by dimension, not by clip
    asked = features[200:] / np.linalg.norm(features[200:], axis=1, keepdims=True)
    reference = KNeighborsClassifier(10, metric="precomputed", weights=lambda far: np.exp((9 - far) / 0.07))
    expected = reference.fit(9 - known @ known.T, classes[:200]).predict(9 - asked @ known.T)
    assert np.array_equal(ours, expected)
    assert np.mean(ours == classes[200:]) > 0.6


def test_neighbours_are_those_of_x_ares(blobs):
    trainer = pytest.importorskip("xares.trainer", reason="X-ARES is not installed: the extra [bridges]")
    features, classes = blobs
    features = features * np.random.default_rng(1).uniform(0.1, 10, 12).astype(np.float32) + 3
    theirs = trainer.KNN(torch.from_numpy(features[:200]), torch.from_numpy(classes[:200]), num_classes=4)
    expected = theirs(torch.from_numpy(features[200:])).argmax(dim=1)
    ours = predict_neighbours(features[:200], classes[:200], features[200:], num_classes=4)
    assert ours.tolist() == expected.tolist()


def test_the_head_after_ten_epochs_is_that_of_x_ares(blobs, tmp_path):
    """X-ARES' own model and trainer, given our order of clips: every prediction is the same."""
    trainer = pytest.importorskip("xares.trainer", reason="X-ARES is not installed: the extra [bridges]")
    simple = pytest.importorskip("xares.models.simple", reason="X-ARES is not installed: the extra [bridges]")
    features, classes = blobs
    inputs, targets = torch.from_numpy(features), torch.from_numpy(classes)
    order = torch.Generator().manual_seed(5)

    class Batches:
        """As X-ARES' loader gives them: ((features [B, D, T], lengths), classes, names), in a new order each epoch."""

        def __iter__(self):
            for rows in torch.randperm(200, generator=order).split(32):
                yield (inputs[rows][..., None], torch.ones(len(rows), dtype=torch.long)), targets[rows], None

        def __len__(self):
            return 7

    held_out = [((inputs[200:][..., None], torch.ones(100, dtype=torch.long)), targets[200:], None)]
    torch.manual_seed(5)
    theirs = trainer.Trainer(simple.Mlp(12, 4), device="cpu", lr=1e-3, ckpt_dir=tmp_path)
    theirs.run(Batches(), held_out)
    with torch.no_grad():
        expected = theirs.model(inputs[200:])[0].argmax(dim=1)
    ours = fit_predict_normed(features[:200], classes[:200], features[200:], num_classes=4, seed=5)
    assert ours.tolist() == expected.tolist()


def test_fewer_clips_than_neighbours_all_vote():
    features = np.array([[1.0, 0.0], [0.0, 1.0], [0.1, 1.0]], dtype=np.float32)
    found = predict_neighbours(
        features, np.array([0, 1, 1]), np.array([[1.0, 0.1], [0.0, 0.0]], np.float32), num_classes=3
    )
    assert found.tolist() == [0, 1]  # a vector of zeros is equally near to all: the most votes


def test_the_head_ignores_the_scale_and_shift_of_a_clip():
    rng = np.random.default_rng(1)
    classes = rng.integers(0, 4, 3000)  # enough that ten epochs of 1e-3 get somewhere
    features = (1.5 * rng.normal(size=(4, 12))[classes] + rng.normal(size=(3000, 12))).astype(np.float32)
    changed = rng.uniform(0.5, 20, size=(3000, 1)).astype(np.float32) * features + 3
    plain, scaled = (
        fit_predict_normed(one[:2500], classes[:2500], one[2500:], num_classes=4, seed=0) for one in (features, changed)
    )
    assert np.mean(plain == scaled) >= 0.98
    assert np.mean(plain == classes[2500:]) > 0.8


def test_one_step_is_adams(blobs):
    """One epoch of one batch, against torch by hand."""
    features, classes = blobs
    seen = []

    class Probe(torch.nn.Linear):
        def forward(self, inputs):
            seen.append(self.weight.detach().clone())
            return super().forward(inputs)

    fit_predict_adam(
        features, classes, features, layers=lambda width: [Probe(width, 4)], lr_by_epoch=[0.5, 0.25], batch_clips=300,
        seed=0,
    )  # fmt: skip
    first, second, third = seen  # two steps and the prediction
    # Adam's first step moves each weight by its rate, whatever the gradient.
    assert torch.allclose((second - first).abs(), torch.tensor(0.5), atol=1e-3)
    assert (third - second).abs().max() < 0.26


def test_of_several_labels_each_gets_its_share_of_the_votes(blobs):
    features, classes = blobs
    labels = np.eye(4, dtype=bool)[classes]
    labels[::4] |= np.eye(4, dtype=bool)[(classes[::4] + 1) % 4]
    ours = predict_neighbours(features[:200], labels[:200], features[200:], num_classes=4)

    known = features[:200] / np.linalg.norm(features[:200], axis=0)  # each dimension over the clips, as in X-ARES
    asked = features[200:] / np.linalg.norm(features[200:], axis=1, keepdims=True)
    reference = KNeighborsClassifier(10, metric="precomputed", weights=lambda distances: np.exp(-distances / 0.07))
    reference.fit(np.zeros((200, 200)), labels[:200])
    theirs = reference.predict_proba(2 - asked @ known.T)  # distances are not negative
    np.testing.assert_allclose(ours, np.stack([of_class[:, 1] for of_class in theirs], axis=1), atol=1e-5)
