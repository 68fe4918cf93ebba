"""docs/method.md says what is so: its names exist, and its tables are the differences between the presets."""

import inspect
import json
import re
from dataclasses import fields, is_dataclass
from importlib import import_module
from pathlib import Path

import pytest

from hwhup_core.training import weak_losses
from hwhup_core.training.stages import PAPER, RELEASED_CODE, TABLE_ONE, StageConfig

TEXT = (Path(__file__).parents[2] / 'docs' / 'method.md').read_text(encoding='utf-8')
DOTTED = re.compile(r'`([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+)`')
FILE_ENDINGS = ('pkl', 'py', 'md', 'npz')
NAMES = sorted({name for name in DOTTED.findall(TEXT) if name.rsplit('.', 1)[1] not in FILE_ENDINGS})


def differences(one, other, path=''):
    """Return the fields, at any depth, in which two equal kinds of dataclass differ: path -> both values."""
    assert type(one) is type(other), path
    found = {}
    for field in fields(one):
        here, there, name = getattr(one, field.name), getattr(other, field.name), f'{path}{field.name}'
        if is_dataclass(here):
            found |= differences(here, there, f'{name}.')
        elif here != there:
            found[name] = (here, there)
    return found


def table(heading):
    """Return the rows of the table below a heading, as lists of cells without backticks."""
    section = TEXT.split(f'## {heading}\n')[1].split('\n## ')[0]
    lines = [line for line in section.splitlines() if line.startswith('|')]
    return [[cell.strip().strip('`') for cell in line.strip('|').split('|')] for line in lines[2:]]


def member(owner, name):
    """Return an attribute, or a marker for a field without a default, which a class does not hold."""
    if is_dataclass(owner) and name in {field.name for field in fields(owner)}:
        return getattr(owner, name, ...)
    return getattr(owner, name)


def resolve(name):
    """Return what a dotted name stands for in hwhup_core; AttributeError or ModuleNotFoundError where there is none."""
    parts = name.split('.')
    found, module = None, 'hwhup_core'
    for position, part in enumerate(parts):
        try:
            found = import_module(f'{module}.{part}')
            module = f'{module}.{part}'
        except ModuleNotFoundError as error:
            if error.name != f'{module}.{part}' or found is None:
                raise
            for rest in parts[position:]:
                found = member(found, rest)
            return found
    return found


def is_field(name):
    """Return whether a dotted path is a field of the configuration."""
    value = PAPER
    for part in name.split('.'):
        if not is_dataclass(value) or part not in {field.name for field in fields(value)}:
            return False
        value = getattr(value, part)
    return True


@pytest.mark.parametrize('name', NAMES)
def test_every_name_exists(name):
    if not is_field(name):
        resolve(name)


def test_a_wrong_name_would_be_noticed():
    assert len(NAMES) > 70
    for name in ('training.stages.NOWHERE', 'fitting.nothing.at_all', 'fitting.config.EnergyWeights.size', 'nowhere.x'):
        assert not is_field(name)
        with pytest.raises((AttributeError, ModuleNotFoundError)):
            resolve(name)


def test_every_term_is_described():
    terms = [name for name, _ in inspect.getmembers(weak_losses, inspect.isfunction) if name.endswith('_term')]
    assert len(terms) >= 6
    assert {f'training.weak_losses.{name}' for name in terms} <= set(NAMES)


def test_every_part_names_paper_code_ours_and_place():
    parts = re.split(r'\n(?=## )', TEXT)
    numbered = [part for part in parts if re.match(r'## \d+\. ', part)]
    assert [int(re.match(r'## (\d+)', part)[1]) for part in numbered] == list(range(1, 17))
    for part in numbered:
        labels = re.findall(r'^\*\*(.+?)\.\*\*', part, re.MULTILINE)
        assert labels == ['Paper', 'Released code', 'Here', 'Where'], part.splitlines()[0]
        assert DOTTED.search(part.split('**Where.**')[1])


def test_the_presets_differ_exactly_where_the_table_says():
    rows = table('Fields in which the presets differ')
    assert all(len(row) == 4 and all(row) for row in rows)
    written = {field: (json.loads(paper), json.loads(released)) for field, paper, released, _ in rows}
    assert len(written) == len(rows)
    assert written == differences(PAPER, RELEASED_CODE)


def test_the_columns_differ_from_the_paper_exactly_where_the_table_says():
    rows = table('The columns of Table 1')
    assert all(len(row) == 4 and all(row) for row in rows)
    written = {(column, field): json.loads(value) for column, field, value, _ in rows}
    assert len(written) == len(rows)
    found = {
        (column, field): there
        for column, config in TABLE_ONE.items()
        for field, (_, there) in differences(PAPER, config).items()
    }
    assert written == found


def test_differences_are_found_at_any_depth():
    other = StageConfig(crop_camera='spin', epochs=3)
    assert differences(PAPER, other) == {'epochs': (30, 3)}
    assert differences(PAPER, TABLE_ONE['no_prior']) == {'smplify.weights.pose': (4.78, 0.0)}
    assert differences(PAPER, PAPER) == {}
