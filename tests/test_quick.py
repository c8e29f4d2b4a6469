"""The quick answer on two checkpoints: its numbers are the definitions', what cannot be compared is said, and every line fits."""

import json
import math
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import tuned as definitions
from safetensors.numpy import load_file

from bert_repro import checkpoints, corpora, similarity, states
from bert_repro.__main__ import main
from bert_repro.checkpoints import Checkpoint
from bert_repro.checkpoints.builtin import random_weights
from bert_repro.checkpoints.families import to_raw, weight_table
from bert_repro.checkpoints.vocabulary import SPECIAL, write_tokenizer
from bert_repro.files import ROOT
from bert_repro.states import compute
from bert_repro.workflow import quick, study
from bert_repro.workflow.arguments import parser
from bert_repro.workflow.own import TEMPLATE, Own

CORPUS, WORDS, DEEP = "wiki[30]", 300, 4
CELL = r"(-?\d\.\d{3}) \[(-?\d\.\d{3}), (-?\d\.\d{3})\]"
ROW = re.compile(rf" *(\d+)(?:/(\d+))? +{CELL} +{CELL}(?: *(\S+))?")


NETWORKS = {}


def network_of_the_shape(encoder):
    """Give the network of an earlier checkpoint of this shape, with the weights of this one."""
    config, weights = encoder.checkpoint.config, encoder.checkpoint.weights()
    if config not in NETWORKS:
        # behind the cache, from which other tests would take a network whose weights are changed here
        NETWORKS[config] = compute._network.__wrapped__(encoder.checkpoint.reference, encoder.checkpoint.weights_digest)
    variables = {variable.path: variable for variable in NETWORKS[config].weights}
    for weight in weight_table(config):
        variables[weight.variable].assign(weights[weight.key].T if weight.transposed else weights[weight.key])
    return NETWORKS[config]


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch):
    """Compute hidden states without a process and a network for each checkpoint, which take seconds to start."""
    monkeypatch.setattr(compute._Encoder, "network", property(network_of_the_shape))
    monkeypatch.setattr(states, "_compute_apart", compute.compute_all)


def written(folder, weights=None, config=None, **described):
    """Write a checkpoint with tiny's tokenizer, and tiny's shape where no other is given; `described` goes into its config.json."""
    folder.mkdir(parents=True)
    tiny = checkpoints.open("tiny")
    config = config or tiny.config
    weights = random_weights(config, 0, 0.15) if weights is None else weights
    Checkpoint.write(folder, config, weights, tokenizer_from=tiny)
    if described:
        (folder / "config.json").write_text(json.dumps(to_raw(config) | described))
    return str(folder)


def moved(config, first, size=0.1):
    """Give tiny's kind of weights, those of a layer and of all above it changed."""
    generator = np.random.default_rng(1)
    weights = random_weights(config, 0, 0.15)
    for key, array in weights.items():
        layer = int(key.split(".")[2]) + 1 if key.startswith("encoder") else 0
        if layer >= first:
            weights[key] = array + size * generator.standard_normal(array.shape).astype(np.float32)
    return weights


@pytest.fixture(scope="module")
def deep(tmp_path_factory, cache):
    """An encoder of four blocks, and its config."""
    config = replace(checkpoints.open("tiny").config, num_hidden_layers=DEEP)
    return written(tmp_path_factory.mktemp("deep") / "base", config=config), config


def answered(base, tuned, corpus=CORPUS, words=WORDS, **shown):
    return "\n\n".join(quick.answer(base, tuned, corpus, words, **shown))


def rows_of(text):
    """Read the table: label, the numbers of both measures, what is said of weights."""
    found = [ROW.fullmatch(line) for line in text.splitlines()]
    return [
        (int(row[1]), int(row[2] or row[1]), [float(number) for number in row.groups()[2:8]], row[9])
        for row in found
        if row
    ]


# Numbers


@pytest.mark.slow
@pytest.mark.parametrize(
    ("first", "equal"), [(1, "layer 0"), (2, "layers 0 and 1"), (3, "layers 0 to 2"), (4, "layers 0 to 3")]
)
def test_below_the_first_block_that_changed_nothing_is_shown_to_have(deep, tmp_path, first, equal):
    base, config = deep
    text = answered(base, written(tmp_path / "tuned", moved(config, first), config))
    rows = rows_of(text)
    assert [row[:2] for row in rows] == [(layer, layer) for layer in range(DEEP + 1)]
    for layer, _, numbers, change in rows:
        assert (numbers == [1.0] * 6) == (change == "0") == (layer < first), (layer, numbers, change)
        assert layer < first or (0 < float(change) < 2 and all(number < 1 for number in numbers))
    assert f"\nThe weights of {equal} are exactly equal." in text and "The tokenizer is the same." in text


