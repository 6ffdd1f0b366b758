"""What is checked, and printed, before the first step of a training run."""

import dataclasses
import logging
import pathlib
from collections.abc import Iterable
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from segmentation import launch, workdir
from segmentation.config import check_effects, check_ranges, flat, num_training_steps
from segmentation.data import coco, frequencies, label_spaces, selection
from segmentation.data.examples import OVER_CAP, Examples, open_data, select_examples
from segmentation.markdown import printable
from segmentation.models import pretrained

logger = logging.getLogger(__name__)

# Classes or files that a warning names.
_NAMED = 10
# Where the data are on this host, and how it reads them; `check_processes` compares their content.
_LOCAL_FIELDS = {
    'data.data_dir', 'data.source', 'data.threads', 'data.prefetch', 'data.workers',
    'model.pretrained',
}  # fmt: skip
_EXCLUDES_NOTHING = (
    'data.exclude excludes nothing: none of the images in its list is in a part that '
    'data.exclude_from names. Label issues of the val split, for example, are not training images'
)


@dataclasses.dataclass(frozen=True)
class Inputs:
    """What a training run reads."""

    prepared: coco.Prepared
    class_names: tuple[str, ...]  # background first
    examples: Examples  # to train on
    selection: Examples  # those that choose the checkpoint
    reports: dict[str, dict[str, Any]]  # of `select_examples`, by part
    weights: pathlib.Path | None  # file of the pretrained weights


def open_inputs(config: ConfigDict, directory: pathlib.Path) -> Inputs:
    """Opens the data of a training run and checks all that can be checked before the first step.

    Prints how many images each rule left out, and how often each class occurs. Warns of settings
    that raise no error but are rarely intended: see `warnings`.

    Args:
      config: of the experiment.
      directory: the run directory, which may hold a run that is continued.

    Raises:
      ValueError: the batch size does not fit the devices, settings have no effect or are out of
        range, the data lack a split or a category, or a part has no image.
      OSError: the data cannot be prepared, or the weights are missing.
    """
    if config.train.batch_size < 1 or config.train.batch_size % jax.device_count():
        raise ValueError(
            f'train.batch_size={config.train.batch_size} is the global batch size; it must be a '
            f'multiple of the number of devices, {jax.device_count()} '
            f'({jax.process_count()} processes).'
        )
    weights = pretrained.file_of(config.model)  # before the data, which take longer
    continued = workdir.holds_run(directory)
    if not continued:  # Older versions trained with such settings.
        check_ranges(config)
        check_effects(config)
    class_names = label_spaces.parse_label_space(config.data.label_space).class_names
    prepared = open_data(config.data)
    parts = ['train', 'selection']
    # The validation images are read after the training only, when it is too late to choose others.
    # A run without any says so: data.val_splits=().
    if not continued and (config.data.folds or config.data.val_splits):
        parts.append('val')
    opened = {part: select_examples(prepared, config.data, part) for part in parts}
    (examples, train_report), (held_out, selection_report) = opened['train'], opened['selection']
    if jax.process_index() == 0:
        for part in parts:
            logger.info(selection.describe(part, opened[part][1]))
        train_count = frequencies.count_classes(examples, class_names)
        held_out_count = frequencies.count_classes(held_out, class_names, measured=0)
        logger.info('%s', frequencies.frequency_table(train_count, held_out_count))
        found = warnings(config, examples, train_count, held_out_count)
        if not continued and config.data.exclude:
            excluded = sum(opened[part][1].get('excluded', 0) for part in parts)
            found += [] if excluded else [_EXCLUDES_NOTHING]
        if not continued and config.data.source != '2014':
            found += _over_cap(report for _, report in opened.values())
        for warning in found:
            logger.warning('Warning: %s', warning)
    reports = {'train': train_report, 'selection': selection_report}
    return Inputs(prepared, class_names, examples, held_out, reports, weights)


