"""PyTorch, in an environment of its own, which the project's does not have."""

import os
from pathlib import Path

import pytest

from bert_repro.files import ROOT


def python() -> Path:
    """Give the Python that has it, or skip the test; in CI it must be there."""
    place = ROOT / ".venv-torch" / "bin" / "python"
    if not place.is_file():
        how = "python3 -m venv .venv-torch && .venv-torch/bin/pip install torch==2.13.0 'transformers>=5,<6'"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(
            f"PyTorch has an environment of its own: {how}"
        )
    return place
