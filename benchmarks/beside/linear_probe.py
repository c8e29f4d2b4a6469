"""Our linear probe of parts of speech on stored states: some layers together, trained to their end.

python linear_probe.py MODEL TRAIN DEV EPOCHS LAYERS, these as 0,1,2
"""

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # where it is imported from beside

from taken import seconds, tell

from bert_repro import corpora, states
from bert_repro.probes import spans, treebank
from bert_repro.probes.edge import EdgeProbe


def parts_of_speech(references: Sequence[str], read: Sequence[states.HiddenStates]) -> list[spans.Labelled]:
    """Label the words of train and of dev."""
    texts = [corpora.treebank(one).items for one in references]
    banks = [treebank.treebank(text, one.rows, least=1) for text, one in zip(texts, read, strict=True)]
    train = spans.labelled("upos", banks[0])
    return [train, spans.labelled("upos", banks[1], train.labels)]


def main() -> None:
    model, *references, epochs = sys.argv[1:5]
    layers = [int(layer) for layer in sys.argv[5].split(",")]
    read = states.get_all(model, references)
    train, dev = parts_of_speech(references, read)
    probe = EdgeProbe(layers, kind="linear", epochs=int(epochs))
    took = seconds(lambda: probe.fit(train, read[0], dev, read[1]))
    tell(took / len(layers), accuracy=probe.read(dev, read[1]).hits.mean(1).tolist())


if __name__ == "__main__":
    main()
