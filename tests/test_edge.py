"""Edge probes on planted labels: what is in the vectors is read off, what is not is not, and both are told apart."""

import json
import math
from typing import get_args

import networkx
import numpy as np
import pandas as pd
import pytest
from planted import States
from scipy.special import log_softmax, softmax

from bert_repro import corpora
from bert_repro.corpora import items
from bert_repro.probes import description_length, edge, spans, treebank
from bert_repro.probes.edge import EdgeProbe
from bert_repro.probes.spans import Labelled
from bert_repro.results import intervals
from bert_repro.workflow import settings

TAGS = ("DET", "NOUN", "VERB")


def labels_of(count, seed, types=300):
    """Sentences of words with a tag each, as labelled spans; a word's tag hangs on its place, not on its form."""
    draw = np.random.default_rng(seed)
    lengths = draw.integers(3, 9, count)
    items = int(lengths.sum())
    rows = np.arange(items)
    return Labelled(
        TAGS, np.stack([rows, rows + 1], -1)[:, None], np.repeat(np.arange(count), lengths), draw.integers(0, 3, items),
        [f"w{n}" for n in draw.integers(0, types, items)], {},
    )  # fmt: skip


def states_of(of, noise=0.3, hidden=12, seed=0):
    """Layer 0 says which word it is, layer 1 also which label it has."""
    directions = np.random.default_rng(99).normal(size=(3, hidden))
    words = {word: np.random.default_rng(int(word[1:])).normal(size=hidden) for word in set(of.words)}
    forms = np.array([words[word] for word in of.words])
    draw = np.random.default_rng(seed)
    return States(np.stack([forms, 0.5 * forms + 3 * directions[of.gold]]).astype(np.float32) + noise * draw.normal(size=(2, *forms.shape)).astype(np.float32))  # fmt: skip


SPLITS = [labels_of(count, seed) for count, seed in ((400, 1), (60, 2), (80, 3))]
STATES = [states_of(of, seed=n) for n, of in enumerate(SPLITS)]


def accuracy(probe, of, states):
    return [row["value"] for row in probe.read(of, states).rows(probe.layers, of.several, "key", 100) if row["metric"] == "accuracy"]  # fmt: skip


# ---- targets


def test_a_treebank_gives_every_target():
    one = corpora.Sentence(
        "s", ("Dogs", "saw", "a", "cat"), (2, 0, 4, 2), ("nsubj", "root", "det", "obj"), ("NOUN", "VERB", "DET", "NOUN"),
        ("NNS", "VBD", "DT", "NN"), ("Number=Plur", "Mood=Ind|Tense=Past", "_", "Number=Sing"),
    )  # fmt: skip
    found = {name: list(target.gold(one)) for name, target in spans.EDGE_TARGETS.items()}
    word = [(i, i + 1) for i in range(4)]
    assert found["upos"] == [(word[i], None, (tag,)) for i, tag in enumerate(one.upos)]
    assert found["xpos"] == [(word[i], None, (tag,)) for i, tag in enumerate(one.xpos)]
    assert found["number"] == [(word[0], None, ("Plur",)), (word[3], None, ("Sing",))]
    assert found["tense"] == [(word[1], None, ("Past",))]
    assert found["relation"] == [
        (word[0], word[1], ("nsubj",)),
        (word[1], word[1], ("root",)),  # the root points to itself
        (word[2], word[3], ("det",)),
        (word[3], word[1], ("obj",)),
    ]
    assert [labels for *_, labels in found["direction"]] == [("right",), ("root",), ("right",), ("left",)]
    assert found["spans"] == []


