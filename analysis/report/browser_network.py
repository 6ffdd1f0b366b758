"""The network of a run as an ONNX file for the page: a photograph to classes and embedding."""

import importlib.util
import tempfile
import pathlib
from typing import Any

import jax
import numpy as np

from analysis.embeddings.features import pooled_features
from analysis.embeddings.schema import Embeddings, Reduction
from analysis.stage import artifacts
from analysis.stage.run import Run, restore_run
from analysis.stage.view import View
from segmentation.models.unet import scale_images

OPSET = 18  # the first whose Resize can average over all source pixels
_LARGE = 1000  # numbers, from which on an array of weights is stored as float16


def build(view: View) -> bytes:
    """The network of a view as ONNX: image uint8 `[1, H, W, 3]` to classes and embedding.

    The classes are uint8 `[1, S, S]`, as of the network's resolution; the embedding is float32
    `[1, D]`, as in the artifact `embeddings`. Weights are stored as float16, which halves the file;
    the network computes in float32 as always.

    Raises:
      ValueError: a package is missing, or the checkpoint is no longer there, or the view has no
        embeddings.
    """
    if missing := [name for name in ('onnx', 'jax2onnx') if not importlib.util.find_spec(name)]:
        raise ValueError(f'--with_model needs the package {" and ".join(missing)}: see the README.')
    run = restore_run(view.workdir, str(view.step))
    embeddings = artifacts.load(view, Embeddings)
