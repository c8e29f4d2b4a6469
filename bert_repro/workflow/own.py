"""What a reader brings to a study: a base, checkpoints that somebody tuned from it, text, a treebank.

Values in another form are errors; whether a checkpoint can be used is checked by `opening`.
"""

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # a study that nothing is brought to loads without NumPy
    from bert_repro.corpora.reference import Reference

from bert_repro.files import ROOT

TEMPLATE = ROOT / "studies" / "checkpoints.yaml"
SPLITS = ("train", "dev", "test")
PROBES = ("structural_probe", "edge_probe")


@dataclass(frozen=True)
class Own:
    """What a reader has of their own; everything may be empty.

    Attributes:
        base: The base encoder, in place of the study's.
        tuned: Checkpoints, in place of the study's given models: `NAME=CHECKPOINT`.
        as_seeds: Several that are seeds of one task: `NAME=CHECKPOINT,CHECKPOINT`; they are called NAME-1, NAME-2.
        labels: Labels of task heads whose config names none: `NAME=LABEL,LABEL,LABEL`.
        text: Running text in place of the study's neutral one, that is the first of its similarity.
        treebank: Three files (train, dev, test), or a folder in UD's naming, in place of the one that is probed for.
    """

    base: str = ""
    tuned: Sequence[str] = ()
    as_seeds: Sequence[str] = ()
    labels: Sequence[str] = ()
    text: str = ""
    treebank: Sequence[str] = ()

    def __bool__(self) -> bool:
        return any(getattr(self, field.name) for field in dataclasses.fields(self))

    def put_into(self, content: dict[str, Any], file: str) -> dict[str, Any]:
        """Put it in place of what a study file says; the study becomes one of its own.

        Args:
            content: Content of the study file.
            file: Its name.

        Raises:
            ValueError: Something that is not written as it should be, or a name that occurs twice.
            FileNotFoundError: A text or treebank that is not there.
        """
        if not dataclasses.replace(self, base="" if self.base == content.get("base") else self.base):
            return content
        base = _place(self.base) or str(content.get("base", ""))
        models = self._models()
        content = (
            content
            | {"base": base}
            | ({"second_base": ""} if self.base else {})
            | ({"models": models} if models else {})
        )
        listed = models or content.get("models") or []
        brought = _slug([base.rpartition("/")[2]] if self.base else []), _slug(model["name"] for model in models)
        content["name"] = "_".join([str(content.get("name")), *filter(None, brought)])[:80]
        content["banner"] = self._banner(file, base, listed)
        masked = (content.get("scored_on") or {}).get("masked_words", "")
        content = _replaced(content, self._texts(content))
        if self.treebank:  # of another language, or of other rules
            content |= {name: probe | {"further": []} for name in PROBES if (probe := content.get(name))}
        if self.text and (other := content.get("scored_on", {}).get("masked_words", masked)) != masked:
            content["scored_on"]["masked_words"] = _as_much(other, masked)
        return _without_others(content) if models and not content.get("tasks") else content

    def _models(self) -> list[dict[str, Any]]:
        labels = {name: names.split(",") for name, names in map(_pair("labels"), self.labels)}
        models = [
            {"name": name, "checkpoint": _place(place), "task": task_of(name)}
            for name, place in map(_pair("tuned"), self.tuned)
        ]
        for name, places in map(_pair("as_seeds"), self.as_seeds):
            models += [
                {"name": f"{name}-{seed}", "checkpoint": _place(place), "task": task_of(name) or name, "seed": seed}
                for seed, place in enumerate(places.split(","), start=1)
            ]
        called = {model["name"]: re.sub(r"-\d+$", "", model["name"]) for model in models}
        for model in models:
            named = labels.get(model["name"]) or labels.get(called[model["name"]])
            model |= {"labels": named} if named else {}
        if unknown := [name for name in labels if name not in {*called, *called.values()}]:
            raise ValueError(f"labels of {unknown[0]}, which is not a checkpoint given: name one of {[*called]}")
        return models

    def _banner(self, file: str, base: str, models: Sequence[Mapping[str, Any]]) -> str:
        if not models:
            own = base.rpartition("/")[2]
            return f"The study {file} with another base encoder, {own}, on the same data: not the paper's setting."
        listed = ", ".join(f"{model['name']} ({Path(model['checkpoint']).name})" for model in models)
        return (
            f"Checkpoints of your own: {Path(base).name} as the base, beside it {listed}. Somebody else trained them, so that "
            "nothing is told here of what a training would need: layers frozen, cut off, or other seeds."
        )

    def _texts(self, content: Mapping[str, Any]) -> dict[str, str]:
        """Say which corpora of the study others stand for, by `name` or `name:split`."""
        from bert_repro.corpora.reference import Reference

        places: dict[str, str] = {}
        if self.text:
            (first, *_) = content["similarity"]["corpora"]
            places[str(Reference.parse(first).whole)] = _file(self.text)
        if self.treebank:
            probe = content["structural_probe"]
            for split, path in zip(SPLITS, _treebank(self.treebank), strict=True):
                places[str(Reference.parse(probe[split]).whole)] = path
        return places


