"""A study: turns one YAML file into the settings of every notebook run.

Unknown keys, tasks or ill-typed values end the run before it starts.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from bert_repro.results import keys
from bert_repro.workflow import settings
from bert_repro.workflow.names import SECOND, UNTUNED, ChapterName, TaskName, chapters
from bert_repro.workflow.own import Own

NOTHING = Own()


class Study(settings.Strict):
    """A study file, validated. See studies/demo.yaml for a commented example."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    title: str
    banner: str = ""
    base: str
    second_base: str = ""  # the same encoder from another pre-training: how far apart two are is a scale for tuning
    tasks: list[settings.FinetuneTask] = []
    models: list[settings.GivenModel] = []
    scored_on: dict[TaskName, str] = {}  # what the tasks of given models are scored on, and all models' masked words
    similarity: settings.SimilaritySetting
    structural_probe: settings.ProbeSetting
    edge_probe: settings.EdgeSetting | None = None
    erasure: settings.ErasureSetting | None = None
    line: settings.LineSetting | None = None
    examples: list[str] = []  # texts whose words are shown moving through the layers
    resamples: int = Field(default=1000, ge=100)
    chapters: list[ChapterName]

    @model_validator(mode="before")
    @classmethod
    def _chapters_are_those_of_what_there_is(cls, given: Any) -> Any:
        if isinstance(given, dict) and "chapters" not in given:
            needed = chapters()
            for name, key in needed.items():
                if key and key not in cls.model_fields:
                    raise ValueError(f"the chapter {name} needs {key!r}, by its metadata: no study has such a key")
            given = given | {"chapters": [name for name, key in needed.items() if not key or given.get(key)]}
        return given

    @field_validator("examples")
    @classmethod
    def _examples_may_be_shown(cls, references: list[str]) -> list[str]:
        from bert_repro.corpora.sources import refuse_to_show  # so that a study loads without NumPy where it shows none

        for reference in references:
            refuse_to_show(reference)
        return references

    @model_validator(mode="after")
    def _tasks_are_distinct(self) -> "Study":
        names = [task.task for task in self.tasks]
        if len(set(names)) < len(names):
            raise ValueError(f"each task may be given once, got {names}")
        return self

    @model_validator(mode="after")
    def _models_are_told_apart(self) -> "Study":
        if not self.tasks and not self.models:
            raise ValueError(
                "neither `tasks`, to tune the base on, nor `models`, that somebody tuned: nothing to compare"
            )
        taken = [*self.untuned, *(f"{task.task}-{seed}" for task in self.tasks for seed in task.seeds)]
        for model in self.models:
            if model.name.replace("_", "-") in (name.replace("_", "-") for name in taken):
                raise ValueError(f"two models are called {model.name}, - and _ being one: give each a different name")
            taken.append(model.name)
        for model in self.models:
            if model.base not in taken or model.base == model.name:
                raise ValueError(f"{model.name} comes from {model.base!r}: expected one of {', '.join(taken)}")
        places = [self.base, self.second_base, *(model.checkpoint for model in self.models)]
        if twice := {place for place in places if places.count(place) > 1}:
            raise ValueError(f"{min(twice)} occurs twice: a model compared with itself says nothing")
        return self

    @property
    def untuned(self) -> list[str]:
        return [*UNTUNED, *([SECOND] if self.second_base else [])]

    def within(self, blocks: int, hidden: int) -> "Study":
        """Leave out layers that a base of so many blocks does not have, and lower the ranks of structural probes to its width."""
        tasks, probe = [task.within(blocks) for task in self.tasks], self.structural_probe.within(hidden)
        erasure, line = self.erasure and self.erasure.within(blocks), self.line and self.line.within(blocks, hidden)
        return self.model_copy(update={"tasks": tasks, "structural_probe": probe, "erasure": erasure, "line": line})

    def write(self, path: Path) -> None:
        """Write it as a file that loads as the same, with everything that a reader brought."""
        path.parent.mkdir(parents=True, exist_ok=True)
        text = yaml.safe_dump(self.model_dump(), sort_keys=False, allow_unicode=True)
        if not path.is_file() or path.read_text(encoding="utf-8") != text:  # or its book would be made anew
            path.write_text(text, encoding="utf-8")

    def corpora(self) -> list[str]:
        """List every corpus that the study reads."""
        tasks = [reference for task in self.tasks for reference in (task.train, task.dev, *task.test)]
        scored = [self.scored_on[task] for model in self.models if (task := model.task) in self.scored_on]
        masked = [self.scored_on["masked_words"]] if "masked_words" in self.scored_on else []
        erased = [self.erasure.treebank, self.erasure.held_out] if self.erasure else []
        line = [self.line.neutral, self.line.train, self.line.dev, self.line.test] if self.line else []
        return list(dict.fromkeys([*tasks, *scored, *masked, *erased, *line, *self.read_out()]))

    def read_out(self) -> list[str]:
        """List the corpora whose hidden states are read."""
        return list(dict.fromkeys([*self.measured(), *self.examples]))

    def drawn(self) -> list[str]:
        """List the corpora of which only the sentences that are compared are read: not the first, which is drawn from twice."""
        whole = {self.similarity.corpora[0], *self.similarity.as_long, *self._probed(), *self.examples}
        return [one for one in self.similarity.corpora if one not in whole]

    def _probed(self) -> list[str]:
        probes = filter(None, (self.structural_probe, self.edge_probe))
        return [text for one in probes for text in (one.train, one.dev, one.test, *one.further)]

    def measured(self) -> list[str]:
        """List the corpora on which representations are compared or probed: all that are read but examples."""
        similar = self.similarity
        named = [similar.classes_corpus, similar.lengths_of, *similar.as_long, *self._probed()]
        return list(dict.fromkeys(one for one in [*similar.corpora, *named] if one))


