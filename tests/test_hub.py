"""Hub: one format of the weights comes, once, and is what the hub says it is; every way to fail is one clear message."""

import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
from hub_server import COMMITS, LARGE, Handler, serving, tag
from huggingface_hub import constants

from bert_repro import files
from bert_repro.checkpoints import hub

WEIGHTS = bytes(range(256)) * 1000
READ = {
    "config.json": b'{"model_type": "bert"}',
    "model.safetensors": WEIGHTS,
    "tokenizer.json": b'{"version": "1.0"}',
    "vocab.txt": b"[PAD]\n[UNK]\n",
}
UNREAD = {
    ".gitattributes": b"*.bin filter=lfs",
    "README.md": b"# A model",
    "flax_model.msgpack": WEIGHTS[1:],
    "onnx/model.safetensors": WEIGHTS[2:],
    "pytorch_model.bin": WEIGHTS[3:],
    "tf_model.h5": WEIGHTS[4:],
}


@pytest.fixture
def server():
    with serving({"org/bert": READ | UNREAD}) as served:
        yield served


FORKING = """
import json, os, sys, traceback
from bert_repro.checkpoints import hub
assert "huggingface_hub" not in sys.modules
for line in sys.stdin:
    environment, given, show, out = json.loads(line)
    if not os.fork():
        os.environ.clear()
        os.environ.update(environment)
        with open(out, "w") as told:
            os.dup2(told.fileno(), 1)
            try:
                exec(f"print({show}, file=told)")
            except BaseException as error:
                print(traceback.format_exception_only(error)[-1], file=told)
        os._exit(0)
    os.wait()
    print("done", flush=True)
"""


