"""The smallest form of the benchmark of the page, if Chromium is installed."""

import json

import explorer_page

from scripts.experiments.record import of_tables


def test_smallest_form(tmp_path, capsys, chromium):
    file = tmp_path / 'result.json'
    command = ['--images', '60', '--loads', '1', '--chromium', chromium, '--json', str(file)]
    assert explorer_page.main(command) == 0
    result = json.loads(file.read_text())
    page = result['reports'][0]
    assert page['shown'] == 60 and page['ready'][0]['seconds'] > 0
    assert all(step['script']['median'] > 0 for step in page['steps'].values())
    assert of_tables(result)['samples_60'].to_markdown() in capsys.readouterr().out
    assert '--images 60' in result['origin']['command']


def test_what_is_no_report_is_refused(tmp_path, capsys):
    assert explorer_page.main(['--report', str(tmp_path)]) == 1
    assert 'holds no report' in capsys.readouterr().err
