"""Texts compared: what is behind a difference adds up, and is said in words that the numbers bear out."""

import numpy as np
import pytest

from bert_repro.results import tables, texts

OWN = {"nli": ["mnli"], "parsing": ["ewt"]}


def planted(changes, task="nli", seeds=(1, 2, 3), noise=0.004, methods=("rsa",), **more):
    """Rows of tuned encoders: the change on each text, some of them given with their class of words, and a little of every seed."""
    generator = np.random.default_rng(0)
    return tables.tidy(
        {"notebook": "similarity", "role": "score", "task": task, "model": f"{task}-{seed}", "seed": seed, "corpus": corpus,
         "split": "dev[60]", "rows": rows[0] if rows else None, "method": method, "metric": "change", "value": value + seed / 1000,
         "ci_low": 0, "ci_high": 1, "n": 10, "replicates": value + seed / 1000 + noise * generator.normal(size=100), **more}
        for (corpus, *rows), value in changes.items() for seed in seeds for method in methods
    )  # fmt: skip


def numbers(differences, **where):
    for column, value in where.items():
        differences = differences[differences[column] == value]
    return differences["value"].astype(float).tolist()


LAYOUT_ONLY = {("wiki",): 0.15, ("mnli",): 0.29, ("wiki~mnli",): 0.29, ("mnli", "sides apart"): 0.15}


def test_both_is_the_sum_of_text_and_layout_for_every_encoder():
    table = planted({("wiki",): 0.15, ("mnli",): 0.31, ("wiki~mnli",): 0.27, ("pud~mnli",): 0.2})
    found = texts.apart(table, OWN, "wiki")
    for model in ("nli-1", "nli-2", "nli-3", "nli"):  # the last is the mean
        both, text, layout = (
            numbers(found, model=model, part=part, corpus="wiki") for part in ("both", "text", "layout")
        )
        assert both == pytest.approx(np.add(text, layout)) and both == pytest.approx([0.16])
        assert text == pytest.approx([0.04]) and layout == pytest.approx([0.12])
    assert numbers(found, model="nli", corpus="pud") == pytest.approx([0.11])
    for _, row in found[found["seed"].notna()].iterrows():
        assert row["ci_low"] < row["value"] < row["ci_high"] and row["ci_high"] - row["ci_low"] == pytest.approx(
            0.022, rel=0.5
        )


def test_sides_read_apart_give_layout_and_text_as_well():
    found = texts.apart(planted(LAYOUT_ONLY), OWN, "wiki")
    means = found[found["seed"].isna()]
    assert [*zip(means["part"], means["what"], means["corpus"], strict=True)] == [
        ("both", "layout and text", "wiki"),
        ("text", "text alone, laid out as mnli", "wiki"),
        ("text", "text alone, laid out as single sentences", "wiki"),
        ("layout", "layout alone, text of wiki", "wiki"),
        ("layout", "layout alone, text of mnli", "mnli, sides apart"),
    ]
    assert means["value"].tolist() == pytest.approx([0.14, 0, 0, 0.14, 0.14])


def test_encoders_are_compared_with_themselves_alone():
    table = planted(LAYOUT_ONLY)
    missing = (table["model"] == "nli-2") & (table["corpus"] == "wiki~mnli")
    found = texts.apart(table[~missing], OWN, "wiki")
    assert set(found.loc[found["what"] == "text alone, laid out as mnli", "model"]) == {"nli-1", "nli-3", "nli"}


def test_texts_have_the_names_that_each_study_gives_them():
    names = {"wiki": "wiki40b/en", "mnli": "glue/mnli", "wiki~mnli": "wiki40b/en~glue/mnli"}
    table = planted({(names[name],): value for (name, *rows), value in LAYOUT_ONLY.items() if not rows})
    found = texts.apart(table, OWN, "wiki40b/en")
    assert numbers(found, model="nli") == pytest.approx([0.14, 0, 0.14])


