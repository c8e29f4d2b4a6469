"""rsatoolbox's measures of neighbouring layers that are defined as ours are, on the same arrays.

    python rsatoolbox_measures.py ARRAYS.npz MEASURE RESAMPLES, as of our_measures.py

Its correlation distance is one minus the cosine of vectors that have mean 0, so RSA by Pearson agrees with ours on such. The
whitened cosine of squared Euclidean distances is linear CKA (Diedrichsen et al. 2021), and the Bures similarity of centred kernels
the cosine of the Procrustes angle (Harvey et al. 2024). Resamples draw patterns by sentence, a few of them; their seconds are
extrapolated to all.
"""

import sys

import numpy as np
import rsatoolbox
from rsatoolbox.inference.bootstrap import bootstrap_sample_pattern
from taken import seconds, tell

MEASURES = {
    "rsa": ("correlation", "corr"), "cka_biased": ("euclidean", "cosine_cov"), "procrustes": ("euclidean", "bures"),
}  # fmt: skip
RUN = 5  # resamples that are run


def main() -> None:
    arrays, (distance, comparison), resamples = dict(np.load(sys.argv[1])), MEASURES[sys.argv[2]], int(sys.argv[3])
    about = {"sentence": arrays["sentence"].tolist()}
    sets = [rsatoolbox.data.Dataset(x.astype(float), obs_descriptors=about) for x in arrays["vectors"]]
    rdms: list = []
    found: list[float] = []

    def compare(given: list) -> list[float]:
        return [
            float(rsatoolbox.rdm.compare(a, b, method=comparison)[0, 0])
            for a, b in zip(given, given[1:])  # noqa: B905
        ]

    def resample() -> None:
        together = rsatoolbox.rdm.concat(rdms)
        drawn, _ = bootstrap_sample_pattern(together, "sentence")
        compare([drawn.subset("layer", n) for n in range(len(rdms))])

    def values() -> None:
        rdms.extend(rsatoolbox.rdm.calc_rdm(one, method=distance) for one in sets)
        found.extend(compare(rdms))

    took = seconds(values)
    for number, one in enumerate(rdms):
        one.rdm_descriptors["layer"] = [number]
    if resamples:
        took += seconds(lambda: [resample() for _ in range(RUN)]) / RUN * resamples
    tell(took, values=found)


if __name__ == "__main__":
    main()