def test_numbers_are_those_of_the_definitions_on_the_same_words(deep, tmp_path):
    base, config = deep
    other = written(tmp_path / "tuned", moved(config, 0, 0.05), config)
    text = answered(base, other)
    read = [states.get(side, CORPUS) for side in (base, other)]
    drawn = similarity.draw(read[0].rows, WORDS, quick.SEED)
    sentences = read[0].rows["sentence"].to_numpy()[drawn]
    assert f"Compared on wiki: {len(drawn)} words of {len(set(sentences))} sentences or items." in text
    before, after = (load_file(f"{side}/model.safetensors") for side in (base, other))
    for layer, _, numbers, change in rows_of(text):
        x, y = (side.vectors(drawn, [layer])[0] for side in read)
        for (value, low, high), measure in zip(
            (numbers[:3], numbers[3:]), (definitions.rsa, definitions.cka_debiased), strict=True
        ):
            assert value == pytest.approx(measure(x, y), abs=0.00051) and value < 1
            assert low < value < high < low + 0.2
        keys = [key for key in before if key.startswith(f"encoder.layer.{layer - 1}." if layer else "embeddings.")]
        old, new = (np.concatenate([side[key].ravel() for key in keys]).astype(float) for side in (before, after))
        assert float(change) == pytest.approx(math.dist(new, old) / math.hypot(*old), abs=0.000051)
    assert "No layer has exactly the weights that it had; those of layer" in text


@pytest.mark.parametrize("copied", [False, True])
def test_of_the_same_checkpoint_twice_nothing_is_computed(tmp_path, monkeypatch, copied):
    monkeypatch.setattr(states, "get", lambda *asked: pytest.fail("hidden states were read"))
    tiny = checkpoints.open("tiny")
    other = str(shutil.copytree(tiny.folder, tmp_path / "copy")) if copied else "tiny"
    said = answered("tiny", other)
    assert said.splitlines()[-2:] == [
        "The two are the same: equal weights, equal tokenizer. There is nothing to",
        "compare, every similarity is 1.",
    ]
    assert said.splitlines()[:4] == [
        "base   tiny", "       bert, 2 layers, 32 wide, 3,058 wordpieces",
        f"tuned  {other}", "       bert, 2 layers, 32 wide, 3,058 wordpieces",
    ]  # fmt: skip


@pytest.mark.slow
def test_what_no_layer_shows_is_said_in_a_sentence(tmp_path):
    text = answered("tiny", written(tmp_path / "described", finetuning_task="mnli"))
    assert all(row[2] == [1.0] * 6 and row[3] == "0" for row in rows_of(text))
    assert (
        "\nNo layer changed by much: the lowest RSA is 1.000.\nAll weights of the encoder are exactly equal.\n" in text
    )


# What cannot be compared


def reordered(folder):
    """Give tiny's encoder a tokenizer with as many pieces, of which the whole words stand for one another."""
    place = written(folder)
    content = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = content["model"]["vocab"]
    whole = [piece for piece in vocabulary if piece.isalpha() and len(piece) > 1]
    vocabulary |= {f"{piece}x": vocabulary.pop(piece) for piece in whole}
    (folder / "tokenizer.json").write_text(json.dumps(content))
    return place


def cased(folder):
    """Give tiny's encoder a tokenizer that keeps capital letters, which its vocabulary does not know."""
    place = written(folder)
    content = json.loads((folder / "tokenizer.json").read_text())
    content["normalizer"]["lowercase"] = False
    (folder / "tokenizer.json").write_text(json.dumps(content))
    described = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(described | {"do_lower_case": False}))
    return place


def described_otherwise(folder):
    """Give tiny's encoder tokenizer files of other bytes that say the same."""
    place = written(folder)
    path = folder / "tokenizer.json"
    path.write_text(json.dumps(json.loads(path.read_text()), indent=3))
    return place


