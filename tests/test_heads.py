"""Task heads: losses, scores and readings are the plain formulas, padding and label order change nothing, data that cannot teach is refused."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from bert_repro.alignment import Aligned
from bert_repro.corpora.items import LABELS, Pair, Question, Sentence
from bert_repro.finetune import heads
from bert_repro.finetune.counts import exact_match, f1, tree
from bert_repro.finetune.heads.pairs import PairClassifier
from bert_repro.finetune.heads.parser import Biaffine, BiaffineParser
from bert_repro.finetune.heads.spans import SpanFinder
from bert_repro.finetune.heads.tagger import WordTagger
from bert_repro.finetune.heads.trees import arborescence

CLS, SEP = 101, 102


def log_softmax(x: np.ndarray) -> np.ndarray:
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def encode(*sides, separators: int = 1) -> Aligned:
    """Make an encoder input of words with so many pieces each; RoBERTa's family has two separators between sides."""
    words = [list(range(1000, 1000 + pieces)) for pieces in sides[0]]
    for side in sides[1:]:
        words += [[SEP]] * separators + [list(range(2000, 2000 + pieces)) for pieces in side]
    rows = [[CLS], *words, [SEP]]
    starts = np.cumsum([0, *map(len, rows[:-1])])
    ids = np.array([piece for row in rows for piece in row])
    return Aligned(ids, np.zeros_like(ids), starts)


def connect(head, hidden: int = 8):
    """Give two models of a head: states and extra inputs to what the losses see, and to what is read."""
    states = keras.Input((None, hidden), name="states")
    inputs = {"states": states} | head.extra_inputs
    outputs = head.outputs(states, head.extra_inputs, 0.0)
    return keras.Model(inputs, outputs), keras.Model(inputs, head.predicted)


def draw(inputs, hidden: int = 8) -> np.ndarray:
    """Give random states for padded inputs, the same for an input whatever it stands beside; noise in the padding."""
    length = max(len(one.token_ids) for one in inputs) + 2
    states = np.random.default_rng(99).standard_normal((len(inputs), length, hidden)).astype("float32")
    for i, one in enumerate(inputs):
        n = len(one.token_ids)
        states[i, :n] = np.random.default_rng(n).standard_normal((n, hidden))
    return states


def read(head, reader, items, inputs) -> list:
    states = draw(inputs)
    extra, _ = head.arrays(items, inputs, states.shape[1])
    outputs = reader({"states": states} | extra)
    rows = [{name: np.asarray(array[i]) for name, array in outputs.items()} for i in range(len(items))]
    return [head.read(*each) for each in zip(items, inputs, rows, strict=True)]


def question(words, answers, gap=" ", first=("who", "?")) -> Question:
    """Make a question on a context of words; an answer is a text, or a text and its first character."""
    context, offsets = "", []
    for word in words:
        context += gap
        offsets.append((len(context), len(context) + len(word)))
        context += word
    placed = tuple((a, context.index(a)) if isinstance(a, str) else a for a in answers)
    return Question("q", first, tuple(words), context=context, offsets=tuple(offsets), answers=placed)


def window(item: Question, start: int, end: int) -> Question:
    return Question(
        item.id,
        item.first,
        item.second[start:end],
        context=item.context,
        offsets=item.offsets[start:end],
        answers=item.answers,
    )


PAIRS = [
    Pair("1", ("a",), ("b",), "entailment", "matched"),
    Pair("2", ("c", "e"), ("d",), "contradiction", "mismatched"),
    Pair("3", ("c",), ("d",), "neutral"),
]
PAIR_INPUTS = [encode([1], [2]), encode([2, 1], [3]), encode([1], [1])]
TREES = [
    Sentence("a", ("the", "dog", "barks"), (2, 3, 0), ("det", "nsubj", "root"), ("DET", "NOUN", "VERB")),
    Sentence(
        "b",
        ("it", "sleeps", "now", "or", "never", "."),
        (2, 0, 2, 5, 3, 2),
        ("nsubj", "root", "advmod", "cc", "conj", "punct"),
        ("PRON", "VERB", "ADV", "CCONJ", "ADV", "PUNCT"),
    ),
]
TREE_INPUTS = [encode([1, 2, 1]), encode([1, 1, 1, 1, 3, 1])]
QUESTIONS = [
    question(("Ada", "Lovelace", "wrote", "it", "."), ["Lovelace wrote"]),
    question(("In", "1990s", "Paris", ",", "by", "the", "river"), ["1990", "river"]),
]
QUESTION_INPUTS = [encode([1, 1], [1, 3, 1, 1, 1]), encode([1, 2], [1, 2, 1, 1, 1, 1, 2])]

