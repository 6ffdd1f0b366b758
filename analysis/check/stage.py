"""Is a new model worse than the old one? A gate for CI: per class, slice and saved view."""

import argparse
import dataclasses
import traceback
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from analysis.check import gate, tables
from analysis.check.gate import VERDICTS, Check
from analysis.check.options import make_parser
from analysis.check.schema import Gate
from analysis.compare import images
from analysis.predictions import stage as predictions
from analysis.predictions.schema import Predictions
from analysis.samples import stage as samples
from analysis.slices import stage as slices
from analysis.slices.conditions import load_metadata, membership
from analysis.slices.schema import MetricSlices, Slices
from analysis.slices.search import find_slices
from analysis.stage import artifacts
from analysis.stage.command import run_command
from analysis.stage.run import Analysis, open_analysis, open_chosen
from segmentation.data import selection


def choose_slices(columns: Mapping[str, np.ndarray], losses: Sequence[np.ndarray]) -> list[Check]:
    """Slices in which the training runs do badly together, so that they favor none of them.

    Of nested slices only the one that stands out most: each check costs power.

    Args:
      columns: of the images, see `slices.conditions.make_conditions`, `[N]` each.
      losses: of every training run, new or baseline, float `[N]`, NaN where undefined.
    """
    num_tested, found = find_slices(columns, np.mean(losses, 0))
    num_images = len(losses[0])
    members = [membership(columns, one.conditions) for one in found]
    packed = np.packbits(np.reshape(members, (-1, num_images)).astype(np.bool_), axis=1)
    by_loss = {'loss': MetricSlices(num_images, None, num_tested, tuple(found))}
    groups = Slices(num_images, 0, False, by_loss, packed).groups()
    return [Check('slice', one.text, inside) for (_, one, inside), *_ in groups]


def make_checks(
    baseline: Analysis,
    rows: np.ndarray,
    losses: Sequence[np.ndarray],
    views: Mapping[str, Sequence[int]],
) -> tuple[list[Check], list[str]]:
    """The checks, of the common images (`rows` of the baseline), and what is not checked."""
    everything, notes = np.ones(len(rows), np.bool_), []
    checks = [
        Check('class', name, everything, column)
        for column, name in enumerate(baseline.class_names)
        if column
    ]
    if reason := slices.STAGE.why_not(baseline):
        notes.append(f'Slices are not checked: {reason}.')
    else:
        samples.STAGE.prepare(baseline)
        columns = {name: column[rows] for name, column in load_metadata(baseline).items()}
        checks += choose_slices(columns, losses)
    image_ids = baseline.image_ids[rows]
    for name, ids in views.items():
        inside = np.isin(image_ids, ids)
        if missing := len(ids) - int(inside.sum()):
            notes.append(
                f'{missing} images of the saved view {name!r} are not among the common images.'
            )
        checks.append(Check('saved view', name, inside))
    return checks, notes


def check_labels(first: Analysis, others: list[Analysis]) -> None:
    """Checks that all runs are scored against the same labels.

    Raises:
      ValueError: they are not.
    """
    for other in others:
        for field, same in images.same_labels(first, other).items():
            if not same:
                mine, theirs = (run.config.data[field] for run in (first, other))
                raise ValueError(
                    f'{other.workdir} has other labels than {first.workdir}: data.{field} is '
                    f'{theirs!r} instead of {mine!r}.'
                )
        if first.class_names != other.class_names:
            raise ValueError(f'{other.workdir} has other classes than {first.workdir}.')


def compare(
    new: list[Analysis],
    baseline: list[Analysis],
    views: Mapping[str, Sequence[int]],
    training_sd: float,
    drop: float,
) -> Gate:
    """Runs all checks.

    Raises:
      ValueError: the runs cannot be compared, or an artifact is missing or damaged.
    """
    runs = [*baseline, *new]
    check_labels(runs[0], runs[1:])
    rows = images.common_rows({str(number): run for number, run in enumerate(runs)})
    counts, losses, resolution = [], [], images.resolution(runs)
    for run, mine in zip(runs, rows.values(), strict=True):
        predictions.STAGE.prepare(run)
        found = artifacts.load(run, Predictions)
        counts.append(found.confusions(resolution)[mine])
        losses.append(found.losses()[mine])
    checks, notes = make_checks(baseline[0], rows['0'], losses, views)
    first = len(baseline)
    outcomes = gate.judge(counts[first:], counts[:first], checks, training_sd, drop)
    return Gate(
        tuple(str(run.workdir) for run in new),
        tuple(str(run.workdir) for run in baseline),
        new[0].split,
        len(counts[0]),
        training_sd,
        drop,
        tuple(outcomes),
        tuple(notes),
        resolution,
    )


def _run(arguments: argparse.Namespace) -> dict[str, Any]:
    for name in ('training_sd', 'drop'):
        if not 0 <= getattr(arguments, name) < 1:
            raise ValueError(f'--{name} must be at least 0 and below 1.')
    if arguments.junit and not arguments.junit.parent.is_dir():
        raise ValueError(f'--junit {arguments.junit}: there is no such folder; make it first.')
    if arguments.junit and arguments.junit.is_dir():
        raise ValueError(f'--junit {arguments.junit} is a folder; name a file.')
    split, where = arguments.split, arguments.data_path
    given = [(path, arguments.checkpoint) for path in (arguments.workdir, *arguments.also)]
    given += [(path, arguments.baseline_checkpoint) for path in arguments.baseline]
    if len({(path.resolve(), checkpoint) for path, checkpoint in given}) < len(given):
        raise ValueError('A run is given twice; give different training runs.')
    new = [open_chosen(arguments, workdir) for workdir in (arguments.workdir, *arguments.also)]
    old = arguments.baseline_checkpoint
    baseline = [open_analysis(path, split, old, where) for path in arguments.baseline]
    views: dict[str, list[int]] = {}
    if arguments.views:
        views = selection.read_views(arguments.views, baseline[0].data['fingerprint']['id'])
    result = compare(new, baseline, views, arguments.training_sd, arguments.drop)
    if arguments.junit:
        tables.write_junit(result, arguments.junit)
    print(tables.to_markdown(result))
    return {'worse': result.worse, **dataclasses.asdict(result)}


def main(argv: list[str] | None = None) -> int:
    """The command `python -m analysis.check`; returns the exit status."""
    status: list[int] = []

    def run(arguments: argparse.Namespace) -> dict[str, Any]:
        result = _run(arguments)
        tested = [one for one in result['outcomes'] if one['verdict'] != VERDICTS[3]]
        status.append(int(result['worse']) if tested else 2)
        return result

    arguments = make_parser().parse_args(argv)
    try:
        failed = run_command(arguments, run)
    except Exception:  # Python's own status for a crash, 1, would say that the model is worse
        traceback.print_exc()
        return 2
    return 2 if failed else status[0]
