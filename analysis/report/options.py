"""The report: all results of a run, to explore in a browser.

    python -m analysis.report --workdir runs/person_car
    python -m analysis.report --workdir runs/person_car --other runs/vehicle --single_file

Reads only artifacts, those of all analyzed splits and steps; it needs neither the network nor the
images. `samples` is required. The report also shows the other artifacts that exist; `pictures`,
`similarity_map` and `clusters` matter most. --other adds the analyses of another run. If
python -m analysis.compare was run on both, the report compares the two models.

Writes <workdir>/report/ (--output), whose index.html opens in any browser without a server or a
network and requests nothing outside its folder. An older report is replaced; another folder that is
not empty is refused. --single_file writes one file of at most --megabytes instead, with smaller
thumbnails and the most interesting large pictures only. --parquet also writes
samples-<view>.parquet for other tools.

--with_model also puts the network into the folder, so that readers can try their own photographs:
the page shows the segmentation, the place on the map and the nearest samples. It needs the
checkpoint, the packages of `pip install -e '.[onnx]'`, and ONNX Runtime Web:

    npm install --no-save onnxruntime-web@1.30.0

int8, the default, is calibrated on training images of the run, so it also needs these.
"""

import argparse
import pathlib

from segmentation import launch

PRECISIONS = 'int8', 'float16'  # of the network in the report
PACKAGE = pathlib.Path('node_modules/onnxruntime-web')


def make_parser() -> argparse.ArgumentParser:
    """The parser of `python -m analysis.report`."""
    parser = launch.Parser(
        prog='python -m analysis.report',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--workdir', required=True, type=pathlib.Path, help='run directory')
    parser.add_argument(
        '--other', type=launch.local_path, metavar='WORKDIR', help='another run to show beside it'
    )
    parser.add_argument(
        '--first', default='', metavar='SPLIT-STEP', help='view shown first; default: newest of val'
    )
    parser.add_argument(
        '--output',
        type=launch.local_path,
        help='folder or file; default: report in the run directory',
    )
    parser.add_argument('--single_file', action='store_true', help='write one file, for e-mail')
    parser.add_argument(
        '--megabytes', type=float, default=20,
        help='maximum size of the single file; default: %(default)s',
    )  # fmt: skip
    parser.add_argument('--parquet', action='store_true', help='also write tables of the samples')
    about = 'views saved in the report, as columns of these tables'
    parser.add_argument('--views', type=pathlib.Path, metavar='FILE', help=about)
    parser.add_argument(
        '--with_model', nargs='?', const='int8', choices=PRECISIONS,
        help='put the network of the first view into the report; int8 (the default) is smaller, '
        'float16 agrees better with the report',
    )  # fmt: skip
    parser.add_argument(
        '--onnxruntime_web', type=pathlib.Path, metavar='FOLDER', default=PACKAGE,
        help='where npm has installed it, for --with_model; default: %(default)s',
    )  # fmt: skip
    parser.add_argument('--json', type=pathlib.Path, metavar='FILE', help='write the result here')
    return parser
