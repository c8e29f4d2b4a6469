"""States: what is stored is what the encoder gives, computed once, whatever interrupts it; reading needs no TensorFlow."""

import gzip
import subprocess
import sys
from dataclasses import replace
from functools import cache
from itertools import cycle, islice

import numpy as np
import pandas as pd
import pytest
import yaml
from jaxtyping import TypeCheckError

from bert_repro import alignment, checkpoints, corpora, files, similarity, states
from bert_repro.__main__ import main
from bert_repro.checkpoints import Checkpoint
from bert_repro.checkpoints.builtin import random_weights
from bert_repro.checkpoints.families import Config
from bert_repro.corpora import counted
from bert_repro.probes import scores, structural, treebank
from bert_repro.results import intervals
from bert_repro.states import compute, store
from bert_repro.workflow import plan
from bert_repro.workflow.own import Own

EXACT = states.Setting(dtype="float32")


@pytest.fixture
def own_store(tmp_path, monkeypatch):
    """A cache with the common weights, and an empty store."""
    common = files.cache_folder()
    checkpoints.open("tiny")
    for path in common.iterdir():
        if path.name == "made":
            (tmp_path / path.name).symlink_to(path)
    monkeypatch.setenv("BERT_REPRO_CACHE", str(tmp_path))
    return tmp_path / "states"


def sample(models, wanted, setting=None, **options):
    """Draw from what is computed now."""
    read = [*wanted, *([options["like"]] if "like" in options else [])]
    return similarity.sample(
        [dict(zip(read, states.get_all(one, read, setting), strict=True)) for one in models], wanted, **options
    )


NEW_NETWORK, NETWORKS = compute._Encoder.__dict__["network"], {}


def shared_network(encoder):
    weights = encoder.checkpoint.weights_digest
    if weights not in NETWORKS:
        NETWORKS[weights] = NEW_NETWORK.fget(encoder)
    return NETWORKS[weights]


@pytest.fixture
def apart(monkeypatch):
    """Compute in this process, with a network for each checkpoint; what was asked is recorded."""
    asked = []
    monkeypatch.setattr(compute._Encoder, "network", property(shared_network))

    def here(model, missing):
        asked.extend(wanted for wanted, *_ in missing)
        compute.compute_all(model, missing)

    monkeypatch.setattr(states, "_compute_apart", here)
    return asked


@cache
def naive(reference):
    """Encode sentence by sentence, unpadded, and pool word by word: the mean of the pieces, and the first."""
    from bert_repro import encoder

    tiny = checkpoints.open("tiny")
    network = encoder.build(tiny.config, tiny.weights())
    inputs, _, _ = alignment.align(tiny.tokenizer, corpora.load(reference).items, 512)
    vectors = []
    for one in inputs:
        given = {"token_ids": one.token_ids[None], "segment_ids": one.segment_ids[None]}
        layers = np.stack([np.asarray(x)[0] for x in network(given | {"mask": np.ones_like(one.token_ids)[None]})])
        for start, stop in zip(one.starts, [*one.starts[1:], len(one.token_ids)], strict=True):
            vectors.append((layers[:, start:stop].mean(1), layers[:, start]))
    mean, first = zip(*vectors, strict=True)
    return {"mean": np.stack(mean, axis=1), "first": np.stack(first, axis=1)}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("reference", "pooling"),
    [("ewt:dev[40]", "mean"), ("ewt:dev[40]", "first"), ("mnli:dev[15]", "mean"), ("wiki~squad:dev[3]", "mean")],
)
def test_stored_states_are_the_naive_mean_of_a_words_pieces(own_store, apart, monkeypatch, reference, pooling):
    monkeypatch.setattr(states, "SHARD", 120)
    read = states.get("tiny", reference, states.Setting(pooling=pooling, dtype="float32"))
    everything = read.vectors(np.arange(len(read.rows)))
    assert everything.shape == (3, len(read.rows), 32) == (read.layers, len(read.rows), read.hidden)
    np.testing.assert_allclose(everything, naive(reference)[pooling], atol=1e-5)
    assert (read.rows["pieces"] > 1).any() and read.report.items == len(np.unique(read.rows["sentence"]))
    assert {"corpus": read.corpus, "split": read.split} == corpora.columns(reference)


