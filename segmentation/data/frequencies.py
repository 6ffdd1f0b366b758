"""How often each class occurs in the images of an experiment."""

import dataclasses

import numpy as np

from segmentation.data import masks
from segmentation.data.examples import Examples
from segmentation.markdown import table

# Images whose masks are drawn to measure shares of pixels; a millisecond each.
_MEASURED = 256


@dataclasses.dataclass(frozen=True)
class ClassFrequencies:
    """Numbers by class, background first."""

    class_names: tuple[str, ...]
    num_images: int
    images: tuple[int, ...]  # images with an annotation of the class; all for background
    instances: tuple[int, ...]  # annotations; 0 for background
    # Share of the pixels at the network's resolution, in [0, 1], without ignored ones.
    pixels: tuple[float, ...]
    measured: int  # number of images on which `pixels` was measured, evenly spread


def count_classes(
    examples: Examples, class_names: tuple[str, ...], measured: int = _MEASURED
) -> ClassFrequencies:
    """Counts images, instances and pixels by class.

    Args:
      examples: without augmentation.
      class_names: background first.
      measured: on at most this number of images, pixels are counted.
    """
    counts = np.zeros((len(examples), len(class_names)), np.int64)
    for number, split in enumerate(examples.splits):
        mine = examples.split_of == number
        columns = [examples.category_to_class.get(c.id, 0) for c in split.categories]
        found = split.index.counts[examples.position[mine]]
        counts[mine] = found @ np.eye(len(class_names), dtype=np.int64)[columns]
    counts[:, 0] = 0
    images = (counts > 0).sum(axis=0)
    images[0] = len(examples)
    chosen = np.unique(
        np.linspace(0, max(len(examples) - 1, 0), min(measured, len(examples))).astype(int)
    )
    pixels = np.zeros(256, np.int64)
    for index in chosen.tolist():
        pixels += np.bincount(examples.label(index).ravel(), minlength=256)
    labeled = pixels[: len(class_names)]
    assert pixels[len(class_names) : masks.IGNORE].sum() == 0
    shares = labeled / labeled.sum().clip(1)
    return ClassFrequencies(
        class_names, len(examples), tuple(images.tolist()), tuple(counts.sum(axis=0).tolist()),
        tuple(shares.tolist()), len(chosen),
    )  # fmt: skip


def frequency_table(train: ClassFrequencies, selection: ClassFrequencies) -> str:
    """A Markdown table of the training images, with a column for those that choose the checkpoint.

    Args:
      train: of the training images.
      selection: of the images that choose the checkpoint.
    """
    rows = [
        [name, str(images), str(instances) if label else '–', f'{share:.2%}', str(chosen)]
        for label, (name, images, instances, share, chosen) in enumerate(
            zip(
                train.class_names, train.images, train.instances, train.pixels, selection.images,
                strict=True,
            )
        )
    ]  # fmt: skip
    measured = f' of {train.measured} images' if train.measured < train.num_images else ''
    header = ['class', 'training images', 'instances', f'pixels{measured}', 'selection images']
    return table(header, rows)