@pytest.mark.parametrize(
    ("make", "sentence", "same"),
    [
        (described_otherwise, "The tokenizer is the same.", True),
        (cased, "The tokenizers have one vocabulary and other rules, such as lower-casing:", False),
        (reordered, "The tokenizers have other vocabularies: words are compared all the same, each", False),
    ],
)
def test_whether_tokenizers_cut_alike_is_said_and_seen(tmp_path, make, sentence, same):
    text = answered("tiny", make(tmp_path / "other"))
    assert sentence in text.splitlines()[5]
    numbers = [row[2][0] for row in rows_of(text)]
    assert (numbers == [1.0] * 3) == same and [row[3] for row in rows_of(text)] == ["0"] * 3
    assert f"All weights of the encoder are exactly equal{'' if same else ': what changed lies in tokenizer'}" in text
    assert ("Warning:" in text) == (make is cased)


@pytest.mark.slow
def test_another_width_and_depth_are_compared_but_for_the_weights(deep, tmp_path):
    base, config = deep
    wide = written(tmp_path / "wide", config=replace(config, hidden_size=48, num_attention_heads=4))
    text = answered(base, wide)
    assert "\nWeights are not compared: hidden_size is 48, not 32 as in the base.\n" in text
    assert [row[:2] for row in rows_of(text)] == [(layer, layer) for layer in range(DEEP + 1)]
    assert all(row[3] is None for row in rows_of(text)) and "weights:" not in text and "exactly" not in text

    for sides, labels, remark in (
        ((base, "tiny"), [(0, 0), (1, 2), (2, 4)], "Layers: the model has 2 blocks, the reference 4, so layer k stands"),
        (("tiny", base), [(0, 0), (1, 1), (2, 1), (3, 2), (4, 2)], "Layers: the model has 4 blocks, the reference 2, so"),
    ):  # fmt: skip
        text = answered(*sides)
        blocks = [checkpoints.open(side).config.num_hidden_layers for side in sides]
        assert f"Weights are not compared: num_hidden_layers is {blocks[1]}, not {blocks[0]} as" in text
        assert [row[:2] for row in rows_of(text)] == labels and remark in text
        assert "\nlayer: of the tuned encoder / of the base, if it is another" in text
        shown = [line.split()[0] for line in text.splitlines() if "█" in line]
        assert shown == [f"{k}/{j}" if k != j else str(k) for k, j in labels]


@pytest.mark.slow
def test_an_encoder_of_another_vocabulary_is_compared_by_the_means_of_its_pieces(tmp_path):
    letters = [chr(code) for code in range(33, 127) if not chr(code).isupper()]
    pieces = [*SPECIAL.values(), *letters, *(f"##{letter}" for letter in letters)]
    folder = tmp_path / "letters"
    written(folder, config=replace(checkpoints.open("tiny").config, vocab_size=len(pieces)))
    for path in folder.glob("*tok*"):
        path.unlink()
    write_tokenizer(folder, pieces, 512)
    text = answered("tiny", str(folder))
    assert "other vocabularies: words are compared all the same, each by the mean of its pieces." in " ".join(
        text.split()
    )
    assert f"Weights are not compared: vocab_size is {len(pieces)}, not 3058 as in the base." in text
    assert len(rows_of(text)) == 3 and all(-0.2 < row[2][0] < 0.9 for row in rows_of(text))


@pytest.mark.slow
def test_words_that_one_encoder_cannot_take_are_left_out_and_counted(tmp_path):
    short = written(tmp_path / "short", config=replace(checkpoints.open("tiny").config, max_position_embeddings=24))
    text = " ".join(answered("tiny", short).split())
    report = states.get(short, CORPUS).report
    assert report.truncated_words > 0
    assert f"; {report.truncated_words} words of the corpus were left out: not every model was given them." in text


@pytest.mark.parametrize("side", [0, 1])
def test_a_tokenizer_that_does_not_know_the_text_is_warned_of(tmp_path, side):
    other = cased(tmp_path / "cased")
    text = answered(*(("tiny", other), (other, "tiny"))[side])
    opened = checkpoints.open(other)
    found = checkpoints.misfit(opened, CORPUS)
    assert f"{other} reads of {CORPUS} " in found and "of the wordpieces as [UNK]; most likely" in found
    assert f"Warning: {found}. Compared on wiki:" in " ".join(text.split())


