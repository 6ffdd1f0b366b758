"""The result of training_speed.py as ratios and as Markdown."""

import re
import statistics

from analysis.experiments.records import Table
from segmentation import markdown

OUR_NAMES = ('ours', 'ours, 2 workers')
PEER_NAMES = (
    'TensorFlow', 'PyTorch', 'PyTorch, compiled', 'ONNX Runtime', 'OpenVINO',
    'tf.data', 'DataLoader, in process', 'DataLoader, 2 workers', 'DALI, 2 workers',
)  # fmt: skip


def tables(result: dict) -> dict[str, dict]:
    """The measured tables of contenders by their titles."""
    found = {
        'training': result.get('training'),
        'training, frozen encoder': result.get('frozen'),
        **{f'inference, batch {n}': one for n, one in result.get('inference', {}).items()},
        'pipeline': result.get('pipeline'),
    }
    return {title: measured for title, measured in found.items() if measured}


def _rates(contenders: dict, names: tuple[str, ...]) -> dict[str, float]:
    return {
        name: statistics.median(contenders[name]['per_second'])
        for name in names
        if name in contenders
    }


def compute_ratios(result: dict) -> dict:
    """Compares ours with the best peer; more than 1 means that ours is better.

    Args:
      result: of `Benchmark`, with any of the parts.

    Returns:
      For each title of `tables` our median rate over that of the fastest peer. Of the pipelines
      with and without worker processes, the faster one counts on either side; those that keep
      decoded images do not count.
      `memory_` and the title, except for pipelines: least peak memory of a peer over ours, with
      programs that were compiled before.
      `pipeline_over_training`: rate of our pipeline over that of our training, the faster of the
      two kinds if both were measured.
      `against`: the peer of each ratio. Parts that were not measured or had no peer are missing.
    """
    ratios, against, ours = {}, {}, {}
    for title, measured in tables(result).items():
        contenders = measured['contenders']
        ours[title] = max(_rates(contenders, OUR_NAMES).values(), default=0)
        peers = _rates(contenders, PEER_NAMES)
        if peers:
            against[title] = max(peers, key=peers.get)
            ratios[title] = ours[title] / peers[against[title]]
        if peers and title != 'pipeline':
            memory, peaks = f'memory_{title}', {name: contenders[name]['peak_mb'] for name in peers}
            against[memory] = min(peaks, key=peaks.get)
            ratios[memory] = peaks[against[memory]] / contenders['ours']['peak_mb']
    consumed = [rate for title, rate in ours.items() if title.startswith('training')]
    if consumed and 'pipeline' in ours:
        ratios['pipeline_over_training'] = ours['pipeline'] / max(consumed)
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
        f'{settings["batch_size"]} in training, '
        f'{settings["image_size"]}×{settings["image_size"]}. Median (least–most) of '
        f'{settings["rounds"]} alternating rounds.'
    ]
    for title, measured in tables(result).items():
        sections.append(_report_contenders(title, measured, ratios))
    if 'waiting' in result:
        waiting = result['waiting']
        shares = [100 * share for share in waiting['share']]
        sections.append(
            '**Waiting for data** while training on images: '
            f'{statistics.median(shares):.2f} % of the time ({min(shares):.2f}–{max(shares):.2f} '
            f'over windows of {waiting["steps"]} steps), at '
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


def contender_tables(result: dict) -> dict[str, Table]:
    """`contender_table` of each part, by names such as `inference_batch_16`."""
    return {
        re.sub(r'\W+', '_', title): contender_table(title, measured)
        for title, measured in tables(result).items()
    }


def contender_table(title: str, measured: dict) -> Table:
    """Rates of contenders, our rate over theirs and, except for pipelines, their peak memory."""
    contenders = measured['contenders']
    ours = max(_rates(contenders, OUR_NAMES).values(), default=0)
    rows = [
        [
            name, _spread(entry['per_second']),
            f'{ours / statistics.median(entry["per_second"]):.2f}', f'{entry["peak_mb"]:.0f}',
        ]
        for name, entry in contenders.items()
    ]  # fmt: skip
    rows += [[name, 'absent', '', ''] for name in measured['absent']]
    columns = [title, 'img/s', 'ours / this', 'peak memory, MB'][: 3 if title == 'pipeline' else 4]
    return Table(tuple(columns), tuple(tuple(row[: len(columns)]) for row in rows))


def _report_contenders(title: str, measured: dict, ratios: dict) -> str:
    contenders, memory = measured['contenders'], title != 'pipeline'
    text = [contender_table(title, measured).to_markdown()]
    if title in ratios:
        against = ratios['against']
        text.append(f'Ours is {ratios[title]:.2f}× as fast as {against[title]}')
        if memory:
            name = f'memory_{title}'
            text[-1] += f'; {against[name]} needs {ratios[name]:.2f}× our memory'
        elif 'pipeline_over_training' in ratios:
            text[-1] += (
                f', and {ratios["pipeline_over_training"]:.1f}× as fast as our fastest training'
            )
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


def _report_layers(result: dict) -> str:
    measured, batch = result['layers'], result['settings']['batch_size']
    layers, size = measured['layers'], result['settings']['gemm_size']
    peak = max(map(statistics.median, measured['gemm'].values()))

    def row(layers: list[dict], *names: object) -> list:
        gflop = sum(layer['training_flop'] for layer in layers) / 1e9
        seconds = sum(statistics.median(layer['seconds']) for layer in layers)
        speed = gflop / seconds
        return [*names, f'{gflop:.2f}', f'{1000 * seconds:.1f}', f'{speed:.0f}',
                f'{100 * speed / peak:.0f} %']  # fmt: skip

    columns, kinds = ['GFLOP', 'ms', 'GFLOP/s', 'of GEMM peak'], {}
    for layer in layers:
        kinds.setdefault(layer['kind'], []).append(layer)
    by_kind = [row(members, kind, len(members)) for kind, members in kinds.items()]
    by_kind.append(row(layers, 'all', len(layers)))
    single = [
        row([layer], layer['name'], layer['kind'],
            *('×'.join(map(str, layer[array])) for array in ('input', 'kernel')))
        for layer in layers
    ]  # fmt: skip
    flop = sum(layer['training_flop'] for layer in layers) / batch
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
        rows.append([row['images']])
        for task in tasks:
            rows[-1] += [f'{row[task]["ms_per_image"]:.2f}', f'{row[task]["peak_mb"]:.0f}']
    return '**Scale**: time per image and peak memory.\n\n' + _table(header, rows)
