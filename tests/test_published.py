"""Repositories as they are out there, from a hub: what a visitor does first works with each, or says in one line why not.

They are made tiny by PyTorch's transformers (see published_by_pytorch.py), which also says what an encoder computes.
"""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import pytorch
from hub_server import COMMITS, serving
from safetensors.numpy import load_file

from bert_repro import corpora

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parent / "published_by_pytorch.py"
READABLE = (
    "pairs", "questions", "h5", "sharded", "added", "vocabulary", "cased", "cased_vocabulary", "half",
)  # fmt: skip
WORDS = ("The", "[NEW]", "thing", "is", "a", "newword", "in", "Paris", ",", "café")
REFUSED = {
    "pickle": "is a pickle, which PyTorch reads and this environment does not have. Either install torch here, or run this "
    "once in an environment with torch and safetensors: python -c ",
    "lora": "bert_repro: 'org/lora' is an adapter of 'org/base', no checkpoint: merge the two (in Python, "
    "peft.AutoPeftModelForSequenceClassification.from_pretrained('org/lora').merge_and_unload().save_pretrained('merged')), "
    "save the tokenizer beside it, and give that folder",
    "decoder": "bert_repro: config.json of model 'org/decoder' describes a decoder: supported are encoders, in which every "
    "word sees every other; give one",
    "gpt2": "bert_repro: config.json of model 'org/gpt2' describes a model of type 'gpt2': supported are bert, roberta, "
    "xlm-roberta, camembert, distilbert, electra; give a checkpoint of one of these",
    "gated": "bert_repro: model 'org/gated' is gated: accept its terms on the hub, then `hf auth login` or set HF_TOKEN",
    "none": "bert_repro: unknown model 'org/none': not on the hub, or private; correct the name or `hf auth login` "
    "('org/none' is no folder, and none of the names ['minilm', 'small', 'small-nli', 'small-parsing', 'small-squad', 'tiny'])",
    "private": "bert_repro: unknown model 'org/private': not on the hub, or private; correct the name or `hf auth login` "
    "('org/private' is no folder, and none of the names ['minilm', 'small', 'small-nli', 'small-parsing', 'small-squad', 'tiny'])",
}
"""Repositories that cannot be used as they are, and the end of the line that says so."""

VISIT = """
import contextlib, io, json, pathlib, sys
import numpy
from bert_repro import alignment, checkpoints, encoder
from bert_repro.__main__ import main
from bert_repro.corpora import Sentence
sentences, target, *references = sys.argv[1:]
items = [Sentence(str(n), tuple(words)) for n, words in enumerate(json.loads(pathlib.Path(sentences).read_text()))]
seen = {}
for reference in references:
    told, said = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(told), contextlib.redirect_stderr(said):
        code = main(["fetch", reference])
    seen[reference] = {"code": code, "told": told.getvalue(), "said": said.getvalue()}
    if code == 0:
        opened = checkpoints.open(reference)
        inputs, rows, _ = alignment.align(opened.tokenizer, items, opened.config.max_length)
        states = encoder.extract(encoder.build(opened.config, opened.weights()), inputs, "mean")
        place = pathlib.Path(target) / (reference.rpartition("/")[2] + ".npz")
        ids = {f"ids/{n}": one.token_ids for n, one in enumerate(inputs)}
        numpy.savez(place, states=states, sentence=rows["sentence"], **ids)
        about = {name: getattr(opened, name) for name in ("revision", "licence", "labels")}
        seen[reference] |= about | {"pieces": opened.tokenizer.convert_ids_to_tokens(inputs[-1].token_ids.tolist())}
pathlib.Path(target, "seen.json").write_text(json.dumps(seen))
"""


@pytest.fixture(scope="module")
def torch_python():
    return pytorch.python()


def write_h5(folder: Path) -> None:
    """Put weights into the file that TensorFlow's classes of transformers wrote, in place of model.safetensors."""
    stored = load_file(folder / "model.safetensors")
    with h5py.File(folder / "tf_model.h5", "w") as file:
        for key, array in stored.items():
            name = re.sub(r"layer/(?=\d)", "layer_._", key.replace(".", "/"))
            if "LayerNorm" in name:
                name = name.replace("/weight", "/gamma").replace("/bias", "/beta")
            elif name.endswith("/weight") and "_embeddings" not in name:
                name, array = name.replace("/weight", "/kernel"), array.T
            file[f"{name.partition('/')[0]}/tf_bert_for_sequence_classification/{name}:0"] = array
    (folder / "model.safetensors").unlink()


