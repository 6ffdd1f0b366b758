"""Runs every analysis of a model, in the order of their dependencies.

    python scripts/analyze.py --workdir runs/person_car --split val
    python scripts/analyze.py --workdir runs/person_car --splits train,val --folder new_photos
    python scripts/analyze.py --onnx model.onnx --source my_data --output analyzed
    python scripts/analyze.py --predictions masks --source my_data --output analyzed
    python scripts/analyze.py --describe model.onnx > model.adapter.json
    python scripts/analyze.py --list

Each stage is also a command of its own, `python -m analysis.<stage>`; its --help says what it
computes. Results are written to the run's analysis/<split>-<step>/, the tables of a stage to
<stage>.md there. When the command is repeated, it reads what is up to date and computes the rest.
If a stage fails, the command ends with the error and keeps the results of the earlier stages.

With --other, the run is compared with another one on the same images. The stages of the other run
that the comparison and the report show are then run first. The report, a page for the browser, is
written last.

Several --splits, and each --folder of images without annotations, make one view with one map, in
which `split` is a column. Images without annotations have predictions, confidence and neighbors,
but no loss. Stages that need a single split with annotations are left out.

A foreign model, one that was not trained here, is given as an ONNX file or by its predictions: a
folder of index PNGs or of arrays of probabilities (.npy), or COCO results (.json). An adapter says
how to feed the model and which of its channels are which class; --describe drafts one from the
graph. The data are a folder (--source) or a prepared data set (--data_path). --output becomes a run
directory, which --workdir and --other of all stages accept. A stage that is not available for such
a model is left out, and the report says why. See analysis/README.md.

--json FILE has the results of all stages, with their time and the peak memory of the process.
"""

import argparse
import dataclasses
import functools
import json
import pathlib
import sys

from analysis import registry
from analysis.stage.command import add_arguments
from analysis.stage.run import open_analysis, open_chosen
from analysis.stage.view import Parts
from segmentation import buckets, launch, markdown
from segmentation.config import load_config, with_overrides
from segmentation.files import write_json

# What the report shows of the other run.
OTHER_STAGES = 'samples', 'embeddings', 'clusters', 'similarity_map', 'similar', 'pictures'
# Options without effect on a run of this project.
_OF_FOREIGN = (
    'adapter', 'output', 'source', 'label_space', 'image_size', 'config', 'embeddings',
    'embedding_ids',
)  # fmt: skip


class _List(argparse.Action):
    def __call__(self, parser, *_):
        print(registry.graph())
        parser.exit()


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser, known = launch.make_parser(__doc__, workdir=''), (*registry.STAGES, 'report')
    add_arguments(parser, required=False, several=True)
    launch.add_processes(parser)
    _add_foreign_arguments(parser)
    parser.add_argument(
        '--list', action=_List, nargs=0, help='print the stages and what each of them reads'
    )
    parser.add_argument(
        '--stages',
        default=','.join(known),
        metavar='STAGE,STAGE,…',
        help='stages to run; default: all, %(default)s',
    )
    parser.add_argument(
        '--other', type=launch.local_path, metavar='WORKDIR', help='run to compare this one with'
    )
    arguments, arguments.overrides = parser.parse_known_args(argv)
    sources = [arguments.workdir, arguments.onnx, arguments.predictions, arguments.describe]
    if sum(source is not None for source in sources) != 1:
        parser.error('give one of --workdir, --onnx, --predictions and --describe')
    foreign = arguments.onnx or arguments.predictions
    if foreign and not arguments.output:
        parser.error('--output is missing: the folder for all results')
    if foreign and not (arguments.source or arguments.data_path or arguments.config):
        parser.error('--source is missing: the folder with the images and annotations')
    if arguments.overrides and not (foreign and all('.' in each for each in arguments.overrides)):
        parser.error(f'unknown arguments: {" ".join(arguments.overrides)}')
    if idle := [name for name in _OF_FOREIGN if getattr(arguments, name) and not foreign]:
        parser.error(f'only with --onnx or --predictions: --{", --".join(idle)}')
    if (arguments.embeddings or arguments.embedding_ids) and not arguments.predictions:
        parser.error('--embeddings and --embedding_ids are only for --predictions')
    if arguments.embedding_ids and not arguments.embeddings:
        parser.error('--embedding_ids needs --embeddings')
    if arguments.other and (arguments.folder or ',' in arguments.split):
        parser.error('--other compares two runs on one split; leave --folder out')
    chosen = arguments.stages.split(',')
    if not arguments.stages:
        parser.error(f'--stages is empty; choose from {", ".join(known)}')
    if unknown := set(chosen) - set(known):
        parser.error(f'unknown stages {", ".join(sorted(unknown))}; there are {", ".join(known)}')
    arguments.stages = [stage for stage in known if stage in chosen]
    return arguments


