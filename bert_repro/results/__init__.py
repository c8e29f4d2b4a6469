"""Results: one tidy table a run, intervals on its numbers, contrasts between numbers, and what the claims say of them."""

from typing import Literal, get_args

TaskName = Literal["nli", "squad", "parsing", "tagging", "masked_words"]
TASKS: tuple[str, ...] = get_args(TaskName)
"""The names of `finetune.TASKS` (a test holds them equal), known here so that they are to be had without TensorFlow."""