def check_processes(config: ConfigDict, run: dict[str, Any]) -> None:
    """Checks that all processes train the same: settings, images and weights.

    Args:
      config: of the experiment.
      run: from `workdir.describe_run`.

    Raises:
      ValueError: a process has others; raised in all of them.
    """
    same = {name: value for name, value in flat(config).items() if name not in _LOCAL_FIELDS}
    same |= {name: run[name] for name in ('class_names', 'images', 'weights')}
    same['fingerprint'] = run['data']['fingerprint']
    launch.check_same(same, 'another config, other data or other weights')


def _over_cap(reports: Iterable[dict[str, Any]]) -> list[str]:
    """Warns of images beyond the published numbers, which the data of a user need not respect."""
    left_out: dict[str, int] = {}
    for report in reports:
        left_out |= report['left_out']
    return [
        f'{left_out[rule]} images are left out because of data.{cap}, which is that of the '
        f'published experiment. --config.data.{cap}=0 uses all'
        for cap in ('max_train', 'max_val')
        if left_out.get(rule := OVER_CAP.format(cap))
    ]


def warnings(
    config: ConfigDict,
    examples: Examples,
    train: frequencies.ClassFrequencies,
    held_out: frequencies.ClassFrequencies,
) -> list[str]:
    """Warnings of settings that raise no error but are rarely intended.

    Args:
      config: of the experiment.
      examples: the training images.
      train: their classes.
      held_out: the classes of the images that choose the checkpoint.
    """
    found = []
    if not config.model.pretrained and not config.model.encoder_trainable:
        found.append(
            'the encoder keeps its random weights, because model.encoder_trainable=False and '
            "model.pretrained=''. Set --config.model.encoder_trainable=True, or give weights: "
            '--config.model.pretrained=FILE.h5'
        )
    steps = num_training_steps(config.train, train.num_images)
    for field, effect in (
        ('encoder_after', 'the encoder is never trained'),
        ('warmup_steps', 'the learning rate never reaches optimizer.learning_rate'),
    ):
        if config.optimizer[field] >= steps:
            found.append(
                f'{effect}, because optimizer.{field}={config.optimizer[field]} and the training '
                f'has {steps} steps'
            )
    everywhere = train.measured == train.num_images
    for problem, classes in (
        (
            'no training image shows {}, so the network cannot learn it; see data.label_space',
            [name for name, n in zip(train.class_names, train.images, strict=True) if not n],
        ),
        (
            '{} covers no pixel of any training image at data.image_size='
            f'{config.data.image_size}: its objects are smaller than a pixel, or hidden by others',
            [
                name
                for name, n, share in zip(
                    train.class_names, train.images, train.pixels, strict=True
                )
                if n and not share and everywhere
            ],
        ),
        (
            'no image that chooses the checkpoint shows {}, so its IoU does not affect that '
            'choice; a larger data.selection_fraction helps',
            [
                name
                for name, n, chosen in zip(
                    train.class_names, train.images, held_out.images, strict=True
                )
                if n and not chosen
            ],
        ),
    ):
        if classes:
            found.append(printable(problem.format(_named(classes))))
    twice = listed_twice(examples)
    if twice:
        found.append(
            f'{len(twice)} image files are listed more than once in a split and count as several '
            f'images: {printable(_named(twice))}. scripts/prepare_coco.py --inspect also finds '
            'copies under other names'
        )
    return found


def listed_twice(examples: Examples) -> list[str]:
    """Names of files that several images of one split share."""
    found = []
    for number, split in enumerate(examples.splits):
        mine = examples.position[examples.split_of == number]
        names, counts = np.unique(split.index.file_name[mine], return_counts=True)
        found += names[counts > 1].tolist()
    return found


def _named(names: list[str]) -> str:
    more = f' and {len(names) - _NAMED} more' if len(names) > _NAMED else ''
    return ', '.join(names[:_NAMED]) + more
