"""States: what is stored is what the encoder gives, computed once, whatever interrupts it; reading needs no TensorFlow."""

import json
import subprocess
import sys
from functools import cache

import numpy as np
import pandas as pd
import pytest
from jaxtyping import TypeCheckError

from bert_repro import alignment, checkpoints, corpora, states

EXACT = states.Setting(dtype="float32")


@pytest.fixture
def own_store(tmp_path, monkeypatch):
    """A cache with the common weights and sample, and an empty store."""
    common = states.cache_folder()
    corpora.locate("sample-text")
    checkpoints.resolve("tiny")
    for path in common.iterdir():
        if path.name.startswith(("sample-", "made")):
            (tmp_path / path.name).symlink_to(path)
    monkeypatch.setenv("BERT_REPRO_CACHE", str(tmp_path))
    return tmp_path / "states"


@pytest.fixture
def apart(monkeypatch):
    """Compute in this process; what was asked is recorded."""
    asked = []

    def compute(arguments):
        asked.append(arguments)
        at = arguments.index("--max-length")
        options = dict(zip(arguments[at::2], arguments[at + 1 :: 2], strict=True))
        setting = states.Setting(int(options["--max-length"]), options["--pooling"], options["--dtype"])
        states.compute(arguments[0], arguments[1:at], setting)

    monkeypatch.setattr(states, "_compute_apart", compute)
    return asked


@cache
def naive(reference):
    """Encode sentence by sentence, unpadded, and pool word by word: the mean of the pieces, and the first."""
    from bert_repro import encoder

    folder = checkpoints.resolve("tiny")
    network = encoder.build(checkpoints.read_config(folder), checkpoints.read_weights(folder))
    inputs, _, _ = alignment.align(checkpoints.load_tokenizer(folder), corpora.load(reference).items, 512)
    vectors = []
    for one in inputs:
        given = {"token_ids": one.token_ids[None], "segment_ids": one.segment_ids[None]}
        layers = np.stack([np.asarray(x)[0] for x in network(given | {"mask": np.ones_like(one.token_ids)[None]})])
        for start, stop in zip(one.starts, [*one.starts[1:], len(one.token_ids)], strict=True):
            vectors.append((layers[:, start:stop].mean(1), layers[:, start]))
    mean, first = zip(*vectors, strict=True)
    return {"mean": np.stack(mean, axis=1), "first": np.stack(first, axis=1)}


@pytest.mark.parametrize(
    ("reference", "pooling"),
    [("sample-trees:dev[40]", "mean"), ("sample-trees:dev[40]", "first"), ("sample-nli:dev[15]", "mean")],
)
def test_stored_states_are_the_naive_mean_of_a_words_pieces(own_store, apart, monkeypatch, reference, pooling):
    monkeypatch.setattr(states, "SHARD", 16)
    monkeypatch.setattr(states, "BATCH", 200)
    read = states.get("tiny", reference, states.Setting(pooling=pooling, dtype="float32"))
    everything = read.vectors(np.arange(len(read.rows)))
    assert everything.shape == (3, len(read.rows), 32) == (read.layers, len(read.rows), read.hidden)
    np.testing.assert_allclose(everything, naive(reference)[pooling], atol=1e-5)
    assert (read.rows["pieces"] > 1).any() and read.report.items == len(np.unique(read.rows["sentence"]))


def test_half_precision_is_close(own_store, apart):
    read = states.get("tiny", "sample-trees:dev[40]")
    exact = naive("sample-trees:dev[40]")["mean"]
    stored = read.vectors(np.arange(len(read.rows)))
    assert stored.dtype == np.float32 and (stored == stored.astype(np.float16)).all()
    np.testing.assert_allclose(stored, exact, atol=1e-3 * np.abs(exact).max(), rtol=1e-3)
    assert next(read.folder.glob("*.npy")).stat().st_size < stored.nbytes / 2 + 500


