"""Places: which files a reference to a corpus stands for, and how to have them ready; none is read here.

Names and splits that do not exist, and a file of the clone whose checksum changed, are errors.
"""

import functools
import re
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from bert_repro.corpora import readers, tfds
from bert_repro.corpora.reference import Reference, drawn_split, named, parts
from bert_repro.corpora.sources import CORPORA
from bert_repro.files import CLONED, added_data, sha256


class Located(NamedTuple):
    """Where a corpus reference points."""

    name: str
    split: str
    path: Path  # a file, a folder of running text, or that of a prepared dataset
    records: Callable[[dict[str, int]], Iterator[readers.Record]]  # fills in what it leaves out
    drawn: int | None  # how many items to draw; below 0, how many to leave out
    layout: "Located | None" = None  # of the corpus in whose layout it is read

    @property
    def part(self) -> str:
        """What the tables call the split: with its draw, as in `dev[600]`."""
        return drawn_split(self.split, self.drawn)

    @property
    def files(self) -> list[Path]:
        """The files that are read; none of a prepared dataset, which are not identified."""
        prepared = self.name in CORPORA and CORPORA[self.name].home == "tfds"
        return [] if prepared else readers.text_files(self.path)


def locate(reference: str) -> Located:
    """Find a corpus without reading it; name and split of `wiki~mnli:dev[60]` are `wiki~mnli` and `all~dev[60]`.

    Raises:
        ValueError: An unknown name or split.
        OSError: The file or the added folder is missing, the dataset was not fetched, or a file of the clone has changed.
    """
    parsed = Reference.parse(reference)
    if parsed.layout:
        text, layout = locate(str(parsed.text)), locate(str(parsed.layout))
        name, part = f"{text.name}~{layout.name}", f"{text.part}~{layout.part}"
        return text._replace(name=name, split=part, drawn=None, layout=layout)
    name, split, count = parsed.name, parsed.split, parsed.drawn
    if name in CORPORA:
        source = CORPORA[name]
        if split is None and len(source.files) == 1:
            (split,) = source.files
        if split is None or split not in source.files:
            raise ValueError(
                f"corpus {name!r} has no split {split!r}: write one of {[f'{name}:{s}' for s in source.files]}"
            )
        if source.home == "tfds":
            records = functools.partial(tfds.records, name, source.files[split])
            return Located(name, split, tfds.folder(name), records, count)
        path = _file(f"{name}:{split}", source.files[split])
        return Located(name, split, path, functools.partial(readers.records, path, source.where.get(split, {})), count)
    path = Path(name)
    if not path.is_dir() and not re.search(r"\.(conllu|tsv|jsonl?|txt)(\.gz)?$", name):
        raise ValueError(
            f"unknown corpus {name!r}: expected one of {sorted(CORPORA)}, a .conllu, .tsv, .json, .jsonl or .txt file, "
            "or a folder of .txt files"
        )
    if not path.exists():
        raise FileNotFoundError(f"no corpus file {name}")
    return Located(path.name, split or "", path, functools.partial(readers.records, path, {}), count)


def columns(reference: str) -> dict[str, str]:
    """Give the table columns that name a corpus; errors as in `locate`."""
    place = locate(reference)
    return {"corpus": place.name, "split": place.part}


def _file(reference: str, name: str) -> Path:
    """Find a file of the real corpora by its path: in the clone's `data/`, or else in the folder that DATA= adds."""
    cloned, added = CLONED / name, added_data()
    path = added / name if added else None
    if cloned.is_file():
        if not _intact(name):
            raise OSError(
                f"{cloned} is not the file that data/files.sha256 lists: a tool has changed it, perhaps its line endings. "
                f"Delete it and run `git checkout -- data/{name}`, in a clone that has the file .gitattributes"
            )
        if path and path.is_file() and sha256(path) != sha256(cloned):
            warnings.warn(f"{path} is another file than {cloned}: the one in the clone is read", stacklevel=3)
        return cloned
    if path is None:
        raise FileNotFoundError(
            f"corpus {reference} does not come with the clone: name the folder that holds {name} with "
            "`make report DATA=/path/to/data` or the environment variable BERT_REPRO_DATA"
        )
    if not path.is_file():
        raise FileNotFoundError(f"corpus {reference} should lie at {path}, but no file is there: check DATA=...")
    return path


def _intact(name: str) -> bool:
    """Compare a file of `data/` with the checksum listed there; files that are not listed are a user's own and accepted."""
    listed = (line.split(maxsplit=1) for line in (CLONED / "files.sha256").read_text(encoding="utf-8").splitlines())
    return {path: checksum for checksum, path in listed}.get(name, sha256(CLONED / name)) == sha256(CLONED / name)


def in_clone(name: str) -> bool:
    """Return whether all files of a registered corpus come with the clone."""
    source = CORPORA[name]
    return source.home == "data" and all((CLONED / file).is_file() for file in source.files.values())


def registered(reference: str) -> bool:
    """Return whether a reference names a corpus of CORPORA, in its own layout or that of another."""
    return all(named(part) in CORPORA for part in parts(reference))


def fetch(reference: str) -> list[Path]:
    """Download or generate a corpus where needed, and give its paths; without a split, those of all splits.

    A dataset of tensorflow-datasets is downloaded and prepared, any file expected to be there.

    Raises:
        ValueError: See `locate`.
        OSError: It is not there and cannot be fetched.
    """
    if len(sides := parts(reference)) > 1:
        return list(dict.fromkeys(path for part in sides for path in fetch(part)))
    name = named(reference)
    source = CORPORA.get(name)
    if source and source.home == "tfds":
        tfds.fetch(name)
    texts = [f"{name}:{split}" for split in source.files] if source and reference == name else [reference]
    return list(dict.fromkeys(locate(text).path for text in texts))


def checksums(references: Iterable[str]) -> dict[str, str]:
    """Give the SHA-256 of the files that texts are read from, by their paths in `data/` or in the folder that DATA= adds.

    Raises:
        OSError: See `locate`.
    """
    texts = [part for reference in references for part in parts(reference) if registered(part)]
    places = [locate(text) for text in texts if CORPORA[named(text)].home == "data"]
    files = {CORPORA[place.name].files[place.split]: place.path for place in places}
    return {name: sha256(path) for name, path in sorted(files.items())}
