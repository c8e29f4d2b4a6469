"""Hidden states of a corpus, from text to store: words per second beside three baselines and the machine's peak, and memory.

    python benchmarks/states.py [--full] [--model minilm]
    python benchmarks/states.py --memory

All sides run in turns on the same machine: quote the ratios, not the seconds. The PyTorch
loop needs an environment of its own (.venv-torch); where that is missing it is left out.
"""

import argparse
import gzip
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from table import Row, seconds, write

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from bert_repro import alignment, checkpoints, corpora, states
from bert_repro.checkpoints import Checkpoint
from bert_repro.checkpoints.builtin import random_weights
from bert_repro.checkpoints.families import Config
from bert_repro.files import ROOT
from bert_repro.states import compute

TORCH = ROOT / ".venv-torch" / "bin" / "python"
PLAIN_LOOP = """
import json, sys, time
import torch
from transformers import AutoModel, AutoTokenizer
folder, sentences = sys.argv[1], json.load(open(sys.argv[2]))
model, tokenizer = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
def loop(some):
    with torch.no_grad():
        for start in range(0, len(some), 32):
            batch = tokenizer(some[start:start + 32], is_split_into_words=True, padding="longest", return_tensors="pt")
            for state in model(**batch, output_hidden_states=True).hidden_states:
                state.numpy()
loop(sentences[:64])
begin = time.process_time()
loop(sentences)
print(time.process_time() - begin)
"""


def matmul_peak() -> float:
    """Give the machine's float32 matrix-multiply peak in flop/s: the best of NumPy and TensorFlow, at two shapes."""
    import tensorflow as tf

    best = 0.0
    for m, k, n in ((2048, 2048, 2048), (4096, 384, 1536)):
        a, b = (np.random.default_rng(0).standard_normal(shape, np.float32) for shape in ((m, k), (k, n)))
        there, other = tf.constant(a), tf.constant(b)
        for product in (lambda a=a, b=b: a @ b, lambda a=there, b=other: tf.matmul(a, b)[0, 0].numpy()):
            product()
            best = max(best, 2 * m * k * n / min(seconds(product) for _ in range(10)))
    return best


