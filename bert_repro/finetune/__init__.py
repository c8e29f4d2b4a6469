"""Fine-tuning: `train` tunes an encoder by a `Recipe` on one of TASKS.

Studies, their plan and the figures read TASKS, so that TensorFlow does not start before something else is asked for.
"""

from typing import TYPE_CHECKING, Any

from bert_repro.finetune.tasks import TASKS as TASKS
from bert_repro.finetune.tasks import Task as Task

if TYPE_CHECKING:
    from bert_repro.finetune.recipe import Recipe as Recipe
    from bert_repro.finetune.tuning import Tuned as Tuned
    from bert_repro.finetune.tuning import train as train


def __getattr__(name: str) -> Any:
    if name not in ("Recipe", "Tuned", "train"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from bert_repro.finetune import tuning

    return getattr(tuning, name)
