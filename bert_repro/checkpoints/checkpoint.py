"""A checkpoint: an encoder on disk in the Hugging Face layout, with its config, tokenizer, weights and how it was made.

An encoder of another family than BERT's, and weights whose shape or values are wrong, are errors.
"""

import hashlib
import importlib.util
import json
import os
import re
import shutil
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from bert_repro.alignment import Tokenizer, bracketed, cased, without_accents
from bert_repro.checkpoints import families, formats, lookalikes
from bert_repro.checkpoints.hub import CONFIG_FILES, TOKENIZER_FILES
from bert_repro.checkpoints.lookalikes import read_json, read_object
from bert_repro.files import sha256

# in a notebook, tqdm would ask for Jupyter widgets as soon as transformers or the hub import it; bars are plain text here
warnings.filterwarnings("ignore", message="IProgress not found")


class Checkpoint:
    """An encoder in a folder: config, tokenizer and weights, each read when it is first asked for.

    Args:
        folder: Holds config.json, the tokenizer files and weights in one of the `formats`.
        reference: What it was opened as, see `checkpoints.open`; by default the folder.
        revision: Its commit on the hub; empty for what is not from there.
        licence: As it is published under; empty where that is not known.
    """

    def __init__(self, folder: Path, reference: str = "", revision: str = "", licence: str = ""):
        self.folder, self.reference = folder, reference or str(folder)
        self.revision, self.licence = revision, licence

    @classmethod
    def write(
        cls,
        folder: Path,
        config: families.Config,
        weights: Mapping[str, np.ndarray] | None,
        tokenizer_from: "Checkpoint | None" = None,
        record: Mapping[str, object] = {},
        labels: Sequence[str] = (),
    ) -> "Checkpoint":
        """Write a checkpoint.

        Args:
            folder: An existing folder.
            config: The encoder's shape.
            weights: Encoder weights without prefix; those of a task head under names of their own. None for the plan of an
                encoder, which `untrained:FOLDER` draws the weights of.
            tokenizer_from: The checkpoint whose tokenizer files are copied, if any.
            record: How it was made: table columns such as task, seed, updates.
            labels: Names of the labels of a task head, in the order of its outputs.

        Raises:
            OSError: The disk is full or cannot be written.
        """
        raw = families.to_raw(config)
        if labels:
            raw |= {"id2label": dict(enumerate(labels)), "label2id": {name: n for n, name in enumerate(labels)}}
        text = json.dumps(raw | ({"bert_repro": dict(record)} if record else {}), indent=1)
        (folder / "config.json").write_text(text + "\n", encoding="utf-8")
        if weights is not None:
            formats.write(weights, folder / "model.safetensors", {"format": "pt"})
        if tokenizer_from is not None:
            for name in tokenizer_from.tokenizer_files:
                shutil.copyfile(tokenizer_from.folder / name, folder / name)
        return cls(folder)

    @cached_property
    def config(self) -> families.Config:
        """The shape of the encoder.

        Raises:
            ValueError: No config.json, or not that of a supported encoder; see `families.from_raw`.
        """
        with self._named():
            try:
                return families.from_raw(self._raw, self._config_file)
            except ValueError as error:
                if "model_type" not in self._raw and (place := lookalikes.elsewhere(self.folder)):
                    raise ValueError(f"{self.folder} is not a checkpoint: {place}") from None
                raise error

    @property
    def record(self) -> dict[str, Any]:
        """Table columns that say how it was made (task, seed, updates); empty for a base encoder."""
        record = self._raw.get("bert_repro")
        return dict(record) if isinstance(record, dict) else {}

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the labels of its task head, in the order of its outputs; empty where it names none.

        Raises:
            ValueError: The numbers of its `id2label` do not count from 0.
        """
        named = self._raw.get("id2label") or {}
        if not isinstance(named, dict) or sorted(named, key=str) != sorted(map(str, range(len(named))), key=str):
            with self._named():
                raise ValueError(
                    f"{self._config_file}: id2label must name the outputs 0, 1, ... of the task head, got {named!r}"
                )
        return tuple(str(named[str(n)]) for n in range(len(named)))

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Put the reference that it was opened by before a message that names only its folder, deep in a cache."""
        try:
            yield
        except ValueError as error:
            if self.reference in str(error):
                raise
            raise ValueError(f"{self.reference}: {error}") from None

    @cached_property
    def _config_file(self) -> Path:
        if self.folder.is_dir() and formats.is_adapter(path.name for path in self.folder.iterdir()):
            raise formats.adapter(repr(self.reference), self.folder / formats.ADAPTER)
        for path in (self.folder / name for name in CONFIG_FILES):
            if path.is_file():
                return path
        raise ValueError(
            f"{self.folder} is not a checkpoint: {lookalikes.elsewhere(self.folder) or 'it has no config.json'}"
        )

    @cached_property
    def _raw(self) -> dict[str, Any]:
        return read_json(self._config_file, "config")

    def weights(self) -> dict[str, np.ndarray]:
        """Read all weights, afresh and large: the encoder's without the prefix that a task model gives them (`bert.`).

        Raises:
            ValueError: No weights in a format that is read, damaged ones, no encoder or several, a weight of it missing, of
                another shape, or not finite, or one that no encoder of its family has, as of an adapter.
        """
        config = self.config
        with self._named():
            names = [path.name for path in self.folder.iterdir() if path.is_file()]
            chosen = formats.choose(names)
            if not chosen and (hint := lookalikes.elsewhere(self.folder) or lookalikes.unread(self.folder)):
                raise ValueError(f"{self.folder} has no weights in a supported format: {hint}")
            for name in chosen:
                lookalikes.check_file(self.folder / name)
            return self._checked(config, formats.read(self.folder))

    def _checked(self, config: families.Config, weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Give weights without the prefix of the one encoder among them, once they are found to fit its config."""
        folder, before = self.folder, families.prefixes(weights)
        if len(before) != 1:
            raise ValueError(
                f"{folder} holds {len(before)} encoders of BERT's family ({', '.join(map(repr, before)) or 'no'} "
                "embeddings.word_embeddings.weight): expected the weights of one"
            )
        if unknown := families.unknown_weight(config, weights, before[0]):
            raise ValueError(f"{folder} has {unknown}")
        weights = {key.removeprefix(before[0]): array for key, array in weights.items()}
        for _, key, kernel, shape in families.weight_table(config):
            if key not in weights:
                raise ValueError(
                    f"{folder} has no weight {key!r}, which an encoder of type {config.model_type!r} needs"
                )
            if not formats.is_float(weights[key]):
                raise ValueError(f"{folder} has {key!r} as {weights[key].dtype.name}, quantised: {formats.DEQUANTISE}")
            if weights[key].shape != shape:
                pruned = re.search(r"\.self\.|\.[qkv]_lin\.", key) and 0 < len(weights[key]) < shape[0]
                why = (
                    ": attention heads were removed, which is not supported; give the checkpoint from before"
                    if pruned
                    else ""
                )
                raise ValueError(f"{folder}: {key} has the shape {weights[key].shape}, its config says {shape}{why}")
            if not np.isfinite(weights[key]).all():
                raise ValueError(f"{folder}: {key} holds values that are not finite")
            if kernel and not weights[key].any():
                raise ValueError(
                    f"{folder}: {key} holds zeros alone, as in a file whose download or saving was interrupted: fetch the checkpoint again"
                )
        return {key: array for key, array in weights.items() if formats.is_float(array)}

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The fast tokenizer, without any truncation and padding that its file has configured.

        What it does to capitals and accents is what its tokenizer_config.json says, or else its tokenizer.json; where neither
        does, as beside a vocab.txt, the vocabulary: capitals and accents that it has are kept.

        Raises:
            ValueError: The folder has no tokenizer files, damaged ones, those of a slow tokenizer or of a package that is not
                here.
        """
        with self._named():
            return self._tokenizer()

    def _tokenizer(self) -> Tokenizer:
        """Read the tokenizer from its files."""
        folder, files = self.folder, self.tokenizer_files
        if not set(files) - {"tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"}:
            hint = "expected tokenizer.json or vocab.txt beside the weights; copy the files of the checkpoint that it was tuned from"
            raise ValueError(f"{folder} has no tokenizer: {lookalikes.elsewhere(folder) or hint}")
        for name in files:
            lookalikes.check_file(folder / name)
        alone = [name for name in files if name.endswith(".model")]
        if (
            alone
            and not {"tokenizer.json", "vocab.txt", "vocab.json"} & set(files)
            and not importlib.util.find_spec("sentencepiece")
        ):
            raise ValueError(
                f"{folder} has {alone[0]} and no tokenizer.json: the package sentencepiece reads it, which is not here; install "
                "that, or save a tokenizer.json where it is (AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER))"
            )
        try:
            tokenizer = self._read_tokenizer()
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # tokenizers raises bare Exceptions of its own, and panics where it is in Rust
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise ValueError(
                f"{folder} has tokenizer files that cannot be read ({', '.join(files)}): {reason}"
            ) from None
        if not tokenizer.is_fast:
            raise ValueError(
                f"{folder} has a tokenizer of type {type(tokenizer).__name__}, which does not give the word of a wordpiece: "
                "a fast one (tokenizer.json) is needed"
            )
        return tokenizer

    def _read_tokenizer(self) -> Any:
        # it would say that PyTorch is missing, which is as meant
        os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
        from transformers import AutoConfig, AutoTokenizer, BertTokenizer  # seconds to import

        folder, files = self.folder, self.tokenizer_files
        if files == ["vocab.txt"]:
            tokenizer: Any = BertTokenizer(str(folder / "vocab.txt"))
        else:
            # old configs, and Google's, do not say what they are of, which transformers needs to know
            raw = next((read_object(folder / name) for name in CONFIG_FILES if (folder / name).is_file()), {})
            named = not raw or ("model_type" in raw and (folder / "config.json").is_file())
            config = {} if named else {"config": AutoConfig.for_model(self.config.model_type)}
            # words come one by one; byte-level vocabularies know them by the space before them
            options = {"local_files_only": True, "add_prefix_space": True, "trust_remote_code": False} | config
            options |= {"do_lower_case": True} if self.unsaid else {}  # it may stand there as null
            tokenizer = AutoTokenizer.from_pretrained(str(folder), **options)
        if not tokenizer.is_fast:
            return tokenizer
        backend = tokenizer.backend_tokenizer
        if self.unsaid and isinstance(tokenizer, BertTokenizer):  # which would lower-case then
            backend.normalizer = _normalizer(folder / "tokenizer.json", tokenizer)
        backend.no_truncation()
        backend.no_padding()
        tokenizer.model_max_length = sys.maxsize  # lengths are checked in alignment.py; this only silences a warning
        # what would fail later fails now
        tokenizer([["a", "word"], ["b"]], is_split_into_words=True)
        for name in ("cls_token_id", "sep_token_id", "unk_token_id", "mask_token_id", "all_special_ids"):
            getattr(tokenizer, name)
        return tokenizer

    @property
    def by_vocabulary(self) -> bool:
        """Whether no file says what is done to capitals and accents, so that its vocabulary decides."""
        return self.unsaid and read_object(self.folder / "tokenizer.json").get("normalizer") is None

    @cached_property
    def unsaid(self) -> bool:
        """Whether tokenizer_config.json does not say what WordPiece does to capitals, so that it is found out otherwise."""
        if read_object(self.folder / "tokenizer_config.json").get("do_lower_case") is not None:
            return False
        model = read_object(self.folder / "tokenizer.json").get("model")
        if isinstance(model, dict):
            return model.get("type") == "WordPiece" or "max_input_chars_per_word" in model  # old files have no type
        return (self.folder / "vocab.txt").is_file()

    @property
    def tokenizer_files(self) -> list[str]:
        """Names of the files that the tokenizer consists of."""
        return [name for name in TOKENIZER_FILES if (self.folder / name).is_file()]

    @property
    def digests(self) -> dict[str, str]:
        """Checksums of `weights`, with the shape, and `tokenizer`, for manifests and keys."""
        return {"weights": self.weights_digest, "tokenizer": self.tokenizer_digest}

    @property
    def weights_digest(self) -> str:
        """Identifies weights and shape."""
        return self._digest((*CONFIG_FILES, *formats.choose(path.name for path in self.folder.iterdir())))

    @property
    def tokenizer_digest(self) -> str:
        """Identifies the tokenizer."""
        return self._digest(self.tokenizer_files, "letters as its vocabulary has them\n" if self.unsaid else "")

    def _digest(self, names: Iterable[str], rule: str = "") -> str:
        files = [self.folder / name for name in names if (self.folder / name).is_file()]
        lines = "".join(f"{path.name} {sha256(path)}\n" for path in files)
        return hashlib.sha256((lines + rule).encode()).hexdigest()

    def check(self) -> dict[str, np.ndarray]:
        """Read all that a run will need, so that an unusable checkpoint is reported before the first run.

        Returns:
            What `weights` gives, as it takes its time.

        Raises:
            ValueError: As `config`, `tokenizer` and `weights`; or pieces that the weights have no embedding for.
        """
        config, tokenizer, weights = self.config, self.tokenizer, self.weights()
        needed = {"[CLS]": tokenizer.cls_token_id, "[SEP]": tokenizer.sep_token_id, "[UNK]": tokenizer.unk_token_id}
        beyond = {name: number for name, number in needed.items() if number is not None and number >= config.vocab_size}
        pieces = tokenizer.get_vocab()
        too_large = {piece: number for piece, number in pieces.items() if number >= config.vocab_size}
        if len(too_large) > len(pieces) / 20:  # a few that were added, and are not used, do no harm
            beyond |= too_large
        if beyond:
            name, number = min(beyond.items(), key=lambda item: item[1])
            raise ValueError(
                f"{self.reference}: its tokenizer has {name} as number {number}, its weights have embeddings for 0 to "
                f"{config.vocab_size - 1}: they do not belong together; take both from one checkpoint"
            )
        return weights


def _normalizer(file: Path, tokenizer: Any) -> Any:
    """Give the normaliser of letters: that of tokenizer.json, or else one that leaves the pieces as they are."""
    from tokenizers import Tokenizer, normalizers

    declared = Tokenizer.from_file(str(file)).normalizer if file.is_file() else None
    if declared is not None:
        return declared
    pieces = [piece for piece in tokenizer.get_vocab() if not bracketed(piece)]
    lower, accents = not cased(pieces), any(piece != without_accents(piece) for piece in pieces)
    strip = lower and not accents if tokenizer.strip_accents is None else tokenizer.strip_accents
    return normalizers.BertNormalizer(
        handle_chinese_chars=tokenizer.tokenize_chinese_chars, lowercase=lower, strip_accents=strip
    )