@pytest.mark.parametrize("name", spans.EDGE_TARGETS)
def test_a_target_keeps_its_contract(name):
    """What an added target is held to: spans of words in the sentence, as many a label as it says, and a title."""
    target = spans.EDGE_TARGETS[name]
    one = corpora.Sentence(
        "s", ("Dogs", "saw", "a", "cat"), (2, 0, 4, 2), ("nsubj", "root", "det", "obj"), ("NOUN", "VERB", "DET", "NOUN"),
        ("NNS", "VBD", "DT", "NN"), ("Number=Plur", "Mood=Ind|Tense=Past", "_", "Number=Sing"),
        (((0, 2), None, ("A0", "A1")),),
    )  # fmt: skip
    edges = list(target.gold(one))
    assert edges and target.title and target.description and target.metric in ("accuracy", "f1")
    for first, second, labels in edges:
        given = [first] if second is None else [first, second]
        assert len(given) == target.spans and all(0 <= start < end <= 4 for start, end in given)
        assert labels and all(isinstance(label, str) for label in labels)


def tree_of(n, seed):
    """Give the heads of a random tree."""
    tree = networkx.random_labeled_rooted_tree(n, seed=seed)
    parent = dict(networkx.bfs_predecessors(tree, tree.graph["root"]))
    return tuple(parent.get(i, -1) + 1 for i in range(n))


def test_every_arc_has_a_partner_as_far_apart_that_is_none():
    dropped = 0
    for seed in range(30):
        n = 3 + seed
        heads = tree_of(n, seed)
        one = corpora.Sentence("s", tuple(f"w{i}" for i in range(n)), heads)
        found = list(spans.EDGE_TARGETS["arc"].gold(one))
        assert found == list(spans.EDGE_TARGETS["arc"].gold(one))  # the draw is the sentence's
        assert [labels for *_, labels in found] == [("arc",), ("none",)] * (len(found) // 2)
        for (dependent, head, _), (first, second, _) in zip(found[::2], found[1::2], strict=True):
            assert heads[dependent[0]] == head[1] and heads[first[0]] != second[1]
            assert (
                second[0] - first[0] == head[0] - dependent[0] and 0 <= min(first + second) <= max(first + second) <= n
            )
        dropped += n - 1 - len(found) // 2
        partnerless = sum(
            all(heads[j] == j + head - i for j in range(n) if 0 <= j + head - 1 - i < n)
            for i, head in enumerate(heads)
            if head
        )
        assert len(found) // 2 == n - 1 - partnerless
    assert 0 < dropped < 30  # such as the one arc from the last word to the first
    assert not list(spans.EDGE_TARGETS["arc"].gold(corpora.Sentence("s", ("a", "b"), (0, 1))))


def bank_of(sentences):
    lines = []
    for number, one in enumerate(sentences):
        forms = ("[CLS]", *one.words, "[SEP]")
        lines += [(number, form, form in ("[CLS]", "[SEP]")) for form in forms]
    rows = pd.DataFrame(lines, columns=["sentence", "form", "special"]).astype({"form": "string"})
    return treebank.treebank(sentences, rows, least=1)


def test_labels_are_those_of_training_and_others_are_wrong_and_counted():
    train = bank_of(
        [corpora.Sentence("a", ("x", "y"), upos=("NOUN", "VERB")), corpora.Sentence("b", ("z",), upos=("NOUN",))]
    )
    dev = bank_of([corpora.Sentence("c", ("X", "q"), upos=("VERB", "INTJ"))])
    first = spans.labelled("upos", train)
    assert first.labels == ("NOUN", "VERB") and first.gold.tolist() == [0, 1, 0]
    assert first.spans[:, 0].tolist() == [[1, 2], [2, 3], [5, 6]]  # rows, [CLS] and [SEP] between
    assert first.sentence.tolist() == [0, 0, 1]
    second = spans.labelled("upos", dev, first.labels)
    assert second.gold.tolist() == [1, -1] and second.words == ["x", "q"]
    assert second.skipped["labels that training never saw"] == 1
    assert second.digest == spans.labelled("upos", dev, first.labels).digest
    other = bank_of([corpora.Sentence("c", ("X", "q"), upos=("NOUN", "INTJ"))])
    assert second.digest != spans.labelled("upos", other, first.labels).digest
    probe = EdgeProbe([0], epochs=1)
    states = States(np.random.default_rng(0).normal(size=(1, 8, 4)).astype(np.float32))
    probe.fit(first, states, second, states)
    read = probe.read(second, states)
    assert read.hits[0, 1] == 0 and read.bits[0, 1] == 0 and read.bits[0, 0] > 0
    assert len(first.of(np.array([1])).gold) == 1 and first.of(np.array([1])).sentence.tolist() == [0]


def test_a_split_without_a_label_of_training_is_refused():
    other = bank_of([corpora.Sentence("c", ("X", "q"), upos=("VERBUM", "NOMEN"))])
    none = r"^target 'upos': no label of this split, as \['NOMEN', 'VERBUM'\], is one of training's, as \['NOUN', 'VERB'\]$"
    with pytest.raises(ValueError, match=none):
        spans.labelled("upos", other, ("NOUN", "VERB"))


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("x", r"unknown target 'x' of an edge probe: expected one of \['arc', 'direction', "),
        ("tense", r"target 'tense' \(tense of the words that have one\): 0 labels in 0 spans, at least two are needed"),
        ("upos", "target 'upos' .*: 1 labels in 2 spans, at least two are needed"),
    ],
)
def test_a_target_that_cannot_be_read_is_refused(target, message):
    with pytest.raises(ValueError, match=message):
        spans.labelled(target, bank_of([corpora.Sentence("a", ("x", "y"), upos=("NOUN", "NOUN"))]))


