"""The report: all results of a run, to explore in a browser."""

import argparse
import dataclasses
import pathlib
import shutil
from typing import Any

from pyarrow import parquet
from tqdm import tqdm

from analysis.report import browser_model, export, single_file
from analysis.report import contents as contents_lib
from analysis.report.browser_model import BrowserModel
from analysis.report.contents import Contents
from analysis.report.options import make_parser
from analysis.report.single_file import SOURCES
from analysis.stage.command import run_command
from segmentation import markdown
from segmentation.data import selection


def write_folder(
    output: pathlib.Path, contents: Contents, model: BrowserModel | None = None
) -> dict[str, int]:
    """Writes the report as a folder, with the network if it is given; returns bytes by part.

    Raises:
      ValueError: the folder is not empty and not a report, or a picture is missing.
    """
    output = output.resolve()  # '.' has no name
    known = (output / 'data' / 'manifest.js').exists()
    if output.exists() and not known and (not output.is_dir() or any(output.iterdir())):
        raise ValueError(f'{output} is not a report and is not replaced: choose another --output.')
    partial, old = (output.with_name(f'.{output.name}.{what}') for what in ('partial', 'old'))
    for folder in (partial, old):
        shutil.rmtree(folder, ignore_errors=True)
    try:
        sizes = _fill(partial, contents, model)
        # Renamed first: a half-deleted report is not recognized as one.
        if output.exists():
            output.rename(old)
        partial.rename(output)
    finally:
        if old.exists() and not output.exists():
            old.rename(output)  # stopped between the two
        for folder in (partial, old):
            shutil.rmtree(folder, ignore_errors=True)
    return sizes


def _fill(folder: pathlib.Path, contents: Contents, model: BrowserModel | None) -> dict[str, int]:
    copied = shutil.ignore_patterns('index.html', '__pycache__')
    shutil.copytree(SOURCES, folder / 'explorer', ignore=copied)
    page = (SOURCES / 'index.html').read_text()
    (folder / 'index.html').write_text(browser_model.allow(page) if model else page)
    sizes = dict.fromkeys(('data', 'thumbnails', 'details'), 0) | ({'model': 0} if model else {})

    def write(part: str, path: str, source: bytes | pathlib.Path) -> None:
        target = folder / 'data' / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(source, bytes):
            target.write_bytes(source)
        elif source.is_file():
            shutil.copyfile(source, target)
        else:
            stage = source.parts[-3]
            raise ValueError(f'{source} is missing: run python -m analysis.{stage} --force.')
        sizes[part] += target.stat().st_size

    for path, text in contents_lib.scripts(contents):
        write('data', path, text.encode())
    for name, shown in contents.views.items():
        files = list(contents_lib.picture_files(shown))
        for path, source in tqdm(files, desc=f'pictures of {name}', unit='file'):
            part = 'thumbnails' if path.startswith('sheets/') else 'details'
            write(part, f'{name}/{path}', source)
    for path, data in model.files() if model else ():
        write('model', path, data)
    return sizes


def _run(arguments: argparse.Namespace) -> dict[str, Any]:
    name = 'report.html' if arguments.single_file else 'report'
    output = arguments.output or arguments.workdir / name
    contents = contents_lib.read(arguments.workdir, arguments.other, arguments.first)
    first = contents.manifest['default']
    fingerprint = contents.views[first].view.data['fingerprint']['id']
    saved = selection.read_views(arguments.views, fingerprint) if arguments.views else {}
    model = None
    if arguments.with_model:
        model = browser_model.prepare(
            first, contents.views[first].view, arguments.with_model, arguments.onnxruntime_web
        )
        contents.manifest['model'] = model.describe()
    output.parent.mkdir(parents=True, exist_ok=True)
    written: dict[str, Any]
    if arguments.single_file:
        file = single_file.write(output, contents, int(arguments.megabytes * 1e6))
        written = dataclasses.asdict(file)
        print(
            f'{output}: {file.bytes / 1e6:.1f} MB; thumbnails of {file.thumb_size} pixels (0: '
            f'none), large pictures of {file.details} images.\n'
        )
    else:
        written = {'bytes': write_folder(output, contents, model)}
        if arguments.parquet:
            for name, shown in contents.views.items():
                if not shown.has_images:
                    continue
                table = export.to_table(shown.view, saved)
                parquet.write_table(table, output / f'samples-{name}.parquet')
    views = [shown.pieces.view for shown in contents.views.values() if shown.has_images]
    rows = [
        (
            *(str(view[key]) for key in ('name', 'split', 'step', 'n')),
            ', '.join(name for name in view['missing'] if name not in view['unavailable']) or '–',
            ', '.join(view['unavailable']) or '–',
        )
        for view in views
    ]
    print(
        markdown.table(('view', 'split', 'step', 'images', 'stages not run', 'not available'), rows)
    )
    page = output if arguments.single_file else output / 'index.html'
    if model:
        megabytes = written['bytes']['model'] / 1e6
        print(f'\nThe report contains the network in {model.precision}: {megabytes:.1f} MB.')
    print(f'\nOpen {page.resolve()} in a browser.')
    return {'page': str(page), 'written': written, 'manifest': contents.manifest}


def main(argv: list[str] | None = None) -> int:
    parser = make_parser()
    arguments = parser.parse_args(argv)
    if arguments.views and not arguments.parquet:
        parser.error('--views needs --parquet, whose tables get the columns')
    if arguments.single_file and arguments.parquet:
        parser.error('--parquet needs a folder: leave --single_file out')
    if arguments.single_file and arguments.with_model:
        parser.error('--with_model needs a folder: leave --single_file out')
    return run_command(arguments, _run)
