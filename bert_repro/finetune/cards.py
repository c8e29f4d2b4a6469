"""What a checkpoint is, before anything long is computed with it: shape, task heads, labels, vocabulary, where it came from.

One sentence is run through the encoder, so a checkpoint that cannot be run is an error here.
"""

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import numpy as np

from bert_repro import alignment, encoder
from bert_repro.checkpoints import Checkpoint
from bert_repro.checkpoints.families import ARCHITECTURES, Config
from bert_repro.corpora.items import LABELS
from bert_repro.finetune.tasks import TASKS


class Card(NamedTuple):
    """The properties of a checkpoint.

    Attributes:
        about: Lines of a table: what, in words.
        task: What its task head does, a name from TASKS; empty where it has none, or one that does something else.
        unknown: Share of [UNK] among the wordpieces of some sentences, in [0, 1].
        warning: What is wrong with how it reads them, and the likely cause; empty where nothing is.
    """

    about: dict[str, str]
    task: str
    unknown: float
    warning: str


def card(checkpoint: Checkpoint, items: Sequence[Any]) -> Card:
    """Run a checkpoint and describe it.

    Args:
        checkpoint: The checkpoint, see `checkpoints.open`.
        items: Sentences or pairs of the text that it will read, from its beginning; the first one goes through the encoder.

    Raises:
        ValueError: What `Checkpoint.check` raises, or hidden states that are not finite.
    """
    config, tokenizer, weights = checkpoint.config, checkpoint.tokenizer, checkpoint.check()
    sentences = [words for item in items for words in alignment.words_of(item)]
    inputs, _, _ = alignment.inputs(tokenizer, items[:1], config.max_length)
    states = encoder.extract(encoder.build(config, weights), inputs, "mean")
    if not np.isfinite(states).all():
        raise ValueError(f"{checkpoint.reference}: hidden states of {' '.join(sentences[0])!r} are not finite")
    heads, labels = task_heads(weights, config), checkpoint.labels
    capitals, unknown = alignment.cased(tokenizer.get_vocab()), alignment.fit(tokenizer, sentences).unknown
    misfit = alignment.misfit(tokenizer, sentences)
    about = {
        "checkpoint": checkpoint.reference,
        "family": config.model_type,
        "layers": str(config.num_hidden_layers),
        "width": str(config.hidden_size),
        "task head": ", ".join(heads) or "none",
        "labels": ", ".join(labels) if set(heads) - {"masked words", "question answering"} else "",
        "vocabulary": f"{len(tokenizer):,} pieces, {'cased' if capitals else 'uncased'}",
        "letters": alignment.letters(tokenizer),
        "letters, as said by": "its vocabulary" if checkpoint.by_vocabulary else "its files",
        "[UNK]": f"{unknown:.1%} of {len(sentences)} sentences",
        "revision": checkpoint.revision[:12],
        "licence": checkpoint.licence,
    }
    return Card(
        about, _task(checkpoint, heads, labels), unknown, f"{checkpoint.reference} reads {misfit}" if misfit else ""
    )


def landmarks(config: Config) -> dict[str, str]:
    """Name, for each task, a weight that no checkpoint of this family lacks which brings a task head for it."""
    family = ARCHITECTURES[config.model_type]
    return {
        "masked_words": f"{family.masked_words['transform']}.weight", "nli": f"{family.classifier[1]}.weight",
        "squad": "qa_outputs.weight", "parsing": "head.arcs.kernel", "tagging": "head.classifier.kernel",
    }  # fmt: skip


def task_heads(weights: Collection[str], config: Config) -> list[str]:
    """Name the task heads among the weights of a checkpoint; one for labels may have other labels than those of inference."""
    described = {name: about.description for name, about in TASKS.items()} | {"nli": "labels of the whole input"}
    return [described[task] for task, key in landmarks(config).items() if key in weights]


def _task(checkpoint: Checkpoint, heads: Sequence[str], labels: Sequence[str]) -> str:
    """Infer from the task head what a checkpoint was tuned on, where that is one of our tasks."""
    if "task" in checkpoint.record:
        return str(checkpoint.record["task"])
    if "question answering" in heads:
        return "squad"
    return "nli" if sorted(label.lower() for label in labels) == sorted(LABELS) else ""