@pytest.mark.slow
def test_of_drawn_sentences_alone_are_there_vectors_and_of_all_the_words(own_store, apart, monkeypatch):
    monkeypatch.setattr(states, "SHARD", 120)  # some of which hold nothing that was drawn
    reference, only = "mnli:dev[40]", [1, 5, 6, 39]
    whole = states.get("tiny", reference, EXACT)
    (part,) = states.get_all("tiny", [reference], EXACT, {reference: only})
    pd.testing.assert_frame_equal(part.rows, whole.rows)
    pd.testing.assert_frame_equal(states.words(["tiny"], [reference])[reference][0], whole.rows)
    assert (part.report, part.left_out, part.inputs) == (whole.report, whole.left_out, whole.inputs)
    rows = np.flatnonzero(whole.rows["sentence"].isin(only))
    for some in (rows, rows[::3], rows[:0]):
        np.testing.assert_allclose(part.vectors(some, [2, 0]), whole.vectors(some, [2, 0]), atol=1e-5)
    assert [len(x) for x in (part._maps, whole._maps)] == [len(whole._starts) - 1] * 2
    assert sum(array.size for array in part._maps) == 3 * 32 * len(rows)
    with pytest.raises(ValueError, match="^sentence 2 of mnli:dev.40. was not drawn: its vectors are not computed$"):
        part.vectors(np.flatnonzero(whole.rows["sentence"] == 2))
    with pytest.raises(ValueError, match="^rows must ascend"):
        part.vectors(np.array([len(whole.rows)]))
    listed = states.stored().set_index("key").loc[part.folder.name]
    assert (listed["setting"], listed["state"]) == ("dtype=float32, 4 sentences drawn", "complete")
    assert states.get_all("tiny", [reference], EXACT, {reference: only})[0].folder == part.folder and len(apart) == 2


@pytest.mark.slow
@pytest.mark.parametrize(("words", "units", "seed"), [(60, 0, 1), (60, 12, 2), (10_000, 0, 1)])
def test_what_is_drawn_beforehand_is_what_a_sample_reads(own_store, apart, words, units, seed):
    reference = "mnli:dev[40]"
    only = similarity.drawn(states.words(["tiny"] * 2, [reference]), words, seed, units)
    drawn, whole = (dict.fromkeys([reference], states.get_all("tiny", [reference], EXACT, o)[0]) for o in (only, None))
    assert (len(only[reference]) == 40) == (words == 10_000)
    if words == 10_000:
        with pytest.raises(ValueError, match="^10000 words were asked for"):
            similarity.sample([drawn], [reference], words=words, seed=seed)
        return
    asked = {"seed": seed, "of": ("words", "[CLS]", "once")}
    for more in ({"words": words, "units": units}, {"words": words}, {"words": 30}):
        for one, other in zip(
            *(similarity.sample([x], [reference], **asked, **more) for x in (drawn, whole)), strict=True
        ):
            assert (one.key, one.rows, one.left_out) == (other.key, other.rows, other.left_out)
            np.testing.assert_array_equal(one.sentence, other.sentence)
            np.testing.assert_allclose(one.vectors[0], other.vectors[0], atol=1e-5)


def test_half_precision_is_close(own_store, apart):
    read = states.get("tiny", "ewt:dev[40]")
    exact = naive("ewt:dev[40]")["mean"]
    stored = read.vectors(np.arange(len(read.rows)))
    assert stored.dtype == np.float32 and (stored == stored.astype(np.float16)).all()
    np.testing.assert_allclose(stored, exact, atol=1e-3 * np.abs(exact).max(), rtol=1e-3)
    assert next(read.folder.glob("*.npy")).stat().st_size < stored.nbytes / 2 + 500


@pytest.mark.slow
def test_half_precision_costs_less_than_a_thousandth(own_store, apart):
    """What is stored as float16 gives the same geometry, and the same trees, as what is not."""
    reference = "ewt:dev[60]"
    half, exact = states.get("tiny", reference), states.get("tiny", reference, EXACT)
    rows = similarity.draw(exact.rows, 300, 0)
    sentence = np.unique(exact.rows["sentence"].to_numpy()[rows], return_inverse=True)[1]
    weights = intervals.draws("key", int(sentence[-1]) + 1, 100)
    for one, other in zip(half.vectors(rows), exact.vectors(rows), strict=True):
        assert similarity.MEASURES["rsa"].function([one, other], [(0, 1)], sentence, weights)[0][0] > 1 - 1e-6
    bank = treebank.treebank(corpora.treebank(reference).items, exact.rows)
    probe = structural.StructuralProbe("distance", [0, 1, 2], rank=16)
    probe.scale, probe.projection = np.ones(3), np.random.default_rng(0).standard_normal((3, 32, 16))
    one, other = (scores.score_distances(bank, probe.predict(bank, read))[0] for read in (half, exact))
    assert np.abs((one.right - other.right).sum(1)).max() / one.all.sum() < 1e-3


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name not in (".lock", ".readers")}


