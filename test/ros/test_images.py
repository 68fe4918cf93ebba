import struct
from importlib.util import find_spec
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from hwhup_core.errors import ConfigError, FrameError
from hwhup_core.types import Intrinsics
from hwhup_ros.compressed import decompress_color, decompress_depth, decompress_infrared
from hwhup_ros.images import depth_pixels, from_array, pixel_reader, read_pixels, to_color, to_depth, to_infrared
from hwhup_ros.point_cloud import cloud_packer, point_cloud

HEIGHT, WIDTH = 4, 6
LAYOUTS = {
    'mono8': ('B', 1),
    'mono16': ('H', 1),
    'rgb8': ('B', 3),
    'bgr8': ('B', 3),
    'rgba8': ('B', 4),
    'bgra8': ('B', 4),
    'rgb16': ('H', 3),
    'bgr16': ('H', 3),
    'rgba16': ('H', 4),
    'bgra16': ('H', 4),
    'yuv422': ('B', 2),
    'yuv422_yuy2': ('B', 2),
    'bayer_rggb8': ('B', 1),
    'bayer_bggr16': ('H', 1),
    '8UC1': ('B', 1),
    '8UC3': ('B', 3),
    '8UC4': ('B', 4),
    '8SC1': ('b', 1),
    '16UC1': ('H', 1),
    '16SC1': ('h', 1),
    '16UC3': ('H', 3),
    '32SC1': ('i', 1),
    '32FC1': ('f', 1),
    '32FC3': ('f', 3),
    '64FC1': ('d', 1),
}
"""struct's letter and the channels: written down here again, so that a wrong table shows."""


def make(encoding, values, big=False, padding=0, height=HEIGHT, width=WIDTH):
    """Pack (row, column, channel) -> number byte by byte; padding bytes are 0xEE."""
    letter, channels = LAYOUTS[encoding]
    code = ('>' if big else '<') + letter
    rows = []
    for row in range(height):
        packed = b''.join(struct.pack(code, values(row, column, c)) for column in range(width) for c in range(channels))
        rows.append(packed + b'\xee' * padding)
    return SimpleNamespace(
        height=height, width=width, encoding=encoding, is_bigendian=int(big), step=len(rows[0]), data=b''.join(rows)
    )


def number(row, column, channel):
    return row * 20 + column * 3 + channel


@pytest.mark.parametrize('padding', [0, 1, 8])
@pytest.mark.parametrize('big', [False, True])
@pytest.mark.parametrize('encoding', LAYOUTS)
def test_pixels_are_those_that_were_packed(encoding, big, padding):
    pixels = read_pixels(make(encoding, number, big, padding))
    channels = LAYOUTS[encoding][1]
    assert pixels.shape == ((HEIGHT, WIDTH) if channels == 1 else (HEIGHT, WIDTH, channels))
    assert pixels.dtype.isnative
    for row in range(HEIGHT):
        for column in range(WIDTH):
            for channel in range(channels):
                found = pixels[row, column] if channels == 1 else pixels[row, column, channel]
                assert found == number(row, column, channel)


@pytest.mark.parametrize(
    ('encoding', 'order'),
    [('rgb8', 'RGB'), ('bgr8', 'BGR'), ('rgba8', 'RGBA'), ('bgra8', 'BGRA'), ('8UC3', 'BGR'), ('8UC4', 'BGRA')],
)
def test_color_channels_are_in_order(encoding, order):
    color = {'R': 200, 'G': 100, 'B': 30, 'A': 7}
    found = to_color(make(encoding, lambda row, column, channel: color[order[channel]], padding=5))
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, np.broadcast_to([200, 100, 30], (HEIGHT, WIDTH, 3)))


@pytest.mark.parametrize('big', [False, True])
@pytest.mark.parametrize(('encoding', 'order'), [('rgb16', 'RGB'), ('bgr16', 'BGR'), ('bgra16', 'BGRA')])
def test_sixteen_bit_color_keeps_the_upper_byte(encoding, order, big):
    color = {'R': 200, 'G': 100, 'B': 30, 'A': 7}
    found = to_color(make(encoding, lambda row, column, channel: color[order[channel]] * 256 + 9, big))
    np.testing.assert_array_equal(found[2, 3], [200, 100, 30])