# What is refused


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("tiny", "untrained:tiny", CORPUS, 99), "^99 words are too few to compare, with intervals: at least 100 are needed, 2000 are usual$"),
        (("tiny", "untrained:tiny", "wiki[3]", 300), r"^300 words were asked for, wiki\[3\] has \d+: ask for fewer, or name a larger corpus$"),
        (("tiny", "no/such/folder"), "^'no/such/folder' is neither a folder, nor a hub id"),
        (("tiny", "untrained:tiny", "nothing"), "^unknown corpus 'nothing': expected one of "),
    ],
)  # fmt: skip
def test_what_cannot_be_compared_is_refused_before_a_word_is_said(monkeypatch, arguments, message):
    monkeypatch.setattr(states, "get", lambda *asked: pytest.fail("hidden states were read"))
    with pytest.raises(ValueError, match=message):
        next(quick.answer(*arguments))


def test_as_many_words_as_there_are_may_be_asked_for_and_one_more_is_refused():
    there = corpora.census("wiki[5]").words
    assert next(quick.answer("tiny", "tiny", "wiki[5]", there)).startswith("base   tiny\n")
    with pytest.raises(ValueError, match=rf"^{there + 1} words were asked for, wiki\[5\] has {there}: ask for fewer"):
        next(quick.answer("tiny", "tiny", "wiki[5]", there + 1))


def test_the_usual_corpus_has_the_usual_number_of_words():
    there = corpora.census(quick.CORPUS).words
    assert there >= quick.WORDS and f"{there:,} words" in (ROOT / "bert_repro/workflow/quick.py").read_text()


def test_a_damaged_checkpoint_is_refused_also_where_its_weights_are_not_compared(deep, tmp_path):
    wide = written(tmp_path / "wide", config=replace(deep[1], hidden_size=48, num_attention_heads=4))
    (tmp_path / "wide" / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"wide.*model\.safetensors"):
        answered(deep[0], wide)


# Lines


def layer(number, rsa, moved=0.5, beside=None):
    three = rsa, rsa - 0.01, rsa + 0.01
    return quick.Layer(number, number if beside is None else beside, dict.fromkeys(quick.METHODS, three), moved)


@pytest.mark.parametrize("width", [20, 40, 60, 80, 100, 120])
def test_bars_are_as_long_as_their_values_and_fit(width):
    values = [1.0, 0.9995, 0.731, 0.5, 0.25, 0.0101, 0.0, -0.3]
    layers = [layer(number, value) for number, value in enumerate(values)]
    length = max(10, min(width, 100) - 14)
    for blocks, unit in ((True, 8), (False, 1)):
        lines = quick.plot(layers, width, blocks)
        for number, (value, line) in enumerate(zip(values, lines, strict=True)):
            match = re.fullmatch(rf" {{4}}{number} (.{{{length}}}) (-?\d\.\d{{3}})", line)
            bar = match[1].rstrip()
            assert float(match[2]) == round(value, 3)
            whole, rest = (bar.rstrip(quick.EIGHTHS), bar.lstrip(quick.FULL)) if blocks else (bar, "")
            assert set(whole) <= {quick.FULL if blocks else "#"} and len(whole) + len(rest) == len(bar)
            drawn = len(whole) * unit + (1 + quick.EIGHTHS.index(rest) if rest else 0)
            assert abs(drawn - max(value, 0) * length * unit) <= 0.5
        assert max(map(len, lines)) <= max(24, min(width, 100))
    assert all(line.isascii() for line in quick.plot(layers, width, blocks=False))


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("blocks", [True, False])
def test_no_line_is_wider_than_the_terminal(deep, tmp_path, monkeypatch, width, blocks):
    monkeypatch.chdir(tmp_path)
    cased(tmp_path / "other")
    for sides in (("tiny", "other"), ("tiny", deep[0]), ("tiny", "tiny")):
        lines = answered(*sides, width=width, blocks=blocks).replace(deep[0], "deep").splitlines()
        assert max(map(len, lines)) <= width, max(lines, key=len)
        assert max(len(line) for line in lines) > 52
        assert blocks or "".join(lines).isascii()