def test_a_killed_job_goes_on_at_its_shard_to_the_same_bytes(own_store, apart, monkeypatch):
    monkeypatch.setattr(states, "SHARD", 10)
    reference = "sample-trees:dev[35]"
    folder = states.get("tiny", reference, EXACT).folder
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    times = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert {"00000.npy", "00003.npy", "rows.parquet", "about.json", ".lock"} == before.keys() - {
        "00001.npy",
        "00002.npy",
    }
    for name in ("00002.npy", "00003.npy", "rows.parquet", "about.json"):
        (folder / name).unlink()
    assert len(states.stored()) == 0  # what is incomplete is not there
    states.get("tiny", reference, EXACT)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert all((folder / name).stat().st_mtime_ns == times[name] for name in ("00000.npy", "00001.npy"))


def test_a_shard_cut_off_while_it_is_written_leaves_nothing(own_store, apart, monkeypatch):
    def save(path, vectors):
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(states, "_save", save)
        with pytest.raises(KeyboardInterrupt):
            states.get("tiny", "sample-trees:dev[5]")
    (folder,) = own_store.iterdir()
    assert [path.name for path in folder.iterdir()] == [".lock"]
    assert states.get("tiny", "sample-trees:dev[5]").folder == folder


def test_states_are_computed_once(own_store, apart, monkeypatch):
    first = states.get_all("tiny", ["sample-trees:dev[5]", "sample-text[5]"])
    assert [len(arguments) for arguments in apart] == [9]  # both by one process
    monkeypatch.setattr(states, "_compute_apart", lambda arguments: pytest.fail("computed again"))
    again = states.get_all("tiny", ["sample-trees:dev[5]", "sample-text[5]"])
    for one, other in zip(first, again, strict=True):
        rows = np.arange(len(one.rows))
        pd.testing.assert_frame_equal(one.rows, other.rows)
        assert one.vectors(rows).tobytes() == other.vectors(rows).tobytes()
        assert one.inputs == other.inputs and one.report == other.report
    stamp = (first[0].folder / "about.json").stat().st_mtime_ns
    states.compute("tiny", ["sample-trees:dev[5]"], states.Setting())  # as a second process that had to wait
    assert (first[0].folder / "about.json").stat().st_mtime_ns == stamp


def test_the_key_follows_everything_the_states_depend_on(own_store, tmp_path):
    corpus = corpora.load("sample-trees:dev[5]")
    settings = [states.Setting(), states.Setting(256), states.Setting(pooling="first"), EXACT]
    places = {states._place("tiny", corpus, setting) for setting in settings}
    places.add(states._place("untrained:tiny", corpus, settings[0]))
    places.add(states._place("tiny", corpora.load("sample-trees:dev[6]"), settings[0]))
    assert len(places) == 6


def test_inputs_as_long_as_the_last_position_are_read(own_store, apart, tmp_path):
    tiny = checkpoints.resolve("tiny")
    config = checkpoints.Config(checkpoints.read_config(tiny).vocab_size, 8, 1, 2, 8, 21)
    (tmp_path / "short").mkdir()
    weights = checkpoints.random_weights(config, seed=0, deviation=0.1)
    checkpoints.write(tmp_path / "short", config, weights, tokenizer_from=tiny, record={})
    read = states.get(str(tmp_path / "short"), "sample-nli:dev[20]", states.Setting(21))
    assert read.report.truncated_items and read.rows["pieces"].groupby(read.rows["sentence"]).sum().max() == 21
    assert np.isfinite(read.vectors(np.arange(len(read.rows)))).all()


