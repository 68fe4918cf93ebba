from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Literal

import pytest

from hwhup_core.config_io import load_config, save_config
from hwhup_core.errors import ConfigError


class Colour(Enum):
    RED = 'red'
    BLUE = 'blue'


@dataclass(frozen=True)
class Inner:
    rate: float = 1e-3
    sizes: tuple[int, ...] = (1, 2)
    pair: tuple[float, str] = (0.5, 'a')

    def __post_init__(self) -> None:
        if self.rate <= 0:
            raise ConfigError(f'rate is {self.rate}. It must be positive.')


@dataclass(frozen=True)
class Outer:
    name: str
    inner: Inner = Inner()
    colour: Colour = Colour.RED
    style: Literal['plain', 'fancy'] = 'plain'
    folder: Path | None = None
    steps: int = 3
    loud: bool = False
    others: tuple[Inner, ...] = ()
    weights: dict[str, float] | None = None


def write(folder: Path, text: str) -> Path:
    path = folder / 'config.yaml'
    path.write_text(text)
    return path


def test_round_trip(tmp_path):
    config = Outer(
        'x', Inner(2e-7, (), (1.0, 'b')), Colour.BLUE, 'fancy', Path('/a/b'), 0, True, (Inner(), Inner(5.0)), {'a': 1.5}
    )
    save_config(tmp_path / 'c.yaml', config)
    assert load_config(tmp_path / 'c.yaml', Outer) == config


def test_defaults_stay_and_numbers_convert(tmp_path):
    config = load_config(write(tmp_path, 'name: x\ninner: {rate: 1e-4, pair: [1, b]}\nfolder: ~\n'), Outer)
    assert config == Outer('x', Inner(1e-4, pair=(1.0, 'b')))
    assert isinstance(config.inner.pair[0], float)


@pytest.mark.parametrize(
    ('text', 'parts'),
    [
        ('name: x\nstepz: 1', ['config.yaml', '`stepz`', 'Did you mean `steps`']),
        ('name: x\ninner: {raet: 1.0}', ['`inner.raet`', 'Did you mean `rate`']),
        ('name: x\nsteps: 1.5', ['`steps`', '1.5', 'a whole number']),
        ('name: x\nsteps: true', ['`steps`', 'True', 'a whole number']),
        ('name: x\nloud: 1', ['`loud`', 'true or false']),
        ('name: x\ninner: {rate: fast}', ['`inner.rate`', "'fast'", 'a number']),
        ('name: x\ninner: {sizes: [1, two]}', ['`inner.sizes[1]`', "'two'", 'a whole number']),
        ('name: x\ninner: {pair: [1]}', ['`inner.pair`', 'a list of 2 values']),
        ('name: x\ninner: 3', ['`inner`', 'the keys of Inner']),
        ('name: x\ncolour: bleu', ['`colour`', 'one of red, blue', 'Did you mean `blue`']),
        ('name: x\nstyle: loud', ['`style`', 'one of plain, fancy']),
        ('name: x\nfolder: 3', ['`folder`', '3', 'a path']),
        ('name: x\nothers: [{rate: no way}]', ['`others[0].rate`']),
        ('name: x\ninner: {rate: -1.0}', ['config.yaml', '`inner`', 'must be positive']),
        ('steps: 1', ['`name`', 'missing']),
        ('- 1', ['the file', 'the keys of Outer']),
        ('a: [', ['config.yaml', 'not valid YAML']),
    ],
)
def test_wrong_files_are_refused(tmp_path, text, parts):
    with pytest.raises(ConfigError) as caught:
        load_config(write(tmp_path, text), Outer)
    for part in parts:
        assert part in str(caught.value)


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r'nowhere\.yaml'):
        load_config(tmp_path / 'nowhere.yaml', Outer)
