"""Tables and figures of a sweep."""

import csv
import dataclasses
import functools
import io
import json
import math
import pathlib
from typing import Any

import matplotlib
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState
from optuna.visualization import matplotlib as plots

from segmentation import markdown
from segmentation.config import flat
from segmentation.files import write_text
from segmentation.sweeps.study import Entry, Sweep

matplotlib.use('agg')
import matplotlib.pyplot as plt

_ORDER = ('complete', 'pruned', 'running', 'waiting', 'missing', 'failed')


@dataclasses.dataclass
class Row:
    """The result of one parameter set; None where there is no value."""

    key: str  # of the set, which names its run directory
    state: str  # see `study.Entry`
    score: float | None  # the best evaluation on the selection split
    step: int | None  # of that evaluation
    change: float | None  # score minus that of the unchanged config
    starts: int  # workers that began or continued the trial
    seconds: float | None  # duration of the last of them
    overrides: dict[str, Any] | None  # the fields that the set names
    fields: dict[str, Any]  # value of every field that the sweep touches; empty if not chosen yet
    curve: dict[int, float]  # score by step
    reason: str  # of a failure


def result_rows(current: list[Entry], sweep: Sweep) -> list[Row]:
    """One row per parameter set: finished ones first, best first."""
    defaults = flat(sweep.base)
    # Sets that were stored before the config file was edited may name other fields.
    stored = [entry.trial and entry.trial.user_attrs.get('overrides') for entry in current]
    sets = [*sweep.sets.values(), *stored]
    named = dict.fromkeys([*sweep.space, *(name for each in sets for name in each or ())])
    unchanged = {name: defaults[name] for name in named}
    sign = -1 if sweep.metric == 'loss' else 1
    rows = []
    for entry in current:
        trial = entry.trial
        curve = trial.intermediate_values if trial else {}
        step = max(curve, key=lambda step: sign * curve[step], default=None)
        overrides = (trial and trial.user_attrs.get('overrides')) or sweep.sets[entry.key]
        duration = trial and trial.datetime_start and trial.duration
        rows.append(
            Row(
                key=entry.key,
                state=entry.state,
                score=None if step is None else curve[step],
                step=step,
                change=None,
                starts=entry.starts,
                seconds=round(duration.total_seconds(), 1) if duration else None,
                overrides=overrides,
                fields={} if overrides is None else unchanged | overrides,
                curve=dict(sorted(curve.items())),
                reason=entry.reason,
            )
        )
    complete = [row for row in rows if row.state == 'complete']
    # As JSON, because a set read from the study has lists where the config has tuples.
    same = [row.score for row in complete if json.dumps(row.fields) == json.dumps(unchanged)]
    for row in rows:
        if same and same[0] is not None and row.score is not None:
            row.change = row.score - same[0]
    rows.sort(key=lambda r: (_ORDER.index(r.state), r.score is None, -sign * (r.score or 0)))
    return rows


def to_json(rows: list[Row]) -> list[dict[str, Any]]:
    """The rows as JSON, which has no infinity and no NaN: such a value becomes text ('inf')."""

    def finite(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: finite(part) for name, part in value.items()}
        if isinstance(value, list | tuple):
            return [finite(part) for part in value]
        return value if not isinstance(value, float) or math.isfinite(value) else str(value)

    return [finite(dataclasses.asdict(row)) for row in rows]


def _label(value: Any) -> str:
    if value is None:
        return '–'
    if isinstance(value, float):
        return f'{value:.4g}'
    return value if isinstance(value, str) else json.dumps(value)


def _field_names(rows: list[Row]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row.fields))


def write_csv(rows: list[Row], path: pathlib.Path) -> None:
    """Writes the rows, a column per field; spreadsheets take no text in it as a formula."""
    names = _field_names(rows)
    columns = ['key', 'state', 'score', 'step', 'change', 'starts', 'seconds']
    file = io.StringIO()
    writer = csv.writer(file, lineterminator='\n')
    writer.writerow([*columns, *map(_cell, names), 'reason'])
    for row in rows:
        values = [getattr(row, column) for column in columns]
        values += [*(row.fields.get(name) for name in names), row.reason]
        writer.writerow(map(_cell, values))
    write_text(path, file.getvalue())


