"""Shared by all commands: arguments, exit statuses, error messages, signals, several hosts."""

import argparse
import contextlib
import functools
import logging
import os
import pathlib
import shlex
import signal
import sys
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import FrameType
from typing import Any

import absl.logging

from segmentation import buckets
from segmentation.markdown import printable_lines

logger = logging.getLogger(__name__)

# "Temporary failure, try again" and "data error" of sysexits.h. A scheduler may restart the first.
EXIT_STOPPED = 75
EXIT_DIVERGED = 65
EXIT_INTERRUPTED = 130
INTERRUPTED = 'Stopped by Ctrl-C. The same command continues.'


class TrainingStopped(Exception):
    """A signal asked to stop; the state is saved and the same command continues."""


class TrainingDiverged(RuntimeError):
    """The loss, a gradient or the state is no longer finite."""


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Keeps the lines of the description, and shows the default of each option that has one."""

    def _get_help_string(self, action: argparse.Action) -> str:
        text, default = action.help or '', action.default
        none = default is None or default is False or default in ('', [], argparse.SUPPRESS)
        return text if none or 'default' in text else f'{text}; default: %(default)s'


class Parser(argparse.ArgumentParser):
    """Also checks the folder of --json, so that no work is lost because of it."""

    def parse_known_args(self, args=None, namespace=None):  # type: ignore[no-untyped-def]
        """As argparse documents it; ends the process if there is no folder for the result."""
        found, strangers = super().parse_known_args(args, namespace)
        file: pathlib.Path | None = getattr(found, 'json', None)
        # The folder may also be one that the command makes, such as --workdir.
        if file and not any(file.parent == value for value in vars(found).values()):
            if not file.parent.is_dir():
                self.error(f'--json {file}: there is no folder {file.parent}; make it first')
            if file.is_dir():
                self.error(f'--json {file} is a folder; name a file')
        return found, strangers


def local_path(text: str) -> pathlib.Path:
    """The type of an argument that must not be in a bucket."""
    try:
        if buckets.url_of(text):
            raise ValueError(f'{text}: buckets do not work here; give a local path')
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return pathlib.Path(text)


def _path_or_url(text: str) -> pathlib.Path:
    try:
        buckets.url_of(text)  # now, as pathlib abbreviates URLs
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return pathlib.Path(text)


def make_parser(
    description: str | None,
    workdir: str = 'folder for all that this command writes',
    in_bucket: bool = False,
) -> argparse.ArgumentParser:
    """A parser with --json and, if `workdir` describes it, a required --workdir."""
    parser = Parser(description=description, formatter_class=_HelpFormatter)
    if workdir:
        kind = _path_or_url if in_bucket else local_path
        parser.add_argument('--workdir', required=True, type=kind, help=workdir)
    parser.add_argument('--json', type=pathlib.Path, metavar='FILE', help='write the result here')
    return parser


def command(main: Callable[..., int]) -> Callable[..., int]:
    """Makes `main` the main function of a command that trains or predicts.

    Errors are printed on standard error and decide the exit status: `EXIT_STOPPED`,
    `EXIT_DIVERGED`, `EXIT_INTERRUPTED`, or 1 for invalid configs or data and for files that cannot
    be written.
    """

    @functools.wraps(main)
    def run(*args: Any, **kwargs: Any) -> int:
        start_logging()
        # Orbax also logs the traceback of what it raises.
        absl.logging.set_verbosity(absl.logging.FATAL)
        sys.unraisablehook = _report_unraisable
        try:
            return main(*args, **kwargs)
        except TrainingStopped as stopped:
            print(f'{stopped} The same command continues.', file=sys.stderr)
            return EXIT_STOPPED
        except KeyboardInterrupt:
            print(INTERRUPTED, file=sys.stderr)
            return EXIT_INTERRUPTED
        except TrainingDiverged as diverged:
            print(diverged, file=sys.stderr)
            return EXIT_DIVERGED
        except (ValueError, OSError) as error:
            # Names of files and of categories come from data.
            print(printable_lines(f'{type(error).__name__}: {error}'), file=sys.stderr)
            return 1

    return run


def command_line(script: str, argv: Sequence[str] | None = None) -> str:
    """The command that runs a script with these arguments, or those of the process, as one line."""
    words = shlex.join(['python', script, *(sys.argv[1:] if argv is None else argv)])
    return words.replace('\n', ' ')


def start_logging() -> None:
    """Prints this package's messages, and the warnings of others, on standard error."""
    logging.basicConfig(level=logging.WARNING)
    for handler in logging.getLogger().handlers:
        # Some package has made one with another format; those of tests are of subclasses.
        if type(handler) is logging.StreamHandler:
            handler.setFormatter(logging.Formatter('%(message)s'))
    for package in ('segmentation', 'analysis'):
        logging.getLogger(package).setLevel(logging.INFO)


