"""Writes a run directory with the artifacts of all analyses, for images that do not exist.

python -m tests.report_fixture runs/forty_thousand --images 40000
"""

import argparse
import pathlib
import sys

from tests.report_fixture import made_run


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('workdir', type=pathlib.Path)
    parser.add_argument('--images', type=int, default=300, help='default: %(default)s')
    parser.add_argument('--hostile', action='store_true', help='names that try to be markup')
    arguments = parser.parse_args(argv)
    made_run.write_run(arguments.workdir, arguments.images, hostile=arguments.hostile)
    return 0


if __name__ == '__main__':
    sys.exit(main())
