"""An analyzed checkpoint and split, for code that only reads artifacts: no network, no images."""

import dataclasses
import enum
import hashlib
import pathlib
from typing import Any

import numpy as np
import pyarrow
from ml_collections import ConfigDict
from pyarrow import parquet

from segmentation.config import read_config
from segmentation.workdir import checkpoint_crc32, read_description

# Parts of an experiment, whose images have annotations; the other parts of a view are folders.
SPLITS = 'val', 'selection', 'train'


class Parts(enum.Enum):
    """Which parts of an experiment a stage is about, and why it cannot be run on others."""

    ANY = ''
    ONE = 'it is about one split with annotations: analyze each split alone'
    SEVERAL = 'it compares parts: give several --splits or a --folder'
    FOLDER = 'it ranks images without annotations: give them as a --folder'


@dataclasses.dataclass(frozen=True)
class View:
    """What was analyzed, and where its artifacts are."""

    workdir: pathlib.Path  # the run directory
    config: ConfigDict  # of the run
    class_names: tuple[str, ...]  # background first
    data: dict[str, Any]  # 'path' and 'fingerprint' of the prepared data set
    # 'train', 'selection' or 'val', or several parts together, see `population`
    split: str
    step: int  # of the checkpoint
    image_ids: np.ndarray  # int64 `[N]`. Row r of every artifact is about image r

    def __len__(self) -> int:
        return len(self.image_ids)

    @property
    def is_population(self) -> bool:
        """Whether several parts of an experiment, or folders, are analyzed together."""
        return '.' in self.split

    @property
    def folders(self) -> tuple[str, ...]:
        """Names of the folders of images without annotations among its parts."""
        return tuple(part for part in self.split.split('.') if part not in SPLITS)

    @property
    def unavailable(self) -> dict[str, str]:
        """Why stages cannot be run on a foreign model, by their names."""
        return read_description(self.workdir).get('foreign', {}).get('unavailable', {})

    @property
    def folder(self) -> pathlib.Path:
        """Where the artifacts are."""
        return self.workdir / 'analysis' / f'{self.split}-{self.step}'

    def identity(self) -> dict[str, Any]:
        """What every artifact of this view has in its header: checkpoint, data and images."""
        return {
            'step': self.step,
            'checkpoint': checkpoint_crc32(self.workdir, self.step),
            'split': self.split,
            'fingerprint': self.data['fingerprint'],
            'images': hashlib.sha256(self.image_ids.astype('<i8').tobytes()).hexdigest(),
        }


def open_view(workdir: pathlib.Path, name: str) -> View:
    """Opens the folder `<split>-<step>` of a run; its samples.parquet lists the images.

    Raises:
      ValueError: there is no such run or folder, or samples.parquet is damaged.
    """
    described = read_description(workdir)
    path = workdir / 'analysis' / name / 'samples.parquet'
    split, _, step = name.rpartition('-')
    if not split or not step.isdecimal() or not path.is_file():
        raise ValueError(f'{path} does not exist: run python -m analysis.samples first.')
    try:
        image_ids = parquet.read_table(path, columns=['image_id'])['image_id'].to_numpy()
    except (OSError, pyarrow.ArrowException) as error:
        raise ValueError(
            f'{path} is damaged ({error}); delete {path.parent} and run the analysis again.'
        ) from error
    config = read_config(workdir / 'config.json')
    names = tuple(described['class_names'])
    return View(workdir, config, names, described['data'], split, int(step), image_ids)


def find_views(workdir: pathlib.Path) -> list[View]:
    """What was analyzed of a run: validation first, then by split and falling step.

    Raises:
      ValueError: nothing was, or there is no such run.
    """
    read_description(workdir)
    names = sorted(path.parent.name for path in workdir.glob('analysis/*-*/samples.parquet'))
    # Not of copies such as val-600-old.
    found = [open_view(workdir, name) for name in names if name.rpartition('-')[2].isdecimal()]
    if not found:
        raise ValueError(f'{workdir} was not analyzed: run python -m analysis.samples first.')
    return sorted(found, key=lambda view: (view.split != 'val', view.split, -view.step))
