"""
The best fit so far of every image of a data set, saved with each checkpoint.

A row is 72 axis-angle numbers and 10 betas of the image as it lies on disk, neither turned nor mirrored, and no camera
(method 2.5). Images of one pose under several covers follow each other in the data set and share the row
index // covers. Zeros with an infinite score mean: never fitted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from hwhup_core.body.model import BodyModel, require_same_body
from hwhup_core.errors import AssetError, ConfigError
from hwhup_core.fitting.smplify import pack, unpack
from hwhup_core.networks.checkpoint import write_whole
from hwhup_core.types import BodyParams

FORMAT_VERSION = 1
HEADER = 'hwhup_fit_store'
"""Key of the JSON header in the metadata of the safetensors file."""
ROW_NUMBERS = 82


class FitStore:
    """Fits and scores by image index; bound to one data set and one body, whose betas mean something else elsewhere."""

    def __init__(self, dataset: str, images: int, body: BodyModel, covers: int = 1) -> None:
        if covers < 1 or images < 1 or images % covers:
            raise ConfigError(f'{images} images do not divide into groups of {covers} covers. Check both numbers.')
        self.dataset, self.images, self.covers = dataset, images, covers
        self.body = body
        self.fits: Tensor = torch.zeros(images // covers, ROW_NUMBERS)
        self.scores: Tensor = torch.full((images // covers,), torch.inf)
        """Of each row when it was written, in the augmentation of that moment, px^2."""
        self._agreed = self._copy()
        """What the ranks all had when they last agreed."""

    def to(self, device: torch.device | str) -> FitStore:
        """Move the rows to where the training runs, and return the store."""
        self.fits, self.scores = self.fits.to(device), self.scores.to(device)
        return self

    def rows(self, indices: Int[Tensor, ' b']) -> Int[Tensor, ' b']:
        """Return the row of each image."""
        outside = (indices < 0) | (indices >= self.images)
        if outside.any():
            raise ConfigError(
                f'No image {int(indices[outside][0])} in the fit store of {self.dataset!r} with {self.images} images. '
                'Use the store of the data set that the batch comes from.'
            )
        return indices.to(self.fits.device) // self.covers

    def get(self, indices: Int[Tensor, ' b']) -> tuple[BodyParams, Bool[Tensor, ' b']]:
        """Return the best fits of the images as they lie on disk, and which images have one."""
        rows = self.rows(indices)
        return unpack(self.fits[rows]), self.scores[rows].isfinite()

    def put(
        self, indices: Int[Tensor, ' b'], params: BodyParams, scores: Float[Tensor, ' b'], accepted: Bool[Tensor, ' b']
    ) -> None:
        """
        Write the accepted fits, whose parameters belong to the images as they lie on disk.

        Of several for the same row the best score is written, so that the result does not depend on their order. A fit
        that is not finite is never written.
        """
        fits, scores = pack(params).detach().to(self.fits), scores.detach().to(self.scores)
        rows = self.rows(indices)
        wanted = accepted.to(rows.device) & scores.isfinite() & fits.isfinite().all(dim=1)
        rows, fits, scores = rows[wanted], fits[wanted], scores[wanted]
        best = _best_of_each(rows, scores, len(self.fits))
        self.fits[rows[best]] = fits[best]
        self.scores[rows[best]] = scores[best]

    def merge(self, other_fits: Float[Tensor, 'r 82'], other_scores: Float[Tensor, ' r']) -> None:
        """
        Take over every row of another store of the same data set that has a better score.

        Of equal scores the row with the smaller numbers stays, so that stores merged in any order come out the same.
        """
        if other_fits.shape != self.fits.shape or other_scores.shape != self.scores.shape:
            raise ConfigError(
                f'Fits of {tuple(other_fits.shape)} and scores of {tuple(other_scores.shape)} do not merge into the '
                f'fit store of {self.dataset!r} with {len(self.fits)} rows. Merge stores of the same data set.'
            )
        fits, scores = other_fits.detach().to(self.fits), other_scores.detach().to(self.scores)
        better = (scores < self.scores) | ((scores == self.scores) & _comes_first(fits, self.fits))
        better &= scores.isfinite() & fits.isfinite().all(dim=1)
        self.fits = torch.where(better[:, None], fits, self.fits)
        self.scores = torch.where(better, scores, self.scores)

    def merge_ranks(self, states: Sequence[Mapping[str, Any]]) -> None:
        """
        Take over, from the states of all ranks, what any rank wrote since they last agreed; of several the best score.

        Scores belong to the augmentation of their moment: a new fit may have a larger one than the fit that it beat.
        Rows that a rank did not write therefore do not compete. Ranks agree on an empty store, on a loaded state, and
        after each merge; a row that several ranks write in between may come out unlike that of a single process.
        """
        for state in states:
            self._check(state.get(HEADER), "A rank's fit store")
        fits, scores = self._agreed
        written = [(state['scores'] != scores) | (state['fits'] != fits).any(dim=1) for state in states]
        contested = torch.stack(written).any(dim=0)
        self.fits, self.scores = fits.to(self.fits), torch.where(contested, torch.inf, scores).to(self.scores)
        for state, own in zip(states, written):
            self.merge(state['fits'], torch.where(own, state['scores'], torch.inf))
        self._agreed = self._copy()

    def _copy(self) -> tuple[Tensor, Tensor]:
        return self.fits.detach().cpu().clone(), self.scores.detach().cpu().clone()

    def header(self) -> dict[str, str | int]:
        """Return what the rows belong to."""
        return {
            'format_version': FORMAT_VERSION,
            'dataset': self.dataset,
            'images': self.images,
            'covers': self.covers,
            'body_id': self.body.body_id,
            'body_hash': self.body.hash,
        }

    def state_dict(self) -> dict[str, Any]:
        """Return a copy of the rows on the CPU, and their header, for a checkpoint of the training."""
        fits, scores = self._copy()
        return {HEADER: self.header(), 'fits': fits, 'scores': scores}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over the rows of a `state_dict`; one of another data set, size or body is refused."""
        self._take(state.get(HEADER), state, 'This state of a fit store')

    def _take(self, header: object, tensors: Mapping[str, Any], name: str) -> None:
        """Take over checked rows; `name` begins the messages."""
        self._check(header, name)
        found = {}
        for key, tensor in (('fits', self.fits), ('scores', self.scores)):
            new = tensors.get(key)
            fits = isinstance(new, Tensor) and (new.shape, new.dtype) == (tensor.shape, tensor.dtype)
            if new is None or not fits or new.isnan().any():
                raise AssetError(f'{name}: {key} is missing, damaged or of another shape. Start without a store.')
            found[key] = new.detach().clone().to(tensor.device)
        self.fits, self.scores = found['fits'], found['scores']
        self._agreed = self._copy()

    def _check(self, header: object, name: str) -> None:
        if not isinstance(header, Mapping):
            raise AssetError(f'{name} has no header of a fit store; it is another kind of file. Check the path.')
        if header.get('format_version') != FORMAT_VERSION:
            raise AssetError(
                f'{name} has format version {header.get("format_version")}, this program reads {FORMAT_VERSION}. '
                'Update the older of the two.'
            )
        for key in ('dataset', 'images', 'covers'):
            found, expected = header.get(key), getattr(self, key)
            if found != expected:
                raise AssetError(
                    f'{name} holds fits with {key} {found!r}. Expected {expected!r}. Give the store of this data set, '
                    'or start without one.'
                )
        try:
            require_same_body(str(header.get('body_id')), str(header.get('body_hash')), self.body)
        except AssetError as error:
            raise AssetError(f'{name}: {error}') from error


