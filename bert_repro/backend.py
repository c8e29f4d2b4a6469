"""What differs between TensorFlow, JAX and PyTorch: how a step is compiled, and what running out of memory looks like.

TensorFlow is the default; `KERAS_BACKEND` chooses another one where that is installed. All compute in float32 unless
training asks for half of its digits (`products_in`): on GPUs the first two would multiply in TF32, of which three decimal
digits are left.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
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


PRECISIONS = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}
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
        fits = next(name for name in ("float16", "float32") if computes_in(name))
        raise ValueError(f"this device does not compute in {precision} under {NAME}: use precision {fits}")
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(PRECISIONS[precision])
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


CAPABLE = {"float32": (0, 0), "float16": (5, 3), "bfloat16": (8, 0)}
"""The first compute capability of a GPU that has products in a precision; CPUs compute in each, if slowly."""


def computes_in(precision: str) -> bool:
    """Return whether the device multiplies in a precision: GPUs before Ampere have none in bfloat16, and emulate them."""
    capabilities_found: list[tuple[int, int]] = []
    if NAME == "tensorflow":
        devices = [tf.config.experimental.get_device_details(gpu) for gpu in tf.config.list_physical_devices("GPU")]
        capabilities_found = [device.get("compute_capability", (0, 0)) for device in devices]
    elif NAME == "jax":
        capabilities = [getattr(device, "compute_capability", None) for device in jax.devices()]
        capabilities_found = [
            (int(major), int(minor)) for major, _, minor in (str(c).partition(".") for c in capabilities if c)
        ]
    elif torch.cuda.is_available():
        capabilities_found = [torch.cuda.get_device_capability()]
    return all(capability >= CAPABLE[precision] for capability in capabilities_found)


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
        shapes = {tensor.name: tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in model.inputs}
        run = tf.function(lambda arrays: model(arrays, training=False), [shapes])
    elif NAME == "jax":
        pure = jax.jit(lambda learned, fixed, arrays: model.stateless_call(learned, fixed, arrays, training=False)[0])

        def run(arrays: Mapping[str, np.ndarray]) -> Any:
            return pure(
                [v.value for v in model.trainable_variables], [v.value for v in model.non_trainable_variables], arrays
            )
    else:

        def run(arrays: Mapping[str, np.ndarray]) -> Any:
            with torch.no_grad():
                return model(arrays, training=False)

    def predict(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        # of a network whose products are in bfloat16, so are some of these: NumPy has no such type
        outputs = run(arrays)
        return {name: keras.ops.convert_to_numpy(keras.ops.cast(x, "float32")) for name, x in outputs.items()}

    return predict


Gradients = Callable[..., tuple[Any, list[Any]]]


def learner(model: keras.Model) -> tuple[Gradients, Callable[[list[Any]], None]]:
    """Compile the two halves of a step of a compiled model's training.

    Returns:
        Gradients: of inputs, targets and weights of the losses, each by name, and the scale of the optimiser, to the weighted sum of the
            losses and its gradients, times the scale; sums of these are gradients as well.
        Apply: of such gradients, to a step of the optimiser.
    """

    def loss_of(outputs: Mapping[str, Any], targets: Mapping[str, Any], shares: Mapping[str, Any]) -> Any:
        return sum(shares[name] * loss(targets[name], outputs[name]) for name, loss in model.loss.items())

    if NAME == "tensorflow":
        shapes = {tensor.name: tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in model.inputs}
        targets = {name: tf.TensorSpec(output.shape[:-1], "int32") for name, output in model.output.items()}
        number = tf.TensorSpec((), "float32")

        @tf.function(input_signature=[shapes, targets, dict.fromkeys(targets, number), number])
        def gradients(inputs: Any, targets: Any, shares: Any, scale: Any) -> Any:
            with tf.GradientTape() as tape:
                loss = loss_of(model(inputs, training=True), targets, shares)
                scaled = loss * scale
            # of embeddings it lists rows, one for each time that a row was read: squared one by one, their norm and the
            # optimiser's second moment would not be the gradient's
            return loss, [tf.convert_to_tensor(rows) for rows in tape.gradient(scaled, model.trainable_weights)]

        apply = tf.function(lambda derivatives: model.optimizer.apply(derivatives, model.trainable_weights))
    elif NAME == "jax":

        def scaled_loss(learned: list, fixed: list, inputs: Any, targets: Any, shares: Any, scale: Any) -> Any:
            outputs, fixed = model.stateless_call(learned, fixed, inputs, training=True)
            loss = loss_of(outputs, targets, shares)
            return loss * scale, (loss, fixed)

        derived = jax.jit(jax.grad(scaled_loss, has_aux=True), donate_argnums=1)
        stepped = jax.jit(model.optimizer.stateless_apply, donate_argnums=(0, 1, 2))

        def gradients(*batch: Any) -> Any:
            learned, fixed = model.trainable_variables, model.non_trainable_variables
            derivatives, (loss, values) = derived([v.value for v in learned], [v.value for v in fixed], *batch)
            _assign(fixed, values)
            return loss, derivatives

        def apply(derivatives: list[Any]) -> None:
            learned, optimiser = model.trainable_variables, model.optimizer.variables
            values = stepped([v.value for v in optimiser], derivatives, [v.value for v in learned])
            for variables, now in zip((learned, optimiser), values, strict=True):
                _assign(variables, now)
    else:

        def gradients(inputs: Any, targets: Any, shares: Any, scale: Any) -> Any:
            loss = loss_of(model(inputs, training=True), targets, shares)
            return loss.detach(), [*torch.autograd.grad(loss * scale, [v.value for v in model.trainable_weights])]

        def apply(derivatives: list[Any]) -> None:
            with torch.no_grad():
                model.optimizer.apply(derivatives, model.trainable_weights)

    return gradients, apply


def _assign(variables: Iterable[Any], values: Iterable[Any]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
