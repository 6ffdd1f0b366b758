"""The command line that all analyses share."""

import argparse
import contextlib
import pathlib
from collections.abc import Callable
from typing import Any

from analysis.stage.artifacts import Result
from analysis.stage.view import SPLITS, Parts
from segmentation import buckets, launch
from segmentation.files import write_json


def add_arguments(
    parser: argparse.ArgumentParser, required: bool = True, several: bool = False
) -> None:
    """The arguments by which commands say which checkpoint and images they are about.

    Args:
      parser: gets the arguments.
      required: whether --workdir is.
      several: whether several splits, and folders, can be analyzed together.
    """
    parser.add_argument('--workdir', required=required, type=pathlib.Path, help='run directory')
    about = 'val is held out for reporting, selection chose the checkpoint; default: %(default)s'
    if several:
        parser.add_argument(
            '--split', '--splits', default='val', type=_several, metavar='SPLIT[,SPLIT…]',
            help=f'images to analyze, val, selection or train, or several together; {about}',
        )  # fmt: skip
        parser.add_argument(
            '--folder', nargs='+', default=[], type=pathlib.Path, metavar='FOLDER',
            help='also analyze the images of these folders, which have no annotations',
        )  # fmt: skip
    else:
        parser.add_argument(
            '--split', default='val', choices=SPLITS, help=f'images to analyze: {about}'
        )
    parser.add_argument(
        '--checkpoint',
        default='best',
        help="checkpoint to analyze: 'best', 'latest' or a step; default: %(default)s",
    )
    parser.add_argument(
        '--data_path', default='', help='where the prepared data set is now, if it was moved'
    )


def _several(text: str) -> str:
    names = text.split(',')
    if unknown := [name for name in names if name not in SPLITS]:
        raise argparse.ArgumentTypeError(
            f'unknown split {unknown[0]!r}: use one of {", ".join(SPLITS)}, or several with commas'
        )
    return ','.join(dict.fromkeys(names))


def make_parser(
    name: str, description: str | None, several: bool = False
) -> argparse.ArgumentParser:
    """The parser of `python -m analysis.<name>`, to which its own arguments are added.

    `several`: whether it can analyze several splits, and folders, together.
    """
    parser = launch.Parser(
        prog=f'python -m analysis.{name}',
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_arguments(parser, several=several)
    parser.add_argument(
        '--json', type=pathlib.Path, metavar='FILE', help='also write the result to this file'
    )
    return parser


def add_force(parser: argparse.ArgumentParser) -> None:
    """The argument that computes a result again."""
    parser.add_argument(
        '--force', action='store_true', help='compute the result again, even if it is up to date'
    )


def add_pool(parser: argparse.ArgumentParser) -> None:
    """The argument that adds the other folds of an experiment; see `run.open_pool`."""
    parser.add_argument(
        '--pool', nargs='+', default=[], type=pathlib.Path, metavar='WORKDIR',
        help='run directories of the other folds of the experiment, whose images are added',
    )  # fmt: skip


def stage_parser(
    result: type[Result], description: str | None, **settings: tuple[Any, str]
) -> argparse.ArgumentParser:
    """The parser of a stage without other arguments than its settings.

    Args:
      result: what the stage computes.
      description: the docstring of its module `options`.
      **settings: default and help of each setting; a default that is a tuple takes several values.
    """
    parser = make_parser(result.NAME, description, result.PARTS is not Parts.ONE)
    for name, (default, text) in settings.items():
        many = isinstance(default, tuple)
        shown = ' '.join(map(str, default)) if many else default
        parser.add_argument(
            f'--{name}', type=_type_of(default[0] if many else default), default=default,
            nargs='+' if many else None, help=f'{text}; default: {shown}' if shown != '' else text,
        )  # fmt: skip
    add_force(parser)
    launch.add_processes(parser)
    return parser


def _type_of(default: Any) -> Callable[[str], Any]:
    """The type of a setting; whole numbers are not negative."""

    def number(text: str) -> int:
        if (value := int(text)) < 0:
            raise argparse.ArgumentTypeError(f'must not be negative: {value}')
        return value

    return number if type(default) is int else type(default)


@launch.command
def run_command(
    arguments: argparse.Namespace, work: Callable[[argparse.Namespace], dict[str, Any]]
) -> int:
    """Runs a command: `work` prints its result for people and returns it for `--json`.

    Returns:
      The exit status, see `launch.command`.
    """
    first = launch.join_processes(arguments)
    with contextlib.ExitStack() as stack:
        if vars(arguments).get('workdir'):
            arguments.workdir, _ = stack.enter_context(buckets.opened(arguments.workdir))
        result = work(arguments)
    if arguments.json and first:
        write_json(arguments.json, result)
    return 0