def _add_foreign_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group('a model that was not trained here').add_argument
    add('--onnx', type=pathlib.Path, metavar='FILE', help='an ONNX model')
    about = 'predictions: a folder of .png or .npy files, or a .json file of COCO results'
    add('--predictions', type=pathlib.Path, metavar='PATH', help=about)
    about = 'how to use the model; default: <model>.adapter.json beside it, or a draft without gaps'
    add('--adapter', type=pathlib.Path, metavar='FILE', help=about)
    about = 'print a draft of the adapter of this ONNX model, and what is not known'
    add('--describe', type=pathlib.Path, metavar='FILE', help=about)
    add('--output', type=launch.local_path, metavar='DIR', help='folder for all results')
    about = 'folder of images with annotations; prepared into --output at first use'
    add('--source', default='', metavar='FOLDER', help=about)
    about = "classes, as 'class: category, category; class: …'; default: the adapter's"
    add('--label_space', default='', help=about)
    about = 'side of the label maps and pictures of the analysis; default: that of --config'
    add('--image_size', type=int, metavar='PIXELS', help=about)
    about = (
        'config file for the data, or the config.json of a run to compare with; default: '
        'configs/foreign.py. Its fields can be set as --config.data.crowd=label'
    )
    add('--config', default='', metavar='FILE', help=about)
    add('--embeddings', type=pathlib.Path, metavar='FILE', help='with --predictions: .npy [N, D]')
    about = 'image ids of the embeddings, .npy or a JSON list; default: one row per image, by id'
    add('--embedding_ids', type=pathlib.Path, metavar='FILE', help=about)


def _describe(path: pathlib.Path) -> None:
    """Prints the draft of an adapter, and on standard error what is not known."""
    from analysis.foreign.describe import draft

    drafted = draft(path)
    print(json.dumps(drafted.adapter, indent=2))
    for title, lines in (('Fill in', drafted.unknown), ('Assumed', drafted.assumed)):
        for line in lines:
            print(markdown.printable_lines(f'{title}: {line}'), file=sys.stderr)


def _open_foreign(arguments: argparse.Namespace) -> None:
    """Makes the run directory of a foreign model, which then is the --workdir."""
    from analysis.foreign import run_directory
    from configs import foreign

    config = load_config(arguments.config or foreign.__file__, arguments.overrides)
    output = arguments.output
    fields = {'data.image_size': arguments.image_size, 'data.source': arguments.source}
    # Of a folder the data set is prepared in the output, unless it was said where.
    said = any(each.startswith('--config.data.data_dir=') for each in arguments.overrides)
    if arguments.source and not arguments.config and not said:
        fields['data.data_dir'] = str(output / 'data')
    config = with_overrides(config, {name: value for name, value in fields.items() if value})
    source = run_directory.Source(
        arguments.onnx, arguments.predictions, arguments.adapter, arguments.embeddings,
        arguments.embedding_ids,
    )  # fmt: skip
    space = arguments.label_space or (config.data.label_space if arguments.config else '')
    notes = run_directory.create(output, source, config, space, arguments.data_path)
    print(markdown.printable_lines('\n'.join(notes)), file=sys.stderr, flush=True)


@launch.command
def main(argv: list[str] | None = None) -> int:
    arguments = parse_arguments(argv)
    from analysis.stage import shards  # now, as JAX takes long to import
    from segmentation import cpu_runtime

    if __name__ == '__main__':
        cpu_runtime.configure()
    if arguments.describe:
        _describe(arguments.describe)
        return 0
    launch.join_processes(arguments)
    if arguments.workdir is None:
        shards.by_first(lambda: _open_foreign(arguments))
        arguments.workdir = arguments.output
    with buckets.opened(arguments.workdir) as (arguments.workdir, store):
        return _run_stages(arguments, store)