def speed(model: str, full: bool) -> None:
    """Run all sides in turns; print the best time of each and the ratios."""
    from bert_repro import encoder

    corpus, rounds = ("ewt:dev", 3) if full else ("pud", 2)  # the first round also warms up
    checkpoint, path = checkpoints.open(model), corpora.locate(corpus).path
    folder, config, items = checkpoint.folder, checkpoint.config, corpora.load(str(path)).items
    inputs, _, report = alignment.align(checkpoint.tokenizer, items, config.max_length)
    network = encoder.build(config, checkpoint.weights())
    last = type(network)(network.inputs, network.outputs[-1])
    last_layer = SimpleNamespace(  # as a model with a list of one state
        outputs=[last.output],
        get_layer=last.get_layer,
        predict_on_batch=lambda given: [last.predict_on_batch(given)],
    )
    stream = np.concatenate([one.token_ids for one in inputs])
    packed = stream[: len(stream) // 64 * 64].reshape(-1, 64)
    listed = Path(tempfile.mkstemp(suffix=".json")[1])
    listed.write_text(json.dumps([item.words for item in items]))

    def job(text: bytes) -> None:
        """Do the whole job: read, align, encode, pool, store; from a new file, of which nothing is remembered."""
        with tempfile.TemporaryDirectory() as cache:
            os.environ["BERT_REPRO_CACHE"] = cache
            source = Path(cache) / path.name
            source.write_bytes(text)
            compute.compute(str(folder), [str(source)], states.usual(str(folder)))

    def extract(some) -> None:
        for first in range(0, len(inputs), 2000):  # about a shard
            encoder.extract(some, inputs[first : first + 2000], "mean", "float16")

    def run_packed() -> None:
        rows = encoder.BATCH // 64
        for first in range(0, len(packed), rows):
            ids = packed[first : first + rows]
            network.predict_on_batch({"token_ids": ids, "segment_ids": ids * 0, "mask": np.ones_like(ids)})

    whole = path.read_bytes()
    unpacked = gzip.decompress(whole) if path.suffix == ".gz" else whole
    few = b"\n\n".join(unpacked.split(b"\n\n")[:10]) + b"\n\n"
    few = gzip.compress(few) if path.suffix == ".gz" else few
    sides: dict[str, Callable[[], float]] = {
        # a job starts up before it works; what it takes for ten sentences is taken off
        "whole job": lambda: seconds(lambda: job(whole)) - seconds(lambda: job(few)),
        "all layers": lambda: seconds(lambda: extract(network)),
        "one layer": lambda: seconds(lambda: extract(last_layer)),
        "packed": lambda: seconds(run_packed) * len(stream) / packed.size,
    }
    if TORCH.is_file():
        command = [str(TORCH), "-c", PLAIN_LOOP, str(folder), str(listed)]
        sides["PyTorch"] = lambda: float(subprocess.run(command, check=True, capture_output=True).stdout)
    peak, best = 0.0, dict.fromkeys(sides, np.inf)
    for _ in range(rounds):
        peak = max(peak, matmul_peak())
        best = {name: min(best[name], side()) for name, side in sides.items()}
    listed.unlink()

    dense = config.num_hidden_layers * (4 * config.hidden_size**2 + 2 * config.hidden_size * config.intermediate_size)
    layers = config.num_hidden_layers + 1
    print(
        f"{corpus}: {len(items)} sentences, {report.words} words, {len(stream)} wordpieces; {model}; best of {rounds}"
    )
    text = f"{corpus}, all {layers} layers"
    rows = [
        Row(f"{text}: encode and pool", best["all layers"], "encoding once a layer", layers * best["one layer"]),
        Row(f"{text}: encode and pool", best["all layers"], "rows of 64 without padding, nothing kept", best["packed"]),
    ]
    if "PyTorch" in best:
        loop = "PyTorch loop in corpus order, batches of 32, nothing pooled or kept"
        rows.insert(0, Row(f"{text}: read, align, encode, pool, store", best["whole job"], loop, best["PyTorch"]))
    write("hidden states", rows, full)
    print(f"words per second, all layers: {report.words / best['whole job']:.0f}")
    share = 2 * dense * len(stream) / best["all layers"] / peak
    print(
        f"share of the matrix-multiply peak ({peak / 1e9:.0f} Gflop/s): {share:.0%}; real wordpieces, dense layers only"
    )


PEAK_MEMORY = """
import resource, sys
from bert_repro import states
from bert_repro.states import compute
compute.compute(sys.argv[1], [sys.argv[2]], states.usual(sys.argv[1]))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def memory() -> None:
    """Print the peak resident memory for 2,000 and 20,000 sentences, with MiniLM and one of BERT base's size."""
    base = Config(30522, 768, 12, 12, 3072, 512)
    minilm = checkpoints.open("minilm")
    with tempfile.TemporaryDirectory() as folder:
        shaped = Path(folder) / "base"
        shaped.mkdir()
        weights = random_weights(base, seed=0, deviation=0.02)
        Checkpoint.write(shaped, base, weights, tokenizer_from=minilm)
        del weights
        source = corpora.locate("ewt:train").path
        lines = [" ".join(item.words) for item in corpora.load(str(source)).items]
        for name, model, counts in (
            ("minilm", minilm.folder, (2000, 20000)),
            ("BERT base's size", shaped, (500, 2000)),
        ):
            peaks = []
            for count in counts:
                text = Path(folder) / f"{count}.conllu"
                words = [line.split() for line in (lines * (count // len(lines) + 1))[:count]]
                rows = (
                    "\n".join(f"{i}\t{w}\t_\tX\tX\t_\t{i - 1}\tdep\t_\t_" for i, w in enumerate(s, 1)) for s in words
                )
                text.write_text("\n\n".join(rows) + "\n")
                command = [sys.executable, "-c", PEAK_MEMORY, str(model), str(text)]
                cache = os.environ | {"BERT_REPRO_CACHE": f"{folder}/cache"}
                done = subprocess.run(command, check=True, capture_output=True, env=cache, text=True)
                peaks.append(int(done.stdout) / 1e3)
            said = ", ".join(f"{peak:.0f} MB for {count}" for peak, count in zip(peaks, counts, strict=True))
            print(f"{name}: {said} sentences: {peaks[-1] / peaks[0] - 1:+.1%}")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="ewt:dev instead of pud, and more rounds")
    parser.add_argument("--model", default="minilm")
    parser.add_argument("--memory", action="store_true", help="measure memory instead")
    given = parser.parse_args()
    if given.memory:
        memory()
    else:
        speed(given.model, given.full)


if __name__ == "__main__":
    main()
