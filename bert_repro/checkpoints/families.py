"""Families of encoders: what each calls its sizes and weights, brought to one config and one table of weights.

What `encoder.build` does not compute is an error: a `model_type` or an activation not listed here, a decoder, relative positions,
pruned attention heads, quantised weights; and weights of an encoder that its table does not know.
"""

import itertools
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
from pydantic import Field, TypeAdapter, ValidationError

from bert_repro.checkpoints.formats import DEQUANTISE

Size = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, lt=1)]
Small = Annotated[float, Field(ge=0, allow_inf_nan=False)]
ACTIVATIONS = {
    "gelu": "gelu", "gelu_python": "gelu", "gelu_new": "gelu_tanh", "gelu_fast": "gelu_tanh", "gelu_accurate": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh", "gelu_python_tanh": "gelu_tanh", "quick_gelu": "quick_gelu", "relu": "relu", "silu": "silu",
    "swish": "silu", "mish": "mish", "tanh": "tanh", "sigmoid": "sigmoid", "linear": "linear",
}  # fmt: skip
"""Functions in encoder.py by what transformers calls them: some have several names."""


def check_layers(layers: Sequence[int] | None, blocks: int) -> list[int]:
    """Give the layers asked for, 0 being the embeddings; all where none are named.

    Raises:
        ValueError: One that an encoder of so many blocks does not have.
    """
    if wrong := [layer for layer in layers or () if not 0 <= layer <= blocks]:
        raise ValueError(f"layers {wrong} are out of range: this encoder has 0 (embeddings) to {blocks}")
    return list(layers or range(blocks + 1))


@dataclass(frozen=True)
class Config:
    """The part of a checkpoint's config.json that shapes the encoder; names as BERT has them."""

    vocab_size: Size
    hidden_size: Size
    num_hidden_layers: Annotated[Size, Field(le=1000)]
    num_attention_heads: Size
    intermediate_size: Size
    max_position_embeddings: Size
    type_vocab_size: Count = 2
    hidden_act: str = "gelu"
    layer_norm_eps: Small = 1e-12
    hidden_dropout_prob: Share = 0.1
    attention_probs_dropout_prob: Share = 0.1
    initializer_range: Small = 0.02
    pad_token_id: Count = 0
    embedding_size: Count = 0  # of the embeddings, where a projection widens them; 0 without one
    model_type: str = "bert"

    @property
    def first_position(self) -> int:
        """Row of the position table that the first wordpiece reads: RoBERTa's family counts on from its padding token."""
        return self.pad_token_id + 1 if ARCHITECTURES[self.model_type].offset else 0

    @property
    def max_length(self) -> int:
        """Most wordpieces of an input, special tokens included."""
        return self.max_position_embeddings - self.first_position

    @property
    def segments(self) -> int:
        """Rows of the segment table; 0 where there is none."""
        return self.type_vocab_size if ARCHITECTURES[self.model_type].segments else 0


class Architecture(NamedTuple):
    """How one `model_type` differs from BERT."""

    name: str  # of its class, without `Model`
    offset: bool = False  # see Config.first_position; these read every wordpiece as of the first segment too
    segments: bool = True
    fields: Mapping[str, str] = {}  # names in config.json that are not BERT's
    defaults: Mapping[str, int] = {}  # of sizes that a config.json may leave out, where they are not BERT's
    blocks: str = "encoder.layer"
    parts: Mapping[str, str] = {}  # names of a block's weights that are not BERT's
    masked_words: Mapping[str, str] = {}  # where the masked-word head of a checkpoint is: layer here, name there
    # of sequences: the two layers of the task head that classifies by [CLS], and the activation between them
    classifier: tuple[str, str, str] = ("pooler.dense", "classifier", "tanh")


_DISTILBERT = {
    "hidden_size": "dim", "num_hidden_layers": "n_layers", "num_attention_heads": "n_heads", "intermediate_size": "hidden_dim",
    "hidden_act": "activation", "hidden_dropout_prob": "dropout", "attention_probs_dropout_prob": "attention_dropout",
}  # fmt: skip
_DISTILBERT_PARTS = {
    "query": "attention.q_lin", "key": "attention.k_lin", "value": "attention.v_lin", "attention_output": "attention.out_lin",
    "attention_norm": "sa_layer_norm", "intermediate": "ffn.lin1", "output": "ffn.lin2", "output_norm": "output_layer_norm",
}  # fmt: skip


def _masked_words(transform: str, norm: str, decoder: str) -> dict[str, str]:
    return {"transform": transform, "transform_norm": norm, "decoder": decoder}


