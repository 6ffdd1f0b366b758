"""The result of accelerator.py as tables and as Markdown."""

import itertools
import statistics

from analysis.experiments.records import Table
from segmentation import markdown

OURS, PEER = 'ours', 'PyTorch, compiled'


def _middle(entry: dict) -> float | None:
    return statistics.median(entry['per_second']) if 'per_second' in entry else None


def find_peaks(products: dict) -> dict[str, float]:
    """The largest median of a matrix product of any framework, TFLOP/s by precision."""
    peaks: dict[str, float] = {}
    for name, entry in products.items():
        precision, rate = name.partition(' ')[0], _middle(entry)
        if rate is not None:
            peaks[precision] = max(rate, peaks.get(precision, 0.0))
    return peaks


def tables(result: dict) -> dict[str, Table]:
    """The tables of the parts that were measured."""
    found = {}
    peaks = find_peaks(result.get('products', {}))
    if peaks:
        rows = tuple((name, f'{rate:.3g}') for name, rate in peaks.items())
        found['products'] = Table(('matrix product', 'TFLOP/s of the faster framework'), rows)
    if 'transposed' in result:
        found['transposed'] = _transposed(result['transposed'])
    if 'steps' in result or 'other_batches' in result:
        found['steps'] = _steps(result, peaks)
    return found


def report(result: dict) -> str:
    """The result as Markdown; parts that were not measured are left out."""
    machine = result['machine']
    versions = ', '.join(f'{name} {version}' for name, version in result['versions'].items())
    sections = [
        f'{result.get("device", "no device")}, {machine["cpu"]}, {machine["cores"]} cores, '
        f'{machine["system"]}. {versions}.'
    ]
    sections += [table.to_markdown() for table in tables(result).values()]
    if 'pipeline' in result:
        rates = {name: _middle(entry) for name, entry in result['pipeline'].items()}
        text = ', '.join(f'{name} {rate:.0f}' for name, rate in rates.items() if rate)
        sections.append(f'**Input pipeline**, img/s: {text or "absent"}.')
    if 'demo' in result:
        score, seconds = result['demo']['mean_iou_foreground'], result['demo']['seconds']
        sections.append(
            f'**Demo**: foreground mean IoU {markdown.number(score)} after {seconds:.0f} s of '
            'training, start included.'
        )
    if 'numerics' in result:
        sections.append(f'**Numerics**: {markdown.printable(result["numerics"]["summary"])}')
    if result['left_out']:
        sections.append(f'Left out for lack of time: {"; ".join(result["left_out"])}.')
    return '\n\n'.join(sections)


def _transposed(measured: dict) -> Table:
    rows = []
    for precision, entry in measured.items():
        for layer in (entry.get('results') or [{}])[0]:
            plain, sub_pixel = (
                1000 * statistics.median(turn[layer][form] for turn in entry['results'])
                for form in ('transposed', 'sub-pixel')
            )
            rows.append((layer, precision, f'{plain:.3f}', f'{sub_pixel:.3f}',
                         f'{plain / sub_pixel:.2f}'))  # fmt: skip
        if 'absent' in entry:
            rows.append(('absent', precision, entry['absent'], '', ''))
    header = 'transposed convolution', 'precision', 'ms', 'sub-pixel, ms', 'ratio'
    return Table(header, tuple(rows))


def _steps(result: dict, peaks: dict[str, float]) -> Table:
    """Utilization is FLOP of the convolutions over FLOP that a matrix product does in this time."""
    entries = result.get('transposed', {}).values()
    flops = [entry['about']['training_flop'] for entry in entries if 'about' in entry]
    rates = [_middle(entry) or 0 for entry in result.get('pipeline', {}).values()]
    rows = []
    parts = [result.get(part, {}) for part in ('steps', 'other_batches')]
    for precision, cells in itertools.chain.from_iterable(part.items() for part in parts):
        for batch, cell in cells.items():
            ours, peer = _middle(cell[OURS]), _middle(cell[PEER])
            for name, entry in cell.items():
                rate, use, feeds = _middle(entry), '', ''
                if rate is None:
                    rows.append((batch, precision, name, 'absent', entry['absent'], '', '', ''))
                    continue
                if flops and precision in peaks:
                    use = f'{100 * flops[0] * rate / 1e12 / peaks[precision]:.1f} %'
                if name == OURS and any(rates):
                    feeds = f'{max(rates) / rate:.1f}'
                against = f'{ours / peer:.2f}' if name == OURS and ours and peer else ''
                step = f'{1000 * int(batch) / rate:.2f}'
                rows.append((batch, precision, name, step, f'{rate:.0f}', use, against, feeds))
    size = result['settings']['image_size']
    header = ('batch', 'precision', f'step of {size}×{size}', 'ms', 'img/s', 'utilization',
              'ours / PyTorch', 'pipeline / step')  # fmt: skip
    return Table(header, tuple(rows))
