import json

import numpy as np
from pycocotools import mask as mask_utils

from segmentation.data import coco
from segmentation.data.export import Shape, Task, label_studio
from tests import coco_fixtures


def test_a_category_that_loses_most_of_its_masks_is_noted(tmp_path):
    document = coco_fixtures.document(12)
    first = document['annotations'][0]['category_id']
    mine = [entry for entry in document['annotations'] if entry['category_id'] == first]
    for entry in mine[1:]:
        del entry['segmentation']
    assert 2 < len(mine) < len(document['annotations']) / 2
    folder = coco_fixtures.write_folder(tmp_path / 'own', {'train': document})
    notes = coco.prepare(str(folder), tmp_path / 'data').notes['train']
    entry = notes['category keeps less than half of its annotations']
    (name,) = [c['name'] for c in document['categories'] if c['id'] == first]
    assert entry['count'] == 1 and entry['examples'] == [repr(name)]
    assert f'1 of {len(mine)}' in entry['values'][0]


def test_images_that_nobody_has_annotated_yet_are_no_loss(tmp_path):
    """As in an export of scripts/annotation_tasks.py --next that is not finished."""
    drawn = np.zeros((30, 40), np.uint8)
    drawn[5:20, 5:30] = 1
    rle = mask_utils.encode(np.asfortranarray(drawn))['counts']
    tasks = [Task(k, f'new/{k}.jpg', 30, 40, (Shape('car', rle),)) for k in range(5)]
    (tmp_path / 'images/new').mkdir(parents=True)
    for task in tasks:
        (tmp_path / 'images' / task.file_name).write_bytes(coco_fixtures.picture(40, 30))
    label_studio.write(tmp_path, tasks, ['car'])
    imported = json.loads((tmp_path / 'tasks.json').read_text())
    exported = [{**task, 'annotations': task['annotations'][: k < 1]}
                for k, task in enumerate(imported)]  # fmt: skip
    (tmp_path / 'project-1.json').write_text(json.dumps(exported))
    prepared = coco.prepare(str(tmp_path), tmp_path / 'data')
    assert len(prepared.split('train')) == 1
    assert prepared.skipped['train']['image: nobody has annotated it']['count'] == 4
    # The file that was imported into the tool is not read as well.
    assert prepared.fingerprint['splits']['train']['instances'] == 1