def _comes_first(one: Float[Tensor, 'r n'], other: Float[Tensor, 'r n']) -> Bool[Tensor, ' r']:
    """Return where the rows of `one` come before those of `other`: smaller in the first number that differs."""
    differs = one != other
    first = differs.int().argmax(dim=1, keepdim=True)
    return differs.any(dim=1) & (one.gather(1, first) < other.gather(1, first)).squeeze(1)


def _best_of_each(rows: Int[Tensor, ' n'], scores: Float[Tensor, ' n'], length: int) -> Int[Tensor, ' m']:
    """Return the position of the lowest score of each row that occurs, the first one where scores are equal."""
    lowest = scores.new_full((length,), torch.inf).scatter_reduce(0, rows, scores, 'amin')
    candidates = torch.nonzero(scores == lowest[rows]).squeeze(1)
    first = rows.new_full((length,), len(rows)).scatter_reduce(0, rows[candidates], candidates, 'amin')
    return first[first < len(rows)]


def save_fit_store(store: FitStore, path: str | Path) -> None:
    """Write one safetensors file with a JSON header; the old file stays whole until the new one is."""
    path = Path(path)
    tensors = {'fits': store.fits.cpu().contiguous(), 'scores': store.scores.cpu().contiguous()}
    content = safetensors.torch.save(tensors, {HEADER: json.dumps(store.header())})
    try:
        write_whole(path, content)
    except OSError as error:
        raise AssetError(
            f'Cannot write the fit store {path}: {error.strerror}. Free some space or choose another folder; what was '
            'there before is still whole.'
        ) from error


def load_fit_store(path: str | Path, dataset: str, images: int, body: BodyModel, covers: int = 1) -> FitStore:
    """Return the store in a file; one of another data set, size or body is refused."""
    path = Path(path)
    store = FitStore(dataset, images, body, covers)
    header, tensors = _read(path)
    store._take(header, tensors, str(path))
    return store


def _read(path: Path) -> tuple[object, dict[str, Tensor]]:
    try:
        with safetensors.safe_open(path, framework='pt') as file:
            header = json.loads((file.metadata() or {}).get(HEADER, 'null'))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except OSError as error:
        raise AssetError(f'Cannot read the fit store {path}: {error.strerror or error}. Check the path.') from error
    except (safetensors.SafetensorError, ValueError) as error:
        raise AssetError(f'{path} is not a whole fit store: {error}. Copy it again or start without.') from error
    return header, tensors
