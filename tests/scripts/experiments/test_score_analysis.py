import json
import subprocess
import sys

import pytest

from scripts.experiments import score_analysis
from segmentation import scenes


def test_short_form(tmp_path):
    """The whole analysis against planted truth, with bounds that an analysis at random breaks."""
    command = [sys.executable, score_analysis.__file__, '--workdir', str(tmp_path), '--short']
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    report = json.loads((tmp_path / 'report.json').read_text())
    assert report['verdicts'].keys() == set(score_analysis.SHORT_TARGETS)
    assert report['seeds'] == [0]  # the held-out ones are for the long form
    assert report['measures']['clusters/AMI with scene type, ours']['values'][0] <= 1
    assert (tmp_path / 'report.md').read_text() in done.stdout
    assert (tmp_path / 'report.png').stat().st_size > 10_000


@pytest.mark.parametrize(
    ('arguments', 'said'),
    [
        (['--config.data.scenes.seed=1'], 'data.scenes.seed cannot be overridden'),
        (['--short', '--scene_seeds', '0'], '--short has its own'),
        (['--seeds', '9'], f'from 1 to {len(scenes.HELD_OUT_WITH_HIDDEN_SLICES)}'),
    ],
)
def test_what_is_refused(arguments, said, tmp_path, capsys):
    with pytest.raises(SystemExit):
        score_analysis.main(['--workdir', str(tmp_path), *arguments])
    assert said in capsys.readouterr().err


def test_unknown_field_is_an_error(tmp_path, capsys):
    assert score_analysis.main(['--workdir', str(tmp_path), '--config.nothing=1']) == 1
    assert 'No field nothing' in capsys.readouterr().err


def test_which_scene_seeds():
    def seeds(*arguments):
        found, _ = score_analysis.parse_arguments(['--workdir', 'somewhere', *arguments])
        return found.scene_seeds

    assert seeds('--seeds', '2') == scenes.HELD_OUT_WITH_HIDDEN_SLICES[:2]
    assert seeds('--scene_seeds', '0', '7', '0') == (0, 7)
    assert seeds('--short') == (0,)