HEADS = [
    (PairClassifier, PAIRS, PAIR_INPUTS),
    (SpanFinder, QUESTIONS, QUESTION_INPUTS),
    (BiaffineParser, TREES, TREE_INPUTS),
    (WordTagger, TREES, TREE_INPUTS),
]
NAMES = [kind.__name__ for kind, _, _ in HEADS]
every_head = pytest.mark.parametrize(("kind", "items", "inputs"), HEADS, ids=NAMES)


# What all of them promise


@every_head
def test_padding_has_no_gradient(kind, items, inputs):
    head = kind(kind.labels(items))
    trained, _ = connect(head)
    states = draw(inputs)
    extra, targets = head.arrays(items, inputs, states.shape[1])
    with tf.GradientTape() as tape:
        watched = tf.constant(states)
        tape.watch(watched)
        outputs = trained({"states": watched} | {name: tf.constant(array) for name, array in extra.items()})
        assert outputs.keys() == targets.keys() == head.losses.keys()
        loss = sum(head.losses[name](targets[name], outputs[name]) for name in outputs)
    gradient = np.asarray(tape.gradient(loss, watched))
    for one, mine in zip(inputs, gradient, strict=True):
        assert not mine[len(one.token_ids) :].any()
        assert mine[0].any() or kind is WordTagger  # [CLS] takes part in all others


@every_head
def test_an_example_is_read_the_same_alone_and_in_a_batch(kind, items, inputs):
    head = kind(kind.labels(items))
    _, reader = connect(head)
    together = read(head, reader, items, inputs)
    for item, one, found in zip(items, inputs, together, strict=True):
        (alone,) = read(head, reader, [item], [one])
        if kind is SpanFinder:
            assert alone == (pytest.approx(found[0], abs=1e-4), found[1])
        else:
            assert str(alone) == str(found)


@every_head
def test_what_was_never_read_is_wrong(kind, items, inputs):
    head = kind(kind.labels(items))
    _, reader = connect(head)
    for item, reading in zip(items, read(head, reader, items, inputs), strict=True):
        nothing, something = head.score(item, []), head.score(item, [reading])
        assert something.shape == (len(head.metrics), 2)
        np.testing.assert_array_equal(nothing[:, 0], 0)
        np.testing.assert_array_equal(nothing[:, 1], something[:, 1])
        assert nothing[0, 1] > 0 and (something[:, 0] <= something[:, 1]).all()


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "items", "inputs"), HEADS[1:], ids=NAMES[1:])
def test_a_head_learns_two_examples_by_heart(kind, items, inputs):
    keras.utils.set_random_seed(1)
    head = kind(kind.labels(items))
    trained, reader = connect(head, 8)
    trained.compile(keras.optimizers.Adam(0.03), loss=head.losses)
    states = draw(inputs)
    extra, targets = head.arrays(items, inputs, states.shape[1])
    for _ in range(60):
        trained.train_on_batch({"states": states} | extra, targets)
    for item, reading in zip(items, read(head, reader, items, inputs), strict=True):
        right, n = head.score(item, [reading])[0]
        assert right == n or (item.id == "q" and reading[1] == "1990s")  # an answer inside a word is widened to it


