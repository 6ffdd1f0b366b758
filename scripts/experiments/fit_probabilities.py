"""Fits the probability that a label issue is an error, and measures its calibration.

    python scripts/experiments/fit_probabilities.py --workdir runs/probabilities

Draws scenes with planted label errors, trains a network on those of the first of --fit_seeds (or
takes --network), finds label issues in the validation scenes of all seeds, and compares them with
the planted truth. An issue is an error if it has the planted kind and lies on the planted object;
an ambiguous region is one if it lies on any planted object. The regressions
(analysis/label_issues/probability.py) are fitted to the issues of --fit_seeds. Those of
--score_seeds measure the calibration: in each tenth of the probability, the mean prediction and the
share of errors.

Started again, the command continues. Writes report.md, report.json and report.png, the reliability
diagram, into WORKDIR. With --write, it replaces the file that the stage reads.
"""

import argparse
import dataclasses
import functools
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict
from record import of_probabilities
from score_analysis import CONFIG, ROOT, prepare

from analysis import registry
from analysis.experiments import records
from analysis.label_issues import probability
from analysis.label_issues.schema import LabelIssues
from analysis.stage.run import Analysis, open_analysis
from segmentation import campaign, launch
from segmentation.config import load_config
from segmentation.data import coco
from segmentation.data.examples import open_data, select_examples
from segmentation.files import write_json

ENOUGH = 50  # issues in a tenth, from which its share of errors says something


@dataclasses.dataclass(frozen=True)
class Tenth:
    """The issues whose probability is in a tenth of 0 … 1."""

    low: float
    issues: int
    predicted: float  # mean probability
    observed: float  # share of errors


def train_network(config: ConfigDict, workdir: pathlib.Path, seed: int) -> pathlib.Path:
    """A network trained on the scenes of a seed; returns its run directory."""
    from segmentation import train  # here and below: it imports JAX

    config = ConfigDict(config.to_dict())
    prepare(config, workdir, seed)
    train.train(config.lock(), workdir / 'network')
    return workdir / 'network'


def look_at(
    trained: Analysis, workdir: pathlib.Path, seed: int, images: int
) -> tuple[Analysis, pathlib.Path]:
    """The same network on the validation scenes of a seed, and the folder of the scenes."""
    config = trained.config.copy_and_resolve_references().unlock()
    folder = workdir / f'scenes{seed}'
    if config.data.source != str(folder):
        config.data.scenes.train, config.data.scenes.val = 1, images
        config.data.selection_fraction = 0.0  # No temperature is fitted.
        prepare(config, workdir, seed)
    prepared: coco.Prepared = open_data(config.data)
    examples, _ = select_examples(prepared, config.data, 'val')
    data = {'path': str(prepared.path), 'fingerprint': prepared.fingerprint}
    run = dataclasses.replace(trained.run, config=config, data=data)
    # Another network, which may have the same step, has results of its own.
    suffix = f'-{trained.identity()["checkpoint"] or 0:08x}'
    found = dataclasses.replace(
        trained, workdir=workdir / f'issues{seed}{suffix}', data=data, examples=examples,
        image_ids=examples.image_ids.astype(np.int64), run=run,
    )  # fmt: skip
    found.folder.mkdir(parents=True, exist_ok=True)
    return found, folder


def real(issues: LabelIssues, truth: Sequence[dict]) -> np.ndarray:
    """Which issues are planted errors, bool `[n]`."""

    from analysis.planted_benchmark.scoring import ISSUES, lies_on_error

    def is_real(region: dict[str, Any]) -> bool:
        entry = truth[region['row']]
        error = entry['error']
        if not error or region['kind'] not in (ISSUES[error['kind']], 'ambiguous'):
            return False
        if region['annotation_id'] is not None:
            return region['annotation_id'] == error['annotation_id']
        return lies_on_error(region, entry)

    return np.array([is_real(region) for region in issues.regions.to_pylist()], np.bool_)


def tenths(predicted: np.ndarray, observed: np.ndarray) -> list[Tenth]:
    """The reliability table of probabilities and truth, `[n]` each, without empty tenths."""
    place = np.minimum((10 * predicted).astype(np.int64), 9)
    return [
        Tenth(k / 10, int(mine.sum()), float(predicted[mine].mean()), float(observed[mine].mean()))
        for k in range(10)
        if (mine := place == k).any()
    ]


