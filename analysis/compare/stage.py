"""Compares two runs on the same images: scores, where they differ, and what they represent.

    python -m analysis.compare --workdir runs/person_car --other runs/vehicle

Only images that the part `--split` of both runs has are used, and both runs must have the same data
set. Differences are always the other run minus this one, paired by image; intervals are 95 % over
images, with the two trainings as they are: what another seed would give is not in them (for that,
scripts/experiments/reproduce.py). Where the label spaces differ, both networks are scored against
the labels of this run and against those of the other, class number by class number.

Writes `compare-<other>.json` (kind the same, version 1) and a figure `.png` into this run's
`analysis/<split>-<step>/`, and makes samples and embeddings of both runs if they are not there.
Null: does not exist.

    this, other         workdir, step, class_names, num_images of the part
    num_images          common ones
    scores              rows by target ('this', 'other': whose labels), metric ('iou' over the set,
                        'image_iou', see `metrics.ABSENT_CLASS_RULE`) and class ('mean' of the
                        foreground): this, other, difference, interval, p (Welch-Satterthwaite on
                        the bootstrap variance), minimum_detectable (80 % power at 5 %)
    slices              rows for the slices of this run's `analysis.slices`, if they are there, and
                        one for 'all images': text, n, and for loss and iou (mean over the
                        foreground classes of an image), both against this run's labels: this,
                        other, difference, interval (Student's t)
    metadata            associations of the metadata with the difference of loss and of iou, as in
                        `analysis.associations`, by |rho|: column, metric, n, rho, interval, p, q,
                        bins
    neighbours          of the embeddings: k, overlap (mean share of an image's k nearest that are
                        the same), jaccard, each with interval (bootstrap over images), chance
    layers              rows by layer, over num_images_layers images: cka (linear, debiased:
                        Kornblith et al. 2019 with Song et al. 2012; 1 for the same up to rotation
                        and scale, about 0 for unrelated), overlap (as above)
    separation          rows by target, space and method: how well images full of the first class
                        (person) and of the second (car, vehicle) can be told apart
        space           'embeddings', which have encoder and decoder; 'decoder', its layers alone,
                        standardised, over num_images_layers images: all that differs between
                        networks with the same frozen encoder
        method          'linear probe': AUROC of cross-validated logistic regression; 'neighbours':
                        AUROC of the share among the 10 nearest, leaving the image out;
                        'silhouette' (Rousseeuw 1987), mean of the two groups' means, in [-1, 1]
        first, second   number of images in which the class has at least 1 % of the pixels and
                        twice as many as the other
        this, other, difference, each with an interval (paired bootstrap over images; the probes
                        are not fitted anew)
"""

import argparse
import pathlib
import re
from collections.abc import Sequence

import msgspec
import numpy as np
from scipy import stats

from analysis.associations.correlation import associate
from analysis.compare import representations
from analysis.compare import tables as compare_tables
from analysis.embeddings import stage as embeddings
from analysis.embeddings.schema import Embeddings
from analysis.experiments import statistics
from analysis.samples import stage as samples
from analysis.slices.conditions import load_columns
from analysis.slices.schema import Slices
from analysis.stage import artifacts as new_artifacts
from analysis.stage import old_artifacts as artifacts
from analysis.stage.command import make_parser, run_command
from analysis.stage.run import Analysis, Run, restrict
from analysis.stats import bootstrap
from segmentation import evaluate, metrics

VERSION = 1
_NUM_RESAMPLES = 1000
_HEAVY, _DOMINANT = 1.0, 2.0  # percent of the pixels, times the other class


def _class_names(both: dict[str, Analysis]) -> list[str]:
    """Foreground classes by number, both names where they differ, and 'mean'."""
    pairs = zip(*(analysis.run.class_names[1:] for analysis in both.values()), strict=True)
    return [a if a == b else f'{a} / {b}' for a, b in pairs] + ['mean']


def compare_scores(
    confusions: dict[str, np.ndarray], class_names: Sequence[str], target: str
) -> list[dict]:
    """Rows of `scores` for one target.

    Args:
      confusions: 'this' and 'other', `[N, C, C]` counts on the same images and labels.
      class_names: of the foreground, and 'mean'.
      target: whose labels.
    """
    num_images = len(confusions['this'])
    weights = bootstrap.bootstrap_weights(num_images, _NUM_RESAMPLES)
    one_fold = np.zeros(num_images, np.int64)
    scored = {
        name: statistics.seed_scores(counts[None], one_fold, weights)
        for name, counts in confusions.items()
    }
    effective = metrics.effective_images(confusions['this'])
    rows = []
    for metric in compare_tables.METRIC_NAMES:
        difference = scored['other'][metric] - scored['this'][metric]
        for column, name in enumerate(class_names, 1):
            matter = effective[column] if column < len(effective) else effective[1:].min()
            test = dict(vars(statistics.paired_test(difference, column, max(matter, 2))))
            del test['verdict']  # is about other trainings
            rows.append(
                {
                    'target': target,
                    'metric': metric,
                    'class': name,
                    **{
                        key: _plain(scored[key][metric].values[0, column])
                        for key in ('this', 'other')
                    },
                    **test,
                }
            )
    return rows