@pytest.fixture
def encoded(monkeypatch):
    """The positions of the shards that were encoded, shards being small; every job has a network of its own."""
    monkeypatch.setattr(states, "SHARD", 100)
    monkeypatch.setattr(compute._Encoder, "network", NEW_NETWORK)
    seen = []
    encode = compute._Encoder.encode

    def remembering(self, items, position, *only):
        seen.append(position)
        return encode(self, items, position, *only)

    monkeypatch.setattr(compute._Encoder, "encode", remembering)
    return seen


@pytest.mark.slow
def test_a_killed_job_goes_on_at_its_shard_to_the_same_bytes(own_store, apart, encoded, monkeypatch):
    reference = "ewt:dev[35]"
    folder = states.get("tiny", reference, EXACT).folder
    before, positions = contents(folder), encoded.copy()
    assert len(before) == 3 * len(positions) + 1 and len(positions) >= 4
    store.Entry(folder.name).remove()
    encoded.clear()
    write = store.Entry.write

    def interrupted(self, number, *shard):
        if number == 2:
            raise KeyboardInterrupt
        write(self, number, *shard)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(store.Entry, "write", interrupted)
        states.get("tiny", reference, EXACT)
    assert encoded == positions[:3] and states.stored()["state"].tolist() == ["partial"]
    states.get("tiny", reference, EXACT)
    assert encoded == [*positions[:3], *positions[2:]] and contents(folder) == before


@pytest.mark.slow
@pytest.mark.parametrize("order", [(1, 2, 3), (3, 1, 2)])
def test_parts_by_several_processes_are_the_bytes_of_the_whole(own_store, apart, encoded, order):
    reference = "ewt:dev[35]"
    folder = states.get("tiny", reference, EXACT).folder
    before, positions = contents(folder), encoded.copy()
    store.Entry(folder.name).remove()
    for count, part in enumerate(order, start=1):
        encoded.clear()
        compute.compute("tiny", [reference], EXACT, part, 3)
        assert encoded == positions[part - 1 :: 3]
        assert states.stored()["state"].tolist() == ["complete" if count == 3 else "partial"]
    assert {name: held for name, held in contents(folder).items() if "lock" not in name} == before
    encoded.clear()
    states.get("tiny", reference, EXACT)
    assert encoded == []


@pytest.mark.slow
def test_a_part_that_is_missing_is_made_by_whoever_needs_the_states(own_store, apart, encoded):
    compute.compute("tiny", ["ewt:dev[35]"], EXACT, 2, 2)
    done = encoded.copy()
    read = states.get("tiny", "ewt:dev[35]", EXACT)
    assert set(encoded[len(done) :]).isdisjoint(done) and len(encoded) == len(list(read.folder.glob("*.npy")))


@pytest.mark.slow
def test_a_damaged_shard_alone_is_computed_again(own_store, apart, encoded, capsys):
    read = states.get("tiny", "ewt:dev[35]")
    before, positions, vectors = contents(read.folder), encoded.copy(), read.vectors(np.arange(len(read.rows)))
    for name, change in (("00001.npy", "damaged"), ("00002.parquet", "missing")):
        path = read.folder / name
        path.unlink() if change == "missing" else path.write_bytes(path.read_bytes()[:-1] + b"?")
        capsys.readouterr()
        again = states.get("tiny", "ewt:dev[35]")
        assert f"states {read.folder.name}: {name} is {change}" in (said := capsys.readouterr().err)
        assert said.count("it will be computed again") == 1 and encoded[-1] == positions[int(name[:5])]
        assert contents(read.folder) == before and (again.vectors(np.arange(len(read.rows))) == vectors).all()
    assert len(encoded) == len(positions) + 2