def test_a_table_keeps_its_columns_and_60_characters_whatever_the_numbers():
    low = dict.fromkeys(quick.METHODS, (-0.123, -0.2, -0.05))
    lines = quick.table([quick.Layer(24, 12, low, 0.1234), layer(0, 1.0, 0.0), layer(1, 1e-6, 1e-9)])
    assert max(map(len, lines)) == 60
    assert lines[0] == "layer RSA                     CKA, debiased          weights"
    assert lines[1] == "24/12 -0.123 [-0.200, -0.050] -0.123 [-0.200, -0.050] 0.1234"
    assert lines[2] == "    0 1.000 [0.990, 1.010]    1.000 [0.990, 1.010]         0"
    assert lines[3] == "    1 0.000 [-0.010, 0.010]   0.000 [-0.010, 0.010]  <0.0001"
    assert quick.table([layer(0, 1.0, None)])[0] == "layer RSA                     CKA, debiased"
    assert quick.table([layer(0, -1e-6, None)])[1] == "    0 0.000 [-0.010, 0.010]   0.000 [-0.010, 0.010]"


def test_only_what_did_not_move_at_all_is_shown_as_0():
    assert quick._share(0.0) == "0"
    for change in (5e-324, 1e-12, 4.9e-5, 5e-5, 0.00149, 0.5, 3.0):
        shown = quick._share(change)
        assert float(shown.lstrip("<")) > 0
        assert shown == "<0.0001" if change < 5e-5 else float(shown) == pytest.approx(change, abs=5.1e-5)


def test_a_single_weight_that_moved_by_its_last_bit_is_no_equal_layer(tmp_path):
    weights = checkpoints.open("tiny").weights()
    key = "encoder.layer.1.output.dense.weight"
    weights[key] = weights[key].copy()
    weights[key][0, 0] = np.nextafter(weights[key][0, 0], np.float32(9))
    text = answered("tiny", written(tmp_path / "bit", weights))
    assert [row[3] for row in rows_of(text)] == ["0", "0", "<0.0001"]
    assert "The weights of layers 0 and 1 are exactly equal." in text


@pytest.mark.parametrize(
    ("encoding", "able"),
    [("utf-8", True), ("UTF-16", True), ("ascii", False), ("latin-1", False), ("cp437", False), (None, False), ("no such", False)],
)  # fmt: skip
def test_blocks_are_drawn_where_the_encoding_has_them(encoding, able):
    assert quick.can_show_blocks(encoding) is able


@pytest.mark.parametrize(
    ("values", "moved", "sentences"),
    [
        ([1, 0.99, 0.7, 0.5], [0, 0, 0.1, 0.2], ["Layers 2 and 3 changed most: RSA falls to 0.500, at layer 3.", "The weights of layers 0 and 1 are exactly equal."]),
        ([1, 0.5, 0.9, 0.7], [0, 0.1, 0, 0.2], ["Layers 1 and 3 changed most: RSA falls to 0.500, at layer 1.", "The weights of layers 0 and 2 are exactly equal."]),
        ([1, 0.6, 0.5, 0.6], [0.1, 0.3, 0.2, 0.2], ["Layers 1 to 3 changed most: RSA falls to 0.500, at layer 2.", "No layer has exactly the weights that it had; those of layer 1 moved most."]),
        ([1, 1, 1, 0.9], [0, 0, 0, 0.2], ["Layer 3 changed most: RSA falls to 0.900.", "The weights of layers 0 to 2 are exactly equal."]),
        ([1, 0.998, 1, 0.997], [0.1] * 4, ["No layer changed by much: the lowest RSA is 0.997.", "No layer has exactly the weights that it had; those of layer 0 moved most."]),
        ([1, 0.5, 0.9, -0.1], [0] * 4, ["Layer 3 changed most: RSA falls to -0.100.", "All weights of the encoder are exactly equal: what changed lies in tokenizer or config."]),
        ([1, 1, 1, 1], [0] * 4, ["No layer changed by much: the lowest RSA is 1.000.", "All weights of the encoder are exactly equal."]),
        ([0.4, 0.5, 0.9, 0.4], [None] * 4, ["Layers 0, 1 and 3 changed most: RSA falls to 0.400, at layer 0."]),
    ],
)  # fmt: skip
def test_the_summary_names_the_layers_that_changed_and_those_that_did_not(values, moved, sentences):
    assert (
        quick.summary([layer(k, value, change) for k, (value, change) in enumerate(zip(values, moved, strict=True))])
        == sentences
    )


