"""The report: everything that was found out about a run, to look at in a browser.

    python -m analysis.report --workdir runs/person_car
    python -m analysis.report --workdir runs/person_car --other runs/vehicle --single_file

Reads what the analyses have written, all splits and steps that were analysed, and neither network
nor photographs. Needed is `samples`; whatever else is there is shown, above all `pictures`,
`similarity_map` and `clusters`. With --other, the analyses of another run can be chosen too, and
if python -m analysis.compare was run, both models are compared.

Writes <workdir>/report/ (--output), whose index.html opens in any browser without server or network
and asks for nothing outside its folder. A report that is there is replaced; another folder with
something in it is left alone.

    index.html, explorer/    the page, its scripts and styles, as in analysis/explorer/
    data/manifest.js         which views there are
    data/<view>/             a view's pieces (analysis/report/view_data.py) and pictures
    data/compare-<i>.js      comparison of two models

--single_file writes one file (report.html in place of the folder) of at most --megabytes, to be
mailed: thumbnails are made smaller, and large pictures left out from the least interesting on, as
far as that takes. --parquet also writes samples-<view>.parquet for tools that read tables, with the
columns of samples.parquet, cluster, x and y (the map), neighbors {ids, distances} (rows) and image
{bytes, path} (thumbnails): what embedding-atlas (0.26) looks for, whose own command then is

    embedding-atlas samples-val-600.parquet --x x --y y --neighbors neighbors --image image
"""

import argparse
import base64
import datetime
import hashlib
import html
import io
import pathlib
import re
import shutil
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow
from PIL import Image
from pyarrow import parquet
from tqdm import tqdm

from analysis.clusters import stage as clusters
from analysis.compare import stage as compare
from analysis.pictures import stage as pictures
from analysis.report import view_data
from analysis.samples import stage as samples
from analysis.similar import stage as similar
from analysis.similarity_map import stage as maps
from analysis.stage import old_artifacts as artifacts
from analysis.stage.command import run_command
from analysis.stage.run import Analysis
from segmentation import markdown, overlays

SCHEMA_VERSION = 1
SOURCES = pathlib.Path(__file__).parents[1] / 'explorer'
# Sides of thumbnails in a single file: the largest that fits is taken, or none.
_THUMBS = (96, 80, 64, 48, 32)
# Of a single file, what large pictures get if the thumbnails are as large as they may be.
_DETAIL_SHARE = 0.25


def find_views(workdir: pathlib.Path) -> list[Analysis]:
    """What was analysed of a run, validation first, then by split and falling step.

    Raises:
      ValueError: nothing was.
    """
    names = sorted(path.parent.name for path in workdir.glob('analysis/*-*/samples.parquet'))
    found = [artifacts.open_written(workdir, name) for name in names]
    if not found:
        raise ValueError(f'{workdir} was not analysed: run python -m analysis.samples first.')
    return sorted(found, key=lambda a: (a.split != 'val', a.split, -a.run.step))


def _color(rgb: np.ndarray) -> str:
    return '#' + bytes(rgb.tolist()).hex()


