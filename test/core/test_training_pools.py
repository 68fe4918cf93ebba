"""Pools on disk and joined: what is saved is loaded, and what does not belong together is refused."""

from dataclasses import fields, replace

import numpy as np
import pytest

from hwhup_core.errors import AssetError, ConfigError
from hwhup_core.networks.packing import Modality
from hwhup_core.training.pools import (
    LabelledPool,
    Pictures,
    TrueLabels,
    WeakLabels,
    WeakPool,
    join_pools,
    load_pool,
    save_pool,
)

JOINTS = ('left_hip', 'right_hip', 'pelvis')
RNG = np.random.default_rng(0)


def pictures(count, **more):
    depth = RNG.integers(0, 30_000, (count, 8, 8)).astype(np.uint16)
    return Pictures(RNG.random(count), RNG.random((count, 2)), depth=depth, **more)


def weak(count=3, first_row=0):
    labels = WeakLabels(
        keypoints=RNG.random((count, 3, 2)),
        confidence=np.ones((count, 3)),
        visibility=RNG.integers(0, 2, (count, 3)).astype(float),
        proxies=RNG.random((count, 3, 3)),
        depth=RNG.integers(0, 30_000, (count, 8, 8)).astype(np.uint16),
        mask=RNG.random((count, 8, 8)) > 0.5,
        rows=np.arange(count) + first_row,
    )
    return WeakPool(pictures(count), labels, JOINTS, tuple(f'frame {k}' for k in range(count)))


def labelled(count=3):
    rotations = np.broadcast_to(np.eye(3), (count, 23, 3, 3)).copy()
    labels = TrueLabels(RNG.random((count, 3, 2)), rotations[:, 0], rotations, RNG.random((count, 10)))
    infrared = RNG.integers(0, 255, (count, 8, 8)).astype(np.uint8)
    return LabelledPool(pictures(count, infrared=infrared), labels, JOINTS, tuple(f'frame {k}' for k in range(count)))


def assert_same(one, other):
    assert type(one) is type(other)
    assert (one.joints, one.names) == (other.joints, other.names)
    for group in ('pictures', 'labels'):
        for field in fields(getattr(one, group)):
            here, there = (getattr(getattr(pool, group), field.name) for pool in (one, other))
            assert (here is None) == (there is None), field.name
            if here is not None:
                assert here.dtype == there.dtype
                np.testing.assert_array_equal(here, there)


@pytest.mark.parametrize('pool', [weak(), labelled()], ids=['weak', 'labelled'])
def test_what_is_saved_is_loaded(tmp_path, pool):
    save_pool(tmp_path / 'pool.npz', pool)
    assert_same(load_pool(tmp_path / 'pool.npz', type(pool)), pool)
    assert [path.name for path in tmp_path.iterdir()] == ['pool.npz']


def test_joined_pools_keep_their_order():
    one, two = weak(2), weak(3, first_row=2)
    both = join_pools([one, two])
    assert len(both) == 5
    assert both.labels.rows.tolist() == [0, 1, 2, 3, 4]
    np.testing.assert_array_equal(both.pictures.depth[2:], two.pictures.depth)
    assert both.names == one.names + two.names


def test_what_does_not_belong_together_is_refused(tmp_path):
    with pytest.raises(ConfigError, match='different joints'):
        join_pools([weak(), replace(weak(), joints=('head', *JOINTS[1:]))])
    bare = labelled()
    bare = replace(bare, pictures=replace(bare.pictures, infrared=None))
    with pytest.raises(ConfigError, match='Only some of the pools have infrared'):
        join_pools([labelled(), bare])
    with pytest.raises(ConfigError, match='no infrared pictures'):
        bare.pictures.of(Modality.INFRARED)


def test_a_damaged_file_is_named(tmp_path):
    file = tmp_path / 'pool.npz'
    with pytest.raises(AssetError, match=r'pool\.npz'):
        load_pool(file, WeakPool)
    save_pool(file, weak())
    whole = file.read_bytes()
    for content in (whole[: len(whole) // 2], b'', b'nonsense'):
        file.write_bytes(content)
        with pytest.raises(AssetError, match='not a whole pool'):
            load_pool(file, WeakPool)
    file.write_bytes(whole)
    with pytest.raises(AssetError, match='not a whole pool'):
        load_pool(file, LabelledPool)
