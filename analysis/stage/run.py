"""Opens a trained run: what every analysis starts from."""

import dataclasses
import pathlib
from typing import Any

from ml_collections import ConfigDict

from segmentation import checkpoint
from segmentation.config import read_config
from segmentation.data import coco, examples
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
    data: dict  # 'path' and 'fingerprint' of the prepared data set


def restore_run(workdir: pathlib.Path, which: str = 'best') -> Run:
    """Restores a checkpoint with its config.

    Args:
      workdir: the run directory.
      which: 'best', 'latest' or a step number.

    Raises:
      ValueError: it is no run directory, or has no such checkpoint.
    """
    described = read_description(workdir)
    config = read_config(workdir / 'config.json')
    step, variables = checkpoint.restore_variables(workdir, which)
    class_names = tuple(described['class_names'])
    model = build_model(config.model, len(class_names))
    return Run(workdir, config, class_names, model, variables, step, described['data'])


def open_examples(run: Run, part: str, data_path: str = '') -> tuple[examples.Examples, dict]:
    """The images of a part ('train', 'selection' or 'val') of the run's own data.

    Args:
      run: a restored run.
      part: see `input_pipeline.select_examples`.
      data_path: where the prepared data set is now, if it was moved.

    Returns:
      The examples and the report of their selection.

    Raises:
      ValueError: the data set is missing, or is not the one the run was trained on.
    """
    path = pathlib.Path(data_path or run.data['path'])
    if not path.is_dir():
        raise ValueError(
            f'The prepared data set {path} of {run.workdir} is not there; '
            'say where it is now with --data_path.'
        )
    prepared = coco.open_prepared(path)
    if prepared.fingerprint != run.data['fingerprint']:
        raise ValueError(
            f'{path} is not the data set that {run.workdir} was trained on: fingerprint '
            f'{prepared.fingerprint} instead of {run.data["fingerprint"]}.'
        )
    return examples.select_examples(prepared, run.config.data, part)