class Run(NamedTuple):
    """One notebook with one setting: what Snakemake schedules."""

    name: str  # unique in the study, names its table and its page
    notebook: str
    parameters: dict[str, object]
    needs: tuple[str, ...]  # names of the runs whose output it reads
    title: str


def load(path: Path | str, own: Own = NOTHING) -> Study:
    """Read and validate a study file.

    Args:
        path: A YAML file, e.g. studies/demo.yaml.
        own: What stands in place of the file's: another base encoder, checkpoints, text, a treebank.

    Raises:
        FileNotFoundError: No such file, text or treebank.
        ValueError: Not YAML, or not a study; the message names file, key and what was expected.
    """
    path = Path(path)
    content = own.put_into(keys.read(path), path.name)
    try:
        return Study.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "study"
        message = first["msg"].removeprefix("Value error, ")
        raise ValueError(f"{path}: {where}: {message} (got {first['input']!r})") from None


def runs(study: Study, folder: str | None = None) -> list[Run]:
    """List every run of a study, in an order in which they could be executed.

    Args:
        study: The study.
        folder: Where it is built, relative to the project root; `build/<study>` by default.

    Raises:
        ValueError: Two runs would have one name.
    """
    steps = _Steps(study, folder or f"build/{study.name}")
    groups = (
        steps.tunings(), steps.checkpoints(), steps.states(), steps.comparisons(), steps.structural_probes(),
        steps.edge_probes(), steps.erasures(), steps.lines(),
    )  # fmt: skip
    listed = [run for group in groups for run in group]
    listed += steps.effects(listed)
    names = [run.name for run in listed]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(
            f"two runs are called {twice[0]}: give its models names that cannot be taken for two others in a row"
        )
    return listed


