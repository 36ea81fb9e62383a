"""L2 logistic regression for probes: scikit-learn's optimum, for tens of thousands of clips, on any device.

Multinomial where a clip has one class; where it may have several, a yes-or-no regression for each, solved together.

Legend: N clips, D embedding width, C classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.optimize
import torch
from torch import Tensor, nn

# Largest entry of the gradient of the mean loss at which a fit ends, in coordinates where the curvature is about one:
# with P parameters the mean loss is then within about P * 1e-8 / 2 of its minimum.
GRADIENT_TOLERANCE = 1e-4
MAX_ITERATIONS = 2000
MEMORY = 10  # pairs that L-BFGS keeps
CHUNK_CLIPS = 16_384  # rows at a time, so that the logits of a large task stay small


@dataclass(frozen=True)
class LogisticFit:
    """A fitted head.

    Attributes:
        c: inverse strength of the penalty, as scikit-learn's ``C``.
        weights: float64 [D, C].
        biases: float64 [C].
        num_iterations: of L-BFGS.
    """

    c: float
    weights: np.ndarray
    biases: np.ndarray
    num_iterations: int

    def logits(self, features: np.ndarray) -> np.ndarray:
        """float64 [N, C] for features [N, D]."""
        return np.asarray(features.astype(np.float64) @ self.weights + self.biases)

    def log_probabilities(self, features: np.ndarray) -> np.ndarray:
        """float64 [N, C] for features [N, D], of a multinomial regression."""
        logits = self.logits(features)
        shifted = logits - logits.max(axis=1, keepdims=True)
        return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


class LogisticPath:
    """Fits of the same clips for many C, which share their preparation; each starts from the one before.

    Minimises, as scikit-learn does, ``sum of cross entropies + |weights|² / (2 C)``, biases free; for two classes
    ``|difference of the two weight vectors|² / (2 C)``, scikit-learn's binomial form; for several labels a clip the sum
    over classes of scikit-learn's binomial problems.

    L-BFGS works in coordinates in which the problem is nearly round: rotated to the principal axes of the features,
    which leaves the penalty as it is, and scaled by the inverse square root of a fixed estimate of the curvature (that
    of equal class probabilities, or of each label's own share, plus the penalty). Whisper's features are strongly
    correlated; without this the same optimum takes about ten times the iterations.
    """

    def __init__(self, features: np.ndarray, targets: np.ndarray, *, device: str = "cpu") -> None:
        """Prepare.

        Args:
            features: standardised, float [N, D].
            targets: class numbers from 0, int [N]; or where clips may have several labels, bool [N, C].
            device: where the products are computed.
        """
        # float64: near a weak penalty's optimum the gradient is smaller than float32's rounding of a sum over clips.
        rows = torch.as_tensor(np.ascontiguousarray(features, dtype=np.float64), device=device)
        curvature, self._axes = torch.linalg.eigh(rows.T @ rows / len(rows))  # [D], [D, D]
        self._rows = rows @ self._axes
        self._several = targets.ndim == 2
        kind = np.float64 if self._several else np.int64
        self._targets = torch.as_tensor(np.ascontiguousarray(targets, dtype=kind), device=device)
        if self._several:
            # A class that no clip has, or every one, counts half a clip, so that its curvature is not zero.
            counts = self._targets.sum(dim=0).clamp(0.5, len(rows) - 0.5)
            share = counts / len(rows)  # [C]
            self._first_biases = torch.logit(share).cpu().numpy()
        else:
            num_classes = int(self._targets.max()) + 1
            share = torch.full((num_classes,), 1.0 / num_classes, dtype=torch.float64, device=device)
            self._first_biases = np.zeros(num_classes)
        self._num_classes = len(share)
        self._class_curvature = share * (1.0 - share)  # [C]
        self._curvature = curvature.clamp(min=0.0)  # [D]

    def fits(self, grid: Sequence[float], *, tolerance: float = GRADIENT_TOLERANCE) -> Iterator[LogisticFit]:
        """One fit for each C, in the order given; ascending is quickest.

        Raises:
            RuntimeError: a fit does not converge. A head that did not converge is no result.
        """
        width, num_classes = len(self._curvature), self._num_classes
        rotated, biases = np.zeros((width, num_classes)), self._first_biases
        bias_scale = self._class_curvature.rsqrt()  # [C]
        for c in grid:
            penalty = (2.0 if num_classes == 2 and not self._several else 1.0) / (c * len(self._rows))
            scale = (self._curvature[:, None] * self._class_curvature + penalty).rsqrt()  # [D, C]
            scales = torch.cat([scale, bias_scale[None]]).cpu().numpy()  # [D + 1, C]
            found = scipy.optimize.minimize(
                self._loss,
                (np.vstack([rotated, biases]) / scales).ravel(),
                args=(scale, bias_scale, penalty),
                jac=True,
                method="L-BFGS-B",
                options={"maxiter": MAX_ITERATIONS, "gtol": tolerance, "ftol": 0.0, "maxcor": MEMORY},
            )
            if not found.success:
                raise RuntimeError(f"the logistic regression with C {c:g} does not converge: {found.message}")
            solution = found.x.reshape(width + 1, num_classes) * scales
            rotated, biases = solution[:-1], solution[-1]
            yield LogisticFit(c, self._axes.cpu().numpy() @ rotated, biases, int(found.nit))

    def _loss(self, flat: np.ndarray, scale: Tensor, bias_scale: Tensor, penalty: float) -> tuple[float, np.ndarray]:
        """Mean loss with penalty, and its gradient, at scaled and rotated parameters [(D + 1) * C]."""
        parameters = torch.as_tensor(flat, device=scale.device).reshape(-1, self._num_classes)
        weights = scale * parameters[:-1]  # float64 [D, C]
        biases = bias_scale * parameters[-1]
        loss = torch.zeros((), dtype=torch.float64, device=scale.device)
        weights_grad, biases_grad = torch.zeros_like(weights), torch.zeros_like(biases)
        for rows, targets in zip(self._rows.split(CHUNK_CLIPS), self._targets.split(CHUNK_CLIPS), strict=True):
            compute = _sigmoid if self._several else _softmax
            chunk_loss, residuals = compute(torch.addmm(biases, rows, weights), targets)
            loss += chunk_loss
            weights_grad += rows.T @ residuals
            biases_grad += residuals.sum(dim=0)
        num_clips = len(self._rows)
        loss = loss / num_clips + 0.5 * penalty * weights.square().sum()
        weights_grad = scale * (weights_grad / num_clips + penalty * weights)
        gradient = torch.cat([weights_grad, bias_scale * biases_grad[None] / num_clips])
        return float(loss), gradient.ravel().cpu().numpy()


def _softmax(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Cross entropy summed over clips, and its gradient by the logits [N, C]."""
    log_probabilities = nn.functional.log_softmax(logits, dim=1)
    loss = nn.functional.nll_loss(log_probabilities, targets, reduction="sum")
    residuals = log_probabilities.exp_()
    residuals[torch.arange(len(targets), device=targets.device), targets] -= 1.0
    return loss, residuals


def _sigmoid(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Binary cross entropy summed over clips and classes, and its gradient by the logits [N, C]."""
    loss = nn.functional.binary_cross_entropy_with_logits(logits, targets, reduction="sum")
    return loss, logits.sigmoid_().sub_(targets)
