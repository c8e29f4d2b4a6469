"""The order of runs, and when the hidden states of a tuned model are no longer needed: so that few states are there at a time."""

from collections.abc import Sequence

from bert_repro.workflow.names import UNTUNED
from bert_repro.workflow.study import Run

BOOK = "book"  # what a plan calls the last job, which needs all others, and reads their tables


def served(listed: Sequence[Run]) -> dict[str, tuple[str, ...]]:
    """Say of which runs that read out a tuned model nobody needs the states any more once others are done.

    Those of the base and of the untrained encoder are not among them: all other models are compared with these.

    Args:
        listed: The runs of a study.

    Returns:
        By the name of the run, the names of itself and of all that read its states.
    """
    tuned = [run for run in listed if run.notebook == "hidden_states" and run.parameters["name"] not in UNTUNED]
    return {
        run.name: (run.name, *(user.name for user in listed if run.name in user.needs and user.notebook != BOOK))
        for run in tuned
    }


def order(listed: Sequence[Run]) -> list[Run]:
    """Bring runs in the order in which they are to begin, as soon as what they need is there: model by model.

    Each tuned model goes with all that leads to its states and reads them, so that these are not there longer than they must;
    behind the last comes what needs no states of a tuned model, which fills the gaps.

    Args:
        listed: The runs of a study, each behind those that it needs.
    """
    by_name, readers = {run.name: run for run in listed}, served(listed)
    first: dict[str, None] = {}

    def take(name: str) -> None:
        for need in by_name[name].needs if name in by_name else ():
            take(need)
        first.setdefault(name)

    for states, users in readers.items():
        take(states)
        for name in users:
            for need in by_name[name].needs:
                if need not in readers:  # the states of another tuned model have a turn of their own
                    take(need)
            first.setdefault(name)
    return [by_name[name] for name in dict.fromkeys([*first, *by_name]) if name in by_name]