@pytest.mark.parametrize(
    ("kind", "items", "said"),
    [
        (
            PairClassifier,
            [PAIRS[0], Pair("x", ("a",), ("b",))],
            "'x' has no label to learn from: a corpus of labelled pairs",
        ),
        (
            PairClassifier,
            [PAIRS[0], Pair("x", ("a",), ("b",), "maybe")],
            "'x' has the label 'maybe': expected one",
        ),
        (PairClassifier, [PAIRS[1]] * 2, "from item '2' on, every label is 'contradiction': at least two labels"),
        (
            SpanFinder,
            [QUESTIONS[0], question("ab", [])],
            "'q' has no answers to learn from: a corpus of questions with",
        ),
        (SpanFinder, PAIRS, "'1' has no answers to learn from"),
        (BiaffineParser, [TREES[0], Sentence("x", ("no",))], "'x' has no heads to learn from: a treebank"),
        (BiaffineParser, [Sentence("x", ("go",), (0,), ("root",))], "from item 'x' on, every label is 'root'"),
        (WordTagger, [TREES[0], Sentence("x", ("go",), (0,), ("root",))], "'x' has no upos to learn from"),
        (WordTagger, [Sentence("x", ("go",), upos=("VERB",))], "from item 'x' on, every label is 'VERB'"),
    ],
)
def test_items_that_cannot_teach_are_refused(kind, items, said):
    with pytest.raises(ValueError, match=said):
        kind.labels(items)


# Losses and layers


def test_masked_cross_entropy_is_the_mean_over_labelled_positions():
    generator = np.random.default_rng(0)
    scores = generator.standard_normal((3, 4, 5)).astype("float32") * 4
    labels = generator.integers(-1, 5, (3, 4))
    labels[0, 0] = -1
    expected = [-log_softmax(scores)[i, j, labels[i, j]] for i, j in zip(*np.nonzero(labels >= 0), strict=True)]
    assert float(heads.MaskedCrossEntropy()(labels, scores)) == pytest.approx(np.mean(expected), rel=1e-6)


def test_masked_cross_entropy_of_no_label_is_zero():
    assert float(heads.MaskedCrossEntropy()(np.full((2, 3), -1), np.ones((2, 3, 4), "float32"))) == 0


def test_biaffine_is_a_bilinear_form_with_biases():
    generator = np.random.default_rng(2)
    dependent = generator.standard_normal((2, 3, 4)).astype("float32")
    head = generator.standard_normal((2, 5, 6)).astype("float32")
    layer = Biaffine(7, every_pair=True)
    found = np.asarray(layer(dependent, head))
    kernel = np.asarray(layer.kernel)
    assert found.shape == (2, 3, 5, 7)
    bilinear = np.einsum("bid,lde,bje->bijl", dependent, kernel[:, :4, :6], head)
    one_side = np.einsum("bid,ld->bil", dependent, kernel[:, :4, 6])[:, :, None]
    other_side = np.einsum("le,bje->bjl", kernel[:, 4, :6], head)[:, None]
    np.testing.assert_allclose(found, bilinear + one_side + other_side + kernel[:, 4, 6], rtol=1e-4, atol=1e-5)


# Pairs


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_the_order_of_the_labels_in_the_output_layer_changes_nothing(order):
    plain, permuted = PairClassifier(LABELS), PairClassifier([LABELS[i].upper() for i in order])
    logits = np.random.default_rng(0).standard_normal((3, 3))
    _, targets = plain.arrays(PAIRS, PAIR_INPUTS, 8)
    _, moved = permuted.arrays(PAIRS, PAIR_INPUTS, 8)
    assert targets["label"].tolist() == [0, 2, 1]
    assert [order[i] for i in moved["label"]] == targets["label"].tolist()
    for item, row in zip(PAIRS, logits, strict=True):
        one = plain.read(item, None, {"label": row})
        assert one == LABELS[row.argmax()]
        assert permuted.read(item, None, {"label": row[list(order)]}) == one


def test_pairs_count_in_their_section():
    head = PairClassifier(LABELS)
    readings = ["entailment", "neutral", "neutral"]
    found = [head.score(item, [reading]) for item, reading in zip(PAIRS, readings, strict=True)]
    np.testing.assert_array_equal(found[0], [[1, 1], [1, 1], [0, 0]])  # matched, right
    np.testing.assert_array_equal(found[1], [[0, 1], [0, 0], [0, 1]])  # mismatched, wrong
    np.testing.assert_array_equal(found[2], [[1, 1], [0, 0], [0, 0]])  # of no section


@pytest.mark.parametrize(
    "names", [["LABEL_0", "LABEL_1", "LABEL_2"], LABELS[:2], [*LABELS, "other"], [LABELS[0]] * 3, []]
)
def test_label_names_that_tell_nothing_are_refused(names):
    with pytest.raises(ValueError) as caught:
        PairClassifier(names)
    assert str(list(names)) in str(caught.value) and "name them in `id2label`" in str(caught.value)


