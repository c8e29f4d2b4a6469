"""Keras' backends: hides what differs between TensorFlow, JAX and PyTorch in how a step is compiled, and how memory ends.

TensorFlow is the default; `KERAS_BACKEND` chooses another one where that is installed. All compute in float32 unless training asks
for bfloat16 (`products_in`): on GPUs the first two would multiply in TF32, of which three decimal digits are left.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np

NAME = keras.backend.backend()
if NAME == "tensorflow":
    import tensorflow as tf

    tf.config.experimental.enable_tensor_float_32_execution(False)
    OUT_OF_MEMORY: type[Exception] = tf.errors.ResourceExhaustedError
elif NAME == "jax":
    import jax

    jax.config.update("jax_default_matmul_precision", "float32")
    OUT_OF_MEMORY = jax.errors.JaxRuntimeError
else:
    import torch

    OUT_OF_MEMORY = torch.OutOfMemoryError


def deterministic(seed: int) -> None:
    """Seed all that is random, and have the same seed give the same numbers."""
    keras.utils.set_random_seed(seed)
    if NAME == "tensorflow":
        tf.config.experimental.enable_op_determinism()


PRECISIONS = {"float32": "float32", "bfloat16": "mixed_bfloat16"}
"""What products are computed in: Keras' name of a policy in which weights, norms and losses stay in float32."""


@contextmanager
def products_in(precision: str) -> Iterator[None]:
    """Have the layers that are built meanwhile multiply in a precision.

    Raises:
        ValueError: A precision that is not in PRECISIONS, or that this device does not compute in.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"unknown precision {precision!r}: expected one of {sorted(PRECISIONS)}")
    if not computes_in(precision):
        raise ValueError(f"this device does not compute in {precision} under {NAME}: use precision float32")
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(PRECISIONS[precision])
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def computes_in(precision: str) -> bool:
    """Tell whether the device has products in a precision: GPUs before Ampere have none in bfloat16, and emulate them."""
    if precision == "float32":
        return True
    if NAME == "tensorflow":
        devices = [tf.config.experimental.get_device_details(gpu) for gpu in tf.config.list_physical_devices("GPU")]
        return all(device.get("compute_capability", (0, 0)) >= (8, 0) for device in devices)
    if NAME == "jax":
        capabilities = [getattr(device, "compute_capability", None) for device in jax.devices()]
        return all(float(capability) >= 8 for capability in capabilities if capability)
    return not torch.cuda.is_available() or torch.cuda.is_bf16_supported(including_emulation=False)


def bucket(number: int) -> int:
    """Round a number of inputs or wordpieces up, so that few shapes occur.

    For each shape TensorFlow keeps what it compiled, and has at least sixteen buckets an octave. JAX compiles anew, for
    seconds: there are powers of two from 64.
    """
    octave = 1 << (number - 1).bit_length()
    if NAME == "jax":
        return max(64, octave)
    width = max(1, octave // 32)
    return -(-number // width) * width


def predictor(model: keras.Model) -> Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]:
    """Compile a model's prediction; of arrays by name, to arrays by name."""
    if NAME == "tensorflow":
        # one graph for all shapes: Keras makes one of its own for the first, so rounding would depend on which came first
        shapes = {one.name: tf.TensorSpec(one.shape, one.dtype) for one in model.inputs}
        run = tf.function(lambda given: model(given, training=False), [shapes])
    elif NAME == "jax":
        pure = jax.jit(lambda learned, other, given: model.stateless_call(learned, other, given, training=False)[0])

        def run(given: Mapping[str, np.ndarray]) -> Any:
            return pure(
                [v.value for v in model.trainable_variables], [v.value for v in model.non_trainable_variables], given
            )
    else:

        def run(given: Mapping[str, np.ndarray]) -> Any:
            with torch.no_grad():
                return model(given, training=False)

    def predict(given: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        # of a network whose products are in bfloat16, so are some of these: NumPy has no such type
        outputs = run(given)
        return {name: keras.ops.convert_to_numpy(keras.ops.cast(x, "float32")) for name, x in outputs.items()}

    return predict


def learner(model: keras.Model) -> Callable[[tuple[Mapping[str, np.ndarray], Mapping[str, np.ndarray]]], dict]:
    """Compile a step of a compiled model's training; of inputs and targets by name, to its `loss`."""
    if NAME == "tensorflow":
        shapes = {one.name: tf.TensorSpec(one.shape, one.dtype) for one in model.inputs}
        targets = {name: tf.TensorSpec(output.shape[:-1], "int32") for name, output in model.output.items()}
        step = tf.function(model.train_step, [(shapes, targets)])
    elif NAME == "jax":  # Keras' own step would count metrics too, which it makes at the first batch

        def loss_of(learned: list, other: list, inputs: Any, targets: Any) -> Any:
            outputs, other = model.stateless_call(learned, other, inputs, training=True)
            return sum(loss(targets[name], outputs[name]) for name, loss in model.loss.items()), other

        def update(learned: list, optimiser: list, other: list, inputs: Any, targets: Any) -> Any:
            (loss, other), gradients = jax.value_and_grad(loss_of, has_aux=True)(learned, other, inputs, targets)
            return loss, (*model.optimizer.stateless_apply(optimiser, gradients, learned), other)

        pure = jax.jit(update, donate_argnums=(0, 1, 2))

        def step(data: Any) -> Any:
            groups = model.trainable_variables, model.optimizer.variables, model.non_trainable_variables
            loss, values = pure(*([v.value for v in group] for group in groups), *data)
            for variable, value in zip(itertools.chain(*groups), itertools.chain(*values), strict=True):
                variable.assign(value)
            return {"loss": loss}
    else:
        step = model.train_step
    return step
