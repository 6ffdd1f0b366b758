"""Artifacts that say what was found."""

import numpy as np
import pyarrow
import pyarrow.parquet
from pycocotools import mask as mask_utils

from analysis.associations.correlation import associate
from analysis.associations.schema import Associations, GrayscaleComparison
from analysis.compare.schema import (
    Change,
    Comparison,
    ImageChange,
    Layer,
    Neighbors,
    Score,
    Separation,
    Side,
    SliceChange,
    Worse,
    artifact_name,
)
from analysis.confusion.schema import ClassErrors, Confused, Confusion
from analysis.drift.schema import ColumnDrift, Drift, PartDrift
from analysis.duplicates.schema import Duplicates, Leakage, LeakedScore, Member
from analysis.label_issues.schema import KINDS, REGIONS, LabelIssues
from analysis.label_next.schema import RANKING, LabelNext
from analysis.mean_iou.rates import measure_calibration, measure_classes
from analysis.mean_iou.schema import MeanIou
from analysis.predictions.calibration import BINS
from analysis.predictions.schema import Predictions
from analysis.saliency.scores import LAYERS
from analysis.samples import schema as samples
from analysis.samples.schema import Samples
from analysis.slices.conditions import load_columns, membership
from analysis.slices.schema import METRICS, Condition, MetricSlices, Slice, Slices
from analysis.slices.words import describe
from analysis.stage import artifacts
from analysis.stage.view import View
from segmentation import boundaries, metrics
from tests.report_fixture.scenes import IMAGE_SIZE

_REGIONS_DRAWN = 3000


def write_scores(analysis, rng) -> None:
    """Scores of at most 500 images: two thirds of the pixels are right, and too certain."""
    names, number = analysis.class_names, min(500, len(analysis))
    confusions = rng.integers(0, 50, (number, len(names), len(names)))
    confusions += np.diag([900] + [60] * (len(names) - 1))
    boundary = np.sort(rng.integers(0, 90, (number, len(names), 3)) * [1, 1, 0], axis=-1)[
        ..., [1, 2, 0]
    ]
    pixels = rng.integers(50, 90, (number, 2, BINS))
    confidence = (np.arange(BINS) + 0.5) / BINS
    wrong = [[0.8], [0.97]]
    bins = np.stack([pixels, pixels * confidence, pixels * confidence * wrong], axis=-1)
    rows = [
        {'confusion_original': c.ravel(), 'boundary_original': b.ravel(), 'reliability': r.ravel()}
        for c, b, r in zip(confusions, boundary, bins, strict=True)
    ]
    made = Predictions(64, len(names), pyarrow.Table.from_pylist(rows), temperature=1.3)
    summary = metrics.summarize(confusions, names, num_resamples=100)
    result = MeanIou(
        analysis.split, analysis.step, names, number, 64, 0.3, summary, summary,
        tuple(map(tuple, confusions.sum(0).tolist())), measure_classes(made, names),
        boundaries.BAND, measure_calibration(made), metrics.ABSENT_CLASS_RULE, {}, {},
    )  # fmt: skip
    artifacts.save(analysis, result)


def write_duplicates(analysis, hostile) -> None:
    """Pairs over two splits and, last, three copies in the view."""
    changes = ('mirrored', 'cropped'), ('brightness',), ('exact',)
    name = '<b>copy</b>.jpg' if hostile else 'copy.jpg'

    def member(row: int, kinds: tuple[str, ...]) -> Member:
        similarity = 1 - 0.01 * len(kinds)
        ids = int(analysis.image_ids[row]), analysis.split, f'{row}.jpg', row, False
        return Member(*ids, kinds, similarity)

    groups = [
        (member(row, ()), Member(row, 'train', name, None, True, kinds, 0.9))
        for row, kinds in enumerate(changes)
    ]
    groups.append(tuple(member(row, ('re-encoded',) if row > 9 else ()) for row in (9, 10, 11)))
    colors = np.linspace(30, 220, 9).astype(np.uint8)
    pictures = np.broadcast_to(colors[:, None, None, None], (9, 96, 96, 3))
    score = LeakedScore('person', 0.52, 0.48, 0.04, (0.01, 0.07))
    leakage = Leakage(len(changes), (score,))
    artifacts.save(
        analysis, Duplicates(2 * len(analysis), 'x', 0.7, tuple(groups), leakage, pictures)
    )


def write_drift(analysis, rng) -> None:
    """As if the view were compared with training images."""
    columns = [ColumnDrift('brightness', 60, 90.0, 130.0, 0.4, 0.001)]
    columns += [ColumnDrift(f'embedding {k}', 60, 0.0, 0.1, 0.1, 0.5) for k in range(1, 15)]
    part = PartDrift(analysis.split, len(analysis), True, 1.2, tuple(columns))
    novelty = rng.gamma(9, 0.12, len(analysis)).astype(np.float32)
    artifacts.save(analysis, Drift('train', len(analysis), 900, (part,), novelty))


