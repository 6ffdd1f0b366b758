"""Measures speed and memory of the report's page in headless Chromium.

    python scripts/benchmarks/explorer_page.py
    python scripts/benchmarks/explorer_page.py --images 40000,123287,1000000
    python scripts/benchmarks/explorer_page.py --report runs/person_car/report

Without --report it makes a run directory with all artifacts (tests/report_fixture/) for each
number of images and writes its report. The window has 1280×800 pixels, without GPU. It measures:

ready    seconds from opening the page to the frame that shows map and text, over several loads;
         and processor time until then, of scripts and of the main thread
steps    processor time per step, of scripts and of the main thread, for brushing over a histogram,
         moving over the dots of the map and zooming it, with filters applied to all charts
memory   afterwards, in MB: JavaScript heap without arrays; private memory of the page's process
         and of the browser's; most that each has had; shared memory (code and decoded images)
bytes    of the report per sample (data, thumbnails) and per large image
"""

import argparse
import collections
import dataclasses
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING

import psutil

from analysis.experiments.records import Origin, Record, Table
from analysis.stage.command import run_command
from segmentation import launch

if TYPE_CHECKING:
    import playwright.sync_api as playwright

ROOT = pathlib.Path(__file__).resolve().parents[2]
WINDOW = {'width': 1280, 'height': 800}
STEPS = 40
LEAST = 60  # samples of a report that is made
# Targets on two cores, by the greatest number of samples. `memory_mb` is that of both processes.
TARGETS = {
    40_000: {'ready_seconds': 2.0, 'brush_ms': 50.0, 'zoom_ms': 50.0, 'memory_mb': 400.0},
    123_287: {'ready_seconds': 1.5, 'brush_ms': 30.0, 'zoom_ms': 30.0, 'memory_mb': 600.0},
    1_000_000: {'ready_seconds': 5.0, 'brush_ms': 100.0, 'memory_mb': 1500.0},
}
BYTES = {'data': 1500.0, 'thumbnails': 4096.0}
# Two frames later the page is on screen.
_NOTICE_READY = """
new MutationObserver((_, observer) => {
  if (!document.body?.dataset.ready) return;
  observer.disconnect();
  requestAnimationFrame(() => requestAnimationFrame(() => { window.readyAt = performance.now(); }));
}).observe(document, { subtree: true, childList: true, attributes: true });
"""
_WHEN_READY = """
new Promise((done) => {
  const look = () => (window.readyAt ? done(window.readyAt) : requestAnimationFrame(look));
  look();
})
"""
_TWO_FRAMES = """
new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))
"""


class Meter:
    """Processor time of scripts and of the main thread of a page."""

    def __init__(self, page: 'playwright.Page'):
        self._page, self._session = page, page.context.new_cdp_session(page)
        # Processor time of the thread, not wall time.
        self._session.send('Performance.enable', {'timeDomain': 'threadTicks'})

    def read(self) -> dict[str, float]:
        """Chromium's metrics: `ScriptDuration`, `TaskDuration` in seconds since the page opened."""
        found = self._session.send('Performance.getMetrics')['metrics']
        return {metric['name']: metric['value'] for metric in found}

    def steps(self, actions: list) -> dict[str, dict[str, float]]:
        """Runs actions one by one; returns median and greatest milliseconds of each kind."""
        spent: dict[str, list[float]] = {'ScriptDuration': [], 'TaskDuration': []}
        for action in actions:
            before = self.read()
            action()
            self._page.evaluate(_TWO_FRAMES)
            after = self.read()
            for name, values in spent.items():
                values.append(1000 * (after[name] - before[name]))
        return {
            kind: {'median': statistics.median(values), 'most': max(values)}
            for kind, values in zip(('script', 'task'), spent.values(), strict=True)
        }

    def heap(self) -> float:
        """JavaScript heap after garbage collection, in bytes."""
        self._session.send('HeapProfiler.collectGarbage')
        return self.read()['JSHeapUsedSize']


def open_report(
    browser: 'playwright.Browser', index: pathlib.Path
) -> tuple['playwright.Page', Meter, dict[str, float]]:
    """Opens the page in a new context; returns also seconds and milliseconds until it was ready."""
    page = browser.new_context(viewport=WINDOW).new_page()
    page.add_init_script(_NOTICE_READY)
    meter = Meter(page)
    page.goto(index.resolve().as_uri())
    # Not wait_for_function: it needs eval, which the page's policy forbids.
    page.wait_for_selector('body[data-ready]', timeout=120_000)
    seconds = page.evaluate(_WHEN_READY) / 1000
    spent = meter.read()
    script, task = (1000 * spent[name] for name in ('ScriptDuration', 'TaskDuration'))
    return page, meter, {'seconds': seconds, 'script': script, 'task': task}