# ---- edge-probing files


def write(path, *records):
    path.write_text("\n".join(json.dumps(record) for record in records) + "\n")
    return str(path)


def test_an_edge_probing_file_is_read(tmp_path):
    path = write(
        tmp_path / "ner.jsonl",
        {"text": "Ada Lovelace wrote it", "targets": [{"span1": [0, 2], "label": "PERSON"}], "info": {"id": 7}},
        {"text": "He saw Rome", "targets": [{"span1": [0, 1], "span2": [2, 3], "label": ["a", "b"]}]},
    )
    one, other = corpora.load(path).items
    assert one.words == ("Ada", "Lovelace", "wrote", "it") and (one.id, other.id) == ("7", "line-2")
    assert one.spans == (((0, 2), None, ("PERSON",)),) and other.spans == (((0, 1), (2, 3), ("a", "b")),)
    found = spans.labelled("spans", bank_of([one, corpora.Sentence("x", ("A",), spans=(corpora.load(path).items[0].spans[0]._replace(first=(0, 1), labels=("GPE",)),))]))  # fmt: skip
    assert found.labels == ("GPE", "PERSON") and found.words == ["ada lovelace", "a"] and not found.several
    assert found.spans.tolist() == [[[1, 3]], [[7, 8]]]


def test_labels_of_one_span_and_of_two_are_not_mixed():
    one, two = (corpora.Sentence(name, ("A", "b"), spans=(items.Labelled((0, 1), second, (name,)),))
                for name, second in (("x", None), ("y", (1, 2))))  # fmt: skip
    with pytest.raises(ValueError, match="target 'spans': sentence 'x' labels one span, where other targets label two"):
        spans.labelled("spans", bank_of([one, two]))


def labelled_as(*labels):
    spans_of = tuple(items.Labelled((number, number + 1), None, tuple(one)) for number, one in enumerate(labels))
    return bank_of([corpora.Sentence("s", tuple("abcdef"[: len(labels)]), spans=spans_of)])


def test_a_span_without_a_label_has_none_where_there_can_be_several_and_is_left_out_where_each_has_one():
    one = spans.labelled("spans", labelled_as("x", "", "y"))
    assert one.gold.tolist() == [0, 1] and one.words == ["a", "c"] and one.skipped["spans without a label"] == 1
    several = spans.labelled("spans", labelled_as("x", "", "xy"))
    assert several.gold.tolist() == [[True, False], [False, False], [True, True]]
    assert "spans without a label" not in several.skipped


