"""Tables and figures of a sweep."""

import csv
import json
import pathlib
from typing import Any

import matplotlib
import numpy as np
import optuna

from segmentation.config import flat
from segmentation.markdown import escape
from segmentation.sweeps.study import Entry, Sweep

matplotlib.use('agg')
import matplotlib.pyplot as plt


def result_rows(current: list[Entry], sweep: Sweep) -> list[dict[str, Any]]:
    """One row per parameter set: finished ones first, best first.

    Returns:
      Rows with `key`, `state`, `score` (the best evaluation on the selection split), `step` (its
      step), `change` (score minus that of the set which changes nothing), `starts` (workers that
      began or continued it), `seconds` (of the last of them), `overrides` (what the set says),
      `fields` (value of every field that the sweep touches), `curve` (score by step) and `reason`
      (of a failure). What does not exist is None.
    """
    defaults = flat(sweep.base)
    touched = list(sweep.space) or list(
        dict.fromkeys(name for overrides in sweep.sets.values() for name in overrides)
    )
    sign = -1 if sweep.metric == 'loss' else 1
    rows = []
    for entry in current:
        trial = entry.trial
        curve = trial.intermediate_values if trial else {}
        best = max(curve, key=lambda step: sign * curve[step], default=None)
        overrides = (trial and trial.user_attrs.get('overrides')) or sweep.sets[entry.key]
        known = overrides is not None
        duration = trial and trial.datetime_start and trial.duration
        rows.append(
            {
                'key': entry.key,
                'state': entry.state,
                'score': curve.get(best),
                'step': best,
                'change': None,
                'starts': entry.starts,
                'seconds': round(duration.total_seconds(), 1) if duration else None,
                'overrides': overrides,
                'fields': {n: overrides.get(n, defaults[n]) for n in touched} if known else {},
                'curve': dict(sorted(curve.items())),
                'reason': entry.reason,
            }
        )
    unchanged = {name: _plain(defaults[name]) for name in touched}
    reference = next(
        (r['score'] for r in rows if r['state'] == 'complete' and _same(r['fields'], unchanged)),
        None,
    )
    for row in rows:
        if reference is not None and row['score'] is not None:
            row['change'] = row['score'] - reference
    order = ('complete', 'pruned', 'running', 'waiting', 'missing', 'failed')
    rows.sort(
        key=lambda r: (
            order.index(r['state']),
            r['score'] is None,
            -sign * (r['score'] or 0),
        )
    )
    return rows


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _same(fields: dict, others: dict) -> bool:
    return {name: _plain(value) for name, value in fields.items()} == others


def _text(value: Any) -> str:
    if value is None:
        return '–'
    if isinstance(value, float):
        return f'{value:.4g}'
    return value if isinstance(value, str) else json.dumps(value)


def write_csv(rows: list[dict[str, Any]], path: pathlib.Path) -> None:
    """Writes the rows, a column per field; spreadsheets take no text in it for a formula."""
    names = list(dict.fromkeys(name for row in rows for name in row['fields']))
    columns = ['key', 'state', 'score', 'step', 'change', 'starts', 'seconds']
    with path.open('w', newline='', encoding='utf-8') as file:
        writer = csv.writer(file)
        writer.writerow([*columns, *map(_cell, names), 'reason'])
        for row in rows:
            values = [row[name] for name in columns]
            values += [row['fields'].get(name) for name in names]
            writer.writerow([_cell(value) for value in [*values, row['reason']]])


