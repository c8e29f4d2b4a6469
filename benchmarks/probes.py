"""Structural probes: all layers at once beside the published algorithm, a layer at a time.

    python benchmarks/probes.py [--model minilm] [--train ewt:train] [--dev ewt:dev] [--rank 128] [--batches 60]

The plain side is the published algorithm written down in PyTorch: one layer, batches of 20 sentences in the order of the corpus,
all pairwise differences as a tensor of sentences x words x words x rank, Adam. It runs on some batches, and its epoch is
extrapolated. Both sides have the same two threads; quote the ratios, not the seconds. The plain side needs an environment of its
own (.venv-torch); where that is missing it is left out.
"""

import argparse
import json
import resource
import subprocess
import tempfile
import time

import numpy as np
from table import Row, seconds, write

from bert_repro import corpora, states
from bert_repro.files import ROOT
from bert_repro.probes import scores, structural, treebank

TORCH = ROOT / ".venv-torch" / "bin" / "python"
PLAIN = """
import json, sys, time
import numpy as np, torch
torch.set_num_threads(2)
given, rank = np.load(sys.argv[1]), int(sys.argv[2])
vectors, distances, lengths = (torch.tensor(given[name]) for name in ("vectors", "distances", "lengths"))
torch.manual_seed(1)
projection = torch.nn.Parameter(torch.empty(vectors.shape[-1], rank).uniform_(-0.05, 0.05))
optimizer = torch.optim.Adam([projection], lr=1e-3)
begin, at, flat, square = time.perf_counter(), 0, 0, 0
for start in range(0, len(lengths), 20):
    some = lengths[start:start + 20].tolist()
    words = max(some)
    batch = torch.zeros(len(some), words, vectors.shape[-1])
    gold = torch.full((len(some), words, words), -1.0)
    for i, n in enumerate(some):
        batch[i, :n], gold[i, :n, :n] = vectors[flat:flat + n], distances[square:square + n * n].reshape(n, n)
        flat, square = flat + n, square + n * n
    moved = batch @ projection
    apart = moved.unsqueeze(2) - moved.unsqueeze(1)  # sentences words words rank
    predicted = apart.pow(2).sum(-1)
    real = (gold != -1).float()
    error = (predicted - gold).abs() * real
    loss = (error.sum((1, 2)) / torch.tensor(some).float().pow(2)).mean()
    optimizer.zero_grad(); loss.backward(); optimizer.step()
print(json.dumps(time.perf_counter() - begin))
"""


def plain(bank: treebank.Treebank, read, layer: int, rank: int, batches: int) -> float:
    """Give the seconds of an epoch of the plain side, extrapolated from some batches drawn from all of the corpus."""
    count = len(bank.rows)
    starts = np.linspace(0, count - 20, min(batches, count // 20)).astype(int)
    chosen = [n for start in starts for n in range(start, start + 20)]
    rows = np.unique(np.concatenate([bank.rows[n] + np.arange(bank.lengths[n]) for n in chosen]))
    vectors = read.vectors(rows, [layer])[0]
    place = {row: i for i, row in enumerate(rows.tolist())}
    order = np.concatenate([[place[bank.rows[n] + k] for k in range(bank.lengths[n])] for n in chosen])
    with tempfile.NamedTemporaryFile(suffix=".npz") as file:
        np.savez(
            file, vectors=vectors[order], lengths=bank.lengths[chosen],
            distances=np.concatenate([bank.distances[n].ravel() for n in chosen]).astype(np.float32),
        )  # fmt: skip
        done = subprocess.run([TORCH, "-c", PLAIN, file.name, str(rank)], capture_output=True, text=True, check=True)
    return json.loads(done.stdout) * count / len(chosen)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="minilm")
    parser.add_argument("--train", default="ewt:train")
    parser.add_argument("--dev", default="ewt:dev")
    parser.add_argument("--rank", type=int, default=128)
    parser.add_argument("--batches", type=int, default=60)
    given = parser.parse_args()

    read = states.get_all(given.model, [given.train, given.dev])
    banks: list[treebank.Treebank] = []
    begin = time.perf_counter()
    for reference, one in zip((given.train, given.dev), read, strict=True):
        banks.append(treebank.treebank(corpora.treebank(reference).items, one.rows))
        _ = banks[-1].distances
    print(
        f"reading {given.train} and {given.dev}, and all tree distances: {time.perf_counter() - begin:.1f} s (target 5)"
    )

    epochs = {}
    for layers in ([read[0].layers // 2], list(range(read[0].layers))):
        probe = structural.StructuralProbe("distance", layers, given.rank, epochs=1)
        # an epoch of training with its look at dev; the second of two, as the first reads the disk
        for _ in range(2):
            epochs[len(layers)] = seconds(lambda p=probe: p.fit(banks[0], read[0], banks[1], read[1])) / len(layers)
    every = read[0].layers
    ours = f"a layer's epoch of distance probes on {given.train}, of {every} layers together"
    rows = [Row(ours, epochs[every], "one layer alone", epochs[1], aim=1)]
    if TORCH.exists():
        theirs = plain(banks[0], read[0], every // 2, given.rank, given.batches)
        rows.append(Row(ours, epochs[every], "plain PyTorch, one layer", theirs, aim=15))
    write("structural probe", rows)
    scored = seconds(lambda: scores.score_distances(banks[1], probe.predict(banks[1], read[1])))
    print(f"evaluating {given.dev} for {every} layers: {scored:.1f} s (target 5)")
    print(f"peak memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB")


if __name__ == "__main__":
    main()