def _report_unraisable(error: Any) -> None:
    # If one write of a checkpoint fails, Orbax drops the others, and each of them reports that its
    # event loop is closed. That would hide the error that matters.
    if str(error.exc_value) != 'Event loop is closed':
        sys.__unraisablehook__(error)


@contextlib.contextmanager
def stop_requested() -> Iterator[threading.Event]:
    """Yields an event that SIGTERM (preemption) or Ctrl-C sets; a second signal acts as usual."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event  # Python delivers signals to the main thread only
        return
    previous: dict[int, Any] = {}

    def handle(number: int, frame: FrameType | None) -> None:
        del frame
        event.set()
        signal.signal(number, previous[number])

    for wanted in (signal.SIGTERM, signal.SIGINT):
        previous[wanted] = signal.signal(wanted, handle)
    try:
        yield event
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def add_processes(parser: argparse.ArgumentParser) -> None:
    """The arguments by which processes on several hosts work together; see `join_processes`."""
    add = parser.add_argument_group(
        'several hosts: start the same command on each, with its --process_id; under a scheduler, '
        'with --distributed auto'
    ).add_argument
    add('--coordinator', help='host:port at which process 0 listens, and nowhere else')
    add('--num_processes', type=int, default=1, help='number of hosts')
    add('--process_id', type=int, default=0, help='number of this host, from 0')
    about = 'let JAX find the processes of a job of SLURM, Open MPI or Kubernetes'
    add('--distributed', choices=('auto',), help=about)


def join_processes(arguments: argparse.Namespace) -> bool:
    """Joins the processes that `add_processes` describes, if it was called and there are several.

    Returns:
      Whether this is process 0, which prints and writes results.

    Raises:
      ValueError: the arguments contradict each other, processes have different ones, or there is no
        scheduler.
    """
    asked = vars(arguments)
    if asked.get('distributed'):
        if asked['coordinator'] or asked['num_processes'] > 1:
            raise ValueError('--distributed auto finds --coordinator and --num_processes itself.')
        initialize_processes()
    elif (asked.get('num_processes', 1) > 1) != bool(asked.get('coordinator')):
        raise ValueError('--coordinator and --num_processes must be given together.')
    elif asked.get('coordinator'):
        initialize_processes(asked['coordinator'], asked['num_processes'], asked['process_id'])
    else:
        return True
    import jax  # as below

    # Paths may differ from host to host.
    own = 'process_id', 'coordinator', 'json', 'config'
    shared = {k: v for k, v in asked.items() if k not in own and not _has_path(v)}
    check_same(shared, 'other arguments')
    return jax.process_index() == 0


def check_same(content: Mapping[str, Any], what: str) -> None:
    """Raises ValueError, in all processes, if `content` differs between them, saying what it is."""
    import jax  # as above

    if jax.process_count() == 1:
        return
    import numpy as np
    from jax.experimental import multihost_utils

    number = zlib.crc32(repr(sorted(content.items())).encode())
    numbers = multihost_utils.process_allgather(np.array([number], np.uint32)).ravel()
    if other := np.flatnonzero(numbers != numbers[0]).tolist():
        raise ValueError(
            f'Process {other[0]} has {what} than process 0: start the same command everywhere, but '
            'for --process_id.'
        )


def _has_path(value: Any) -> bool:
    values = value if isinstance(value, list | tuple) else [value]
    return any(isinstance(each, pathlib.PurePath) for each in values)


def initialize_processes(
    coordinator: str | None = None, num_processes: int | None = None, process_id: int | None = None
) -> None:
    """Joins several processes into one run (`jax.distributed`).

    Process 0 listens at `coordinator` (host:port) only; by default JAX would listen on all network
    interfaces. On CPU every process also listens (gloo) at the address that the host's name
    resolves to; JAX has no option for that one. Without a coordinator, JAX asks the scheduler, and
    process 0 listens on all interfaces.

    Raises:
      ValueError: there is no coordinator, and no scheduler that JAX knows.
    """
    import jax  # here, as commands that only read artifacts do without it

    if process_id == 0:
        logger.info('Listening at %s only.', coordinator)
    if os.environ.get('JAX_PLATFORMS') == 'cpu' or jax.config.values['jax_platforms'] == 'cpu':
        jax.config.update('jax_cpu_collectives_implementation', 'gloo')
    handler = signal.getsignal(signal.SIGTERM)
    try:
        jax.distributed.initialize(
            coordinator_address=coordinator,
            num_processes=num_processes,
            process_id=process_id,
            coordinator_bind_address=coordinator if process_id == 0 else None,
        )
    except ValueError as error:
        raise ValueError(
            f'The processes cannot be joined: {error} --distributed auto needs a job of SLURM, '
            'Open MPI or Kubernetes, or a TPU pod; else pass --coordinator.'
        ) from error
    # JAX has replaced it by one that only makes a note.
    signal.signal(signal.SIGTERM, handler)
    if num_processes != 1:
        # Connects them now. Later one may be far ahead of the others, and gloo waits for 30 s only.
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices('joined')