def _cell(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    text = _label(value)
    return f"'{text}" if text.startswith(('=', '+', '-', '@', '\t', '\r', '\n')) else text


def to_markdown(rows: list[Row], metric: str, importance: dict[str, float]) -> str:
    """The rows as a Markdown table, and how much each field matters."""
    names = _field_names(rows)
    header = [f'best selection {metric}', 'change', 'step', 'state', *names, 'trial']
    cells = [
        [
            '–' if row.score is None else f'{row.score:.4f}',
            '–' if row.change is None else f'{row.change:+.4f}',
            _label(row.step),
            row.state + (f': {row.reason}' if row.reason else ''),
            *(_label(row.fields.get(name)) for name in names),
            row.key,
        ]
        for row in rows
    ]
    text = markdown.table(list(map(markdown.escape, header)), cells)
    text += (
        '\n\nChange: score minus that of the unchanged config, if the sweep trains it. Each score '
        'is the best of several evaluations on the selection split: use it to choose settings, '
        'not to report results.'
    )
    if importance:
        shares = [f'{markdown.escape(name)} {share:.2f}' for name, share in importance.items()]
        text += f'\n\nShare of the variance of the score (fANOVA): {", ".join(shares)}.'
    return text


def _study(rows: list[Row], metric: str) -> optuna.Study:
    """The rows as trials of a study in memory, with the fields that vary as parameters."""
    distributions: dict[str, BaseDistribution] = {}
    params: list[dict[str, Any]] = [{} for _ in rows]
    for name in _field_names(rows):
        values = [row.fields[name] for row in rows]
        if len(set(map(_label, values))) < 2:
            continue
        if all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
            values = list(map(float, values))
            log = min(values) > 0 and max(values) >= 10 * min(values)
            distributions[name] = FloatDistribution(min(values), max(values), log=log)
        else:
            # matplotlib would typeset text between dollar signs as a formula.
            values = [_label(value).replace('$', r'\$') for value in values]
            distributions[name] = CategoricalDistribution(list(dict.fromkeys(values)))
        for chosen, value in zip(params, values, strict=True):
            chosen[name] = value
    study = optuna.create_study(direction='minimize' if metric == 'loss' else 'maximize')
    for row, chosen in zip(rows, params, strict=True):
        complete = row.state == 'complete'
        study.add_trial(
            optuna.create_trial(
                state=TrialState.COMPLETE if complete else TrialState.PRUNED,
                value=row.score if complete else None,
                params=chosen,
                distributions=distributions,
                intermediate_values=row.curve,
            )
        )
    return study


_fanova = functools.partial(optuna.importance.FanovaImportanceEvaluator, seed=0)


def importance_of_fields(rows: list[Row], metric: str) -> dict[str, float]:
    """Share of the variance of the score by field, largest first (fANOVA of a random forest).

    Hutter, Hoos and Leyton-Brown, "An Efficient Approach for Assessing Hyperparameter Importance",
    ICML 2014. Empty with fewer than four finished sets, or when fewer than two fields vary.
    """
    rows = [row for row in rows if row.state == 'complete']
    if len(rows) < 4 or len({row.score for row in rows}) < 2:
        return {}
    study = _study(rows, metric)
    if len(study.trials[0].params) < 2:
        return {}
    return optuna.importance.get_param_importances(study, evaluator=_fanova())


def write_results(current: list[Entry], sweep: Sweep) -> list[Row]:
    """Writes `results.csv`, `results.md` and figures of a sweep; returns the rows."""
    rows = result_rows(current, sweep)
    importance = importance_of_fields(rows, sweep.metric)
    write_csv(rows, sweep.workdir / 'results.csv')
    write_text(sweep.workdir / 'results.md', to_markdown(rows, sweep.metric, importance) + '\n')
    _plot([row for row in rows if row.curve], sweep, bool(importance))
    return rows


def _plot(rows: list[Row], sweep: Sweep, has_importance: bool) -> None:
    if not rows:
        return
    metric = f'selection {sweep.metric}'
    # Optuna sets matplotlib's style for the whole process.
    with plt.style.context('default'):
        axes = plots.plot_intermediate_values(_study(rows, sweep.metric))
        axes.set(title='', ylabel=metric)
        if legend := axes.get_legend():
            for text, row in zip(legend.get_texts(), rows, strict=True):
                text.set_text(row.key)
        _save(axes, sweep.workdir / 'curves.png')
        complete = [row for row in rows if row.state == 'complete']
        study = _study(complete, sweep.metric)
        if complete and study.trials[0].params:
            axes = plots.plot_parallel_coordinate(study, target_name=metric)
            _save(axes, sweep.workdir / 'parallel.png')
        if has_importance:
            axes = plots.plot_param_importances(study, _fanova(), target_name=metric)
            _save(axes, sweep.workdir / 'importance.png')


def _save(axes: plt.Axes, path: pathlib.Path) -> None:
    figure = axes.get_figure(root=True)
    if figure:
        figure.set_size_inches(9, 5)
        figure.savefig(path, dpi=150, bbox_inches='tight')
        plt.close(figure)
