"""The activations of a network's layers, by the names of the layers."""

import fnmatch
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from segmentation.models.layer_names import LAYERS
from segmentation.trained import Run

LOGITS = LAYERS[-1]


def find_layers(run: Run, patterns: Sequence[str] = LAYERS) -> dict[str, int]:
    """Layers by name, as `encoder/<layer>` or `decoder/<layer>`, in order of computation.

    Args:
      run: a restored run.
      patterns: shell-style wildcards; a layer that matches one of them is taken. `*` for all.

    Returns:
      Number of channels by name.

    Raises:
      ValueError: a pattern matches no layer.
    """
    names = []

    def note(name: str) -> bool:
        if '/' in name:
            names.append(name)  # modules are called in the order of the computation
        return '/' in name

    size = run.config.data.image_size
    images = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    look = functools.partial(activations, run.model, wanted=note)
    shapes = jax.eval_shape(look, run.variables, images)
    for pattern in patterns:
        if not fnmatch.filter(names, pattern):
            raise ValueError(
                f'No layer matches {pattern!r}. The layers are {", ".join(names)}; the pattern '
                'may have the wildcards * and ?.'
            )
    chosen = [n for n in names if any(fnmatch.fnmatchcase(n, pattern) for pattern in patterns)]
    return {name: shapes[name].shape[-1] for name in chosen}


def activations(
    model: nn.Module, variables: Any, images: jax.Array, wanted: Callable[[str], bool]
) -> dict[str, jax.Array]:
    """Runs the network and returns the outputs of layers; differentiable.

    Args:
      model: the run's.
      variables: {'params', 'batch_stats'}.
      images: float32 `[B, S, S, 3]` as scaled by `scale_images`.
      wanted: whether the output of the layer of this name is returned.

    Returns:
      Name → `[B, h, w, C]`.
    """
    _, state = model.apply(
        variables,
        images,
        train=False,
        capture_intermediates=lambda module, method: (
            method == '__call__' and wanted('/'.join(module.path))
        ),
        mutable=['intermediates'],
    )
    return {
        f'{part}/{layer}': calls['__call__'][0]
        for part, layers in state['intermediates'].items()
        for layer, calls in layers.items()
    }


def pooled_features(
    model: nn.Module, variables: Any, images: jax.Array, layers: Sequence[str]
) -> jax.Array:
    """Activations of the channels of layers, averaged over the pixels; differentiable.

    Args:
      model: the run's.
      variables: {'params', 'batch_stats'}.
      images: float32 `[B, S, S, 3]` as scaled by `scale_images`.
      layers: names, see `find_layers`.

    Returns:
      float32 `[B, F]`, layer by layer.
    """
    return pool(activations(model, variables, images, set(layers).__contains__), layers)


def logits_of(found: Mapping[str, jax.Array], size: int) -> jax.Array:
    """The network's logits, float32 `[B, size, size, C]`, from activations with `LOGITS`."""
    return found[LOGITS][:, :size, :size].astype(jnp.float32)


def pool(found: Mapping[str, jax.Array], layers: Sequence[str]) -> jax.Array:
    """The features of `pooled_features`, from activations `[B, h, w, C]` by layer."""
    return jnp.concatenate(
        [found[layer].astype(jnp.float32).mean((1, 2)) for layer in layers], axis=-1
    )