def write_label_next(analysis, hostile) -> None:
    """As if most images had no annotations; the first ones, with hostile names, come first."""
    rows = np.arange(min(len(analysis) - 5, 500))  # as many as the stage ranks by default
    scores = np.linspace(0.4, 0.1, len(rows))
    folder = '<b>folder</b>' if hostile else 'photos'
    names = artifacts.load(analysis, Samples).table['file_name'].to_pylist()
    table = pyarrow.Table.from_pydict(
        {
            'rank': rows + 1, 'row': rows, 'image_id': analysis.image_ids[rows],
            'folder': [folder] * len(rows), 'file_name': names[: len(rows)],
            'uncertainty': 2 * scores, 'distance': np.full(len(rows), 0.5), 'score': scores,
        },
        RANKING,
    )  # fmt: skip
    artifacts.save(analysis, LabelNext(('train',), 5, len(rows), (0.5, 0.25), table))


def write_label_issues(analysis, kind, rng) -> None:
    ids, names = analysis.image_ids, analysis.class_names
    files = artifacts.load(analysis, Samples).table['file_name'].to_pylist()
    rows = []
    for row in np.flatnonzero(rng.random(len(kind)) < 0.3):
        for number in range(rng.integers(1, 4)):
            issue = KINDS[rng.integers(0, len(KINDS))]
            left, top = rng.uniform(0, 0.6, 2)
            right, bottom = np.array([left, top]) + rng.uniform(0.1, 0.4, 2)
            suspect, other = rng.permutation(names[1:3]).tolist()
            missing = issue == 'missing instance'
            rows.append(
                {
                    'row': int(row),
                    'file_name': files[row],
                    'kind': issue,
                    'score': float(rng.beta(0.6, 1.6)),
                    'object': number,
                    'given': names[0] if missing else suspect,
                    'suggested': {
                        'wrong class': other,
                        'spurious label': names[0],
                    }.get(issue, suspect),
                    'confidence': float(rng.uniform(0.4, 1)),
                    'annotation_id': None if missing else int(100 * ids[row]),
                    'area': 100 * float((right - left) * (bottom - top)),
                    'left': float(left),
                    'top': float(top),
                    'right': float(right),
                    'bottom': float(bottom),
                }
            )
    for row in rows:
        row['probability'] = row['score'] ** 2
    rows.sort(key=lambda row: -row['probability'])
    y, x = (np.mgrid[:IMAGE_SIZE, :IMAGE_SIZE] + 0.5) / IMAGE_SIZE
    for number, row in enumerate(rows):
        if number < _REGIONS_DRAWN:
            middle = (row['left'] + row['right']) / 2, (row['top'] + row['bottom']) / 2
            half = (row['right'] - row['left']) / 2, (row['bottom'] - row['top']) / 2
            inside = ((x - middle[0]) / half[0]) ** 2 + ((y - middle[1]) / half[1]) ** 2 <= 1
            rle = mask_utils.encode(np.asfortranarray(inside, np.uint8))['counts']
        row['rle'] = rle
    table = pyarrow.Table.from_pylist(rows, REGIONS)
    quality = np.full(len(kind), np.nan)
    artifacts.save(analysis, LabelIssues(len(kind), 'not used', quality, table))


def write_slices(analysis) -> None:
    columns, table = load_columns(analysis), artifacts.load(analysis, Samples).table
    person = analysis.class_names[1]
    tried = {
        'loss': (
            [Condition('brightness', '<=', 50.0)], [Condition(f'num_{person}', '>=', 4.0)],
        ),
        'mean_iou_foreground': (
            [Condition('brightness', '<=', 60.0), Condition('sharpness', '>=', 700.0)],
            [Condition(f'percent_{person}', '<=', 3.0)],
        ),
    }  # fmt: skip
    metrics, members = {}, []
    for metric, sign in METRICS.items():
        values = samples.numbers(table, metric.removesuffix('_given_size'))
        known, found = ~np.isnan(values), []
        for conditions in tried.get(metric, ()):
            member = membership(columns, conditions)
            inside = member & known
            here, elsewhere = values[inside], values[~inside & known]
            if len(here) < 5:
                continue
            members.append(member)
            excess, share = sign * float(here.mean() - elsewhere.mean()), float(inside.mean())
            half = 1.96 * float(here.std() / np.sqrt(len(here)))
            worst = np.flatnonzero(inside)[np.argsort(-sign * here)[:5]]
            found.append(
                Slice(
                    conditions=tuple(conditions), text=describe(conditions), size=int(inside.sum()),
                    share=share, mean=float(here.mean()), mean_elsewhere=float(elsewhere.mean()),
                    excess=excess, interval=(excess - half, excess + half), impact=share * excess,
                    p=0.0004, worst=tuple(worst.tolist()),
                    worst_ids=tuple(analysis.image_ids[worst].tolist()),
                )
            )  # fmt: skip
        mean = float(values[known].mean())
        metrics[metric] = MetricSlices(int(known.sum()), mean, 2 * len(found), tuple(found))
    packed = np.packbits(np.array(members, np.bool_).reshape(-1, len(table)), axis=1)
    artifacts.save(analysis, Slices(len(table), 0, False, metrics, packed))


