"""Our measures of similarity on neighbouring layers: values alone, and with resamples.

python our_measures.py ARRAYS.npz MEASURE RESAMPLES, with `vectors` (layers words hidden) and `sentence` (words)
"""

import sys

import numpy as np
from taken import seconds, tell

from bert_repro import similarity
from bert_repro.results import intervals


def main() -> None:
    arrays, measure = dict(np.load(sys.argv[1])), similarity.MEASURES[sys.argv[2]]
    stack, sentence, resamples = list(arrays["vectors"]), arrays["sentence"], int(sys.argv[3])
    pairs = [(layer, layer + 1) for layer in range(len(stack) - 1)]
    weights = intervals.draws("benchmark", int(sentence[-1]) + 1, max(resamples, 1))[:resamples]
    found: list = []
    took = seconds(lambda: found.extend(measure.function(stack, pairs, sentence, weights)))
    tell(took, values=[value for value, _ in found])


if __name__ == "__main__":
    main()
