"""Fine-tuning and read-out on Keras' three backends: the same steps from the same start, in micro-batches as well."""

import os
import subprocess
import sys

import numpy as np
import pytest

from bert_repro.files import ROOT

SCRIPT = """
import sys
import numpy as np
from bert_repro import encoder
from bert_repro.checkpoints.families import Config
from bert_repro.finetune.heads.pairs import PairClassifier
from bert_repro.finetune.network import Network

draw = np.random.default_rng(0)
config = Config(50, 16, 2, 2, 32, 96, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
# not what Keras draws: every backend has its own
start = {k: draw.normal(size=v.shape).astype("f4") / 4 for k, v in encoder.export(encoder.build(config), config).items()}
names = ["contradiction", "entailment", "neutral"]
head = [draw.normal(size=shape).astype("f4") / 4 for shape in ((16, 16), (16,), (16, 3), (3,))]
batches = []
for _ in range(12):
    token_ids = draw.integers(0, 50, (8, 64)).astype("i4")
    mask = (np.arange(64) < draw.integers(5, 65, (8, 1))).astype("i4")
    inputs = {"token_ids": token_ids, "segment_ids": token_ids % 2, "mask": mask}
    batches.append((inputs, {"label": token_ids[:, 5] % 3 - (np.arange(8) == 1) * 3}))


def train(frozen, parts, precision="float32"):
    network = Network(config, start, PairClassifier(names), frozen_layers=frozen, precision=precision)
    for variable, array in zip(network.added, head, strict=True):
        variable.assign(array)
    network.compile(1e-3, 1e-2, 12, parts)
    return network, np.array([network.step(*batch) for batch in batches])


network, losses = train(1, 1)
kept = {f"loss {number}": loss for number, loss in enumerate(losses)}
kept |= network.predict(inputs) | network.export()
network.restore(network.state())
best = network.learned()
network.step(*batches[-1])
network.assign(best)  # what was learned is a copy, not a view of what goes on learning
assert all(np.array_equal(kept[key], array) for key, array in network.export().items())

whole, parts = train(0, 1), train(0, 4)
# words that occur again and again: what a row of the embeddings learns is of all of them together
kept |= {f"all: loss {number}": loss for number, loss in enumerate(whole[1])}
kept |= {f"all: {name}": array for name, array in whole[0].export().items()}
for one, other in zip(whole[0].learned(), parts[0].learned(), strict=True):
    assert np.abs(one - other).max() < 1e-5
half = train(0, 2, "float16")
assert half[0].trained.optimizer.dynamic_scale == 2**15
assert 0 < np.abs(half[1] - whole[1]).max() < 0.02
np.savez(sys.argv[1], **kept)
"""


@pytest.fixture(scope="module")
def by_backend(tmp_path_factory):
    other = ROOT / ".venv-torch" / "bin" / "python"
    if not other.exists():
        how = "python3 -m venv .venv-torch && .venv-torch/bin/pip install torch==2.13.0 jax==0.10.2 -e ."
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"no other backend: {how}")
    arrays = {}
    for backend, python in (("tensorflow", sys.executable), ("jax", other), ("torch", other)):
        path = tmp_path_factory.mktemp(backend) / "kept.npz"
        environment = os.environ | {
            "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
            "KERAS_BACKEND": backend,
            "PYTHONPATH": str(ROOT),
            "CUDA_VISIBLE_DEVICES": "-1",
        }
        subprocess.run([python, "-c", SCRIPT, path], env=environment, check=True, cwd=ROOT)
        with np.load(path) as file:
            arrays[backend] = dict(file)
    return arrays


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_a_training_step_is_the_same_on_every_backend(by_backend, backend):
    expected, found = by_backend["tensorflow"], by_backend[backend]
    assert expected.keys() == found.keys() and expected["loss 0"] != expected["loss 11"]
    for key, array in expected.items():
        assert found[key] == pytest.approx(array, rel=1e-3, abs=2e-4), key