@pytest.mark.slow
def test_shards_make_no_difference(own_store, apart, monkeypatch):
    whole = states.get("tiny", "ewt:dev[60]", EXACT)
    monkeypatch.setattr(states, "SHARD", 50)
    parts = states.get("tiny", "ewt:dev[60]", EXACT)
    assert whole.folder != parts.folder and len(list(parts.folder.glob("*.npy"))) > 5
    pd.testing.assert_frame_equal(whole.rows, parts.rows)
    assert parts.rows["sentence"].unique().tolist() == list(range(60))
    rows = np.arange(len(whole.rows))
    np.testing.assert_allclose(parts.vectors(rows), whole.vectors(rows), atol=1e-5)
    assert whole.report == parts.report and (whole.bounds == parts.bounds).all()


@pytest.mark.slow
def test_sides_of_a_pair_may_be_read_apart(own_store, apart, monkeypatch):
    monkeypatch.setattr(states, "SHARD", 60)
    pairs = corpora.load("mnli:dev[15]").items
    read = states.get("tiny", "mnli:dev[15]", states.Setting(dtype="float32", pairs="apart"))
    words = read.rows[~read.rows["special"]]
    texts = [side for pair in pairs for side in (pair.first, pair.second)]
    assert [tuple(forms) for _, forms in words.groupby("sentence")["form"]] == texts
    assert (words["segment"] == 0).all() and read.report.items == 30 == len(read.bounds) - 1
    together = states.get("tiny", "mnli:dev[15]", EXACT)
    assert together.folder != read.folder and len(together.rows) == len(read.rows) - 15  # [CLS] a [SEP] b [SEP]
    first = read.sentences(0, 1)[0]
    assert not np.allclose(
        first, together.sentences(0, 1)[0][:, : first.shape[1]]
    )  # here a side does not see the other
    assert [side.id for side in corpora.sides(pairs[3])] == [f"{pairs[3].id}/1", f"{pairs[3].id}/2"]


@pytest.mark.parametrize(("value", "dtype"), [(70000, "float16"), (-np.inf, "float32"), (np.nan, "float16")])
def test_values_that_the_precision_cannot_hold_are_refused(own_store, apart, monkeypatch, value, dtype):
    from bert_repro import encoder

    def extract(network, inputs, pooling, dtype):
        vectors = np.ones((3, sum(len(one.starts) for one in inputs), 32), np.float32)
        vectors[1, 2, 3] = value
        with np.errstate(over="ignore"):
            return vectors.astype(dtype)

    monkeypatch.setattr(encoder, "extract", extract)
    reference = "ewt:dev[5]"
    with pytest.raises(ValueError, match=f"layer 1 of tiny has values that {dtype} cannot hold.*use dtype float32"):
        states.get("tiny", reference, states.Setting(dtype=dtype))
    assert states.stored().empty
    if value == 70000:
        assert states.get("tiny", reference, EXACT).vectors(np.array([2]))[1, 0, 3] == 70000


def test_what_the_reader_leaves_out_is_known(own_store, apart, tmp_path):
    text = "1-2\tdon't\t_\t_\t_\t_\t_\t_\t_\t_\n1\tdo\t_\tX\tX\t_\t0\troot\t_\t_\n2\tn't\t_\tX\tX\t_\t1\tdep\t_\t_\n"
    (tmp_path / "mine.conllu").write_text(text)
    read = states.get("tiny", str(tmp_path / "mine.conllu"))
    assert read.left_out == {"multiword ranges": 1, "empty nodes": 0}
    assert read.rows["head"].dropna().tolist() == [0, 1]


def test_a_corpus_is_read_once_to_know_it(own_store, apart, monkeypatch):
    states.get("tiny", "ewt:dev[5]")
    monkeypatch.setattr(counted, "take", lambda items, left_out: pytest.fail("read again"))
    states.get("tiny", "ewt:dev[5]")


def test_states_are_computed_once(own_store, apart, monkeypatch):
    first = states.get_all("tiny", ["ewt:dev[5]", "wiki[5]"])
    assert apart == [["ewt:dev[5]", "wiki[5]"]]  # both by one process
    monkeypatch.setattr(states, "_compute_apart", lambda *asked: pytest.fail("computed again"))
    again = states.get_all("tiny", ["ewt:dev[5]", "wiki[5]"])
    for one, other in zip(first, again, strict=True):
        rows = np.arange(len(one.rows))
        pd.testing.assert_frame_equal(one.rows, other.rows)
        assert one.vectors(rows).tobytes() == other.vectors(rows).tobytes()
        assert one.inputs == other.inputs and one.report == other.report
    stamp = (first[0].folder / "about.json").stat().st_mtime_ns
    compute.compute("tiny", ["ewt:dev[5]"], states.Setting())  # as a second process that had to wait
    assert (first[0].folder / "about.json").stat().st_mtime_ns == stamp