def write_associations(analysis) -> None:
    table = artifacts.load(analysis, Samples).table
    rows = np.random.default_rng(0).permutation(len(table))[:2000]  # more take long
    chosen = [name for name in samples.columns(table, 'metadata') if not name.startswith('count_')]
    columns, performance = (
        {name: samples.numbers(table, name)[rows] for name in names}
        for names in (chosen, samples.columns(table, 'metric'))
    )
    found, not_tested = associate(columns, performance)
    means = {metric: float(np.nanmean(values)) for metric, values in performance.items()}
    copies = tuple(
        GrayscaleComparison(
            metric=metric, n=len(rows), color=mean, gray=0.9 * mean, difference=-0.1 * mean,
            interval=(-0.12, -0.08), p=1e-9, worse=0.7, q=1e-8,
        )
        for metric, mean in means.items()
    )  # fmt: skip
    result = Associations(len(table), 2 * len(found), len(found), found, not_tested, copies)
    artifacts.save(analysis, result)


def write_confusion(analysis, categories, rng) -> None:
    names = analysis.class_names
    base = {
        name: ClassErrors(0.02, (0.018, 0.022), 10_000, 0.6, (0.55, 0.65)) for name in names[1:]
    }
    rows = []
    for category in categories:
        for called in names[1:]:
            if category == called:
                continue
            share = 0.55 if (category, called) == ('truck', 'car') else float(rng.beta(1, 9))
            rows.append(
                Confused(
                    category=category, called=called,
                    label=category if category in names else names[0], images=40,
                    effective_images=21.5, pixels=90_000, instances=60, share=share,
                    interval=(0.8 * share, min(1, 1.2 * share)), excess=share - 0.02,
                    excess_interval=(0.8 * share - 0.02, 1.2 * share - 0.02),
                    instance_share=share, instance_interval=(0.7 * share, 1.3 * share),
                    wrong_share=share / 8, wrong_interval=(share / 10, share / 6),
                )
            )  # fmt: skip
    rows.sort(key=lambda row: -row.excess)
    artifacts.save(analysis, Confusion(len(analysis), (), base, tuple(rows)))


def write_comparison(this: View, other: View) -> None:
    """Writes what `analysis.compare` would say of two runs that `write_run` wrote."""
    number, targets = len(this), ('this', 'other')
    change = Change(0.5, 0.53, 0.03, (0.01, 0.05))
    sides = [Side(str(view.workdir), view.step, view.class_names, number) for view in (this, other)]
    slices = [one for _, one, _ in artifacts.load(this, Slices).each()]
    found = [(one.text, one.conditions) for one in slices]
    image = ImageChange(5, int(this.image_ids[5]), 'file.jpg', (0.5, 0.9), (0.4, None))
    result = Comparison(
        *sides,
        number,
        scores=tuple(
            Score(
                **vars(change), target=target, metric=metric, class_name=name, p=0.01,
                minimum_detectable=0.02,
            )
            for target in targets
            for metric in ('iou', 'image_iou')
            for name in (*this.class_names[1:], 'mean')
        ),
        slices=tuple(
            SliceChange(*one, 30, change, change) for one in (('all images', ()), *found)
        ),
        metadata=(),
        neighbors=Neighbors(10, 0.6, (0.55, 0.65), 0.45, (0.4, 0.5), 10 / number),
        layers=tuple(Layer(name, 1 - 0.1 * i, 1 - 0.12 * i) for i, name in enumerate(LAYERS)),
        num_images_layers=number,
        separation=tuple(
            Separation(
                target, space, 'linear probe', 40, 20,
                0.5, (0.4, 0.6), 0.53, (0.43, 0.63), 0.03, (0.01, 0.05),
            )
            for target in targets
            for space in ('embeddings', 'decoder')
        ),
        worse={'this': Worse((), ()), 'other': Worse(tuple(slices[:1]), (image,))},
    )  # fmt: skip
    artifacts.save(this, result, name=artifact_name(other))
