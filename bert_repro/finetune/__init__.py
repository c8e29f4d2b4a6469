"""Fine-tuning: `train` tunes an encoder by a `Recipe` on one of TASKS; `assess` and `card` say what somebody else made of
one; `erase` says what its task loses with parts of speech and the like; `Line` is all that lies between two.

Studies, their plan and the figures read TASKS, so that TensorFlow does not start before something else is asked for.
"""

import importlib
from typing import TYPE_CHECKING, Any

from bert_repro.finetune.tasks import TASKS as TASKS

if TYPE_CHECKING:
    from bert_repro.finetune.cards import card as card
    from bert_repro.finetune.erasing import erase as erase
    from bert_repro.finetune.line import Line as Line
    from bert_repro.finetune.recipe import Recipe as Recipe
    from bert_repro.finetune.scoring import assess as assess
    from bert_repro.finetune.tuning import train as train


_HOMES = {
    "Line": "line", "Recipe": "recipe", "assess": "scoring", "card": "cards", "erase": "erasing", "train": "tuning"
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
