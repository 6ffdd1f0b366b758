"""The report of a reproduction as Markdown and as a figure."""

import pathlib
from collections.abc import Sequence
from typing import Any

from analysis.experiments.reproduction import ALSO, MEAN, METRIC_NAMES, PUBLISHED_IMAGES
from segmentation import markdown


def _range(interval: list[float | None]) -> str:
    return '–' if None in interval else f'({interval[0]:.3f}, {interval[1]:.3f})'


def to_markdown(report: dict[str, Any]) -> str:
    """The whole report: setup, scores, claims, learning curve and definitions."""
    setup, origin = report['setup'], report['origin']
    if setup['differs_from_published']:
        comparable = (
            '**Not comparable with the published scores: subset and budget.** Differences from the '
            'full configuration: '
            + '; '.join('`' + d.replace('`', "'") + '`' for d in setup['differs_from_published'])
            + '.'
        )
    else:
        comparable = (
            'This is the full configuration on all of COCO 2014; configs/README.md lists the '
            'differences from the published recipe.'
        )
    held_out = 'No scored image was used for training'
    if setup['folds']:
        held_out = (
            f'Per seed, each image was scored by the one model of {setup["folds"]} folds that was '
            'not trained on it'
        )
    one_seed = (
        ' With one seed, the variance between training runs is unknown: “both” covers images only, '
        'and no claim is decided.'
    )
    parts = [
        f'# Reproduction: {", ".join(report["scores"])}',
        f'{setup["num_images"]} scored images. {held_out}. {setup["seeds"]} seed(s), about '
        f'{setup["num_train"]:.0f} training images (including those held out to choose the '
        f'checkpoint), about {setup["num_steps"]} steps of {setup["batch_size"]} images, on '
        f'{", ".join(origin["devices"])}. Data fingerprint `{origin["fingerprint"]}`; '
        '`images.json` lists the image ids. The command, from the root of the project:',
        '    ' + origin['command'],
        '## Scores',
        comparable,
        f'IoU at {setup["image_size"]}×{setup["image_size"]} pixels unless a table says otherwise, '
        'mean over seeds, with 95 % confidence intervals. '
        'Over images: bootstrap with the training runs fixed. Over seeds: Student’s t with the '
        'images fixed; with folds, the training of each fold varies independently. Over both: each '
        'resample of the images plus a t-distributed draw for the training runs.'
        + (one_seed if setup['seeds'] == 1 else ''),
    ]
    header = (
        'experiment', 'class', 'IoU', 'published', 'ours', 'over images', 'over seeds', 'over both',
        'images with class', 'effective sample size',
    )  # fmt: skip
    for name in next(iter(report['scores'].values())):
        rows = [
            (
                experiment,
                label,
                METRIC_NAMES[metric],
                markdown.number(report['published'][experiment].get(label)),
                markdown.number(row['score']),
                *(_range(row[f'over_{what}']) for what in ('images', 'seeds', 'both')),
                '' if label == MEAN else str(row['images_with_class']),
                '' if label == MEAN else f'{row["effective_images"]:.1f}',
            )
            for experiment, sets in report['scores'].items()
            for metric, classes in sets[name].items()
            for label, row in classes.items()
        ]
        parts += [f'{name.capitalize()}:', markdown.table(header, rows)]
    parts.append(
        'Effective sample size (Kish): equal to the number of images if all hold equally many '
        'pixels of the class; below about 30 the intervals over images are too narrow. The '
        'published text does not say whether its scores are over the set or per image. '
        + report['absent_class_rule']
    )
    if report['claims']:
        parts += _claims_markdown(report['claims'])
    if report['learning_curve']:
        parts += _curve_markdown(report['learning_curve'], setup)
    return '\n\n'.join(parts) + '\n'


def _claims_markdown(claims: list[dict]) -> list[str]:
    parts = [
        '## Claims',
        'Differences are second model minus first, paired over images and seeds. Classes are '
        'matched by number. Tests on identical pixels score both models against the same true '
        'classes; in the published comparison each model had its own. A claim is supported if '
        'every test on identical pixels supports it, and contradicted if one contradicts it '
        '(Bonferroni). Minimum detectable effect: the true difference that the test finds with '
        '80 % power (two-sided, 5 %).',
    ]
    for claim in claims:
        published = claim['published_difference']
        published = '' if published is None else f' (published difference {published:+.3f})'
        header = (
            'true classes', 'IoU', *map(markdown.escape, claim['models']), 'difference', 'p',
            'minimum detectable', 'verdict',
        )  # fmt: skip
        rows = [
            (
                '; '.join(test['true_classes'])
                if test['identical_pixels']
                else 'each its own (as published)',
                METRIC_NAMES[test['metric']],
                markdown.number(test['first']),
                markdown.number(test['second']),
                markdown.number(test['difference'], test['interval'], '+.3f'),
                '–' if test['p'] is None else f'{test["p"]:.2g}',
                markdown.number(test['minimum_detectable']),
                test['verdict'],
            )
            for test in claim['tests']
        ]
        text = claim['claim'][0].upper() + claim['claim'][1:]
        parts += [f'**“{markdown.escape(text)}”**{published}: **{claim["verdict"]}**.']
        parts += [markdown.table(header, rows)]
    return parts


def scores_at(sizes: Sequence[int], row: dict) -> list[float | None]:
    """Scores of a row of the learning curve at these sizes; None at those that it lacks."""
    found = dict(zip(map(round, row['sizes']), row['scores'], strict=True))
    return [found.get(size) for size in sizes]


