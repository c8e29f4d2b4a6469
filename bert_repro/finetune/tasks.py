"""Fine-tuning tasks: what each learns from, its task head, and what figures and the plan of a study have to know of it.

To add one, write its entry in TASKS; a task head of its own (see `heads`) only where its output is new. TensorFlow does not
start before a task head is asked for.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from bert_repro.corpora.items import Pair, Question, Sentence

if TYPE_CHECKING:
    from bert_repro.finetune.heads import TaskHead

MASKED = 0.15  # of the wordpieces of an input, those that are masked


class Task(NamedTuple):
    """A task: everything needed to tune an encoder on it, and its names and costs.

    Attributes:
        title: What it is called in figures.
        description: What it is, in the words of messages.
        needs: What it learns from, in words, with an example.
        usable: Whether an item is such.
        import_head: Gives the class of its task head.
        max_length: Most wordpieces of an input.
        too_long: What is done with a longer item: it is `cut`, `left out`, or read through `windows`.
        own: Names of the corpora that are text of its own kind.
        colour: Colour of its models in figures; where empty, one is derived from its name.
        learning: Seconds of one core a wordpiece that the task head learns from.
        scoring: Seconds of one core an item, from outputs to a score.
        decoded: Share of the wordpieces for which every piece of the vocabulary gets a score.
        running: Whether it reads running text, which is cut without regard to items.
        dropout: Whether training drops features, as the checkpoint's config says.
        labelled: Whether its task head predicts labels, which a checkpoint has to name.
        second: What the second side of an item is, in a word; empty where items have one side.
        partial: Whether the second side is all that is read of an item.
        baseline: Its baseline without any encoder, a name from `baselines.BASELINES`; empty for none.
    """

    title: str
    description: str
    needs: str
    usable: Callable[[Any], bool]
    import_head: "Callable[[], type[TaskHead]]"
    max_length: int
    too_long: str = ""
    own: tuple[str, ...] = ()
    colour: str = ""
    learning: float = 0.0
    scoring: float = 0.0
    decoded: float = 0.0
    running: bool = False
    dropout: bool = True
    labelled: bool = True
    second: str = ""
    partial: bool = False
    baseline: str = ""

    @property
    def head(self) -> "type[TaskHead]":
        """The class of its task head, see `heads`."""
        return self.import_head()

    def partially(self) -> "Task":
        """Give the same task on the second side of every item alone.

        Raises:
            ValueError: Its items have one side.

        Reference:
            Poliak et al. 2018, Gururangan et al. 2018 (hypotheses alone); Kaushik and Lipton 2018 (passages alone).
        """
        if not self.second:
            two = ", ".join(name for name, task in TASKS.items() if task.second)
            raise ValueError(
                f"{self.description} has no partial input, as its items have one side: expected one of {two}"
            )
        return self._replace(partial=True)


def _pairs() -> "type[TaskHead]":
    from bert_repro.finetune.heads.pairs import PairClassifier

    return PairClassifier


def _spans() -> "type[TaskHead]":
    from bert_repro.finetune.heads.spans import SpanFinder

    return SpanFinder


def _parser() -> "type[TaskHead]":
    from bert_repro.finetune.heads.parser import BiaffineParser

    return BiaffineParser


def _tagger() -> "type[TaskHead]":
    from bert_repro.finetune.heads.tagger import WordTagger

    return WordTagger


def _masked_words() -> "type[TaskHead]":
    from bert_repro.finetune.heads.masked_words import MaskedWords

    return MaskedWords


def _tree(item: Any) -> bool:
    return isinstance(item, Sentence) and bool(item.heads)


# colours of Okabe and Ito's palette, which colour-blind readers tell apart
TASKS = {
    "nli": Task(
        "NLI", "natural language inference", "labelled pairs, such as mnli:train",
        lambda item: isinstance(item, Pair) and bool(item.label), _pairs, 128, "cut",
        own=("mnli",), colour="#0072B2", scoring=0.15e-3, second="hypothesis", baseline="majority label",
    ),
    "squad": Task(
        "SQuAD", "question answering", "questions with answers, such as squad:train",
        lambda item: isinstance(item, Question) and bool(item.answers), _spans, 384, "windows",
        own=("squad",), colour="#009E73", scoring=0.8e-3, labelled=False, second="passage", baseline="lexical overlap",
    ),
    "parsing": Task(
        "parsing", "dependency parsing", "trees, such as ewt:train", _tree, _parser, 256, "left out",
        own=("ewt",), colour="#D55E00", learning=8e-5, scoring=1e-3, baseline="chain of words",
    ),
    "tagging": Task(
        "tagging", "part-of-speech tagging", "tagged sentences, such as ewt:train",
        lambda item: _tree(item) and bool(item.upos), _tagger, 256, "left out",
        own=("ewt",), colour="#CC79A7", learning=2e-5, scoring=0.15e-3, baseline="most frequent tag",
    ),
    # what pre-training is, begun from an untrained encoder: a text is read once or twice, so nothing is dropped
    "masked_words": Task(
        "masked words", "masked words", "running text, such as wiki or a .txt file", lambda item: True, _masked_words, 384,
        colour="#56B4E9", decoded=MASKED, running=True, dropout=False, labelled=False,
    ),
}  # fmt: skip
"""Tasks by name; the notebook's `task` parameter, studies, their plan, the figures and the tests read this."""


def named(task: str) -> Task:
    """Give a task by its name.

    Raises:
        ValueError: An unknown one.
    """
    if task not in TASKS:
        raise ValueError(f"unknown task {task!r}: expected one of {sorted(TASKS)}")
    return TASKS[task]
