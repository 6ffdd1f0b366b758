"""From a prepared data set to batches: decode → resize → draw classes → augment → batch.

An example is a dict with `image` uint8 `[S, S, 3]` (RGB), `label` uint8 `[S, S]` (class, or 255 for
"ignore") and `image_id` int64. Scaling to the range that the network expects happens on the device
(`model.scale_images`): bytes are a quarter of the transfer.
"""

import dataclasses
import io
import multiprocessing
import os
import pathlib
import threading
from collections.abc import Callable, Iterator

import grain
import numpy as np
from absl import flags
from ml_collections import ConfigDict
from PIL import Image, ImageOps

from segmentation import coco, coco_files, labels

# Rec. 601 luma of red, green and blue, as Pillow's own conversion to 'L'.
LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def open_data(config: ConfigDict) -> coco.Prepared:
    """The prepared data set of an experiment's `data` config, prepared first if need be."""
    return coco.prepare(
        config.source,
        pathlib.Path(config.data_dir).expanduser(),
        complete=labels.parse_groups(config.complete) if config.complete else None,
        scenes=config.scenes.to_dict() if config.source == 'scenes' else None,
    )


def decode_image(data: bytes, size: tuple[int, int], at_least: int = 0) -> Image.Image:
    """Decodes any image file to RGB.

    Args:
      data: a file's bytes.
      size: (width, height) that the annotations refer to. A file whose raw size is another one but
        which has it after its EXIF orientation is applied is turned; `(0, 0)` always applies it.
      at_least: if not 0, a JPEG may be decoded at 1/2, 1/4 or 1/8 of its size as long as no side
        falls below this number of pixels (several times faster; the DCT does the averaging).

    Returns:
      An RGB picture. Grayscale is repeated to three channels, 16-bit scaled to 8, CMYK and palettes
      are converted, transparency is dropped, of an animation the first frame is taken.

    Raises:
      OSError: the bytes are not a picture that Pillow can read, or end early.
    """
    image = Image.open(io.BytesIO(data), formats=coco_files.IMAGE_FORMATS)
    turn = image.size != size
    if at_least:
        image.draft('RGB', (at_least, at_least))
    if turn:
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith('I;16') or image.mode == 'I':
        image = Image.fromarray((np.asarray(image) / 257).clip(0, 255).astype(np.uint8))
    if image.mode == 'RGB':
        image.load()  # here, so that a file that ends early is noticed; `convert` would copy
        return image
    return image.convert('RGB')


def resize(
    image: Image.Image, size: int, box: tuple[float, float, float, float], antialias: bool
) -> np.ndarray:
    """Scales a box of a picture to a square, bilinearly; the aspect ratio is not kept.

    Args:
      image: RGB.
      size: S, side of the result in pixels.
      box: (left, top, right, bottom) as shares of width and height, in [0, 1].
      antialias: average over all pixels that shrink into one (triangle filter), or interpolate
        between the four nearest (half-pixel centres, as `tf.image.resize` does by default).

    Returns:
      uint8 `[S, S, 3]`.
    """
    width, height = image.size
    left, top, right, bottom = (
        share * length for share, length in zip(box, (width, height, width, height), strict=True)
    )
    if antialias:
        small = image.resize((size, size), Image.Resampling.BILINEAR, (left, top, right, bottom))
    else:
        matrix = ((right - left) / size, 0, left, 0, (bottom - top) / size, top)
        small = image.transform(
            (size, size), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR
        )
    return np.asarray(small)


def _box_indices(low: float, high: float, length: int, size: int) -> np.ndarray:
    """Source index of each of `size` nearest samples between two shares of a length."""
    if (low, high) == (0, 1):
        return labels.nearest_indices(length, size)
    positions = (low + (np.arange(size) + 0.5) * (high - low) / size) * length
    return np.clip(positions.astype(np.int64), 0, length - 1)