def _curve_markdown(curve: list[dict], setup: dict) -> list[str]:
    sizes = sorted({round(size) for row in curve for size in row['sizes']})
    header = (
        'experiment', 'images', 'class', 'IoU', *map(str, sizes),
        f'at {PUBLISHED_IMAGES}', 'exponent', 'identifiable',
    )  # fmt: skip
    rows = []
    for row in curve:
        prediction = row['prediction']
        doubts = prediction['not_identifiable']
        rows.append(
            (
                row['experiment'],
                row['images'],
                row['class_name'],
                METRIC_NAMES[row['metric']],
                *map(markdown.number, scores_at(sizes, row)),
                markdown.number(prediction['score'], prediction['interval']),
                markdown.number(prediction['exponent'], prediction['exponent_interval'], '.2f'),
                f'no: {"; ".join(doubts)}' if doubts else 'yes',
            )
        )  # fmt: skip
    return [
        '## Learning curve',
        'Score against the number of training images. Each smaller set is a subset of the larger '
        f'ones. All have {setup["num_steps"]} training steps of {setup["batch_size"]} images, so '
        'the curve shows the effect of data at equal computation. A power law '
        'score(n) = ceiling - gain · n^-exponent with a ceiling of at most 1 is fitted by least '
        f'squares. “At {PUBLISHED_IMAGES}” is its value at the size of the published training set, '
        'with the 95 % confidence interval of fits to resampled images and seeds. It holds for '
        'images and training runs like those used here. The published images all show a person and '
        'a car, and the published training was longer. Where the fit is not identifiable, the '
        'interval is a feasible range and not a prediction.',
        markdown.table(header, rows),
    ]


def figure(report: dict[str, Any], path: pathlib.Path) -> None:
    """Writes a PNG with the scores beside the published ones and the learning curve, if any."""
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot as plt

    curve = report['learning_curve']
    figure, axes = plt.subplots(
        1, 2 if curve else 1, figsize=(11 if curve else 6, 4.5), layout='constrained', squeeze=False
    )
    _draw_scores(axes[0, 0], report)
    if curve:
        _draw_curve(axes[0, 1], curve, report['published'])
    figure.savefig(path, dpi=150)
    plt.close(figure)


def _errorbar(
    axis: Any, place: float, score: float, interval: Sequence[float], **style: Any
) -> None:
    low, high = interval
    below, above = max(score - low, 0), max(high - score, 0)
    axis.errorbar(place, score, [[below], [above]], capsize=3, **style)


def _draw_scores(axis: Any, report: dict[str, Any]) -> None:
    labels: list[str] = []
    for experiment, sets in report['scores'].items():
        for name in next(iter(sets.values()))['iou']:
            if name == MEAN:
                continue
            position = len(labels)
            published = report['published'][experiment].get(name)
            if published is not None:
                axis.plot(
                    [position - 0.4, position + 0.4], [published] * 2, color='black', linewidth=2,
                    label=None if position else 'published (metric unknown)',
                )  # fmt: skip
            offset = -0.27
            shown = {
                images: scores for images, scores in sets.items() if images not in ALSO.values()
            }
            for filled, (images, by_metric) in enumerate(shown.items()):
                for metric, color in zip(METRIC_NAMES, ('tab:blue', 'tab:orange'), strict=True):
                    row = by_metric[metric][name]
                    if row['score'] is not None and None not in row['over_both']:
                        _errorbar(
                            axis, position + offset, row['score'], row['over_both'],
                            fmt='os'[filled], color=color,
                            markerfacecolor='white' if filled else color,
                            label=None if position else f'{METRIC_NAMES[metric]}, {images}',
                        )  # fmt: skip
                    offset += 0.18
            labels.append(f'{name}\n({experiment})')
    axis.set_xticks(range(len(labels)), labels)
    axis.set_ylim(0, None)
    axis.set_ylabel('IoU, 95 % CI over images and seeds')
    axis.set_title('Scores' if not report['setup']['differs_from_published'] else
                   'Scores (subset and budget: not comparable)')  # fmt: skip
    axis.legend(fontsize='small')


def _draw_curve(axis: Any, curve: list[dict], published: dict[str, dict[str, float]]) -> None:
    images = curve[-1]['images']
    rows = [
        row
        for row in curve
        if row['images'] == images and row['metric'] == 'iou' and row['class_name'] != MEAN
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
        for point in points:
            _errorbar(axis, *point, fmt='o', color=color)
        label = f'{row["class_name"]} ({row["experiment"]})'
        axis.plot([p[0] for p in points], [p[1] for p in points], color=color, label=label)
        prediction = row['prediction']
        place = PUBLISHED_IMAGES * shift
        if prediction['score'] is not None:
            score, certain = prediction['score'], not prediction['not_identifiable']
            _errorbar(
                axis, place, score, prediction['interval'], fmt='o' if certain else '',
                color=color, markerfacecolor='white', alpha=1 if certain else 0.4,
            )  # fmt: skip
            if certain:
                last = points[-1]
                axis.plot([last[0], place], [last[1], score], color=color, linestyle=':')
        if row['class_name'] in published[row['experiment']]:
            mark = published[row['experiment']][row['class_name']]
            axis.plot(place, mark, '*', color=color, markersize=11)
    axis.set_xscale('log')
    sizes = [*rows[0]['sizes'], PUBLISHED_IMAGES]
    axis.set_xticks(sizes, [f'{size:.0f}' for size in sizes])
    axis.minorticks_off()
    axis.set_ylim(0, None)
    axis.set_xlabel('training images (hollow: predicted; faint: not identifiable; star: published)')
    axis.set_ylabel('IoU over the set')
    axis.set_title(f'Learning curve, {images}')
    axis.legend(fontsize='small')