@pytest.mark.parametrize('pattern', ['rggb', 'bggr', 'gbrg', 'grbg'])
@pytest.mark.parametrize('bits', ['8', '16'])
def test_bayer_mosaic_of_one_color_gives_that_color(pattern, bits):
    color = {'r': 200, 'g': 100, 'b': 30}
    scale = 1 if bits == '8' else 256
    LAYOUTS.setdefault(f'bayer_{pattern}{bits}', ('B' if bits == '8' else 'H', 1))
    mosaic = make(
        f'bayer_{pattern}{bits}',
        lambda row, column, _: color[pattern[row % 2 * 2 + column % 2]] * scale,
        height=8,
        width=8,
        padding=2,
    )
    np.testing.assert_array_equal(to_color(mosaic)[4, 4], [200, 100, 30])


@pytest.mark.parametrize(
    ('encoding', 'order'),
    [('yuv422', 'UYVY'), ('uyvy', 'UYVY'), ('yuv422_yuy2', 'YUYV'), ('yuyv', 'YUYV')],
)
def test_packed_yuv_has_luma_and_chroma_in_place(encoding, order):
    LAYOUTS.setdefault(encoding, ('B', 2))
    luma, chroma_blue, chroma_red = 120, 128, 200
    names = {'Y': luma, 'U': chroma_blue, 'V': chroma_red}
    found = to_color(make(encoding, lambda row, column, channel: names[order[column % 2 * 2 + channel]], padding=6))
    red, green, blue = yuv_to_rgb(luma, chroma_blue, chroma_red)
    np.testing.assert_allclose(found[1, 2], [red, green, blue], atol=3)


@pytest.mark.parametrize('encoding', ['nv12', 'nv21'])
def test_planar_yuv_has_luma_and_chroma_in_place(encoding):
    luma, chroma_blue, chroma_red = 120, 128, 200
    chroma = [chroma_blue, chroma_red] if encoding == 'nv12' else [chroma_red, chroma_blue]
    planes = np.empty((6, 8), np.uint8)
    planes[:4] = luma
    planes[4:, :6] = np.tile(chroma, 3)
    planes[:, 6:] = 0xEE
    message = SimpleNamespace(height=4, width=6, encoding=encoding, is_bigendian=0, step=8, data=planes.tobytes())
    np.testing.assert_allclose(to_color(message)[1, 2], yuv_to_rgb(luma, chroma_blue, chroma_red), atol=3)


def yuv_to_rgb(y, u, v):
    y, u, v = 1.164 * (y - 16), u - 128, v - 128
    return [y + 1.596 * v, y - 0.392 * u - 0.813 * v, y + 2.017 * u]


def test_color_of_grey_is_grey_and_a_copy():
    message = from_array(np.full((2, 3), 77, np.uint8), 'mono8', Header())
    color = to_color(message)
    assert color.shape == (2, 3, 3)
    assert (color == 77).all()
    rgb = from_array(np.zeros((2, 2, 3), np.uint8), 'rgb8', Header())
    to_color(rgb)[:] = 9
    assert max(rgb.data) == 0


@pytest.mark.parametrize('big', [False, True])
@pytest.mark.parametrize('encoding', ['16UC1', 'mono16', '16SC1'])
def test_integer_depth_is_millimetres(encoding, big):
    depth = to_depth(make(encoding, lambda row, column, _: 1000 + row * 20 + column, big, padding=2))
    assert depth.dtype == np.float32
    for row in range(HEIGHT):
        for column in range(WIDTH):
            assert depth[row, column] == pytest.approx(1.0 + row * 0.02 + column * 0.001, abs=1e-6)


@pytest.mark.parametrize('big', [False, True])
def test_float_depth_is_metres_and_what_is_no_depth_is_zero(big):
    odd = [float('nan'), float('inf'), -float('inf'), -1.0, 0.0, 2.5]
    depth = to_depth(make('32FC1', lambda row, column, _: odd[column], big, padding=3))
    np.testing.assert_array_equal(depth, np.tile(np.float32([0, 0, 0, 0, 0, 2.5]), (HEIGHT, 1)))


