"""Trains many variants of a config and finds the best one on the selection split.

    python scripts/sweep.py --config configs/person_car.py --sweep protocol --workdir runs/protocol
    python scripts/sweep.py --config configs/person_car_best.py --workdir runs/search \\
        --search tpe --trials 40 --prune hyperband

Functions in the config file define the variants. sweep(), or sweep_NAME() with --sweep NAME, yields
parameter sets, each of which is trained once. With --search, search() or search_NAME() returns
ranges, from which --trials sets are drawn. segmentation/sweeps/README.md shows how to write them.
--config.<field>=<value> applies to all trials.

Each trial has a run directory in WORKDIR/trials. A trial that diverges or fails is recorded with
the reason, and the others continue. SIGTERM and Ctrl-C save running trials and exit with status 75.
The same command continues; trials of killed workers continue from their checkpoints. Results are
written to WORKDIR (results.csv, results.md, curves.png, parallel.png, importance.png), and the
command that trains the best set again is printed.

Workers share the cores and GPUs of the machine evenly: each sees only its part. Other machines join
with the same command and --storage. Give all machines a shared --workdir; otherwise a trial that
moves to another machine starts from the beginning.
"""

import os
import pathlib
import shlex
import sys
from typing import TYPE_CHECKING

from segmentation import campaign, launch
from segmentation.config import load_config
from segmentation.data import label_spaces
from segmentation.files import write_json

if TYPE_CHECKING:
    from segmentation.sweeps import study as sweeps


def parse_arguments(argv=None):
    parser = launch.make_parser(
        __doc__, workdir='directory of the sweep; its last part is the name of the study'
    )
    add = parser.add_argument
    # fmt: off
    add('--config', required=True, help='config file, e.g. configs/person_car.py')
    add('--sweep', default='', metavar='NAME', help='sweep_NAME(), or search_NAME() with --search')
    add(
        '--search', choices=('tpe', 'random'),
        help='draw sets from search(): near the best so far (tpe), or at random',
    )
    add('--trials', type=int, metavar='N', help='number of sets that --search draws')
    add('--workers', type=int, default=1, metavar='N', help='concurrent trials on this machine')
    add(
        '--prune', nargs='?', const='median', default='', choices=('median', 'hyperband'),
        help='stop trials that are worse than others at the same step (default method: median, '
        'after five complete trials)',
    )
    add(
        '--metric', default='mean_iou_foreground',
        help='score on the selection split by which trials are ranked: mean_iou_foreground '
        '(default), mean_iou, iou/CLASS or loss',
    )
    add(
        '--storage', metavar='URL', default=os.environ.get('SWEEP_STORAGE'),
        help='database, e.g. postgresql://user@host/sweeps; default: $SWEEP_STORAGE, or else an '
        'SQLite file in WORKDIR',
    )
    add(
        '--grace', type=int, default=120, metavar='SECONDS',
        help='a worker on another machine without heartbeat for this time counts as dead',
    )
    add('--retry_failed', action='store_true', help='run failed trials again')
    add('--collate', action='store_true', help='train nothing; write the results so far')
    # fmt: on
    arguments, overrides = parser.parse_known_args(argv)
    if bool(arguments.search) != bool(arguments.trials):
        parser.error('--search and --trials N must be given together')
    if arguments.workers < 1 or arguments.grace < 4 or (arguments.trials or 1) < 1:
        parser.error('--workers and --trials are at least 1, --grace at least 4 seconds')
    from segmentation.sweeps import study as sweeps  # now, as it imports JAX and Optuna

    if arguments.storage:
        # Each run directory stores the command, which must not contain a password.
        try:
            shown = sweeps.hide_password(arguments.storage)
        except ValueError as error:
            parser.error(str(error))
        sys.argv = [argument.replace(arguments.storage, shown) for argument in sys.argv]
    try:
        return arguments, overrides, _read_sweep(arguments, overrides)
    except ValueError as error:
        parser.error(str(error))


def _read_sweep(arguments, overrides) -> 'sweeps.Sweep':
    from segmentation.sweeps import sets
    from segmentation.sweeps import study as sweeps

    base = load_config(arguments.config, overrides)
    class_names = label_spaces.parse_label_space(base.data.label_space).class_names
    metrics = ['mean_iou_foreground', 'mean_iou', 'loss', *(f'iou/{name}' for name in class_names)]
    if arguments.metric not in metrics:
        raise ValueError(f'--metric is one of {", ".join(metrics)}, not {arguments.metric}.')
    space = {}
    if not arguments.search:
        chosen = sets.read_sets(arguments.config, arguments.sweep, base)
    else:
        space = sets.read_space(arguments.config, arguments.sweep, base)
        if arguments.search == 'random':
            chosen = sets.draw_sets(space, arguments.trials, base)
        else:
            chosen = {f'{number:04d}': None for number in range(arguments.trials)}
    return sweeps.Sweep(
        base=base,
        sets=chosen,
        space=space,
        workdir=arguments.workdir,
        storage=arguments.storage or sqlite_url(arguments.workdir.resolve() / 'study.sqlite'),
        metric=arguments.metric,
        prune=arguments.prune,
        grace=arguments.grace,
    )


def sqlite_url(path: pathlib.Path) -> str:
    """The URL of a database file, whose path may have any characters."""
    from sqlalchemy import URL  # now, as it takes long

    return URL.create('sqlite', database=str(path)).render_as_string()


def best_command(arguments, overrides, row) -> str:
    """The command that trains a set again."""
    command = ['python', 'scripts/train.py', '--config', arguments.config,
               '--workdir', f'{arguments.workdir}-best', *overrides,
               *campaign.overrides(row.overrides)]  # fmt: skip
    return shlex.join(command)


@launch.command
def main() -> int:
    arguments, overrides, sweep = parse_arguments()
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    from segmentation.sweeps import results, workers
    from segmentation.sweeps import study as sweeps

    try:
        if arguments.collate and not arguments.storage and not sweep.workdir.is_dir():
            raise ValueError(f'There is no sweep in {sweep.workdir}: check --workdir.')
        sweep.workdir.mkdir(parents=True, exist_ok=True)
        study = sweeps.open_study(sweep)
        done = True
        if not arguments.collate:
            print(f'{len(sweep.sets)} parameter sets, {arguments.workers} at a time; '
                  f'logs of the training runs: {sweep.workdir}/logs')  # fmt: skip
            done = workers.supervise(study, sweep, arguments.workers, arguments.retry_failed)
        current = sweeps.entries(study, sweep)
        rows = results.write_results(current, sweep)
    except (ValueError, RuntimeError, OSError) as error:
        print(f'{type(error).__name__}: {error}', file=sys.stderr)
        return 1
    except (SQLAlchemyError, StorageInternalError) as error:
        print(f'The database failed: {error}\nThe same command continues.', file=sys.stderr)
        return launch.EXIT_STOPPED
    print((sweep.workdir / 'results.md').read_text())
    best = rows[0] if rows[0].state == 'complete' else None
    command = best and best_command(arguments, overrides, best)
    if best:
        print(f'Figures are in {sweep.workdir}. To train the best set again:\n\n  {command}\n')
    if arguments.json:
        trials = results.to_json(rows)
        result = {'metric': sweep.metric, 'best': trials[0] if best else None}
        result |= {'command': command, 'trials': trials}
        write_json(arguments.json, result)
    if not done:
        print('Stopped; the same command continues.', file=sys.stderr)
        return launch.EXIT_STOPPED
    if not best and not arguments.collate:
        print('No training was completed.', file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