def test_whether_spans_have_several_labels_is_a_matter_of_training():
    train = spans.labelled("spans", labelled_as("x", "xy"))
    test = spans.labelled("spans", labelled_as("x", "y"), train.labels, several=train.several)
    assert test.gold.tolist() == [[True, False], [False, True]]
    alone = spans.labelled("spans", labelled_as("x", "y"))
    with pytest.raises(ValueError, match="a span of sentence 's' has several labels, in training each has one"):
        spans.labelled("spans", labelled_as("x", "xy"), alone.labels, several=alone.several)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"text": "a b", "targets": [{"span1": [0, 3], "label": "x"}]}, r":1: sentence 'line-1': the span \[0, 3\] is empty or lies outside its 2 words"),
        ({"text": "a b", "targets": [{"span1": [1, 1], "label": "x"}]}, r"the span \[1, 1\] is empty"),
        ({"text": "a b", "targets": []}, "x.jsonl holds no sentence: .*; 1 sentences without targets"),
        ({"text": " ", "targets": [{"span1": [0, 1], "label": "x"}]}, "a sentence without words"),
        ({"text": "a b"}, ":1: not an edge-probing record .text, targets > span1, span2 or none, label.,.*: KeyError"),
        ({"text": "a b", "targets": [{"span1": [0.5, 1], "label": "x"}]}, "a span is two whole numbers"),
        ({"text": "a b", "targets": [{"span1": [0], "label": "x"}]}, "not an edge-probing record"),
        ([1], "not an edge-probing record"),
    ],
)  # fmt: skip
def test_a_broken_edge_probing_file_is_refused(tmp_path, record, message):
    with pytest.raises(ValueError, match=message):
        corpora.load(write(tmp_path / "x.jsonl", record))


# ---- the loss


def literal_loss(probe, parameters, batch, layer):
    """One layer, span by span."""
    gold = batch.gold
    vectors = np.concatenate([[average @ one for one in batch.vectors] for average in batch.averages], axis=-1)
    parts = {name: array[layer] for name, array in probe._parts(parameters).items()}
    total = 0.0
    for item in range(len(gold)):
        x = vectors[layer, item]
        if probe.mixed:
            weights = softmax(parts["mix"][: layer + 1])
            x = parts["gamma"][0] * sum(w * vectors[k, item] for k, w in enumerate(weights))
        if probe.kind == "bilinear":
            halves = zip(np.split(x, 2), np.split(parts["first"], 2), parts["shift"], strict=True)
            x = np.prod([half @ reading + shift for half, reading, shift in halves], axis=0)
        elif probe.kind != "linear":
            x = x @ parts["first"]
        if probe.kind == "mlp":
            x = np.maximum(x + parts["shift"], 0)
        logits = x @ parts["last"] + parts["bias"]
        if gold.ndim == 2:
            total += sum(math.log1p(math.exp(-v if yes else v)) for v, yes in zip(logits, gold[item], strict=True))
        elif gold[item] >= 0:
            total -= log_softmax(logits)[gold[item]]
    return total / len(gold)


CASES = [(kind, mixed, several) for kind in edge.KINDS for mixed in (False, True) for several in (False, True)]


@pytest.mark.parametrize(("kind", "mixed", "several"), CASES)
def test_loss_and_gradient(kind, mixed, several):
    draw = np.random.default_rng(4)
    probe = EdgeProbe([0, 1, 2], kind, 3, mixed=mixed)
    probe._begin(5, 2, 4, np.ones(3))
    parameters = draw.normal(size=(3, sum(math.prod(shape) for shape in probe.shapes.values())))
    gold = draw.integers(0, 2, (7, 4)).astype(bool) if several else np.array([0, 3, 1, -1, 2, 2, 0])
    places = np.stack([draw.integers(0, 6, (7, 2)), draw.integers(6, 9, (7, 2))], -1)
    batch = edge.Batch(draw.normal(size=(3, 8, 5)), spans.averages(places, 8), gold)
    every = np.arange(3)
    losses, gradient = probe.loss(parameters, batch, every, True)
    assert np.array_equal(probe.loss(parameters, batch, every, False)[0], losses)
    for layer in every:
        assert losses[layer] == pytest.approx(literal_loss(probe, parameters, batch, layer), rel=1e-6)
    for at in np.ndindex(*parameters.shape):
        step = np.zeros_like(parameters)
        step[at] = 1e-6
        up, down = (probe.loss(parameters + sign * step, batch, every, False)[0] for sign in (1, -1))
        assert gradient[at] == pytest.approx((up - down)[at[0]] / 2e-6, rel=1e-5, abs=1e-7)
    alone, own = probe.loss(parameters[[0, 2]], batch, np.array([0, 2]), True)
    assert np.allclose(alone, losses[[0, 2]]) and np.allclose(own, gradient[[0, 2]])


