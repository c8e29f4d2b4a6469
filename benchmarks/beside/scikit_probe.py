"""scikit-learn's logistic regression on words of one layer, trained to its own tolerance, as its pages recommend: scaled first.

python scikit_probe.py ARRAYS.npz, with `vectors_train`, `labels_train`, and the same of dev
"""

import sys

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from taken import seconds, tell


def main() -> None:
    arrays = dict(np.load(sys.argv[1]))
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    took = seconds(lambda: probe.fit(arrays["vectors_train"], arrays["labels_train"]))
    known = arrays["labels_dev"] >= 0
    hits = probe.predict(arrays["vectors_dev"][known]) == arrays["labels_dev"][known]
    tell(took, accuracy=float(hits.sum() / len(known)))


if __name__ == "__main__":
    main()
