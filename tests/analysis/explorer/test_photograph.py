"""The page that tries the network with a photograph, in a real browser, against Python."""

import base64
import os
import pathlib
import shutil

import numpy as np
import pytest

from analysis.predictions.schema import Predictions
from analysis.report import options
from analysis.report import stage as report
from analysis.stage import artifacts
from segmentation import overlays
from tests.paths import ROOT
from tests.report_fixture import browsing

# Where npm has installed ONNX Runtime Web: in CI, .ci/javascript/check did.
INSTALLED = ROOT / '.ci/javascript' / options.PACKAGE
RUNTIME = pathlib.Path(os.environ.get('ONNXRUNTIME_WEB', INSTALLED))
pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')
pytestmark = pytest.mark.skipif(
    not RUNTIME.is_dir(),
    reason=f'no {RUNTIME}: .ci/javascript/check installs it',
)


@pytest.fixture(scope='module')
def analysis(analyzed_run):
    return analyzed_run


@pytest.fixture(scope='module')
def folder(analysis, tmp_path_factory):
    """A report that contains the network."""
    made = tmp_path_factory.mktemp('photograph') / 'report'
    command = ['--workdir', str(analysis.workdir), '--with_model', 'float16']
    command += ['--output', str(made), '--onnxruntime_web', str(RUNTIME)]
    assert report.main(command) == 0
    return made


@pytest.fixture
def page(browser, folder):
    """The page, with the network started. Nothing may go wrong or be asked for outside of it."""
    wrong = []
    context = browser.new_context(viewport={'width': 1280, 'height': 800})
    context.set_default_timeout(60_000)
    opened = browsing.open_report(context, folder, '', wrong)
    opened.click('#tab-photograph')
    opened.wait_for_selector('.photo-drop')  # a missing one also counts as hidden below
    opened.wait_for_selector('.photo-drop progress', state='hidden')
    yield opened
    context.close()
    assert wrong == []


def _file(analysis, row):
    """Name and content of the file of an image."""
    record = analysis.examples.record(row)
    return record['file_name'], bytes(record['image'])


def _give(page, how, name, content, kind='image/jpeg'):
    """Drops or pastes a file."""
    page.evaluate(
        """([how, name, kind, base64]) => {
            const bytes = Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));
            const data = new DataTransfer();
            data.items.add(new File([bytes], name, { type: kind }));
            const options = { bubbles: true, cancelable: true };
            const event = how === 'drop'
                ? new DragEvent('drop', { ...options, dataTransfer: data })
                : new ClipboardEvent('paste', { ...options, clipboardData: data });
            document.querySelector('.photo-drop').dispatchEvent(event);
        }""",
        [how, name, kind, base64.b64encode(content).decode()],
    )


def _class_map(page, size):
    """The classes as they are drawn over the photograph."""
    data = page.evaluate("""() => {
        const canvas = document.querySelector('.photo-answer canvas.layer');
        const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
        return [...data];
    }""")
    pixels = np.array(data).reshape(size, size, 4)
    colors = overlays.colorize(np.arange(3))
    found = (pixels[..., None, :3] == colors).all(-1).argmax(-1)
    return np.where(pixels[..., 3] > 0, found, 0)


def test_a_known_image_finds_itself_and_its_prediction(page, analysis):
    predictions = artifacts.load(analysis, Predictions)
    for row, how in enumerate(('drop', 'paste', 'choose')):
        name, content = _file(analysis, row)
        if how == 'choose':
            chosen = {'name': name, 'mimeType': 'image/jpeg', 'buffer': content}
            page.set_input_files('.page-photograph input[type=file]', chosen)
        else:
            _give(page, how, name, content)
        page.wait_for_selector(f'.photo-answer h3:text-is("{name}")')

        assert page.locator('.photo-similar .thumb').first.get_attribute('title') == name
        assert 'this very photograph' in page.text_content('.photo-similar')
        expected = predictions.class_map(row)
        assert (_class_map(page, len(expected)) == expected).mean() >= 0.99
        for number, class_name in enumerate(analysis.class_names):
            share = page.text_content(f'[data-share="{class_name}"]')
            assert float(share.rstrip(' %')) == pytest.approx(
                100 * (expected == number).mean(), abs=1.5
            )


def test_what_is_no_image_gives_a_clear_error(page, analysis):
    _give(page, 'drop', '<b>notes</b>.txt', b'no image', 'text/plain')
    text = '<b>notes</b>.txt is not an image that this browser can read'
    page.wait_for_selector(f'.photo-failure:has-text("{text}")')
    assert page.locator('.photo-answer').is_hidden()

    # It works again afterwards.
    name, content = _file(analysis, 0)
    _give(page, 'drop', name, content)
    page.wait_for_selector(f'.photo-answer h3:text-is("{name}")')
    assert page.locator('.photo-failure').is_hidden()


def test_a_runtime_that_cannot_be_read_gives_a_clear_error(browser, folder, tmp_path):
    broken = tmp_path / 'report'
    shutil.copytree(folder, broken)
    (broken / 'data/model/runtime.js').unlink()
    context = browser.new_context()
    page = browsing.open_report(context, broken, 'page=photograph', [])
    page.wait_for_selector('.photo-failure:has-text("The network could not be started")')
    assert 'runtime.js is missing' in page.text_content('.photo-failure')
    context.close()


def test_an_answer_waits_until_its_view_is_shown(page, analysis):
    # What was unpacked once is not kept as text.
    for key in ('runtime', 'network'):
        with pytest.raises(Exception, match=f'{key} is read before it is loaded'):
            page.evaluate(f"Data.take('{key}')")
    name, content = _file(analysis, 0)
    page.evaluate(
        "[window.own, State.manifest.model.view] = [State.manifest.model.view, 'another']"
    )
    _give(page, 'drop', name, content)
    page.wait_for_selector('.photo-drop.small')
    assert page.locator('.photo-answer').evaluate('(answer) => answer.hidden')
    page.evaluate("State.manifest.model.view = window.own; Events.emit('view')")
    page.wait_for_selector(f'.photo-answer h3:text-is("{name}")')


def test_places_are_weighted_by_nearness(page):
    near, place = page.evaluate("""() => {
        const points = Object.assign(new Float32Array([0, 0, 3, 0, 0, 1]), { shape: [3, 2] });
        const places = Object.assign(new Float32Array([0, 0, 10, 10, 4, 0]), { shape: [3, 2] });
        const near = Neighbors.find(points, new Float32Array([0, 0.5]), 2);
        return [near, Neighbors.place(places, near)];
    }""")
    assert near['rows'] == [0, 2]
    np.testing.assert_allclose(near['distances'], [0.5, 0.5])
    np.testing.assert_allclose(place, [2, 0], atol=1e-6)
