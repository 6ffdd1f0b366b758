"""The selected images of an experiment as examples: decoded, resized and labeled.

An example is a dict of `image` uint8 `[S, S, 3]` (RGB), `label` uint8 `[S, S]` (class, or 255 for
"ignore") and `image_id` int64.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from segmentation.data import coco, copy_paste, label_spaces, masks, selection, transforms

OVER_CAP = 'over the cap (data.{})'
_TRAINED_ON = 'used for training'
_WHOLE = 0.0, 0.0, 1.0, 1.0  # the box of an image that is not cropped

PARTS = ('train', 'selection', 'val')


def open_data(config: ConfigDict) -> coco.Prepared:
    """Opens the data set of an experiment's `data` config, and prepares it at first use.

    Raises:
      ValueError, OSError: see `coco.prepare`.
    """
    return coco.prepare(
        config.source,
        pathlib.Path(config.data_dir).expanduser(),
        complete=label_spaces.parse_groups(config.complete) if config.complete else None,
        scenes=config.scenes.to_dict() if config.source == 'scenes' else None,
    )


@dataclasses.dataclass(frozen=True)
class Examples:
    """Random access to selected images of one or more splits."""

    splits: tuple[coco.CocoSplit, ...]  # of the data set
    split_of: np.ndarray  # int64 `[N]`, the split of each image
    position: np.ndarray  # int64 `[N]`, its position in that split
    image_ids: np.ndarray  # int64 `[N]`
    category_to_class: dict[int, int]  # see `LabelSpace.category_to_class`
    draw: Callable[..., np.ndarray]  # draws the class mask of a record (see `masks.class_mask`)
    config: ConfigDict  # the experiment's `data` config

    def __len__(self) -> int:
        return len(self.position)

    def record(self, index: int) -> dict[str, Any]:
        """The stored record, with the original file and the instances (see `coco.CocoSplit`)."""
        return self.splits[self.split_of[index]][int(self.position[index])]

    def full_label(self, index: int) -> np.ndarray:
        """Class mask at the image's own resolution, uint8 `[H, W]`."""
        return self.draw(self.record(index))

    def label(self, index: int) -> np.ndarray:
        """Classes at the network's resolution, uint8 `[S, S]`; the image is not decoded."""
        record, size = self.record(index), self.config.image_size
        rows = masks.nearest_indices(int(record['height']), size)
        return self.draw(record, rows=rows, cols=masks.nearest_indices(int(record['width']), size))

    def image(
        self, record: dict[str, Any], box: tuple[float, float, float, float] = _WHOLE
    ) -> np.ndarray:
        """The image of a record, or a box in it, at the network's resolution, uint8 `[S, S, 3]`."""
        size, antialias = self.config.image_size, self.config.antialias
        # A crop is scaled up, so it needs proportionally more pixels.
        at_least = int(np.ceil(size / min(box[2] - box[0], box[3] - box[1])))
        decoded = transforms.decode_record(record, at_least if antialias else 0)
        return transforms.resize(decoded, size, box, antialias)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        """The example as it is evaluated, without augmentation."""
        return self.example(index)

    def example(self, index: int, rng: np.random.Generator | None = None) -> dict[str, np.ndarray]:
        """One example; with random numbers, augmented as configured."""
        config = self.config
        image, label = self._view(self.record(index), rng)
        if rng is not None and len(self._pasted) and rng.random() < config.paste:
            other = int(rng.choice(self._pasted))
            if other != index:
                instances = copy_paste.choose_instances(
                    self.record(other), self.category_to_class, rng
                )
                image, label = copy_paste.paste(image, label, *self._view(instances, rng))
        if rng is not None and config.color_jitter:
            image = transforms.jitter_colors(image, rng, config.color_jitter)
        return {
            'image': np.ascontiguousarray(image),
            'label': label,
            'image_id': self.image_ids[index],
        }

    def _view(
        self, record: dict[str, Any], rng: np.random.Generator | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Image and classes of a record in a square; with random numbers, a random part of it."""
        config = self.config
        height, width = int(record['height']), int(record['width'])
        size, box, flip = config.image_size, _WHOLE, False
        if rng is not None:
            if config.min_crop < 1 or config.max_crop > 1:
                box = transforms.random_box(rng, config.min_crop, config.max_crop)
            flip = config.flip and rng.random() < 0.5
        image = self.image(record, box)
        rows = transforms.box_indices(box[1], box[3], height, size)
        columns = transforms.box_indices(box[0], box[2], width, size)
        label = self.draw(record, rows=rows, cols=columns)
        if box != _WHOLE:
            label[~transforms.inside(box, size)] = masks.IGNORE
        return (image[:, ::-1], label[:, ::-1]) if flip else (image, label)

    @functools.cached_property
    def shows(self) -> np.ndarray:
        """Which images show which classes, bool `[N, C]`; background, class 0, always."""
        classes = np.zeros((len(self), 1 + max(self.category_to_class.values())), bool)
        classes[:, 0] = True
        for number, split in enumerate(self.splits):
            mine = self.split_of == number
            counts = split.index.counts[self.position[mine]]
            for k, category in enumerate(split.categories):
                if category.id in self.category_to_class:
                    classes[mine, self.category_to_class[category.id]] |= counts[:, k] > 0
        return classes

    @functools.cached_property
    def _pasted(self) -> np.ndarray:
        """Numbers of the images whose instances are pasted onto others."""
        shown = self.shows[self.repeated, 1:].any(1)
        return self.repeated[shown if self.config.paste else []]

    @functools.cached_property
    def repeated(self) -> np.ndarray:
        """Numbers of the images, int64, as often as a pass has them; see `data.repeat`.

        The fraction of a repetition is decided by image id.
        """
        share = self.shows.mean(0).clip(1e-12)
        factor = np.sqrt(np.maximum(1, self.config.repeat / share))
        times = np.where(self.shows, factor, 1).max(1)
        extra = selection.id_fraction(self.image_ids, 'repeat') < times % 1
        return np.repeat(np.arange(len(self)), times.astype(np.int64) + extra)


def from_pool(config: ConfigDict, part: str) -> bool:
    """Whether a part of an experiment is taken from `data.train_splits`."""
    return part != 'val' or config.folds > 0


def split_names(prepared: coco.Prepared, config: ConfigDict, part: str) -> tuple[str, ...]:
    """The splits of the data set that a part of an experiment is taken from.

    Raises:
      ValueError: the data set lacks one of them, or there is none; names the splits there are.
    """
    field = 'train_splits' if from_pool(config, part) else 'val_splits'
    names = tuple(config[field])
    found, missing = [], []
    for name in names:
        try:
            found.append(prepared.resolve(name))
        except ValueError:
            missing.append(name)
    if found and not missing:
        return tuple(dict.fromkeys(found))
    what = f'there is no split {missing[0]!r}' if names else 'no split is named'
    if part == 'val':
        others = [name for name in prepared.splits if name not in config.train_splits]
        others.sort(key=lambda name: not name.startswith(('val', 'dev')))
        value = f'data.{field}={others[0]}' if others else 'data.folds=5 (cross-validation)'
        remedy = f'--config.{value}'
        if field == 'val_splits':
            remedy += ", or --config.data.val_splits='()' to train without validation"
    else:
        first = next((s for s in prepared.splits if s.startswith('train')), prepared.splits[0])
        remedy = f'--config.data.{field}={first}'
    raise ValueError(
        f'data.{field}={names}: {what}. The data set {prepared.path} has the splits '
        f'{", ".join(prepared.splits)}. Set {remedy}'
    )


def _nothing_left(
    prepared: coco.Prepared,
    splits: tuple[coco.CocoSplit, ...],
    space: label_spaces.LabelSpace,
    part: str,
    report: dict[str, Any],
) -> str:
    """Says why no image is left."""
    mapping = space.category_to_class(prepared.categories)
    columns = {c.id: k for k, c in enumerate(prepared.categories)}
    shown = [
        sum(
            int((split.index.counts[:, [columns[c] for c, v in mapping.items() if v == label]] > 0)
            .any(axis=1).sum())
            for split in splits
        )
        for label in range(1, len(space.class_names))
    ]  # fmt: skip
    remedy = 'Change one of the fields in parentheses.'
    if report['left_out'].get(f'{_TRAINED_ON} (data.selection_fraction)') == 1:
        remedy = (
            'With data.selection_fraction=0, the only image is trained on and also chooses the '
            'checkpoint.'
        )
    classes = ', '.join(f'{n} {c}' for n, c in zip(space.class_names[1:], shown, strict=True))
    return (
        f'No image is left for {part!r} of {prepared.path}. {selection.describe(part, report)}. '
        f'{remedy} Images with an annotation of each class of '
        f'data.label_space: {classes}.'
    )


def select_examples(
    prepared: coco.Prepared, config: ConfigDict, part: str
) -> tuple[Examples, dict[str, Any]]:
    """The images of one part of an experiment.

    Args:
      prepared: the prepared data set.
      config: the experiment's `data` config.
      part: 'train'; 'selection', the training images held out to choose the checkpoint; or 'val',
        the validation splits (with folds: the held-out fold).

    Returns:
      The examples, ordered by split and image id; and a report: `splits` (see `selection.select`),
      `left_out` (how many images each rule left out, with the field of the rule in parentheses),
      `duplicates` (images that an earlier split has too), `after_cap`, `excluded` (only if the
      config excludes images) and `images` are numbers of images; `sha256` is of the image ids.

    Raises:
      ValueError: unknown part, split, category or option, or no image is left.
    """
    if part not in PARTS:
        raise ValueError(f'Unknown part {part!r}: use one of {PARTS}.')
    if config.folds == 1 or not 0 <= config.fold < max(config.folds, 1):
        raise ValueError(
            f'data.fold={config.fold} of data.folds={config.folds}: fold must be 0 … folds - 1, '
            'and folds at least 2 (or 0 for no folds).'
        )
    if strangers := set(config.exclude_from) - set(PARTS):
        raise ValueError(f'data.exclude_from names {sorted(strangers)}; the parts are {PARTS}.')
    if not 0 < config.fraction <= 1:
        raise ValueError(
            f'data.fraction={config.fraction}: the fraction of the training images that is used '
            'must be above 0 and at most 1.'
        )
    if not 0 <= config.selection_fraction < 1:
        raise ValueError(
            f'data.selection_fraction={config.selection_fraction}: the fraction of the training '
            'images that chooses the checkpoint must be at least 0 and below 1.'
        )
    names = split_names(prepared, config, part)
    splits = tuple(prepared.split(name) for name in names)
    space = label_spaces.parse_label_space(config.label_space)
    category_to_class = space.category_to_class(prepared.categories)

    report: dict[str, Any] = {'splits': {}}
    left_out: dict[str, int] = {}
    report['left_out'] = left_out
    numbers, positions, image_ids = [], [], []
    for number, (name, split) in enumerate(zip(names, splits, strict=True)):
        chosen, rules = selection.select(
            split.index, prepared.categories, category_to_class, require=config.require,
            require_of=tuple(config.require_of),
        )  # fmt: skip
        report['splits'][name] = rules
        for rule, field in zip(list(rules)[1:-1], ('complete', 'require'), strict=True):
            key = f'{rule} (data.{field})'
            left_out[key] = left_out.get(key, 0) + rules[rule]
        numbers.append(np.full(len(chosen), number))
        positions.append(chosen)
        image_ids.append(split.index.image_id[chosen])
    split_of, position, image_id = map(np.concatenate, (numbers, positions, image_ids))
    place_id, fingerprint = image_id, prepared.fingerprint['id']
    if config.groups:
        groups = selection.read_groups(config.groups, fingerprint)
        place_id = selection.stand_ins(image_id, groups)
    # An image in two merged splits must not be in two folds or count twice.
    _, first = np.unique(image_id, return_index=True)
    keep = np.sort(first)
    report['duplicates'] = len(image_id) - len(keep)
    left_out['also in an earlier split'] = report['duplicates']

    def leave_out(rule: str, out: np.ndarray) -> None:
        nonlocal keep
        left_out[rule] = int(out.sum())
        keep = keep[~out]

    kind = 'max_train' if from_pool(config, part) else 'max_val'
    if cap := config[kind]:
        leave_out(OVER_CAP.format(kind), np.arange(len(keep)) >= cap)
    report['after_cap'] = len(keep)
    if config.folds:
        in_fold = selection.fold_of(place_id[keep], config.folds) == config.fold
        leave_out('in other folds (data.fold)', ~in_fold if part == 'val' else in_fold)
    if part != 'val':
        place = selection.id_fraction(place_id[keep], 'fraction')
        leave_out('beyond the fraction used (data.fraction)', place >= config.fraction)
        # 0, as published: the best checkpoint is chosen on the training images.
        if config.selection_fraction > 0:
            aside = selection.held_out(place_id[keep], config.selection_fraction)
            if part == 'selection':
                leave_out(f'{_TRAINED_ON} (data.selection_fraction)', ~aside)
            else:
                leave_out('held out to choose the checkpoint (data.selection_fraction)', aside)
    if config.exclude and part in config.exclude_from:
        # Last, so that every other image keeps its part: scores with and without are comparable.
        exclude = selection.read_exclude(config.exclude, fingerprint)
        excluded = np.isin(image_id[keep], np.fromiter(exclude, np.int64))
        report['excluded'] = int(excluded.sum())
        leave_out('listed (data.exclude)', excluded)
    report['images'] = len(keep)
    report['sha256'] = selection.id_digest(image_id[keep])
    if len(keep) == 0:
        raise ValueError(_nothing_left(prepared, splits, space, part, report))

    draw_last = label_spaces.category_ids(config.draw_last, prepared.categories, 'data.draw_last')

    def draw(record: dict[str, Any], **samples: np.ndarray) -> np.ndarray:
        return masks.class_mask(
            record, category_to_class, overlap=config.overlap, draw_last=draw_last,
            crowd=config.crowd, **samples,
        )  # fmt: skip

    examples = Examples(
        splits, split_of[keep], position[keep], image_id[keep], category_to_class, draw, config
    )
    return examples, report