def test_zero_and_saturated_depth_is_no_depth():
    unsigned = to_depth(make('16UC1', lambda row, column, _: [0, 65535, 65534, 1, 500, 0][column]))
    np.testing.assert_allclose(unsigned[0], [0, 0, 65.534, 0.001, 0.5, 0], rtol=1e-6)
    signed = to_depth(make('16SC1', lambda row, column, _: [0, 32767, -5, 1, 500, 0][column]))
    np.testing.assert_allclose(signed[0], [0, 0, 0, 0.001, 0.5, 0], rtol=1e-6)


@pytest.mark.parametrize(('encoding', 'white'), [('mono8', 255), ('mono16', 65535), ('16UC1', 65535), ('32FC1', 1.0)])
def test_infrared_is_scaled_to_one(encoding, white):
    found = to_infrared(make(encoding, lambda row, column, _: white if column else 0))
    np.testing.assert_allclose(found[1], [0, 1, 1, 1, 1, 1], atol=1e-6)


@pytest.mark.parametrize(
    ('change', 'reason', 'words'),
    [
        ({'encoding': 'h264'}, 'wrong_encoding', 'h264.*expected one of'),
        ({'encoding': '16UC1', 'step': 11}, 'bad_step', 'step 11.*at least 12'),
        ({'encoding': '16UC1', 'data': b'\0' * 40}, 'short_data', '40 bytes; expected 48'),
        ({'encoding': '16UC1', 'height': 0}, 'empty_image', '6 x 0'),
        ({'encoding': 'rgb8'}, 'wrong_encoding', 'rgb8.*depth'),
    ],
)
def test_bad_messages_are_refused_with_what_was_found(change, reason, words):
    message = make('16UC1', number)
    vars(message).update(change)
    with pytest.raises(FrameError, match=words) as caught:
        to_depth(message)
    assert caught.value.reason == reason


@pytest.mark.parametrize('encoding', ['16UC1', '32FC1', 'mono16'])
def test_depth_is_no_color(encoding):
    with pytest.raises(FrameError, match='colour image') as caught:
        to_color(make(encoding, number))
    assert caught.value.reason == 'wrong_encoding'


def test_odd_width_is_refused_for_shared_chroma():
    with pytest.raises(FrameError, match='even size'):
        to_color(make('yuv422', number, width=5))


def test_missing_padding_of_the_last_row_is_accepted():
    message = make('16UC1', number, padding=8)
    message.data = message.data[:-8]
    np.testing.assert_array_equal(read_pixels(message), read_pixels(make('16UC1', number)))


@pytest.mark.parametrize('encoding', ['rgb8', 'bgra8', 'mono16', '16UC1', '32FC1', '8UC3'])
def test_round_trip_through_a_message(encoding):
    letter, channels = LAYOUTS[encoding]
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 200, (5, 7, channels)).astype(letter).squeeze()
    message = from_array(pixels[:, ::1], encoding, Header(frame_id='cam'))
    assert isinstance(message, Image)
    assert message.header.frame_id == 'cam'
    assert (message.height, message.width, message.step) == (5, 7, 7 * channels * pixels.itemsize)
    np.testing.assert_array_equal(read_pixels(message), pixels)


def test_channels_must_match_the_encoding():
    with pytest.raises(FrameError, match='3 channels, the array has 1'):
        from_array(np.zeros((2, 2), np.uint8), 'rgb8', Header())


def test_depth_survives_the_message_to_the_millimetre():
    depth = np.array([[0.0, 0.0004, 1.2346, 65.534, 70.0, np.nan, -1.0]], np.float32)
    millimetres = to_depth(from_array(depth_pixels(depth, '16UC1'), '16UC1', Header()))
    np.testing.assert_allclose(millimetres, [[0, 0, 1.235, 65.534, 0, 0, 0]], atol=1e-5)
    metres = to_depth(from_array(depth_pixels(depth, '32FC1'), '32FC1', Header()))
    np.testing.assert_array_equal(metres, np.float32([[0, 0.0004, 1.2346, 65.534, 70.0, 0, 0]]))


