from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import pytest
import rclpy
from rclpy.node import Node
from rclpy.parameter import Parameter

from hwhup_core.errors import ConfigError
from hwhup_ros.marker_node import MarkerConfig
from hwhup_ros.parameters import declare_config, descriptions_of, names_of
from hwhup_ros.pose_config import PoseConfig

NUMBERS = itertools.count()


@dataclass(frozen=True)
class Inner:
    """An inner config."""

    threshold: float = field(default=0.5, metadata={'range': (0.0, 1.0)})
    """How sure
    one must be."""
    count: int = field(default=3, metadata={'range': (1, 9)})
    """How many."""

    def __post_init__(self) -> None:
        if self.threshold == 0.25:
            raise ConfigError('threshold is 0.25. Expected anything else.')


@dataclass(frozen=True)
class Outer:
    """A config."""

    name: str = 'body'
    """Who."""
    mode: str = field(default='raw', metadata={'choices': ('raw', 'compressed')})
    """How."""
    on: bool = True
    """Whether."""
    file: str | None = None
    """Where."""
    region: tuple[float, float] | None = None
    """What part."""
    labels: tuple[str, ...] = ('a', 'b')
    """Which."""
    inner: Inner = field(default_factory=Inner)
    """More."""


@pytest.fixture(scope='module')
def context():
    context = rclpy.Context()
    rclpy.init(context=context)
    yield context
    context.try_shutdown()


@pytest.fixture
def make_node(context):
    nodes = []

    def make(**given):
        node = Node(
            f'parameters_{next(NUMBERS)}',
            context=context,
            parameter_overrides=[Parameter(name.replace('__', '.'), value=value) for name, value in given.items()],
            automatically_declare_parameters_from_overrides=True,
        )
        nodes.append(node)
        return node

    yield make
    for node in nodes:
        node.destroy_node()


def test_defaults_come_from_the_dataclass(make_node):
    node = make_node()
    assert declare_config(node, Outer()) == Outer()
    assert node.get_parameter('inner.threshold').value == 0.5
    assert node.get_parameter('file').value == ''
    assert list(node.get_parameter('region').value) == []
    assert list(node.get_parameter('labels').value) == ['a', 'b']


def test_given_values_arrive_with_their_types(make_node):
    node = make_node(
        name='x',
        on=False,
        file='/a',
        region=[1, 2],
        labels=['c'],
        inner__threshold=1,
        inner__count=9,
        mode='compressed',
    )
    assert declare_config(node, Outer()) == Outer(
        'x', 'compressed', False, '/a', (1.0, 2.0), ('c',), Inner(threshold=1.0, count=9)
    )
    assert node.get_parameter('inner.threshold').value == 1.0
    assert list(node.get_parameter('region').value) == [1.0, 2.0]


def test_descriptions_ranges_and_read_only_are_declared(make_node):
    node = make_node()
    declare_config(node, Outer())
    threshold, count = node.describe_parameter('inner.threshold'), node.describe_parameter('inner.count')
    assert threshold.description == 'How sure one must be.'
    assert (threshold.floating_point_range[0].from_value, threshold.floating_point_range[0].to_value) == (0.0, 1.0)
    assert (count.integer_range[0].from_value, count.integer_range[0].to_value) == (1, 9)
    assert threshold.read_only
    assert not node.set_parameters([Parameter('inner.threshold', value=0.7)])[0].successful


@pytest.mark.parametrize(
    ('given', 'words'),
    [
        ({'inner__treshold': 0.1}, "no parameter 'inner.treshold'. Did you mean 'inner.threshold'"),
        ({'completely': 1}, 'Known are: .*inner.count'),
        ({'inner__threshold': 1.5}, "'inner.threshold' is 1.5.*Max: 1.0"),
        ({'inner__threshold': 'high'}, "'inner.threshold' is 'high' \\(str\\); expected float"),
        ({'inner__threshold': 0.25}, 'threshold is 0.25'),
        ({'inner__count': 2.0}, "'inner.count' is 2.0 \\(float\\); expected int"),
        ({'inner__count': 0}, "'inner.count' is 0.*Min: 1"),
        ({'on': 'yes'}, "'on' is 'yes' \\(str\\); expected bool"),
        ({'on': 1}, 'expected bool'),
        ({'name': 7}, 'expected str'),
        ({'mode': 'jpeg'}, "'mode' is 'jpeg'; expected one of 'raw', 'compressed'"),
        ({'labels': [1, 2]}, 'expected str'),
        ({'region': 4.0}, "'region' is 4.0"),
    ],
)
def test_what_is_wrong_stops_the_start_with_a_sentence(make_node, given, words):
    with pytest.raises(ConfigError, match=words):
        declare_config(make_node(**given), Outer())


@pytest.mark.parametrize('config', [PoseConfig, MarkerConfig])
def test_every_parameter_of_the_nodes_is_described(make_node, config):
    node = make_node()
    assert declare_config(node, config()) == config()
    for name in names_of(config()):
        assert node.describe_parameter(name).description.endswith('.'), name


def test_descriptions_are_on_one_line():
    assert descriptions_of(Inner) == {'threshold': 'How sure one must be.', 'count': 'How many.'}


def test_the_parameters_of_rclpy_are_left_alone(make_node):
    node = make_node(use_sim_time=True)
    declare_config(node, Outer())
    assert node.get_parameter('use_sim_time').value is True
