"""The published training of a structural probe, written anew in plain PyTorch: one layer, batches padded, Adam.

    python hewitt_manning.py ARRAYS.npz RANK EPOCHS

ARRAYS has, of train and of dev, the `vectors` of the words of all sentences one after another, the `distances` of each sentence's
tree, flattened likewise, and the `lengths` of the sentences; and, if the initial projection is to be given, `start`.

An epoch is a pass over train in random order, 20 sentences at a time, and one over dev. A batch is as long as its longest
sentence; all pairwise differences are laid out as a tensor of sentences x words x words x rank, squared and summed; the loss is the
mean over sentences of the L1 error over length squared; where dev does not fall, Adam's rate does, to a tenth.

Reference:
    Hewitt and Manning 2019, section 2.2 and appendix A, and the algorithm of their released code.
"""

import sys
from collections.abc import Iterator

import numpy as np
import torch
from taken import seconds, tell

BATCH, RATE = 20, 1e-3
Sentences = list[tuple[torch.Tensor, torch.Tensor]]


def sentences(arrays: dict, part: str) -> Sentences:
    """Take a split apart: of each sentence its vectors, `words hidden`, and distances, `words words`."""
    lengths = arrays[f"lengths_{part}"].tolist()
    vectors = torch.split(torch.tensor(arrays[f"vectors_{part}"]), lengths)
    squares = torch.split(torch.tensor(arrays[f"distances_{part}"]), [n * n for n in lengths])
    return [(v, square.reshape(n, n)) for v, square, n in zip(vectors, squares, lengths)]  # noqa: B905


def batches(given: Sentences, order: list[int]) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Pad sentences to the longest of each batch; distances of what is no word are -1."""
    for first in range(0, len(order), BATCH):
        some = [given[n] for n in order[first : first + BATCH]]
        lengths = torch.tensor([len(v) for v, _ in some])
        words = int(lengths.max())
        vectors = torch.zeros(len(some), words, some[0][0].shape[1])
        gold = torch.full((len(some), words, words), -1.0)
        for place, (v, square) in enumerate(some):
            vectors[place, : len(v)], gold[place, : len(v), : len(v)] = v, square
        yield vectors, gold, lengths


def loss(projection: torch.Tensor, vectors: torch.Tensor, gold: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Give the mean over sentences of the L1 error over length squared."""
    moved = vectors @ projection
    apart = moved.unsqueeze(2) - moved.unsqueeze(1)  # sentences words words rank
    real = (gold != -1).float()
    error = (apart.pow(2).sum(-1) * real - gold * real).abs()
    return (error.sum((1, 2)) / lengths.float().pow(2)).mean()


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(1)
    arrays, rank, epochs = np.load(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    train, dev = sentences(arrays, "train"), sentences(arrays, "dev")
    start = torch.empty(train[0][0].shape[1], rank).uniform_(-0.05, 0.05)
    projection = torch.nn.Parameter(torch.tensor(arrays["start"]) if "start" in arrays else start)
    optimizer = torch.optim.Adam([projection], lr=RATE)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.1, patience=0)
    of_train, of_dev = [], []

    def epoch() -> None:
        losses = []
        for batch in batches(train, torch.randperm(len(train)).tolist()):
            optimizer.zero_grad()
            value = loss(projection, *batch)
            value.backward()
            optimizer.step()
            losses.append(value.item())
        of_train.append(float(np.mean(losses)))
        with torch.no_grad():
            of_dev.append(float(np.mean([loss(projection, *b).item() for b in batches(dev, list(range(len(dev))))])))
        scheduler.step(of_dev[-1])

    with torch.no_grad():
        loss(projection, *next(batches(train, list(range(len(train))))))  # what a first call takes is no part of it
    took = seconds(lambda: [epoch() for _ in range(epochs)])
    tell(took / epochs, train_loss=of_train, dev_loss=of_dev)


if __name__ == "__main__":
    main()