def task_of(name: str) -> str:
    """Tell which task the name of a checkpoint means, `nli` or `mnli-2` say; empty where it means none."""
    from bert_repro.finetune.tasks import TASKS

    stem = re.sub(r"[-_]?\d+$", "", name)
    own = {corpus: task for task, about in reversed(TASKS.items()) for corpus in about.own}
    return stem if stem in TASKS else own.get(stem, "")


def _pair(option: str) -> Any:
    def split(text: str) -> tuple[str, str]:
        name, equals, value = text.partition("=")
        if not (equals and value):
            example = {"labels": "mnli=entailment,neutral,contradiction", "as_seeds": "mnli=a,b,c"}.get(
                option, "mnli=org/name"
            )
            raise ValueError(f"--{option.replace('_', '-')} takes NAME=..., as in {example}, got {text!r}")
        if not re.fullmatch(r"[a-z][a-z0-9_-]*", name):
            raise ValueError(f"a model's name consists of small letters, digits, - and _, as in mnli-2, got {name!r}")
        return name, value

    return split


MODELS = {"model", "reference_model", "base", "head_of"}
TEXTS = {
    "apart", "as_long", "classes_corpus", "corpora", "dev", "drawn", "examples", "further", "held_out", "lengths_of", "masked",
    "neutral", "sample", "test", "text", "texts", "train", "treebank",
}  # fmt: skip
"""Parameters of notebooks that name checkpoints, and those that name corpora."""


def from_here(given: Mapping[str, Any]) -> dict[str, Any]:
    """Make paths absolute that a reader gave relative to the folder he is in: notebooks run in the project's.

    Args:
        given: Parameters of a run notebook; those that name neither checkpoints nor corpora are left as they are.
    """

    def absolute(name: str, value: Any) -> Any:
        if isinstance(value, list):
            return [absolute(name, item) for item in value]
        make = _place if name in MODELS else _file
        return make(value) if value and name in MODELS | TEXTS else value

    return {name: absolute(name, value) for name, value in given.items()}


def _place(reference: str) -> str:
    """Make the path of a folder, which is relative to where the reader is, absolute; leave other references."""
    reference = reference.rstrip("/") or reference  # as a shell completes the name of a folder
    prefix, _, place = reference.rpartition(":") if reference.startswith("untrained") else ("", "", reference)
    path = Path(place).expanduser()
    if not path.is_dir() or path.resolve() == (ROOT / place).resolve():
        return reference
    return f"{prefix}:{path.absolute()}" if prefix else str(path.absolute())


def _file(reference: str) -> str:
    """Make the paths of files and folders of text absolute; leave other corpora."""
    from bert_repro.corpora.reference import Reference
    from bert_repro.corpora.sources import CORPORA

    def absolute(part: Reference) -> Reference:
        layout = part.layout and absolute(part.layout)
        here = part.name not in CORPORA and Path(part.name).exists()
        return dataclasses.replace(part, name=str(Path(part.name).absolute()) if here else part.name, layout=layout)

    parsed = Reference.parse(reference)
    found = absolute(parsed)
    return reference if found == parsed else str(found)


