"""A folder in COCO's layout whose names have a space and are no usual splits."""

import pytest

from tests import coco_fixtures


@pytest.fixture
def folder(tmp_path):
    return coco_fixtures.write_folder(
        tmp_path / 'street photos',
        {'train': coco_fixtures.document(5), 'extra_val': coco_fixtures.document(3, seed=1)},
    )