@pytest.fixture(scope="module")
def forking():
    """A process with our side of the hub, which forks: the hub's client reads its settings when it is imported."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([sys.executable, "-c", FORKING], text=True, **pipes) as running:
        yield running
        running.stdin.close()


@pytest.fixture
def ask(server, tmp_path, forking):
    """Fetch in a process of its own; give what it printed last."""

    def run(name: str = "org/bert", revision: str = "", show: str = "hub.fetch(*given)", **settings: str) -> str:
        out = tmp_path / "said.txt"
        request = server.environment(tmp_path) | settings, (name, revision or None), show, str(out)
        forking.stdin.write(json.dumps(request) + "\n")
        forking.stdin.flush()
        assert forking.stdout.readline() == "done\n"
        return out.read_text().strip().splitlines()[-1]

    return run


def contents(folder: str | Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


# ---- against a server


@pytest.mark.slow
def test_only_config_tokenizer_and_one_format_of_the_weights_are_asked_for(ask, server, tmp_path):
    folder = ask()
    assert contents(folder) == READ
    assert server.downloads() == sorted(READ)
    assert Path(folder) == tmp_path / "hub/models--org--bert/snapshots" / COMMITS["main"]


@pytest.mark.slow
def test_a_wrong_checksum_is_refused_and_the_file_fetched_anew(ask, server, tmp_path):
    server.sent["model.safetensors"] = WEIGHTS[::-1]
    wrong, true = hashlib.sha256(WEIGHTS[::-1]).hexdigest(), hashlib.sha256(WEIGHTS).hexdigest()
    said = ask()
    assert said.startswith("OSError: model.safetensors of ") and said.endswith("run again to fetch it again")
    assert f"has the checksum {wrong}, expected {true}: " in said
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.stat().st_size == len(WEIGHTS)]
    server.sent, server.asked = {}, []
    assert contents(ask()) == READ
    assert server.downloads() == ["model.safetensors"]


@pytest.mark.slow
def test_what_is_cached_is_not_transferred_again(ask, server):
    folder = ask()
    server.asked = []
    assert ask() == folder
    assert server.asked == ["GET /api/models/org/bert", "HEAD /org/bert/resolve/main/config.json"]
    server.asked = []
    assert ask(HF_HUB_OFFLINE="1") == folder and server.asked == []
    for answer in ((500, ""), (404, "RepoNotFound")):  # out of order, or withdrawn
        server.answer = answer
        assert ask() == folder
    server.shutdown()
    server.server_close()
    assert ask() == folder


@pytest.mark.slow
def test_a_damaged_copy_is_found_without_the_hub(ask, server):
    weights = Path(ask()) / "model.safetensors"
    weights.resolve().write_bytes(WEIGHTS[::-1])
    assert "model.safetensors" in (said := ask(HF_HUB_OFFLINE="1")) and "the download or the disk" in said
    assert "has no weights in a readable format" in (said := ask(HF_HUB_OFFLINE="1"))
    assert said.startswith("OSError: ") and said.endswith("Connect to the network and run again")
    assert contents(ask()) == READ


@pytest.mark.slow
def test_a_revision_is_another_snapshot(ask, server):
    main = ask()
    older_config = b'{"model_type": "bert", "older": 1}'
    server.repositories["org/bert"] = {
        "config.json": older_config,
        "vocab.txt": b"[UNK]",
        "model.safetensors": WEIGHTS[5:],
    }
    older = ask(revision="v1")
    assert Path(older).name == COMMITS["v1"] and contents(older) == server.repositories["org/bert"]
    assert ask(revision=COMMITS["v1"]) == older
    assert contents(main) == READ
    assert ask(revision="v2").startswith("ValueError: model 'org/bert' has no revision 'v2': ")


@pytest.mark.slow
@pytest.mark.parametrize(
    "files", [{"config.json": b"{}"}, {"model.safetensors": WEIGHTS}, UNREAD | {"a/config.json": b""}]
)
def test_a_repository_without_config_or_weights_is_refused_before_anything_is_fetched(ask, server, files):
    left = {name: content for name, content in files.items() if name not in ("pytorch_model.bin", "tf_model.h5")}
    server.repositories["org/bert"] = left
    said = ask()
    assert said.startswith("ValueError: model 'org/bert' has no ") and said.endswith(f": found {sorted(left)}")
    assert server.downloads() == []


ABOUT = "*hub.about(*given), sep='|'"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ({"cardData": {"license": "apache-2.0"}, "tags": ["bert", "license:apache-2.0"]}, "apache-2.0"),
        ({"cardData": {"license": ["mit", "cc-by-4.0"]}}, "mit, cc-by-4.0"),
        ({"cardData": {"license": "other", "license_name": "our-terms"}, "tags": ["license:other"]}, "our-terms"),
        ({"cardData": {"language": "en"}, "tags": ["license:mit"]}, "mit"),
        ({"tags": ["bert"]}, ""),
        ({}, ""),
    ],
)
def test_commit_and_licence_come_with_the_listing(ask, server, card, licence):
    server.cards["org/bert"] = card
    assert ask(show=f"hub.fetch(*given), {ABOUT}").split("|")[1:] == [COMMITS["main"], licence]
    assert [line for line in server.asked if "/api/" in line] == ["GET /api/models/org/bert"]


@pytest.mark.slow
def test_a_commit_is_known_without_the_hub_a_licence_is_not(ask, server):
    server.cards["org/bert"] = {"tags": ["license:mit"]}
    assert ask(revision="v1", show=ABOUT) == f"{COMMITS['v1']}|mit"
    assert ask(revision="v1", show=ABOUT, HF_HUB_OFFLINE="1") == f"{COMMITS['v1']}|"


ADAPTER = {
    "adapter_config.json": b'{"base_model_name_or_path": "org/base", "peft_type": "LORA", "task_type": "SEQ_CLS"}',
    "adapter_model.safetensors": WEIGHTS,
    "README.md": b"# An adapter",
}


@pytest.mark.slow
@pytest.mark.parametrize("others", [{}, {name: READ[name] for name in ("config.json", "tokenizer.json")}])
def test_an_adapter_is_refused_before_anything_but_its_description_is_fetched(ask, server, others):
    server.repositories["org/bert"] = ADAPTER | others
    expected = (
        "ValueError: 'org/bert' is an adapter of 'org/base', no checkpoint: merge the two (in Python, "
        "peft.AutoPeftModelForSequenceClassification.from_pretrained('org/bert').merge_and_unload()"
        ".save_pretrained('merged')), save the tokenizer beside it, and give that folder"
    )
    assert ask() == expected and server.downloads() == ["adapter_config.json"]
    assert ask(HF_HUB_OFFLINE="1") == expected
    server.repositories["org/bert"] = READ | ADAPTER  # beside a checkpoint it does no harm
    assert contents(ask(revision="v1")) == READ


@pytest.mark.slow
@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b'{"model_type": "gpt2"}', "describes a model of type 'gpt2': supported are bert, roberta, "),
        (b'{"model_type": "bert", "is_decoder": true}', "describes a decoder: supported are encoders, in which "),
        (b'{"position_embedding_type": "relative_key"}', "has position embeddings of type 'relative_key': supported "),
    ],
)
def test_what_is_no_encoder_is_refused_before_its_weights_are_fetched(ask, server, raw, message):
    server.repositories["org/bert"] = READ | {"config.json": raw}
    assert ask().startswith(f"ValueError: config.json of model 'org/bert' {message}")
    assert server.downloads() == ["config.json"]


@pytest.mark.slow
def test_a_transfer_that_breaks_off_goes_on_where_it_was(ask, server):
    server.cuts = 1
    assert contents(ask()) == READ
    assert server.downloads().count("model.safetensors") == 2


@pytest.mark.slow
def test_a_truncated_download_is_refused_and_leaves_nothing(ask, server, tmp_path):
    server.sent["model.safetensors"] = WEIGHTS[:-9]
    said = ask()
    assert said.startswith("OSError: model 'org/bert' could not be fetched from the hub: Consistency check failed: ")
    assert f"{len(WEIGHTS)} but has size {len(WEIGHTS) - 9}" in said and "Run again" in said
    assert not list(tmp_path.rglob("*.incomplete")) and not list(tmp_path.rglob("model.safetensors"))
    assert "has no weights in a readable format" in ask(HF_HUB_OFFLINE="1")
    server.sent = {}
    assert contents(ask()) == READ


@pytest.mark.slow
@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (
            (404, "RepoNotFound"),
            "bert_repro.checkpoints.hub.Unknown: unknown model 'org/bert': not on the hub, or private; ",
        ),
        ((401, ""), "bert_repro.checkpoints.hub.Unknown: unknown model 'org/bert': not on the hub, or private; "),
        (
            (401, "RepoNotFound"),
            "bert_repro.checkpoints.hub.Unknown: unknown model 'org/bert': not on the hub, or private; ",
        ),
        ((401, "GatedRepo"), "ValueError: model 'org/bert' is gated: accept its terms on the hub, then "),
        ((403, "GatedRepo"), "ValueError: model 'org/bert' is gated: accept its terms on the hub, then "),
        ((500, ""), "OSError: model 'org/bert' could not be fetched from the hub: Server error '500 Internal"),
        ((200, ""), "OSError: model 'org/bert' could not be fetched from the hub: Expecting value: "),
    ],
)
def test_an_answer_that_is_no_listing_is_one_message(ask, server, answer, expected):
    server.answer = answer
    assert ask().startswith(expected)


@pytest.mark.slow
def test_a_gated_model_shows_its_listing_but_not_its_files(ask, server, monkeypatch):
    monkeypatch.setattr(Handler, "file", lambda self, *_: self.reply(401, b"", {"X-Error-Code": "GatedRepo"}))
    assert ask().startswith("ValueError: model 'org/bert' is gated: ")


@pytest.mark.slow
def test_a_listed_file_that_is_not_there_is_not_an_unknown_model(ask, server, monkeypatch):
    monkeypatch.setattr(Handler, "file", lambda self, *_: self.reply(404, b"", {"X-Error-Code": "EntryNotFound"}))
    assert ask().startswith(
        "OSError: model 'org/bert' could not be fetched from the hub: Client error '404 Not Found' for url "
    )


@pytest.mark.slow
def test_a_hub_that_never_answers_is_given_up(ask, server):
    server.silent = True
    start = time.monotonic()
    said = ask(HF_HUB_DOWNLOAD_TIMEOUT="1")
    assert said.startswith("OSError: model 'org/bert' could not be fetched from the hub: ") and "timed out" in said
    assert time.monotonic() - start < 15


@pytest.mark.slow
def test_a_hub_that_is_not_there_is_one_message(ask, server):
    server.server_close()
    expected = "OSError: model 'org/bert' could not be fetched from the hub: "
    assert "refused" in (said := ask()) and said.startswith(expected)
    assert "offline mode is enabled" in (said := ask(HF_HUB_OFFLINE="1")) and said.startswith(expected)
    assert said.endswith("without a network, give a folder with config.json, the weights and the tokenizer files")


# ---- without one


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """An empty cache of the hub, and no network."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub._get.cache_clear()
    return tmp_path


