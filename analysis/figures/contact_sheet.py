"""Rows of small images with a title each."""

import pathlib
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from segmentation import overlays
from segmentation.data.examples import Examples
from segmentation.data.masks import IGNORE


def labeled(examples: Examples, row: int) -> np.ndarray:
    """The network's input overlaid with the classes of its label, if any, uint8 `[S, S, 3]`."""
    example = examples[int(row)]
    label = example['label'] * bool((example['label'] != IGNORE).any())
    return overlays.overlay(example['image'], label, opacity=0.35)


def draw(
    rows: Sequence[tuple[str, Sequence[np.ndarray]]],
    path: pathlib.Path,
    captions: Sequence[Sequence[str]] | None = None,
) -> None:
    """Draws rows of images, uint8 `[S, S, 3]` each, with titles, and captions below the images."""
    columns = max(len(images) for _, images in rows)
    figure = Figure(figsize=(1.3 * columns, 1.62 * len(rows)), dpi=100, layout='constrained')
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for number, (title, images) in enumerate(rows):
        # An empty title only reserves the height: a real one would widen its column.
        first = axes[number, 0]
        first.set_title(' ', fontsize=9)
        heading = first.text(
            0, 1.04, title, fontsize=9, va='bottom', transform=first.transAxes, parse_math=False
        )
        heading.set_in_layout(False)
        for column, axis in enumerate(axes[number]):
            axis.set_axis_off()
            if column < len(images):
                axis.imshow(images[column])
                if captions:
                    text = captions[number][column]
                    axis.text(
                        0.5, -0.02, text, fontsize=7, ha='center', va='top',
                        transform=axis.transAxes, parse_math=False,
                    )  # fmt: skip
    figure.savefig(path)