def read_report(
    workdir: pathlib.Path, other: pathlib.Path | None, first: str
) -> tuple[dict, dict[str, dict], list[dict], dict[str, Analysis]]:
    """Everything that a report shows.

    Args:
      workdir: the run directory.
      other: another run's, if any.
      first: view that is shown first, `<split>-<step>`; empty for the newest of validation.

    Returns:
      The manifest, the pieces of each view (`report_data.read_view`) by name, comparisons, and the
      analyses by name of their view.

    Raises:
      ValueError: a run was not analysed, or an artifact does not fit.
    """
    analyses = {analysis.folder.name: analysis for analysis in find_views(workdir)}
    first = first or next(iter(analyses))
    if first not in analyses:
        raise ValueError(f'There is no analysis {first!r}; there are {", ".join(analyses)}.')
    newest = max(_newest(analysis) for analysis in analyses.values())
    run_names, comparisons = {workdir: workdir.resolve().name}, []
    if other:
        # Runs of a reproduction differ in the name of their parent.
        parts = [path.resolve().parts[-2:] for path in (workdir, other)]
        names = [path[-1] for path in parts]
        if names[0] == names[1]:
            names = ['-'.join(path) for path in parts]
        run_names = {workdir: names[0], other: names[1]}
        for analysis in find_views(other):
            name = f'{re.sub("[^A-Za-z0-9_-]+", "-", run_names[other])}-{analysis.folder.name}'
            analyses[name] = analysis
    views = {}
    for name, analysis in tqdm(analyses.items(), desc='views', unit='view'):
        views[name] = view_data.read_view(analysis)
        views[name]['view'] |= {'name': name, 'run_name': run_names[analysis.run.workdir]}
        views[name]['view']['pieces'] = [
            {'key': f'{piece}/{name}', 'file': f'{piece}.js'}
            for piece in ('similar', 'findings')
            if views[name][piece]
        ]
    if other:
        comparisons = _comparisons(analyses, other)
    chosen = analyses[first]
    manifest = {
        'schema_version': SCHEMA_VERSION,
        'title': f'{run_names[workdir]}: {", ".join(chosen.run.class_names[1:])}',
        'run': run_names[workdir],
        'views': [
            {key: view['view'][key] for key in ('name', 'run', 'run_name', 'split', 'step', 'n')}
            for view in views.values()
        ],
        'default': first,
        'fingerprint': chosen.run.data['fingerprint']['id'],
        'class_names': list(chosen.run.class_names),
        'class_colors': [
            _color(rgb) for rgb in overlays.colorize(np.arange(len(chosen.run.class_names)))
        ],
        # Of the artifacts, so that the same artifacts make the same report.
        'created': datetime.datetime.fromtimestamp(int(newest), datetime.UTC).isoformat(),
        'compare': [
            {key: comparison[key] for key in ('this', 'other', 'name')}
            | {'file': f'compare-{i}.js'}
            for i, comparison in enumerate(comparisons)
        ],
        'single_file': False,
    }
    return manifest, views, comparisons, analyses


def _newest(analysis: Analysis) -> float:
    return max(path.stat().st_mtime for path in analysis.folder.iterdir() if path.is_file())


def _comparisons(analyses: dict[str, Analysis], other: pathlib.Path) -> list[dict]:
    """Comparisons with views of the other run, with the rows of the images that both have."""
    result = []
    for name, this in analyses.items():
        for other_name, that in analyses.items():
            if this.run.workdir == other or that.run.workdir != other or this.split != that.split:
                continue
            kind = compare.artifact_kind(that.run)
            if not (this.folder / f'{kind}.json').exists():
                continue
            _, *rows = np.intersect1d(
                this.examples.image_ids, that.examples.image_ids, return_indices=True
            )
            content = artifacts.load_json(this, kind, compare.VERSION)
            # As they were given now: they may have been moved since.
            for side, analysis in (('this', this), ('other', that)):
                content[side] |= {'workdir': str(analysis.run.workdir)}
            result.append(
                {
                    'this': name,
                    'other': other_name,
                    'name': f'{name} and {other_name}',
                    'rows': {
                        side: view_data.encode(numbers.astype(np.int32))
                        for side, numbers in zip(('this', 'other'), rows, strict=True)
                    },
                    'result': content,
                }
            )
    return result


def scripts(
    manifest: dict, views: dict[str, dict], comparisons: list[dict]
) -> Iterator[tuple[str, str]]:
    """(path within data/, JavaScript) of every piece."""
    yield 'manifest.js', view_data.to_script('manifest', manifest)
    for name, pieces in views.items():
        for piece in ('view', 'similar', 'findings'):
            if content := pieces[piece]:
                if piece == 'similar':
                    content = {'similar': content}
                yield f'{name}/{piece}.js', view_data.to_script(f'{piece}/{name}', content)
    for i, comparison in enumerate(comparisons):
        content = {**comparison['result'], 'rows': comparison['rows']}
        key = f'compare/{comparison["name"]}'
        yield f'compare-{i}.js', view_data.to_script(key, content)


