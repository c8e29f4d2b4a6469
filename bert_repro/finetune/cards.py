"""What a checkpoint is, before anything long is computed with it: shape, task heads, labels, vocabulary, where it came from.

It refuses what cannot be run: a sentence goes through the encoder.
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
    """What a checkpoint is.

    Attributes:
        about: Lines of a table: what, in words.
        task: What its task head does, a name from TASKS; empty where it has none, or one that does something else.
        unknown: Share of [UNK] among the wordpieces of some sentences, in [0, 1].
        warning: What is wrong with that share, and the likely cause; empty where nothing is.
    """

    about: dict[str, str]
    task: str
    unknown: float
    warning: str


def card(checkpoint: Checkpoint, items: Sequence[Any]) -> Card:
    """Say what a checkpoint is, having run it.

    Args:
        checkpoint: The checkpoint, see `checkpoints.open`.
        items: Sentences or pairs of the text that it will read, from its beginning; the first one goes through the encoder.

    Raises:
        ValueError: What `Checkpoint.check` raises, or hidden states that are not finite.
    """
    config, tokenizer, weights = checkpoint.config, checkpoint.tokenizer, checkpoint.weights()
    sentences = [words for item in items for words in alignment.words_of(item)]
    inputs, _, _ = alignment.inputs(tokenizer, items[:1], config.max_length)
    states = encoder.extract(encoder.build(config, weights), inputs, "mean")
    if not np.isfinite(states).all():
        raise ValueError(f"{checkpoint.reference}: hidden states of {' '.join(sentences[0])!r} are not finite")
    heads, labels = task_heads(weights, config), checkpoint.labels
    special = set(tokenizer.all_special_ids)
    capitals = any(piece != piece.lower() for piece, number in tokenizer.get_vocab().items() if number not in special)
    unknown = share_unknown(tokenizer, sentences)
    about = {
        "checkpoint": checkpoint.reference,
        "family": config.model_type,
        "layers": str(config.num_hidden_layers),
        "width": str(config.hidden_size),
        "task head": ", ".join(heads) or "none",
        "labels": ", ".join(labels) if set(heads) - {"masked words", "question answering"} else "",
        "vocabulary": f"{len(tokenizer):,} pieces, {'cased' if capitals else 'uncased'}",
        "[UNK]": f"{unknown:.1%} of {len(sentences)} sentences",
        "revision": checkpoint.revision[:12],
        "licence": checkpoint.licence,
    }
    return Card(about, _task(checkpoint, heads, labels), unknown, _warning(checkpoint, sentences, unknown, capitals))


def landmarks(config: Config) -> dict[str, str]:
    """Name, for each task, a weight that no checkpoint of this family lacks which brings a task head for it."""
    family = ARCHITECTURES[config.model_type]
    return {
        "masked_words": f"{family.masked_words['transform']}.weight", "nli": f"{family.classifier[1]}.weight",
        "squad": "qa_outputs.weight", "parsing": "head.arcs.kernel", "tagging": "head.classifier.kernel",
    }  # fmt: skip


def task_heads(weights: Collection[str], config: Config) -> list[str]:
    """Name the task heads among the weights of a checkpoint; one for labels may tell apart other labels than of inference."""
    described = {name: about.description for name, about in TASKS.items()} | {"nli": "labels of the whole input"}
    return [described[task] for task, key in landmarks(config).items() if key in weights]


def share_unknown(tokenizer: alignment.Tokenizer, sentences: Sequence[Sequence[str]]) -> float:
    """Give the share of [UNK] among the wordpieces of some sentences, in [0, 1]; special tokens do not count."""
    coded = tokenizer([list(words) for words in sentences], is_split_into_words=True, add_special_tokens=False)
    pieces = [piece for sentence in coded["input_ids"] for piece in sentence]
    return sum(piece == tokenizer.unk_token_id for piece in pieces) / max(len(pieces), 1)


def _task(checkpoint: Checkpoint, heads: Sequence[str], labels: Sequence[str]) -> str:
    """Tell by the task head what a checkpoint was tuned on, where that is one of our tasks."""
    if "task" in checkpoint.record:
        return str(checkpoint.record["task"])
    if "question answering" in heads:
        return "squad"
    return "nli" if sorted(label.lower() for label in labels) == sorted(LABELS) else ""


def _warning(checkpoint: Checkpoint, sentences: Sequence[Sequence[str]], unknown: float, capitals: bool) -> str:
    if unknown <= alignment.UNKNOWN:
        return ""
    lowered = share_unknown(checkpoint.tokenizer, [[word.lower() for word in words] for words in sentences])
    if not capitals and lowered < unknown / 2:
        cause = "its vocabulary has no capital letters, and its tokenizer keeps them: set do_lower_case to true in tokenizer_config.json"
    else:
        cause = (
            "its vocabulary is that of another language or script, or its tokenizer files belong to another checkpoint"
        )
    return f"{checkpoint.reference} reads {unknown:.0%} of the wordpieces as [UNK]; most likely {cause}"
