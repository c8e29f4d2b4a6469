"""Every probe trains as if it were alone: scripted losses show whose rate falls, who stops, and which epoch is kept."""

import numpy as np
import pytest

from bert_repro.probes.training import fit


class Script:
    """A loss with gradient 1 everywhere, so that each Adam step is as long as the rate, and dev losses read off a table."""

    def __init__(self, dev_losses, batches=2):
        self.dev_losses, self.batches = np.array(dev_losses, float), batches
        self.epoch, self.asked, self.parameters = -1, [], []  # after each epoch, of the layers still active

    def train(self, epoch):
        self.epoch = epoch
        return range(self.batches)

    def loss(self, parameters, batch, active, gradient):
        if gradient:
            return np.zeros(len(active)), np.ones_like(parameters)
        self.asked.append(active.tolist())
        self.parameters.append(dict(zip(active.tolist(), parameters.copy(), strict=True)))
        return self.dev_losses[self.epoch, active], None

    def fit(self, **options):
        layers = self.dev_losses.shape[1]
        options = {"epochs": len(self.dev_losses), "learning_rate": 0.01, **options}
        return fit(np.zeros((layers, 3, 2)), self.loss, self.train, lambda: [0], **options)

    def steps(self, layer):
        """How far a layer went in each epoch: its rate, as a multiple of the first."""
        path = [0.0, *(epoch[layer][0, 0] for epoch in self.parameters if layer in epoch)]
        return -np.diff(path) / (0.01 * self.batches)


FALLING, RISING = [1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3], [1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7]
MIXED = [1.0, 0.9, 0.95, 0.8, 0.85, 0.7, 0.65, 0.6]


def test_rate_falls_only_on_a_layers_own_plateau():
    script = Script(np.transpose([FALLING, RISING, MIXED]))
    script.fit()
    assert script.steps(0) == pytest.approx([1] * 8, rel=1e-5)
    assert script.steps(1) == pytest.approx([1, 1, 0.1, 0.01, 0.001, 0.0001], rel=1e-5)
    assert script.steps(2) == pytest.approx([1, 1, 1, 0.1, 0.1, 0.01, 0.01, 0.01], rel=1e-5)


def test_a_layer_stops_after_five_epochs_without_a_better_loss_and_no_longer_changes():
    script = Script(np.transpose([FALLING, RISING, MIXED]))
    result = script.fit()
    assert [1 in active for active in script.asked] == [True] * 6 + [False] * 2
    assert np.isnan(result.dev_loss[6:, 1]).all() and np.isnan(result.train_loss[6:, 1]).all()
    assert np.array_equal(result.dev_loss[:, [0, 2]], np.transpose([FALLING, MIXED]))
    alone = Script(np.transpose([RISING]))
    assert np.array_equal(alone.fit().parameters[0], result.parameters[1])
    assert len(alone.asked) == 6  # nobody is left: the job ends


def test_the_best_epochs_parameters_are_returned():
    script = Script(np.transpose([RISING, FALLING, MIXED[:5] + [0.9, 0.9, 0.9]]))
    result = script.fit()
    for layer, epoch in enumerate((0, 7, 3)):
        assert np.array_equal(result.parameters[layer], script.parameters[epoch][layer])
        assert result.dev_loss[epoch, layer] == np.nanmin(result.dev_loss[:, layer])


def test_a_better_loss_by_less_than_the_tolerance_keeps_the_rate_and_the_parameters_but_not_the_training():
    losses = 1 - 1e-5 * np.arange(8)
    script = Script(losses[:, None])
    result = script.fit()
    assert script.steps(0) == pytest.approx([1] * 6, rel=1e-5)
    assert np.array_equal(result.parameters[0], script.parameters[5][0])
    assert len(Script(losses[:, None]).fit(tolerance=1e-6).dev_loss) == 8
    assert len(Script(losses[:, None]).fit(patience=2).dev_loss) == 3


def test_a_loss_that_only_gets_worse_gives_the_first_epoch_back():
    """Descent on a loss of the wrong sign: the dev loss rises from the first step on."""

    def climbing(parameters, batch, active, gradient):
        return (parameters**2).sum((1, 2)), -2 * parameters if gradient else None

    start = np.ones((1, 2, 2))
    result = fit(start, climbing, lambda epoch: [0], lambda: [0], epochs=4)
    assert (np.diff(result.dev_loss[:, 0]) > 0).all()
    assert np.allclose(result.parameters, start + 1e-3, atol=1e-6)


TARGETS = np.random.default_rng(0).normal(size=(4, 5, 2)) * np.array([0.05, 1, 0.2, 0.01])[:, None, None]
NOISE = 0.1 * np.random.default_rng(1).normal(size=(40, 6, 4, 5, 2))  # epochs batches layers ...


def quadratic(layers):
    """Noisy regression to each layer's target; `layers` says which targets the job's slices belong to."""

    def loss(parameters, batch, active, gradient):
        difference = parameters - TARGETS[layers][active] - batch[layers][active]
        return (difference**2).mean((1, 2)), 2 * difference / 10 if gradient else None

    return loss


def train_quadratic(layers):
    layers = np.array(layers)
    start = np.zeros((len(layers), 5, 2), np.float32)
    batches = NOISE.astype(np.float32)
    return fit(
        start, quadratic(layers), lambda epoch: batches[epoch], lambda: [0 * batches[0, 0]],
        epochs=40, learning_rate=0.01,
    )  # fmt: skip


def test_joint_training_equals_separate_training():
    joint = train_quadratic([0, 1, 2, 3])
    stopped = (~np.isnan(joint.dev_loss)).sum(0)
    assert len(set(stopped.tolist())) > 2  # they do not stop together, else nothing would be shown
    for layer in range(4):
        alone = train_quadratic([layer])
        assert len(alone.dev_loss) == stopped[layer]
        assert np.allclose(alone.parameters[0], joint.parameters[layer], atol=1e-5)
        assert np.allclose(alone.dev_loss[:, 0], joint.dev_loss[: stopped[layer], layer], atol=1e-6)
        assert np.allclose(alone.train_loss[:, 0], joint.train_loss[: stopped[layer], layer], atol=1e-6)


def test_start_is_left_as_it_is():
    start = np.ones((2, 3))
    fit(start, lambda p, b, a, g: ((p**2).sum(1), 2 * p), lambda epoch: [0], lambda: [0], epochs=3)
    assert (start == 1).all()


def test_train_loss_is_the_mean_of_batches_and_dev_loss_too():
    result = fit(
        np.zeros((1, 1)),
        lambda p, b, a, g: (np.array([float(b)]), p),
        lambda e: [e, e + 1],
        lambda: [1, 2, 6],
        epochs=2,
    )
    assert result.train_loss[:, 0].tolist() == [0.5, 1.5]
    assert result.dev_loss[:, 0].tolist() == [3, 3]


@pytest.mark.parametrize("epochs", [0, -1])
def test_no_epoch_is_refused(epochs):
    with pytest.raises(ValueError, match=f"a probe needs at least 1 epoch, got {epochs}"):
        Script([[1.0]]).fit(epochs=epochs)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_loss_that_is_not_finite_is_refused_not_returned_as_an_untrained_probe(value):
    message = r"base: the dev loss of probes \[1\] is not finite: are all of their vectors\?"
    with pytest.raises(ValueError, match=message):
        Script([[1.0, 1.0], [0.9, value]]).fit(label="base")
