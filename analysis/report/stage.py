"""The report: all results of a run, to explore in a browser.

    python -m analysis.report --workdir runs/person_car
    python -m analysis.report --workdir runs/person_car --other runs/vehicle --single_file

Reads only the artifacts of the splits and steps that were analysed; it needs neither the network
nor the images. The artifact `samples` is required. The report also shows the others that exist;
`pictures`, `similarity_map` and `clusters` matter most. --other adds the analyses of another run.
If python -m analysis.compare was run on both, the report compares the two models.

Writes <workdir>/report/ (--output), whose index.html opens in any browser without a server or a
network and requests nothing outside its folder. An older report is replaced; another folder that is
not empty is refused. --single_file writes one file of at most --megabytes instead, with smaller
thumbnails and the most interesting large pictures only. --parquet also writes
samples-<view>.parquet for other tools.
"""

import argparse
import dataclasses
import pathlib
import shutil
from typing import Any

from pyarrow import parquet
from tqdm import tqdm

from analysis.report import contents as contents_lib
from analysis.report import export, single_file
from analysis.report.contents import Contents
from analysis.report.single_file import SOURCES
from analysis.stage.command import run_command
from segmentation import markdown


def write_folder(output: pathlib.Path, contents: Contents) -> dict[str, int]:
    """Writes the report as a folder; returns bytes by part.

    Raises:
      ValueError: the folder is not empty and not a report, or a picture is missing.
    """
    known = (output / 'data' / 'manifest.js').exists()
    if output.exists() and not known and (not output.is_dir() or any(output.iterdir())):
        raise ValueError(f'{output} is not a report and is not replaced: choose another --output.')
    partial, old = (output.with_name(f'.{output.name}.{what}') for what in ('partial', 'old'))
    for folder in (partial, old):
        shutil.rmtree(folder, ignore_errors=True)
    try:
        sizes = _fill(partial, contents)
        if output.exists():  # Renamed first: half of it would no longer count as a report.
            output.rename(old)
        partial.rename(output)
    finally:
        for folder in (partial, old):
            shutil.rmtree(folder, ignore_errors=True)
    return sizes


def _fill(folder: pathlib.Path, contents: Contents) -> dict[str, int]:
    copied = shutil.ignore_patterns('index.html', '__pycache__')
    shutil.copytree(SOURCES, folder / 'explorer', ignore=copied)
    shutil.copyfile(SOURCES / 'index.html', folder / 'index.html')
    sizes = dict.fromkeys(('data', 'thumbnails', 'details'), 0)

    def write(part: str, path: str, source: bytes | pathlib.Path) -> None:
        target = folder / 'data' / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(source, bytes):
            target.write_bytes(source)
        elif source.is_file():
            shutil.copyfile(source, target)
        else:
            raise ValueError(f'{source} is missing: run python -m analysis.pictures --force.')
        sizes[part] += target.stat().st_size

    for path, text in contents_lib.scripts(contents):
        write('data', path, text.encode())
    for name, shown in contents.views.items():
        files = list(contents_lib.picture_files(shown))
        for path, source in tqdm(files, desc=f'pictures of {name}', unit='file'):
            part = 'thumbnails' if path.startswith('sheets/') else 'details'
            write(part, f'{name}/{path}', source)
    return sizes


def _run(arguments: argparse.Namespace) -> dict[str, Any]:
    name = 'report.html' if arguments.single_file else 'report'
    output = arguments.output or arguments.workdir / name
    contents = contents_lib.read(arguments.workdir, arguments.other, arguments.first)
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
        written = {'bytes': write_folder(output, contents)}
        if arguments.parquet:
            for name, shown in contents.views.items():
                parquet.write_table(export.to_table(shown.view), output / f'samples-{name}.parquet')
    views = [shown.pieces.view for shown in contents.views.values()]
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
    print(f'\nOpen {page.resolve()} in a browser.')
    return {'page': str(page), 'written': written, 'manifest': contents.manifest}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog='python -m analysis.report',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--workdir', required=True, type=pathlib.Path, help='run directory')
    parser.add_argument(
        '--other', type=pathlib.Path, metavar='WORKDIR', help='another run to show beside it'
    )
    parser.add_argument(
        '--first', default='', metavar='SPLIT-STEP', help='first view; default: newest of val'
    )
    parser.add_argument(
        '--output', type=pathlib.Path, help='folder or file; default: report in the run directory'
    )
    parser.add_argument('--single_file', action='store_true', help='write one file, for e-mail')
    parser.add_argument(
        '--megabytes', type=float, default=20,
        help='maximum size of the single file; default: %(default)s',
    )  # fmt: skip
    parser.add_argument('--parquet', action='store_true', help='also write tables of the samples')
    parser.add_argument('--json', type=pathlib.Path, metavar='FILE', help='write the result here')
    return run_command(parser.parse_args(argv), _run)