@dataclass(frozen=True)
class _Steps:
    """The runs of a study, group by group.

    A model is called `base`, `untrained`, by task and seed, as in `nli-1`, where it is tuned here, or as the study calls it.
    """

    study: Study
    folder: str

    def run(self, name: str, notebook: str, title: str, needs: tuple[str, ...], parameters: dict[str, Any]) -> Run:
        common = {"study": self.study.name, "output": f"{self.folder}/tables/{name}.parquet"}
        return Run(name, notebook, parameters | common, needs, title)

    # ---- models

    @property
    def trained(self) -> list[str]:
        return [f"{task.task}-{seed}" for task in self.study.tasks for seed in task.seeds]

    @property
    def given(self) -> dict[str, settings.GivenModel]:
        return {model.name: model for model in self.study.models}

    @property
    def tuned(self) -> list[str]:
        return [*self.trained, *self.given]

    @property
    def models(self) -> list[str]:
        return [*self.study.untuned, *self.tuned]

    @property
    def first_seeds(self) -> list[str]:
        """The models of which everything is measured; of further seeds, what shows how far seeds differ."""
        firsts = {model.tuned["task"]: name for name, model in reversed(self.given.items())}
        return [*(f"{task.task}-{task.seeds[0]}" for task in self.study.tasks), *reversed(firsts.values())]

    def shown_in_full(self, name: str) -> bool:
        """Tell a model of which everything is measured from further seeds."""
        return name in UNTUNED or name in self.first_seeds

    @property
    def scored(self) -> dict[str, tuple[str, str, list[str]]]:
        """Of the models of first seeds whose task can be scored: task, text, and names of labels that their config does not say."""
        asked = self.study.scored_on
        found = {f"{task.task}-{task.seeds[0]}": (task.task, task.dev, list[str]()) for task in self.study.tasks}
        found |= {
            name: (one.task, asked[one.task], one.labels) for name, one in self.given.items() if self.scored_task(one)
        }
        return {name: found[name] for name in self.first_seeds if name in found}

    def scored_task(self, model: settings.GivenModel | None) -> str:
        """Name the task that a given model is scored on; empty for none, and for what it was being pre-trained for."""
        return model.task if model and model.task in self.study.scored_on and not model.from_pretraining else ""

    def checkpoint(self, model: str) -> str:
        known = {"base": self.study.base, "untrained": f"untrained:{self.study.base}", SECOND: self.study.second_base}
        known |= {name: given.checkpoint for name, given in self.given.items()}
        return known.get(model) or f"{self.folder}/models/{model}"

    def made_by(self, model: str) -> tuple[str, ...]:
        """Name the run that makes a model, if any does."""
        return (f"finetune-{model}",) if model in self.trained else ()

    def about(self, model: str) -> dict[str, object]:
        """What a notebook has to be told of a model: the checkpoint, its name and, of a given one, how it was tuned."""
        given = self.given.get(model)
        tuned = given.tuned | {"base": self.checkpoint(given.base)} if given else {}
        return {"model": self.checkpoint(model), "name": model, "tuned": tuned}

    # ---- groups of runs

    def tunings(self) -> Iterator[Run]:
        """Tune; what single layers are good for costs one training each, and is asked with the first seed alone."""
        for task in self.study.tasks:
            first = task.seeds[0]
            for seed in task.seeds:
                name = f"{task.task}-{seed}"
                more: dict[str, Any] = {"save": self.checkpoint(name)}
                if seed == first:
                    more |= {"reverted_layers": task.reverted_layers, "keep_at": task.keep_at}
                    more |= {"baseline": True} if "baseline" in task.controls else {}
                yield self.tuning(task, seed, name, f"{task.task}, seed {seed}", (), more)
            for frozen in task.frozen_layers:
                name = f"{task.task}-frozen{frozen}-{first}"
                yield self.tuning(task, first, name, name, (), {"frozen_layers": frozen})
            for kept in task.kept_layers:  # the tuned encoder without its top, as it is, under a new task head
                name, whole = f"{task.task}-kept{kept}-{first}", f"{task.task}-{first}"
                lower = {"model": self.checkpoint(whole), "kept_layers": kept, "frozen_layers": kept}
                yield self.tuning(task, first, name, name, self.made_by(whole), lower)
            for control in (control for control in task.controls if control != "baseline"):
                start = {"model": self.checkpoint("untrained")} if control == "untrained" else {}
                name = f"{task.task}-{control.removesuffix('_input')}-{first}"
                yield self.tuning(task, first, name, name, (), start | {"control": control})

    def tuning(
        self,
        task: settings.FinetuneTask,
        seed: int,
        name: str,
        title: str,
        needs: tuple[str, ...],
        changed: dict[str, Any],
    ) -> Run:
        lists = {"seeds", "frozen_layers", "kept_layers", "reverted_layers", "keep_at", "controls"}
        setting = task.model_dump(exclude=lists) | {"model": self.study.base, "resamples": self.study.resamples}
        setting |= {"reverted_layers": [], "keep_at": []}
        return self.run(f"finetune-{name}", "finetune", title, needs, setting | changed | {"seed": seed, "name": name})

    def checkpoints(self) -> Iterator[Run]:
        """Say what given models are, what their task heads get right and how far they moved; and what their base is.

        Where masked words are asked for, all tuned encoders guess them under the base's task head, those tuned here as well;
        what was kept during its pre-training has a head of its own.
        """
        asked = self.study.scored_on
        masked = asked.get("masked_words", "")
        for name in ["base", *(self.tuned if masked else self.given)] if self.given or masked else []:
            model = self.given.get(name)
            early = model is not None and model.from_pretraining
            head_of = self.study.base if masked and name != "base" and not early else ""
            setting: dict[str, Any] = {"masked": masked, "head_of": head_of}
            setting |= {"revert": name in {*self.given} & {*self.first_seeds}}
            setting |= {"base": self.checkpoint(model.base) if model else "", "labels": model.labels if model else []}
            scored = self.scored_task(model)
            setting |= {"task": scored, "texts": [asked[scored]] if scored else []}
            about = self.about(name) | setting | {"resamples": self.study.resamples}
            needs = self.made_by(name) + (self.made_by(model.base) if model else ())
            yield self.run(f"checkpoint-{name}", "checkpoint", name, needs, about)

    def states(self) -> Iterator[Run]:
        """Compute the hidden states of every model."""
        similar = self.study.similarity
        for name in self.models:
            setting = self.about(name) | {
                "corpora": self.study.measured(), "examples": self.study.examples, "apart": [similar.lengths_of] if similar.lengths_of else [],
                "drawn": self.study.drawn(), "units": similar.units, "words": similar.words, "resamples": self.study.resamples,
            }  # fmt: skip
            yield self.run(f"states-{name}", "hidden_states", name, self.made_by(name), setting)

    def comparisons(self) -> Iterator[Run]:
        """Compare every model with its base; and, for scale, two seeds of each tuning, and given models with one another, and
        with those that are tuned here on the same task.
        """
        for name in self.tuned:
            yield self.comparison(name, self.given[name].base if name in self.given else "base", "score")
        for name in self.study.untuned[1:]:
            yield self.comparison(name, "base", "floor")
        for task in self.study.tasks:
            if len(task.seeds) > 1:
                yield self.comparison(f"{task.task}-{task.seeds[1]}", f"{task.task}-{task.seeds[0]}", "floor")
        others = list[str]()
        for name, model in self.given.items():
            alike = [f"{task.task}-{task.seeds[0]}" for task in self.study.tasks if task.task == model.tuned["task"]]
            for other in ["base", *alike, *others]:
                if model.base != other and not (other in self.given and self.given[other].base == name):
                    yield self.comparison(name, other, "floor")
            others += [] if model.from_pretraining else [name]

    def comparison(self, name: str, reference: str, role: str) -> Run:
        setting = self.about(name) | {
            "reference_model": self.checkpoint(reference), "reference_name": reference, "role": role,
            "resamples": self.study.resamples, "second_sample": name in self.first_seeds,
            "drawn": self.study.drawn(), **self.study.similarity.model_dump(),
        }  # fmt: skip
        if name not in self.first_seeds or (role == "floor" and name in self.given):
            setting |= {"grid_methods": [], "classes": [], "lengths_of": "", "as_long": []}
        needs = (f"states-{reference}", f"states-{name}")
        return self.run(f"similarity-{reference}-{name}", "similarity", f"{reference} and {name}", needs, setting)

    def structural_probes(self) -> Iterator[Run]:
        """Probe every model for trees; of further seeds of the probe, a job each, the scores alone."""
        asked = self.study.structural_probe
        for name in self.models:
            seed, *others = asked.seeds + (asked.more_seeds if name == "base" else [])
            setting = asked.model_dump(exclude={"seeds", "more_seeds", "more_ranks"})
            setting |= {} if self.shown_in_full(name) else {"phenomena": False}
            ranks = asked.more_ranks if name == "base" else []
            yield self.probe("structural_probe", name, setting | {"seeds": [seed], "more_ranks": ranks})
            for other in others:
                alone = {"seeds": [other], "more_ranks": [], "shown": 0, "phenomena": False}
                yield self.probe("structural_probe", name, setting | alone, other)

    def edge_probes(self) -> Iterator[Run]:
        """Probe every model for labels of spans, where the study asks for any."""
        if self.study.edge_probe is None:
            return
        for name in self.models:
            alone = {"description": False, "mixed": False, "phenomena": False}
            scores_alone = {} if self.shown_in_full(name) else alone
            yield self.probe("edge_probe", name, self.study.edge_probe.model_dump() | scores_alone)

    def erasures(self) -> Iterator[Run]:
        """Erase labels of words from the tuned models of first seeds whose task can be scored, where the study asks for it."""
        if self.study.erasure is None:
            return
        for name, (task, text, labels) in self.scored.items():
            scored = {"task": task, "text": text, "labels": labels}
            without = {"head_of": "", "train": "", "updates": 0, "resamples": self.study.resamples}
            setting = self.about(name) | scored | without | self.study.erasure.model_dump()
            yield self.run(f"erasure-{name}", "erasure", name, self.made_by(name), setting)

    def probe(self, notebook: str, name: str, setting: dict[str, Any], seed: int | None = None) -> Run:
        called, title = (name, name) if seed is None else (f"{name}-probe{seed}", f"{name}, probe seed {seed}")
        role = {"untrained": "control", SECOND: "floor"}.get(name, "score")
        about = self.about(name) | {"role": role, "resamples": self.study.resamples}
        return self.run(f"{notebook}-{called}", notebook, title, (f"states-{name}",), about | setting)

    def lines(self) -> Iterator[Run]:
        """Walk from the base to the tuned models of first seeds whose task can be scored, where the study asks for it."""
        if self.study.line is None:
            return
        masked = self.study.scored_on.get("masked_words", "")
        for name, (task, text, labels) in self.scored.items():
            base = self.given[name].base if name in self.given else "base"
            ends = {"base": self.checkpoint(base), "reference_name": base, "resamples": self.study.resamples}
            read = {"task": task, "texts": [text], "labels": labels, "masked": masked}
            needs = self.made_by(name) + self.made_by(base)
            setting = self.about(name) | ends | read | self.study.line.model_dump()
            yield self.run(f"line-{name}", "line", f"from {base} to {name}", needs, setting)

    def effects(self, listed: list[Run]) -> Iterator[Run]:
        """Set the change of layers beside what they do, over all tuned models, of which it takes two; reads other tables."""
        if len(self.tuned) < 2:
            return
        needs = [run.name for run in listed if run.notebook.endswith("_probe") or run.notebook == "similarity"]
        needs += [name for model in self.tuned for name in self.made_by(model)]
        setting = {"names": self.tuned, "reference_name": "base", "tables_folder": f"{self.folder}/tables"}
        yield self.run("change_and_function", "change_and_function", "change and function", tuple(needs), setting)