def picture_files(analysis: Analysis, pieces: dict) -> Iterator[tuple[str, pathlib.Path | bytes]]:
    """(path within data/<view>/, file or content) of every picture of a view."""
    described = pieces['view'].get('pictures', {'sheets': [], 'details': {}})
    for sheet in described['sheets']:
        for path in sheet.values():
            yield path, analysis.folder / 'pictures' / path
    for paths in described['details'].values():
        for path in pictures.detail_files(paths):
            yield path, analysis.folder / 'pictures' / path
    yield from pieces['files'].items()


def write_folder(
    output: pathlib.Path,
    manifest: dict,
    views: dict[str, dict],
    comparisons: list[dict],
    analyses: dict[str, Analysis],
) -> dict[str, int]:
    """Writes the report as a folder; returns bytes by part.

    Raises:
      ValueError: the folder has something else in it, or a picture is missing.
    """
    known = (output / 'data' / 'manifest.js').exists()
    if output.exists() and not known and (not output.is_dir() or any(output.iterdir())):
        raise ValueError(f'{output} is no report, and is left alone: choose another --output.')
    partial, old = (output.with_name(f'.{output.name}.{what}') for what in ('partial', 'old'))
    for folder in (partial, old):
        shutil.rmtree(folder, ignore_errors=True)
    try:
        sizes = _fill(partial, manifest, views, comparisons, analyses)
        if output.exists():  # Half of it, should this be killed, would be no report any more.
            output.rename(old)
        partial.rename(output)
    finally:
        for folder in (partial, old):
            shutil.rmtree(folder, ignore_errors=True)
    return sizes


def _fill(folder, manifest, views, comparisons, analyses) -> dict[str, int]:
    copied = shutil.ignore_patterns('index.html', '__pycache__')
    shutil.copytree(SOURCES, folder / 'explorer', ignore=copied)
    shutil.copyfile(SOURCES / 'index.html', folder / 'index.html')
    sizes = dict.fromkeys(('data', 'thumbnails', 'details'), 0)
    for path, text in scripts(manifest, views, comparisons):
        target = folder / 'data' / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        sizes['data'] += len(text)
    for name, pieces in views.items():
        files = list(picture_files(analyses[name], pieces))
        for path, source in tqdm(files, desc=f'pictures of {name}', unit='file'):
            target = folder / 'data' / name / path
            target.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(source, bytes):
                target.write_bytes(source)
            elif source.is_file():
                shutil.copyfile(source, target)
            else:
                raise ValueError(f'{source} is missing: run python -m analysis.pictures --force.')
            part = 'thumbnails' if path.startswith('sheets/') else 'details'
            sizes[part] += target.stat().st_size
    return sizes