def _cell(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    text = _text(_plain(value))
    return f"'{text}" if text.startswith(('=', '+', '-', '@', '\t', '\r', '\n')) else text


def markdown(rows: list[dict[str, Any]], metric: str, importance: dict[str, float]) -> str:
    """The rows as a Markdown table, and how much each field mattered."""
    names = list(dict.fromkeys(name for row in rows for name in row['fields']))
    score = f'best selection {metric}'
    lines = [
        f'| {" | ".join(map(escape, [score, "change", "step", "state", *names, "trial"]))} |',
        f'|{"---|" * (len(names) + 5)}',
    ]
    for row in rows:
        change = '–' if row['change'] is None else f'{row["change"]:+.4f}'
        state = row['state'] + (f': {row["reason"]}' if row['reason'] else '')
        value = '–' if row['score'] is None else f'{row["score"]:.4f}'
        fields = [_text(_plain(row['fields'].get(name))) for name in names]
        cells = [value, change, _text(row['step']), state, *fields, row['key']]
        lines.append(f'| {" | ".join(map(escape, cells))} |')
    lines.append(
        '\nChange: from the set that leaves the config as it is, if the sweep has it. All scores '
        'are of the selection split, the best of several evaluations: they choose, they do not '
        'measure.'
    )
    if importance:
        shares = (f'{escape(name)} {share:.2f}' for name, share in importance.items())
        lines.append(f'\nShare of the variance of the score (fANOVA): {", ".join(shares)}.')
    return '\n'.join(lines)


def importance_of_fields(rows: list[dict[str, Any]], metric: str) -> dict[str, float]:
    """Share of the variance of the score by field, largest first (fANOVA of a random forest).

    Hutter, Hoos and Leyton-Brown, "An Efficient Approach for Assessing Hyperparameter Importance",
    ICML 2014. Empty with fewer than four finished sets, or when fewer than two fields vary.
    """
    rows = [row for row in rows if row['state'] == 'complete']
    varying = _varying(rows)
    if len(rows) < 4 or len(varying) < 2 or len({row['score'] for row in rows}) < 2:
        return {}
    distributions = {}
    for name in varying:
        values = [row['fields'][name] for row in rows]
        if _is_number(values):
            log = min(values) > 0 and max(values) >= 10 * min(values)
            distributions[name] = optuna.distributions.FloatDistribution(
                min(values), max(values), log=log
            )
        else:
            choices = list(dict.fromkeys(map(_text, values)))
            distributions[name] = optuna.distributions.CategoricalDistribution(choices)
    study = optuna.create_study(direction='minimize' if metric == 'loss' else 'maximize')
    for row in rows:
        params = {
            name: float(row['fields'][name])
            if isinstance(distribution, optuna.distributions.FloatDistribution)
            else _text(row['fields'][name])
            for name, distribution in distributions.items()
        }
        study.add_trial(
            optuna.create_trial(params=params, distributions=distributions, value=row['score'])
        )
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    return optuna.importance.get_param_importances(study, evaluator=evaluator)


def _varying(rows: list[dict[str, Any]]) -> list[str]:
    names = dict.fromkeys(name for row in rows for name in row['fields'])
    return [n for n in names if len({_text(_plain(row['fields'][n])) for row in rows}) > 1]


def _is_number(values: list[Any]) -> bool:
    return all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)


def _shades(scores: np.ndarray, metric: str) -> np.ndarray:
    """Colours [N, 4] of scores [N], from pale (worst) to dark (best)."""
    spread = np.ptp(scores) or 1.0
    better = (scores - scores.min()) / spread
    return plt.get_cmap('viridis_r')(1 - better if metric == 'loss' else better)


def plot_curves(rows: list[dict[str, Any]], metric: str, path: pathlib.Path) -> None:
    """Score by step of every set; pruned ones are dotted, the best is thick."""
    rows = [row for row in rows if row['curve']]
    figure, axes = plt.subplots(figsize=(7, 5.6), layout='constrained')
    shades = _shades(np.array([row['score'] for row in rows]), metric)
    for rank, (row, shade) in reversed(list(enumerate(zip(rows, shades, strict=True)))):
        steps, scores = zip(*row['curve'].items(), strict=True)
        changed = ', '.join(f'{n.split(".")[-1]} {_text(v)}' for n, v in row['overrides'].items())
        axes.plot(
            steps, scores, color=shade, linewidth=2.5 if rank == 0 else 1.2,
            linestyle=':' if row['state'] == 'pruned' else '-', marker='.',
            label=_plot_text(changed or 'as the config')[:90] if rank < 5 else None,
        )  # fmt: skip
    axes.set(xlabel='step', ylabel=f'selection {metric}')
    axes.grid(alpha=0.3)
    axes.spines[['top', 'right']].set_visible(False)
    handles, names = axes.get_legend_handles_labels()
    figure.legend(
        handles[::-1], names[::-1], title='five best', fontsize='small', frameon=False,
        loc='outside lower center',
    )  # fmt: skip
    figure.savefig(path, dpi=150)
    plt.close(figure)