def put(cache: Path, files: dict[str, bytes], shared: bool = False) -> Path:
    """Lay files into the cache as the client does: links to blobs, which may be links into a store shared by all models.

    Beside them lies the listing of the whole repository, as left by a download of some of its files.
    """
    model, store = cache / "models--org--bert", cache / "blobs" / "cc"
    folder = model / "snapshots" / COMMITS["main"]
    for path in (model / "refs", model / "blobs", store, folder):
        path.mkdir(parents=True, exist_ok=True)
    (model / "refs" / "main").write_text(COMMITS["main"])
    listing = {name: {"size": len(content), "blob_id": "0" * 40} for name, content in (READ | UNREAD).items()}
    (model / "trees").mkdir(exist_ok=True)
    tree = {"format_version": 1, "files": listing}
    (model / "trees" / f"{COMMITS['main']}.json").write_text(json.dumps(tree))
    for name, content in files.items():
        blob = model / "blobs" / tag(content)
        if shared and len(content) > LARGE:
            (store / ("c" * 64)).write_bytes(content)  # named by a hash of the store's own
            blob.symlink_to(Path("../../blobs/cc") / ("c" * 64))
        else:
            blob.write_bytes(content)
        (folder / name).symlink_to(Path("../../blobs") / blob.name)
    return folder