def _along(low: float, high: float) -> list[float]:
    return [low + (high - low) * step / (STEPS - 1) for step in range(STEPS)]


def measure_steps(page: 'playwright.Page', meter: Meter) -> dict[str, dict]:
    """Times of each step of brushing, moving over the map and zooming it."""
    page.wait_for_selector('body[data-loaded]')  # data that is loaded after the first frame
    page.wait_for_timeout(500)
    mouse, result = page.mouse, {}
    box = page.locator('[data-column="loss"] .brush .overlay').first.bounding_box()
    middle = box['y'] + box['height'] / 2
    mouse.move(box['x'] + 4, middle)
    mouse.down()
    places = _along(box['x'] + 6, box['x'] + box['width'] * 0.7)
    result['brush'] = meter.steps([lambda x=x: mouse.move(x, middle) for x in places])
    shown = page.evaluate('Filters.passing()')
    mouse.up()
    if not 0 < shown < page.evaluate('State.view.n'):
        raise RuntimeError('Brushing did not filter.')
    page.evaluate('Filters.clear()')
    page.wait_for_timeout(500)
    box = max(
        (canvas.bounding_box() for canvas in page.locator('canvas:visible').all()),
        key=lambda box: box['width'] * box['height'],
    )
    x, y = box['x'] + box['width'] / 2, box['y'] + box['height'] / 2
    places = _along(x - 150, x + 150)
    result['hover'] = meter.steps([lambda x=x: mouse.move(x, y) for x in places])
    mouse.move(x, y)
    result['zoom'] = meter.steps([lambda: mouse.wheel(0, -60)] * STEPS)
    return result


def memory_mb(browser: 'playwright.Browser') -> dict[str, float]:
    """Memory of the page's process and of the browser's, 10⁶ bytes; only on Linux.

    Of each: `private`, `shared` and `most`, the greatest resident memory so far.
    """
    session, sizes = browser.new_browser_cdp_session(), {}
    for process in session.send('SystemInfo.getProcessInfo')['processInfo']:
        if process['type'] not in ('renderer', 'browser') or sys.platform != 'linux':
            continue
        memory = psutil.Process(process['id']).memory_info()
        status = pathlib.Path(f'/proc/{process["id"]}/status').read_text()
        found = {
            'private': (memory.rss - memory.shared) / 1e6,
            'shared': memory.shared / 1e6,
            'most': int(re.search(r'VmHWM:\s+(\d+)', status)[1]) * 1024 / 1e6,
        }
        # The largest renderer is the page.
        if found['private'] > sizes.get(f'{process["type"]} private', 0):
            sizes |= {f'{process["type"]} {kind}': size for kind, size in found.items()}
    return sizes


def count_bytes(index: pathlib.Path, samples: int) -> dict[str, float]:
    """Bytes of a report's parts, per sample and per large image."""
    sizes, details = collections.Counter(), set()
    for path in filter(pathlib.Path.is_file, (index.parent / 'data').rglob('*')):
        folder = path.parent.name
        part = 'data' if path.suffix == '.js' else 'sheets' if folder == 'sheets' else 'details'
        sizes[part] += path.stat().st_size
        if folder == 'details':
            details.add(path.name.partition('-')[0])
    return {
        'data': sizes['data'] / samples,
        'thumbnails': sizes['sheets'] / samples,
        'detail': sizes['details'] / max(1, len(details)),
        'num_details': len(details),
    }


def measure(index: pathlib.Path, chromium: str, loads: int) -> dict:
    """Measures one report."""
    import playwright.sync_api as playwright

    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=['--no-sandbox'])
        ready = []
        for _ in range(loads):
            page, meter, spent = open_report(browser, index)
            ready.append(spent)
            if len(ready) < loads:
                page.context.close()
        samples = page.evaluate('State.manifest.views.reduce((sum, view) => sum + view.n, 0)')
        result = {
            'browser': browser.version,
            'samples': samples,
            'shown': page.evaluate('State.view.n'),
            'ready': ready,
            'steps': measure_steps(page, meter),
            'memory_mb': {'heap': meter.heap() / 1e6, **memory_mb(browser)},
            'bytes': count_bytes(index, samples),
        }
        browser.close()
    return result