def test_first_weights_follow_the_seed_alone():
    """`first` is drawn before `last`, in every process."""
    begun = EdgeProbe([0, 2], "mlp", 3, seed=7)._begin(5, 2, 4, np.ones(2))
    for vector, layer in zip(begun, (0, 2), strict=True):
        draw = np.random.default_rng([7, layer])
        first = draw.uniform(-1, 1, (10, 3)) / np.sqrt(10)
        last = draw.uniform(-1, 1, (3, 4)) / np.sqrt(3)
        expected = np.concatenate([first.ravel(), np.zeros(3), last.ravel(), np.zeros(4)])
        assert np.array_equal(vector, expected.astype(np.float32))


def test_spans_are_means_of_their_words():
    vectors = np.arange(24.0).reshape(2, 6, 2)
    first, second = spans.averages(np.array([[[0, 1], [2, 5]], [[1, 3], [5, 6]]]), 6)
    assert np.allclose(first @ vectors[1], [vectors[1, 0], vectors[1, 1:3].mean(0)])
    assert np.allclose(second @ vectors[0], [vectors[0, 2:5].mean(0), vectors[0, 5]])


# ---- planted labels


@pytest.mark.slow
@pytest.mark.parametrize("kind", edge.KINDS[:3])
def test_planted_labels_are_read_off_and_labels_by_lot_are_not(kind):
    probe = EdgeProbe([0, 1], kind, 8, epochs=12, batch_size=4)
    probe.fit(SPLITS[0], STATES[0], SPLITS[1], STATES[1])
    blind, seeing = accuracy(probe, SPLITS[2], STATES[2])
    assert blind < 0.42 and seeing > 0.97
    lot = spans.controls("upos", SPLITS, [], 1)
    probe.fit(lot[0], STATES[0], lot[1], STATES[1])
    assert seeing - accuracy(probe, lot[2], STATES[2])[1] > 0.3  # selective


def test_a_lot_hangs_on_the_word_alone_and_keeps_the_frequencies():
    of = labels_of(3000, 5, types=2000)
    _, lot = spans.controls("upos", [SPLITS[0], of], [], 1)
    by_word = {}
    for word, label in zip(lot.words, lot.gold.tolist(), strict=True):
        assert by_word.setdefault(word, label) == label
    shares = np.bincount(list(by_word.values()), minlength=3) / len(by_word)
    assert shares == pytest.approx(np.bincount(SPLITS[0].gold) / len(SPLITS[0].gold), abs=0.04)
    again, other = (spans.controls("upos", [SPLITS[0], of], [], seed)[1] for seed in (1, 2))
    assert np.array_equal(again.gold, lot.gold) and not np.array_equal(other.gold, lot.gold)


def test_heads_by_lot_are_the_first_or_the_last_word_by_the_dependent_alone():
    sentences = [
        corpora.Sentence(str(n), tuple(f"w{(n * i) % 7}" for i in range(n)), tree_of(n, n)) for n in range(3, 12)
    ]
    banks = [bank_of(sentences), bank_of(sentences[::-1])]
    given = [spans.labelled("arc", banks[0])]
    given.append(spans.labelled("arc", banks[1], given[0].labels))
    ends, again = spans.controls("arc", given, banks, 1)
    assert ends.labels == given[0].labels == ("arc", "none") and not np.array_equal(ends.spans, given[0].spans)
    assert len(ends.gold) == 2 * sum(len(one.words) - 2 for one in sentences)
    chosen = {}
    for of in (ends, again):
        for item in range(0, len(of.gold), 2):
            assert of.gold[item] + of.gold[item + 1] == 1 and of.spans[item, 1, 0] < of.spans[item + 1, 1, 0]
            assert chosen.setdefault(of.words[item], of.gold[item]) == of.gold[item]
    assert set(chosen.values()) == {0, 1}
    assert spans.controls("spans", given, banks, 1) == []


