"""The tables of full_coco.py: what each part took, and the targets."""

from typing import Any

import stand_in

from analysis.experiments.records import Table

PREPARE_SECONDS, PREPARE_MB = 360, 1500
LEAST_RATE, STAGE_MB, MOST_COST = 0.9, 3000, 1.3


def rate_of(row: dict[str, Any]) -> float:
    """Images per second of wall time."""
    return row.get('per_second', row['images'] / row['wall_seconds'])


def rows_of(result: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Part → what was measured; each stage of the analysis is a part of its own."""
    rows = {}
    for part, row in result.items():
        if part in ('settings', 'machine'):
            continue
        prefix = 'few: ' if part == 'scaling' else ''
        for stage, measured in row.get('stages', {}).items():
            rows[prefix + stage] = {**measured, 'images': row['images']}
        if 'stages' not in row:
            rows[part] = row
    return rows


def compare(result: dict[str, Any]) -> list[dict[str, Any]]:
    """The targets, with what was measured: for JSON, `what`, `measured`, `target` and `met`.

    A target of which something was not measured is left out.
    """
    found: list[dict[str, Any]] = []
    fraction = result['settings']['fraction']

    def add(what: str, measured: float, target: float, at_least: bool = False) -> None:
        met = measured >= target if at_least else measured <= target
        found.append({'what': what, 'measured': measured, 'target': target, 'met': met})

    if 'prepare' in result:
        row = result['prepare']
        add('prepare: wall, s', row['wall_seconds'], PREPARE_SECONDS * fraction)
        add('prepare: peak, MB', row['peak_mb'], PREPARE_MB)
    stages = {
        name: {**row, 'images': result[part]['images']}
        for part in ('evaluate', 'analyze', 'report')
        for name, row in result.get(part, {}).get('stages', {}).items()
    }
    if 'inference' in result:
        inference = result['inference']
        compared = {'evaluation': result.get('evaluate'), 'samples': stages.get('samples')}
        for name, row in compared.items():
            if row:
                ratio = rate_of(row) / rate_of(inference)
                add(f'{name}: rate / rate of inference', ratio, LEAST_RATE, at_least=True)
                # The same of processor time, which other work on the machine does not change.
                own, cost = (each['cpu_seconds'] / each['images'] for each in (row, inference))
                what = f'{name}: the same of processor time'
                add(what, cost / own, LEAST_RATE, at_least=True)
    for name, row in stages.items():
        add(f'{name}: peak, MB', row['peak_mb'], STAGE_MB)
    few = result.get('scaling')
    for name, row in stages.items():
        if not few or name not in few['stages']:
            continue
        cost, of_few = (
            each['cpu_seconds'] / number
            for each, number in ((row, row['images']), (few['stages'][name], few['images']))
        )
        add(f'{name}: processor time per image / that of few', cost / of_few, MOST_COST)
    return found


def _short(number: float) -> str:
    return f'{number:,.0f}' if number >= 100 else f'{number:.3g}'


def tables(result: dict[str, Any]) -> dict[str, Table]:
    """What each `parts` took, and the `targets`."""
    header = ('part', 'images', 'wall, s', 'processor, s', 'ms per image', 'peak, MB', 'images/s')
    parts = [
        (name, str(row['images']), f'{row["wall_seconds"]:.1f}', f'{row["cpu_seconds"]:.1f}',
         f'{1000 * row["cpu_seconds"] / row["images"]:.2f}', f'{row["peak_mb"]:.0f}',
         f'{rate_of(row):.1f}')
        for name, row in rows_of(result).items()
    ]  # fmt: skip
    targets = [
        (row['what'], _short(row['measured']), _short(row['target']), '' if row['met'] else 'no')
        for row in compare(result)
    ]
    columns = 'target', 'measured', 'wanted', 'met'
    return {'parts': Table(header, tuple(parts)), 'targets': Table(columns, tuple(targets))}


def report(result: dict[str, Any]) -> str:
    """What each part took, then the targets, as Markdown."""
    machine, settings = result['machine'], result['settings']
    lines = [
        f'{machine["cpu"]}, {machine["cores"]} cores, {machine["memory_gb"]:g} GB, '
        f'{machine["system"]}; {settings["fraction"]:g} of COCO 2014, {settings["steps"]} steps',
        '',
    ]
    if made := result.get('stand_in'):
        sizes = ', '.join(
            f'{split} {size / 1e6:.1f} MB (COCO 2014: '
            f'{stand_in.SPLITS[split][2] * settings["fraction"] / 1e6:.1f})'
            for split, size in made['annotation_bytes'].items()
        )
        lines += [
            f'{made["images"]} images of {made["image_bytes"] / made["images"] / 1e3:.0f} KB on '
            f'average, {made["instances"]} instances, {made["crowds"]} crowds; '
            f'annotation files: {sizes}.',
            '',
        ]
    return '\n'.join(lines + [f'{each.to_markdown()}\n' for each in tables(result).values()])