def command_of(lines):
    """Give the arguments of the command that is shown, as a shell reads them."""
    program, *arguments = lines
    done = subprocess.run(
        ["bash", "-c", 'python() { printf "%s\\0" "$@"; }\n' + "\n".join([program, *arguments])],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    words = done.stdout.split("\0")[:-1]
    assert words[:2] == ["-m", "bert_repro"]
    return parser().parse_args(words[2:])


@pytest.mark.parametrize(
    ("base", "tuned", "name"),
    [
        ("bert-base-uncased", "org/name@v1.2", "name"),
        ("org/Base_Model@refs/pr/1", "org/BERT_large.v2@main", "bert-large-v2"),
        ("tiny", "untrained-2:tiny", "untrained-2-tiny"),
        ("my base", "some/folder with spaces", "folder-with-spaces"),
        ("/a/b", "runs/2024-11-03 mnli", "mnli"),
        ("/a/b", "runs/2024", "tuned"),
        ("/a/base", "/b/base/", "tuned"),
        ("/a/b", "/b/7-untrained", "tuned"),
        ("/a/it's", '/b/a=b;$HOME `x` "y"', "a-b-home-x-y"),
        ("/a/b", "..", "tuned"),
        ("~/base", "~/tuned-3", "tuned-3"),
    ],
)
def test_the_command_that_is_shown_says_the_same_checkpoints_to_the_command_line(base, tuned, name):
    told, *lines = quick.further(base, tuned)
    assert told.endswith(":") and all(line.startswith("  ") for line in lines)
    given = command_of(lines)
    assert (given.command, given.base, given.tuned, given.study) == ("report", base, [f"{name}={tuned}"], None)
    loaded = study.load(TEMPLATE, Own(base=given.base, tuned=given.tuned))
    assert [model.name for model in loaded.models] == [name]


def test_the_command_at_the_end_is_that_of_the_two_that_were_compared(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    written(tmp_path / "2 of mine" / "3 epochs")
    *_, last = quick.answer("untrained:tiny", "2 of mine/3 epochs", CORPUS, WORDS)
    given = command_of(last.splitlines()[1:])
    assert (given.base, given.tuned) == ("untrained:tiny", ["epochs=2 of mine/3 epochs"])


# The command


def test_the_command_prints_paragraph_by_paragraph(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "70")
    arguments = ["tiny", "untrained:tiny", "--corpus", CORPUS, "--words", str(WORDS)]
    assert main(["compare-checkpoints", *arguments]) == 0
    blocks = quick.can_show_blocks(sys.stdout.encoding)
    assert capsys.readouterr().out == answered("tiny", "untrained:tiny", width=70, blocks=blocks) + "\n"


def test_what_is_not_given_is_the_usual(monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(quick, "answer", lambda *given: asked.append(given) or ["said"])
    assert main(["compare-checkpoints", "a", "b"]) == main(["compare-checkpoints", "a", "b", "--words", "0"]) == 0
    assert [given[:4] for given in asked] == [("a", "b", quick.CORPUS, quick.WORDS), ("a", "b", quick.CORPUS, 0)]
    assert capsys.readouterr().out == "said\nsaid\n"
    with pytest.raises(SystemExit) as ended:
        main(["compare-checkpoints", "--help"])
    assert ended.value.code == 0 and f"{quick.WORDS} if not given" in " ".join(capsys.readouterr().out.split())


@pytest.mark.slow
def test_the_command_line_compares_two_checkpoints_and_refuses_one_that_is_not_there():
    answered("tiny", "untrained:tiny", quick.CORPUS, quick.WORDS)  # so the states are there
    command = [sys.executable, "-m", "bert_repro", "compare-checkpoints", "tiny"]
    shown = os.environ | {"COLUMNS": "60", "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([*command, "untrained:tiny"], capture_output=True, text=True, env=shown)
    assert done.returncode == 0, done.stderr
    text = done.stdout
    assert text.startswith("base   tiny\n") and text.endswith("--tuned untrained-tiny=untrained:tiny\n")
    assert "Compared on wiki: 2004 words of 74 sentences or items." in text and "\n    0 #" in text
    assert max(map(len, text.splitlines())) <= 60
    assert [row[2][0] for row in rows_of(text)][0] > 0.99 > rows_of(text)[2][2][0]

    done = subprocess.run([*command, "no/such/folder"], capture_output=True, text=True, env=shown)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("bert_repro: 'no/such/folder' is neither a folder, nor a hub id such as bert-base-uncased")