# Questions

TEXT = st.text(alphabet="aAnthe .,!-–é_1\t\n", max_size=25)


@pytest.mark.parametrize(
    ("prediction", "reference", "shared", "exact"),
    [
        ("The Eiffel Tower!", "eiffel  tower", 1, 1),
        ("an apple a day", "apple day", 1, 1),
        ("in Paris", "Paris", 2 / 3, 0),
        ("Rome", "Paris", 0, 0),
        ("", "Paris", 0, 0),
        ("the", "a", 0, 1),  # nothing is left of either: the same, with no word in common
        ("U.S.A.", "usa", 1, 1),
        ("well-known", "well known", 0, 0),  # punctuation goes without leaving a space
        ("no no yes", "no yes yes", 2 / 3, 0),  # a repeated word counts as often as both have it
        ("there", "re", 0, 0),  # an article inside a word stays
        ("1990", "1990s", 0, 0),
    ],
)
def test_f1_and_exact_match_are_those_of_squad(prediction, reference, shared, exact):
    assert f1(prediction, reference) == pytest.approx(shared)
    assert exact_match(prediction, reference) == exact


def naive_words(text: str) -> list[str]:
    kept = [c for c in text.lower() if c not in "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"]
    runs = ["".join(run) for _, run in itertools.groupby(kept, key=str.isalnum)]
    return "".join(" " if run in ("a", "an", "the") else run for run in runs).split()


def naive_f1(prediction: str, reference: str) -> float:
    found, left, common = naive_words(prediction), naive_words(reference), 0
    expected = len(left)
    for word in found:
        if word in left:
            left.remove(word)
            common += 1
    if not common:
        return 0
    precision, recall = common / len(found), common / expected
    return 2 * precision * recall / (precision + recall)


@given(TEXT, TEXT)
def test_f1_and_exact_match_agree_with_a_naive_count(prediction, reference):
    assert f1(prediction, reference) == pytest.approx(naive_f1(prediction, reference))
    assert exact_match(prediction, reference) == (naive_words(prediction) == naive_words(reference))


def test_the_best_reference_counts_for_each_metric():
    item = question(("the", "big", "red", "dog"), ["big red dog", "red", "the big"])
    score = SpanFinder().score
    np.testing.assert_allclose(score(item, [(-1.0, "red dog")]), [[0.8, 1], [0, 1]])
    np.testing.assert_allclose(score(item, [(-1.0, "The red")]), [[1, 1], [1, 1]])


def test_the_best_window_wins():
    item = question(("one", "two", "three"), ["two"])
    for readings in itertools.permutations([(-3.0, "one"), (-0.5, "two"), (-9.0, "three")]):
        assert SpanFinder().score(item, readings)[1, 0] == 1
    assert SpanFinder().score(item, [(-3.0, "one"), (-4.0, "two")])[1, 0] == 0


@given(st.lists(st.integers(1, 4), min_size=1, max_size=45), st.integers(1, 2), st.integers(0, 2**32 - 1))
def test_the_best_span_is_the_best_of_all_spans(pieces, separators, seed):
    head, generator = SpanFinder(), np.random.default_rng(seed)
    item = question([f"w{i}" for i in range(len(pieces))], ["w0"], gap="\n ")
    aligned = encode([1, 2], pieces, separators=separators)
    first = aligned.starts[3 + separators : -1]
    last = first + np.array(pieces) - 1
    start, end = generator.standard_normal((2, len(aligned.token_ids) + 3))
    # what is outside of the context, and what is inside a word, may score as it likes
    start[np.setdiff1d(np.arange(len(start)), first)] = 1000
    end[np.setdiff1d(np.arange(len(end)), last)] = 1000
    score, text = head.read(item, aligned, {"start": start, "end": end})
    spans = [(i, j) for i in range(len(pieces)) for j in range(i, min(i + 30, len(pieces)))]
    i, j = max(spans, key=lambda span: start[first[span[0]]] + end[last[span[1]]])
    assert score == pytest.approx(start[first[i]] + end[last[j]])
    assert text == "\n ".join(item.second[i : j + 1])  # as it stands in the context