def random_box(rng: np.random.Generator, min_area: float) -> tuple[float, float, float, float]:
    """A box that covers a random share of the area in [min_area, 1], as shares of both sides.

    Its aspect ratio, relative to the picture's, is log-uniform in [3/4, 4/3] as far as it fits
    (Szegedy et al. 2015).
    """
    area = rng.uniform(min_area, 1)
    ratio = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3)))
    width = min(1.0, np.sqrt(area * ratio))
    height = min(1.0, np.sqrt(area / ratio))
    left, top = rng.uniform(0, 1 - width), rng.uniform(0, 1 - height)
    return left, top, left + width, top + height


def jitter_colors(image: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    """Scales brightness, contrast and saturation, each by a factor in 1 ± strength.

    Args:
      image: uint8 `[S, S, 3]`.
      rng: random numbers.
      strength: in [0, 1].

    Returns:
      uint8 `[S, S, 3]`.
    """
    brightness, contrast, saturation = rng.uniform(1 - strength, 1 + strength, 3).astype(np.float32)
    pixels = image.astype(np.float32) * brightness
    mean = (pixels @ LUMA).mean()
    pixels = mean + (pixels - mean) * contrast
    gray = (pixels @ LUMA)[..., None]
    return (gray + (pixels - gray) * saturation).clip(0, 255).astype(np.uint8)


@dataclasses.dataclass(frozen=True)
class Examples:
    """Random access to selected images of one or more splits, as decoded and labelled examples."""

    splits: tuple[coco.CocoSplit, ...]
    # Which split, and which position in it, `[N]` each.
    split_of: np.ndarray
    position: np.ndarray
    image_ids: np.ndarray
    draw: Callable[..., np.ndarray]
    config: ConfigDict

    def __len__(self) -> int:
        return len(self.position)

    def record(self, index: int) -> dict:
        """The stored record: original bytes and instances (see `coco.CocoSplit`)."""
        return self.splits[self.split_of[index]][int(self.position[index])]

    def full_label(self, index: int) -> np.ndarray:
        """Classes at the photograph's own resolution, uint8 `[H, W]`."""
        return self.draw(self.record(index))

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        """The example as it is evaluated: no augmentation."""
        return self.example(index)

    def example(self, index: int, rng: np.random.Generator | None = None) -> dict[str, np.ndarray]:
        """One example, augmented as configured if random numbers are given."""
        config, record = self.config, self.record(index)
        height, width = int(record['height']), int(record['width'])
        size, box, flip = config.image_size, (0.0, 0.0, 1.0, 1.0), False
        if rng is not None:
            box = random_box(rng, config.min_crop) if config.min_crop < 1 else box
            flip = config.flip and rng.random() < 0.5
        # A crop is enlarged again, so it needs proportionally more pixels.
        at_least = int(np.ceil(size / min(box[2] - box[0], box[3] - box[1])))
        image = decode_image(record['image'], (width, height), at_least if config.antialias else 0)
        image = resize(image, size, box, config.antialias)
        rows = _box_indices(box[1], box[3], height, size)
        columns = _box_indices(box[0], box[2], width, size)
        if flip:
            image, columns = image[:, ::-1], columns[::-1]
        if rng is not None and config.color_jitter:
            image = jitter_colors(image, rng, config.color_jitter)
        label = self.draw(record, rows=rows, cols=columns)
        return {
            'image': np.ascontiguousarray(image),
            'label': label,
            'image_id': self.image_ids[index],
        }


def select_examples(
    prepared: coco.Prepared, config: ConfigDict, part: str
) -> tuple[Examples, dict]:
    """The images of one part of an experiment.

    Args:
      prepared: the prepared data set.
      config: the experiment's `data` config.
      part: 'train'; 'selection', which is carved from the training images; or 'val', the split that
        is kept for reporting (with folds: the fold that is not trained on).

    Returns:
      The examples in split order and image-id order, and a report of what was left out and why.

    Raises:
      ValueError: unknown part, split, category or option, or no image is left.
    """
    if part not in ('train', 'selection', 'val'):
        raise ValueError(f"Unknown part {part!r}: use 'train', 'selection' or 'val'.")
    if config.folds == 1 or not 0 <= config.fold < max(config.folds, 1):
        raise ValueError(
            f'data.fold={config.fold} of data.folds={config.folds}: fold must be 0 … folds - 1, '
            'and folds at least 2 (or 0 for no folds).'
        )
    if not 0 < config.fraction <= 1:
        raise ValueError(
            f'data.fraction={config.fraction}: the share of the training images that is used must '
            'be above 0 and at most 1.'
        )
    from_pool = part != 'val' or config.folds > 0
    names = tuple(config.train_splits if from_pool else config.val_splits)
    splits = tuple(prepared.split(name) for name in names)
    space = labels.parse_label_space(config.label_space)
    category_to_class = space.category_to_class(prepared.categories)
    exclude = (
        labels.read_exclude(config.exclude, prepared.fingerprint['id'])
        if config.exclude
        else frozenset()
    )

    split_of, positions, image_ids, report = [], [], [], {'splits': {}}
    for number, (name, split) in enumerate(zip(names, splits, strict=True)):
        chosen, report['splits'][name] = labels.select(
            split.index,
            prepared.categories,
            category_to_class,
            require=config.require,
            require_of=tuple(config.require_of),
            exclude=exclude,
        )
        split_of.append(np.full(len(chosen), number))
        positions.append(chosen)
        image_ids.append(split.index.image_id[chosen])
    split_of, position, image_id = map(np.concatenate, (split_of, positions, image_ids))
    # One photograph may be in two merged splits; it must not be in two folds or counted twice.
    _, first = np.unique(image_id, return_index=True)
    keep = np.sort(first)
    report['duplicates'] = len(image_id) - len(keep)
    cap = config.max_train if from_pool else config.max_val
    keep = keep[:cap] if cap else keep
    report['after_cap'] = len(keep)
    if config.folds:
        in_fold = labels.fold_of(image_id[keep], config.folds) == config.fold
        keep = keep[in_fold if part == 'val' else ~in_fold]
    if part != 'val':
        keep = keep[labels.id_fraction(image_id[keep], 'fraction') < config.fraction]
        aside = labels.id_fraction(image_id[keep], 'selection') < config.selection_fraction
        # published: nothing is carved off, and the best checkpoint is chosen on training images.
        if config.selection_fraction > 0:
            keep = keep[aside if part == 'selection' else ~aside]
    report['images'] = len(keep)
    if len(keep) == 0:
        raise ValueError(
            f'No image left for {part!r} of {prepared.path}; data.label_space, data.require, '
            'data.exclude, folds, fraction, selection_fraction and caps left out all of them: '
            f'{report}'
        )

    draw_last = labels.category_ids(config.draw_last, prepared.categories)

    def draw(record, **samples):
        return labels.class_mask(
            record,
            category_to_class,
            overlap=config.overlap,
            draw_last=draw_last,
            crowd=config.crowd,
            **samples,
        )

    return (
        Examples(splits, split_of[keep], position[keep], image_id[keep], draw, config),
        report,
    )


class TrainingBatches:
    """Endless iterator over batches, whose state is the number of batches taken so far."""

    def __init__(self, batches: grain.MapDataset, config: ConfigDict, workers: int):
        self._batches = batches
        self._config = config
        self._workers = workers
        self._taken = 0
        self._iterator = None

    def __iter__(self) -> 'TrainingBatches':
        return self

    def __next__(self) -> dict[str, np.ndarray]:
        if self._iterator is None:
            self._iterator = self._start()
        batch = next(self._iterator)
        self._taken += 1
        return batch

    def get_state(self) -> dict[str, int]:
        return {'next_index': self._taken}

    def set_state(self, state: dict[str, int]) -> None:
        self._taken = int(state['next_index'])
        self._iterator = None

    def _start(self) -> Iterator[dict[str, np.ndarray]]:
        config = self._config
        batches = self._batches.slice(slice(self._taken, None))
        batches = batches.to_iter_dataset(grain.ReadOptions(config.threads, config.prefetch))
        if self._workers:
            if not flags.FLAGS.is_parsed():  # grain asks absl's flags for its debugging options
                flags.FLAGS.mark_as_parsed()
            batches = batches.mp_prefetch(
                grain.MultiprocessingOptions(
                    self._workers, max(1, config.prefetch // self._workers)
                ),
                _end_with_parent,
            )
        return iter(batches)


def _end_with_parent(number: int, count: int) -> None:
    """Ends a worker when the process that started it was killed; grain's would wait for ever."""
    del number, count

    def watch():
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def training_batches(
    examples: Examples,
    *,
    batch_size: int,
    seed: int,
    process_index: int = 0,
    process_count: int = 1,
    workers: int = 0,
) -> TrainingBatches:
    """Endless, shuffled, augmented, always full batches of this process' share of each batch.

    The order depends only on `seed`, and an example's augmentation only on `seed` and its position
    in the endless order, whatever the number of threads, workers or processes. The iterator's state
    is one number (`get_state`, `set_state`), so a run resumes exactly.

    Args:
      examples: what to draw from; every pass is shuffled anew.
      batch_size: global batch size.
      seed: any integer >= 0.
      process_index: this process' number.
      process_count: of processes; must divide the batch size.
      workers: processes that this one starts to do the work, which takes seconds; 0 for threads.

    Returns:
      Iterator over dicts of arrays with leading dimension `batch_size // process_count`.

    Raises:
      ValueError: the processes do not divide the batch size.
    """
    if batch_size % process_count:
        raise ValueError(
            f'train.batch_size={batch_size} is the global batch size and must be a multiple of the '
            f'number of processes, {process_count}.'
        )
    indices = grain.MapDataset.range(len(examples)).seed(seed).shuffle().repeat()
    batches = (
        indices.random_map(lambda index, rng: examples.example(int(index), rng))
        .slice(slice(process_index, None, process_count))
        .batch(batch_size // process_count, drop_remainder=True)
    )
    return TrainingBatches(batches, examples.config, workers)


def evaluation_batches(
    examples: Examples, *, batch_size: int, process_index: int = 0, process_count: int = 1
) -> Iterator[dict[str, np.ndarray]]:
    """Every example of this process' share once, in order, in equally large batches.

    The last batch is padded with black images whose labels are all "ignore" and whose `index`
    is -1. Each batch also has `index` `[B]`, the examples' numbers in `examples`.
    """
    config = examples.config
    numbers = range(process_index, len(examples), process_count)
    batches = (
        grain.MapDataset.source(numbers)
        .map(lambda index: {**examples[int(index)], 'index': np.int64(index)})
        .batch(batch_size)
        .to_iter_dataset(grain.ReadOptions(config.threads, config.prefetch))
    )
    fill = {'image': 0, 'label': labels.IGNORE, 'image_id': -1, 'index': -1}
    for batch in batches:
        missing = batch_size - len(batch['index'])
        yield {
            key: np.pad(
                value,
                [(0, missing)] + [(0, 0)] * (value.ndim - 1),
                constant_values=fill[key],
            )
            for key, value in batch.items()
        }


def read_image_file(
    path: pathlib.Path, size: int, antialias: bool
) -> tuple[Image.Image, np.ndarray]:
    """Reads any picture for prediction.

    Returns:
      The picture, upright, and the network's input, uint8 `[S, S, 3]`.

    Raises:
      ValueError: it is missing or not a readable picture.
    """
    try:
        image = decode_image(path.read_bytes(), (0, 0))
    except Exception as error:  # Pillow's decoders raise almost anything on damaged files.
        raise ValueError(f'Cannot read {path} as a picture: {error}') from error
    return image, resize(image, size, (0.0, 0.0, 1.0, 1.0), antialias)