@pytest.mark.parametrize(("kind", "mixed"), [("linear", False), ("mlp", False), ("linear", True)])
def test_layers_trained_together_equal_each_trained_alone(kind, mixed):
    together = EdgeProbe([0, 1], kind, 4, mixed=mixed, epochs=3)
    fitted = together.fit(*(one for pair in zip(SPLITS[:2], STATES[:2], strict=True) for one in pair))
    scores = accuracy(together, SPLITS[2], STATES[2])
    for layer in (0,) if mixed else (0, 1):  # a mix of the layers up to the lowest is that one
        alone = EdgeProbe([layer], kind, 4, mixed=mixed, epochs=3)
        one = alone.fit(*(one for pair in zip(SPLITS[:2], STATES[:2], strict=True) for one in pair))
        assert np.allclose(one.dev_loss[:, 0], fitted.dev_loss[:, layer], rtol=1e-4)
        assert accuracy(alone, SPLITS[2], STATES[2]) == pytest.approx([scores[layer]], abs=1e-3)


@pytest.mark.slow
def test_a_mix_finds_the_layer_that_knows():
    probe = EdgeProbe([0, 1], mixed=True, epochs=12, batch_size=4)
    probe.fit(SPLITS[0], STATES[0], SPLITS[1], STATES[1])
    assert probe.mix.sum(1) == pytest.approx([1, 1]) and probe.mix[0].tolist() == [1, 0]
    assert probe.mix[1, 1] > 0.6
    below, with_it = accuracy(probe, SPLITS[2], STATES[2])
    assert with_it > 0.95 > below


@pytest.mark.slow
def test_several_labels_have_micro_f1():
    gold = np.stack([SPLITS[0].gold == 0, SPLITS[0].gold != 2], -1)  # one label, both, or none
    of = Labelled(("a", "b"), SPLITS[0].spans, SPLITS[0].sentence, gold, SPLITS[0].words, {})
    probe = EdgeProbe([0, 1], epochs=12, batch_size=4)
    probe.fit(of, STATES[0], of, STATES[0])
    read = probe.read(of, STATES[0])
    rows = {(row["metric"], row["layer"]): row["value"] for row in read.rows([0, 1], True, "key", 100)}
    said = read.said[1].sum()
    hits, due = read.hits[1].sum(), gold.sum()
    assert rows["f1", 1] == pytest.approx(2 / (said / hits + due / hits)) and rows["f1", 1] > 0.95
    assert rows["accuracy", 1] == pytest.approx(((read.hits[1] == read.said[1]) & (read.hits[1] == gold.sum(1))).mean())


def test_the_majority_says_what_is_most_frequent_in_training():
    train, of = labels_of(50, 7), labels_of(20, 8)
    most = np.bincount(train.gold).argmax()
    (row,) = edge.majority(of, train).rows([None], False, "key", 100)
    assert row["value"] == pytest.approx((of.gold == most).mean()) and "layer" not in row


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            {"kind": "x"},
            r"unknown kind 'x' of an edge probe: expected one of \['linear', 'low-rank', 'mlp', 'bilinear'\]",
        ),
        ({"kind": "mlp", "size": 0}, "the size of a probe must be at least 1, got 0"),
        ({"kind": "low-rank", "size": 13}, "the rank 13 is above the width of the states, 12"),
        ({"kind": "bilinear"}, "a bilinear probe reads two spans, and these labels are of 1: use low-rank"),
    ],
)
def test_wrong_probes_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        EdgeProbe([0, 1], **wrong).fit(SPLITS[0], STATES[0], SPLITS[1], STATES[1])


# ---- two words that belong together


