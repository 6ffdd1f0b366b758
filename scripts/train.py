"""Trains a model, or continues a run where it stopped.

    python scripts/train.py --config configs/person_car.py --workdir runs/person_car \\
        --config.optimizer.learning_rate=3e-4

Every field of configs/default.py can be overridden with --config.<field>=<value>. The same command
continues an interrupted run. SIGTERM and Ctrl-C save the state and exit with status 75.

A run can be repeated from its config, in another directory:

    python scripts/train.py --config runs/person_car/config.json --workdir runs/again
"""

import dataclasses
import shlex
import sys

from segmentation import buckets, launch, markdown
from segmentation.config import load_config
from segmentation.files import write_json


def parse_arguments(argv=None):
    parser = launch.make_parser(__doc__, workdir='run directory, or its URL', in_bucket=True)
    parser.add_argument(
        '--config',
        required=True,
        help='config file, e.g. configs/person_car.py, or the config.json of a run',
    )
    parser.add_argument(
        '--profile', type=int, nargs='?', const=10, default=0, metavar='STEPS',
        help='trace this many steps (default: %(const)s) into <workdir>/profile, for the profile '
        'plugin of TensorBoard or, with the .trace.json.gz file, for Perfetto',
    )  # fmt: skip
    launch.add_processes(parser)
    arguments, overrides = parser.parse_known_args(argv)
    try:
        return arguments, load_config(arguments.config, overrides)
    except ValueError as error:
        parser.error(str(error))


@launch.command
def main():
    arguments, config = parse_arguments()
    from segmentation import cpu_runtime, train  # now, as JAX takes long to import

    if __name__ == '__main__':
        cpu_runtime.configure()
    first = launch.join_processes(arguments)
    with buckets.opened(arguments.workdir, new=True) as (workdir, store):
        result = train.train(config, workdir, store, profile_steps=arguments.profile)
    if first:
        print(markdown.iou_table(result.selection))
        print(f'\nBest checkpoint: step {result.best_step}. Score it on the validation split:')
        place = buckets.url_of(arguments.workdir) or str(arguments.workdir)
        print(f'  python -m analysis.mean_iou --workdir {shlex.quote(place)}')
        if arguments.json:
            write_json(arguments.json, dataclasses.asdict(result))
    return 0


if __name__ == '__main__':
    sys.exit(main())
