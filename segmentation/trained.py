"""A checkpoint of a run with its config and its network, restored for inference."""

import dataclasses
import os
import pathlib
from typing import Any

from ml_collections import ConfigDict

from segmentation import checkpoint
from segmentation.config import read_config
from segmentation.models.unet import SegmentationModel, build_model
from segmentation.workdir import read_description


@dataclasses.dataclass(frozen=True)
class Run:
    """A checkpoint of a run, ready for inference."""

    workdir: pathlib.Path
    config: ConfigDict
    class_names: tuple[str, ...]
    model: SegmentationModel
    variables: dict[str, Any]  # {'params', 'batch_stats'}, numpy arrays
    step: int
    data: dict[str, Any]  # 'path' and 'fingerprint' of the prepared data set


def restore_run(workdir: str | os.PathLike, which: str = 'best') -> Run:
    """Restores a checkpoint, 'best', 'latest' or a step number, with its config.

    Raises:
      ValueError: the directory holds no run, or no such checkpoint.
    """
    workdir = pathlib.Path(workdir)
    described = read_description(workdir)
    config = read_config(workdir / 'config.json')
    step, variables = checkpoint.restore_variables(workdir, which)
    class_names = tuple(described['class_names'])
    model = build_model(config.model, len(class_names))
    return Run(workdir, config, class_names, model, variables, step, described['data'])
