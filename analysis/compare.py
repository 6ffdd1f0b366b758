"""Compares two runs on the same images: scores, where they differ, and what they represent.

    python -m analysis.compare --workdir runs/person_car --other runs/vehicle

Only images that the part `--split` of both runs has are used, and both runs must have the same data
set. Differences are always the other run minus this one, paired by image; intervals are 95 % over
images, with the two trainings as they are: what another seed would give is not in them (for that,
scripts/reproduce.py). Where the label spaces differ, both networks are scored against the labels of
this run and against those of the other, class number by class number.

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
import dataclasses
import pathlib
import re
import sys
from collections.abc import Sequence

import matplotlib
import numpy as np
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import silhouette_samples
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from analysis import artifacts, associations, embeddings, reproduction, samples, similar, slices
from analysis.artifacts import Analysis
from analysis.run import make_parser, run_command
from segmentation import evaluate, markdown, metrics, process_settings

matplotlib.use('agg')
import matplotlib.pyplot as plt  # noqa: E402

VERSION = 1
K = 10
METRIC_NAMES = {'iou': 'IoU over the set', 'image_iou': 'IoU per image'}
_NUM_RESAMPLES = 1000
_LAYER_IMAGES = 2000  # so that neither memory nor time of layers grow with the data
_HEAVY, _DOMINANT = 1.0, 2.0  # percent of the pixels, times the other class
_FEWEST = 10  # images of a group
_COLOURS = {'this': '#0072B2', 'other': '#E69F00'}


def debiased_cka(x: np.ndarray, y: np.ndarray) -> float:
    """Linear centred kernel alignment with the unbiased estimator of HSIC.

    Kornblith et al. 2019; the plain estimate is high for any features that are many compared with
    the images, this one is not. Song et al. 2012, equation 5.

    Args:
      x: `[N, F]`, N >= 4.
      y: `[N, G]`.

    Returns:
      At most about 1; NaN if one of them is constant.
    """
    grams = []
    for features in (x, y):
        centred = features.astype(np.float64) - features.mean(0, dtype=np.float64)
        gram = centred @ centred.T
        np.fill_diagonal(gram, 0)
        grams.append(gram)
    own = [_hsic(gram, gram) for gram in grams]
    if min(own) <= 0:
        return float('nan')
    return float(_hsic(*grams) / np.sqrt(own[0] * own[1]))


def _hsic(k: np.ndarray, l: np.ndarray) -> float:  # noqa: E741, the paper's names
    """Unbiased up to a factor that cancels; the diagonals are 0."""
    n = len(k)
    rows_k, rows_l = k.sum(0), l.sum(0)
    return (
        (k * l).sum()
        + rows_k.sum() * rows_l.sum() / ((n - 1) * (n - 2))
        - 2 * (rows_k @ rows_l) / (n - 2)
    )


def neighbour_overlap(x: np.ndarray, y: np.ndarray, k: int = K) -> np.ndarray:
    """Share of each image's k nearest that are the same in both spaces, `[N]`."""
    near = [similar.neighbours(points, k)[0] for points in (x, y)]
    same = (near[0][:, :, None] == near[1][:, None, :]).sum((1, 2))
    return same / near[0].shape[1]