def test_the_key_follows_everything_the_states_depend_on(own_store, monkeypatch):
    settings = [
        states.Setting(),
        states.Setting(256),
        states.Setting(pooling="first"),
        EXACT,
        states.Setting(pairs="apart"),
    ]
    wanted = [("tiny", "ewt:dev[5]", setting) for setting in settings]
    wanted += [("untrained:tiny", "ewt:dev[5]", settings[0]), ("tiny", "ewt:dev[6]", settings[0])]

    def keys():
        return [
            states.entries(checkpoints.open(model), [reference], setting)[0].key for model, reference, setting in wanted
        ]

    before = keys()
    monkeypatch.setattr(states, "_code", lambda: "next")
    assert len({*before, *keys()}) == 14


@pytest.mark.slow
def test_inputs_as_long_as_the_last_position_are_read(own_store, apart, tmp_path):
    tiny = checkpoints.open("tiny")
    config = Config(tiny.config.vocab_size, 8, 1, 2, 8, 21)
    (tmp_path / "short").mkdir()
    weights = random_weights(config, seed=0, deviation=0.1)
    Checkpoint.write(tmp_path / "short", config, weights, tokenizer_from=tiny)
    read = states.get(str(tmp_path / "short"), "mnli:dev[20]", states.Setting(21))
    assert read.report.truncated_items and read.rows["pieces"].groupby(read.rows["sentence"]).sum().max() == 21
    assert np.isfinite(read.vectors(np.arange(len(read.rows)))).all()


@pytest.fixture(scope="module")
def read(tmp_path_factory):
    """A store of five shards, whose vectors can be told from each other."""
    everything = np.random.default_rng(0).standard_normal((4, 50, 6)).astype(np.float16)
    rows = pd.DataFrame({"sentence": np.arange(50) // 7 * 2})
    bounds = [0, 11, 12, 30, 41, 50]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BERT_REPRO_CACHE", str(tmp_path_factory.mktemp("read")))
        entry = store.Entry("read")
        entry.hold()
        for number, (start, stop) in enumerate(zip(bounds, bounds[1:], strict=False)):
            entry.write(number, everything[:, start:stop], rows[start:stop], {})
        entry.finish(5, {"layers": 4, "hidden": 6, "report": {}, "digests": {}, "left_out": {}})
        return states.HiddenStates(entry, "wiki[2]", states.Setting()), everything.astype(np.float32)


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
    with pytest.raises(ValueError, match=r"layers \[4, -1\] are out of range: .* 0 \(embeddings\) to 3"):
        read[0].vectors(np.arange(3), [0, 4, -1])


def test_bounds_are_the_first_rows_of_sentences(read):
    assert read[0].bounds.tolist() == [0, 7, 14, 21, 28, 35, 42, 49, 50]


def test_a_range_of_sentences_is_read_with_its_rows(read):
    store, everything = read
    for first, stop, low, high in ((0, 8, 0, 50), (1, 3, 7, 21), (7, 8, 49, 50), (4, 4, 28, 28)):
        vectors, rows = store.sentences(first, stop, [3, 1])
        assert (vectors == everything[[3, 1], low:high]).all() and vectors.shape[1] == high - low
        assert rows.index.tolist() == list(range(low, high)) and rows.equals(store.rows[low:high])
    assert store.sentences(2, 3)[0].shape == (4, 7, 6)
    for first, stop in ((-1, 2), (3, 2), (0, 9)):
        with pytest.raises(ValueError, match=f"sentences {first} to {stop} are not a range within 0 and 8"):
            store.sentences(first, stop)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"pooling": "max"}, "pooling must be 'mean' or 'first', got 'max'"),
        ({"dtype": "int8"}, "dtype must be .*'int8'"),
        ({"pairs": "aside"}, "pairs must be 'together' or 'apart', got 'aside'"),
    ],
)
def test_an_unknown_setting_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        states.Setting(**values)


@pytest.mark.slow
def test_limits_that_the_encoder_cannot_keep_are_refused(own_store, tmp_path):
    for limit in (3, 513, 4000):
        with pytest.raises(ValueError, match=f"max_length must lie between 4 and 512 for tiny, got {limit}"):
            compute.compute("tiny", ["ewt:dev[60]"], states.Setting(limit))
    (tmp_path / "long.txt").write_text("qqqqqq qqqqqq.")
    with pytest.raises(ValueError, match="no item of .*long.txt fits into 5 pieces"):
        compute.compute("tiny", [str(tmp_path / "long.txt")], states.Setting(5))


