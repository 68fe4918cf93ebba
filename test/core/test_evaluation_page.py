"""The page of pictures: geometry of the side view by hand, and files that need nothing else."""

import base64
import functools
import re
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from hwhup_core.body.model import load_body
from hwhup_core.errors import HwhupError
from hwhup_core.evaluation.page import PANEL, Shown, picture_row, write_page, write_sheet
from hwhup_core.evaluation.scores import render_prediction
from hwhup_core.evaluation.side_view import AGREED, aligned_cloud, crop_camera, draw_side, side_camera
from hwhup_core.geometry.cameras import spin_pinhole
from hwhup_core.types import BodyParams, CropPinhole, Prediction, WeakPerspective

SIZE = 32
SQUARE = np.array([[-0.4, -0.4, 2], [0.4, -0.4, 2], [0.4, 0.4, 2], [-0.4, 0.4, 2]], np.float32)
FACES = np.array([[0, 2, 1], [0, 3, 2]])
PINHOLE = CropPinhole(torch.tensor([3.0]), torch.zeros(1, 2))


@functools.cache
def body():
    return load_body('infant')


def prediction(scale=2.0):
    turned = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
    params = BodyParams(turned[None], torch.eye(3).expand(1, 23, 3, 3), torch.zeros(1, 10))
    return Prediction(params, WeakPerspective(torch.tensor([scale]), torch.zeros(1, 2)))


def shown(pinhole=PINHOLE, **changes):
    depth = render_prediction(prediction(), body(), pinhole, SIZE).depth[0].numpy()
    return replace(
        Shown(None, depth, pinhole, [('before', prediction(1.8)), ('after', prediction())], 'a < b'), **changes
    )


def test_the_camera_of_a_crop():
    camera = crop_camera(CropPinhole(torch.tensor([3.0]), torch.tensor([[0.25, -0.5]])), SIZE)
    assert (camera.fx, camera.fy, camera.cx, camera.cy) == (48, 48, 20, 8)


def test_a_plane_in_its_cloud_whatever_the_distance():
    camera = crop_camera(PINHOLE, SIZE)
    depth = np.full((SIZE, SIZE), 2.7, np.float32)
    depth[16, 16], depth[0, 0], depth[15, 15] = 2.8, 0.0, 0.0
    cloud = aligned_cloud(depth, SQUARE, FACES, camera)
    assert cloud.offset == pytest.approx(0.7)
    # The square covers 0.8 m of the 1.33 m that the crop sees at 2 m: edges 6.4 and 25.6, the centres of 20 pixels.
    assert len(cloud.points) == SIZE**2 - 2
    assert cloud.on_body.sum() == 20**2 - 1
    residual = np.sort(cloud.residual[cloud.on_body])
    np.testing.assert_allclose(residual[[0, -2, -1]], [0, 0, 0.1], atol=1e-5)
    inside = cloud.points[cloud.on_body]
    assert np.abs(inside[:, :2]).max() <= 0.4 * 2.1 / 2
    np.testing.assert_allclose(np.median(inside[:, 2]), 2, atol=1e-5)
    assert np.isnan(cloud.residual[~cloud.on_body]).all()


def test_holes_alone_make_an_empty_cloud():
    cloud = aligned_cloud(np.zeros((SIZE, SIZE), np.float32), SQUARE, FACES, crop_camera(PINHOLE, SIZE))
    assert (len(cloud.points), cloud.offset) == (0, 0)
    draw_side(SQUARE, FACES, cloud, side_camera(SQUARE), 64)


@pytest.mark.parametrize('axis', [0, 1])
def test_the_side_camera_keeps_the_long_axis_and_shows_the_depth_across(axis):
    long = np.zeros(3)
    long[axis] = 1.0
    points = np.array([long, -long, [0, 0, 0.2], [0, 0, -0.2]]) + np.array([0.3, 0.1, 2.0])
    camera = side_camera(points)
    np.testing.assert_allclose(camera.rotation @ camera.rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(camera.rotation) == pytest.approx(1)
    seen = camera.seen(points)[:, :2]
    across = np.eye(2)[1 - axis] * 0.2
    np.testing.assert_allclose(seen, [long[:2], -long[:2], across, -across], atol=1e-12)
    np.testing.assert_allclose(camera.following(0.5).seen(points - (0, 0, 0.5)), camera.seen(points), atol=1e-12)


@pytest.mark.parametrize('pinhole', [PINHOLE, spin_pinhole(prediction().camera)])
def test_the_true_body_lies_in_its_cloud(pinhole):
    panels = picture_row(shown(pinhole), body())
    assert [panel.caption for panel in panels] == ['input', 'before', 'before, side', 'after', 'after, side']
    assert all(panel.image.shape == (PANEL, PANEL, 3) for panel in panels)
    agreed = (panels[-1].image == AGREED).all(axis=-1).sum()
    assert agreed > 40
    assert not any((panels[-1].image == color).all(axis=-1).any() for color in [(28, 92, 214), (214, 48, 42)])


def test_a_broken_prediction_leaves_its_panels_empty():
    broken = prediction(float('nan'))
    behind = prediction(-2.0)
    panels = picture_row(shown(predictions=[('a', broken), ('b', behind), ('c', prediction())]), body())
    assert [panel.caption for panel in panels][1:5] == [
        'a: no body',
        'a, side: no body',
        'b: no body',
        'b, side: no body',
    ]
    np.testing.assert_array_equal(panels[1].image, panels[0].image)
    picture_row(shown(predictions=[('a', broken)]), body())
    assert len(picture_row(shown(predictions=[]), body())) == 1


def test_a_page_needs_nothing_else(tmp_path):
    write_page(tmp_path / 'deep' / 'page.html', [shown(), shown(title='second')], body(), 'Before & after')
    text = (tmp_path / 'deep' / 'page.html').read_text()
    assert '<h1>Before &amp; after</h1>' in text
    assert '<h2>a &lt; b</h2>' in text
    sources = re.findall(r'src="([^"]*)"', text)
    assert len(sources) == 10
    assert all(source.startswith('data:image/png;base64,') for source in sources)
    assert 'http' not in text
    assert '<script' not in text
    image = cv2.imdecode(np.frombuffer(base64.b64decode(sources[1].split(',')[1]), np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(image[..., ::-1], picture_row(shown(), body())[1].image)


def test_a_sheet_of_rows_of_different_length(tmp_path):
    color = np.full((SIZE, SIZE, 3), (10, 200, 30), np.uint8)
    write_sheet(tmp_path / 'sheet.png', [shown(), shown(image=color, predictions=[])], body())
    sheet = cv2.imread(str(tmp_path / 'sheet.png'))[..., ::-1]
    assert sheet.shape[0] > 2 * PANEL
    assert sheet.shape[1] > 5 * PANEL
    assert (sheet == color[0, 0]).all(axis=-1).sum() == PANEL**2


def test_bad_input(tmp_path):
    with pytest.raises(HwhupError, match='at least one frame'):
        write_page(tmp_path / 'page.html', [], body())
    with pytest.raises(HwhupError, match='at least one frame'):
        write_sheet(tmp_path / 'sheet.png', [], body())
    (tmp_path / 'file').touch()
    with pytest.raises(HwhupError, match='Cannot write'):
        write_sheet(tmp_path / 'file' / 'sheet.png', [shown(predictions=[])], body())