@pytest.mark.parametrize("shared", [False, True])
def test_a_cached_model_is_what_its_checksum_says_or_is_removed(own_cache, shared):
    folder = put(own_cache, READ, shared)
    assert hub.fetch("org/bert", None) == hub.fetch("org/bert", COMMITS["main"]) == folder
    damaged = (folder / "model.safetensors").resolve()
    damaged.write_bytes(b"\1" + WEIGHTS[1:])
    os.utime(damaged, ns=(1, 1))
    hub._get.cache_clear()
    with pytest.raises(OSError, match=rf"model.safetensors of .* expected {tag(WEIGHTS)}: the download or the disk"):
        hub.fetch("org/bert", None)
    left = [path for path in own_cache.rglob("*") if path.is_symlink() or path.is_file()]
    assert not any(path.name in ("model.safetensors", tag(WEIGHTS), "c" * 64) for path in left)
    assert contents(folder) == {name: content for name, content in READ.items() if name != "model.safetensors"}


@pytest.mark.parametrize("lost", ["config.json", "model.safetensors"])
@pytest.mark.parametrize("linked", [False, True])
def test_a_part_of_a_model_in_the_cache_is_not_taken_for_the_whole(own_cache, lost, linked):
    folder = put(own_cache, READ)
    ((folder / lost).resolve() if linked else folder / lost).unlink()
    with pytest.raises(
        OSError, match=r"'org/bert' has no .* in the cache, and the hub could not be asked for the rest"
    ):
        hub.fetch("org/bert", None)


@pytest.mark.parametrize(
    ("index", "shards"),
    [
        ("model.safetensors.index.json", ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]),
        ("bert_model.ckpt.index", ["bert_model.ckpt.data-00000-of-00001"]),
        ("pytorch_model.bin.index.json", ["pytorch_model-00001-of-00001.bin"]),
    ],
)
def test_shards_without_their_index_are_no_weights(own_cache, index, shards):
    *fetched_before, last = hub._wanted("org/bert", ["config.json", "vocab.txt", index, *shards])
    assert last == index and set(fetched_before) == {
        "config.json",
        "vocab.txt",
        *shards,
    }  # what broke off lacks the index
    put(own_cache, {name: WEIGHTS + name.encode() for name in fetched_before})
    with pytest.raises(OSError, match="has no weights in a readable format"):
        hub.fetch("org/bert", None)