def _plain(value):
    return None if np.isnan(value).any() else np.asarray(value).tolist()


def _image_iou(confusions: np.ndarray) -> np.ndarray:
    """Mean IoU of an image's foreground classes, `[N]`; NaN where there are none."""
    values = metrics.iou(confusions)[:, 1:]
    there = ~np.isnan(values)
    count = there.sum(1)
    total = np.where(there, values, 0).sum(1)
    return np.divide(total, count, out=np.full(len(values), np.nan), where=count > 0)


def compare_slices(
    performance: dict[str, dict[str, np.ndarray]], inside: dict[str, np.ndarray]
) -> list[dict]:
    """Rows of `slices`.

    Args:
      performance: 'loss' and 'iou', each with 'this' and 'other' `[N]`, NaN where unknown.
      inside: slice → bool `[N]`.
    """
    rows = []
    for text, here in inside.items():
        row = {'text': text, 'n': int(here.sum())}
        for metric, values in performance.items():
            this, other = (values[name][here] for name in ('this', 'other'))
            change = (other - this)[~np.isnan(other - this)]
            this, other = (part[~np.isnan(part)] for part in (this, other))
            row[metric] = dict.fromkeys(('this', 'other', 'difference', 'interval'))
            if len(change):
                means = this.mean(), other.mean(), change.mean()
                row[metric].update(
                    zip(('this', 'other', 'difference'), map(float, means), strict=True)
                )
            if len(change) > 1:
                half = stats.t.ppf(0.975, len(change) - 1) * stats.sem(change)
                row[metric]['interval'] = [change.mean() - half, change.mean() + half]
        rows.append(row)
    return rows


def _interval_of_mean(values: np.ndarray) -> list[float]:
    means = bootstrap.bootstrap_means(values, _NUM_RESAMPLES)
    return metrics.percentile_interval(means).tolist()


def _separation(analysis: Analysis, table, rows: np.ndarray, points: dict) -> list[dict]:
    """Separation of the two first foreground classes of a run; nothing if there are too few."""
    names = analysis.run.class_names[1:3]
    if len(names) < 2:
        return []
    first, second = (samples.numbers(table, f'percent_{name}')[rows] for name in names)
    is_first = (first >= _HEAVY) & (first >= _DOMINANT * second)
    is_second = (second >= _HEAVY) & (second >= _DOMINANT * first)
    if min(is_first.sum(), is_second.sum()) < representations.FEWEST:
        return []
    either = is_first | is_second
    return representations.separation(
        {name: part[either] for name, part in points.items()}, is_second[either]
    )