def test_of_a_corpus_the_first_split_counts_and_classes_of_words_do_not():
    table = tables.pd.concat([
        planted(LAYOUT_ONLY | {("mnli", "content"): 0.9}), planted({("mnli",): 0.8, ("wiki",): 0.7}, split="train")
    ])  # fmt: skip
    assert numbers(texts.apart(table, OWN, "wiki"), model="nli", part="both") == pytest.approx([0.14])


def test_a_text_may_be_alike_as_it_stands():
    table = planted({("ewt",): 0.30, ("pud",): 0.28, ("wiki",): 0.27}, task="parsing")
    found = texts.apart(table, OWN, "wiki", {"parsing": ["pud", "gum"]})
    assert numbers(found, model="parsing", part="text") == pytest.approx([0.02])


def test_one_seed_stands_for_itself():
    rows = texts.summed(texts.apart(planted(LAYOUT_ONLY, seeds=(4,), methods=("rsa", "cka")), OWN, "wiki"), "cka")
    assert rows["seed"].tolist() == [4] * 5 and rows["part"].tolist() == ["both", "text", "text", "layout", "layout"]


@pytest.mark.parametrize(("own", "said"), [(0.31, "more"), (0.29, "not measurably more"), (0.27, "less")])
def test_the_answer_is_that_of_one_layout_whatever_both_together_say(own, said):
    found = texts.apart(planted(LAYOUT_ONLY | {("mnli",): own}), OWN, "wiki")
    answer = texts.answer(found, "rsa", str.upper)
    assert answer.startswith(
        f"**Beside other text in the same layout, a task's own text changed {said} after tuning on NLI ("
    )
    assert " beside wiki).** Beside single sentences of neutral text, where layouts differ as well: NLI +0.1" in answer
    assert "not measured" not in answer


def test_answers_of_several_tasks_are_told_together_and_what_is_missing_is_named():
    table = tables.pd.concat([
        planted(LAYOUT_ONLY), planted({("ewt",): 0.30, ("pud",): 0.25, ("wiki",): 0.24}, task="parsing")
    ])  # fmt: skip
    answer = texts.answer(texts.apart(table, OWN, "wiki", {"parsing": ["pud"]}), "rsa")
    assert "changed more after tuning on parsing (+0.050 [" in answer and "]" in answer
    assert "; not measurably more after tuning on nli (" in answer
    assert answer.endswith("Neutral text in the layout of the own was not measured in this study for parsing.")
    apart_only = planted({key: value for key, value in LAYOUT_ONLY.items() if key != ("wiki~mnli",)})
    assert "beside wiki, both in single sentences).**" in texts.answer(texts.apart(apart_only, OWN, "wiki"), "rsa")


def test_what_was_not_measured_is_said():
    found = texts.apart(planted({("wiki",): 0.1, ("mnli",): 0.2}), OWN, "wiki")
    unknown = "Whether a task's own text changed more than other text in the same layout: not measured in this study."
    assert texts.answer(found, "rsa") == unknown
    (line,) = texts.listed(found, "rsa")
    assert line.startswith("nli: layout and text +0.100 [") and line.endswith(
        "(minus wiki); text alone: not measured in this study; layout alone: not measured in this study."
    )
    nothing = texts.apart(planted({("wiki",): 0.1}), OWN, "wiki")
    assert nothing.empty and texts.answer(nothing, "rsa") == unknown and texts.listed(nothing, "rsa") == []


def test_a_line_has_a_number_for_each_part():
    (line,) = texts.listed(texts.apart(planted(LAYOUT_ONLY), OWN, "wiki"), "rsa", str.upper)
    assert line.startswith("NLI: layout and text +0.140 [") and line.count("(minus wiki)") == 3
    assert "; text alone, laid out as mnli +0.000 [" in line.replace("-0.000", "+0.000")
    assert "; layout alone, text of wiki +0.140 [" in line


def test_rows_without_replicates_are_refused():
    with pytest.raises(ValueError, match="rows without replicates cannot be paired"):
        texts.apart(planted(LAYOUT_ONLY).assign(replicates=None), OWN, "wiki")
