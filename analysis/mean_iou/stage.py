"""Scores a checkpoint: mean IoU over the set and per image, with bootstrap confidence intervals."""

import pathlib

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from analysis.figures import bars, palette
from analysis.mean_iou.options import make_parser
from analysis.mean_iou.rates import RATES, measure_calibration, measure_classes
from analysis.mean_iou.schema import MeanIou
from analysis.predictions import stage as predictions
from analysis.predictions.schema import Predictions
from analysis.stage import artifacts, storage
from analysis.stage.contract import Stage
from analysis.stage.run import Analysis
from segmentation import boundaries, markdown, metrics
from segmentation.files import replacing, write_json, write_text


def compute(analysis: Analysis) -> MeanIou:
    """Scores the predictions."""
    predicted = artifacts.load(analysis, Predictions)
    network, original = (
        metrics.summarize(predicted.confusions(resolution), analysis.class_names)
        for resolution in ('network', 'original')
    )
    losses = predicted.losses().astype(np.float32)
    losses = losses[~np.isnan(losses)]
    return MeanIou(
        split=analysis.split,
        step=analysis.step,
        class_names=analysis.class_names,
        num_images=len(analysis),
        image_size=predicted.size,
        loss=float(losses.mean()) if len(losses) else 0.0,
        network=network,
        original=original,
        confusion=tuple(map(tuple, predicted.confusions('original').sum(0).tolist())),
        classes=measure_classes(predicted, analysis.class_names),
        band=boundaries.BAND,
        calibration=measure_calibration(predicted),
        absent_class_rule=metrics.ABSENT_CLASS_RULE,
        data=analysis.data,
        selection=analysis.selection,
    )


def table(result: MeanIou) -> str:
    """Both tables, with definitions of their columns."""
    return '\n\n'.join(
        [
            f'Split {result.split}, checkpoint at step {result.step}, {result.num_images} images, '
            f'loss {result.loss:.4f} nats per pixel. In parentheses: 95 % bootstrap confidence '
            'interval over images. The effective sample size (Kish) is the number of images if all '
            'hold equally many pixels of the class; below about 30 the interval is too narrow.',
            f"At the network's resolution, {result.image_size}×{result.image_size}:",
            markdown.iou_table(result.network),
            "At the images' own resolution:",
            markdown.iou_table(result.original),
            *_rates_table(result),
            *_calibration_text(result),
            result.absent_class_rule,
        ]
    )


def _shares(result: MeanIou) -> tuple[np.ndarray, np.ndarray]:
    """Pixels of each true class, `[C, 1]`, and the shares that are predicted as which, `[C, C]`."""
    counts = np.array(result.confusion)
    true = counts.sum(1, keepdims=True)
    return true, counts / np.where(true > 0, true, 1)


def _rates_table(result: MeanIou) -> list[str]:
    rows = []
    for name, rates in result.classes.items():
        cells = [getattr(rates, rate) for rate in RATES]
        small = '–' if rates.only_band is None else f'{rates.only_band:.0%}'
        rows.append((name, *(markdown.number(c.value, c.interval) for c in cells), small))
    header = ('class', 'precision', 'recall', 'F1', 'boundary IoU', 'only band')
    true, shares = _shares(result)
    confused = [
        (name, *(f'{share:.1%}' for share in row), f'{int(count)}')
        for name, row, (count,) in zip(result.class_names, shares, true, strict=True)
    ]
    predicted = (f'predicted as {markdown.escape(name)}' for name in result.class_names)
    return [
        f'Pixels of all images at their own resolution. Boundary IoU compares the bands inside the '
        f'outlines, {result.band:.0%} of the diagonal wide. *Only band*: share of the images in '
        'which the objects of the class are so small or thin that they are all band; their '
        'boundary IoU is their IoU, unless the prediction is larger than its own band.',
        markdown.table(header, rows),
        markdown.table(('true class', *predicted, 'pixels'), confused),
    ]


def _calibration_text(result: MeanIou) -> list[str]:
    found = result.calibration
    if found is None:
        return []
    error = markdown.number(found.error.value, found.error.interval)
    text = f'Expected calibration error at the network’s resolution: {error}'
    # Resampling adds noise, and noise adds error.
    about = 'The interval covers less than 95 %, because resampled errors are larger.'
    if found.error_scaled is None:
        return [f'{text}. {about} No images were held out to fit a temperature.']
    scaled = markdown.number(found.error_scaled.value, found.error_scaled.interval)
    return [
        f'{text}; {scaled} with logits divided by the temperature {found.temperature:.2f}, which '
        f'was fitted on the selection split. {about}'
    ]


def draw(result: MeanIou) -> Figure:
    """The confusion matrix in shares of the true class, and the reliability diagram."""
    names = [bars.plain(name) for name in result.class_names]
    picture = Figure(figsize=(11, 4.5), layout='constrained')
    matrix, diagram = picture.subplots(1, 2)
    _, shares = _shares(result)
    matrix.imshow(shares, cmap='Blues', vmin=0, vmax=1)
    for (row, column), share in np.ndenumerate(shares):
        color = 'white' if share > 0.5 else palette.BLACK
        matrix.text(column, row, f'{share:.1%}', ha='center', va='center', color=color)
    matrix.set_xticks(range(len(names)), names, rotation=30, ha='right')
    matrix.set_yticks(range(len(names)), names)
    matrix.set(
        xlabel='predicted class', ylabel='true class', title='Share of each true class’s pixels'
    )
    if found := result.calibration:
        diagram.plot([0, 1], [0, 1], color=palette.GRAY, linewidth=1)
        labels = ['as predicted', f'temperature {found.temperature or 1:.2f}']
        colors = palette.VERMILLION, palette.BLUE
        for k in range(len(found.pixels)):
            points = np.array([found.confidence[k], found.accuracy[k]], float)  # None is NaN
            diagram.plot(*points, 'o-', color=colors[k], label=labels[k])
        diagram.legend()
    percent = PercentFormatter(1)
    diagram.xaxis.set_major_formatter(percent)
    diagram.yaxis.set_major_formatter(percent)
    diagram.set(
        xlabel='probability of the predicted class', ylabel='share of correct pixels',
        title='Reliability', xlim=(0, 1), ylim=(0, 1), aspect='equal',
    )  # fmt: skip
    return picture


def write_scores(analysis: Analysis, result: MeanIou) -> list[pathlib.Path]:
    """Writes the scores into the run directory, where people look for them."""
    path = analysis.workdir / f'mean_iou-{result.split}-{result.step}.json'
    write_json(path, storage.to_json(result))
    write_text(path.with_suffix('.md'), table(result) + '\n')
    figure = analysis.folder / 'mean_iou.png'
    with replacing(figure) as partial:
        draw(result).savefig(partial, format='png')
    return [path.with_suffix('.md'), path, figure]


STAGE = Stage(MeanIou, make_parser, compute, table, write_scores, reads=(predictions.STAGE,))
main = STAGE.main
