"""Our structural probe on stored states: an epoch of some layers together, a pass over train and one over dev.

python structural_probe.py MODEL TRAIN DEV RANK LAYERS, these as 0,1,2
"""

import sys

from taken import seconds, tell

from bert_repro import corpora, states
from bert_repro.probes import treebank
from bert_repro.probes.structural import StructuralProbe


def main() -> None:
    model, *references, rank = sys.argv[1:5]
    layers = [int(layer) for layer in sys.argv[5].split(",")]
    read = states.get_all(model, references)
    banks = [treebank.treebank(corpora.treebank(r).items, one.rows) for r, one in zip(references, read, strict=True)]
    probe = StructuralProbe("distance", layers, int(rank), epochs=1)
    given = [side for pair in zip(banks, read, strict=True) for side in pair]
    probe.fit(*given)  # the first reads the disk
    took = seconds(lambda: probe.fit(*given))
    tell(took / len(layers))


if __name__ == "__main__":
    main()
