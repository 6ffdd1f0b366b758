"""The result of training_speed.py as ratios and as Markdown."""

import statistics
from collections.abc import Callable

from segmentation import markdown

OUR_NAMES = ('ours', 'ours, 2 workers')
PEER_NAMES = (
    'TensorFlow', 'PyTorch', 'PyTorch, compiled',
    'tf.data', 'DataLoader, in process', 'DataLoader, 2 workers',
)  # fmt: skip


def _best(contenders: dict, value: Callable[[dict], float], pick=max) -> str | None:
    """Name of the peer with the largest (or smallest) value; None if no peer ran."""
    names = [name for name in PEER_NAMES if name in contenders]
    return pick(names, key=lambda name: value(contenders[name]), default=None)


def compute_ratios(result: dict) -> dict:
    """Compares ours with the best peer; more than 1 means that ours is better.

    Args:
      result: of `Benchmark`, with any of the parts.

    Returns:
      `training`, `inference`, `pipeline`: our median rate over that of the fastest peer. Of the
      pipelines with and without worker processes, the faster one counts on either side.
      `memory_training`, `memory_inference`: peak memory of the leanest peer over ours, compilation
      included. `pipeline_over_training`: rate of our pipeline over that of our training.
      `against`: the peer of each ratio. Parts that were not measured or had no peer are missing.
    """
    ratios, against = {}, {}

    def rate(entry):
        return statistics.median(entry['per_second'])

    def our_rate(part):
        contenders = result[part]['contenders']
        return max(rate(entry) for name, entry in contenders.items() if name in OUR_NAMES)

    for part in ('training', 'inference', 'pipeline'):
        contenders = result.get(part, {}).get('contenders', {})
        if peer := _best(contenders, rate):
            ratios[part] = our_rate(part) / rate(contenders[peer])
            against[part] = peer
            if part == 'pipeline':
                continue
            peer = _best(contenders, lambda entry: entry['peak_mb'], min)
            ratios[f'memory_{part}'] = contenders[peer]['peak_mb'] / contenders['ours']['peak_mb']
            against[f'memory_{part}'] = peer
    if 'training' in result and 'pipeline' in result:
        ratios['pipeline_over_training'] = our_rate('pipeline') / our_rate('training')
    return {**ratios, 'against': against} if ratios else {}


def _table(header: list[str], rows: list[list]) -> str:
    return markdown.table(header, (map(str, row) for row in rows))


def _spread(values: list[float], digits: int = 1) -> str:
    middle = statistics.median(values)
    return f'{middle:.{digits}f} ({min(values):.{digits}f}–{max(values):.{digits}f})'


def report(result: dict) -> str:
    """The result as Markdown; parts that were not measured are left out."""
    machine, settings, ratios = result['machine'], result['settings'], result['ratios']
    versions = ', '.join(f'{name} {version}' for name, version in result['versions'].items())
    sections = [
        f'{machine["cpu"]}, {machine["cores"]} cores, {machine["memory_gb"]} GB, '
        f'{machine["system"]}. {versions}.\n\nFloat32, {settings["threads"]} threads each, batch '
        f'{settings["batch_size"]}, {settings["image_size"]}×{settings["image_size"]}. Median '
        f'(least–most) of {settings["rounds"]} alternating rounds.'
    ]
    for part in ('training', 'inference', 'pipeline'):
        if part in result:
            sections.append(_report_contenders(part, result[part], ratios))
    if 'waiting' in result:
        waiting = result['waiting']
        sections.append(
            '**Waiting for data** while training on images: '
            f'{100 * statistics.median(waiting["share"]):.2f} % of the time '
            f'({100 * min(waiting["share"]):.2f}–{100 * max(waiting["share"]):.2f} over windows of '
            f'{waiting["steps"]} steps), at '
            f'{statistics.median(waiting["images_per_second"]):.1f} img/s.'
        )
    if 'startup' in result:
        startup = result['startup']
        sections.append(
            '**Start** of scripts/train.py to the end of its first step: '
            f'{_spread(startup["cold"])} s with an empty compilation cache, '
            f'{_spread(startup["cached"])} s with a filled one.'
        )
    if 'layers' in result:
        sections.append(_report_layers(result))
    if 'scale' in result:
        sections.append(_report_scale(result['scale']))
    return '\n\n'.join(sections)


