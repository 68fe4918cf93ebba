"""The command line: exit codes, one clear line for every wrong input, and what the results hold."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import trimesh

from hwhup_core.assets import ASSET_KINDS
from hwhup_core.body.model import load_body
from hwhup_core.cli import doctor as doctor_module
from hwhup_core.cli.doctor import Mark, ask_graph, check_body, check_weights, find_official
from hwhup_core.cli.inputs import assumed_camera, read_image
from hwhup_core.cli.main import main
from hwhup_core.cli.monitor import hand_over
from hwhup_core.data.camera_file import read_camera_file
from hwhup_core.errors import AssetError, HwhupError
from hwhup_core.networks.card import Measurement, ModelCard
from hwhup_core.networks.checkpoint import save_checkpoint
from hwhup_core.networks.compact import CompactConfig, CompactRegressor
from hwhup_core.networks.packing import InputConfig, Modality

TINY = CompactConfig(input_size=16, stem_width=2, widths=(2,), blocks=(1,), spatial_width=1, hidden_width=2)


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    """Untrained weights that read depth, as the shipped ones do."""
    body = load_body('infant')
    torch.manual_seed(0)
    stem = tmp_path_factory.mktemp('weights') / 'untrained'
    card = ModelCard(
        'compact', InputConfig((Modality.DEPTH,), 16), body.body_id, body.hash, 'CC0-1.0', TINY,
        metrics={'joint_error_mm': Measurement(321.0, 300.0, 340.0, 10)},
    )  # fmt: skip
    save_checkpoint(stem, CompactRegressor(TINY), card)
    return str(stem)


def write_depth(path):
    """Write a 16-bit depth image: something ball-like on a bed, a hole and a saturated pixel."""
    rows, columns = np.mgrid[:96, :128]
    bump = np.sqrt(np.maximum(30**2 - (rows - 48.0) ** 2 - (columns - 64.0) ** 2, 0))
    depth = (1200 - 8 * bump).astype(np.uint16)
    depth[0, 0], depth[0, 1] = 0, 65535
    cv2.imwrite(str(path), depth)
    return path


def write_camera(path):
    path.write_text(json.dumps({'fx': 110.0, 'fy': 111.0, 'cx': 63.5, 'cy': 47.5, 'width': 128, 'height': 96}))
    return path


def run(*arguments) -> int:
    return main([str(argument) for argument in arguments])


def test_predict_writes_json_overlay_and_mesh(tmp_path, weights, capsys):
    depth, camera = write_depth(tmp_path / 'bed.png'), write_camera(tmp_path / 'camera.json')
    out = tmp_path / 'out'
    assert run('predict', depth, '--camera', camera, '--weights', weights, '--out', out) == 0
    result = json.loads((out / 'bed.json').read_text())
    person = result['people'][0]
    assert not result['camera_assumed']
    assert result['intrinsics']['cx'] == 63.5
    assert len(person['pose']) == 72
    assert np.shape(person['joint_positions']) == (24, 3)
    assert len(person['joint_names']) == 24
    x, y, z = person['joint_positions'][0]
    pixel = (110 * x / z + 63.5, 111 * y / z + 47.5)
    assert person['joint_pixels'][0] == pytest.approx(pixel), 'Pixels and intrinsics have one convention.'
    assert person['confidence'] is None, 'Unknown numbers are null: NaN is no JSON.'
    assert person['state'] in ('estimated', 'low_confidence')
    assert person['body_id'] == 'hwhup_infant_v1'
    assert cv2.imread(str(out / 'bed_overlay.png')).shape[2] == 3
    mesh = trimesh.load(out / 'bed.glb', force='mesh')
    assert mesh.faces.shape == (13776, 3)
    # The viewer's frame is turned by pi about x: what is z in front of the camera is -z there.
    assert mesh.vertices[:, 2].max() < 0
    printed = capsys.readouterr()
    assert 'm from the camera' in printed.out
    assert 'warning' not in printed.err


def test_without_a_camera_a_pinhole_is_assumed_and_said(tmp_path, weights, capsys):
    depth = write_depth(tmp_path / 'bed.png')
    assert run('predict', depth, '--weights', weights, '--out', tmp_path / 'out', '--mesh', 'obj') == 0
    assert 'warning: no --camera given' in capsys.readouterr().err
    result = json.loads((tmp_path / 'out' / 'bed.json').read_text())
    assert result['camera_assumed']
    assert result['intrinsics']['fx'] == pytest.approx(64 / np.tan(np.pi / 6))
    assert (tmp_path / 'out' / 'bed.obj').is_file()


@pytest.mark.parametrize(
    ('name', 'content', 'words'),
    [
        ('notes.png', b'These are notes, no picture.\n', ('notes.png', 'not a readable image', 'These are notes')),
        ('empty.png', b'', ('empty.png', 'not a readable image')),
        ('missing.png', None, ('missing.png', 'no file or folder')),
        ('broken.npy', b'\x93NUMPY', ('broken.npy', 'not a readable image')),
    ],
)
def test_a_wrong_file_is_one_line_and_exit_code_2(tmp_path, weights, capsys, name, content, words):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    assert run('predict', path, '--weights', weights, '--out', tmp_path / 'out') == 2
    error = capsys.readouterr().err
    assert error.startswith('hwhup: error: ')
    assert error.count('\n') == 1
    assert all(word in error for word in words)


def test_colour_for_depth_weights_names_what_they_need(tmp_path, weights, capsys):
    path = tmp_path / 'photo.jpg'
    cv2.imwrite(str(path), np.full((96, 128, 3), 100, np.uint8))
    assert run('predict', path, '--weights', weights, '--out', tmp_path / 'out') == 2
    assert 'these weights need depth' in capsys.readouterr().err


def test_colour_with_its_depth(tmp_path, weights):
    photo, depth = tmp_path / 'photo.png', write_depth(tmp_path / 'depth.png')
    cv2.imwrite(str(photo), np.full((96, 128, 3), 100, np.uint8))
    assert run('predict', photo, '--depth', depth, '--weights', weights, '--out', tmp_path / 'out') == 0
    assert (tmp_path / 'out' / 'photo.json').is_file()


def test_depth_of_another_size_is_refused(tmp_path, weights, capsys):
    photo, depth = tmp_path / 'photo.png', write_depth(tmp_path / 'depth.png')
    cv2.imwrite(str(photo), np.full((48, 64, 3), 100, np.uint8))
    assert run('predict', photo, '--depth', depth, '--weights', weights, '--out', tmp_path / 'out') == 2
    error = capsys.readouterr().err
    assert '64x48' in error
    assert '128x96' in error


def test_a_folder_with_one_bad_file_is_done_in_part(tmp_path, weights, capsys):
    folder = tmp_path / 'images'
    folder.mkdir()
    write_depth(folder / 'a.png')
    (folder / 'b.png').write_text('not an image')
    write_depth(folder / 'c.png')
    assert run('predict', folder, '--weights', weights, '--out', tmp_path / 'out') == 1
    printed = capsys.readouterr()
    assert '2 of 3 images done, 1 failed' in printed.out
    assert 'b.png' in printed.err
    assert {path.name for path in (tmp_path / 'out').glob('*.json')} == {'a.json', 'c.json'}


def test_an_empty_folder_is_wrong_input(tmp_path, weights, capsys):
    assert run('predict', tmp_path, '--weights', weights) == 2
    assert 'holds no image' in capsys.readouterr().err


def test_weights_of_another_body_are_refused(tmp_path, weights, capsys):
    depth = write_depth(tmp_path / 'bed.png')
    assert run('predict', depth, '--weights', weights, '--body', 'adult', '--out', tmp_path / 'out') == 2
    assert 'hwhup_infant_v1' in capsys.readouterr().err


def test_images_are_read_as_what_they_are(tmp_path):
    depth = read_image(write_depth(tmp_path / 'bed.png'))
    assert depth.dtype == np.float32
    assert depth[0, 0] == depth[0, 1] == 0
    assert depth[95, 0] == pytest.approx(1.2)
    np.save(tmp_path / 'metres.npy', np.array([[1.5, np.nan], [-1.0, np.inf]]))
    assert np.array_equal(read_image(tmp_path / 'metres.npy'), np.array([[1.5, 0], [0, 0]], np.float32))
    red = np.zeros((4, 4, 3), np.uint8)
    red[..., 2] = 255  # OpenCV writes BGR.
    cv2.imwrite(str(tmp_path / 'red.png'), red)
    assert read_image(tmp_path / 'red.png')[0, 0].tolist() == [255, 0, 0]
    cv2.imwrite(str(tmp_path / 'deep.png'), np.zeros((4, 4, 3), np.uint16))
    with pytest.raises(HwhupError, match='uint16 of shape'):
        read_image(tmp_path / 'deep.png')


def test_camera_files(tmp_path):
    plain, _ = read_camera_file(write_camera(tmp_path / 'plain.json'))
    assert (plain.fx, plain.cx, plain.cy, plain.distortion_model) == (110.0, 64.0, 48.0, 'none')
    ros = tmp_path / 'ros.yaml'
    ros.write_text(
        'image_width: 640\nimage_height: 480\ndistortion_model: plumb_bob\n'
        'camera_matrix: {rows: 3, cols: 3, data: [500, 0, 320, 0, 501, 240, 0, 0, 1]}\n'
        'distortion_coefficients: {rows: 1, cols: 5, data: [0.1, 0, 0, 0, 0]}\n'
    )
    camera, _ = read_camera_file(ros)
    assert (camera.fy, camera.cx, camera.distortion_model) == (501.0, 320.5, 'plumb_bob')
    assert camera.distortion == (0.1, 0.0, 0.0, 0.0, 0.0)
    matrix = tmp_path / 'matrix.json'
    matrix.write_text(
        '{\n\t"width": 640, "height": 480, "intrinsic_matrix": [600, 0, 0, 0, 601, 0, 319, 239, 1]\n}'
    )  # With a tab.
    camera, _ = read_camera_file(matrix)
    assert (camera.fy, camera.cy) == (601.0, 239.5)


@pytest.mark.parametrize('text', ['fx: 1', '[1, 2]', '{', 'fx: 0\nfy: 1\ncx: 1\ncy: 1\nwidth: 4\nheight: 4'])
def test_a_wrong_camera_file_is_refused(tmp_path, text):
    path = tmp_path / 'camera.yaml'
    path.write_text(text)
    with pytest.raises(AssetError, match=r'camera\.yaml is not a camera file'):
        read_camera_file(path)


def test_the_assumed_camera_sees_sixty_degrees():
    camera = assumed_camera(640, 480)
    assert 2 * np.degrees(np.arctan(320 / camera.fx)) == pytest.approx(60)


def test_doctor_says_what_is_missing_and_where_to_get_it(capsys, monkeypatch):
    monkeypatch.setattr(doctor_module, 'check_ros', list)
    monkeypatch.setattr(doctor_module, 'check_weights', lambda folder: [])
    assert run('doctor') == 0
    printed = capsys.readouterr().out
    assert 'hwhup_infant_v1, hash' in printed
    assert 'torch' in printed
    assert 'hwhup assets add' in printed
    assert 'hwhup config set data.slp' in printed


def test_doctor_fails_on_what_is_broken(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(doctor_module, 'check_ros', list)
    monkeypatch.setattr(doctor_module, 'BUNDLED_WEIGHTS', tmp_path)
    assert run('doctor') == 1
    assert 'hwhup train' in capsys.readouterr().out


def test_doctor_reads_weights_and_bodies(tmp_path, weights):
    stem = tmp_path / 'untrained'
    (finding,) = check_weights(stem.parent.parent / 'none')
    assert finding.mark is Mark.BROKEN
    (finding,) = check_weights(Path(weights).parent)
    assert finding.mark is Mark.FINE
    assert 'reads depth' in finding.text
    assert '321 mm' in finding.text
    broken = tmp_path / 'body.npz'
    broken.write_text('no')
    assert check_body('body', broken).mark is Mark.BROKEN


def test_doctor_looks_for_official_files(tmp_path):
    (tmp_path / 'deep').mkdir()
    (tmp_path / 'deep' / 'gmm_08.pkl').write_bytes(b'by hand')
    folder, *kinds, stray = find_official(tmp_path)
    assert {finding.mark for finding in (folder, *kinds, stray)} == {Mark.MISSING}
    assert len(kinds) == len(ASSET_KINDS)
    assert 'https://' in kinds[0].text
    assert 'gmm_08.pkl was not added' in stray.text
    assert {finding.mark for finding in find_official(tmp_path / 'nowhere')} == {Mark.MISSING}
    (tmp_path / 'assets.yaml').write_text('[')
    assert find_official(tmp_path)[0].mark is Mark.BROKEN


def test_doctor_asks_the_graph_in_another_process():
    def answer(code: str):
        return ask_graph([sys.executable, '-c', code])

    alive = answer('print(\'{"nodes": ["/crib/pose_node"], "topics": {"/crib/smpl_poses": {"publishers": 1}}}\')')
    assert alive.mark is Mark.FINE
    assert '/crib/pose_node' in alive.text
    assert answer('print(\'{"nodes": [], "topics": {}}\')').mark is Mark.MISSING
    dead = answer('raise SystemExit("no ROS here")')
    assert (dead.mark, 'no ROS here' in dead.text) == (Mark.BROKEN, True)


def test_monitor_hands_every_argument_over():
    calls = []
    hand_over(['--replay', 'DIR', '--help'], execute=lambda path, argv: calls.append((path, argv)), needed=())
    assert calls == [(sys.executable, [sys.executable, '-m', 'hwhup_ros.crib_monitor', '--replay', 'DIR', '--help'])]


def test_monitor_without_ros_says_so():
    with pytest.raises(AssetError, match='no_such_package is not here'):
        hand_over([], execute=lambda path, argv: None, needed=('no_such_package',))


def test_train_and_evaluate_refuse_wrong_input(tmp_path, capsys):
    assert run('train', '--config', tmp_path / 'none.yaml') == 2
    assert 'none.yaml' in capsys.readouterr().err
    assert run('evaluate', '--count', 0) == 2
    assert run('evaluate', '--weights', tmp_path / 'none') == 2


def test_help_needs_no_heavy_package():
    code = (
        'import sys\nfrom hwhup_core.cli.main import build_parser\nbuild_parser().format_help()\n'
        'print([name for name in ("torch", "numpy", "cv2", "numba", "yaml") if name in sys.modules])'
    )
    answer = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == '[]'


def test_an_unknown_verb_is_refused():
    with pytest.raises(SystemExit) as caught:
        run('dance')
    assert caught.value.code == 2