def auroc(scores: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Area under the ROC curve of weighted sets of images; equal scores count half.

    Args:
      scores: `[N]`, high for positive ones.
      positive: bool `[N]`.
      weights: `[R, N]`.

    Returns:
      `[R]`; NaN where a set lacks a kind.
    """
    _, place = np.unique(scores, return_inverse=True)
    areas = np.full(len(weights), np.nan)
    for row, weight in enumerate(weights):
        yes = np.bincount(place[positive], weight[positive], place.max() + 1)
        no = np.bincount(place[~positive], weight[~positive], place.max() + 1)
        pairs = yes.sum() * no.sum()
        if pairs:
            areas[row] = (yes * (no.cumsum() - no / 2)).sum() / pairs
    return areas


def separation(spaces: dict[str, np.ndarray], second: np.ndarray, seed: int = 0) -> list[dict]:
    """How well two groups of images are told apart in two spaces; see the module's docstring.

    Args:
      spaces: 'this' and 'other', `[n, D]` each, of the same images.
      second: bool `[n]`, which belong to the second group; at least `_FEWEST` of each.
      seed: of folds and bootstrap.

    Returns:
      Rows without target and space.
    """
    weights = np.vstack(
        [np.ones(len(second)), reproduction.bootstrap_weights(len(second), _NUM_RESAMPLES, seed)]
    )
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    rng = np.random.default_rng(seed)
    some = rng.permutation(len(second))[:_LAYER_IMAGES]  # all pairs of these
    values = {}
    for name, points in spaces.items():
        probe = make_pipeline(
            StandardScaler(), LogisticRegression(C=0.01, class_weight='balanced', max_iter=1000)
        )
        scores = cross_val_predict(probe, points, second, cv=folds, method='decision_function')
        near = second[similar.neighbours(points, K)[0]].mean(1)
        silhouettes = np.zeros(len(second))
        silhouettes[some] = silhouette_samples(points[some], second[some])
        counted = np.isin(np.arange(len(second)), some)
        values[name] = {
            'linear probe': auroc(scores, second, weights),
            'neighbours': auroc(near, second, weights),
            'silhouette': np.mean(
                [
                    (weights[:, group] @ silhouettes[group])
                    / np.where(weights[:, group].any(1), weights[:, group].sum(1), np.nan)
                    for group in (counted & second, counted & ~second)
                ],
                axis=0,
            ),
        }
    rows = []
    for method in values['this']:
        this, other = values['this'][method], values['other'][method]
        row = {'method': method, 'first': int((~second).sum()), 'second': int(second.sum())}
        for key, found in (('this', this), ('other', other), ('difference', other - this)):
            row[key] = float(found[0])
            row[f'{key}_interval'] = metrics.percentile_interval(found[1:]).tolist()
        rows.append(row)
    return rows


def restrict(analysis: Analysis, rows: np.ndarray) -> Analysis:
    """The same analysis of some of its images, by their numbers."""
    examples = analysis.examples
    chosen = {name: getattr(examples, name)[rows] for name in ('split_of', 'position', 'image_ids')}
    return dataclasses.replace(analysis, examples=dataclasses.replace(examples, **chosen))


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
    weights = reproduction.bootstrap_weights(num_images, _NUM_RESAMPLES)
    one_fold = np.zeros(num_images, np.int64)
    scored = {
        name: reproduction.seed_scores(counts[None], one_fold, weights)
        for name, counts in confusions.items()
    }
    effective = metrics.effective_images(confusions['this'])
    rows = []
    for metric in METRIC_NAMES:
        difference = scored['other'][metric] - scored['this'][metric]
        for column, name in enumerate(class_names, 1):
            matter = effective[column] if column < len(effective) else effective[1:].min()
            test = reproduction.paired_test(difference, column, max(matter, 2))
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
    weights = reproduction.bootstrap_weights(len(values), _NUM_RESAMPLES)
    return metrics.percentile_interval(weights @ values / len(values)).tolist()


def layer_features(
    both: dict[str, Analysis], seed: int = 0
) -> tuple[np.ndarray, dict[str, dict[str, np.ndarray]]]:
    """Pooled responses of all layers that both networks have, to at most `_LAYER_IMAGES` images.

    Returns:
      Numbers of the images, `[n]`, and 'this' and 'other': layer → `[n, F]`.
    """
    num_images = len(both['this'].examples)
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.permutation(num_images)[:_LAYER_IMAGES])
    layers = {name: embeddings.find_layers(analysis.run) for name, analysis in both.items()}
    common = [layer for layer in layers['this'] if layer in layers['other']]
    features = {}
    for name, analysis in both.items():
        some = restrict(analysis, chosen)
        blocks = np.concatenate(
            list(embeddings.stream_features(some, common, f'responses of {name} run'))
        )
        ends = np.cumsum([layers[name][layer] for layer in common])
        features[name] = dict(zip(common, np.split(blocks, ends[:-1], axis=1), strict=True))
    return chosen, features


def _standardised(features: np.ndarray) -> np.ndarray:
    return (features - features.mean(0)) / np.maximum(features.std(0), 1e-6)


def compare_layers(features: dict[str, dict[str, np.ndarray]]) -> list[dict]:
    """Rows of `layers`, from `layer_features`."""
    rows = []
    for layer, x in features['this'].items():
        y = features['other'][layer]
        overlap = neighbour_overlap(_standardised(x), _standardised(y))
        rows.append(
            {'layer': layer, 'cka': _plain(debiased_cka(x, y)), 'overlap': float(overlap.mean())}
        )
    return rows


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
    if len(rows[0]) < 2 * _FEWEST:
        raise ValueError(
            f'The parts have {len(rows[0])} images in common, of {len(ids[0])} and {len(ids[1])}; '
            'are they different folds?'
        )
    order = np.argsort(rows[0])
    rows = dict(zip(both, (part[order] for part in rows), strict=True))
    tables = {name: samples.compute_or_load(analysis) for name, analysis in both.items()}
    points = {}
    for name, analysis in both.items():
        if not (analysis.folder / 'embeddings.npz').exists():
            embeddings.compute_or_load(analysis)
        points[name] = embeddings.load(analysis)[rows[name]]
    columns = {name: column[rows['this']] for name, column in slices.load_columns(this).items()}
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
    chosen, features = layer_features(common)
    decoders = {
        name: _standardised(
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
    if (this.folder / 'slices.json').exists():
        for found in slices.load(this)['metrics'].values():
            for row in found['slices']:
                inside[row['text']] = slices.membership(columns, row['conditions'])
    result['slices'] = compare_slices(performance, inside)
    associated, _ = associations.associate(
        {name: column.astype(np.float64) for name, column in columns.items()},
        {
            f'difference of {metric}': values['other'] - values['this']
            for metric, values in performance.items()
        },
    )
    kept = ('column', 'metric', 'n', 'rho', 'interval', 'p', 'q', 'bins')
    result['metadata'] = [{key: row[key] for key in kept} for row in associated]

    overlap = neighbour_overlap(points['this'], points['other'])
    k = min(K, len(order) - 1)
    jaccard = overlap / (2 - overlap)
    result['neighbours'] = {
        'k': k,
        'overlap': float(overlap.mean()),
        'overlap_interval': _interval_of_mean(overlap),
        'jaccard': float(jaccard.mean()),
        'jaccard_interval': _interval_of_mean(jaccard),
        'chance': k / (len(order) - 1),
    }
    result['layers'] = compare_layers(features)
    result['num_images_layers'] = len(chosen)
    return result


def _separation(analysis: Analysis, table, rows: np.ndarray, points: dict) -> list[dict]:
    """Separation of the two first foreground classes of a run; nothing if there are too few."""
    names = analysis.run.class_names[1:3]
    if len(names) < 2:
        return []
    first, second = (samples.numbers(table, f'percent_{name}')[rows] for name in names)
    is_first = (first >= _HEAVY) & (first >= _DOMINANT * second)
    is_second = (second >= _HEAVY) & (second >= _DOMINANT * first)
    if min(is_first.sum(), is_second.sum()) < _FEWEST:
        return []
    either = is_first | is_second
    return separation({name: part[either] for name, part in points.items()}, is_second[either])


def to_markdown(result: dict) -> str:
    """The comparison as tables."""

    def number(value, interval=None, sign=''):
        if value is None:
            return '–'
        bounds = f' ({interval[0]:{sign}.3f}, {interval[1]:{sign}.3f})' if interval else ''
        return f'{value:{sign}.3f}{bounds}'

    def probability(value):
        return '–' if value is None else f'{value:.2g}'

    names = {name: result[name]['workdir'] for name in ('this', 'other')}
    targets = {name: ', '.join(result[name]['class_names'][1:]) for name in ('this', 'other')}
    neighbours = result['neighbours']
    same = [row for row in result['layers'] if row['cka'] is not None and row['cka'] > 0.9995]
    header = ('this', 'other', 'other - this (95 %)')
    metadata = [row for row in result['metadata'] if row['q'] <= associations.LEVEL][:10]
    parts = [
        f'this: {markdown.escape(names["this"])}, other: {markdown.escape(names["other"])}; '
        f'{result["num_images"]} common images of {result["this"]["num_images"]} and '
        f'{result["other"]["num_images"]}. Intervals are over images, for these two trainings.',
        markdown.table(
            ('labels', 'score', 'class', *header, 'p', 'detectable'),
            (
                (
                    *(targets[row['target']], METRIC_NAMES[row['metric']], row['class']),
                    *(number(row['this']), number(row['other'])),
                    number(row['difference'], row['interval'], '+'),
                    *(probability(row['p']), number(row['minimum_detectable'])),
                )
                for row in result['scores']
            ),
        ),
        'By slice, against the labels of this run:',
        markdown.table(
            ('slice', 'images', 'loss', 'other - this (95 %)', 'IoU', 'other - this (95 %)'),
            (
                (
                    *(row['text'], str(row['n'])),
                    *(
                        cell
                        for metric in ('loss', 'iou')
                        for cell in (
                            number(row[metric]['this']),
                            number(row[metric]['difference'], row[metric]['interval'], '+'),
                        )
                    ),
                )
                for row in result['slices']
            ),
        ),
        'Metadata with which the difference goes (false-discovery rate 5 %), strongest first:'
        if metadata
        else 'The difference goes with no metadata (false-discovery rate 5 %).',
    ]
    if metadata:
        parts.append(
            markdown.table(
                ('column', 'what', 'images', 'ρ', 'q', 'mean in lowest → highest bin'),
                (
                    (
                        *(row['column'], row['metric'], str(row['n'])),
                        *(number(row['rho'], row['interval'], '+'), probability(row['q'])),
                        f'{row["bins"][0]["mean"]:+.3f} → {row["bins"][-1]["mean"]:+.3f}',
                    )
                    for row in metadata
                ),
            )
        )
    parts += [
        f'Of the {neighbours["k"]} nearest images in the embeddings '
        f'{number(neighbours["overlap"], neighbours["overlap_interval"])} are the same '
        f'(by chance {neighbours["chance"]:.3f}).',
        f'{len(same)} of {len(result["layers"])} layers are the same up to rotation and scale (CKA '
        'above 0.9995); the others:',
        markdown.table(
            ('layer', 'CKA', 'same neighbours'),
            (
                (row['layer'], number(row['cka']), number(row['overlap']))
                for row in result['layers']
                if row not in same
            ),
        ),
    ]
    if result['separation']:
        parts += [
            'How well images of the first class and of the second are told apart (AUROC; '
            'silhouette in -1 … 1):',
            markdown.table(
                ('labels', 'images', 'in', 'by', *header),
                (
                    (
                        *(targets[row['target']], f'{row["first"]} and {row["second"]}'),
                        *(row['space'], row['method']),
                        number(row['this'], row['this_interval']),
                        number(row['other'], row['other_interval']),
                        number(row['difference'], row['difference_interval'], '+'),
                    )
                    for row in result['separation']
                ),
            ),
        ]
    else:
        parts.append('Too few images of one class to ask how well the classes separate.')
    return '\n\n'.join(parts)


def figure(result: dict, path: pathlib.Path) -> None:
    """Draws differences of scores, layers, separation and slices as PNG."""
    picture, axes = plt.subplots(2, 2, figsize=(13, 10), layout='constrained')
    targets = list(dict.fromkeys(row['target'] for row in result['scores']))

    def differences(axis, rows, texts, shift=0.0, **options):
        places = np.arange(len(rows)) + shift
        values = [np.nan if row['difference'] is None else row['difference'] for row in rows]
        bounds = [row['interval'] or (np.nan, np.nan) for row in rows]
        axis.plot(values, places, 'o', **options)
        axis.hlines(places, *np.reshape(bounds, (-1, 2)).T, color=options['color'])
        axis.set_yticks(np.arange(len(rows)), [text.replace('$', r'\$') for text in texts])
        axis.set_ylim(len(rows) - 0.4, -0.6)
        axis.axvline(0, color='black', linewidth=0.8)

    for number, target in enumerate(targets):
        rows = [row for row in result['scores'] if row['target'] == target]
        differences(
            axes[0, 0],
            rows,
            [f'{row["class"]}, {METRIC_NAMES[row["metric"]]}' for row in rows],
            0.25 * number,
            color=_COLOURS[target],
            label=f'labels of {target} run',
        )
    axes[0, 0].legend(fontsize='small')
    axes[0, 0].set_title('Scores: other - this')

    places = np.arange(len(result['layers']))
    for key, color, label in (
        ('cka', '#009E73', 'CKA (debiased)'),
        ('overlap', '#CC79A7', f'same among {result["neighbours"]["k"]} nearest'),
    ):
        values = [np.nan if row[key] is None else row[key] for row in result['layers']]
        axes[0, 1].plot(places, values, '.-', color=color, label=label)
    step = max(1, len(places) // 12)
    names = [row['layer'].replace('$', r'\$') for row in result['layers']]
    axes[0, 1].set_xticks(places[::step], names[::step], rotation=90, fontsize='x-small')
    axes[0, 1].set_ylim(0, 1.05)
    axes[0, 1].legend(fontsize='small')
    axes[0, 1].set_title('Same representation, by layer')

    rows = result['separation']
    for number, name in enumerate(('this', 'other')):
        where = np.arange(len(rows)) + 0.2 * number - 0.1
        axes[1, 0].plot([row[name] for row in rows], where, 'o', color=_COLOURS[name], label=name)
        bounds = np.reshape([row[f'{name}_interval'] for row in rows], (-1, 2)).T
        axes[1, 0].hlines(where, *bounds, color=_COLOURS[name])
    texts = [f'{row["space"]}, {row["method"]}, labels of {row["target"]}' for row in rows]
    axes[1, 0].set_yticks(np.arange(len(rows)), texts, fontsize='small')
    axes[1, 0].set_ylim(len(rows) - 0.4, -0.6)
    axes[1, 0].legend(fontsize='small')
    axes[1, 0].set_title('First and second class told apart: AUROC, silhouette')

    rows = result['slices'][:12]
    texts = [f'{row["text"]} ({row["n"]})' for row in rows]
    differences(axes[1, 1], [row['iou'] for row in rows], texts, color=_COLOURS['this'])
    axes[1, 1].tick_params(axis='y', labelsize='small')
    axes[1, 1].set_title('IoU of an image by slice: other - this')
    picture.savefig(path, dpi=120)
    plt.close(picture)


def _run(arguments: argparse.Namespace) -> dict:
    both = {
        name: artifacts.open_analysis(workdir, arguments.split, which, arguments.data_path)
        for name, workdir, which in (
            ('this', arguments.workdir, arguments.checkpoint),
            ('other', arguments.other, arguments.other_checkpoint),
        )
    }
    this, other = both.values()
    # Runs of a reproduction differ in the name of their parent.
    name = '-'.join(other.run.workdir.resolve().parts[-2:])
    kind = f'compare-{re.sub("[^A-Za-z0-9_-]+", "-", name)}-{other.run.step}'
    path = this.folder / f'{kind}.png'
    if path.with_suffix('.json').exists() and not arguments.force:
        result = artifacts.load_json(this, kind, VERSION)
    else:
        result = compute(both)
        artifacts.save_json(this, kind, VERSION, result)
    figure(result, path)
    print(to_markdown(result), f'{path} shows them.', sep='\n\n')
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


if __name__ == '__main__':
    process_settings.configure()
    sys.exit(main())
