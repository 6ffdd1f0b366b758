"""Opens a trained run with its network and images, from which stages compute."""

import argparse
import dataclasses
import functools
import logging
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from analysis.foreign.model import ForeignModel, Kept, NoNetwork
from analysis.stage import population
from analysis.stage.view import SPLITS, View
from segmentation import buckets
from segmentation.config import read_config
from segmentation.data import coco, coco_index, selection
from segmentation.data.examples import Examples, select_examples
from segmentation.workdir import read_description

if TYPE_CHECKING:
    from segmentation.trained import Run

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Analysis(View):
    """A view with its network and its images."""

    run: 'Run'  # the checkpoint
    examples: Examples  # the images and their labels
    selection: dict[str, Any]  # how many images each rule left out, see `examples.select_examples`

    # A foreign model (`analysis.foreign`); the run then has a network that refuses all use.
    foreign: ForeignModel | None = None
    parts: tuple[str, ...] = ()  # of several parts together, the name of that of each split

    @property
    def unavailable(self) -> dict[str, str]:
        return self.foreign.unavailable if self.foreign else {}

    def part(self, row: int) -> str:
        """The part of the experiment, or the folder, that an image is from."""
        return self.parts[self.examples.split_of[row]] if self.parts else self.split

    @property
    def kept(self) -> Kept:
        """Where predictions of a foreign model are kept."""
        return Kept(self.workdir / 'outputs' / self.split)

    @property
    def batch_size(self) -> int:
        """Images that the network runs on at once."""
        return self.run.batch_size


def open_examples(run: 'Run', part: str, data_path: str = '') -> tuple[Examples, dict]:
    """The images of a part ('train', 'selection' or 'val') of the run's own data.

    `data_path` is where the prepared data set is now, if it was moved.

    Returns:
      The examples and the report of their selection, see `examples.select_examples`.

    Raises:
      ValueError: the data set is missing, or the run was trained on another one.
    """
    source = run.config.data.source
    place = data_path or (source if buckets.url_of(source) else run.data['path'])
    path = buckets.fetched(place, coco_index.METADATA)
    if not path.is_dir():
        raise ValueError(
            f'The prepared data set {path} of {run.workdir} is not there; '
            'pass its new location with --data_path.'
        )
    prepared = coco.open_prepared(path)
    if prepared.fingerprint != run.data['fingerprint']:
        raise ValueError(
            f'{path} is not the data set that {run.workdir} was trained on: fingerprint '
            f'{prepared.fingerprint} instead of {run.data["fingerprint"]}.'
        )
    examples, report = select_examples(prepared, run.config.data, part)
    _say_once(selection.describe(part, report))
    return examples, report


@functools.cache
def _say_once(text: str) -> None:
    # Each stage of scripts/analyze.py opens the images.
    logger.info(text)


def open_analysis(
    workdir: pathlib.Path,
    split: str = 'val',
    which: str = 'best',
    data_path: str = '',
    folders: Sequence[pathlib.Path] = (),
) -> Analysis:
    """Restores a run, opens the images of a part of its data, and makes the folder for artifacts.

    Args:
      workdir: the run directory.
      split: 'train', 'selection' or 'val', or several of them, 'train,val'.
      which: checkpoint: 'best', 'latest' or a step.
      data_path: where the prepared data set is now, if it was moved.
      folders: of images without annotations, which are analyzed together with the splits.

    Raises:
      ValueError: no such run, checkpoint, split, folder or data set.
    """
    from segmentation.trained import Run, restore_run  # here, because it imports JAX

    split, parts = split.replace(',', '.'), tuple[str, ...]()
    described, foreign = read_description(workdir), None
    if 'foreign' in described:
        config, names = read_config(workdir / 'config.json'), tuple(described['class_names'])
        run = Run(workdir, config, names, cast(Any, NoNetwork()), dict, 0, described['data'])
    else:
        run = restore_run(workdir, which)
    if '.' not in split and not folders:
        examples, selection = open_examples(run, split, data_path)
    elif 'foreign' in described:
        raise ValueError(
            f'{workdir}: a model that was not trained here is analyzed on one split at a time.'
        )
    else:
        opened = {part: open_examples(run, part, data_path) for part in split.split('.')}
        selection = {part: report for part, (_, report) in opened.items()}
        found: dict[str, coco.CocoSplit] = {}
        categories = opened[split.split('.')[0]][0].splits[0].categories
        for folder in folders:
            name = population.name_folder(folder, (*SPLITS, *found))
            found[name] = population.open_folder(folder, categories)
        split = '.'.join((*opened, *found))
        if len(split) > 230:  # File systems allow 255.
            raise ValueError(
                f'The names of these {len(found)} folders are too long together, {len(split)} '
                'characters, for the folder of the results: give the folder that holds them.'
            )
        examples, parts = population.join({part: one for part, (one, _) in opened.items()}, found)
    if 'foreign' in described:
        from analysis.foreign.run_directory import open_model

        foreign = open_model(described['foreign'], run.class_names, examples)
    analysis = Analysis(
        run.workdir, run.config, run.class_names, run.data, split, run.step,
        examples.image_ids.astype(np.int64), run, examples, selection, foreign, parts,
    )  # fmt: skip
    analysis.folder.mkdir(parents=True, exist_ok=True)
    return analysis


def open_chosen(arguments: argparse.Namespace, workdir: pathlib.Path | None = None) -> Analysis:
    """`open_analysis` of a command's arguments, or with them of another run directory."""
    return open_analysis(
        workdir or arguments.workdir, arguments.split, arguments.checkpoint, arguments.data_path,
        getattr(arguments, 'folder', ()),
    )  # fmt: skip


def restrict(analysis: Analysis, rows: np.ndarray) -> Analysis:
    """The same analysis on the images of some rows."""
    columns = ('split_of', 'position', 'image_ids')
    chosen = {name: getattr(analysis.examples, name)[rows] for name in columns}
    examples = dataclasses.replace(analysis.examples, **chosen)
    return dataclasses.replace(analysis, examples=examples, image_ids=analysis.image_ids[rows])


def open_pool(arguments: argparse.Namespace) -> list[Analysis]:
    """`open_chosen` of --workdir, and of the runs of --pool.

    Raises:
      ValueError: see `open_analysis` and `check_pool`.
    """
    analyses = [open_chosen(arguments, path) for path in (arguments.workdir, *arguments.pool)]
    check_pool(analyses)
    return analyses


def check_pool(analyses: Sequence[Analysis]) -> None:
    """Checks that runs are the folds of one experiment.

    Raises:
      ValueError: they differ in data or in how it is used, or share images.
    """
    first = analyses[0]
    settings = [analysis.config.data.to_dict() for analysis in analyses]
    for analysis, mine in zip(analyses[1:], settings[1:], strict=True):
        if analysis.data['fingerprint'] != first.data['fingerprint']:
            raise ValueError(f'{analysis.workdir} was trained on other data than the first run.')
        for field in (
            'label_space',
            'folds',
            'groups',
            'train_splits',
            'require',
            'overlap',
            'crowd',
            'draw_last',
            'image_size',
        ):
            if mine[field] != settings[0][field]:
                raise ValueError(
                    f'{analysis.workdir} is not a fold of the same experiment as the first run: '
                    f'data.{field} is {mine[field]!r} instead of {settings[0][field]!r}.'
                )
    ids = np.concatenate([analysis.image_ids for analysis in analyses])
    if len(np.unique(ids)) < len(ids):
        raise ValueError('The runs to be pooled share images: they are not folds of each other.')
