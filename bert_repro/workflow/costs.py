"""What a run costs: minutes, memory and disk of each notebook under a setting, by a model made of measured speeds.

Nothing is fetched, and no TensorFlow started: sizes of encoders that nobody has told are refused, as those of corpora are by `sizes`.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from bert_repro import checkpoints, similarity, states
from bert_repro.checkpoints import hub
from bert_repro.checkpoints.families import Config
from bert_repro.files import ROOT
from bert_repro.finetune import memory, tasks
from bert_repro.probes.spans import named as edge_target
from bert_repro.workflow.sizes import Size, running, size

ENCODERS = {
    "tiny": Config(3058, 32, 2, 2, 64, 512),
    "minilm": Config(30_522, 384, 6, 12, 1536, 512),
    **dict.fromkeys(checkpoints.SHIPPED, Config(8192, 256, 6, 4, 1024, 512)),
    "bert-base-uncased": Config(30_522, 768, 12, 12, 3072, 512),
}
"""Shapes of encoders that need not be there to be planned with; any other one does."""

# Seconds are those of one core (AMD EPYC, two cores, no GPU) while other work runs beside, as in `make report`; bytes are
# of resident memory at its peak. Fitted to steps of 640 to 6,144 wordpieces with 0 to 6 of 6 blocks frozen, which the tests
# list, and to whole jobs, whose manifests lie in results/minilm: all of minilm. BERT base took a fifth less than this says.
GFLOPS = 132  # of float32, that one core of that machine multiplies: on another one, seconds grow or shrink about as that does
SOFTMAX = 3  # times that attention between two wordpieces takes longer than its products alone
FORWARD, TRAINING = 200e9, 166e9  # FLOP a second in matrix products, predicting and learning
ADAM = 2.7e-9  # seconds an update and weight that learns
START, START_ENCODER = 6.0, 15.0  # seconds until a notebook works: without TensorFlow; with, its graphs compiled
ALIGN = 20e-6  # seconds a word to read and cut into wordpieces
EVALUATION = 40e-9  # seconds a weight: its change, and the state of the run on disk
STORE = 15e-9  # seconds a number of a hidden state: mean of pieces, conversion, checksum, disk
PROBE = 5.2e-11  # seconds a word, epoch, layer and weight; reading a state costs as much as 64 columns of the map
EDGE = 4.5e-9  # seconds a word, epoch, and number of its hidden states, of one span
SQUARES = 5e-11  # seconds a wordpiece and square of the width, of sums in double precision
SPECTRUM = 1e-9  # seconds a cube of the width: decompositions that an eraser takes, and halvings for a random one
CODE = 40  # epochs that a description length takes as long as: it is trained until dev gains no more
MIX, TREE = 15e-9, 0.6e-3  # seconds a weight, mixed and assigned; a sentence and layer whose tree is decoded and scored
SECOND_SIDE = {"nli": 0.35, "squad": 0.92}  # of the words of an item, that partial input reads
WALKS = 4  # along a line: for the task, masked words, similarity and trees
LOOKED_AT = 3  # layers, unless others are named
ENDS = 4  # times the weights of a line: both ends, the network, word embeddings of a task head with what is being read
BOOK = 120.0  # seconds: chapters and Jupyter Book
RUNTIME, NOTEBOOK = 0.55e9, 0.35e9  # bytes: TensorFlow in a process; a process without
# bytes of a corpus in memory, read and cut: a quarter more than MNLI took, a twentieth more than SQuAD
WORD, ITEM = 110, 1_500
TREES = 500  # bytes a word of a treebank: its annotations, and its distances to the others of its sentence
RANK = 50  # dimensions that are erased: of relations, some three times as many as of parts of speech
ROW = 90  # bytes a word of the table that says what the rows of hidden states are
SHARD = 5.6  # bytes a number of a shard of hidden states: as float32, and a part of it in half precision
KERNELS, BATCHES = 0.5e9, 0.5e9  # bytes: what RSA works on at a time; batches of a probe, or that are scored
RANKED = 8  # kernels beside those that a measure holds, while it works on two
PAGES = 1e6  # bytes a job: table, executed notebook, page

# A scheduler ends what outgrows its request, so that there has to be room: for slower machines, for estimates that are off.
MORE_TIME, SETTLE = 3, 10  # times the minutes, and more of them until a job on a busy file system has begun
MORE_MEMORY, ENGINE = 1.5, 1e9  # times the bytes, and those of Snakemake and papermill around the notebook
GPU = 8  # times that a GPU was faster than a core: 99 s for 780 (MNLI), 173 s for 1,430 (SQuAD), with minilm
CUDA = 4e9  # bytes of the machine's own memory that its libraries may take: not measured


class Cost(NamedTuple):
    """What a job takes."""

    seconds: float
    memory: float  # bytes, at the peak
    disk: float = PAGES  # bytes that stay
    scratch: float = 0.0  # bytes on disk while it runs
    flop: float = 0.0  # of training and prediction in the encoder
    states: float = 0.0  # bytes on disk, of those that stay: hidden states, which may be dropped once they are read
    encoder: float = 0.0  # of the seconds: those in the encoder, which a GPU takes over
    device: float = 0.0  # of the memory: weights and what is computed with them, which lie on a GPU

    def on_gpu(self, tflops: float) -> "Cost":
        """Give what it takes with a GPU of one's own: `encoder` are the seconds on that, and `memory` is of the machine alone.

        Args:
            tflops: What the GPU does in a second, in 10^12 operations of float32.

        Raises:
            ValueError: It does nothing.
        """
        if not 0 < tflops < math.inf:
            raise ValueError(f"a GPU's TFLOPS must be above 0, e.g. 8, got {tflops:g}")
        if not self.flop:
            return self
        there = self.flop / (tflops * 1e12)
        return self._replace(
            seconds=self.seconds - self.encoder + there, encoder=there, memory=self.memory - self.device + CUDA
        )


CHAPTERS = Cost(BOOK, 4 * NOTEBOOK, 30 * PAGES)
"""What all chapters and the book take: no more for a chapter, or for the book, alone."""


def encoder(base: str, like: Config | None = None) -> Config:
    """Give the shape of an encoder: a known one, or that of a folder or of the hub's cache.

    Args:
        base: The encoder.
        like: The shape that is taken where nobody knows it yet, as of a checkpoint that is said to come from another.

    Raises:
        ValueError: It is none of these.
    """
    base, _ = checkpoints.untrained(base) or (base, 1)  # as large as what was trained
    if base in ENCODERS:
        return ENCODERS[base]
    folders = [folder for folder in (Path(base).expanduser(), ROOT / base) if folder.is_dir()]
    name, _, revision = base.partition("@")
    if not folders and hub.is_id(name):
        from huggingface_hub import try_to_load_from_cache

        found = [try_to_load_from_cache(name, file, revision=revision or None) for file in hub.CONFIG_FILES]
        folders = [Path(one).parent for one in found if isinstance(one, str)]
    if not folders and like is not None:
        return like
    if not folders:
        raise ValueError(
            f"the size of encoder {base!r} is not known: fetch it first with `python -m bert_repro fetch {base}`, "
            f"or plan with a folder or one of {sorted(ENCODERS)}"
        )
    return checkpoints.Checkpoint(folders[0]).config


def _flop(config: Config, pieces: float) -> float:
    """Count the operations of one wordpiece, in an input of so many, on its way through the encoder."""
    hidden = config.hidden_size
    matrices = 2 * (4 * hidden**2 + 2 * hidden * config.intermediate_size)
    return config.num_hidden_layers * (matrices + 4 * pieces * hidden)


def _read(some: Size, limit: int, config: Config) -> tuple[float, float]:
    """Count operations and seconds of one pass of the encoder over a corpus."""
    length = some.pieces(limit)
    pieces = some.items * length
    return pieces * _flop(config, length), pieces * _flop(config, SOFTMAX * length) / FORWARD


def _finetune(setting: Mapping[str, Any], config: Config) -> Cost:
    task, updates, frozen = tasks.named(setting["task"]), setting["updates"], setting.get("frozen_layers", 0)
    config = replace(config, num_hidden_layers=setting.get("kept_layers") or config.num_hidden_layers)
    weights, learning, blocks = memory.weights(config), memory.weights(config, frozen), config.num_hidden_layers
    count = running if task.running else size
    share = SECOND_SIDE.get(setting["task"], 0.5) if setting.get("control") == "partial_input" else 1.0
    whole = [count(reference) for reference in (setting["train"], setting["dev"], *setting["test"])]
    train, dev, *test = read = [some._replace(words=share * some.words) for some in whole]

    mean = train.pieces(task.max_length)
    pieces = updates * setting["batch_size"] * mean
    decoding = task.decoded * 2 * config.vocab_size * config.hidden_size
    passes = 1 + 2 * (blocks - frozen) / blocks  # forward, and twice as much backward through what learns
    flop = pieces * passes * (_flop(config, mean) + decoding)
    seconds = START_ENCODER + ALIGN * sum(some.words for some in read)
    inside = updates * learning * ADAM + pieces * (passes * _flop(config, SOFTMAX * mean) / TRAINING + task.learning)
    looks = setting["evaluations"] + len(setting.get("reverted_layers", ()))
    for some, times in [(dev, looks), *((some, 1) for some in test)]:
        operations, reading = _read(some, task.max_length, config)
        flop += times * operations
        inside += times * reading
        seconds += times * some.items * task.scoring
    seconds += setting["evaluations"] * weights * EVALUATION

    longest = min(task.max_length, 4 * mean)  # inputs of similar length go together: this batch is all of long ones
    micro = micro_batch(setting, config)
    held = memory.taken(config, frozen, micro or setting["batch_size"], longest, bool(micro))
    texts = 0.0 if task.running else sum(WORD * some.words + ITEM * some.items for some in read)
    saved = (1 + len(setting.get("keep_at", ()))) if setting.get("save") else 0
    return Cost(
        seconds + inside,
        RUNTIME + held + texts,
        PAGES + 4 * saved * weights,
        scratch=4 * (weights + 3 * learning),
        flop=flop,
        encoder=inside,
        device=held,
    )


def micro_batch(setting: Mapping[str, Any], config: Config) -> int:
    """Give the inputs that a tuning computes at a time; 0 for all of a batch.

    Args:
        setting: Parameters of the notebook `finetune`, in which later ones may be missing.
        config: Of the encoder that learns.

    Raises:
        ValueError: Not even one fits into the memory that is stated.
    """
    if stated := setting.get("micro_batch", 0):
        return stated
    blocks = setting.get("kept_layers") or config.num_hidden_layers
    longest = min(tasks.named(setting["task"]).max_length, config.max_length)
    shape = replace(config, num_hidden_layers=blocks), setting.get("frozen_layers", 0)
    return memory.micro_batch(*shape, setting["batch_size"], longest, setting.get("memory", memory.GIGABYTES))


def _checkpoint(setting: Mapping[str, Any], config: Config) -> Cost:
    weights, seconds, flop, texts, inside = memory.weights(config), START_ENCODER, 0.0, 0.0, 0.0
    seconds += 3 * weights * EVALUATION  # both are read, and compared
    passes = 1 + (config.num_hidden_layers + 1) * (setting["revert"] and bool(setting["base"]))
    task = tasks.named(setting["task"]) if setting["task"] else None
    asked = [(task, size(text), passes if number == 0 else 1) for number, text in enumerate(setting["texts"]) if task]
    if setting["masked"]:
        asked.append((tasks.named("masked_words"), running(setting["masked"]), 1))
    for kind, text, times in asked:
        operations, reading = _read(text, kind.max_length, config)
        flop += times * operations
        inside += times * reading
        seconds += ALIGN * text.words + times * text.items * kind.scoring
        texts += WORD * text.words + ITEM * text.items
    held = RUNTIME + 4 * (memory.COPIES + 1) * weights + texts
    return Cost(seconds + inside, held, flop=flop, encoder=inside, device=4 * weights)


def _states(setting: Mapping[str, Any], config: Config) -> Cost:
    numbers = (config.num_hidden_layers + 1) * config.hidden_size  # of a word, in half precision
    seconds, disk, flop, inside = START + START_ENCODER, PAGES, 0.0, 0.0
    drawn = setting.get("drawn", ())
    for reference, part in [
        *((one, one in drawn) for one in setting["corpora"]),
        *((one, False) for one in setting["apart"]),
    ]:
        some = size(reference)
        seconds += some.words * ALIGN * (1 + part)  # once more to draw
        if part:
            items = min(some.items, max(setting["units"], setting["words"] * some.items / some.words + 1))
            some = Size(items, some.words * items / some.items)
        operations, reading = _read(some, 512, config)
        flop += operations
        inside += reading
        seconds += some.words * numbers * STORE
        disk += 2 * numbers * (some.words + 2 * some.items)
    weights, stays = memory.weights(config), disk - PAGES
    held = NOTEBOOK + RUNTIME + 4 * weights + SHARD * states.SHARD * numbers
    return Cost(seconds + inside, held, disk, 0.0, flop, stays, inside, device=4 * weights)


def _similarity(setting: Mapping[str, Any], config: Config) -> Cost:
    layers, hidden, words = config.num_hidden_layers + 1, config.hidden_size, setting["words"]
    paired = setting["lengths_of"] != ""
    texts = len(setting["corpora"]) + 1 + setting["second_sample"] + paired * (1 + len(setting["as_long"]))
    texts += bool(setting["classes"])  # of one text, all together

    asked = [
        (setting["methods"], texts, layers),
        (setting["more_methods"], 1, layers),
        (setting["grid_methods"], 1, layers * (2 * layers + 1)),
    ]
    seconds, held = START, 0.0
    for names, times, compared in asked:
        for measure in similarity.named(names).values():
            seconds += times * measure.seconds(words, hidden, 2 * layers, compared)
            held = max(held, measure.held * words**2 * (2 * layers + RANKED))
    tables = ROW * sum(some.words + 2 * some.items for some in map(size, setting["corpora"]))
    return Cost(seconds, NOTEBOOK + 8 * len(setting["corpora"]) * layers * words * hidden + tables + KERNELS + held)


def _probe(setting: Mapping[str, Any], config: Config) -> Cost:
    layers, hidden = config.num_hidden_layers + 1, config.hidden_size
    train, dev = size(setting["train"]), size(setting["dev"])
    words = setting["epochs"] * (train.words + dev.words / 2)
    # of two targets; depths cost little beside distances but for reading the states
    columns = sum(rank + 2 * 64 + 64 for rank in [setting["rank"]] * len(setting["seeds"]) + setting["more_ranks"])
    return Cost(START + words * layers * hidden * columns * PROBE, NOTEBOOK + BATCHES + _held(train, dev))


def _edges(setting: Mapping[str, Any], config: Config) -> Cost:
    numbers = (config.num_hidden_layers + 1) * config.hidden_size
    train, dev = size(setting["train"]), size(setting["dev"])
    epochs = (2 + setting["mixed"]) * setting["epochs"]  # labels, lot and mixes
    epochs += 2 * CODE * setting["description"]  # and the code of the first two
    spans = sum(edge_target(name).spans for name in setting["targets"])
    return Cost(
        START + epochs * spans * (train.words + dev.words) * numbers * EDGE, NOTEBOOK + BATCHES + _held(train, dev)
    )


def _erasure(setting: Mapping[str, Any], config: Config) -> Cost:
    task, hidden = tasks.named(setting["task"]), config.hidden_size
    text, fitted, checked = (size(setting[name]) for name in ("text", "treebank", "held_out"))
    cases = (len(setting["layers"]) or config.num_hidden_layers + 1) * len(setting["targets"])
    seconds, flop, texts, inside = START_ENCODER, 0.0, 0.0, 0.0
    passes = 1 + cases * (1 + setting["draws"])
    for some, times, limit in [(text, passes, task.max_length), (fitted, 1, 512), (checked, 1, 512)]:
        operations, reading = _read(some, limit, config)
        flop += times * operations
        inside += times * reading
        seconds += ALIGN * some.words
        texts += WORD * some.words + ITEM * some.items
    seconds += passes * text.items * task.scoring
    pieces = fitted.items * fitted.pieces() + checked.items * checked.pieces()
    seconds += cases * (pieces * hidden**2 * SQUARES + (2 + setting["draws"]) * hidden**3 * SPECTRUM)
    weights = memory.COPIES * memory.weights(config) + 2 * cases * (
        hidden**2 + (1 + setting["draws"]) * 2 * RANK * hidden
    )
    learned = _finetune(_head(setting, config), config) if setting["updates"] else Cost(0.0, 0.0)
    held = RUNTIME + BATCHES + 4 * weights + texts
    inside += learned.encoder
    seconds += learned.seconds - learned.encoder
    most, device = max(held, learned.memory), 4 * memory.weights(config)
    return Cost(seconds + inside, most, flop=flop + learned.flop, encoder=inside, device=device)


def _head(setting: Mapping[str, Any], config: Config) -> dict[str, Any]:
    """Give the setting of a training in which a new task head alone learns, as `finetune.erase` has it."""
    of_task = {name: setting[name] for name in ("task", "train", "updates")} | {"dev": setting["text"], "test": []}
    return of_task | {"batch_size": 32, "evaluations": 1, "frozen_layers": config.num_hidden_layers}


def _line(setting: Mapping[str, Any], config: Config) -> Cost:
    weights, hidden, points = memory.weights(config), config.hidden_size, len(setting["points"])
    layers = len(setting["layers"]) or LOOKED_AT
    neutral, bank = size(setting["neutral"]), [size(setting[split]) for split in ("train", "dev", "test")]
    drawn = Size(neutral.items * setting["words"] / neutral.words, setting["words"])  # the sentences of a sample alone
    read: list[tuple[Size, int, float, float]] = [(some, 512, 0.0, 0.0) for some in [drawn, *bank]]
    asked = [(setting["task"], text) for text in setting["texts"] if setting["task"]]
    for name, text in [*asked, *[("masked_words", setting["masked"])] * bool(setting["masked"])]:
        kind = tasks.named(name)
        decoding = kind.decoded * 2 * config.vocab_size * hidden
        read.append((running(text) if kind.running else size(text), kind.max_length, kind.scoring, decoding))
    seconds, flop, held, inside = 0.0, 0.0, 0.0, 0.0
    for some, limit, scoring, decoding in read:
        operations, reading = _read(some, limit, config)
        decoded = some.items * some.pieces(limit) * decoding
        flop += points * (operations + decoded)
        inside += points * (reading + decoded / FORWARD)
        seconds += points * some.items * scoring
        held += WORD * some.words + ITEM * some.items
    train, dev, test = bank
    learned = setting["epochs"] * (train.words + dev.words / 2) * layers * hidden * (setting["rank"] + 128) * PROBE
    compared = similarity.named(["rsa"])["rsa"].seconds(setting["words"], hidden, 2 * layers, layers)
    seconds += points * (learned + compared + 2 * test.items * layers * TREE + WALKS * weights * MIX)
    seconds += START_ENCODER + ALIGN * sum(some.words for some, *_ in read) + 2 * weights * EVALUATION
    states = 2 * 4 * layers * hidden * sum(some.words + 2 * some.items for some in bank)
    held += RUNTIME + NOTEBOOK + 4 * ENDS * weights + states + BATCHES
    return Cost(seconds + inside, held, flop=flop, encoder=inside, device=4 * weights)


def _held(*texts: Size) -> float:
    """Give the bytes of corpora that a probe holds: the trees, and the tables of their hidden states."""
    return sum((TREES + ROW) * some.words + (ITEM + 2 * ROW) * some.items for some in texts)


COSTS: dict[str, Callable[[Mapping[str, Any], Config], Cost]] = {
    "finetune": _finetune, "checkpoint": _checkpoint, "hidden_states": _states, "similarity": _similarity, "structural_probe": _probe,
    "edge_probe": _edges, "erasure": _erasure, "line": _line,
    "change_and_function": lambda setting, config: Cost(START / 2, NOTEBOOK),
}  # fmt: skip
"""What a run costs, by its notebook."""
