"""Semantic segmentation: training, evaluation and prediction.

import segmentation
model = segmentation.load('runs/person_car')
prediction = model.predict('photo.jpg')[0]
"""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from segmentation.predictor import Model


def load(workdir: str | os.PathLike, checkpoint: str | int = 'best') -> 'Model':
    """Restores the network of a run, see `segmentation.predictor.Model`.

    Args:
      workdir: the run directory.
      checkpoint: 'best', 'latest' or a step.

    Raises:
      ValueError: no such run or checkpoint.
    """
    from segmentation import predictor  # here, because it imports JAX

    return predictor.load(workdir, checkpoint)
