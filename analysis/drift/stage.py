"""How far images are from the training data, and in which columns a folder differs from them."""

import pathlib

import numpy as np

from analysis.drift import two_sample
from analysis.drift.options import make_parser
from analysis.drift.schema import ColumnDrift, Drift, PartDrift
from analysis.embeddings import stage as embeddings
from analysis.embeddings.schema import Embeddings
from analysis.figures import contact_sheet
from analysis.samples import schema
from analysis.samples import stage as samples
from analysis.samples.schema import Samples
from analysis.similar.neighbors import neighbors
from analysis.stage import artifacts
from analysis.stage.contract import Stage
from analysis.stage.run import Analysis
from segmentation import markdown

_NEIGHBORS = 10
_COMPONENTS = 8  # of the embedding that are tested
_COPY = 1e-3  # distance below which embeddings are those of copies
_MOST = 5000  # images of a part that are tested
_LEVEL = 0.05
_SHOWN = 8  # images and columns of a part


def novelty(points: np.ndarray, is_reference: np.ndarray) -> np.ndarray:
    """See the module's docstring.

    Args:
      points: embeddings, float `[N, D]`.
      is_reference: bool `[N]`, at least two.

    Returns:
      float32 `[N]`.
    """
    reference = points[is_reference]
    distance = np.zeros(len(points), np.float32)
    distance[is_reference] = neighbors(reference, _NEIGHBORS)[1].mean(1)
    others = points[~is_reference]
    if len(others):
        distance[~is_reference] = neighbors(reference, _NEIGHBORS, others)[1].mean(1)
    usual = float(np.median(distance[is_reference]))
    if usual < _COPY:  # Most of the images have many copies: the others count.
        apart = distance[is_reference & (distance > _COPY)]
        usual = float(np.median(apart)) if len(apart) else 1.0
    return distance / usual


def compute(analysis: Analysis, reference: str = '', seed: int = 0) -> Drift:
    """Novelty of every image, and a test of each part.

    Raises:
      ValueError: there is no such part, or it has fewer than two images.
    """
    table, points = artifacts.load(analysis, Samples).table, artifacts.load(analysis, Embeddings)
    part_of = np.array(table['split'].to_pylist())
    names = list(dict.fromkeys(part_of.tolist()))
    reference = reference or ('train' if 'train' in names else names[0])
    is_reference = part_of == reference
    if is_reference.sum() < 2:
        known = ', '.join(names)
        raise ValueError(
            f'--reference {reference}: choose a part with 2 or more images from {known}.'
        )
    columns = schema.numbers_of(table, 'metadata')
    components = points.points[:, :_COMPONENTS].T
    columns |= {f'embedding {k}': values for k, values in enumerate(components, 1)}
    far = novelty(points.points, is_reference)
    rng = np.random.default_rng(seed)
    parts = []
    for name in names:
        if name == reference:
            continue
        both = is_reference, part_of == name
        rows = np.concatenate([rng.permutation(np.flatnonzero(mine))[:_MOST] for mine in both])
        inside = part_of[rows] == name
        found = _compare({key: values[rows] for key, values in columns.items()}, inside, seed)
        mine = far[part_of == name]
        differs = any(column.p <= _LEVEL for column in found)
        parts.append(PartDrift(name, len(mine), differs, float(np.median(mine)), found))
    return Drift(reference, len(table), int(is_reference.sum()), tuple(parts), far)


def _compare(
    columns: dict[str, np.ndarray], inside: np.ndarray, seed: int
) -> tuple[ColumnDrift, ...]:
    """Compares the images inside with the others; columns that one of them lacks are left out."""
    distances, adjusted = two_sample.compare(list(columns.values()), inside, seed=seed)
    found = []
    for (name, values), distance, p in zip(columns.items(), distances, adjusted, strict=True):
        if np.isnan(distance):
            continue
        known = ~np.isnan(values)
        middle = np.mean if set(np.unique(values[known])) <= {0, 1} else np.median
        one, other = (float(middle(values[known & mine])) for mine in (inside, ~inside))
        count = int((known & inside).sum())
        found.append(ColumnDrift(name, count, one, other, float(distance), float(p)))
    return tuple(sorted(found, key=lambda column: (column.p, -column.distance)))


def table(result: Drift) -> str:
    """Which parts differ, and in which columns."""
    parts = [
        f'Compared with {result.num_reference} images of {markdown.escape(result.reference)}. '
        'Novelty: mean distance to the nearest of them, 1 is typical. Medians of columns of 0 and '
        '1 are means. p: adjusted for all columns.'
    ]
    for part in result.parts:
        found = [column for column in part.columns if column.p <= _LEVEL]
        text = f'differs in {len(found)} columns' if found else 'no column differs (p > 0.05)'
        parts.append(
            f'**{markdown.escape(part.part)}**, {part.images} images, median novelty '
            f'{part.median_novelty:.2f}: {text}.'
        )
        rows = [
            (c.column, f'{c.median:.3g}', f'{c.median_reference:.3g}', f'{c.distance:.2f}',
             f'{c.p:.3f}')
            for c in found[:_SHOWN]
        ]  # fmt: skip
        header = 'column', 'median', 'median of the reference', 'KS distance', 'p'
        parts += [markdown.table(header, rows)] if rows else []
    return '\n\n'.join(parts)


def draw(analysis: Analysis, result: Drift) -> list[pathlib.Path]:
    """Draws the most novel images of each part."""
    part_of = np.array(artifacts.load(analysis, Samples).table['split'].to_pylist())
    rows, captions = [], []
    for name in dict.fromkeys(part_of.tolist()):
        mine = np.flatnonzero(part_of == name)
        worst = mine[np.argsort(-result.novelty[mine], kind='stable')][:_SHOWN]
        rows.append((name, [analysis.examples[int(row)]['image'] for row in worst]))
        captions.append([f'{result.novelty[row]:.2f}' for row in worst])
    path = analysis.folder / 'drift.png'
    contact_sheet.draw(rows, path, captions)
    return [path]


STAGE = Stage(
    Drift, make_parser, compute, table, draw,
    reads=(embeddings.STAGE, samples.STAGE),
)  # fmt: skip
main = STAGE.main
