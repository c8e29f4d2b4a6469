"""The plan of a new encoder: a vocabulary of the size asked for, the same in every run, which others read as we do."""

import itertools
import json
import re
import subprocess
import sys

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from test_cli import fails
from test_readers import file
from tokenizers import Tokenizer

from bert_repro import checkpoints
from bert_repro.__main__ import main
from bert_repro.checkpoints import Checkpoint, initial, vocabulary

STEMS = ["walk", "talk", "jump", "play", "look", "climb", "paint", "wander"]
ENDINGS = ["", "s", "ed", "ing", "er", "ers"]
TEXT = "\n".join(f"The {a}{x} never {b}{y}, and we {b} on: “{a}{y}!”" for a in STEMS for b in STEMS for x in ENDINGS for y in ENDINGS)  # fmt: skip
SMALL = [
    "--size",
    "170",
    "--layers",
    "2",
    "--hidden",
    "16",
    "--attention-heads",
    "2",
    "--feed-forward",
    "32",
    "--positions",
    "40",
]


@pytest.fixture
def text(tmp_path):
    return file(tmp_path, "t.txt.gz", TEXT)


@pytest.fixture
def plan(tmp_path, text):
    assert main(["vocabulary", text, "--out", str(tmp_path / "plan"), *SMALL, "--initializer-range", "0.05"]) == 0
    return tmp_path / "plan"


def test_the_vocabulary_is_that_of_the_text(plan):
    pieces = (plan / "vocab.txt").read_text().splitlines()
    assert len(set(pieces)) == len(pieces) == 170
    assert pieces[:5] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    assert {"a", "##a", "“", "the", "never", "walk", "##ing"} <= set(pieces) and not {"##“", "##,"} & set(pieces)


@pytest.mark.parametrize("words", ["The walkers played, naïve WALKING!", "never ☃ on", "", "its “jumped”!"])
def test_transformers_and_tokenizers_read_it_alike(plan, words):
    ours = Tokenizer.from_file(str(plan / "tokenizer.json")).encode(words)
    theirs = Checkpoint(plan).tokenizer
    assert theirs(words)["input_ids"] == ours.ids and theirs.convert_ids_to_tokens(ours.ids) == ours.tokens
    assert [theirs.pad_token_id, theirs.unk_token_id, theirs.mask_token_id] == [0, 1, 4]
    assert ours.tokens[0] == "[CLS]" and ours.tokens[-1] == "[SEP]" and ("[UNK]" in ours.tokens) == ("☃" in words)
    from transformers import BertTokenizer

    by_pieces = BertTokenizer(str(plan / "vocab.txt"), do_lower_case=True)
    assert by_pieces(words)["input_ids"] == ours.ids


def test_an_encoder_is_drawn_from_the_plan(plan):
    made = checkpoints.open(f"untrained:{plan}")
    made.check()
    config = made.config
    assert config == Checkpoint(plan).config
    assert (config.vocab_size, config.num_hidden_layers, config.hidden_size, config.num_attention_heads) == (
        170,
        2,
        16,
        2,
    )
    assert (config.intermediate_size, config.max_length, config.initializer_range) == (32, 40, 0.05)
    assert made.tokenizer_digest == Checkpoint(plan).tokenizer_digest
    weights = made.weights()
    assert weights["embeddings.word_embeddings.weight"].std() == pytest.approx(0.05, rel=0.1)
    assert json.loads((plan / "tokenizer_config.json").read_text())["model_max_length"] == 40


SHAPE = ["--size", "170", "--layers", "1", "--hidden", "128", "--attention-heads", "4", "--positions", "60"]


@pytest.fixture
def begun(tmp_path, text):
    assert main(["vocabulary", text, "--out", str(tmp_path / "begun"), *SHAPE, "--weights", "3"]) == 0
    made = checkpoints.open(str(tmp_path / "begun"))
    made.check()
    return made


def test_heads_of_the_first_block_begin_by_looking_at_their_neighbours(begun):
    weights = begun.weights()
    positions = weights["embeddings.position_embeddings.weight"]
    assert np.linalg.norm(positions, axis=1) == pytest.approx(np.full(60, initial.LENGTH * 128**0.5), rel=1e-5)
    states = positions / np.linalg.norm(positions, axis=1, keepdims=True) * 64**0.5  # half of the square of a state
    query, key = (
        weights[f"encoder.layer.0.attention.self.{name}.weight"].reshape(4, 32, 128) for name in ("query", "key")
    )
    logits = np.einsum("id,hkd,hke,je->hij", states, query, key, states, optimize=True) / 32**0.5
    waves, inside = 3 * 300 ** -np.linspace(0, 1, 16), np.arange(2, 58)
    for head, ahead in enumerate((-1, 1, -2, 2)):
        away = np.arange(60)[:, None] + ahead - np.arange(60)
        assert logits[head] == pytest.approx(initial.PEAK * np.cos(away[..., None] * waves).mean(-1), abs=1e-3)
        assert (logits[head].argmax(1)[inside] == inside + ahead).all()


