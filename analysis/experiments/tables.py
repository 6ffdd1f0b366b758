"""The report of a reproduction: scores beside the published ones, claims tested, learning curve.

`analyse` computes everything from per-image counts as one dict for JSON; `to_markdown` and `figure`
show it. Which models there are and what they mean is in `PUBLISHED`.
"""

import pathlib

import matplotlib
import numpy as np

from analysis.experiments import statistics
from analysis.stats import bootstrap
from segmentation import metrics

matplotlib.use('Agg')
from matplotlib import pyplot as plt

# Mean IoU as published; whether over the set or per image is not said. The third experiment is the
# first one's task with other settings.
PUBLISHED = {
    'person_car': {'person': 0.309, 'car': 0.262},
    'vehicle': {'person': 0.319, 'vehicle': 0.312},
    'person_car_best': {'person': 0.309, 'car': 0.262},
}
PUBLISHED_IMAGES = 6000
METRIC_NAMES = {'iou': 'over the set', 'image_iou': 'per image'}
TARGET_NAMES = {'person_car': 'person; car', 'vehicle': 'person; car, bus, truck, train'}
# Each says that the second of two models scores higher in a column of `reproduction.Scores`.
CLAIMS = {
    'vehicle is easier than car': ('person_car', 'vehicle', 2),
    'person improves when vehicles are merged': ('person_car', 'vehicle', 1),
    'the settings chosen by the sweep are better': ('person_car', 'person_car_best', 3),
}
MEAN = 'foreground mean'


