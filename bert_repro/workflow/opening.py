"""The opening of a report on given checkpoints: runs each of them before anything long, and shows them in a table.

A checkpoint that no run could use or that is given twice, and a task head whose labels are in another order, are errors.
"""

import itertools
import json
import sys
from collections.abc import Mapping

from bert_repro import checkpoints, corpora, states
from bert_repro.checkpoints.families import differing
from bert_repro.corpora.reference import parts
from bert_repro.workflow.study import Study

SENTENCES = 100  # of the study's neutral text, on which the share of [UNK] is counted
WIDTH = 28  # of a column, in characters


def show(study: Study) -> Study:
    """Open the checkpoints of a study in a process of its own, which ends with TensorFlow's memory; print what they are.

    Returns:
        The study, with the tasks that are told by the task heads.

    Raises:
        RuntimeError: A checkpoint that cannot be used.
    """
    told = json.loads(states.apart(__name__, json.dumps(study.model_dump())))
    print(told["table"], flush=True)
    models = [model.model_copy(update={"task": told["tasks"].get(model.name, "")}) for model in study.models]
    return study.model_copy(update={"models": models})


def table(study: Study) -> tuple[str, dict[str, str]]:
    """Open all checkpoints of a study.

    Returns:
        The table, with remarks below; and the tasks that task heads tell, by model.

    Raises:
        ValueError: See above; the message names the checkpoint. Or a text of which any result would be nonsense.
        OSError: A checkpoint could not be fetched.
    """
    from bert_repro import finetune
    from bert_repro.finetune import scoring
    from bert_repro.finetune.network import NoTaskHeadError

    items = [*itertools.islice(corpora.stream(study.similarity.corpora[0]), SENTENCES)]
    places = {"base": study.base} | {model.name: model.checkpoint for model in study.models}
    opened, cards = {}, {}
    brought = [text for text in study.corpora() if not corpora.registered(text) and len(parts(text)) == 1]
    remarks = [f"Warning: {doubt}" for doubt in corpora.doubts(brought)]
    tasks: dict[str, str] = {}
    for name, place in places.items():
        opened[name] = checkpoints.open(place)
        cards[name] = finetune.card(opened[name], items)
        remarks += [f"Warning: {cards[name].warning}."] * bool(cards[name].warning)
        for earlier in list(opened)[:-1]:
            if opened[earlier].digests == opened[name].digests:
                raise ValueError(
                    f"{name} ({place}) is the same checkpoint as {earlier} ({places[earlier]}): name another one"
                )
    for model in study.models:
        own, base = opened[model.name], opened.get(model.base, opened["base"])
        if unlike := differing(own.config, base.config):
            remarks.append(
                f"{model.name}: its {unlike} as in {model.base}. No change of weights; layers are matched by their depth, and measures "
                "that pair coordinates left out where widths differ."
            )
        if own.tokenizer_digest != base.tokenizer_digest and own.tokenizer.get_vocab() != base.tokenizer.get_vocab():
            remarks.append(
                f"{model.name}: another tokenizer than that of {model.base}; words are compared all the same."
            )
        task = model.task or cards[model.name].task
        tasks |= {model.name: task} if task else {}
        if task not in study.scored_on:
            remarks.append(
                f"{model.name}: its task is not scored, as no task of ours with data at hand is known of it."
            )
        elif scoring.named(task).labelled:
            try:
                network = scoring.ready(own, own.weights(), task, model.labels)
            except NoTaskHeadError as error:
                remarks.append(f"{model.name}: its task is not scored, as {error}.")
            else:
                (text,) = scoring.texts_of(scoring.named(task), [study.scored_on[task]], own)
                scoring.sanity(network, text, f"{model.name} ({model.checkpoint})")
    about = {name: card.about | {"tuned on": tasks.get(name, "")} for name, card in cards.items()}
    return "\n".join([_columns(about), *remarks]), tasks


def _columns(about: Mapping[str, Mapping[str, str]]) -> str:
    """Lay checkpoints side by side, what is long cut in the middle."""

    def cut(text: str) -> str:
        half = (WIDTH - 1) // 2
        return text if len(text) <= WIDTH else f"{text[:half]}…{text[-half:]}"

    lines: list[list[str]] = [["", *about]]
    for key in next(iter(about.values())):
        cells = [cut(column[key]) for column in about.values()]
        lines += [[key, *cells]] if any(cells) else []
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


if __name__ == "__main__":
    try:
        print(json.dumps(dict(zip(("table", "tasks"), table(Study.model_validate_json(sys.argv[1])), strict=True))))
    except (ValueError, OSError, RuntimeError) as error:
        print(" ".join(str(error).split()))
        sys.exit(1)