@pytest.mark.parametrize("lacking", ["config.json", "vocab.txt", "model.safetensors"])
def test_a_cached_part_of_a_model_is_no_model(own_cache, lacking):
    put(own_cache, {name: WEIGHTS for name in ("config.json", "vocab.txt", "model.safetensors") if name != lacking})
    with pytest.raises(OSError, match="has no .* in the cache, and the hub could not be asked for the rest"):
        hub.fetch("org/bert", None)


@pytest.fixture
def asked(monkeypatch):
    """Record what the hub is asked; it is never there."""
    record = []

    def model_info(self, name, *, revision, timeout):
        record.append((name, revision))
        raise OSError("no network")

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", model_info)
    return record


@pytest.mark.parametrize(
    "name",
    ["", "..", "a..b", "../name", "org/..", "/name", "/etc/passwd", "a/b/c", "a//b", "org/", "org\\name", "-x", "org/-x", ".x"]
    + ["x-", "x.", "a--b", "a b", "a\n", "a@main", "a%2fb", "a?b", "a#b", "https://a.org/x", "hf:x", "é"],
)  # fmt: skip
def test_what_is_no_hub_id_is_refused_before_the_hub_is_asked(name, asked, own_cache):
    with pytest.raises(ValueError, match="is not a hub id: expected one such as bert-base-uncased or org/name"):
        hub.fetch(name, None)
    assert asked == [] and not hub.is_id(name)


@pytest.mark.parametrize(
    "revision", ["", "..", "../x", "a/../b", "a..b", "/a", "a//b", "a/", "-x", "a b", "a\n", "a?b", "~"]
)
def test_what_is_no_revision_is_refused_before_the_hub_is_asked(revision, asked, own_cache):
    with pytest.raises(ValueError, match="is not a revision of org/bert: expected a branch, a tag or a commit"):
        hub.fetch("org/bert", revision)
    assert asked == []


@pytest.mark.parametrize("name", ["bert-base-uncased", "org/name", "google/bert_uncased_L-2_H-128_A-2", "x", "a.b/c.d"])
@pytest.mark.parametrize("revision", [None, "main", "v1.0", "refs/pr/3", "c" * 40])
def test_ids_and_revisions_reach_the_hub_as_they_are(name, revision, asked, own_cache):
    with pytest.raises(OSError, match=f"model '{name}' could not be fetched from the hub: no network. Run again"):
        hub.fetch(name, revision)
    assert asked == [(name, revision)] and hub.is_id(name)


def test_a_transfer_that_fails_in_its_own_way_is_the_same_message(own_cache, monkeypatch):
    """hf_xet, which transfers from the hub itself but from no test server, raises RuntimeError when the network goes."""
    files = [SimpleNamespace(rfilename=name) for name in READ]
    listing = SimpleNamespace(siblings=files, card_data=None, tags=None)
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda *_, **__: listing)

    def fail(*_, **__):
        raise RuntimeError("Task error: error sending request\nfor url")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)
    with pytest.raises(
        OSError, match=r"could not be fetched from the hub: Task error: error sending request\. Run again"
    ):
        hub.fetch("org/bert", None)


def test_the_hub_is_asked_once_per_process(asked, own_cache):
    put(own_cache, READ)
    assert hub.fetch("org/bert", None) == hub.fetch("org/bert", None)
    assert asked == [("org/bert", None)]


def test_a_file_is_hashed_again_when_it_has_changed(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"one")
    assert files.sha256(path) == hashlib.sha256(b"one").hexdigest()
    with monkeypatch.context() as patch:
        patch.setattr(hashlib, "file_digest", lambda *_: pytest.fail("read again"))
        files.sha256(path)
    path.write_bytes(b"two")
    os.utime(path, ns=(1, 1))
    assert files.sha256(path) == hashlib.sha256(b"two").hexdigest()
