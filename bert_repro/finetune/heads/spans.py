"""The task head for questions: the span of the context that answers, with the scores of SQuAD."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from jaxtyping import Float, Int
from keras import layers, ops

from bert_repro.alignment import Aligned
from bert_repro.corpora.items import Question
from bert_repro.finetune import counts
from bert_repro.finetune.heads import NEVER, MaskedCrossEntropy, TaskHead, require


class SpanFinder(TaskHead):
    """First and last wordpiece of the answer to a question in its context, as in BERT; [CLS] where a window holds no answer.

    Items are windows: questions of which `second` and `offsets` may be a part of the context's. The windows of a context
    compare by the probability of their best spans, which is low where [CLS] takes it. Scores are those of SQuAD 1.1: the best
    over all answers that annotators gave.

    Reference:
        Devlin et al. 2019, section 4.2; Rajpurkar et al. 2016, section 6.1.
    """

    metrics = counts.QUESTIONS
    checkpoint_names = {"qa_outputs": "qa_outputs"}
    losses = {"start": MaskedCrossEntropy(), "end": MaskedCrossEntropy()}
    longest = 30  # words of an answer

    def __init__(self, names: Sequence[str] = ()):
        self.names = list(names)
        self.extra_inputs = {"allowed": keras.Input((None,), dtype="int32", name="allowed")}

    @staticmethod
    def labels(items: Sequence[Question]) -> tuple[str, ...]:
        require(items, "answers", "a corpus of questions with answers, such as squad:train,")
        return ()

    def outputs(self, states: Any, inputs: dict[str, Any], dropout: float) -> dict[str, Any]:
        logits = ops.cast(layers.Dense(2, name="qa_outputs")(states), "float32")
        barred = (1 - ops.cast(inputs["allowed"], "float32")) * NEVER
        self.predicted = {name: ops.log_softmax(logits[..., i] + barred) for i, name in enumerate(("start", "end"))}
        return self.predicted

    def arrays(self, items: Sequence[Question], inputs: Sequence[Aligned], length: int) -> tuple[dict, dict]:
        allowed = np.zeros((len(items), length), np.int32)
        allowed[:, 0] = 1
        spans = np.zeros((len(items), 2), np.int32)
        for i, (item, aligned) in enumerate(zip(items, inputs, strict=True)):
            first, last = self._context(item, aligned)
            allowed[i, first[0] : last[-1] + 1] = 1
            words = self._answer(item)
            if len(words):
                spans[i] = first[words[0]], last[words[-1]]
        return {"allowed": allowed}, {"start": spans[:, 0], "end": spans[:, 1]}

    def read(self, item: Question, aligned: Aligned, outputs: dict[str, np.ndarray]) -> tuple[float, str]:
        """Give the log-probability of the best span in a window, and its text."""
        first, last = self._context(item, aligned)
        end = np.pad(outputs["end"][last], (0, self.longest - 1), constant_values=-np.inf)
        ends = np.lib.stride_tricks.sliding_window_view(end, self.longest)  # words longest: of spans from each word on
        scores = outputs["start"][first, None] + ends
        start, more = np.unravel_index(scores.argmax(), scores.shape)
        text = item.context[item.offsets[start][0] : item.offsets[start + more][1]]
        return float(scores[start, more]), text

    def score(self, item: Question, readings: Sequence[tuple[float, str]]) -> Float[np.ndarray, "metrics 2"]:
        return counts.question(item, [text for _, text in sorted(readings)[-1:]])

    @staticmethod
    def _context(item: Question, aligned: Aligned) -> tuple[Int[np.ndarray, "words"], Int[np.ndarray, "words"]]:
        """Find the first and the last piece of every word of the context, with or without its question."""
        row = len(aligned.starts) - 1 - len(item.second)  # of its first word; a separator stands before it, or [CLS]
        tokens = aligned.token_ids[aligned.starts]
        separators = np.flatnonzero(tokens == tokens[-1])
        alone = row == 1 and len(separators) == 1  # a passage without its question begins behind [CLS]
        if (row - 1 not in separators or row in separators) and not alone:
            raise ValueError(
                f"the window of question {item.id!r} was cut: expected all of its {len(item.second)} words"
            )
        bounds = aligned.starts[row:]
        return bounds[:-1], bounds[1:] - 1

    @staticmethod
    def _answer(item: Question) -> Int[np.ndarray, "words"]:
        """Find the words of the first answer that lies wholly in a window, widened to whole words; none without one."""
        begins, ends = np.array(item.offsets).T
        for text, begin in item.answers:
            end = begin + len(text)
            if begins[0] <= begin and end <= ends[-1]:
                return np.flatnonzero((begins < end) & (begin < ends))
        return np.zeros(0, int)
