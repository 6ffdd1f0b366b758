"""Trains three encoders under one budget and compares them on the validation split.

    python scripts/compare_encoders.py --config configs/person_car.py --workdir runs/encoders

frozen:     ImageNet weights, only the decoder is trained (what the published text says)
trainable:  ImageNet weights, everything is trained (what the published code did)
random:     random initialisation, everything is trained

Everything else is the config's, and --config.<field>=<value> applies to all three. Each run has its
own directory below --workdir; started again, finished runs are only scored and an interrupted one
continues. Writes comparison.md and comparison.json there.
"""

import argparse
import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from analysis.mean_iou import score_run  # noqa: E402
from segmentation import metrics, process_settings, train  # noqa: E402
from segmentation.config import load_config  # noqa: E402

VARIANTS = {
    'frozen': ['--config.model.encoder_trainable=False'],
    'trainable': ['--config.model.encoder_trainable=True'],
    'random': ['--config.model.encoder_trainable=True', '--config.model.pretrained='],
}


@train.command
def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--config', required=True, help='config file, e.g. configs/person_car.py')
    parser.add_argument('--workdir', required=True, type=pathlib.Path, help='holds the three runs')
    parser.add_argument('--json', type=pathlib.Path, metavar='FILE', help='write the scores here')
    arguments, overrides = parser.parse_known_args()
    configs = {
        name: load_config(arguments.config, [*overrides, *variant])
        for name, variant in VARIANTS.items()
    }
    scores = {}
    for name, config in configs.items():
        print(f'=== {name}', flush=True)
        train.train(config, arguments.workdir / name)
        scores[name] = score_run(arguments.workdir / name, 'val', 'best')
    markdown = '\n\n'.join(
        f'{name} (best checkpoint at step {score["step"]}, {score["num_images"]} images), at the '
        f"network's resolution:\n\n{metrics.markdown_table(score['network'])}"
        for name, score in scores.items()
    )
    print(markdown)
    (arguments.workdir / 'comparison.md').write_text(markdown + '\n')
    text = json.dumps(scores, indent=2) + '\n'
    (arguments.workdir / 'comparison.json').write_text(text)
    if arguments.json:
        arguments.json.write_text(text)
    return 0


if __name__ == '__main__':
    process_settings.configure()
    sys.exit(main())