def _treebank(places: Sequence[str]) -> list[str]:
    """Find the three splits of a treebank."""
    files = [Path(place) for place in places]
    if len(places) == 1 and files[0].is_dir():
        files = [path for split in SPLITS for path in sorted(files[0].glob(f"*-ud-{split}.conllu*"))]
        names = [path.name for path in files]
        if len(files) != len(SPLITS) or not all(
            f"-{split}." in name for split, name in zip(SPLITS, names, strict=True)
        ):
            raise ValueError(
                f"the folder {places[0]} holds {names or 'no treebank'}: expected one file each of *-ud-train.conllu, "
                "*-ud-dev.conllu and *-ud-test.conllu; or name three files"
            )
    if len(files) != len(SPLITS):
        raise ValueError(
            f"a treebank is three files, to train, dev and test on, or a folder of them, got {list(places)}"
        )
    for path in files:
        if not path.is_file():
            raise FileNotFoundError(f"no treebank {path}")
    return [str(path.absolute()) for path in files]


def _replaced(content: Any, places: Mapping[str, str]) -> Any:
    """Let other corpora stand in all places of some, with draws of as many items, or all there are."""
    from bert_repro.corpora.reference import Reference

    if isinstance(content, dict):
        return {key: _replaced(value, places) for key, value in content.items()}
    if isinstance(content, list):
        return [_replaced(value, places) for value in content]
    try:
        reference = Reference.parse(content) if isinstance(content, str) and places else None
    except ValueError:  # a sentence
        return content
    return str(_standing_in(reference, places)) if reference else content


def _standing_in(reference: "Reference", places: Mapping[str, str]) -> "Reference":
    from bert_repro import corpora
    from bert_repro.corpora.reference import Reference

    layout = reference.layout and _standing_in(reference.layout, places)
    replacement = places.get(str(reference.text.whole))
    if replacement is None:
        return dataclasses.replace(reference, layout=layout)
    text = Reference.parse(replacement)
    drawn = reference.drawn
    if text.drawn is None and drawn is not None and corpora.census(replacement).items <= abs(drawn):
        drawn = None
    return dataclasses.replace(text, drawn=drawn if text.drawn is None else text.drawn, layout=layout)


def _as_much(reference: str, study: str) -> str:
    """Draw so much of a text as has as many words as the study's own draw, or take all there is."""
    from bert_repro import corpora
    from bert_repro.corpora.reference import Reference

    def words(text: str) -> list[int]:
        return [sum(len(paragraph.split()) for _, paragraph in unit) for unit in corpora.units(text)]

    whole = str(Reference.parse(reference).whole)
    mine = words(whole)
    count = -(-sum(words(study)) * len(mine) // max(1, sum(mine)))
    return f"{whole}[{count}]" if 1 < count < len(mine) else whole


def _without_others(content: dict[str, Any]) -> dict[str, Any]:
    """Leave out the text of tasks that no model has, but for what is probed for."""
    from bert_repro.corpora.reference import Reference
    from bert_repro.finetune.tasks import TASKS

    tasks = {model.get("task") or task_of(model["name"]) for model in content["models"]}
    probes = [content.get(probe) or {} for probe in (*PROBES, "line")]
    texts = [
        text
        for probe in probes
        for text in [*(probe[split] for split in SPLITS if split in probe), *probe.get("further", [])]
    ]
    kept = {Reference.parse(text).name for text in texts}
    kept |= {corpus for task in tasks & TASKS.keys() for corpus in TASKS[task].own}
    dropped = {corpus for about in TASKS.values() for corpus in about.own} - kept

    def stays(text: str) -> bool:
        reference = Reference.parse(text)
        return not {reference.name, reference.layout.name if reference.layout else ""} & dropped

    similar = dict(content["similarity"])
    similar["corpora"] = [text for text in similar["corpora"] if stays(text)]
    if similar.get("lengths_of") and not stays(similar["lengths_of"]):
        similar |= {"lengths_of": "", "as_long": []}
    examples = [text for text in content.get("examples", []) if stays(text)]
    return content | {"similarity": similar, "examples": examples}


def _slug(names: Iterable[str]) -> str:
    return "_".join(re.sub("[^a-z0-9]+", "_", name.lower()).strip("_") for name in names)
