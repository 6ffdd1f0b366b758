"""Ranks the images of folders by how much their labels would help."""

import pathlib

import numpy as np
import pyarrow

from analysis.embeddings import stage as embeddings
from analysis.embeddings.schema import Embeddings
from analysis.figures import contact_sheet
from analysis.label_next import rule
from analysis.label_next.options import make_parser
from analysis.label_next.schema import RANKING, LabelNext
from analysis.samples import schema
from analysis.samples import stage as samples
from analysis.samples.schema import Samples
from analysis.stage import artifacts
from analysis.stage.contract import Stage
from analysis.stage.run import Analysis
from segmentation import markdown
from segmentation.files import write_json

_SHOWN, _COLUMNS = 24, 8  # images of the table and of the figure, in lines of 8


def compute(analysis: Analysis, count: int = 500) -> LabelNext:
    """Ranks the images of the folders.

    Raises:
      ValueError: `count` is below 1.
    """
    if count < 1:
        raise ValueError(f'--count={count} must be at least 1.')
    table, points = artifacts.load(analysis, Samples).table, artifacts.load(analysis, Embeddings)
    part_of, uncertainty = table['split'].to_pylist(), schema.numbers(table, 'entropy')
    is_labeled = np.array([part not in analysis.folders for part in part_of])
    order = rule.choose(points.points, uncertainty, is_labeled, count)
    names = table['file_name'].to_pylist()
    ranked = {
        'rank': np.arange(1, len(order.rows) + 1),
        'row': order.rows,
        'image_id': analysis.image_ids[order.rows],
        'folder': [part_of[row] for row in order.rows],
        'file_name': [names[row] for row in order.rows],
        'uncertainty': uncertainty[order.rows],
        'distance': order.distance,
        'score': order.score,
    }
    labeled = tuple(part for part in analysis.split.split('.') if part not in analysis.folders)
    medians = float(np.median(order.before)), float(np.median(order.after))
    count_labeled = int(is_labeled.sum())
    return LabelNext(
        labeled, count_labeled, len(table) - count_labeled, medians,
        pyarrow.Table.from_pydict(ranked, RANKING),
    )  # fmt: skip


def table(result: LabelNext) -> str:
    """The first images of the list."""
    before, after = result.median_distance
    header = 'rank', 'image', 'folder', 'file', 'uncertainty', 'distance', 'score'
    rows = [
        (
            str(each['rank']), str(each['image_id']), each['folder'], each['file_name'],
            *(f'{each[name]:.3f}' for name in header[4:]),
        )
        for each in result.ranking.slice(0, _SHOWN).to_pylist()
    ]  # fmt: skip
    parts = [
        f'{len(result.ranking)} of {result.num_unlabeled} images without annotations, ranked by '
        'uncertainty (mean entropy in nats) times distance to the nearest image that is labeled or '
        f'ranked before. Labeled are the {result.num_labeled} images of '
        f'{", ".join(result.labeled)}.',
        f'The median distance of an unlabeled image to the nearest labeled one is {before:.3f}, '
        f'and {after:.3f} once all ranked images are labeled.',
        markdown.table(header, rows),
    ]
    if more := len(result.ranking) - len(rows):
        parts.append(f'{more} more are in next_to_label.json and label_next.parquet.')
    return '\n\n'.join(parts)


def write(analysis: Analysis, result: LabelNext) -> list[pathlib.Path]:
    """Writes the ids in order, and draws the first images."""
    paths = [analysis.folder / name for name in ('next_to_label.json', 'label_next.png')]
    ids = result.ranking['image_id'].to_pylist()
    write_json(paths[0], {'fingerprint': analysis.data['fingerprint']['id'], 'ids': ids})
    shown = result.ranking.slice(0, _SHOWN).to_pylist()
    lines, captions = [], []
    for start in range(0, len(shown), _COLUMNS):
        line = shown[start : start + _COLUMNS]
        lines.append(('', [analysis.examples[each['row']]['image'] for each in line]))
        captions.append(
            [f'{e["rank"]}: {e["uncertainty"]:.3f} × {e["distance"]:.2f}' for e in line]
        )
    lines[0] = ('rank: uncertainty × distance', lines[0][1])
    contact_sheet.draw(lines, paths[1], captions)
    return paths


STAGE = Stage(
    LabelNext, make_parser, compute, table, write,
    reads=(embeddings.STAGE, samples.STAGE),
)  # fmt: skip
main = STAGE.main