def _resize_sheet(data: bytes, side: int, is_image: bool) -> bytes:
    """A sheet with thumbnails of `side` pixels."""
    sheet = Image.open(io.BytesIO(data), formats=['WEBP'])
    size = tuple(length * side // pictures.THUMB for length in sheet.size)
    how = Image.Resampling.LANCZOS if is_image else Image.Resampling.NEAREST
    small = np.asarray(sheet.convert('RGB' if is_image else 'RGBA').resize(size, how))
    return pictures.encode(small, quality=60) if is_image else pictures.encode(small)


def _choose_thumbs(analyses: dict[str, Analysis], views: dict[str, dict], room: float) -> int:
    """The largest side of thumbnails for which all of them fit into `room` bytes; 0 for none.

    Judged by every 20th sheet.
    """
    for side in _THUMBS:
        total = 0.0
        for name, pieces in views.items():
            sheets = pieces['view'].get('pictures', {'sheets': []})['sheets']
            tried = sheets[::20]
            for sheet in tried:
                for kind, path in sheet.items():
                    data = (analyses[name].folder / 'pictures' / path).read_bytes()
                    small = _resize_sheet(data, side, kind == 'image')
                    total += len(small) * len(sheets) / len(tried)
        if total * 4 / 3 <= room:
            return side
    return 0


def write_single_file(
    output: pathlib.Path,
    manifest: dict,
    views: dict[str, dict],
    comparisons: list[dict],
    analyses: dict[str, Analysis],
    limit: int,
) -> dict[str, Any]:
    """Writes the report as one file of at most `limit` bytes; returns what went in.

    Raises:
      ValueError: even without pictures it would be larger.
    """
    if output.exists() and 'explorer.provide(' not in output.read_text(errors='replace'):
        raise ValueError(f'{output} is no report, and is left alone: choose another --output.')
    manifest = {**manifest, 'single_file': True}
    page = sum(path.stat().st_size for path in SOURCES.rglob('*') if path.is_file())
    room = limit - page - 1000 * len(views)
    room -= sum(len(text) for _, text in scripts(manifest, views, comparisons))
    if room < 0:
        raise ValueError(
            f'One file of all views would be {-room / 1e6:.1f} MB larger than --megabytes allows, '
            'even without pictures: raise it, or write a folder.'
        )
    side = _choose_thumbs(analyses, views, room * (1 - _DETAIL_SHARE))
    files: dict[str, str] = {}

    def add(name: str, path: str, data: bytes) -> int:
        text = f'image/webp;{base64.b64encode(data).decode()}'
        files[f'{name}/{path}'] = text
        return len(text) + len(name) + len(path) + 10

    for name, pieces in views.items():
        described = pieces['view'].get('pictures')
        if described and not side:
            del pieces['view']['pictures']
        elif described:
            described['thumb_size'] = side
            for sheet in tqdm(described['sheets'], desc=f'thumbnails of {name}', unit='sheet'):
                for kind, path in sheet.items():
                    data = (analyses[name].folder / 'pictures' / path).read_bytes()
                    room -= add(name, path, _resize_sheet(data, side, kind == 'image'))
            for path, data in pieces['files'].items():
                if path.startswith('clusters/'):
                    room -= add(name, path, data)
    kept = 0
    for name, pieces in views.items():
        details = pieces['view'].get('pictures', {'details': {}})['details']
        for row in list(details):
            # JSON keeps their order: the most interesting first.
            paths = details[row]
            data = {
                path: (analyses[name].folder / 'pictures' / path).read_bytes()
                for path in pictures.detail_files(paths)
            } | {path: pieces['files'][path] for path in paths.get('saliency', {}).values()}
            size = sum(len(part) * 4 / 3 + len(path) + 60 for path, part in data.items())
            if size <= room:
                room -= sum(add(name, path, part) for path, part in data.items())
                kept += 1
            else:
                del details[row]
    texts = [view_data.to_script('files', files)]
    texts += [text for _, text in scripts(manifest, views, comparisons)]
    partial = output.with_name(f'.{output.name}.partial')
    partial.write_text(inline(''.join(texts)))
    partial.replace(output)
    return {'bytes': output.stat().st_size, 'thumb_size': side, 'details': kept}


def inline(data: str) -> str:
    """The page with its scripts, styles and `data` in it; nothing else may run."""
    page, hashes = (SOURCES / 'index.html').read_text(), []

    def script(text: str) -> str:
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        hashes.append(f"'sha256-{digest}'")
        return f'<script>{text}</script>'

    def replace_script(match: re.Match) -> str:
        source = html.unescape(match[1])
        file = SOURCES / source.removeprefix('explorer/')
        text = data if source == 'data/manifest.js' else file.read_text()
        if '</script' in text.lower():
            raise ValueError(f'{source} would end its own script element.')
        return script(text)

    def replace_style(match: re.Match) -> str:
        return f'<style>{(SOURCES / match[1].removeprefix("explorer/")).read_text()}</style>'

    page = re.sub(r'<script src="([^"]+)"></script>', replace_script, page)
    page = re.sub(r'<link rel="stylesheet" href="([^"]+)">', replace_style, page)
    policy = (
        f"default-src 'none'; script-src {' '.join(hashes)}; style-src 'unsafe-inline'; "
        'img-src data: blob:'
    )
    return re.sub(
        r'(<meta http-equiv="Content-Security-Policy"\s+content=")[^"]*',
        lambda match: match[1] + policy,
        page,
        count=1,
    )


def to_table(analysis: Analysis) -> pyarrow.Table:
    """What --parquet writes, see the module's docstring.

    Raises:
      ValueError: an artifact is damaged or does not fit; samples.parquet is missing.
    """
    table = samples.load(analysis).replace_schema_metadata(None)
    there = {path.name for path in analysis.folder.iterdir()}
    if 'clusters.json' in there:
        names, label = clusters.names(analysis), clusters.load(analysis)['label']
        table = table.append_column('cluster', [[f'{k}: {names[k]}' for k in label]])
    if 'similarity_map.npz' in there:
        points = maps.load(analysis)['map_2d']
        for name, values in zip('xy', points.T, strict=True):
            table = table.append_column(name, pyarrow.array(values))
    if 'similar.npz' in there:
        found = similar.load(analysis)
        parts = [pyarrow.array(list(found[key])) for key in ('index', 'distance')]
        neighbors = pyarrow.StructArray.from_arrays(parts, ['ids', 'distances'])
        table = table.append_column('neighbors', neighbors)
    if 'pictures.json' in there:
        pixels = _thumbnails(analysis, pictures.load(analysis))
        names = table['file_name'].to_pylist()
        images = [
            {'bytes': pictures.encode(tile, quality=75), 'path': name}
            for tile, name in zip(pixels, names, strict=True)
        ]
        table = table.append_column('image', pyarrow.array(images))
    return table


def _thumbnails(analysis: Analysis, described: dict) -> Iterator[np.ndarray]:
    side, columns = described['thumb_size'], described['columns']
    for row in range(len(analysis.examples)):
        number, place = divmod(row, described['per_sheet'])
        if place == 0:
            path = analysis.folder / 'pictures' / described['sheets'][number]['image']
            sheet = np.asarray(Image.open(path, formats=['WEBP']).convert('RGB'))
        y, x = (side * index for index in divmod(place, columns))
        yield sheet[y : y + side, x : x + side]


def _run(arguments: argparse.Namespace) -> dict:
    output = arguments.output or arguments.workdir / (
        'report.html' if arguments.single_file else 'report'
    )
    found = read_report(arguments.workdir, arguments.other, arguments.first)
    manifest, views, _, analyses = found
    output.parent.mkdir(parents=True, exist_ok=True)
    if arguments.single_file:
        written = write_single_file(output, *found, int(arguments.megabytes * 1e6))
        size = f'{written["bytes"] / 1e6:.1f} MB'
        print(
            f'{output}: {size}; thumbnails of {written["thumb_size"]} pixels (0: none), large '
            f'pictures of {written["details"]} images.\n'
        )
    else:
        written = {'bytes': write_folder(output, *found)}
        if arguments.parquet:
            for name, analysis in analyses.items():
                parquet.write_table(to_table(analysis), output / f'samples-{name}.parquet')
    rows = [
        (
            name,
            pieces['view']['split'],
            str(pieces['view']['step']),
            str(pieces['view']['n']),
            ', '.join(pieces['view']['missing']) or '–',
        )
        for name, pieces in views.items()
    ]
    print(markdown.table(('view', 'split', 'step', 'images', 'not analysed'), rows))
    page = output if arguments.single_file else output / 'index.html'
    print(f'\nOpen {page.resolve()} in a browser.')
    return {'page': str(page), 'written': written, 'manifest': manifest}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog='python -m analysis.report',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--workdir', required=True, type=pathlib.Path, help='run directory')
    parser.add_argument(
        '--other', type=pathlib.Path, metavar='WORKDIR', help='another run, shown beside it'
    )
    parser.add_argument(
        '--first', default='', metavar='SPLIT-STEP', help='view to begin with; default: val, newest'
    )
    parser.add_argument(
        '--output', type=pathlib.Path, help='folder, or file; default: report in the run directory'
    )
    parser.add_argument('--single_file', action='store_true', help='one file, to be mailed')
    parser.add_argument(
        '--megabytes', type=float, default=20, help='of a single file; default: %(default)s'
    )
    parser.add_argument('--parquet', action='store_true', help='also write tables of the samples')
    parser.add_argument('--json', type=pathlib.Path, metavar='FILE', help='write the result here')
    return run_command(parser.parse_args(argv), _run)