def test_unknown_and_absent_back_ends_are_refused():
    with pytest.raises(ConfigError, match="'own' or 'cv_bridge'"):
        pixel_reader('opencv')
    try:
        import cv_bridge  # noqa: F401
    except ImportError:
        with pytest.raises(ConfigError, match='cv_bridge cannot be imported'):
            pixel_reader('cv_bridge')


def compressed(extension, pixels, text, prefix=b''):
    message = CompressedImage(format=text)
    message.data.frombytes(prefix + cv2.imencode(extension, pixels)[1].tobytes())
    return message


def test_compressed_color_and_infrared():
    bgr = np.full((8, 8, 3), (30, 100, 200), np.uint8)
    np.testing.assert_array_equal(
        decompress_color(compressed('.png', bgr, 'bgr8; png compressed'))[0, 0], [200, 100, 30]
    )
    np.testing.assert_allclose(decompress_color(compressed('.jpg', bgr, 'jpeg'))[4, 4], [200, 100, 30], atol=4)
    grey = np.full((8, 8), 65535, np.uint16)
    assert decompress_infrared(compressed('.png', grey, 'mono16; png compressed '))[0, 0] == 1.0


def test_compressed_depth_in_both_units():
    millimetres = np.array([[0, 1500, 65535]], np.uint16)
    header = struct.pack('<iff', 0, 0.0, 0.0)
    found = decompress_depth(compressed('.png', millimetres, '16UC1; compressedDepth png', header))
    np.testing.assert_allclose(found, [[0, 1.5, 0]])
    scale, offset = 1000.0, -5.0
    metres = np.array([[0.5, 2.0]])
    quantised = np.rint(scale / metres + offset).astype(np.uint16)
    header = struct.pack('<iff', 0, scale, offset)
    found = decompress_depth(compressed('.png', quantised, '32FC1; compressedDepth png', header))
    np.testing.assert_allclose(found, metres, rtol=1e-3)


@pytest.mark.parametrize('decode', [decompress_color, decompress_depth, decompress_infrared])
def test_bytes_that_are_no_image_are_refused(decode):
    for content in (b'', b'this is a text file'):
        message = CompressedImage(format='jpeg')
        message.data.frombytes(content)
        with pytest.raises(FrameError) as caught:
            decode(message)
        assert caught.value.reason == 'bad_compression'


def test_point_cloud_holds_the_points_that_were_seen():
    depth = np.zeros((4, 6), np.float32)
    depth[1, 2], depth[3, 5] = 2.0, 1.0
    color = np.zeros((4, 6, 3), np.uint8)
    color[1, 2] = (1, 2, 3)
    camera = Intrinsics(100.0, 100.0, 3.0, 2.0, 6, 4)
    message = point_cloud(depth, color, camera, Header(frame_id='cam'))
    assert (message.width, message.height, message.point_step) == (2, 1, 16)
    points = np.frombuffer(message.data, '<f4').reshape(-1, 4)
    np.testing.assert_allclose(points[0, :3], [2.0 * (2.5 - 3) / 100, 2.0 * (1.5 - 2) / 100, 2.0], rtol=1e-5)
    assert np.frombuffer(message.data, '<u4')[3] == 0x010203
    assert point_cloud(depth, None, camera, Header(), stride=2).width == 0
    assert point_cloud(np.ones((4, 6), np.float32), None, camera, Header(), stride=2).width == 6


def test_points_backend():
    with pytest.raises(ConfigError, match="'own' or 'sensor_msgs_py'"):
        cloud_packer('pcl')
    depth, camera = np.full((4, 6), 1.5, np.float32), Intrinsics(5.0, 5.0, 3.0, 2.0, 6, 4)
    own = point_cloud(depth, None, camera, Header(frame_id='cam'))
    if find_spec('sensor_msgs_py') is None:
        with pytest.raises(ConfigError, match='cannot be imported'):
            cloud_packer('sensor_msgs_py')
        return
    theirs = point_cloud(depth, None, camera, Header(frame_id='cam'), pack=cloud_packer('sensor_msgs_py'))
    assert (theirs.width, theirs.point_step, bytes(theirs.data)) == (own.width, own.point_step, bytes(own.data))
