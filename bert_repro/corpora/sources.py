"""Sources: which corpora there are by name, in which files, under which licence, and whether their texts may be shown.

It reads nothing and knows no folder; `corpora` finds the files.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from bert_repro.corpora.reference import named, parts


class Origin(NamedTuple):
    """Authors and origin of texts: the credit that must be given where they are shown."""

    title: str
    link: str
    change: str = "split into words"


@dataclass(frozen=True)
class Source:
    """A registered corpus.

    Attributes:
        home: "data" (files: in the clone's `data/`, or in a folder that DATA= adds) or "tfds" (tensorflow-datasets).
        files: By split its file, or what the dataset calls the split.
        licence: Licence of the texts.
        may_show: Whether sentences of it may stand in a book, a page or a published table.
        origin: What is said where they are.
        where: By split, columns of a TSV and the value that a row must have there to be read.
    """

    home: str
    files: Mapping[str, str]
    licence: str
    may_show: bool
    origin: Origin
    where: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


_SPLITS = ("train", "dev", "test")
_UD, _TREES = "https://github.com/UniversalDependencies/UD_English-", "shown as the treebank's words"
_EWT = Origin("UD English EWT (Silveira et al. 2014)", f"{_UD}EWT", _TREES)
_GUM = Origin("UD English GUM (Zeldes 2017)", f"{_UD}GUM", _TREES)
_PUD = Origin("UD English PUD (Zeman et al. 2017)", f"{_UD}PUD", _TREES)
_MNLI = Origin("MultiNLI (Williams et al. 2018)", "https://cims.nyu.edu/~sbowman/multinli/")
_SQUAD = Origin("SQuAD 1.1 (Rajpurkar et al. 2016)", "https://rajpurkar.github.io/SQuAD-explorer/")
_SHIFTS = Origin("SQuADShifts (Miller et al. 2020)", "https://github.com/modestyachts/squadshifts-website")
_WIKIPEDIA = Origin("Wikipedia", "https://en.wikipedia.org", "split into sentences and words")

CORPORA = {
    "ewt": Source("data", {s: f"ud_ewt/en_ewt-ud-{s}.conllu.gz" for s in _SPLITS}, "CC BY-SA 4.0", True, _EWT),
    "gum": Source(
        "data", {"train": "ud_gum/en_gum-ud-train.dep_only.conllu.gz"} | {s: f"ud_gum/en_gum-ud-{s}.slim.conllu.gz" for s in _SPLITS[1:]},
        "CC BY-NC-SA 4.0", False, _GUM,
    ),
    "pud": Source("data", {"test": "ud_pud/en_pud-ud-test.conllu.gz"}, "CC BY-SA 3.0", True, _PUD),
    # the clean part of dev; the other carrier has lost its full stops (see data/README.md)
    "mnli": Source(
        "data", {"train": "mnli/mnli_train.tsv.gz", "dev": "mnli/mnli_dev.tsv.gz"}, "MultiNLI: OANC and others", False, _MNLI,
        {"dev": {"source": "taxinli"}},
    ),
    "squad": Source(
        "data", {
            "train": "squad/squad_v1.1_train_44articles.json.gz", "extra": "squad/squad_v1.1_train_extra.json.gz",
            "dev": "squad/squad_v1.1_dev_subset.json.gz",
        }, "CC BY-SA 4.0", True, _SQUAD,
    ),
    "squadshifts-wiki": Source(
        "data", {"test": "squadshifts/new_wiki_v1.0.json.gz"}, "CC BY 4.0; texts CC BY-SA", True, _SHIFTS,
    ),
    "squadshifts-amazon": Source(
        "data", {"test": "squadshifts/amazon_reviews_v1.0.first420par.json.gz"}, "CC BY 4.0; texts are users'", False, _SHIFTS,
    ),
    "squadshifts-reddit": Source(
        "data", {"test": "squadshifts/reddit_v1.0.first420par.json.gz"}, "CC BY 4.0; texts are users'", False, _SHIFTS,
    ),
    "wiki": Source(
        "data", {"all": "wiki_text/wiki_paragraphs.tsv.gz"}, "CC BY-SA 3.0", True,
        _WIKIPEDIA._replace(title="Wikipedia, by way of WikiText-2 (Merity et al. 2017)"), {"all": {"source": "wikitext2_test"}},
    ),
    "glue/mnli": Source(
        "tfds", {
            "train": "train", "matched": "validation_matched", "mismatched": "validation_mismatched",
            "dev": "validation_matched+validation_mismatched",
        }, "MultiNLI: OANC and others", False, _MNLI,
    ),
    "squad/v1.1": Source("tfds", {"train": "train", "dev": "validation"}, "CC BY-SA 4.0", True, _SQUAD),
    "universal_dependencies/en_ewt": Source(
        "tfds", {s: s for s in _SPLITS}, "CC BY-SA 4.0; UD 2.10, not ewt's release", True, _EWT
    ),
    "wiki40b/en": Source(
        "tfds", {"train": "train", "dev": "validation", "test": "test"}, "CC BY-SA 3.0; as built by tensorflow-datasets", True,
        _WIKIPEDIA._replace(title="Wikipedia, by way of Wiki-40B (Guo et al. 2020)"),
    ),
}  # fmt: skip
"""Corpora by name; `python -m bert_repro list corpora` shows them."""


def may_show(reference: str) -> bool:
    """Return whether sentences of a corpus may be shown; those of a file are its user's own and may.

    In the layout of another corpus they may where both may: questions of that one are kept.
    """
    return not _withheld(reference)


def _withheld(reference: str) -> list[str]:
    names = map(named, parts(reference))
    return [name for name in names if name in CORPORA and not CORPORA[name].may_show]


def credit(reference: str) -> str:
    """Say on one line whose texts are shown: source, licence, link and change; empty for what is not registered."""
    sources = [CORPORA[name] for name in map(named, parts(reference)) if name in CORPORA]
    return "; ".join(
        f"{source.origin.title}, {source.licence}, {source.origin.link}; {source.origin.change}" for source in sources
    )


def refuse_to_show(reference: str) -> None:
    """Refuse a corpus whose sentences may not be shown.

    Raises:
        ValueError: It is such a corpus; the message says why and names some that may be.
    """
    for name in _withheld(reference):
        shown = ", ".join(name for name, source in CORPORA.items() if source.may_show and source.home == "data")
        raise ValueError(
            f"texts of {name} may not be shown ({CORPORA[name].licence}): take an example from {shown}, or a file of your own"
        )
