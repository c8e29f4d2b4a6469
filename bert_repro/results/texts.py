"""Texts compared: how much of a difference between two texts is one of what they say, and how much one of their layout.

A task's own text differs from neutral text in both: MNLI's sentences are read two at a time, SQuAD's passages behind a question.
Other text in the layout of the own (`wiki~mnli`) lies between, and so does own text in single sentences (`sides apart`):

    own - other  =  (own - other~own)  +  (other~own - other)
        both     =        text         +        layout

What a table does not hold is left out of the answer, and named there; nothing is guessed.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from bert_repro.corpora.reference import parts
from bert_repro.results import scores, tables
from bert_repro.results.verdicts import number

WHAT = {"both": "layout and text", "text": "text alone, laid out as {how}", "layout": "layout alone, text of {how}"}
"""What may be behind a difference between texts, by the part it is."""
SINGLE = "single sentences"
_SAME = ["notebook", "layer", "target", "probe", "probe_seed", "method", "metric", "model"]
Corpora = Mapping[str, Sequence[str]]
"""By task, names of corpora."""


def apart(table: pd.DataFrame, own: Corpora, neutral: str, alike: Corpora | None = None) -> pd.DataFrame:
    """Subtract other texts from each task's own: in one layout, in two, and one layout from the other.

    Args:
        table: Tidy rows of tuned encoders with their replicates, of any metrics; of a corpus, the first split counts.
        own: What is a task's own text, by the names that corpora have in `data/`.
        neutral: The corpus of neutral text, read as single sentences.
        alike: Corpora that are laid out as a task's own text as they stand.

    Returns:
        The differences of each encoder and, where a task has several seeds, their means, without a seed: tidy rows, `corpus`
        being the text that was subtracted. Beside these `part`, a key of WHAT; `how`, in whose layout texts were compared, or
        of whose text layouts; and `what`, both in words.
    """
    parts_made = [pd.DataFrame(columns=[*tables.COLUMNS, "replicates", "part", "how"]).astype(tables.COLUMNS)]
    for task, rows in table.groupby("task", sort=False):
        names = [name for name in rows["corpus"].unique() if scores.SAME.get(name, name) in own.get(str(task), ())]
        for own_text in names[:1]:
            parts_made += [
                pd.concat([difference, scores.over_seeds(difference)]).assign(part=part, how=case, corpus=text)
                for part, case, text, difference in _parts(rows, own_text, neutral, (alike or {}).get(str(task), ()))
            ]
    differences = pd.concat(parts_made, ignore_index=True)
    return differences.assign(
        what=[WHAT[part].format(how=case) for part, case in zip(differences["part"], differences["how"], strict=True)]
    )


def _parts(
    rows: pd.DataFrame, own: str, neutral: str, alike: Sequence[str]
) -> Iterator[tuple[str, str, str, pd.DataFrame]]:
    """Give part, how, the text that was subtracted, and the differences, of the encoders of a task."""
    own_rows, alone, single = _of(rows, own), _of(rows, neutral), _of(rows, own, "sides apart")
    laid_out = [name for name in rows["corpus"].unique() if parts(name)[1:] == [own]]
    other_texts = [*sorted(laid_out, key=lambda name: parts(name)[0] != neutral), *alike]
    sides = [("both", SINGLE, neutral, own_rows, alone)]
    sides += [("text", own, parts(name)[0], own_rows, _of(rows, name)) for name in other_texts]
    sides += [("text", SINGLE, neutral, single, alone)]
    sides += [
        ("layout", neutral, neutral, _of(rows, f"{neutral}~{own}"), alone),
        ("layout", own, f"{own}, sides apart", own_rows, single),
    ]
    for part, case, text, left, right in sides:
        if {*left["model"]} & {*right["model"]}:
            yield part, case, text, tables.subtract(left, right, text, _SAME)


def _of(rows: pd.DataFrame, corpus: str, classes: str | None = None) -> pd.DataFrame:
    """Take the rows of a corpus, of all words or of a class of them; without their split, as every corpus has its own."""
    of_corpus = rows[(rows["corpus"] == corpus) & (rows["rows"].isna() if classes is None else rows["rows"] == classes)]
    return of_corpus[of_corpus["split"].isin(of_corpus["split"].head(1))].assign(split=pd.NA, rows=pd.NA)


def summed(differences: pd.DataFrame, method: str) -> pd.DataFrame:
    """Take one row for each task, part and text, by one measure: the mean over seeds, or the only seed."""
    rows = differences[differences["method"] == method]
    means_first = rows.sort_values("seed", na_position="first", kind="stable")
    return means_first.drop_duplicates(["task", "part", "how", "corpus"]).sort_index()


def answer(differences: pd.DataFrame, method: str, spelt: Callable[[str], str] = str) -> str:
    """Say from the numbers whether a task's own text changed more than other text in the same layout; as Markdown.

    Asked is neutral text where it was read in that layout, and otherwise the first text that was.

    Args:
        differences: What `apart` gives, of one metric.
        method: The measure that is asked.
        spelt: How names of tasks are spelt.
    """
    rows = summed(differences, method)
    text, whole = (rows[rows["part"] == part].drop_duplicates("task") for part in ("text", "both"))
    if text.empty:
        return "Whether a task's own text changed more than other text in the same layout: not measured in this study."
    phrases: dict[str, list[str]] = {"more": [], "not measurably more": [], "less": []}
    for row in text.itertuples():
        single = f", both in {SINGLE}" if row.how == SINGLE else ""
        phrases[_more(row)].append(f"{spelt(str(row.task))} ({_number(row)} beside {row.corpus}{single})")
    sentence = "; ".join(f"{more} after tuning on {', '.join(tasks)}" for more, tasks in phrases.items() if tasks)
    answered = f"**Beside other text in the same layout, a task's own text changed {sentence}.**"
    if len(whole):
        before = ", ".join(f"{spelt(str(row.task))} {_number(row)}" for row in whole.itertuples())
        answered += f" Beside {SINGLE} of neutral text, where layouts differ as well: {before}."
    laid_out = rows[(rows["part"] == "text") & (rows["how"] != SINGLE) & rows["corpus"].isin(whole["corpus"])]
    if missing := [spelt(str(task)) for task in rows["task"].unique() if task not in set(laid_out["task"])]:
        answered += f" Neutral text in the layout of the own was not measured in this study for {', '.join(missing)}."
    return answered


def listed(differences: pd.DataFrame, method: str, spelt: Callable[[str], str] = str) -> list[str]:
    """Write a line for each task, with a number for each part of WHAT; arguments as in `answer`."""
    lines = []
    for task, rows in summed(differences, method).groupby("task", sort=False):
        by_part = rows.drop_duplicates("part").set_index("part")
        phrases = [
            f"{by_part.loc[part, 'what']} {_number(by_part.loc[part])} (minus {by_part.loc[part, 'corpus']})"
            if part in by_part.index
            else f"{phrase.split(',')[0]}: not measured in this study"
            for part, phrase in WHAT.items()
        ]
        lines.append(f"{spelt(str(task))}: {'; '.join(phrases)}.")
    return lines


def _more(row: Any) -> str:
    return "more" if row.ci_low > 0 else "less" if row.ci_high < 0 else "not measurably more"


def _number(row: Any) -> str:
    return number(row.value, row.ci_low, row.ci_high)