def gather(
    trained: Analysis, workdir: pathlib.Path, seeds: Sequence[int], images: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Kinds, `probability.features` and truth of all issues of some scene seeds."""
    from analysis.planted_benchmark.scoring import read_truth

    parts = []
    for seed in seeds:
        analysis, folder = look_at(trained, workdir, seed, images)
        issues = registry.load('label_issues').get(analysis)
        kinds = np.array(issues.regions['kind'].to_pylist(), np.object_)
        columns = [issues.regions[name].to_numpy() for name in ('score', 'area', 'confidence')]
        truth = real(issues, read_truth(analysis, folder))
        parts.append((kinds, probability.features(*columns), truth))
    kinds, described, truth = (np.concatenate(part) for part in zip(*parts, strict=True))
    return kinds, described, truth


def to_markdown(rows: Sequence[Tenth], predicted: np.ndarray, real: np.ndarray) -> str:
    """The reliability table and its summary; `predicted` and `real` are `[n]`."""
    likely = predicted >= probability.LIKELY
    gaps = [abs(row.predicted - row.observed) for row in rows if row.issues >= ENOUGH]
    table = of_probabilities({'tenths': [dataclasses.asdict(row) for row in rows]})['tenths']
    return (
        f'{table.to_markdown()}\n\n{likely.sum()} held-out issues have a probability of at least '
        f'{probability.LIKELY:g}; {predicted[likely].sum():.0f} errors are expected among them, '
        f'{real[likely].sum()} were found.\n'
        f'Largest gap in a tenth with at least {ENOUGH} issues: {max(gaps, default=0):.3f}.\n'
    )


def figure(rows: Sequence[Tenth], path: pathlib.Path) -> None:
    """Writes the reliability diagram, a PNG, with 95 % Wilson intervals of the shares."""
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot as plt
    from scipy.stats import binomtest

    drawing, axis = plt.subplots(figsize=(5, 5), layout='constrained')
    axis.plot([0, 1], [0, 1], color='gray', linewidth=0.8)
    for row in rows:
        low, high = binomtest(round(row.observed * row.issues), row.issues).proportion_ci(
            method='wilson'
        )
        axis.errorbar(
            row.predicted, row.observed, [[row.observed - low], [high - row.observed]], fmt='o',
            color='C0', capsize=3,
        )  # fmt: skip
        axis.annotate(
            str(row.issues), (row.predicted, row.observed), (6, 4), textcoords='offset points'
        )
    axis.set_xlabel('mean probability of the issues in a tenth')
    axis.set_ylabel('share that is a planted error')
    drawing.savefig(path, dpi=150)
    plt.close(drawing)


def parse_arguments(argv: list[str] | None) -> tuple[argparse.Namespace, list[str]]:
    parser = launch.make_parser(__doc__)
    add = parser.add_argument
    add('--fit_seeds', nargs='+', type=int, default=[0, 1, 2], help='scene seeds to fit to')
    add('--score_seeds', nargs='+', type=int, default=[4, 5], help='held-out scene seeds')
    add('--images', type=int, default=400, help='validation scenes of each seed')
    about = 'run directory of a network trained on drawn scenes; default: one is trained'
    add('--network', type=pathlib.Path, metavar='WORKDIR', help=about)
    add('--write', action='store_true', help=f'replace {probability.FILE.relative_to(ROOT)}')
    arguments, overrides = parser.parse_known_args(argv)
    if both := set(arguments.fit_seeds) & set(arguments.score_seeds):
        parser.error(f'scene seed {min(both)} is in both --fit_seeds and --score_seeds')
    if arguments.network and overrides:
        parser.error(f'{overrides[0]}: the scenes are drawn as those of --network')
    return arguments, overrides


@launch.command
def main(argv: list[str] | None = None) -> int:
    arguments, overrides = parse_arguments(argv)
    from segmentation import cpu_runtime

    if __name__ == '__main__':
        cpu_runtime.configure()
    fields = {'data.scenes.train': 600, 'data.scenes.val': arguments.images}
    config = load_config(str(ROOT / CONFIG), campaign.overrides(fields) + overrides)
    arguments.workdir.mkdir(parents=True, exist_ok=True)
    directory = arguments.network
    if directory is None:
        directory = train_network(config, arguments.workdir, arguments.fit_seeds[0])
    trained = open_analysis(directory)
    fit, score = (
        gather(trained, arguments.workdir, seeds, arguments.images)
        for seeds in (arguments.fit_seeds, arguments.score_seeds)
    )
    models = probability.fit(*fit)
    predicted = probability.predict(*score[:2], models)
    rows = tenths(predicted, score[2])
    command = launch.command_line('scripts/experiments/fit_probabilities.py', argv)
    result = {
        'origin': dataclasses.asdict(
            records.Origin.of_runs([directory], command, [trained.config.seed])
        ),
        'fit_seeds': arguments.fit_seeds,
        'score_seeds': arguments.score_seeds,
        'error_rate': trained.config.data.scenes.error_rate,
        'network': {'step': trained.step, 'scenes': trained.config.data.scenes.train},
        'models': {kind: dataclasses.asdict(model) for kind, model in models.items()},
        'tenths': [dataclasses.asdict(row) for row in rows],
    }
    text = to_markdown(rows, predicted, score[2])
    draw = functools.partial(figure, rows)
    campaign.write_report(arguments.workdir, text, draw, result, arguments.json)
    if arguments.write:
        write_json(probability.FILE, result)
    print(text)
    return 0


if __name__ == '__main__':
    sys.exit(main())
