"""Similarity with intervals: all layers, 1,000 resamples, beside naive resampling and one pass that only forms the kernels.

    python benchmarks/similarity.py [--full]

Representations are random with a shared part, sentences of 10 to 30 words, three pairs of models of 13 layers: 1,000 words of 384
numbers, in full 5,000 of 768, which the aim on kernels is of. All sides run in turns on the same machine: quote the ratios, not the seconds. The naive bootstrap
lays the drawn words out and forms their kernels anew in every resample; it is run on a few and extrapolated. The grid is measured
in a process of its own, whose peak memory is printed. Last, the notebook from its start to its table, on stored states of the demo
encoder.
"""

import argparse
import itertools
import multiprocessing
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from table import Row, seconds, write

from bert_repro import similarity, states
from bert_repro.files import ROOT
from bert_repro.results import intervals

LAYERS, MODELS, RESAMPLES, NAIVE = 13, 4, 1000, 20
METHODS = ("rsa", "cka_debiased")


def representations(words: int, hidden: int) -> tuple[Iterator[np.ndarray], np.ndarray, np.ndarray]:
    """Make the layers of four models one by one, as they are read, with the sentence of each word and draws."""
    generator = np.random.default_rng(0)
    lengths = generator.integers(10, 31, words // 10)
    sentence = np.repeat(np.arange(len(lengths)), lengths)[:words]
    shared = generator.standard_normal((words, hidden), np.float32)
    stack = (shared + generator.standard_normal(shared.shape, np.float32) for _ in range(MODELS * LAYERS))
    return stack, sentence, intervals.draws("benchmark", int(sentence[-1]) + 1, RESAMPLES)


def ours(stack: list[np.ndarray], sentence: np.ndarray, weights: np.ndarray) -> None:
    """Compare the first model with each other one, layer by layer."""
    pairs = [(layer, model * LAYERS + layer) for model in range(1, MODELS) for layer in range(LAYERS)]
    for name in METHODS:
        similarity.MEASURES[name].function(stack, pairs, sentence, weights)


def kernels_once(stack: list[np.ndarray]) -> None:
    """Form every kernel of both measures once, 500 rows at a time, and do nothing with it."""
    for x in stack:
        for prepared in (x / np.linalg.norm(x, axis=1, keepdims=True), x - x.mean(0)):
            for start in range(0, len(x), 500):
                prepared[start : start + 500] @ prepared.T


def naive(x: np.ndarray, y: np.ndarray, sentence: np.ndarray, counts: np.ndarray) -> None:
    """Compute both measures of one pair of layers on the words of one resample, from the formulas."""
    drawn = np.concatenate([np.tile(np.flatnonzero(sentence == s), n) for s, n in enumerate(counts) if n])
    x, y = x[drawn].astype(np.float32), y[drawn].astype(np.float32)
    upper = np.triu_indices(len(drawn), 1)
    k, l = ((u @ u.T)[upper] for u in (side / np.linalg.norm(side, axis=1, keepdims=True) for side in (x, y)))  # noqa: E741
    np.corrcoef(k, l)
    n = len(drawn)
    k, l = (u @ u.T for u in (side - side.mean(0) for side in (x, y)))  # noqa: E741
    for kernel in (k, l):
        np.fill_diagonal(kernel, 0)

    def hsic(k: np.ndarray, l: np.ndarray) -> float:  # noqa: E741
        both = k.sum() * l.sum() / ((n - 1) * (n - 2))
        return float((k * l).sum() + both - 2 / (n - 2) * (k.sum(0) @ l.sum(0)))

    hsic(k, l), hsic(k, k), hsic(l, l)


def grid(words: int, hidden: int, peak: Any) -> None:
    """Compare all layers of all models with one another, and tell seconds and peak memory, before and after."""
    stack, sentence, weights = representations(words, hidden)
    before = peak_memory()
    pairs = list(itertools.combinations_with_replacement(range(MODELS * LAYERS), 2))
    took = seconds(lambda: similarity.MEASURES["cka_debiased"].function(stack, pairs, sentence, weights))
    peak.put((took, before, peak_memory()))


def peak_memory() -> float:
    """Give the most gigabytes this process has held; what getrusage says includes its parent's."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024 / 1e9


def notebook(words: int) -> float:
    """Time the similarity notebook, on states that are there."""
    models, corpora = ["minilm", "untrained:minilm"], ["wiki[240]"]
    read = [dict(zip(corpora, states.get_all(model, corpora), strict=True)) for model in models]
    similarity.sample(read, corpora, words=words, seed=1)
    with tempfile.TemporaryDirectory() as folder:
        setting = {
            "model": models[1], "reference_model": models[0], "corpora": f'["{corpora[0]}"]', "words": str(words),
            "methods": '["rsa", "cka_debiased"]', "more_methods": "[]", "grid_methods": "[]", "classes": "[]",
            "lengths_of": "", "second_sample": "false", "output": str(Path(folder, "table.parquet")),
        }  # fmt: skip
        given = [text for name, value in setting.items() for text in ("-p", name, value)]
        command = [sys.executable, "-m", "bert_repro", "run", "similarity", f"{folder}/out.ipynb", *given]
        return seconds(lambda: subprocess.run(command, check=True, cwd=ROOT, stderr=subprocess.DEVNULL))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true")
    full = parser.parse_args().full
    words, hidden = (5000, 768) if full else (1000, 384)
    layers, sentence, weights = representations(words, hidden)
    stack = list(layers)
    print(f"{words} words in {len(set(sentence))} sentences, {hidden} wide, {RESAMPLES} resamples")
    passes, mine = [], []
    for _ in range(2):
        passes.append(seconds(lambda: kernels_once(stack)))
        mine.append(seconds(lambda: ours(stack, sentence, weights)))
    once = seconds(lambda: [naive(stack[0], stack[LAYERS], sentence, counts) for counts in weights[:NAIVE]])
    resampled = once / NAIVE * RESAMPLES * LAYERS * (MODELS - 1)
    ours_are = f"RSA and CKA of {words} words, 3 pairs x {LAYERS} layers, {RESAMPLES} resamples"
    write(
        "similarity",
        [
            Row(ours_are, min(mine), f"laying out every resample (from {NAIVE})", resampled, aim=50),
            Row(
                ours_are,
                min(mine),
                "forming every kernel once, no resample",
                min(passes),
                aim=1 / 1.5 if full else None,
            ),
        ],
        full,
    )
    apart = multiprocessing.get_context("spawn")
    peak = apart.Queue()
    child = apart.Process(target=grid, args=(words, hidden, peak))
    child.start()
    took, before, after = peak.get()
    child.join()
    layers = MODELS * LAYERS
    print(
        f"{layers} x {layers} grid of CKA with intervals: {took:.1f} s, peak memory {after:.2f} GB (target 1.5; {before:.2f} held before)"
    )
    print(f"notebook, start to table, {words} words of stored states: {notebook(words):.1f} s (target 20)")


if __name__ == "__main__":
    main()