def make_table(result: dict) -> Table:
    """The measured values beside their targets."""
    memory, size, shown = result['memory_mb'], result['bytes'], result['shown']
    targets = TARGETS[next((most for most in TARGETS if shown <= most), max(TARGETS))]
    rows: list[tuple[str, str, float | None]] = []
    for kind, title, spec, target in (
        ('seconds', 'ready, s', '.2f', targets['ready_seconds']),
        ('script', 'ready: script, ms', '.0f', None),
        ('task', 'ready: main thread, ms', '.0f', None),
    ):
        values = [spent[kind] for spent in result['ready']]
        middle, least, most = statistics.median(values), min(values), max(values)
        rows.append((title, f'{middle:{spec}} ({least:{spec}}–{most:{spec}})', target))
    for name, step in result['steps'].items():
        for kind, title, target in (
            ('script', 'script', targets.get(f'{name}_ms')),
            ('task', 'main thread', None),
        ):
            measured = f'{step[kind]["median"]:.1f} ({step[kind]["most"]:.1f})'
            rows.append((f'{name}: {title} per step, ms (most)', measured, target))
    rows += [(f'memory, {name}, MB', f'{value:.0f}', None) for name, value in memory.items()]
    if 'browser private' in memory:
        both = memory['renderer private'] + memory['browser private']
        rows.append(('memory, private, both, MB', f'{both:.0f}', targets['memory_mb']))
    rows += [
        ('data per sample, bytes', f'{size["data"]:.0f}', BYTES['data']),
        ('thumbnail, bytes', f'{size["thumbnails"]:.0f}', BYTES['thumbnails']),
        (f'large image, of {size["num_details"]} samples, bytes', f'{size["detail"]:.0f}', None),
    ]
    cells = [(name, text, '' if target is None else f'{target:g}') for name, text, target in rows]
    return Table(('measure', 'measured', 'at most'), tuple(cells))


def to_markdown(result: dict) -> str:
    """What was measured, and with which browser."""
    shown = result['shown']
    title = f'{shown} samples, Chromium {result["browser"]}'
    if (others := result['samples'] - shown) > 0:
        title = f'{shown} samples and {others} in other views, Chromium {result["browser"]}'
    return f'{title}\n\n{make_table(result).to_markdown()}\n'


def _make_report(scratch: pathlib.Path, images: int) -> pathlib.Path:
    """Writes a run directory and its report, whose folder is returned."""
    from analysis.report import stage as report

    folder, workdir = scratch / f'report-{images}', scratch / f'run-{images}'
    fixture = [sys.executable, '-m', 'tests.report_fixture', workdir]
    subprocess.run([*fixture, '--images', str(images)], cwd=ROOT, check=True)
    if report.main(['--workdir', str(workdir), '--output', str(folder)]):
        raise ValueError('The report cannot be written.')
    return folder


def work(arguments: argparse.Namespace) -> dict:
    if arguments.report and not (arguments.report / 'index.html').is_file():
        raise ValueError(f'{arguments.report} holds no report: it has no index.html')
    if min(arguments.images) < LEAST or arguments.loads < 1:
        raise ValueError(f'--images are at least {LEAST}, --loads at least 1')
    chromium = shutil.which(arguments.chromium)
    if not chromium:
        raise ValueError(f'There is no {arguments.chromium!r}: install Chromium.')
    results = []
    for images in [0] if arguments.report else arguments.images:
        with tempfile.TemporaryDirectory(prefix='benchmark-report-') as scratch:
            folder = arguments.report or _make_report(pathlib.Path(scratch), images)
            results.append(measure(folder / 'index.html', chromium, arguments.loads))
        print(to_markdown(results[-1]))
    origin = Origin.of_runs([], arguments.command, [0])
    tables = {f'samples_{each["shown"]}': make_table(each) for each in results}
    record = Record(dataclasses.replace(origin, devices=('cpu',)), tables)
    return {'reports': results, **dataclasses.asdict(record)}


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(',')]


def main(argv: list[str] | None = None) -> int:
    parser = launch.make_parser(__doc__, workdir='')
    add = parser.add_argument
    add('--report', type=pathlib.Path, metavar='FOLDER', help='folder of an existing report')
    about = f'numbers of samples without --report, {LEAST} or more, such as 40000,123287'
    add('--images', type=_numbers, default=[40_000], metavar='N,…', help=about)
    add('--loads', type=int, default=5, help='number of times that the page is loaded')
    add('--chromium', default='chromium', help='command that starts the browser')
    arguments = parser.parse_args(argv)
    arguments.command = launch.command_line('scripts/benchmarks/explorer_page.py', argv)
    return run_command(arguments, work)


if __name__ == '__main__':
    sys.exit(main())