@pytest.fixture(scope="module")
def read(tmp_path_factory):
    """A store of five shards, whose vectors can be told from each other."""
    folder = tmp_path_factory.mktemp("read")
    everything = np.random.default_rng(0).standard_normal((4, 50, 6)).astype(np.float16)
    bounds = [0, 11, 12, 30, 41, 50]
    shards = []
    for number, (start, stop) in enumerate(zip(bounds, bounds[1:], strict=False)):
        np.save(folder / f"{number}.npy", everything[:, start:stop])
        shards.append((start, stop, f"{number}.npy"))
    about = {"layers": 4, "hidden": 6, "shards": shards, "report": {}, "inputs": {}}
    (folder / "about.json").write_text(json.dumps(about))
    pd.DataFrame({"sentence": np.arange(50) // 7 * 2}).to_parquet(folder / "rows.parquet")
    return states.HiddenStates(folder), everything.astype(np.float32)


ROWS = [
    range(50), range(10, 13), range(11, 12), range(12, 30), [0], [49], [], [0, 49], [3, 4, 6], [10, 11, 12, 29, 30, 41],
    range(0, 50, 3), [5, 6, 7, 31, 32, 33],
]  # fmt: skip


@pytest.mark.parametrize("rows", ROWS, ids=str)
@pytest.mark.parametrize("layers", [None, [2], [3, 0]])
def test_vectors_are_those_of_the_rows_and_layers_asked_for(read, rows, layers):
    store, everything = read
    rows = np.array(rows, int)
    wanted = everything[slice(None) if layers is None else layers][:, rows]
    assert (store.vectors(rows, layers) == wanted).all() and store.vectors(rows, layers).shape == wanted.shape


@pytest.mark.parametrize("rows", [[3, 3, 5], [4, 3], [0, 50], [-1, 2], [50]])
def test_rows_out_of_order_or_range_are_refused(read, rows):
    with pytest.raises(ValueError, match=r"rows must ascend, each once, between 0 and 49; got"):
        read[0].vectors(np.array(rows))


def test_array_borders_are_checked_while_testing(read):
    with pytest.raises(TypeCheckError, match="rows"):
        read[0].vectors(np.array([0.5]))


def test_layers_out_of_range_are_refused(read):
    assert read[0].check_layers(None) == read[0].check_layers([]) == [0, 1, 2, 3]
    with pytest.raises(ValueError, match=r"layers \[4, -1\] are out of range: .* 0 \(embeddings\) to 3"):
        read[0].vectors(np.arange(3), [0, 4, -1])


def test_bounds_are_the_first_rows_of_sentences(read):
    assert read[0].bounds.tolist() == [0, 7, 14, 21, 28, 35, 42, 49, 50]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"pooling": "max"}, "pooling must be 'mean' or 'first', got 'max'"),
        ({"dtype": "int8"}, "dtype must be .*'int8'"),
    ],
)
def test_an_unknown_setting_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        states.Setting(**values)


def test_limits_that_the_encoder_cannot_keep_are_refused(own_store, tmp_path):
    for limit in (3, 513, 4000):
        with pytest.raises(ValueError, match=f"max_length must lie between 4 and 512 for tiny, got {limit}"):
            states.compute("tiny", ["sample-trees:dev"], states.Setting(limit))
    (tmp_path / "long.txt").write_text("qqqqqq qqqqqq.")
    with pytest.raises(ValueError, match="no item of .*long.txt fits into 5 pieces"):
        states.compute("tiny", [str(tmp_path / "long.txt")], states.Setting(5))


def test_an_error_of_the_encoders_process_is_one_message(own_store):
    with pytest.raises(RuntimeError) as error:
        states.get("tiny", "sample-trees:dev[5]", states.Setting(4000))
    assert str(error.value) == "max_length must lie between 4 and 512 for tiny, got 4000"


def test_a_process_that_dies_without_a_word_is_told(own_store, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(RuntimeError, match="the encoder's process ended with 1"):
        states.get("tiny", "sample-trees:dev[5]")


LIGHT = (
    "states, similarity, figures, claims, tables, study, execute, __main__, corpora, checkpoints, alignment, intervals"
)


def test_reading_needs_no_tensorflow(own_store, tmp_path, monkeypatch):
    """The real way: computed by a child, from another folder, with relative paths; read without TensorFlow."""
    code = f"""
import sys
from bert_repro import {LIGHT}
from bert_repro.probes import structural
import numpy as np
read = states.get("tiny", "mine.txt")
assert len(read.rows) == 2 + 4, read.rows
print(np.isfinite(read.vectors(np.arange(6))).all(), sorted({{"tensorflow", "keras", "torch"}} & set(sys.modules)))
"""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BERT_REPRO_CACHE", ".")
    (tmp_path / "mine.txt").write_text("The cat sleeps.\n")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "True []\n"), done.stderr
    assert len(list(own_store.glob("*/about.json"))) == 1


