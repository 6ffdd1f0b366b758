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

from segmentation import cpu_runtime, launch, markdown, train
from segmentation.config import load_config
from segmentation.files import write_json


def parse_arguments(argv=None):
    parser = launch.make_parser(__doc__, workdir='run directory')
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
    hosts = parser.add_argument_group(
        'several hosts: start the same command on each, with its --process_id'
    )
    hosts.add_argument('--coordinator', help='host:port of process 0, its only open address')
    hosts.add_argument('--num_processes', type=int, default=1, help='number of hosts')
    hosts.add_argument('--process_id', type=int, default=0, help='number of this host, from 0')
    arguments, overrides = parser.parse_known_args(argv)
    if (arguments.num_processes > 1) != bool(arguments.coordinator):
        parser.error('--coordinator and --num_processes go together')
    try:
        return arguments, load_config(arguments.config, overrides)
    except ValueError as error:
        parser.error(str(error))


@launch.command
def main():
    arguments, config = parse_arguments()
    if arguments.coordinator:
        launch.initialize_processes(
            arguments.coordinator, arguments.num_processes, arguments.process_id
        )
    result = train.train(config, arguments.workdir, profile_steps=arguments.profile)
    if arguments.process_id == 0:
        print(markdown.iou_table(result.selection))
        print(f'\nBest checkpoint: step {result.best_step}. Score it on the validation split:')
        print(f'  python -m analysis.mean_iou --workdir {shlex.quote(str(arguments.workdir))}')
        if arguments.json:
            write_json(arguments.json, dataclasses.asdict(result))
    return 0


if __name__ == '__main__':
    cpu_runtime.configure()
    sys.exit(main())
