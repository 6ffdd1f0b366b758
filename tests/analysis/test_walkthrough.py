"""The notebook runs from end to end on few scenes, and what it stores is small, clean and true."""

import base64
import io
import json
import os
import re

import pytest
from PIL import Image

from segmentation import scenes
from tests.paths import ROOT

nbformat = pytest.importorskip('nbformat', reason="pip install -e '.[dev]'")
nbclient = pytest.importorskip('nbclient', reason="pip install -e '.[dev]'")
PATH = ROOT / 'analysis/walkthrough.ipynb'
VAL = 60


def outputs(notebook, kind='text/plain'):
    """The outputs of one kind, in order; what is printed counts as text."""
    found = []
    for cell in notebook.cells:
        for output in cell.get('outputs', ()):
            if output.output_type == 'stream' and kind == 'text/plain':
                found.append(output.text)
            elif kind in output.get('data', {}):
                found.append(output.data[kind])
    return found


def pictures(notebook):
    files = map(base64.b64decode, outputs(notebook, 'image/jpeg'))
    return [Image.open(io.BytesIO(file)) for file in files]


def exclusion(notebook):
    """Rows of the table of excluded images, and the numbers that are printed below it."""
    (table,) = (text for text in outputs(notebook, 'text/markdown') if 'planted error' in text)
    rows = [[cell.strip() for cell in line.split('|')[1:-1]] for line in table.splitlines()[2:]]
    (text,) = (text for text in outputs(notebook) if 'images in the list' in text)
    return rows, list(map(int, re.findall(r'\d+', text)))


@pytest.fixture(scope='module')
def stored():
    return nbformat.read(PATH, 4)


@pytest.fixture(scope='module')
def executed(tmp_path_factory):
    """The notebook after a run on few small scenes, and the folder of its results."""
    folder, notebook = tmp_path_factory.mktemp('walkthrough'), nbformat.read(PATH, 4)
    tags = [cell.metadata.get('tags', ()) for cell in notebook.cells]
    (place,) = (i for i, each in enumerate(tags) if 'parameters' in each)
    small = (
        f'WORKDIR, DATA_DIR = (pathlib.Path({str(folder)!r}) / name for name in ("run", "data"))\n'
        f'TRAIN, VAL, STEPS, SIZE = 12, {VAL}, 4, 32'
    )
    notebook.cells.insert(place + 1, nbformat.v4.new_code_cell(small))
    resources = {'metadata': {'path': str(PATH.parent)}}
    flags = f'{os.environ["XLA_FLAGS"]} --xla_force_host_platform_device_count=1'
    client = nbclient.NotebookClient(
        notebook, timeout=600, kernel_name='python3', resources=resources
    )
    client.execute(env={**os.environ, 'XLA_FLAGS': flags, 'TQDM_DISABLE': '1'})
    return notebook, folder


def test_it_draws_what_it_draws_when_stored(executed, stored):
    notebook, _ = executed
    assert len(pictures(notebook)) == len(pictures(stored)) >= 9
    assert len(outputs(notebook, 'text/markdown')) == len(outputs(stored, 'text/markdown'))


def test_its_list_of_images_is_the_file_and_is_scored_by_the_planted_truth(executed):
    notebook, folder = executed
    rows, (length, found, planted, of_all) = exclusion(notebook)
    (file,) = folder.glob('run/analysis/val-*/exclude.json')
    assert json.loads(file.read_text())['ids'] == [int(row[0]) for row in rows]
    (drawn,) = folder.glob('data/scenes-*')
    truth = {one['image_id']: one['error'] for one in scenes.read_truth(drawn, 'val')[1]}
    errors = [truth[int(row[0])] for row in rows]
    assert [row[-1] for row in rows] == [error['kind'] if error else '–' for error in errors]
    assert found == sum(error is not None for error in errors)
    assert (length, of_all) == (len(rows), VAL) == (int(0.05 * VAL), len(truth))
    assert planted == sum(error is not None for error in truth.values()) > 0


def test_what_is_stored_is_small_and_clean(stored):
    assert PATH.stat().st_size < 1_000_000
    for cell in stored.cells:
        if cell.cell_type == 'code':
            assert cell.execution_count, cell.source
            for output in cell.outputs:
                assert output.output_type != 'error' and output.get('name') != 'stderr', output
    texts = [*outputs(stored), *outputs(stored, 'text/markdown')]
    for text in [*texts, *(cell.source for cell in stored.cells)]:
        assert not re.search(r'(?<![\w.])/(?:tmp|home|root|work|usr|content)/', text), text
    for picture in pictures(stored):
        assert picture.format == 'JPEG' and max(picture.size) <= 1200


def test_what_is_stored_shows_what_the_story_says(stored):
    rows, (length, found, planted, of_all) = exclusion(stored)
    assert found / length > 2 * planted / of_all