def test_what_is_stored_is_listed_and_removed(own_store, apart):
    assert states.stored().empty
    for reference in ("sample-trees:dev[5]", "sample-text[5]"):
        states.get("tiny", reference)
    listed = states.stored()
    assert sorted(listed["corpus"]) == ["sample-text[5]", "sample-trees:dev[5]"] and set(listed["model"]) == {"tiny"}
    assert (listed["MB"] >= 0).all()
    states.remove(listed["key"][0])
    assert states.stored()["key"].tolist() == [listed["key"][1]]
    states.remove("all")
    assert states.stored().empty and not list(own_store.iterdir())


@pytest.mark.parametrize("key", ["..", ".", "", "../states", "a/b", "none"])
def test_a_key_that_is_none_removes_nothing(own_store, key):
    (own_store / "kept").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"the store has no entry '.*': `python -m bert_repro states ls` lists them"):
        states.remove(key)
    assert (own_store / "kept").is_dir()


def test_all_models_see_the_same_words(own_store, apart):
    options = {"words": 60, "seed": 3}
    (one,) = states.sample(["tiny", "untrained:tiny"], ["sample-trees:dev[40]"], **options, layers=[0, 2])
    (again,) = states.sample(["untrained:tiny"], ["sample-trees:dev[40]"], **options)
    assert [x.shape for x in one.vectors] == [(2, len(one.sentence), 32)] * 2
    assert one.key == again.key and (one.sentence == again.sentence).all()
    assert (one.vectors[1] == again.vectors[0][[0, 2]]).all() and not np.allclose(*one.vectors)
    assert len(one.sentence) >= 60 and (np.unique(one.sentence) == np.arange(one.sentence[-1] + 1)).all()
    assert (one.corpus, one.split) == ("sample-trees", "dev")
    store = states.get("tiny", "sample-trees:dev[40]")
    usable = set(map(bytes, store.vectors(np.flatnonzero(~store.rows["special"]), [2])[0]))
    assert set(map(bytes, one.vectors[0][1])) <= usable  # whole words, no special tokens
    with pytest.raises(ValueError, match=r"layers \[3\] are out of range"):
        states.sample(["tiny"], ["sample-trees:dev[40]"], **options, layers=[3])
    with pytest.raises(ValueError, match="99999 words were asked for, the corpus has"):
        states.sample(["tiny"], ["sample-trees:dev[40]"], words=99999, seed=3)


def test_models_out_of_step_are_detected(own_store, apart, tmp_path):
    """Another tokenizer, under which the limit cuts other words."""
    tiny = checkpoints.resolve("tiny")
    config = checkpoints.read_config(tiny)
    (tmp_path / "letters").mkdir()
    checkpoints.write(tmp_path / "letters", config, checkpoints.read_weights(tiny), tokenizer_from=tiny, record={})
    (tmp_path / "letters" / "tokenizer.json").unlink()
    whole = (tiny / "vocab.txt").read_text().split("\n")
    spelled = [word if len(word.removeprefix("##")) < 2 or word[0] == "[" else f"[{i}]" for i, word in enumerate(whole)]
    (tmp_path / "letters" / "vocab.txt").write_text("\n".join(spelled))
    models, some = ["tiny", str(tmp_path / "letters")], ["sample-trees:dev[40]"]
    cut = states.Setting(20)
    with pytest.raises(ValueError, match=r"have \d+ and \d+ rows: their tokenizers dropped different words"):
        states.sample(models, some, words=60, seed=3, setting=cut)
    (sample,) = states.sample(models, some, words=60, seed=3)  # without a cut all words are there under both
    assert sample.vectors[0].shape == sample.vectors[1].shape