@pytest.fixture(scope="module")
def hub(torch_python, tmp_path_factory):
    """A hub with all repositories, and what was seen of each by a visitor, and by one without a network afterwards."""
    folder = tmp_path_factory.mktemp("published")
    treebank = corpora.load("ewt:dev[300]")
    sentences = [list(item.words) for item in treebank.items[:20]] + [list(WORDS)]
    (folder / "sentences.json").write_text(json.dumps(sentences))
    (folder / "text.txt").write_text("\n".join(" ".join(item.words) for item in treebank.items))
    made = [folder / name for name in ("made", "sentences.json", "text.txt")]
    subprocess.run([torch_python, SCRIPT, *made], check=True, capture_output=True)
    write_h5(folder / "made" / "repositories" / "h5")
    repositories = {
        f"org/{path.name}": {file.name: file.read_bytes() for file in path.iterdir()}
        for path in (folder / "made" / "repositories").iterdir()
    }
    assert repositories.keys() == {f"org/{name}" for name in (*READABLE, "pickle", "lora", "decoder", "gpt2")}
    with serving(repositories | {"org/gated": {}, "org/private": {}}) as server:
        server.cards["org/pairs"] = {"cardData": {"license": "apache-2.0"}, "tags": ["license:apache-2.0"]}
        server.closed = {"org/gated": (401, "GatedRepo"), "org/private": (401, "")}
        environment = server.environment(folder / "cache")

        def visit(name: str, references: list[str], **settings: str) -> dict[str, dict]:
            """Do in one process what a visitor does first, and give what was seen of each repository."""
            target = folder / name
            target.mkdir()
            command = [sys.executable, "-c", VISIT, folder / "sentences.json", target, *references]
            subprocess.run(command, check=True, capture_output=True, env=environment | settings, timeout=400)
            return json.loads((target / "seen.json").read_text())

        first = visit("first", [f"org/{name}" for name in (*READABLE, *REFUSED)] + [f"org/pairs@{COMMITS['v1']}"])
        yield SimpleNamespace(folder=folder, server=server, visit=visit, first=first)


def difference(folder: Path, visit: str, name: str) -> float:
    """Compare the hidden states of a visit with PyTorch's, once the wordpieces are found to be the same."""
    with (
        np.load(folder / "made" / "expected" / f"{name}.npz") as expected,
        np.load(folder / visit / f"{name}.npz") as ours,
    ):
        largest = 0.0
        for number in np.unique(ours["sentence"]):
            assert ours[f"ids/{number}"].tolist() == expected[f"ids/{number}"].tolist(), (name, number)
            states, theirs = ours["states"][:, ours["sentence"] == number], expected[f"states/{number}"]
            assert states.shape == theirs.shape
            largest = max(largest, float(np.abs(states - theirs).max()))
    return largest


@pytest.mark.parametrize("name", READABLE)
def test_a_repository_is_fetched_and_gives_the_states_of_pytorch(hub, name):
    seen = hub.first[f"org/{name}"]
    assert (seen["code"], seen["said"]) == (0, "")
    assert seen["told"].strip().endswith(f"models--org--{name}/snapshots/{COMMITS['main']}")
    largest = difference(hub.folder, "first", name)
    print(f"{name}: {largest:.1e}")
    assert largest <= 1e-4


def test_commit_licence_and_labels_are_shown(hub):
    pairs = hub.first["org/pairs"]
    assert (pairs["revision"], pairs["licence"]) == (COMMITS["main"], "apache-2.0")
    assert pairs["labels"] == hub.first["org/h5"]["labels"] == ["entailment", "neutral", "contradiction"]
    assert hub.first["org/half"]["licence"] == "" and hub.first["org/half"]["labels"] == []
    assert hub.first[f"org/pairs@{COMMITS['v1']}"]["revision"] == COMMITS["v1"]


def test_capital_letters_and_added_pieces_stay(hub):
    pieces = {name: hub.first[f"org/{name}"]["pieces"] for name in ("pairs", "cased", "cased_vocabulary", "added")}
    assert pieces["cased"][1] == pieces["cased_vocabulary"][1] == "The" and pieces["pairs"][1] == "the"
    added = {piece.lower() for piece in pieces["added"]}  # the tokenizer itself is uncased
    assert {"[new]", "newword"} < added and "newword" not in pieces["pairs"]


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_used_is_one_line_that_says_what_to_do(hub, name):
    seen = hub.first[f"org/{name}"]
    assert (seen["code"], seen["told"]) == (1, "")
    (line,) = seen["said"].splitlines()
    assert line.startswith("bert_repro: ") and f"org/{name}" in line and REFUSED[name] in line
    assert line.endswith(REFUSED[name]) or name == "pickle"


def test_no_weights_of_what_is_refused_were_fetched(hub):
    fetched = {
        path.name for path in (hub.folder / "cache").rglob("*") if re.search("org--(lora|decoder|gpt2)", str(path))
    }
    assert {"adapter_config.json", "config.json"} < fetched
    assert not any(name.endswith((".safetensors", ".bin")) for name in fetched)


def test_the_command_that_is_proposed_converts_a_pickle_and_it_opens(hub, torch_python):
    said = hub.first["org/pickle"]["said"]
    command = shlex.split(said[said.index("python -c ") :])
    subprocess.run([torch_python, *command[1:]], check=True, capture_output=True)
    seen = hub.visit("converted", ["org/pickle"])["org/pickle"]
    assert (seen["code"], seen["revision"]) == (0, COMMITS["main"])
    assert difference(hub.folder, "converted", "pickle") <= 1e-4


def test_a_visitor_without_a_network_gets_the_same_from_the_cache(hub):
    references = ["org/pairs", "org/sharded", "org/added", "org/lora"]
    seen = hub.visit("offline", references, HF_HUB_OFFLINE="1")
    for reference in references[:3]:
        assert (seen[reference]["code"], seen[reference]["revision"]) == (0, COMMITS["main"])
        assert difference(hub.folder, "offline", reference.removeprefix("org/")) <= 1e-4
    assert seen["org/pairs"]["licence"] == ""
    assert seen["org/lora"]["said"] == f"{REFUSED['lora']}\n"
