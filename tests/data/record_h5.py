"""Record a checkpoint of transformers' TensorFlow classes, for tests/test_formats.py; run once, in an environment of its own:

    pip install 'transformers==4.57.6' tf-keras tensorflow-cpu torch 'safetensors<0.6'
    python tests/data/record_h5.py tests/data

`tf_model.h5` is what the class saved, `tf_model.safetensors` the same weights as transformers itself loads them into PyTorch.
"""

import os
import sys
from pathlib import Path

import numpy as np

os.environ["TF_USE_LEGACY_KERAS"] = "1"

from safetensors.numpy import save_file  # noqa: E402
from transformers import BertConfig, BertForPreTraining, TFBertForPreTraining  # noqa: E402
from transformers.modeling_tf_pytorch_utils import load_tf2_checkpoint_in_pytorch_model  # noqa: E402

# a kernel that is not turned shows in its values where it is square, in its shape where it is not
CONFIG = {
    "vocab_size": 11, "hidden_size": 4, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 6,
    "max_position_embeddings": 10, "type_vocab_size": 3,
}  # fmt: skip


def main(folder: Path) -> None:
    """Write both files."""
    model = TFBertForPreTraining(BertConfig(**CONFIG))
    model.build_in_name_scope()
    generator = np.random.default_rng(0)
    for variable in model.weights:
        variable.assign(generator.standard_normal(variable.shape))
    model.save_weights(folder / "tf_model.h5")
    # the decoder is tied to the embeddings, and TensorFlow has no variable for it
    twin = BertForPreTraining(BertConfig(**CONFIG))
    twin = load_tf2_checkpoint_in_pytorch_model(twin, str(folder / "tf_model.h5"), allow_missing_keys=True)
    arrays = {k: v.numpy() for k, v in twin.state_dict().items() if "decoder" not in k}
    save_file(arrays, folder / "tf_model.safetensors")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
