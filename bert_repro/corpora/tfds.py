"""Datasets of tensorflow-datasets: where they are kept, how their rows are laid out, and how TensorFlow reads them.

Errors are those of the readers of files, with dataset, split and row; nothing is downloaded except by `fetch`.
"""

import ast
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from bert_repro.corpora import makers, readers
from bert_repro.corpora.items import Sentence


def folder(name: str) -> Path:
    """Give the folder of a dataset, which ends in its version.

    Raises:
        FileNotFoundError: It was not fetched yet.
    """
    builder = _builder(name)
    if not builder.data_path.exists():
        raise FileNotFoundError(
            f"dataset {name} is not in {builder.data_path}: get it with `python -m bert_repro fetch {name}`, "
            "or name the folder it is kept in by TFDS_DATA_DIR"
        )
    return Path(builder.data_path)


def fetch(name: str) -> None:
    """Download and prepare a dataset, unless it is there.

    Raises:
        OSError: It cannot be reached or prepared; nothing half-made is left to be taken for it.
    """
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.download.download_manager import NonMatchingChecksumError

    builder = _builder(name)
    if builder.data_path.exists():
        return
    # what the library does not build from a download it fetches as it was built once, from its own bucket
    urls = [*(builder.url_infos or ())] or ["https://storage.googleapis.com"]
    _reach(name, sorted({f"https://{urllib.parse.urlsplit(url).netloc}" for url in urls}))
    try:
        builder.download_and_prepare()
    except (OSError, ImportError, tfds.download.DownloadError, NonMatchingChecksumError) as error:
        raise OSError(f"dataset {name} could not be fetched: {error}. {_NEXT}") from error


_NEXT = "Run again, or prepare it on another machine and name the folder by TFDS_DATA_DIR"


def _reach(name: str, hosts: list[str]) -> None:
    """Ask the hosts of a dataset whether they are there: without a network, TFDS itself tries for many minutes."""
    for host in hosts:
        try:
            with urllib.request.urlopen(urllib.request.Request(host, method="HEAD"), timeout=10):
                return
        except urllib.error.HTTPError:
            return  # an answer
        except OSError as error:
            last = error
    raise OSError(f"dataset {name} could not be fetched: none of {hosts} can be reached ({last}). {_NEXT}")


def records(name: str, splits: str, left_out: dict[str, int]) -> Iterator[makers.Record]:
    """Read a prepared dataset row by row, in constant memory, in the order in which it is stored.

    Args:
        name: As in `fetch`.
        splits: Its own name of a split, or several joined by `+`, which are read one after the other.
        left_out: Is filled with what of an item was not read, and how often.

    Returns:
        See `readers.records`.

    Raises:
        ValueError: A malformed row, while reading or when its record is called.
    """
    import tensorflow_datasets as tfds

    builder = _builder(name)
    make, counted = _ROWS[name]
    left_out |= dict.fromkeys(counted, 0)
    for split in splits.split("+"):
        rows = tfds.as_numpy(builder.as_dataset(split=split, shuffle_files=False))
        for number, row in enumerate(rows):
            yield from make(f"{name}:{split}, row {number}", split, row, builder.info.features, left_out)


def _pair(
    place: str, split: str, row: Mapping[str, Any], features: Any, left_out: dict[str, int]
) -> Iterator[makers.Record]:
    text = {side: row[side].decode() for side in ("premise", "hypothesis")}
    label = _named(features["label"].names, row["label"])
    section = split.removeprefix("validation_") if split.startswith("validation_") else "unknown"
    yield makers.unlabelled(label) or partial(
        makers.pair, place, f"{split}-{row['idx']}", text | {"label": label, "section": section}
    )


def _question(
    place: str, split: str, row: Mapping[str, Any], features: Any, left_out: dict[str, int]
) -> Iterator[makers.Record]:
    name, text, context = (row[key].decode() for key in ("id", "question", "context"))
    answers = zip(row["answers"]["text"], row["answers"]["answer_start"], strict=True)
    places = [(answer.decode(), int(start)) for answer, start in answers]
    yield partial(makers.question, place, name, text, context, places)


def _sentence(
    place: str, split: str, row: Mapping[str, Any], features: Any, left_out: dict[str, int]
) -> Iterator[makers.Record]:
    yield partial(_of_columns, place, row, features, left_out)


def _of_columns(place: str, row: Mapping[str, Any], features: Any, left_out: dict[str, int]) -> Sentence:
    columns = {
        key: [text.decode() for text in row[key]] for key in ("tokens", "head", "deprel", "xpos", "feats", "deps")
    }
    upos = [_named(features["upos"].feature.names, number) for number in row["upos"]]
    tokens = []
    for form, head, deprel, xpos, feats, deps, tag in zip(*columns.values(), upos, strict=True):
        # ids are not kept, and some empty cells are told as None; an empty node has enhanced dependencies, a range none
        if head == "None" and deprel == "_":
            left_out["multiword ranges" if deps == "None" else "empty nodes"] += 1
        else:
            xpos = "_" if xpos == "None" else xpos
            # features come as Python writes a dictionary
            features_of = "|".join(f"{name}={value}" for name, value in (ast.literal_eval(feats) or {}).items())
            tokens.append(
                {"form": form, "head": head, "deprel": deprel, "upos": tag, "xpos": xpos, "feats": features_of or "_"}
            )
    return makers.sentence(place, row["idx"].decode(), tokens, [place] * len(tokens))


def _article(
    place: str, split: str, row: Mapping[str, Any], features: Any, left_out: dict[str, int]
) -> Iterator[makers.Record]:
    return readers.article(row["wikidata_id"].decode(), row["text"].decode())


def _named(names: Sequence[str], number: Any) -> str:
    """Name a label; a number without a name, such as -1 for a missing label, is given as it is."""
    return names[number] if 0 <= number < len(names) else str(number)


_ROWS = {
    "glue/mnli": (_pair, ()),
    "squad/v1.1": (_question, ()),
    "universal_dependencies/en_ewt": (_sentence, ("multiword ranges", "empty nodes")),
    "wiki40b/en": (_article, ()),
}
"""What makes items of a row, and what it may leave out, by dataset."""


def _builder(name: str) -> Any:
    import tensorflow_datasets as tfds  # starts TensorFlow once something is read

    return tfds.builder(name)