@pytest.mark.slow
def test_an_encoder_with_fewer_positions_is_read_to_its_own_limit(own_store, apart, tmp_path):
    tiny = checkpoints.open("tiny")
    config = replace(tiny.config, max_position_embeddings=20)
    (tmp_path / "short").mkdir()
    weights = random_weights(config, seed=0, deviation=0.1)
    Checkpoint.write(tmp_path / "short", config, weights, tokenizer_from=tiny)
    read = states.get(str(tmp_path / "short"), "mnli:dev[20]")
    assert read.report.truncated_items and read.rows["pieces"].groupby(read.rows["sentence"]).sum().max() == 20
    assert states.usual("tiny") == states.Setting() and states.usual(str(tmp_path / "short")) == states.Setting(20)


def test_what_would_outgrow_the_store_is_refused_before_others_go(own_store, apart, monkeypatch):
    kept = states.get("tiny", "ewt:dev[5]", EXACT)
    monkeypatch.setenv("BERT_REPRO_STORE_GB", str(2 * store.Entry(kept.folder.name).size / 1e9))
    with pytest.raises(
        OSError, match=r"will take about .* GB, the store may take .*: give BERT_REPRO_STORE_GB a larger"
    ):
        states.get("tiny", "ewt:test[60]", EXACT)
    assert states.stored()["corpus"].tolist() == ["ewt:dev[5]"]


@pytest.mark.slow
def test_an_error_of_the_encoders_process_is_one_message(own_store):
    with pytest.raises(RuntimeError) as error:
        states.get("tiny", "ewt:dev[5]", states.Setting(4000))
    assert str(error.value) == "max_length must lie between 4 and 512 for tiny, got 4000"


def test_a_process_that_dies_without_a_word_is_told(own_store, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(RuntimeError, match="the encoder's process ended with 1"):
        states.get("tiny", "ewt:dev[5]")
    (tmp_path / "killed").write_text("#!/bin/sh\necho I0000 hello >&2\nkill -9 $$\n")
    (tmp_path / "killed").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "killed"))
    with pytest.raises(RuntimeError, match="the encoder's process was ended by signal 9"):
        states.get("tiny", "ewt:dev[5]")


LIGHT = "alignment, checkpoints, corpora, figures, probes, results, similarity, states, workflow, __main__"