def test_no_span_is_longer_than_thirty_words():
    words = [f"w{i}" for i in range(40)]
    start, end = np.full(46, -9.0), np.full(46, -9.0)
    start[4], end[4 + 30] = 0, 0  # 31 words would be best
    end[4 + 29] = -1
    _, text = SpanFinder().read(question(words, ["w0"]), encode([1, 1], [1] * 40), {"start": start, "end": end})
    assert text.split() == words[:30]


@given(st.data())
def test_an_answer_is_found_again_where_the_targets_say(data):
    pieces = data.draw(st.lists(st.integers(1, 3), min_size=2, max_size=25))
    item = question([f"w{i}," for i in range(len(pieces))], [], gap=data.draw(st.sampled_from([" ", "\n ", ""])))
    start = data.draw(st.integers(0, len(pieces) - 1))
    end = data.draw(st.integers(start, len(pieces) - 1))
    begin, behind = item.offsets[start][0], item.offsets[end][1]
    inside = data.draw(st.booleans())  # an answer that cuts into its first and last word
    text = item.context[begin + inside : behind - inside]
    item = question(item.second, [(text, begin + inside)], gap=item.context[: item.offsets[0][0]])
    low, high = (data.draw(st.integers(*bounds)) for bounds in ((0, len(pieces) - 1), (1, len(pieces))))
    if low >= high:
        low, high = 0, len(pieces)
    part, aligned = window(item, low, high), encode([1, 1], pieces[low:high])
    head = SpanFinder()
    extra, targets = head.arrays([part], [aligned], len(aligned.token_ids) + 2)
    found = [int(targets[name][0]) for name in ("start", "end")]
    assert all(extra["allowed"][0, place] for place in found)
    if low <= start and end < high:
        peaks = {name: np.eye(len(aligned.token_ids))[place] for name, place in zip(targets, found, strict=True)}
        assert head.read(part, aligned, peaks) == (2.0, item.context[begin:behind])
    else:
        whole = low <= start and begin + inside + len(text) <= part.offsets[-1][1]
        assert found == [0, 0] and not whole


@pytest.mark.parametrize("gap", [" ", ""])
def test_a_window_learns_the_first_answer_that_lies_in_it(gap):
    item = question(("a", "b", "c", "d", "e"), [f"b{gap}c", "d", "e"], gap)
    whole, aligned = encode([1, 1], [2] * 5), encode([1, 1], [2] * 2)
    head = SpanFinder()
    _, targets = head.arrays([item, window(item, 2, 4), window(item, 0, 2)], [whole, aligned, aligned], 16)
    # the context starts at piece 4
    assert targets["start"].tolist() == [6, 6, 0] and targets["end"].tolist() == [9, 7, 0]


def test_only_the_context_and_cls_have_a_probability():
    head = SpanFinder()
    trained, _ = connect(head)
    extra, _ = head.arrays(QUESTIONS, QUESTION_INPUTS, 16)
    outputs = trained({"states": np.full((2, 16, 8), 3, "float32")} | extra)
    for name in ("start", "end"):
        probabilities = np.exp(outputs[name])
        np.testing.assert_allclose(probabilities.sum(-1), 1, rtol=1e-6)
        np.testing.assert_array_equal(np.flatnonzero(probabilities[0]), [0, *range(4, 11)])
        np.testing.assert_array_equal(np.flatnonzero(probabilities[1]), [0, *range(5, 14)])


@pytest.mark.parametrize("separators", [1, 2])
@pytest.mark.parametrize("left", [0, 1, 3, 4])
def test_a_window_that_was_cut_is_refused(separators, left):
    item = question(("a", "b", "c", "d", "e"), ["b"])
    sides = ([1, 1], [1] * left) if left else ([1],)
    with pytest.raises(ValueError, match="the window of question 'q' was cut: expected all of its 5 words"):
        SpanFinder().arrays([item], [encode(*sides, separators=separators)], 16)


# Parsing