_PREDICTIONS = "cls.predictions"
_BERT_HEAD = _masked_words(f"{_PREDICTIONS}.transform.dense", f"{_PREDICTIONS}.transform.LayerNorm", _PREDICTIONS)
_ROBERTA_HEAD = _masked_words("lm_head.dense", "lm_head.layer_norm", "lm_head")
_DENSE, _OUT = "classifier.dense", "classifier.out_proj"
_ROBERTA: dict[str, Any] = {
    "offset": True, "defaults": {"pad_token_id": 1}, "masked_words": _ROBERTA_HEAD, "classifier": (_DENSE, _OUT, "tanh")
}  # fmt: skip
ARCHITECTURES = {
    "bert": Architecture("Bert", masked_words=_BERT_HEAD),
    "roberta": Architecture("Roberta", **_ROBERTA),
    "xlm-roberta": Architecture("XLMRoberta", **_ROBERTA),
    "camembert": Architecture("Camembert", **_ROBERTA),
    "distilbert": Architecture(
        "DistilBert", segments=False, fields=_DISTILBERT, blocks="transformer.layer", parts=_DISTILBERT_PARTS,
        masked_words=_masked_words("vocab_transform", "vocab_layer_norm", "vocab_projector"),
        classifier=("pre_classifier", "classifier", "relu"),
    ),
    "electra": Architecture(
        "Electra", defaults={"embedding_size": 128},
        masked_words=_masked_words(
            "generator_predictions.dense", "generator_predictions.LayerNorm", "generator_lm_head"
        ),
        classifier=(_DENSE, _OUT, "gelu"),
    ),
}  # fmt: skip
"""Families by the `model_type` of their config.json."""

_PARTS = {
    "query": "attention.self.query", "key": "attention.self.key", "value": "attention.self.value",
    "attention_output": "attention.output.dense", "attention_norm": "attention.output.LayerNorm",
    "intermediate": "intermediate.dense", "output": "output.dense", "output_norm": "output.LayerNorm",
}  # fmt: skip


def family(raw: Mapping[str, Any]) -> object:
    """Find the `model_type` of a config.json; old ones name only the class of their model, and Google's not even that."""
    if "model_type" in raw:
        return raw["model_type"]
    classes = raw.get("architectures")
    name = str(classes[0]) if isinstance(classes, list) and classes else "Bert"
    kinds = (kind for kind, architecture in ARCHITECTURES.items() if re.match(rf"{architecture.name}(?![a-z])", name))
    return next(kinds, name)


def check_family(raw: Mapping[str, Any], source: Path | str) -> None:
    """Make sure that a config.json is that of an encoder which can be computed, whatever its sizes; arguments as in `from_raw`.

    Raises:
        ValueError: Another family, a decoder, relative positions, an activation that is not known here, attention heads taken
            out, or quantised weights.
    """
    kind = family(raw)
    if not isinstance(kind, str) or kind not in ARCHITECTURES:
        raise ValueError(
            f"{source} describes a model of type {kind!r}: supported are {', '.join(ARCHITECTURES)}; "
            "give a checkpoint of one of these"
        )
    positions = raw.get("position_embedding_type") or "absolute"
    if positions != "absolute":
        raise ValueError(
            f"{source} has position embeddings of type {positions!r}: supported is 'absolute'; give a checkpoint with these"
        )
    if raw.get("is_decoder") or raw.get("add_cross_attention"):
        raise ValueError(
            f"{source} describes a decoder: supported are encoders, in which every word sees every other; give one"
        )
    activation = raw.get(ARCHITECTURES[kind].fields.get("hidden_act", "hidden_act"))
    if activation is not None and (not isinstance(activation, str) or activation not in ACTIVATIONS):
        raise ValueError(
            f"{source} has the activation {activation!r}: supported are {', '.join(ACTIVATIONS)}; "
            "give a checkpoint with one of these"
        )
    if raw.get("pruned_heads"):
        raise ValueError(
            f"{source} says that attention heads were removed (pruned_heads): supported are encoders with all of theirs; give "
            "the checkpoint from before"
        )
    if raw.get("quantization_config"):
        raise ValueError(f"{source} says that the weights are quantised (quantization_config): {DEQUANTISE}")


