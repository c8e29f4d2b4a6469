"""Measures of similarity beside rsatoolbox's, where the two define the same: RSA, CKA and Procrustes on the same arrays.

    python benchmarks/measures.py [--full] [--model minilm] [--rounds 3]

Sides run in turns, each in a process of its own on one thread: quote the ratios, not the seconds. Values have to agree to 1e-3, or
nothing is written. netrep, whose distances are of the same family, is on no package index. `--full` takes 2,000 words, and without
it 500.
"""

import tempfile
from pathlib import Path

import numpy as np
from sides import OTHERS, OURS, alternate, options, process, there
from table import Row, write

from bert_repro import states

MEASURES, RESAMPLES = ("rsa", "cka_biased", "procrustes"), 1000
CORPUS = "ewt:dev"


def arrays(path: Path, model: str, words: int) -> int:
    """Write vectors of the first words in all layers, each taken from its own mean, and their sentences; count the layers."""
    read = states.get_all(model, [f"{CORPUS}[300]"])[0]
    rows = read.rows.index[~read.rows["special"]].to_numpy()[:words]
    vectors = read.vectors(rows).astype(np.float32)
    _, sentence = np.unique(read.rows["sentence"].to_numpy()[rows], return_inverse=True)
    order = np.argsort(sentence, kind="stable")
    np.savez(path, vectors=(vectors - vectors.mean(-1, keepdims=True))[:, order], sentence=sentence[order])
    return len(vectors)


def compared(path: Path, layers: int, words: int, rounds: int) -> list[Row]:
    """Compare measure by measure; RSA also with resamples, of which rsatoolbox computes no CKA (words drawn twice are NaN to it).

    Raises:
        ValueError: Values that do not agree.
    """
    rows = []
    of = f"{layers - 1} pairs of layers, {words} words"
    for measure in MEASURES:
        for resamples in (0, RESAMPLES) if measure == "rsa" else (0,):
            took = alternate(
                {
                    "ours": lambda m=measure, r=resamples: process(OURS, "our_measures.py", path, m, r),
                    "theirs": lambda m=measure, r=resamples: process(OTHERS, "rsatoolbox_measures.py", path, m, r),
                },
                rounds,
            )
            apart = np.abs(np.subtract(took["ours"].values["values"], took["theirs"].values["values"])).max()
            if not apart < 1e-3:
                raise ValueError(
                    f"{measure}: values of rsatoolbox are up to {apart:.2g} off ours, expected 1e-3 at most"
                )
            print(f"{measure}, {resamples} resamples: values agree to {apart:.1e}")
            said = f", {resamples} resamples" if resamples else ""
            own = ", with its jackknife" if measure == "procrustes" else said  # it has no value without
            rows.append(Row.of(f"{measure} of {of}{own}", took["ours"], f"rsatoolbox{said}", took["theirs"]))
    return rows


def main() -> None:
    given = options(__doc__)
    if not there(OTHERS, "rsatoolbox"):
        return
    words = 2000 if given.full else 500
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "arrays.npz")
        write("measures", compared(path, arrays(path, given.model, words), words, given.rounds), given.full)


if __name__ == "__main__":
    main()