def test_word_vectors_are_the_means_of_their_pieces():
    pooling = heads.word_means(TREE_INPUTS, 16)
    assert pooling.shape == (2, 16, 16)  # the root, six words, and room for as many as there are pieces
    states = np.random.default_rng(0).standard_normal((2, 16, 3))
    words = pooling @ states
    np.testing.assert_allclose(words[:, 0], states[:, 0])  # [CLS] is the root
    np.testing.assert_allclose(words[0, 1:4], [states[0, 1], states[0, 2:4].mean(0), states[0, 4]], rtol=1e-6)
    np.testing.assert_allclose(words[1, 5:7], [states[1, 5:8].mean(0), states[1, 8]], rtol=1e-6)
    assert not pooling[0, 4:].any() and not pooling[1, 7:].any()  # padding
    assert not pooling[0, :, 5:].any() and not pooling[1, :, 9:].any()  # neither [SEP] nor padded pieces take part


def test_parser_targets_are_the_tree():
    parser = BiaffineParser(BiaffineParser.labels(TREES))
    extra, targets = parser.arrays(TREES, TREE_INPUTS, 16)
    np.testing.assert_array_equal(targets["arcs"][0], [-1, 2, 3, 0] + [-1] * 12)
    np.testing.assert_array_equal(targets["arcs"][1], [-1, 2, 0, 2, 5, 3, 2] + [-1] * 9)
    assert tuple(parser.names[r] for r in targets["relations"][1, 1:7]) == TREES[1].relations
    np.testing.assert_array_equal(targets["relations"] < 0, targets["arcs"] < 0)
    np.testing.assert_array_equal(extra["gold_heads"], np.maximum(targets["arcs"], 0))


@pytest.fixture(scope="module")
def parsed():
    """Give a parser with its outputs for two sentences: in training, and what is read."""
    parser = BiaffineParser(BiaffineParser.labels(TREES))
    trained, reader = connect(parser)
    states = draw(TREE_INPUTS)
    extra, targets = parser.arrays(TREES, TREE_INPUTS, states.shape[1])
    inputs = {"states": states} | extra
    return parser, trained, inputs, targets, {name: np.asarray(array) for name, array in reader(inputs).items()}


def every_pair(parser, predicted) -> np.ndarray:
    layer = Biaffine(len(parser.names), every_pair=True)
    layer.build(predicted["dependents"].shape, predicted["heads"].shape)
    layer.kernel.assign(parser.biaffine.kernel)
    return np.asarray(layer(predicted["dependents"], predicted["heads"]))


def test_relations_at_gold_heads_are_those_of_all_pairs(parsed):
    parser, trained, inputs, targets, predicted = parsed
    scores = every_pair(parser, predicted)
    outputs = trained(inputs)
    each = []
    for i, j in zip(*np.nonzero(targets["arcs"] >= 0), strict=True):
        mine = scores[i, j, targets["arcs"][i, j]]
        np.testing.assert_allclose(outputs["relations"][i, j], mine, rtol=1e-4, atol=1e-5)
        each.append(-log_softmax(mine)[targets["relations"][i, j]])
    assert len(each) == 9
    loss = parser.losses["relations"](targets["relations"], outputs["relations"])
    assert float(loss) == pytest.approx(np.mean(each), rel=1e-5)


def test_relations_are_read_at_the_heads_of_the_tree(parsed):
    parser, trained, inputs, _, predicted = parsed
    scores = every_pair(parser, predicted)
    found = np.zeros_like(inputs["gold_heads"])
    readings = []
    for i, (item, one) in enumerate(zip(TREES, TREE_INPUTS, strict=True)):
        n = len(item.words)
        tree, relations = parser.read(item, one, {name: array[i] for name, array in predicted.items()})
        np.testing.assert_array_equal(tree, arborescence(predicted["arcs"][i, 1 : n + 1, : n + 1]))
        assert relations == [parser.names[r] for r in scores[i, np.arange(1, n + 1), tree].argmax(-1)]
        numbers = parser.biaffine.score(predicted["dependents"][i, 1 : n + 1], predicted["heads"][i, tree])
        readings.append(numbers)
        found[i, 1 : n + 1] = tree
    in_keras = trained(inputs | {"gold_heads": found})[
        "relations"
    ]  # the layer of training, given the heads of the tree
    for i, numbers in enumerate(readings):
        np.testing.assert_allclose(numbers, in_keras[i, 1 : len(numbers) + 1], rtol=1e-4, atol=1e-5)


