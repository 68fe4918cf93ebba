"""Batch normalisation folded into the convolutions before it, for inference."""

from __future__ import annotations

import copy
import itertools
from typing import TypeVar

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

M = TypeVar('M', bound=nn.Module)


def fuse(model: M) -> M:
    """Return a frozen copy in eval mode with every convolution-normalisation pair folded; the model is not changed."""
    fused = copy.deepcopy(model).eval().requires_grad_(False)
    for module in list(fused.modules()):
        for conv_name, bn_name in _pairs(module):
            conv, bn = module.get_submodule(conv_name), module.get_submodule(bn_name)
            assert isinstance(conv, nn.Conv2d)
            assert isinstance(bn, nn.BatchNorm2d)
            setattr(module, conv_name, fuse_conv_bn_eval(conv, bn))
            setattr(module, bn_name, nn.Identity())
    return fused


def _pairs(module: nn.Module) -> list[tuple[str, str]]:
    """Return the names of children that follow each other in the computation: conv1 and bn1, or neighbours in a row."""
    children = dict(module.named_children())
    names = list(children)
    candidates = [(name, name.replace('conv', 'bn')) for name in names if name.startswith('conv')]
    if isinstance(module, nn.Sequential):
        candidates = list(itertools.pairwise(names))
    return [
        (first, second)
        for first, second in candidates
        if isinstance(children[first], nn.Conv2d) and isinstance(children.get(second), nn.BatchNorm2d)
    ]
