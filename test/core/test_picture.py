import numpy as np
import pytest

from hwhup_core.errors import HwhupError
from hwhup_core.geometry.cameras import project
from hwhup_core.render.picture import (
    HOLE,
    LEFT,
    RIGHT,
    brightness,
    depth_to_rgb,
    draw_skeleton,
    overlay,
    shade,
    shaded_layer,
    side_by_side,
    vertex_normals,
)
from hwhup_core.types import Intrinsics

CAMERA = Intrinsics(100.0, 100.0, 32.0, 24.0, 64, 48)
# A frontal square that covers pixels 12..52 x 9..39, wound so that it faces the camera.
SQUARE = np.array([[-0.4, -0.3, 2], [0.4, -0.3, 2], [0.4, 0.3, 2], [-0.4, 0.3, 2]], np.float32)
FACES = np.array([[0, 2, 1], [0, 3, 2]])


def test_shade_covers_the_square_and_nothing_else():
    picture = shade(SQUARE, FACES, CAMERA, color=(200, 100, 50), background=np.zeros((48, 64, 3), np.uint8))
    inside = picture[9:39, 12:52]
    assert picture.sum() == inside.sum()
    assert (inside > 20).all()
    ratio = inside.reshape(-1, 3) / inside[..., :1].reshape(-1, 1)
    np.testing.assert_allclose(ratio, np.tile([1, 0.5, 0.25], (len(ratio), 1)), atol=0.02)


def test_edges_are_antialiased():
    _, coverage = shaded_layer(SQUARE + np.float32([0.005, 0, 0]), FACES, CAMERA)
    # Moved by a quarter pixel: two of the four samples of the first column leave, none of the last but one.
    assert set(np.unique(coverage)) <= {0.0, 0.5, 1.0}
    assert coverage.sum() == pytest.approx(30 * 40, abs=30)


def test_overlay_blends_and_leaves_the_rest():
    image = np.full((48, 64, 3), 90, np.uint8)
    before = image.copy()
    solid, half, none = (overlay(image, SQUARE, FACES, CAMERA, alpha) for alpha in (1.0, 0.5, 0.0))
    np.testing.assert_array_equal(image, before)
    np.testing.assert_array_equal(none, image)
    np.testing.assert_array_equal(half[:9], image[:9])
    np.testing.assert_allclose(half.astype(float), (solid.astype(float) + image) / 2, atol=1.0)


def test_normals_face_the_camera_and_light_falls_from_there():
    normals = vertex_normals(SQUARE.astype(float), FACES)
    np.testing.assert_allclose(normals, np.tile([0, 0, -1.0], (4, 1)), atol=1e-12)
    assert (brightness(SQUARE, FACES) > brightness(SQUARE, FACES[:, ::-1]) + 0.2).all()


@pytest.mark.parametrize(
    ('model', 'distortion'), [('plumb_bob', (-0.6, 0.1, 0.001, 0.0, 0.0)), ('equidistant', (-0.3, 0.0, 0.0, 0.0))]
)
def test_the_mesh_follows_the_lens(model, distortion):
    lens = Intrinsics(100.0, 100.0, 32.0, 24.0, 64, 48, model, distortion)
    dot = SQUARE * np.float32([0.1, 0.1, 1]) + np.float32([0.45, 0.3, 0])
    coverage = shaded_layer(dot, FACES, lens)[1]
    rows, columns = np.nonzero(coverage > 0)
    center = project(dot.mean(axis=0, keepdims=True).astype(float), lens)[0]
    plain = project(dot.mean(axis=0, keepdims=True).astype(float), CAMERA)[0]
    assert np.hypot(*(center - plain)) > 1.0
    assert np.hypot(columns.mean() + 0.5 - center[0], rows.mean() + 0.5 - center[1]) < 0.5


def test_nothing_to_draw_is_the_background():
    background = np.full((48, 64, 3), 77, np.uint8)
    for vertices in (SQUARE * np.float32([1, 1, -1]), SQUARE * np.float32(np.nan)):
        np.testing.assert_array_equal(shade(vertices, FACES, CAMERA, background=background), background)


def test_skeleton_colours_sides_and_skips_the_unknown():
    image = np.zeros((100, 100, 3), np.uint8)
    pixels = np.full((24, 2), np.nan)
    pixels[0], pixels[1], pixels[2] = (50.5, 20.5), (20.5, 80.5), (80.5, 80.5)
    parents = [-1, 0, 0, *range(21)]
    picture = draw_skeleton(image, pixels, parents)
    assert tuple(picture[80, 20]) == LEFT
    assert tuple(picture[80, 80]) == RIGHT
    assert image.sum() == 0
    hidden = draw_skeleton(image, pixels, parents, np.array([1, 0, 1, *[np.nan] * 21]))
    assert tuple(hidden[80, 20]) != LEFT
    np.testing.assert_array_equal(hidden[:, 60:], picture[:, 60:])
    assert draw_skeleton(image, np.full((24, 2), 1e9), parents).sum() == 0


def test_depth_colours():
    depth = np.array([[0.0, 0.5, 1.0, np.nan]], np.float32)
    picture = depth_to_rgb(depth, 0.5, 1.0)
    assert tuple(picture[0, 0]) == tuple(picture[0, 3]) == HOLE
    assert picture[0, 1, 0] > picture[0, 1, 2], 'near is warm'
    assert picture[0, 2, 2] > picture[0, 2, 0], 'far is cold'
    assert (depth_to_rgb(np.zeros((2, 2), np.float32)) == HOLE[0]).all()


def test_side_by_side_keeps_the_pictures():
    one, two = np.full((40, 30, 3), 10, np.uint8), np.full((80, 20, 3), 200, np.uint8)
    plain, titled = side_by_side([one, two]), side_by_side([one, two], ['a', 'a very long title that must shrink'])
    assert (plain == 10).all(axis=2).sum() == 80 * 60
    assert (plain == 200).all(axis=2).sum() == 80 * 20
    assert titled.shape[0] > plain.shape[0]
    with pytest.raises(HwhupError, match='1 titles for 2 images'):
        side_by_side([one, two], ['a'])
    with pytest.raises(HwhupError, match='no images'):
        side_by_side([])


def test_an_image_of_another_size_is_refused():
    with pytest.raises(HwhupError, match='The image is 32 x 48, the intrinsics are of 64 x 48'):
        overlay(np.zeros((48, 32, 3), np.uint8), SQUARE, FACES, CAMERA)
