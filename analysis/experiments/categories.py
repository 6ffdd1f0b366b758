"""Do embeddings find images of categories that the network was never taught?

The *lift* of a category in an embedding is the share of images with it among the NEIGHBORS nearest
neighbors of an image with it, divided by the share of images with it among all other images: 1 is
chance. Only images in which all categories are annotated take part, as queries and as neighbors.
"""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow
from matplotlib.figure import Figure
from scipy import sparse
from sklearn import metrics as sklearn_metrics

from analysis.experiments.records import Measure, Origin, Table
from analysis.figures import bars, palette
from analysis.samples import schema as samples
from analysis.similar.neighbors import neighbors
from analysis.stats.bootstrap import bootstrap_weights, ratio

NEIGHBORS = 10
LEAST_IMAGES = 15  # that show a category
OURS, IMAGENET = 'ours', 'ImageNet encoder'
# Mean lift over that of the ImageNet encoder, and AUROC of images without or with little color.
LEAST_RATIO, LEAST_AUROC = 1.3, 0.95
FEW_HUES = 12.0  # degrees: circular standard deviation of hue of an image of nearly one hue
_RESAMPLES = 1000
_COLORS = {OURS: palette.BLUE, IMAGENET: palette.ORANGE}


@dataclasses.dataclass(frozen=True)
class Group:
    """Images that have something in common."""

    images: int
    scores: dict[str, Measure]  # by embedding


@dataclasses.dataclass(frozen=True)
class CategoryScores:
    """What embeddings know of categories that the network was not taught."""

    num_images: int  # of the split
    complete: int  # those in which all categories are annotated
    categories: dict[str, Group]  # lift by category
    lift: dict[str, Measure]  # mean over the categories by embedding
    ratio: dict[str, Measure]  # our mean lift divided by that of each other embedding
    clusters: int  # how many each embedding was cut into
    agreement: dict[str, float]  # AMI of clusters and main categories by embedding
    colors: dict[str, Group]  # AUROC by neighbors, over all images of the split


def known_contents(
    table: pyarrow.Table, leave_out: Sequence[str]
) -> tuple[np.ndarray, list[str], np.ndarray]:
    """Which categories the completely annotated images show.

    Args:
      table: of `Samples`.
      leave_out: categories of the label space.

    Returns:
      Rows of the images in which all categories are annotated, int `[n]`; names of the categories
      that at least LEAST_IMAGES of them show, C; and which show which, bool `[n, C]`.

    Raises:
      ValueError: there are no such images, or no such category.
    """
    counts = {
        name.removeprefix('count_'): samples.numbers(table, name)
        for name in samples.columns(table, 'metadata')
        if name.startswith('count_')
    }
    rows = np.flatnonzero(~np.any([np.isnan(column) for column in counts.values()], axis=0))
    found = {
        name: column[rows] > 0
        for name, column in counts.items()
        if name not in leave_out and (column[rows] > 0).sum() >= LEAST_IMAGES
    }
    if not found:
        raise ValueError(
            f'Of {len(table)} images, {len(rows)} are completely annotated, and no category '
            f'outside the label space is in {LEAST_IMAGES} of them: there is nothing to score. '
            'Mark images as all_categories_annotated, or choose a larger split.'
        )
    return rows, list(found), np.stack(list(found.values()), 1)