def image_sets(targets: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Images that scores are given for, bool `[N]` each: all, and those with every class.

    The published selection is images with a person and a car; here an image counts if pixels of
    each are left at the network's resolution. Left out if it is the same images, or none.

    Args:
      targets: counts `[S, N, C, C]` by target, the person/car target first if it is there.
    """
    first = next(iter(targets.values()))[0]
    every_class = (first.sum(-1)[:, 1:] > 0).all(-1)
    result = {'all images': np.ones(len(first), np.bool_)}
    if every_class.any() and not every_class.all():
        result['images with every class'] = every_class
    return result


def analyse(scored: dict, class_names: dict, num_resamples: int = 2000) -> dict:
    """All statistics of a reproduction.

    Args:
      scored: (experiment, fraction) → `targets`: counts `[S, N, C, C]` by the experiment that the
        true classes are of, `fold` `[N]`, `num_train`: training images, those kept aside included.
        All have the same images in the same order, and all experiments of a fraction the same
        seeds. Fraction 1 must be there.
      class_names: by experiment, background first.
      num_resamples: bootstrap resamples.

    Returns:
      For JSON: `scores` (experiment → image set → metric → class), `claims`, and
      `learning_curve` (rows; empty with one fraction).
    """
    experiments = [experiment for experiment, fraction in scored if fraction == 1]
    sets = image_sets(scored[experiments[0], 1]['targets'])
    scores = {experiment: {} for experiment in experiments}
    for name, chosen in sets.items():
        weights = bootstrap.bootstrap_weights(int(chosen.sum()), num_resamples)
        for experiment in experiments:
            part = scored[experiment, 1]
            scores[experiment][name] = _scores(
                part['targets'][experiment][:, chosen],
                part['fold'][chosen],
                weights,
                class_names[experiment],
            )
    return {
        'scores': scores,
        'claims': _claims(scored, num_resamples),
        'learning_curve': _learning_curve(scored, class_names, sets, num_resamples),
        'published': {experiment: PUBLISHED[experiment] for experiment in experiments},
        'absent_class_rule': metrics.ABSENT_CLASS_RULE,
    }


def _scores(
    counts: np.ndarray, folds: np.ndarray, weights: np.ndarray, class_names: tuple[str, ...]
) -> dict:
    effective = metrics.effective_images(counts[0])
    with_class = (counts[0].sum(-1) > 0).sum(0)
    result = {}
    for metric, scores in statistics.seed_scores(counts, folds, weights).items():
        parts = statistics.intervals(scores)
        result[metric] = {}
        for column, name in enumerate((*class_names, MEAN)):
            if column == 0:
                continue
            row = {key: _plain(part[column]) for key, part in parts.items()}
            row['per_seed'] = _plain(scores.values[:, column])
            if column < len(class_names):
                row['images_with_class'] = int(with_class[column])
                row['effective_images'] = float(effective[column])
            result[metric][name] = row
    return result


def _claims(scored: dict, num_resamples: int) -> list[dict]:
    """Tests the claims about experiments that are there."""
    folds = next(iter(scored.values()))['fold']
    weights = bootstrap.bootstrap_weights(len(folds), num_resamples)
    result, scores = [], {}
    for claim, (*models, column) in CLAIMS.items():
        if any((model, 1) not in scored for model in models):
            continue
        for model in models:
            for target in models:
                if (model, target) not in scores:
                    counts = scored[model, 1]['targets'][target]
                    scores[model, target] = statistics.seed_scores(counts, folds, weights)
        first, second = models
        pairs = [(first, second), (first, first), (second, second)]
        if second not in TARGET_NAMES:  # the same task
            pairs = [(first, first)]
        tests = []
        for targets in pairs:
            truth = scored[first, 1]['targets'][targets[0]][0]
            effective = metrics.effective_images(truth)
            there = (truth.sum(-1) > 0).sum(0)
            if column == truth.shape[-1]:  # the mean is as uncertain as the rarest class
                effective, there = (np.append(part, part[1:].min()) for part in (effective, there))
            for metric, matter in (('iou', effective), ('image_iou', there)):
                a, b = (scores[pair][metric] for pair in zip(models, targets, strict=True))
                tests.append(
                    {
                        'targets': list(targets),
                        'identical_pixels': targets[0] == targets[1],
                        'metric': metric,
                        'first': _plain(a.values[:, column].mean()),
                        'second': _plain(b.values[:, column].mean()),
                        **statistics.paired_test(b - a, column, float(matter[column])),
                    }
                )
        published = None
        if second in TARGET_NAMES:
            values = [list(PUBLISHED[model].values())[column - 1] for model in models]
            published = round(values[1] - values[0], 3)
        result.append(
            {
                'claim': claim,
                'models': models,
                'published_difference': published,
                'verdict': statistics.claim_verdict(
                    [test for test in tests if test['identical_pixels']]
                ),
                'tests': tests,
            }
        )
    return result


def _learning_curve(
    scored: dict, class_names: dict, sets: dict[str, np.ndarray], num_resamples: int
) -> list[dict]:
    fractions = sorted({fraction for _, fraction in scored})
    rows = []
    if len(fractions) < 2:
        return rows
    for set_name, chosen in sets.items():
        weights = bootstrap.bootstrap_weights(int(chosen.sum()), num_resamples)
        for experiment in dict.fromkeys(experiment for experiment, _ in scored):
            known = [fraction for fraction in fractions if (experiment, fraction) in scored]
            parts = [scored[experiment, fraction] for fraction in known]
            sizes = np.array([part['num_train'] for part in parts], np.float64)
            scores = [
                statistics.seed_scores(
                    part['targets'][experiment][:, chosen], part['fold'][chosen], weights
                )
                for part in parts
            ]
            names = (*class_names[experiment], MEAN)
            for metric in METRIC_NAMES:
                noisy = [
                    # Trainings at different sizes go well or badly independently of each other.
                    score[metric].with_training_noise(seed=number)
                    for number, score in enumerate(scores)
                ]
                for column in range(1, len(names)):
                    means = np.array([score[metric].values[:, column].mean() for score in scores])
                    resampled = np.stack([part[:, column] for part in noisy], -1)
                    rows.append(
                        {
                            'experiment': experiment,
                            'images': set_name,
                            'class': names[column],
                            'metric': metric,
                            'fractions': known,
                            'sizes': sizes.tolist(),
                            'seeds': [len(score[metric].values) for score in scores],
                            'scores': _plain(means),
                            'intervals': _plain(metrics.percentile_interval(resampled).clip(0, 1)),
                            'prediction': statistics.extrapolate(
                                sizes, means, resampled, PUBLISHED_IMAGES
                            ),
                        }
                    )
    return rows


def _plain(values) -> list | float | None:
    """For JSON: numbers and lists of them, None for NaN."""
    values = np.asarray(values, np.float64)
    return np.where(np.isnan(values), None, values).tolist()


def _number(value: float | None, sign: str = '') -> str:
    return '–' if value is None else f'{value:{sign}.3f}'


def _range(interval: list | None, sign: str = '') -> str:
    if not interval or None in interval:
        return '–'
    return f'[{interval[0]:{sign}.3f}, {interval[1]:{sign}.3f}]'


def to_markdown(report: dict) -> str:
    """The whole report: what was run, scores, claims, learning curve and definitions."""
    setup = report['setup']
    comparable = not setup['differs_from_published']
    parts = [
        f'# Reproduction: {", ".join(report["scores"])}',
        f'{setup["num_images"]} images were scored, '
        + (
            f'each of them, per seed, by the one model of {setup["folds"]} folds that never saw it'
            if setup['folds']
            else 'none of them seen in training'
        )
        + f'; {setup["seeds"]} seed(s), about {setup["num_train"]:.0f} training images (those kept '
        f'aside to choose the checkpoint included), about {setup["num_steps"]} steps of '
        f'{setup["batch_size"]} images, on {", ".join(setup["devices"])}. Data fingerprint '
        f'`{setup["fingerprint"]}`; the image ids are in `images.json`. '
        'The command, from the root of the project:',
        '    ' + setup['command'],
        '## Scores',
        'This is the full configuration on all of COCO 2014; how it differs from the published '
        'recipe is said in the README.'
        if comparable
        else '**Not comparable with the published scores: subset and budget.** Different from the '
        'full configuration: '
        + '; '.join('`' + d.replace('`', "'") + '`' for d in setup['differs_from_published'])
        + '.',
        'IoU at the resolution of the network, mean over seeds, with 95 % intervals. Over images: '
        'bootstrap, the trainings as they are. Over seeds: Student’s t, the images as they are; '
        'with folds, each fold’s training varies by itself. Over both: each resample of the images '
        'plus a t-distributed draw for the trainings. '
        + (
            'With one seed nothing is known about other trainings: “both” is over images alone, '
            'and no claim is decided.'
            if setup['seeds'] == 1
            else ''
        ),
    ]
    for name in next(iter(report['scores'].values())):
        rows = [
            f'{name.capitalize()}:\n',
            '| experiment | class | IoU | published | ours | over images | over seeds | over both '
            '| images with class | effective |',
            '|---|---|---|---|---|---|---|---|---|---|',
        ]
        for experiment, sets in report['scores'].items():
            for metric, classes in sets[name].items():
                for label, row in classes.items():
                    published = report['published'][experiment].get(label)
                    counts = ' | '
                    if label != MEAN:
                        counts = f'{row["images_with_class"]} | {row["effective_images"]:.1f}'
                    rows.append(
                        f'| {experiment} | {label} | {METRIC_NAMES[metric]} | {_number(published)} '
                        f'| {_number(row["score"])} | {_range(row["over_images"])} '
                        f'| {_range(row["over_seeds"])} | {_range(row["over_both"])} | {counts} |'
                    )
        parts.append('\n'.join(rows))
    parts.append(
        'Effective: number of equally large images that would hold the class as evenly; below '
        'about 30 the intervals over images are too narrow. Whether the published scores are over '
        'the set or per image is not said. ' + report['absent_class_rule']
    )
    if report['claims']:
        parts += _claims_markdown(report['claims'])
    if report['learning_curve']:
        parts += _curve_markdown(report['learning_curve'], setup)
    return '\n\n'.join(parts) + '\n'


def _claims_markdown(claims: list[dict]) -> list[str]:
    parts = [
        '## Claims',
        'Differences are second model minus first, paired over images and seeds: the same '
        'class number of both models, against the same true classes where the pixels are '
        'identical. Published comparisons are not of that kind: each model had its own true '
        'classes. A claim is supported if every test on identical pixels supports it, contradicted '
        'if one contradicts it (Bonferroni), or else not resolvable with this data. Detectable: '
        'the smallest true difference that such a test would find in 80 % of repetitions '
        '(two-sided, 5 %).',
    ]
    for claim in claims:
        published = claim['published_difference']
        published = '' if published is None else f' (published difference {published:+.3f})'
        first, second = claim['models']
        rows = [
            f'**“{claim["claim"].capitalize()}”**{published}: **{claim["verdict"]}**.\n',
            f'| true classes | IoU | {first} | {second} | difference | p | detectable | verdict |',
            '|---|---|---|---|---|---|---|---|',
        ]
        for test in claim['tests']:
            target = 'each its own (as published)'
            if test['identical_pixels']:
                target = TARGET_NAMES[test['targets'][0]]
            p = '–' if test['p'] is None else f'{test["p"]:.2g}'
            rows.append(
                f'| {target} | {METRIC_NAMES[test["metric"]]} | {_number(test["first"])}'
                f' | {_number(test["second"])} | {_number(test["difference"], "+")} '
                f'{_range(test["interval"], "+")} | {p} '
                f'| {_number(test["minimum_detectable"])} | {test["verdict"]} |'
            )
        parts.append('\n'.join(rows))
    return parts


def _curve_markdown(curve: list[dict], setup: dict) -> list[str]:
    rows = [
        '| experiment | images | class | IoU | '
        + ' | '.join(f'{size:.0f}' for size in curve[0]['sizes'])
        + f' | at {PUBLISHED_IMAGES} | exponent | identifiable |',
        '|---' * (7 + len(curve[0]['sizes'])) + '|',
    ]
    for row in curve:
        prediction = row['prediction']
        exponent, doubts = prediction['exponent'], prediction['not_identifiable']
        rows.append(
            f'| {row["experiment"]} | {row["images"]} | {row["class"]} '
            f'| {METRIC_NAMES[row["metric"]]} | '
            + ' | '.join(_number(score) for score in row['scores'])
            + f' | {_number(prediction["score"])} {_range(prediction["interval"])} '
            f'| {"–" if exponent is None else f"{exponent:.2f}"} '
            f'{_range(prediction["exponent_interval"])} '
            f'| {"no: " + "; ".join(doubts) if doubts else "yes"} |'
        )
    return [
        '## Learning curve',
        'Score against the number of training images. A smaller set is part of each larger one. '
        f'All trainings have {setup["num_steps"]} steps of {setup["batch_size"]} images: equal '
        'computation, so that the curve shows what data buys and not what longer training buys. '
        'score(n) = ceiling - gain · n^-exponent with ceiling at most 1 is fitted by least '
        f'squares; “at {PUBLISHED_IMAGES}” is its value at the size of the published training set, '
        'with the 95 % interval of fits to resampled images and seeds. It predicts the score for '
        f'{PUBLISHED_IMAGES} images of the kind used here, trained as long as here; all the '
        'published images show a person and a car, and were trained on for longer. Where the fit '
        'is not identifiable, its value is no prediction, only the range that the data leave open.',
        '\n'.join(rows),
    ]


def figure(report: dict, path: pathlib.Path) -> None:
    """Draws scores beside published ones and, if there is one, the learning curve, as PNG."""
    curve = report['learning_curve']
    figure, axes = plt.subplots(
        1, 2 if curve else 1, figsize=(11 if curve else 6, 4.5), layout='constrained', squeeze=False
    )
    _draw_scores(axes[0, 0], report)
    if curve:
        _draw_curve(axes[0, 1], curve, report['published'])
    figure.savefig(path, dpi=150)
    plt.close(figure)


def _draw_scores(axis, report: dict) -> None:
    labels, position = [], 0
    for experiment, sets in report['scores'].items():
        for name, published in report['published'][experiment].items():
            axis.plot(
                [position - 0.4, position + 0.4], [published] * 2, color='black', linewidth=2,
                label=None if position else 'published (metric not said)',
            )  # fmt: skip
            offset = -0.27
            for filled, (images, by_metric) in enumerate(sets.items()):
                for metric, color in zip(METRIC_NAMES, ('tab:blue', 'tab:orange'), strict=True):
                    row = by_metric[metric][name]
                    if row['score'] is not None and None not in row['over_both']:
                        low, high = row['over_both']
                        axis.errorbar(
                            position + offset, row['score'],
                            [[max(row['score'] - low, 0)], [max(high - row['score'], 0)]],
                            fmt='os'[filled], color=color, capsize=3,
                            markerfacecolor='white' if filled else color,
                            label=None if position else f'{METRIC_NAMES[metric]}, {images}',
                        )  # fmt: skip
                    offset += 0.18
            labels.append(f'{name}\n({experiment})')
            position += 1
    axis.set_xticks(range(position), labels)
    axis.set_ylim(0, None)
    axis.set_ylabel('IoU, 95 % interval over images and seeds')
    axis.set_title('Scores' if not report['setup']['differs_from_published'] else
                   'Scores (subset and budget: not comparable)')  # fmt: skip
    axis.legend(fontsize='small')


def _draw_curve(axis, curve: list[dict], published: dict) -> None:
    images = curve[-1]['images']
    rows = [
        row
        for row in curve
        if row['images'] == images and row['metric'] == 'iou' and row['class'] != MEAN
    ]
    for number, row in enumerate(rows):
        color = f'C{number}'
        shift = 1 + 0.03 * (number - len(rows) / 2)  # so that intervals do not hide each other
        points = [
            (size * shift, score, interval)
            for size, score, interval in zip(
                row['sizes'], row['scores'], row['intervals'], strict=True
            )
            if score is not None and None not in interval
        ]
        for place, score, (low, high) in points:
            axis.errorbar(
                place, score, [[max(score - low, 0)], [max(high - score, 0)]],
                fmt='o', color=color, capsize=3,
            )  # fmt: skip
        label = f'{row["class"]} ({row["experiment"]})'
        axis.plot([p[0] for p in points], [p[1] for p in points], color=color, label=label)
        prediction = row['prediction']
        place = PUBLISHED_IMAGES * shift
        if prediction['score'] is not None:
            low, high = prediction['interval']
            score, certain = prediction['score'], not prediction['not_identifiable']
            axis.errorbar(
                place, score, [[max(score - low, 0)], [max(high - score, 0)]],
                fmt='o' if certain else '', color=color, capsize=3, markerfacecolor='white',
                alpha=1 if certain else 0.4,
            )  # fmt: skip
            if certain:
                last = points[-1]
                axis.plot([last[0], place], [last[1], score], color=color, linestyle=':')
        mark = published[row['experiment']][row['class']]
        axis.plot(place, mark, '*', color=color, markersize=11)
    axis.set_xscale('log')
    sizes = [*rows[0]['sizes'], PUBLISHED_IMAGES]
    axis.set_xticks(sizes, [f'{size:.0f}' for size in sizes])
    axis.minorticks_off()
    axis.set_ylim(0, None)
    axis.set_xlabel('training images (hollow: extrapolated, faint: cannot be; star: published)')
    axis.set_ylabel('IoU over the set')
    axis.set_title(f'Learning curve, {images}')
    axis.legend(fontsize='small')