def _run_stages(arguments: argparse.Namespace, store: buckets.Store) -> int:
    from analysis.compare.images import common_rows
    from analysis.stage import shards

    common = ['--workdir', str(arguments.workdir), '--split', arguments.split]
    data_path = ['--data_path', arguments.data_path] if arguments.data_path else []
    common += ['--checkpoint', arguments.checkpoint, *data_path]
    if arguments.folder:
        common += ['--folder', *map(str, arguments.folder)]
    with shards.together():
        this = open_chosen(arguments)
        folder, unavailable = this.folder, registry.unavailable(this)
        not_of_other = dict[str, str]()
        if arguments.other:
            path = arguments.data_path
            that = open_analysis(arguments.other, arguments.split, data_path=path)
            other_folder, not_of_other = that.folder, registry.unavailable(that)
            common_rows({'this': this, 'other': that})  # an error now, not after all stages
    other = ['--other', str(arguments.other)] if arguments.other else []
    chosen = arguments.stages
    arguments.stages = [stage for stage in chosen if stage not in unavailable]
    # That one split alone is not compared with others, and has nothing to label, is no news.
    asked = set() if set(chosen) > set(registry.STAGES) else set(chosen)
    of_more = Parts.SEVERAL, Parts.FOLDER
    quiet = {s for s in registry.STAGES if registry.load(s).result.PARTS in of_more} - asked
    unavailable = {stage: why for stage, why in unavailable.items() if stage not in quiet}
    for stage in chosen:
        if stage in unavailable:
            print(f'=== {stage} is not available: {unavailable[stage]}', file=sys.stderr)
    plan = [(stage, stage, common, folder) for stage in arguments.stages if stage != 'report']
    if other:
        # The best checkpoint of the other run, as for `compare`.
        of_other = ['--workdir', str(arguments.other), '--split', arguments.split, *data_path]
        plan += [
            (f'{stage} of {arguments.other.name}', stage, of_other, other_folder)
            for stage in OTHER_STAGES
            if stage not in not_of_other
        ]
        plan.append(('compare', 'compare', [*common, *other], folder))
    if 'report' in arguments.stages:
        report = ['--workdir', str(arguments.workdir), '--first', folder.name, *other]
        plan.append(('report', 'report', report, folder))
    done: dict[str, registry.Measured] = {}
    for number, (name, stage, argv_of_stage, of) in enumerate(plan, 1):
        print(f'=== {number} of {len(plan)}: {name}', file=sys.stderr, flush=True)
        run = functools.partial(registry.measure, stage, argv_of_stage, of / f'{stage}.md')
        measured = run() if stage in registry.STAGES else shards.by_first(run)
        if not shards.agreed(lambda done=measured: done is not None):
            print(f'{name} failed; the same command continues with it.', file=sys.stderr)
            return 1
        if shards.is_first():
            done[name] = measured
        if store:
            store()
    if not shards.is_first():
        return 0
    rows = [
        (name, f'{row.seconds:.1f}', f'{row.processor_seconds:.1f}', f'{row.peak_mb:.0f}',
         f'{stage}.md')
        for (name, stage, *_), row in zip(plan, done.values(), strict=True)
    ]  # fmt: skip
    header = ('stage', 'seconds', 'processor seconds', 'peak memory so far, MB', 'report')
    print(markdown.table(header, rows))
    total, used = (
        sum(getattr(row, key) for row in done.values()) for key in ('seconds', 'processor_seconds')
    )
    print(f'\n{total:.0f} s in all, {used:.0f} s of processor time; results are in {folder}')
    if 'report' in done:
        print(f'Open {done["report"].result["page"]} in a browser.')
    if arguments.json:
        results = {name: dataclasses.asdict(row) for name, row in done.items()}
        if unavailable:
            results['unavailable'] = unavailable
        write_json(arguments.json, results)
    return 0


if __name__ == '__main__':
    sys.exit(main())