def plot_parallel(rows: list[dict[str, Any]], metric: str, path: pathlib.Path) -> None:
    """Parallel coordinates: an axis per field that varies and one for the score."""
    rows = [row for row in rows if row['state'] in ('complete', 'pruned') and row['curve']]
    names = _varying(rows)
    figure, axes = plt.subplots(figsize=(2 + 1.5 * (len(names) + 1), 4.6), layout='constrained')
    heights = np.zeros((len(names) + 1, len(rows)))
    # Apart a little, so that lines through the same values are not one.
    apart = np.linspace(0.012, -0.012, len(rows))
    for x, name in enumerate([*names, None]):
        values = [row['score'] if name is None else row['fields'][name] for row in rows]
        heights[x], ticks = _axis(values)
        heights[x] += apart if len(set(heights[x])) < len(rows) else 0
        axes.axvline(x, color='0.7', linewidth=0.8)
        for position, text in ticks:
            axes.text(
                x + 0.03, position, _plot_text(text), fontsize='x-small', va='center', zorder=3,
                bbox={'facecolor': 'white', 'alpha': 0.7, 'linewidth': 0, 'pad': 0.5},
            )  # fmt: skip
    shades = _shades(np.array([row['score'] for row in rows]), metric)
    for rank in reversed(range(len(rows))):
        axes.plot(
            heights[:, rank], color=shades[rank], alpha=0.9, linewidth=2.5 if rank == 0 else 1,
            linestyle=':' if rows[rank]['state'] == 'pruned' else '-',
        )  # fmt: skip
    labels = [_plot_text(name.replace('.', '.\n', 1)) for name in names] + [f'selection\n{metric}']
    axes.set_xticks(range(len(labels)), labels, fontsize='small')
    axes.set(yticks=[], ylim=(-0.05, 1.05), xlim=(-0.2, len(names) + 0.6))
    axes.spines[:].set_visible(False)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def _axis(values: list[Any]) -> tuple[np.ndarray, list[tuple[float, str]]]:
    """Heights in [0, 1] of values on their axis, and where its ticks are."""
    texts = [_text(_plain(value)) for value in values]
    if _is_number(values):
        positions = np.array(values, np.float64)
        if positions.min() > 0 and positions.max() >= 10 * positions.min():
            positions = np.log(positions)
        positions = (positions - positions.min()) / (np.ptp(positions) or 1.0)
    else:
        places = {text: i for i, text in enumerate(sorted(set(texts)))}
        positions = np.array([places[text] for text in texts]) / max(1, len(places) - 1)
    ticks = dict(zip(positions.tolist(), texts, strict=True))
    if _is_number(values) and len(ticks) > 5:
        ticks = {end: ticks[end] for end in (0.0, 1.0)}
    return positions, list(ticks.items())


def plot_importance(importance: dict[str, float], path: pathlib.Path) -> None:
    """Bars of `importance_of_fields`."""
    height = 1.2 + 0.35 * len(importance)
    figure, axes = plt.subplots(figsize=(6, height), layout='constrained')
    names = [_plot_text(name) for name in importance]
    bars = axes.barh(names, list(importance.values()), color='#0072B2')
    axes.bar_label(bars, fmt='%.2f', padding=3)
    axes.invert_yaxis()
    axes.set(xlabel='share of the variance of the score (fANOVA)', xlim=(0, 1.1))
    axes.spines[['top', 'right']].set_visible(False)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def _plot_text(text: str) -> str:
    """Text in which matplotlib sees no formula."""
    return text.replace('$', r'\$')


def write_results(current: list[Entry], sweep: Sweep) -> list[dict[str, Any]]:
    """Writes `results.csv`, `results.md` and figures into the sweep's directory.

    Returns:
      What `result_rows` returns.
    """
    rows = result_rows(current, sweep)
    importance = importance_of_fields(rows, sweep.metric)
    write_csv(rows, sweep.workdir / 'results.csv')
    text = markdown(rows, sweep.metric, importance)
    (sweep.workdir / 'results.md').write_text(text + '\n', encoding='utf-8')
    if any(row['curve'] for row in rows):
        plot_curves(rows, sweep.metric, sweep.workdir / 'curves.png')
        if _varying([row for row in rows if row['state'] in ('complete', 'pruned')]):
            plot_parallel(rows, sweep.metric, sweep.workdir / 'parallel.png')
    if importance:
        plot_importance(importance, sweep.workdir / 'importance.png')
    return rows