def test_all_but_words_positions_and_those_heads_is_as_usual(begun):
    weights, usual = begun.weights(), initial.random_weights(begun.config, 3, 0.02)
    assert {name for name, array in usual.items() if not np.array_equal(array, weights[name])} == {
        "embeddings.word_embeddings.weight",
        "embeddings.position_embeddings.weight",
        "encoder.layer.0.attention.self.query.weight",
        "encoder.layer.0.attention.self.key.weight",
    }


def test_neighbours_are_counted_by_their_distance_inside_paragraphs(plan):
    tokenizer = Checkpoint(plan).tokenizer
    texts = ["the walk, and we talk on", "never and on the walk", "the", "we we we"]
    found = initial.counts(texts, tokenizer, 170).toarray()
    naive = np.zeros((170, 170))
    for text in texts:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        for i, j in itertools.product(range(len(ids)), repeat=2):
            if 0 < abs(i - j) <= 2:
                naive[ids[i], ids[j]] += 1 / abs(i - j)
    assert found == pytest.approx(naive) and found.sum() > 20


def test_wordpieces_with_like_neighbours_begin_alike():
    # two classes that follow each other; what follows what inside them is drawn
    generator = np.random.default_rng(0)
    odd, even = np.arange(1, 40, 2), np.arange(0, 40, 2)
    planted = np.zeros((40, 40))
    planted[np.ix_(odd, even)] = generator.poisson(30, (20, 20))
    counted = csr_matrix(planted + planted.T)
    vectors = initial.embeddings(counted, 2)
    assert vectors.mean(0) == pytest.approx(0, abs=0.05) and (vectors**2).mean(1) == pytest.approx(1, abs=0.02)
    alike = vectors @ vectors.T / 2
    assert alike[np.ix_(odd, odd)].min() > 0.9 and alike[np.ix_(even, odd)].max() < -0.9
    assert initial.embeddings(counted, 2) == pytest.approx(vectors, abs=1e-12)


def test_two_processes_learn_the_same(plan, text):
    code = f"from bert_repro.checkpoints import vocabulary; print(*vocabulary.learn([{text!r}], 170), sep='\\n')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == (plan / "vocab.txt").read_text()


def test_the_alphabet_is_limited_to_what_is_frequent(text, monkeypatch):
    monkeypatch.setattr(vocabulary, "ALPHABET", len(vocabulary.ASCII) + 1)
    pieces = vocabulary.learn([text], 170)
    letters = {piece for piece in pieces if len(piece) == 1}
    assert vocabulary.ASCII < letters and len(letters - vocabulary.ASCII) == 1


def test_an_encoder_without_weights_is_told(plan):
    with pytest.raises(ValueError, match="weights"):
        checkpoints.open(str(plan)).check()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--size", "5000"], r"the text gives [0-9]+ pieces, .* where 5000 were asked for: give more text, or ask for fewer"),
        (["--size", "20"], r"where 20 were asked for: ask for at least as many"),
        (["--hidden", "256", "--attention-heads", "3"], "a width of 256 cannot be split among 3 attention heads"),
        (["--size", "170", "--hidden", "6", "--attention-heads", "2", "--weights", "1"], "first weights need attention heads of an even size, and more .* heads of 3, 170 wordpieces and a width of 6"),
        (["--layers", "0"], "the encoder asked for: num_hidden_layers: Input should be greater than or equal to 1, got 0"),
    ],
)  # fmt: skip
def test_an_impossible_plan_is_told_and_nothing_left_behind(text, tmp_path, capsys, given, message):
    assert re.search(message, fails(capsys, "vocabulary", text, "--out", tmp_path / "plan", *given))
    assert {path.name for path in tmp_path.iterdir()} == {"t.txt.gz"}


def test_a_folder_that_holds_something_is_left_alone(plan, text, capsys):
    before = (plan / "vocab.txt").read_bytes()
    assert "is there and not empty" in fails(capsys, "vocabulary", text, "--out", plan, *SMALL)
    assert (plan / "vocab.txt").read_bytes() == before