@pytest.mark.slow
def test_reading_needs_no_tensorflow(own_store, tmp_path, monkeypatch):
    """The real way: computed by a child, from another folder, with relative paths; read without TensorFlow."""
    code = f"""
import sys
from bert_repro import {LIGHT}
from bert_repro.probes import structural
from bert_repro.results import claims, tables
from bert_repro.workflow import notebooks, study
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


def said(capsys, *arguments):
    status = main(["states", *arguments])
    return status, capsys.readouterr()


@pytest.mark.slow
def test_what_is_stored_is_listed_verified_and_removed(own_store, apart, capsys):
    assert states.stored().empty
    states.get("tiny", "ewt:dev[5]")
    states.get("tiny", "wiki[5]", states.Setting(128, "first"))
    listed = states.stored().set_index("corpus").loc[["ewt:dev[5]", "wiki[5]"]]
    assert set(listed["model"]) == {"tiny"} and set(listed["state"]) == {"complete"} and (listed["MB"] >= 0).all()
    assert listed["setting"].tolist() == ["", "max_length=128, pooling=first"]
    assert listed["words"].tolist() == [corpora.load(reference).words for reference in listed.index]
    status, text = said(capsys, "ls")
    assert status == 0 and all(word in text.out for word in (*listed["key"], "complete", "of at most 100 GB in"))
    assert said(capsys, "verify") == (0, ("2 entries were compared with their checksums\n", ""))
    path = own_store / listed["key"].iloc[0] / "00000.npy"
    path.write_bytes(path.read_bytes()[:-1])
    status, text = said(capsys, "verify")
    assert status == 1 and f"{listed['key'].iloc[0]}: 00000.npy is damaged" in text.out
    assert text.err == "bert_repro: 1 parts of the store are damaged: the next use of an entry computes them again\n"
    (path.parent / "about.json").unlink()
    assert states.stored().set_index("key")["state"][path.parent.name] == "partial"
    status, text = said(capsys, "rm", listed["key"].iloc[0])
    assert status == 0 and text.out == "1 entries removed, 0.0 MB\n"
    assert states.stored()["key"].tolist() == [listed["key"].iloc[1]]
    size = store.Entry(listed["key"].iloc[1]).size
    assert states.remove("all") == (1, size / 1e6) and states.stored().empty and store.entries() == []


@pytest.mark.slow
def test_the_states_of_a_study_are_removed_together(own_store, apart, tmp_path):
    content = yaml.safe_load((files.ROOT / "studies" / "train.yaml").read_text()) | {"base": "tiny"}
    content["similarity"]["corpora"] = ["wiki[5]"]
    (tmp_path / "mine.yaml").write_text(yaml.dump(content))
    for model, corpus in (("tiny", "wiki[5]"), ("untrained:tiny", "wiki[5]"), ("tiny", "wiki[6]")):
        states.get(model, corpus, EXACT)
    count, megabytes = plan.forget(str(tmp_path / "mine.yaml"))
    assert count == 2 and megabytes > 0 and plan.forget(str(tmp_path / "mine.yaml"), Own(base="minilm")) == (0, 0)
    assert states.stored()["corpus"].tolist() == ["wiki[6]"]


def test_a_report_drops_what_it_computed_of_a_model_and_nothing_else(own_store, apart, monkeypatch, capsys):
    def compute(model, corpus, owner):
        monkeypatch.setenv(states.OWNER, owner)
        return states.get(model, corpus, EXACT)

    compute("untrained:tiny", "ewt:dev[5]", "")  # by hand, or for a report that keeps states
    compute("untrained:tiny", "ewt:dev[6]", "another")
    for model, corpus in (("untrained:tiny", "ewt:dev[5]"), ("untrained:tiny", "ewt:dev[7]"), ("tiny", "ewt:dev[7]")):
        compute(model, corpus, "mine")
    size = states.stored().set_index(["model", "corpus"])["MB"]
    assert len(size) == 4
    assert states.drop("mine", "nothing") == states.drop("", "untrained:tiny") == (0, 0.0)
    being_read = compute("untrained:tiny", "ewt:dev[8]", "mine")
    count, megabytes = states.drop("mine", "untrained:tiny")
    assert count == 1 and megabytes == pytest.approx(size["untrained:tiny", "ewt:dev[7]"], abs=0.1)
    assert (
        f"the states {being_read._entry.key} are in use: wait until the other process has ended; they stay"
        in capsys.readouterr().err
    )
    del being_read
    assert said(capsys, "drop", "mine", "untrained:tiny")[1].out.startswith("1 entries removed, ")
    left = states.stored()
    assert sorted(zip(left["model"], left["corpus"], strict=True)) == [
        ("tiny", "ewt:dev[7]"), ("untrained:tiny", "ewt:dev[5]"), ("untrained:tiny", "ewt:dev[6]"),
    ]  # fmt: skip


@pytest.mark.parametrize("key", ["..", ".", "", "../states", "a/b", "none"])
def test_a_key_that_is_none_removes_nothing(own_store, key):
    (own_store / "kept").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"the store has no entry '.*': `python -m bert_repro states ls` lists them"):
        states.remove(key)
    assert (own_store / "kept").is_dir()


def test_all_models_see_the_same_words(own_store, apart):
    options = {"words": 60, "seed": 3}
    (one,) = sample(["tiny", "untrained:tiny"], ["ewt:dev[40]"], **options, layers=[0, 2])
    (again,) = sample(["untrained:tiny"], ["ewt:dev[40]"], **options)
    assert [x.shape for x in one.vectors] == [(2, len(one.sentence), 32)] * 2
    assert one.key == again.key and (one.sentence == again.sentence).all()
    assert (one.vectors[1] == again.vectors[0][[0, 2]]).all() and not np.allclose(*one.vectors)
    assert len(one.sentence) >= 60 and (np.unique(one.sentence) == np.arange(one.sentence[-1] + 1)).all()
    assert (one.corpus, one.split) == ("ewt", "dev[40]")
    store = states.get("tiny", "ewt:dev[40]")
    usable = set(map(bytes, store.vectors(np.flatnonzero(~store.rows["special"]), [2])[0]))
    assert set(map(bytes, one.vectors[0][1])) <= usable  # whole words, no special tokens
    with pytest.raises(ValueError, match=r"layers \[3\] are out of range"):
        sample(["tiny"], ["ewt:dev[40]"], **options, layers=[3])
    with pytest.raises(ValueError, match="99999 words were asked for, the corpus has"):
        sample(["tiny"], ["ewt:dev[40]"], words=99999, seed=3)


def test_samples_say_what_was_drawn_and_have_draws_of_their_own(own_store, apart):
    trees, options = "ewt:dev[60]", {"words": 100, "seed": 3}
    plain, verbs = sample(["tiny"], [trees], **options, of=["words", "VERB"])
    (second,) = sample(["tiny"], [trees], **options, part=1)
    (pairs,) = sample(["tiny"], ["mnli:dev[15]"], words=50, seed=3)
    setting = states.Setting(states.usual("tiny").max_length, pairs="apart")
    (sides,) = sample(["tiny"], ["mnli:dev[15]"], words=50, seed=3, setting=setting)
    (as_long,) = sample(["tiny"], ["wiki[60]"], words=50, seed=3, like="mnli:dev[15]")
    rows = ["", "VERB", "second sample", "", "sides apart", "as long as mnli:dev[15]"]
    drawn = [plain, verbs, second, pairs, sides, as_long]
    assert [sample.rows for sample in drawn] == rows
    assert len({sample.key for sample in drawn}) == 6
    assert set(map(bytes, verbs.vectors[0][0])) <= set(map(bytes, plain.vectors[0][0]))
    # on average within a tenth
    lengths = [sorted(np.bincount(sample.sentence)) for sample in (pairs, as_long)]
    assert len(lengths[0]) == len(lengths[1]) and np.abs(np.subtract(*lengths)).sum() <= 0.1 * sum(lengths[0])
    assert len(sides.sentence) >= 50 and sides.sentence[-1] > pairs.sentence[-1]


@pytest.mark.slow
def test_models_that_lost_different_words_are_compared_on_those_that_both_have(own_store, apart, tmp_path):
    """Another tokenizer, under which the limit cuts other words."""
    tiny = checkpoints.open("tiny")
    config = tiny.config
    (tmp_path / "letters").mkdir()
    Checkpoint.write(tmp_path / "letters", config, tiny.weights(), tokenizer_from=tiny)
    (tmp_path / "letters" / "tokenizer.json").unlink()
    whole = (tiny.folder / "vocab.txt").read_text().split("\n")
    spelled = [word if len(word.removeprefix("##")) < 2 or word[0] == "[" else f"[{i}]" for i, word in enumerate(whole)]
    (tmp_path / "letters" / "vocab.txt").write_text("\n".join(spelled))
    models, some = ["tiny", str(tmp_path / "letters")], ["ewt:dev[40]"]
    cut = states.Setting(20)
    (shared,) = sample(models, some, words=60, seed=3, setting=cut)
    (whole,) = sample(models, some, words=60, seed=3)  # without a cut all words are there under both
    assert shared.left_out > 0 == whole.left_out and "words of the corpus were left out" in shared.summary()
    for drawn in (shared, whole):
        assert drawn.vectors[0].shape == drawn.vectors[1].shape


PEAK = """
import resource, sys
from bert_repro.__main__ import main
assert main(["states", "compute", *sys.argv[1:]]) == 0
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_corpus(own_store, tmp_path):
    """Ten times the sentences, at most a tenth more memory."""
    sentences = gzip.decompress(corpora.locate("ewt:test").path.read_bytes()).decode().rstrip().split("\n\n")
    peaks = []
    for count in (2000, 20000):
        path = tmp_path / f"{count}.conllu"
        path.write_text("\n\n".join(islice(cycle(sentences), count)))
        done = subprocess.run([sys.executable, "-c", PEAK, "tiny", path], capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout))
    assert sorted(states.stored()["words"])[1] > 9 * sorted(states.stored()["words"])[0]
    assert peaks[1] < 1.1 * peaks[0]


def test_greetings_of_tensorflow_are_not_passed_on_and_all_else_is():
    greeting = "WARNING: All log messages before absl::InitializeLog() is called are written to STDERR\nI0000 00:00:17 1 port.cc:153] oneDNN\n"
    assert files.without_greetings(greeting) == ""
    assert files.without_greetings(f"wiki: 40%\n{greeting}W0000 no memory\n") == "wiki: 40%\nW0000 no memory\n"