def matches(count, seed, hidden=8, noise=0.2):
    """Sentences of six words with a planted match each; a word's key is its own, its query the key of its match."""
    draw = np.random.default_rng(seed)
    mates = np.concatenate([draw.permutation(6) + 6 * n for n in range(count)])
    keys = draw.normal(size=(6 * count, hidden))
    rows = np.arange(6 * count)
    others = 6 * (rows // 6) + (mates + draw.integers(1, 6, 6 * count)) % 6
    pairs = np.stack([np.stack([rows, mates], -1), np.stack([rows, others], -1)], 1).reshape(-1, 2)
    of = Labelled(
        ("arc", "none"), np.stack([pairs, pairs + 1], -1), np.repeat(np.arange(count), 12), np.tile([0, 1], 6 * count),
        [f"w{row}" for row in pairs[:, 0]], {},
    )  # fmt: skip
    vectors = np.concatenate([keys, keys[mates] + noise * draw.normal(size=keys.shape)], -1)
    return of, States(vectors[None].astype(np.float32))


@pytest.mark.slow
def test_a_bilinear_probe_finds_matches_that_no_sum_of_two_words_shows():
    (train, trained), (dev, stopped), (test, tested) = (
        matches(count, seed) for count, seed in ((300, 1), (60, 2), (60, 3))
    )
    found = {}
    for kind in ("linear", "low-rank", "bilinear"):
        probe = EdgeProbe([0], kind, 24, epochs=40, batch_size=8)
        probe.fit(train, trained, dev, stopped)
        (found[kind],) = accuracy(probe, test, tested)
    assert found["linear"] < 0.56 and found["low-rank"] < 0.56 and found["bilinear"] > 0.85, found
    assert spans.EDGE_TARGETS["arc"].kind == "bilinear"


# ---- description length


@pytest.mark.slow
@pytest.mark.parametrize(("slope", "hidden"), [(1.0, 4), (3.0, 4), (2.0, 12)])
def test_the_online_code_reaches_the_entropy(slope, hidden):
    """Labels of a known entropy given the vectors cost that, and what it takes to learn k weights: k / 2 log2 n bits."""
    direction = np.random.default_rng(5).normal(size=hidden)
    direction *= slope / np.linalg.norm(direction)

    def planted(count, seed):
        draw = np.random.default_rng(seed)
        vectors = draw.normal(size=(5 * count, hidden))
        chance = 1 / (1 + np.exp(-vectors @ direction))
        rows = np.arange(5 * count)
        gold = (draw.random(5 * count) < chance).astype(int)
        of = Labelled(
            ("no", "yes"), np.stack([rows, rows + 1], -1)[:, None], rows // 5, gold, [f"w{row}" for row in rows], {}
        )
        entropy = -(chance * np.log2(chance) + (1 - chance) * np.log2(1 - chance)).sum()
        return of, States(vectors[None].astype(np.float32)), entropy

    train, states, entropy = planted(1600, 1)
    dev, dev_states, _ = planted(300, 2)
    code = description_length.online_code(EdgeProbe([0], batch_size=40), train, states, dev, dev_states)
    labels, weights = len(train.gold), 2 * (hidden + 1)
    learning = weights / 2 * np.log2(labels)
    print(f"{code.bits.sum():.0f} bits of {entropy:.0f} + {learning:.0f}; uniform {code.uniform.sum():.0f}")
    assert 0 < 0.95 * entropy < code.bits.sum() < 1.05 * entropy + learning < code.uniform.sum()


def test_a_code_whose_probes_had_not_done_learning_says_so(monkeypatch):
    monkeypatch.setitem(description_length.PLATEAU, "epochs", 2)
    told = (
        "online code: after 1, 2, 4, .* 200 sentences dev still gained in epoch 2: this code is longer than it need be"
    )
    with pytest.warns(UserWarning, match=told):
        description_length.online_code(EdgeProbe([0]), SPLITS[0], STATES[0], SPLITS[1], STATES[1])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:online code")
def test_the_online_code_is_what_its_blocks_cost(monkeypatch):
    brief = {"updates": 30, "epochs": 4, "tolerance": 1e-3}
    monkeypatch.setattr(description_length, "PLATEAU", brief)
    probe = EdgeProbe([0, 1], epochs=4, batch_size=4)
    code = description_length.online_code(probe, SPLITS[0], STATES[0], SPLITS[1], STATES[1])
    words = np.bincount(SPLITS[0].sentence)
    assert code.uniform == pytest.approx(words * np.log2(3))
    order = np.random.default_rng([1, 0]).permutation(400)
    ends = [1, 2, 4, 7, 13, 25, 50, 100, 200, 400]
    naive = np.zeros((2, 400))
    naive[:, order[0]] = code.uniform[order[0]]
    for start, end in zip(ends, ends[1:], strict=False):
        fresh = EdgeProbe([0, 1], batch_size=4)
        known = SPLITS[0].of(np.sort(order[:start]))
        fresh.fit(known, STATES[0], SPLITS[1], STATES[1], **brief)
        read = fresh.read(SPLITS[0], STATES[0])
        for item, sentence in enumerate(SPLITS[0].sentence):
            if sentence in order[start:end]:
                naive[:, sentence] += read.bits[:, item]
    assert code.bits == pytest.approx(naive, rel=1e-4)
    rows = {(row["metric"], row["layer"]): row for row in code.rows([0, 1], 9, "key", 100)}
    assert rows["kbits", 0]["value"] == pytest.approx(naive[0].sum() / 1000, rel=1e-4)
    assert rows["compression", 1]["value"] == pytest.approx(code.uniform.sum() / naive[1].sum(), rel=1e-4)
    weights = intervals.draws("key", 400, 100)
    drawn = (weights @ code.uniform) / (weights @ code.bits[1])
    assert rows["compression", 1]["replicates"] == pytest.approx(drawn, rel=1e-5)
    assert rows["compression", 1]["value"] > 1.2 > 1.1 > rows["compression", 0]["value"]  # what is there compresses


@pytest.mark.slow
def test_labels_by_lot_are_dearer_than_planted_ones():
    lot = spans.controls("upos", SPLITS, [], 1)
    real, other = (
        description_length.online_code(
            EdgeProbe([1], epochs=4, batch_size=4), three[0], STATES[0], three[1], STATES[1]
        ).bits.sum()
        for three in (SPLITS, lot)
    )
    assert other > 1.2 * real


def test_one_sentence_cannot_be_split():
    with pytest.raises(ValueError, match="1 sentence with labels cannot be split into blocks: at least two are needed"):
        description_length.online_code(EdgeProbe([0]), SPLITS[0].of(np.array([3])), STATES[0], SPLITS[1], STATES[1])


def test_expected_layer_and_centre_of_gravity():
    assert description_length.expected_layer(np.array([0.5, 0.6, 0.9])) == pytest.approx((1 * 0.1 + 2 * 0.3) / 0.4)
    assert description_length.expected_layer(np.array([[0.2, 0.4, 0.4], [0.1, 0.1, 0.3]])) == pytest.approx([1, 2])
    assert np.isnan(description_length.expected_layer(np.array([0.5, 0.5])))
    assert np.isnan(description_length.expected_layer(np.array([0.5])))
    assert description_length.expected_layer(np.array([0.5, 0.7]), [0, 3]) == pytest.approx(3)
    assert description_length.centre_of_gravity(np.array([0.5, 0.5]), [2, 6]) == pytest.approx(4)
    assert description_length.centre_of_gravity(np.array([0.25, 0.25, 0.5])) == pytest.approx(1.25)
    # base BERT on EWT dependencies, from published cumulative scores: 2.52
    published = np.array([85.2, 90.2, 91.3, 92.6, 93.7, 94.1, 94.6, 94.9, 95.2, 95.2, 95.1, 95.3, 95.2])
    assert description_length.expected_layer(published) == pytest.approx(2.52, abs=0.03)


def test_a_study_knows_the_kinds_of_probes_by_name():
    assert get_args(settings.EdgeSetting.model_fields["probe"].annotation) == edge.KINDS