def from_raw(raw: Mapping[str, Any], source: Path | str) -> Config:
    """Read the content of a config.json.

    Args:
        raw: Its content. Without a `model_type` it is what its `architectures` say; without both, as in Google's own
            bert_config.json, BERT's.
        source: Its file, for messages.

    Raises:
        ValueError: What `check_family` refuses, or sizes missing, ill-typed or impossible.
    """
    check_family(raw, source)
    kind = str(family(raw))
    fields = ARCHITECTURES[kind].fields
    values = {name: raw.get(fields.get(name, name)) for name in Config.__dataclass_fields__} | {"model_type": kind}
    values = dict(ARCHITECTURES[kind].defaults) | {name: value for name, value in values.items() if value is not None}
    try:
        config = TypeAdapter(Config).validate_json(json.dumps(values), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(next(iter(first["loc"]), "model_type"))  # of none where the text itself cannot be
        raise ValueError(f"{source}: {fields.get(name, name)}: {first['msg']}, got {values.get(name)!r}") from None
    if config.hidden_size % config.num_attention_heads:
        raise ValueError(
            f"{source}: a width of {config.hidden_size} cannot be split among {config.num_attention_heads} attention heads"
        )
    if config.max_length < 4:
        raise ValueError(
            f"{source}: {config.max_position_embeddings} positions leave room for {max(config.max_length, 0)} wordpieces: at least "
            "4 are needed"
        )
    return config


def to_raw(config: Config) -> dict[str, Any]:
    """Give the content of a config.json that `from_raw` and transformers read."""
    kind = ARCHITECTURES[config.model_type]
    values = {name: getattr(config, name) for name in Config.__dataclass_fields__}
    values["embedding_size"] = config.embedding_size or config.hidden_size
    if "embedding_size" not in kind.defaults:
        del values["embedding_size"]
    raw = {kind.fields.get(name, name): value for name, value in values.items()}
    return {"architectures": [f"{kind.name}Model"], "position_embedding_type": "absolute"} | raw


class Weight(NamedTuple):
    """One weight of the encoder: its variable in encoder.py, and its key and shape in a checkpoint."""

    variable: str
    key: str
    transposed: bool  # whether the checkpoint holds the transpose of the variable
    shape: tuple[int, ...]


def weight_table(config: Config) -> list[Weight]:
    """List the encoder's weights, in the order of the layers."""
    kind, hidden, inner = ARCHITECTURES[config.model_type], config.hidden_size, config.intermediate_size
    narrow = config.embedding_size or hidden
    table: list[Weight] = []

    def dense(variable: str, key: str, into: int, out: int) -> None:
        table.append(Weight(f"{variable}/kernel", f"{key}.weight", True, (out, into)))
        table.append(Weight(f"{variable}/bias", f"{key}.bias", False, (out,)))

    def norm(variable: str, key: str, size: int) -> None:
        table.append(Weight(f"{variable}/gamma", f"{key}.weight", False, (size,)))
        table.append(Weight(f"{variable}/beta", f"{key}.bias", False, (size,)))

    rows = {"word": config.vocab_size, "position": config.max_position_embeddings, "token_type": config.segments}
    for name, count in rows.items():
        if count:
            embedding = f"embeddings/{name.replace('token_type', 'segment')}/embeddings"
            table.append(Weight(embedding, f"embeddings.{name}_embeddings.weight", False, (count, narrow)))
    norm("embeddings/norm", "embeddings.LayerNorm", narrow)
    if narrow != hidden:
        dense("embeddings/projection", "embeddings_project", narrow, hidden)
    parts = _PARTS | dict(kind.parts)
    for k in range(config.num_hidden_layers):
        for part, module in parts.items():
            variable, key = f"block_{k + 1}/{part}", f"{kind.blocks}.{k}.{module}"
            if part.endswith("norm"):
                norm(variable, key, hidden)
            else:
                dense(
                    variable,
                    key,
                    *{"intermediate": (hidden, inner), "output": (inner, hidden)}.get(part, (hidden, hidden)),
                )
    return table


MERGE = (
    "the weights of an adapter beside the encoder's own, which are not merged: merge them where the checkpoint comes from (with "
    "peft, model.merge_and_unload().save_pretrained('merged')), and give that folder; an adapter that cannot be merged, such as "
    "layers or a prompt of its own, cannot be used"
)
_ADAPTER = r"(^|[._])lora_|base_layer|prompt_encoder|prompt_embeddings|prefix_(tuning|encoder)"
_HINTS = {
    rf"{_ADAPTER}|adapter|[._](ia3|vera|oft|boft|hada|lokr)_|prefix|prompt|modules_to_save|original_module": MERGE,
    r"\.(S?CB|qweight|qzeros|scales|g_idx)$|absmax|quant|zero_point|_scale(_inv)?$": f"quantised weights: {DEQUANTISE}",
    r"_(orig|mask|g|v|u)$|parametrizations": (
        "weights that others are computed of (pruned, or normalised): make them permanent where the checkpoint comes from (with "
        "PyTorch, prune.remove or parametrize.remove_parametrizations), and save it again"
    ),
}
"""What names of weights say that no table knows, and what to do."""
_BUFFERS = {"embeddings.position_ids", "embeddings.token_type_ids"}
_ENCODER = ("embeddings.", "embeddings_project.", "encoder.", "transformer.")


def prefixes(keys: Iterable[str]) -> list[str]:
    """Give the prefixes of the names of encoders' weights, such as `bert.` in a task model; one for each encoder."""
    part = r"((?:.*\.)?)(embeddings\.(word_embeddings|LayerNorm)|(encoder|transformer)\.layer\.0\.(output|output_layer_norm))\..*"
    return sorted({match[1] for match in map(re.compile(part).fullmatch, keys) if match})


def unknown_weight(config: Config, keys: Collection[str], prefix: str) -> str:
    """Say what is unknown among the weights of a checkpoint: were it left out, hidden states would be another encoder's.

    Task heads and poolers stand beside the encoder, and are none of its weights.

    Args:
        config: The shape of the encoder.
        keys: Names of all that is stored.
        prefix: What stands before the encoder's own names, such as `bert.`.

    Returns:
        The first such weight, what it is and what to do; empty where there is none.
    """
    kind = ARCHITECTURES[config.model_type]
    named, own_name = prefix.removesuffix(".").rpartition(".")[2], "roberta" if kind.offset else config.model_type
    if named in ARCHITECTURES and named not in ("bert", own_name):  # `bert` is also what people call any encoder
        return f"weights called {prefix!r}, where its config says type {config.model_type!r}: correct its model_type"
    known_keys = {f"{prefix}{key}" for key in {weight.key for weight in weight_table(config)} | _BUFFERS}
    own = tuple(f"{prefix}{part}" for part in _ENCODER)
    unknown = sorted(key for key in keys if key not in known_keys and (key.startswith(own) or re.search(_ADAPTER, key)))
    for key in unknown:
        for pattern, hint in _HINTS.items():
            if re.search(pattern, key):
                return f"{key!r}, {hint}"
    if not unknown:
        return ""
    block = re.match(rf"{kind.blocks}\.(\d+)\.", unknown[0].removeprefix(prefix))
    if block and int(block[1]) >= config.num_hidden_layers:
        return f"{unknown[0]!r}, where its config says {config.num_hidden_layers} layers: correct its num_hidden_layers"
    return (
        f"{unknown[0]!r}, which no encoder of type {config.model_type!r} has: it is of another family, or was extended; give a "
        f"checkpoint of {', '.join(ARCHITECTURES)} as transformers has them"
    )


SHAPE = (
    "model_type", "vocab_size", "hidden_size", "num_hidden_layers", "intermediate_size", "max_position_embeddings", "segments",
    "embedding_size",
)  # fmt: skip
"""What decides the weights of an encoder and their shapes."""


def differing(config: Config, other: Config) -> str:
    """Say in which part of SHAPE an encoder differs from another, as in `hidden_size is 384, not 768`; nothing if in none."""
    values = ((name, getattr(config, name), getattr(other, name)) for name in SHAPE)
    return next((f"{name} is {value}, not {reference}" for name, value, reference in values if value != reference), "")


def weight_change(
    config: Config, before: Mapping[str, np.ndarray], after: Mapping[str, np.ndarray]
) -> Iterator[dict[str, object]]:
    """Say how far the weights of every layer moved, all weights of a layer as one vector.

    Args:
        config: The shape of both encoders.
        before: Arrays by their keys in a checkpoint, see `Checkpoint.weights`.
        after: The same of the other encoder.

    Yields:
        Table rows by layer, 0 being the embeddings: `relative_l2`, the norm of the difference over the norm before, 0 and
        nothing else for no change; and `cosine`, in [-1, 1]. `n` counts weights.
    """
    for layer, table in itertools.groupby(weight_table(config), lambda weight: weight.variable.split("/")[0]):
        keys = [weight.key for weight in table]
        old, new = (np.concatenate([arrays[key].ravel() for key in keys]).astype(float) for arrays in (before, after))
        norms = np.linalg.norm(old), np.linalg.norm(new)
        cosine = 1.0 if np.array_equal(old, new) else old @ new / (norms[0] * norms[1])
        number = int(layer.removeprefix("block_")) if layer != "embeddings" else 0
        for metric, value in (("relative_l2", np.linalg.norm(new - old) / norms[0]), ("cosine", cosine)):
            yield {"layer": number, "metric": metric, "value": float(value), "n": len(old)}
