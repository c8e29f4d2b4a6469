"""Training many probes at once: Adam with a schedule and early stopping, separately for every layer.

Layers never influence one another: parameters, gradients, learning rates, best weights and the moment of stopping
are per layer, so that training thirteen layers together gives what training each alone would.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from tqdm import tqdm

Parameters = Float[np.ndarray, "layers ..."]


class Fit(NamedTuple):
    """Trained parameters of every layer, and the losses of every epoch (NaN after a layer has stopped)."""

    parameters: Parameters
    train_loss: Float[np.ndarray, "epochs layers"]
    dev_loss: Float[np.ndarray, "epochs layers"]


def fit(
    start: Parameters,
    loss: Callable[..., tuple[Float[np.ndarray, " active"], Parameters | None]],
    train: Callable[[int], Iterable[object]],
    dev: Callable[[], Iterable[object]],
    *,
    epochs: int,
    learning_rate: float = 1e-3,
    decay: float = 0.1,
    patience: int = 5,
    tolerance: float = 1e-4,
    label: str = "probe",
) -> Fit:
    """Train one probe per layer with Adam, all layers at once.

    Args:
        start: Initial parameters, one slice a layer.
        loss: Function of (parameters of the active layers, batch, numbers of the active layers, whether the gradient is wanted);
            gives each layer's loss and its gradient (or None).
        train: Gives the batches of an epoch by its number.
        dev: Gives the development batches; their losses are averaged with equal weight.
        epochs: Most epochs.
        learning_rate: Learning rate of Adam, at the start.
        decay: A layer's rate is multiplied by this after an epoch without a better dev loss.
        patience: A layer stops after this many epochs without a dev loss better by `tolerance`.
        tolerance: See `patience`.
        label: Shown beside the progress bar.

    Raises:
        ValueError: No epoch, or a dev loss that is not finite.

    Reference:
        Hewitt and Manning 2019, appendix A, as released: the optimiser's moments are kept when the rate falls.
    """
    if epochs < 1:
        raise ValueError(f"a probe needs at least 1 epoch, got {epochs}")
    best, parameters = start.copy(), start.copy()
    layers = len(start)
    first, second = np.zeros_like(start), np.zeros_like(start)
    rate, lowest, since = np.full(layers, learning_rate), np.full(layers, np.inf), np.zeros(layers, int)
    reached = np.full(layers, np.inf)
    active, step = np.arange(layers), 0
    history = np.full((2, epochs, layers), np.nan)
    with tqdm(range(epochs), desc=label, unit=" epoch", mininterval=1) as bar:
        for epoch in bar:
            losses = []
            for batch in train(epoch):
                step += 1
                values, gradient = loss(parameters[active], batch, active, True)
                losses.append(values)
                assert gradient is not None
                first[active] += 0.1 * (gradient - first[active])
                second[active] += 0.001 * (gradient**2 - second[active])
                corrected = np.sqrt(second[active] / (1 - 0.999**step)) + 1e-8
                size = rate[active].reshape(-1, *[1] * (start.ndim - 1))
                parameters[active] -= (size * first[active] / (1 - 0.9**step) / corrected).astype(start.dtype)
            history[0, epoch, active] = np.mean(losses, axis=0)
            now = np.full(layers, np.inf)
            now[active] = np.mean([loss(parameters[active], batch, active, False)[0] for batch in dev()], axis=0)
            if not np.isfinite(now[active]).all():
                wrong = active[~np.isfinite(now[active])].tolist()
                raise ValueError(f"{label}: the dev loss of probes {wrong} is not finite: are all of their vectors?")
            history[1, epoch, active] = now[active]
            better = now < lowest
            best[better] = parameters[better]
            lowest = np.minimum(lowest, now)
            rate[~better] *= decay
            clearly = now < reached - tolerance
            reached[clearly], since[clearly] = now[clearly], 0
            since[~clearly] += 1
            active = active[since[active] < patience]
            bar.set_postfix_str("dev loss " + " ".join(f"{value:.3f}" for value in lowest))
            if not len(active):
                break
    return Fit(best, history[0, : epoch + 1], history[1, : epoch + 1])