def compute(both: dict[str, Analysis]) -> dict:
    """The content of the artifact.

    Args:
      both: 'this' and 'other'.

    Raises:
      ValueError: they cannot be compared.
    """
    this, other = both.values()
    if this.run.data['fingerprint'] != other.run.data['fingerprint']:
        raise ValueError(
            f'{other.run.workdir} was trained on another data set than {this.run.workdir}: their '
            'images cannot be told to be the same.'
        )
    if len(this.run.class_names) != len(other.run.class_names):
        raise ValueError(
            f'{this.run.workdir} has {len(this.run.class_names)} classes and {other.run.workdir} '
            f'{len(other.run.class_names)}: classes are compared number by number.'
        )
    if this.run.config.data.image_size != other.run.config.data.image_size:
        raise ValueError('The networks have different resolutions (data.image_size).')
    ids = [analysis.examples.image_ids for analysis in both.values()]
    _, *rows = np.intersect1d(*ids, return_indices=True)
    if len(rows[0]) < 2 * representations.FEWEST:
        raise ValueError(
            f'The parts have {len(rows[0])} images in common, of {len(ids[0])} and {len(ids[1])}; '
            'are they different folds?'
        )
    order = np.argsort(rows[0])
    rows = dict(zip(both, (part[order] for part in rows), strict=True))
    tables = {name: samples.compute_or_load(analysis) for name, analysis in both.items()}
    points = {}
    for name, analysis in both.items():
        embeddings.STAGE.prepare(analysis)
        points[name] = new_artifacts.load(analysis, Embeddings).points[rows[name]]
    columns = {name: column[rows['this']] for name, column in load_columns(this).items()}
    common = {name: restrict(analysis, rows[name]) for name, analysis in both.items()}
    result = {
        **{
            name: {
                'workdir': str(analysis.run.workdir),
                'step': analysis.run.step,
                'class_names': list(analysis.run.class_names),
                'num_images': len(analysis.examples),
            }
            for name, analysis in both.items()
        },
        'num_images': len(order),
    }

    predicts = {
        name: evaluate.make_predict(analysis.run.model, analysis.run.config.data.input_range)
        for name, analysis in both.items()
    }
    label_spaces = {analysis.run.config.data.label_space for analysis in both.values()}
    targets = ['this'] if len(label_spaces) == 1 else ['this', 'other']
    chosen, features = representations.layer_features(common)
    decoders = {
        name: representations.standardised(
            np.hstack([part for layer, part in layers.items() if layer.startswith('decoder/')])
        )
        for name, layers in features.items()
    }
    result['scores'], result['separation'] = [], []
    for target in targets:
        found = {
            name: evaluate.evaluate(
                predicts[name],
                analysis.run.variables,
                common[target].examples,
                num_classes=len(analysis.run.class_names),
                batch_size=analysis.run.config.eval_batch_size,
                progress=f'{name} run, labels of {target}',
            )
            for name, analysis in both.items()
        }
        confusions = {name: part['network'] for name, part in found.items()}
        result['scores'] += compare_scores(confusions, _class_names(both), target)
        if target == 'this':
            performance = {
                'loss': {name: part['loss'].astype(np.float64) for name, part in found.items()},
                'iou': {name: _image_iou(counts) for name, counts in confusions.items()},
            }
        result['separation'] += [
            {'target': target, 'space': space, **row}
            for space, images, spaces in (
                ('embeddings', rows[target], points),
                ('decoder', rows[target][chosen], decoders),
            )
            for row in _separation(both[target], tables[target], images, spaces)
        ]

    inside = {'all images': np.ones(len(order), np.bool_)}
    if new_artifacts.exists(this, Slices):
        for _, one, members in new_artifacts.load(this, Slices).each():
            inside[one.text] = members[rows['this']]
    result['slices'] = compare_slices(performance, inside)
    associated, _ = associate(
        {name: column.astype(np.float64) for name, column in columns.items()},
        {
            f'difference of {metric}': values['other'] - values['this']
            for metric, values in performance.items()
        },
    )
    kept = ('column', 'metric', 'n', 'rho', 'interval', 'p', 'q', 'bins')
    result['metadata'] = [
        {key: value for key, value in msgspec.to_builtins(row).items() if key in kept}
        for row in associated
    ]

    overlap = representations.neighbour_overlap(points['this'], points['other'])
    k = min(representations.K, len(order) - 1)
    jaccard = overlap / (2 - overlap)
    result['neighbours'] = {
        'k': k,
        'overlap': float(overlap.mean()),
        'overlap_interval': _interval_of_mean(overlap),
        'jaccard': float(jaccard.mean()),
        'jaccard_interval': _interval_of_mean(jaccard),
        'chance': k / (len(order) - 1),
    }
    result['layers'] = representations.compare_layers(features)
    result['num_images_layers'] = len(chosen)
    return result


def _origin(both: dict[str, Analysis]) -> dict[str, dict]:
    this, other = both.values()
    files = 'samples.parquet', 'embeddings.npz'
    of_other = artifacts.origin(other, *files)['files']
    return artifacts.origin(this, *files, 'clusters.npz', 'slices.json', other=of_other)


def artifact_kind(other: Run) -> str:
    """Kind, and name of the file, of a comparison with a run."""
    # Runs of a reproduction differ in the name of their parent.
    name = '-'.join(other.workdir.resolve().parts[-2:])
    return f'compare-{re.sub("[^A-Za-z0-9_-]+", "-", name)}-{other.step}'


def _run(arguments: argparse.Namespace) -> dict:
    both = {
        name: artifacts.open_analysis(workdir, arguments.split, which, arguments.data_path)
        for name, workdir, which in (
            ('this', arguments.workdir, arguments.checkpoint),
            ('other', arguments.other, arguments.other_checkpoint),
        )
    }
    this, other = both.values()
    kind = artifact_kind(other.run)
    path = this.folder / f'{kind}.png'
    if not arguments.force and artifacts.is_current(this, f'{kind}.json', VERSION, _origin(both)):
        result = artifacts.load_json(this, kind, VERSION)
    else:
        result = compute(both)
        artifacts.save_json(this, kind, VERSION, result, _origin(both))
    compare_tables.figure(result, path)
    print(compare_tables.to_markdown(result), f'{path} shows them.', sep='\n\n')
    return result


def main(argv: list[str] | None = None) -> int:
    parser = make_parser('compare', __doc__)
    parser.add_argument(
        '--other', required=True, type=pathlib.Path, metavar='WORKDIR', help='run to compare with'
    )
    parser.add_argument(
        '--other_checkpoint', default='best', help='as --checkpoint; default: %(default)s'
    )
    parser.add_argument('--force', action='store_true', help='compute everything again')
    return run_command(parser.parse_args(argv), _run)