def lifts(near: np.ndarray, has: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The lift of each category in resamples of the images.

    An image counts as often as it was drawn, as a query and as a neighbor; it is no neighbor of its
    own copies.

    Args:
      near: int `[N, k]`, neighbors of each image.
      has: bool `[N, C]`.
      weights: `[R, N]`, how often each image was drawn; ones for the images as they are.

    Returns:
      float64 `[R, C]`; NaN where fewer than two images with the category were drawn.
    """
    number, k = near.shape
    owners = np.repeat(np.arange(number), k)
    graph = sparse.csr_array((np.ones(near.size), (owners, near.ravel())), (number, number))
    weights = weights.astype(np.float64)
    neighborhood = (graph @ weights.T).T  # drawn neighbors of each image
    total, result = weights.sum(1), np.empty((len(weights), has.shape[1]))
    for column in range(has.shape[1]):
        inside = np.flatnonzero(has[:, column])
        mine = weights[:, inside]
        hits = ((graph[inside][:, inside] @ mine.T).T * mine).sum(1)
        count, squares = mine.sum(1), np.square(mine).sum(1)
        base = ratio(count**2 - squares, count * total - squares)
        precision = ratio(hits, (mine * neighborhood[:, inside]).sum(1))
        result[:, column] = ratio(precision, np.nan_to_num(base))
    return result


def main_categories(area: np.ndarray) -> np.ndarray:
    """The category that covers most of each image, int `[N]`, of areas `[N, C]`; -1 for none."""
    return np.where(area.any(1), area.argmax(1), -1)


def agreement(label: np.ndarray, main: np.ndarray) -> float:
    """AMI of clusters `[N]` and main categories `[N]`, of the images that have one."""
    known = main >= 0
    return float(sklearn_metrics.adjusted_mutual_info_score(main[known], label[known]))


def color_groups(table: pyarrow.Table) -> dict[str, np.ndarray]:
    """Images without color, and with little of it, bool `[N]` by name."""
    gray = samples.numbers(table, 'is_grayscale') > 0
    # The hue of a gray image is null.
    return {'grayscale': gray, 'few hues': gray | (samples.numbers(table, 'hue_std') < FEW_HUES)}


def score(
    spaces: Mapping[str, np.ndarray],
    labels: Mapping[str, np.ndarray],
    rows: np.ndarray,
    has: Mapping[str, np.ndarray],
    main: np.ndarray,
    colors: Mapping[str, np.ndarray],
) -> CategoryScores:
    """Scores embeddings.

    Args:
      spaces: points `[N, D]` by name, OURS among them.
      labels: clusters int `[N]` by the same names.
      rows: int `[n]`, the completely annotated images.
      has: bool `[n]` by category.
      main: int `[n]`, see `main_categories`.
      colors: bool `[N]` by name; one that is the same for all images is left out.
    """
    number = len(next(iter(spaces.values())))
    weights, of_all = (
        np.concatenate([np.ones((1, count), np.int16), bootstrap_weights(count, _RESAMPLES)])
        for count in (len(rows), number)
    )
    contents = np.stack(list(has.values()), 1)
    by_space = {
        name: lifts(neighbors(points[rows], NEIGHBORS)[0], contents, weights)
        for name, points in spaces.items()
    }
    means = {
        # Fewer than two images of a category may be drawn.
        name: ratio(np.nansum(found, 1), (~np.isnan(found)).sum(1))
        for name, found in by_space.items()
    }
    everywhere = {name: neighbors(points, NEIGHBORS)[0] for name, points in spaces.items()}
    return CategoryScores(
        num_images=number,
        complete=len(rows),
        categories={
            category: Group(
                int(each.sum()),
                {name: _measure(found[:, column]) for name, found in by_space.items()},
            )
            for column, (category, each) in enumerate(has.items())
        },
        lift={name: _measure(values) for name, values in means.items()},
        ratio={
            name: _measure(means[OURS] / values, LEAST_RATIO if name == IMAGENET else None)
            for name, values in means.items()
            if name != OURS
        },
        clusters=len(np.unique(labels[OURS])),
        agreement={name: agreement(label[rows], main) for name, label in labels.items()},
        colors={
            color: Group(
                int(inside.sum()),
                {
                    name: _measure(
                        aurocs(near, inside, of_all), LEAST_AUROC if name == OURS else None
                    )
                    for name, near in everywhere.items()
                },
            )
            for color, inside in colors.items()
            if 0 < inside.sum() < number
        },
    )  # fmt: skip


def _measure(values: np.ndarray, above: float | None = None) -> Measure:
    """The first value, with the 95 % interval of the others, which are of resamples."""
    low, high = np.nanpercentile(values[1:], [2.5, 97.5]).tolist()
    return Measure(float(values[0]), (low, high), above)


def aurocs(near: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """`planted_benchmark.metrics.neighbor_auroc` in resamples of the images.

    Args:
      near: int `[N, k]`, neighbors of each image.
      positive: bool `[N]`.
      weights: `[R, N]`, how often each image was drawn.

    Returns:
      float64 `[R]`; NaN where only positive or only negative images were drawn.
    """
    levels, level = np.unique(positive[near].sum(1), return_inverse=True)
    drawn = [
        np.stack([weights[:, inside & (level == each)].sum(1) for each in range(len(levels))], 1)
        for inside in (positive, ~positive)
    ]
    yes, no = (each.astype(np.float64) for each in drawn)
    # A positive image beats the negative ones of lower scores, and half of those of its own.
    wins = (yes * (no.cumsum(1) - no / 2)).sum(1)
    return ratio(wins, yes.sum(1) * no.sum(1))


def to_markdown(result: CategoryScores, origin: Origin) -> str:
    """The report: means, then a row per category."""
    names = tuple(result.lift)
    means: list[tuple[str | Measure, ...]] = [
        (name, result.lift[name], result.ratio.get(name, '')) for name in names
    ]
    clusters: list[tuple[str | Measure, ...]] = [
        (name, Measure(value)) for name, value in result.agreement.items()
    ]
    colors: list[tuple[str | Measure, ...]] = [
        (f'{color} ({group.images} images)', name, group.scores[name])
        for color, group in result.colors.items()
        for name in names
    ]
    ordered = sorted(result.categories.items(), key=lambda each: -(each[1].scores[OURS].value or 0))
    rows: list[tuple[str | Measure, ...]] = [
        (category, f'{group.images}', *(group.scores[name] for name in names))
        for category, group in ordered
    ]
    return '\n\n'.join(
        [
            '# Do embeddings find categories that the network was not taught?',
            f'{len(rows)} categories outside the label space, each in at least {LEAST_IMAGES} of '
            f'the {result.complete} images (of {result.num_images}) in which all categories are '
            'annotated. In parentheses: 95 % bootstrap confidence intervals over images, with the '
            'neighbors fixed.',
            f'    {origin.command}',
            '## Lift',
            f'Share of images with a category among the {NEIGHBORS} nearest neighbors of an image '
            'with it, divided by the share of images with it among all other images; mean over the '
            'categories. *Ratio*: our mean lift divided by that of the embedding in the row. '
            f'Target for the ImageNet encoder: at least {LEAST_RATIO:g}.',
            Table(('embedding', 'mean lift', 'ratio'), tuple(means), '.2f').to_markdown(),
            '## Clusters',
            f'Adjusted mutual information (AMI) of {result.clusters} clusters and the category '
            'outside the label space that covers most of the image; 0 is chance.',
            Table(('embedding', 'AMI'), tuple(clusters)).to_markdown(),
            '## Images without color',
            'AUROC of predicting that an image is one of these by their share among its '
            f'{NEIGHBORS} nearest neighbors, over all images. *few hues*: grayscale, or a circular '
            f'standard deviation of hue below {FEW_HUES:g}°. Target: at least {LEAST_AUROC:g}.',
            Table(('images', 'embedding', 'AUROC'), tuple(colors)).to_markdown(),
            '## Lift by category',
            Table(('category', 'images', *names), tuple(rows), '.1f').to_markdown(),
            '',
        ]
    )


def figure(result: CategoryScores, path: pathlib.Path) -> None:
    """Draws the lift of each category in our embedding and in the ImageNet encoder's, as PNG."""
    ordered = sorted(result.categories.items(), key=lambda each: -(each[1].scores[OURS].value or 0))
    picture = Figure(figsize=(8, 1.4 + 0.34 * len(ordered)), layout='constrained')
    axis = picture.subplots()
    for place, (name, color) in enumerate(_COLORS.items()):
        scores = [group.scores[name] for _, group in ordered]
        bars.draw(
            axis,
            [f'{category} ({group.images})' for category, group in ordered],
            [score.value for score in scores],
            [score.interval for score in scores],
            color, height=0.38, shift=0.4 * place - 0.2, label=name,
        )  # fmt: skip
    axis.axvline(1, color=palette.GRAY, linewidth=1)
    axis.set_xlabel('lift over chance (95 % interval over images); category (images)')
    axis.legend(loc='lower right')
    picture.savefig(path, dpi=150)
