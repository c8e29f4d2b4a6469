"""The sample: its trees are trees, its labels and spans hold by construction, and equal seeds give equal bytes."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import conllu
import numpy as np
import pytest

from bert_repro import sample

WORDS = "not no nobody none".split()  # noqa: SIM905
HASH = "import sys, pathlib; from bert_repro import sample; sample.write(pathlib.Path(sys.argv[1]), 3)"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sample")
    sample.write(folder, seed=3)
    return folder


@pytest.fixture(scope="module")
def sentences(folder: Path) -> list[conllu.TokenList]:
    return conllu.parse((folder / "trees-train.conllu").read_text())


def words(sentence: conllu.TokenList) -> list[conllu.Token]:
    return [token for token in sentence if isinstance(token["id"], int)]


def arcs(sentence: conllu.TokenList) -> list[tuple[conllu.Token, conllu.Token]]:
    """Pair every word but the root with its head."""
    tokens = words(sentence)
    return [(token, tokens[token["head"] - 1]) for token in tokens if token["head"]]


def pairs(path: Path) -> list[dict[str, str]]:
    header, *rows = [line.split("\t") for line in path.read_text().splitlines()]
    assert header == ["source", "pairID", "genre", "premise", "hypothesis", "label"]
    return [dict(zip(header, row, strict=True)) for row in rows]


def contexts(path: Path) -> list[dict]:
    return [paragraph for item in json.loads(path.read_text())["data"] for paragraph in item["paragraphs"]]


def hypothesis_words(pair: dict[str, str]) -> list[str]:
    return pair["hypothesis"].lower().rstrip(".").split()


def test_every_sentence_is_one_tree(sentences):
    assert len(sentences) == 1600
    for sentence in sentences:
        tokens = words(sentence)
        assert [token["id"] for token in tokens] == list(range(1, len(tokens) + 1))
        assert [token["deprel"] for token in tokens if token["head"] == 0] == ["root"]
        heads = {token["id"]: token["head"] for token in tokens}
        assert set(heads.values()) <= {0, *heads}
        for start in heads:
            for _ in tokens:  # no path is longer than the sentence
                start = heads.get(start, 0)
            assert start == 0


def test_the_text_is_the_tokens(sentences):
    for sentence in sentences:
        text, covered = "", 0
        for token in sentence:
            first, last = (token["id"][0], token["id"][2]) if isinstance(token["id"], tuple) else (token["id"],) * 2
            if first > covered:
                text, covered = text + token["form"] + ("" if (token["misc"] or {}).get("SpaceAfter") else " "), last
        assert text.rstrip() == sentence.metadata["text"]


def test_constructions_occur(sentences):
    relations = Counter(token["deprel"] for sentence in sentences for token in words(sentence))
    named = "nsubj nsubj:pass obj iobj obl nmod nmod:poss case det amod acl:relcl conj cc advmod aux cop mark advcl"
    for relation in f"{named} xcomp ccomp punct nummod expl appos flat".split():
        assert relations[relation] >= 5, relation
    both = [pair for sentence in sentences for pair in arcs(sentence)]
    assert sum(word["deprel"] == "obl" and head["upos"] == "VERB" for word, head in both) > 100  # phrase on a verb
    assert sum(word["deprel"] == "nmod" and head["upos"] == "NOUN" for word, head in both) > 100  # phrase on a noun
    assert {head["upos"] for word, head in both if word["deprel"] == "conj"} >= {"NOUN", "VERB", "ADJ"}
    far = [word for word, head in both if word["deprel"].startswith("nsubj") and head["id"] - word["id"] >= 5]
    assert len(far) > 100
    assert sum(isinstance(token["id"], tuple) for sentence in sentences for token in sentence) > 30
    assert {"Tense=Past", "Tense=Pres", "Number=Plur", "Number=Sing"} <= {
        f"{name}={value}" for word, _ in both for name, value in (word["feats"] or {}).items()
    }


def test_subjects_and_verbs_agree(sentences):
    checked = 0
    for sentence in sentences:
        for subject, head in arcs(sentence):
            if subject["deprel"] not in ("nsubj", "nsubj:pass") or subject["upos"] not in ("NOUN", "PROPN", "PRON"):
                continue
            below = [word for word, above in arcs(sentence) if above is head and word["deprel"][:3] in ("aux", "cop")]
            finite = [verb for verb in (head, *below) if (verb["feats"] or {}).get("Person")]
            conjuncts = any(word["deprel"] == "conj" for word, above in arcs(sentence) if above is subject)
            number = "Plur" if conjuncts else (subject["feats"] or {}).get("Number")
            if finite and number and finite[0]["upos"] in ("VERB", "AUX"):
                assert finite[0]["feats"]["Number"] == number, sentence.metadata["text"]
                checked += 1
    assert checked > 1000


def test_trees_are_no_chains(sentences):
    near, edges = 0, 0
    for sentence in sentences:
        kept = [token["id"] for token in words(sentence) if token["upos"] != "PUNCT"]
        place = {word: number for number, word in enumerate(kept)}
        lengths = [abs(place[w["id"]] - place[h["id"]]) for w, h in arcs(sentence) if w["upos"] != "PUNCT"]
        near, edges = near + lengths.count(1), edges + len(lengths)
    assert 0.3 < near / edges < 0.55


def test_lengths_and_words_are_many(sentences):
    lengths = [len(words(sentence)) for sentence in sentences]
    assert min(lengths) <= 5 and max(lengths) >= 30 and len({n for n in lengths if 5 <= n <= 50}) >= 25
    assert 11 <= np.median(lengths) <= 15
    types = {token["form"].lower() for sentence in sentences for token in words(sentence)}
    assert 400 <= len(types) <= 2000


def test_same_seed_same_bytes_in_a_fresh_process(folder, tmp_path):
    for turn in ("1", "2"):
        command = [sys.executable, "-c", HASH, str(tmp_path / turn)]
        subprocess.run(command, check=True, env={**os.environ, "PYTHONHASHSEED": turn})
        assert {path.name: path.read_bytes() for path in (tmp_path / turn).iterdir()} == {
            path.name: path.read_bytes() for path in folder.iterdir()
        }


@pytest.mark.parametrize("make", [sample.trees, sample.nli, sample.questions, sample.paragraphs])
def test_seeds_differ_and_n_is_checked(make):
    assert make(12, 1) == make(12, 1) != make(12, 2)
    for n in (0, -3):
        with pytest.raises(ValueError, match=f"got {n}"):
            make(n, 1)


def test_files_hold_what_they_promise(folder):
    assert sorted(path.name for path in folder.iterdir()) == sorted(sample.FILES)
    counts = {
        "trees": lambda path: len(conllu.parse(path.read_text())),
        "nli": lambda path: len(pairs(path)),
        "questions": lambda path: sum(len(context["qas"]) for context in contexts(path)),
        "paragraphs": lambda path: len(path.read_text().splitlines()),
    }
    for name, (kind, n) in sample.FILES.items():
        assert counts[kind](folder / name) == n


def test_splits_share_nothing(folder):
    texts = [
        line
        for part in ("train", "dev", "test")
        for line in (folder / f"trees-{part}.conllu").read_text().splitlines()
        if line.startswith("# text")
    ]
    assert len(texts) == len(set(texts)) == 2200
    both = [(p["premise"], p["hypothesis"]) for part in ("train", "dev") for p in pairs(folder / f"nli-{part}.tsv")]
    assert len(both) == len(set(both)) == 2800
    asked = [c["context"] for part in ("train", "dev") for c in contexts(folder / f"questions-{part}.json")]
    assert len(asked) == len(set(asked))
    lines = (folder / "paragraphs.txt").read_text().splitlines()
    assert len(lines) == len(set(lines)) == 240


def test_labels_are_balanced_and_hypotheses_do_not_tell_them(folder):
    train, dev = pairs(folder / "nli-train.tsv"), pairs(folder / "nli-dev.tsv")
    for part in (train, dev):
        counts = Counter(pair["label"] for pair in part)
        assert len(counts) == 3 and max(counts.values()) - min(counts.values()) <= 1
    votes: dict[str, Counter[str]] = {}
    for pair in train:
        for word in set(hypothesis_words(pair)):
            votes.setdefault(word, Counter())[pair["label"]] += 1
    right = 0
    for pair in dev:
        score: Counter[str] = Counter()
        for word in hypothesis_words(pair):
            seen = votes.get(word, Counter())
            score.update({label: np.log((seen[label] + 1) / (seen.total() + 3)) for label in sample.LABELS})
        right += max(sample.LABELS, key=score.__getitem__) == pair["label"]
    assert right / len(dev) < 0.45  # chance is a third; the brief of the sample allows .60

    by_label = {label: [hypothesis_words(p) for p in train if p["label"] == label] for label in sample.LABELS}
    negated = [np.mean([any(word in WORDS for word in hypothesis) for hypothesis in by_label[x]]) for x in by_label]
    lengths = [np.mean([len(hypothesis) for hypothesis in by_label[x]]) for x in by_label]
    assert min(negated) > 0.2 and max(negated) - min(negated) < 0.1
    assert max(lengths) - min(lengths) < 0.5


def test_every_answer_stands_where_it_says_and_only_there(folder):
    identifiers = []
    for part in ("train", "dev"):
        for paragraph in contexts(folder / f"questions-{part}.json"):
            context = paragraph["context"]
            for question in paragraph["qas"]:
                identifiers.append((part, question["id"]))
                assert question["question"].endswith("?") and "{" not in question["question"]
                (answer,) = question["answers"]
                start = answer["answer_start"]
                assert context[start : start + len(answer["text"])] == answer["text"]
                assert context.count(answer["text"]) == 1
    assert len(identifiers) == len(set(identifiers)) == 720
    sizes = [len(paragraph["qas"]) for paragraph in contexts(folder / "questions-train.json")]
    assert min(sizes) >= 3


def test_paragraphs_have_three_to_seven_sentences(folder):
    for line in (folder / "paragraphs.txt").read_text().splitlines():
        assert 3 <= line.count(". ") + 1 <= 7 and line.endswith(".")
        assert "{" not in line and "?" not in line