def _report_contenders(part: str, measured: dict, ratios: dict) -> str:
    contenders, memory = measured['contenders'], part != 'pipeline'
    header = [part, 'img/s'] + ['peak memory, MB'] * memory
    rows = []
    for name, entry in contenders.items():
        row = [name, _spread(entry['per_second'])]
        rows.append(row + [f'{entry["peak_mb"]:.0f}'] * memory)
    rows += [[name, 'absent'] + [''] * memory for name in measured['absent']]
    text = [_table(header, rows)]
    if part in ratios:
        text.append(f'Ours is {ratios[part]:.2f}× as fast as {ratios["against"][part]}')
        if memory:
            name = f'memory_{part}'
            text[-1] += f'; {ratios["against"][name]} needs {ratios[name]:.2f}× our memory'
        if 'pipeline_over_training' in ratios and not memory:
            text[-1] += f', and {ratios["pipeline_over_training"]:.1f}× as fast as our training'
        text[-1] += '.'
    if memory:
        count = contenders['ours']['parameters']
        text.append(f'Every network has {count:,} trainable parameters.')
    else:
        preparation = measured['preparation']
        text.append(
            f'{preparation["images"]} images; ours were prepared once before, in '
            f'{preparation["seconds"]:.1f} s.'
        )
    text += [f'{name} is absent: {reason}' for name, reason in measured['absent'].items()]
    return '\n\n'.join(text)


def training_flop(layer: dict) -> int:
    """FLOP of a layer in a training step: value, kernel gradient and, if needed, input gradient."""
    return layer['flop'] * (3 if layer['inputs_needed'] else 2)


def _report_layers(result: dict) -> str:
    measured, batch = result['layers'], result['settings']['batch_size']
    size = result['settings']['gemm_size']
    peaks = {name: statistics.median(values) for name, values in measured['gemm'].items()}
    peak = max(peaks.values())

    def row(name, layers, kind='', shapes=()):
        gflop = sum(map(training_flop, layers)) / 1e9
        seconds = sum(statistics.median(layer['seconds']) for layer in layers)
        speed = gflop / seconds
        return [name, kind, *shapes, f'{gflop:.2f}', f'{1000 * seconds:.1f}', f'{speed:.0f}',
                f'{100 * speed / peak:.0f} %']  # fmt: skip

    def shape(sizes):
        return '×'.join(map(str, sizes))

    columns = ['GFLOP', 'ms', 'GFLOP/s', 'of GEMM peak']
    layers = measured['layers']
    kinds = {}
    for layer in layers:
        kinds.setdefault(layer['kind'], []).append(layer)
    by_kind = [row(kind, members, len(members)) for kind, members in kinds.items()]
    by_kind.append(row('all', layers, len(layers)))
    single = [
        row(layer['name'], [layer], layer['kind'], [shape(layer['input']), shape(layer['kernel'])])
        for layer in layers
    ]
    flop = sum(map(training_flop, layers)) / batch
    text = [
        f'**Matrix products** of {size}×{size} in float32, GFLOP/s: '
        + ', '.join(f'{name} {_spread(v, 0)}' for name, v in measured['gemm'].items())
        + '.',
        f'**Layers**, each alone, forward and backward over the batch. A trained image takes '
        f'{flop / 1e9:.2f} GFLOP in convolutions.',
    ]
    if 'training' in result:
        rate = statistics.median(result['training']['contenders']['ours']['per_second'])
        text[-1] += (
            f' A training step takes {1000 * batch / rate:.0f} ms in all, '
            f'{100 * flop * rate / 1e9 / peak:.0f} % of the GEMM peak.'
        )
    text += [
        _table(['kind', 'layers', *columns], by_kind),
        _table(['layer', 'kind', 'input', 'kernel', *columns], single),
    ]
    return '\n\n'.join(text)


def _report_scale(scale: dict) -> str:
    tasks = {'prepare': 'preparation', 'evaluation': 'evaluation', 'epoch': 'training'}
    header = ['images'] + [f'{title}, {u}' for title in tasks.values() for u in ('ms/img', 'MB')]
    rows = []
    for row in scale['rows']:
        cells = [
            f'{row[task][key]:.{digits}f}'
            for task in tasks
            for key, digits in (('ms_per_image', 2), ('peak_mb', 0))
        ]
        rows.append([row['images'], *cells])
    return '**Scale**: time per image and peak memory.\n\n' + _table(header, rows)
