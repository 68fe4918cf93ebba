"""
What an official file is, by its content: the reader that would use it must take it. Nothing in a file is executed.

Only two things are not in the files: an SMPL body does not say its gender, so the name decides (or `--as`); and weights
with training state beside them may be HW-HuP's or another run's of SPIN's code.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hwhup_core.assets import ASSET_KINDS, StoredAsset, asset_kind, store_asset
from hwhup_core.body.files import OUR_VERTEX_ORDER, SMPL_VERTEX_COUNT, SMPL_VERTEX_ORDER, read_body_file
from hwhup_core.body.priors import load_gmm_08
from hwhup_core.body.regressors import read_any_regressor
from hwhup_core.body.unpickle import read_pickle
from hwhup_core.errors import AssetError
from hwhup_core.networks.checkpoint import load_mean_params, read_torch, spin_network

ADULTS = ('smpl_neutral', 'smpl_male', 'smpl_female')
TALLEST_INFANT = 1.0
"""Metres: the mean body of SMIL is some 0.6 m tall, that of SMPL 1.7 m."""
GENDER_IN_NAME = {
    'smpl_neutral': r'neutral|_n_',
    'smpl_female': r'female|_f_|_f\.',
    'smpl_male': r'(?<!fe)male|_m_|_m\.',
}
"""As in SMPL_MALE.pkl and basicModel_f_lbs_10_207_0_v1.0.0.pkl."""
TORCH_LEGACY = b'\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.'
"""First pickle of a torch file from before 1.6: a magic number."""
ADVICE = 'Nothing was added.'


@dataclass(frozen=True)
class Recognised:
    """What a file was found to be."""

    kinds: tuple[str, ...]
    """Keys of `ASSET_KINDS` that its content allows; several for an SMPL body of any gender."""
    suffix: str
    """Ending under which its reader takes it."""
    text: str
    """What was found, for the user."""


def add_asset(path: Path, wanted: str | None = None) -> tuple[str, StoredAsset]:
    """Recognise a file, copy it into the assets folder, and return its kind and entry; `wanted` settles the gender."""
    kind, found = decide(path, wanted)
    return kind, store_asset(path, kind, found.suffix)


def decide(path: Path, wanted: str | None = None) -> tuple[str, Recognised]:
    """Return the one kind that a file is: by content, then `wanted`, then the gender in its name."""
    if wanted is not None:
        asset_kind(wanted)
    found = recognise(path)
    if wanted is not None:
        if wanted not in found.kinds:
            raise AssetError(f'{path} is {found.text}, not {ASSET_KINDS[wanted].title}. {ADVICE}')
        return wanted, found
    if len(found.kinds) == 1:
        return found.kinds[0], found
    named = [kind for kind in found.kinds if re.search(GENDER_IN_NAME[kind], path.name.lower())]
    if len(named) != 1:
        raise AssetError(
            f'{path} is {found.text}, and its name does not say of which gender. {ADVICE} Say it: '
            f'hwhup assets add --as {"|".join(found.kinds)} FILE'
        )
    return named[0], found


def recognise(path: Path) -> Recognised:
    """Return what a file is, after its reader has checked all of it."""
    try:
        with path.open('rb') as stream:
            start = stream.read(64)
    except OSError as error:
        raise AssetError(f'Cannot read {path}: {error.strerror}. Check the path.') from error
    if start.startswith(b'PK\x03\x04'):
        return _zip(path)
    if start.startswith(b'\x93NUMPY'):
        rows = len(read_any_regressor(path))
        kind = 'j_regressor_extra' if rows == 9 else 'j_regressor_h36m'
        return Recognised((kind,), '.npy', f'a joint regressor of {rows} rows')
    if start.startswith(TORCH_LEGACY):
        return _checkpoint(path)
    if start[:1] in (b'\x80', b'(', b'}'):
        return _pickle(path)
    if start[8:9] == b'{':
        raise _unknown(path, 'weights in safetensors form; give their path where weights are asked for')
    raise _unknown(path, f'a file that begins with {start[:8]!r}' if start else 'an empty file')


def _zip(path: Path) -> Recognised:
    """Return what an .npz or a torch file of today is."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise AssetError(
            f'{path} is a broken zip ({error}); it is probably cut off. Copy or download it again.'
        ) from error
    if any(name.endswith('data.pkl') for name in names):
        return _checkpoint(path)
    keys = {name.removesuffix('.npy') for name in names}
    if 'v_template' in keys:
        return _body(path, '.npz')
    if {'pose', 'shape', 'cam'} <= keys:
        load_mean_params(path)
        return Recognised(('mean_params',), '.npz', 'a mean body for a regressor')
    if 'imgname' in keys:
        raise _unknown(path, "a data set in SPIN's .npz layout; `hwhup dataset check` reads these")
    raise _unknown(path, f'an archive of {_some(keys)}')


def _pickle(path: Path) -> Recognised:
    """Return what a pickle is; a body or the pose mixture."""
    keys = read_pickle(path, ('v_template', 'means', 'covars', 'body_pose', 'poses'))
    if 'v_template' in keys:
        return _body(path, '.pkl')
    if 'means' in keys:
        load_gmm_08(path)
        return Recognised(('gmm_08',), '.pkl', 'a pose mixture')
    if keys:
        raise _unknown(path, 'poses of a data set; `hwhup dataset check` reads these')
    raise _unknown(path, 'a pickled dictionary with neither a body (v_template, ...) nor a pose mixture (means, ...)')


def _body(path: Path, suffix: str) -> Recognised:
    """Return which body it is: an infant by its height, else SMPL of any gender."""
    if path.suffix != suffix:
        raise AssetError(f'{path} is a body file, but ends in {path.suffix!r}. Rename it to {path.stem}{suffix}.')
    body = read_body_file(path)
    if body.vertex_order == OUR_VERTEX_ORDER:
        raise _unknown(path, f'our own body {body.body_id!r}; the bundled ones are here, others go by their path')
    if body.vertex_order != SMPL_VERTEX_ORDER:
        raise _unknown(path, f'a body of {len(body.template)} vertices, where SMPL and SMIL have {SMPL_VERTEX_COUNT}')
    height = float(np.ptp(body.template[:, 1]))
    if height < TALLEST_INFANT:
        return Recognised(('smil',), suffix, f'an SMPL body {height:.2f} m tall, an infant')
    return Recognised(ADULTS, suffix, f'an SMPL body {height:.2f} m tall')


def _checkpoint(path: Path) -> Recognised:
    """Return whose weights they are: SPIN's are published alone, HW-HuP's with the state of the training."""
    content = read_torch(path)
    spin_network(content, path)
    state = sorted(str(key) for key in content if key != 'model')
    if not state:
        return Recognised(('spin_checkpoint',), '.pt', "weights of SPIN's network")
    return Recognised(('hwhup_checkpoint',), '.pt', f"weights of SPIN's network with {_some(state)}")


def _unknown(path: Path, found: str) -> AssetError:
    titles = '; '.join(kind.title for kind in ASSET_KINDS.values())
    return AssetError(f'{path} is {found}. {ADVICE} Known are: {titles}.')


def _some(names: Iterable[str], most: int = 6) -> str:
    ordered = sorted(names)
    return ', '.join(ordered[:most]) + (f' and {len(ordered) - most} more' if ordered[most:] else '')
