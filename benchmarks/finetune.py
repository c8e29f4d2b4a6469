"""Fine-tuning: real wordpieces per second beside a plain PyTorch loop, and what frozen layers save.

    python benchmarks/finetune.py [--full] [--model minilm]

Both sides run in turns on the same machine, with the same encoder, task, batch size and optimiser: quote the ratios, not the
seconds, which are of CPU time (see `table.py`). In full, every number of frozen blocks is measured, with more updates and rounds. The
plain loop takes its batches in the order of the corpus, padded to their longest; ours are of similar length. It needs an
environment of its own (.venv-torch); where that is missing it is left out.
"""

import argparse
import json
import os
import subprocess
import tempfile
import time

import numpy as np
from table import Row, write

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from bert_repro import checkpoints, corpora
from bert_repro.checkpoints import Checkpoint
from bert_repro.files import ROOT
from bert_repro.finetune import TASKS
from bert_repro.finetune.batches import Examples
from bert_repro.finetune.network import Network

TORCH = ROOT / ".venv-torch" / "bin" / "python"
BATCH, WARM = 32, 8  # updates before the clock starts
PLAIN_LOOP = """
import json, sys, time
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer
folder, updates, warm, size = sys.argv[1], *map(int, sys.argv[3:])
pairs = json.load(open(sys.argv[2]))
torch.manual_seed(1)
model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=3).train()
tokenizer = AutoTokenizer.from_pretrained(folder)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.01)
pieces = 0
for update in range(updates + warm):
    if update == warm:
        pieces, begin = 0, time.process_time()
    first, second, labels = zip(*pairs[update * size:(update + 1) * size])
    batch = tokenizer(list(first), list(second), is_split_into_words=True, truncation=True, max_length=128,
                      padding="longest", return_tensors="pt")
    loss = model(**batch, labels=torch.tensor(labels)).loss
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    pieces += int(batch["attention_mask"].sum())
print(json.dumps([pieces, time.process_time() - begin]))
"""


def plain(folder: str, pairs: list, updates: int) -> float:
    """Give the plain loop's real wordpieces per second."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(pairs[: (updates + WARM) * BATCH], file)
        file.flush()
        command = [TORCH, "-c", PLAIN_LOOP, folder, file.name, *map(str, (updates, WARM, BATCH))]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
    pieces, seconds = json.loads(done.stdout.splitlines()[-1])
    return pieces / seconds


class Ours:
    """Our loop, ready to learn."""

    def __init__(self, start: Checkpoint, examples: Examples, updates: int, frozen_layers: int):
        head = TASKS["nli"].head(corpora.LABELS)
        self.network = Network(start.config, start.weights(), head, frozen_layers)
        self.network.compile(1e-4, 1e-3, 10_000)
        self.examples, self.updates = examples, updates
        self.drawn = examples.batches(BATCH, np.random.default_rng(1))
        self.learn(WARM)

    def learn(self, updates: int) -> tuple[int, float]:
        """Learn from so many batches; give real wordpieces and seconds."""
        pieces, begin = 0, time.process_time()
        for _ in range(updates):
            inputs, targets = self.examples.arrays(self.network.head, next(self.drawn))
            self.network.step(inputs, targets)
            pieces += int(inputs["mask"].sum())
        return pieces, time.process_time() - begin

    def speed(self) -> float:
        """Give real wordpieces per second."""
        pieces, seconds = self.learn(self.updates)
        return pieces / seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--model", default="minilm")
    given = parser.parse_args()
    train, updates, rounds = ("mnli:train", 40, 3) if given.full else ("mnli:train[1000]", 8, 2)

    start = checkpoints.open(given.model)
    blocks = start.config.num_hidden_layers
    examples = Examples(TASKS["nli"], train, start.tokenizer, start.config.max_length)
    pairs = [(pair.first, pair.second, corpora.LABELS.index(pair.label)) for pair in examples.items]
    frozen = [*range(blocks + 1)] if given.full else [0, blocks // 2, blocks]
    sides = {k: Ours(start, examples, updates, k) for k in frozen}
    speeds: dict[str, list[float]] = {}
    for _ in range(rounds):
        if TORCH.exists():
            speeds.setdefault("plain PyTorch loop", []).append(plain(str(start.folder), pairs, updates))
        for k, ours in sides.items():
            speeds.setdefault(f"ours, {k} of {blocks} blocks frozen", []).append(ours.speed())
    print(f"{given.model} on {train}, {BATCH} pairs an update, {updates} updates a round, best of {rounds}")
    best = {name: 1000 / max(values) for name, values in speeds.items()}  # seconds for 1,000 wordpieces
    whole = best[f"ours, 0 of {blocks} blocks frozen"]
    rows = [
        Row(
            f"1,000 wordpieces, {k} of {blocks} blocks frozen",
            best[f"ours, {k} of {blocks} blocks frozen"],
            "none frozen",
            whole,
        )
        for k in frozen[1:]
    ]
    if loop := best.get("plain PyTorch loop"):
        rows.insert(0, Row(f"1,000 wordpieces of {train}", whole, "plain PyTorch loop", loop, aim=1.2))
    write("fine-tuning", rows, given.full)


if __name__ == "__main__":
    main()
