"""`hwhup reproduce visnet` and `train-visnet`: results of tiny weights, the page, the pictures, and what is refused."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from hwhup_core import settings
from hwhup_core.cli.main import EXIT_FINE, EXIT_WRONG, main
from hwhup_core.config_io import to_plain
from hwhup_core.networks.card import Measurement
from hwhup_core.networks.packing import InputConfig, Modality
from hwhup_core.networks.visnet import PAPER, VisNet, VisNetConfig
from hwhup_core.networks.visnet_checkpoint import VisNetCard, save_visnet
from hwhup_core.reproduce import visnet
from hwhup_core.synthetic.coco_people import PeopleConfig
from hwhup_core.synthetic.domain import DomainConfig
from hwhup_core.training import visnet_pool, visnet_run

ROOT = Path(__file__).resolve().parents[2]
TINY = VisNetConfig(input_size=32, stem_width=4, widths=(8, 8), blocks=(1, 1), deconvolutions=(8,))
CRIB = DomainConfig(kind='crib', body='infant', poses=3, size=64, modalities=('depth', 'color'))


@pytest.fixture
def no_settings(monkeypatch, tmp_path):
    monkeypatch.setenv('HWHUP_SETTINGS', str(tmp_path / 'settings.yaml'))


def test_results_page_and_pictures(no_settings, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(visnet_pool, 'KINDS', {'crib': PeopleConfig(CRIB)})
    config = visnet_run.VisNetTrainConfig(
        subjects={'crib': 1}, held_out={'crib': 3}, picture=48, network=TINY, inputs=InputConfig(size=32)
    )
    card = VisNetCard(
        input=config.inputs, network=TINY, licence='', training_data='nobody', training_config=to_plain(config),
        metrics={'auc_simple_baseline': Measurement(0.7, 0.6, 0.8, 9)},
    )  # fmt: skip
    save_visnet(tmp_path / 'visnet_depth', VisNet(TINY), card)
    monkeypatch.setattr(visnet, 'BUNDLED', (str(tmp_path / 'visnet_depth'),))
    pool = visnet_pool.synthetic_pool({'crib': 3}, 1, 48, workers=1)
    monkeypatch.setattr(visnet_run, 'synthetic_pool', lambda subjects, seed, picture: pool)
    out = tmp_path / 'results'
    assert main(['reproduce', 'visnet', '--run', str(tmp_path / 'run'), '--out', str(out)]) == EXIT_FINE

    found = json.loads((out / 'visnet-small.json').read_text())
    network = found['networks']['visnet_depth']
    assert found['paper']['VisNet'] == 93.3
    assert network['pictures'] == 9
    assert network['joints'] == 9 * 17
    assert set(network['per_joint']) == set(visnet.COCO_17)
    area = network['figures']['auc']
    assert area['low'] <= area['mean'] <= area['high'] <= 100
    page = (out / 'visnet-small.md').read_text()
    assert f'| all | {area["mean"]:.1f} ({area["low"]:.1f} to {area["high"]:.1f}) |' in page
    assert 'pose head alone, when it was trained: 70.0 (60.0 to 80.0)' in page
    assert page in capsys.readouterr().out
    sheet = cv2.imread(str(out / 'visnet-small.jpg'))
    assert sheet.shape[1] == 6 * 224
    assert np.ptp(sheet) > 100


def write_coco(folder):
    """Write six people of val2017, hidden joints darker, in COCO's own format."""
    rng = np.random.default_rng(0)
    people, images = [], []
    (folder / 'annotations').mkdir(parents=True)
    (folder / 'val2017').mkdir()
    for number in range(6):
        pixels, flags = rng.integers(20, 80, (17, 2)), rng.integers(0, 3, 17)
        flags[:2] = 1, 2
        pixels[flags == 0] = 0  # As COCO has it.
        picture = np.full((100, 100, 3), 90, np.uint8)
        for (x, y), flag in zip(pixels, flags):
            cv2.circle(picture, (int(x), int(y)), 3, (250, 250, 250) if flag == 2 else (0, 0, 0), -1)
        cv2.imwrite(str(folder / 'val2017' / f'{number:012d}.jpg'), picture)
        images.append({'id': number, 'file_name': f'{number:012d}.jpg', 'width': 100, 'height': 100})
        people.append({
            'id': number, 'image_id': number, 'category_id': 1, 'iscrowd': 0, 'area': 1.0, 'bbox': [15, 15, 70, 70],
            'keypoints': np.concatenate([pixels, flags[:, None]], axis=1).ravel().tolist(),
            'num_keypoints': int((flags > 0).sum()),
        })  # fmt: skip
    category = {'id': 1, 'name': 'person', 'keypoints': list(visnet.COCO_17), 'skeleton': []}
    content = {'images': images, 'annotations': people, 'categories': [category]}
    (folder / 'annotations' / 'person_keypoints_val2017.json').write_text(json.dumps(content))
    return int(sum(person['num_keypoints'] for person in people))


def test_official_people_are_scored_where_they_are_set(no_settings, monkeypatch, tmp_path):
    labelled = write_coco(tmp_path / 'coco')
    settings.set_setting('data.coco', tmp_path / 'coco')
    inputs = InputConfig((Modality.RGB,), size=32)
    config = visnet_run.VisNetTrainConfig(network=TINY, inputs=inputs)
    card = VisNetCard(input=inputs, network=TINY, licence='', training_config=to_plain(config))
    save_visnet(tmp_path / 'visnet_rgb', VisNet(TINY), card)
    monkeypatch.setattr(visnet, 'BUNDLED', ('nobody', str(tmp_path / 'visnet_rgb')))
    assert main(['reproduce', 'visnet', '--run', str(tmp_path / 'run'), '--out', str(tmp_path)]) == EXIT_FINE
    found = json.loads((tmp_path / 'visnet-small.json').read_text())
    assert found['people'] == 'COCO val2017'
    assert list(found['networks']) == ['visnet_rgb']
    assert found['networks']['visnet_rgb']['joints'] == labelled
    assert 'not to be compared' not in (tmp_path / 'visnet-small.md').read_text()


def test_the_papers_schedule():
    assert visnet.FULL.network == PAPER
    assert visnet.FULL.loop.epochs == 80
    assert visnet.FULL.loop.learning_rate == 1e-3
    assert visnet.FULL.loop.weight_decay == 0.0  # AdamW without decay is Adam.
    assert visnet.FULL.people == 'coco'


def test_what_is_missing_is_said(no_settings, tmp_path, capsys):
    assert main(['reproduce', 'visnet', '--size', 'full', '--out', str(tmp_path)]) == EXIT_WRONG
    assert 'hwhup config set data.coco' in capsys.readouterr().err
    assert main(['train-visnet', '--config', str(tmp_path / 'none.yaml')]) == EXIT_WRONG
    assert 'config/train/visnet.yaml' in capsys.readouterr().err


def test_the_bundled_configuration_is_read():
    config = visnet_run.load_train_config(ROOT / 'config/train/visnet.yaml', 'depth')
    assert config.people == 'synthetic'
    assert config.network == VisNetConfig()