def test_padding_is_never_anybodys_head(parsed):
    arcs = parsed[-1]["arcs"]
    assert arcs.shape == (2, 12, 12)
    assert (arcs[0, :, 4:] < -1e8).all() and (arcs[0, :, :4] > -1e8).all()
    assert (arcs[1, :, 7:] < -1e8).all() and (arcs[1, :, :7] > -1e8).all()


TAGS = st.sampled_from(["PUNCT", "NOUN", "VERB"])
RELATIONS = st.sampled_from(["punct", "nsubj", "nsubj:pass", "root"])


@given(st.lists(st.tuples(st.integers(0, 3), RELATIONS, TAGS, st.integers(0, 3), RELATIONS), min_size=1), st.booleans())
def test_attachment_scores_are_a_naive_count(rows, tagged):
    gold_heads, gold_relations, tags, found_heads, found_relations = zip(*rows, strict=True)
    item = Sentence("x", ("w",) * len(rows), gold_heads, gold_relations, tags if tagged else ())
    parser = BiaffineParser(["a", "b"])
    found = dict(zip(parser.metrics, parser.score(item, [(np.array(found_heads), list(found_relations))]), strict=True))
    expected = {name: [0, 0] for name in parser.metrics}
    for head, relation, tag, other_head, other_relation in rows:
        punctuation = tag == "PUNCT" if tagged else relation == "punct"
        for ending in ("",) if punctuation else ("", "_without_punctuation"):
            expected["uas" + ending][0] += head == other_head
            expected["las" + ending][0] += (head, relation) == (other_head, other_relation)
            expected["uas" + ending][1] += 1
            expected["las" + ending][1] += 1
    assert {name: counts.tolist() for name, counts in found.items()} == expected


def test_a_relation_that_training_never_saw_is_wrong_and_no_error():
    parser = BiaffineParser(BiaffineParser.labels(TREES))
    odd = Sentence("c", ("go", "!"), (0, 1), ("root", "discourse"))
    _, targets = parser.arrays([odd], [encode([1, 1])], 8)
    assert targets["arcs"][0].tolist() == [-1, 0, 1] + [-1] * 5
    assert targets["relations"][0].tolist() == [-1, parser.names.index("root")] + [-1] * 6
    np.testing.assert_array_equal(parser.score(odd, [(np.array([0, 1]), ["root", "punct"])])[:2], [[1, 2], [2, 2]])


# Parts of speech


def test_tags_are_learned_and_read_word_by_word():
    tagger = WordTagger(WordTagger.labels(TREES))
    odd = Sentence("c", ("ouch", "now"), upos=("INTJ", "ADV"))
    _, targets = tagger.arrays([*TREES, odd], [*TREE_INPUTS, encode([1, 1])], 16)
    assert tuple(tagger.names[t] for t in targets["tags"][1, 1:7]) == TREES[1].upos
    assert targets["tags"][0, 4:].tolist() == [-1] * 12 and not (targets["tags"][:, 0] + 1).any()
    assert targets["tags"][2, :3].tolist() == [-1, -1, tagger.names.index("ADV")]  # training never saw INTJ
    logits = np.eye(len(tagger.names))[targets["tags"][1]]
    assert tuple(tagger.read(TREES[1], TREE_INPUTS[1], {"tags": logits})) == TREES[1].upos


def test_words_that_were_cut_off_are_wrong():
    tagger = WordTagger(WordTagger.labels(TREES))
    cut = encode([1, 1, 1, 1])  # of six words
    _, targets = tagger.arrays([TREES[1]], [cut], 8)
    assert targets["tags"][0].tolist() == [-1, *(tagger.names.index(tag) for tag in TREES[1].upos[:4]), -1, -1, -1]
    reading = tagger.read(TREES[1], cut, {"tags": np.eye(len(tagger.names))[targets["tags"][0]]})
    np.testing.assert_array_equal(tagger.score(TREES[1], [reading]), [[4, 6]])


def test_where_no_word_has_a_tag_punctuation_is_what_is_related_so():
    words = Sentence("s", ("Hi", "."), (0, 1), ("root", "punct"), upos=("_", "_"))
    assert tree(words, [0, 1], ["root", "punct"]).tolist() == [[2, 2], [2, 2], [1, 1], [1, 1]]
