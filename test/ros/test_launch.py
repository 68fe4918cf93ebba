"""The launch file, read as text: ROS's launch is not everywhere these tests run."""

import ast
import re
from pathlib import Path

import pytest
import yaml

from hwhup_core.synthetic.stream import StreamConfig
from hwhup_ros.parameters import names_of
from hwhup_ros.pose_config import PoseConfig
from hwhup_ros.recorder_config import RecorderNodeConfig

ROOT = Path(__file__).resolve().parents[2]
TREE = ast.parse((ROOT / 'launch/crib_monitor.launch.py').read_text())
RECORD = ast.parse((ROOT / 'launch/record.launch.py').read_text())


def calls(name, tree=TREE):
    """Return the calls of a function in a launch file."""
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name
    ]


def declared(tree=TREE):
    """Return the declared launch arguments with their defaults, as the table in `arguments` has them."""
    function = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == 'arguments')
    table = next(node for node in ast.walk(function) if isinstance(node, ast.Dict))
    return {key.value: value.elts for key, value in zip(table.keys, table.values)}


def test_every_argument_that_is_read_is_declared():
    constants = {call.args[0].value for call in calls('LaunchConfiguration') if isinstance(call.args[0], ast.Constant)}
    assert constants
    assert constants <= declared().keys()
    assert {f'{topic}_topic' for topic in ('image', 'depth', 'camera_info')} <= declared().keys()
    assert {'namespace', 'params_file', 'body', 'weights', 'camera', 'replay_dir', 'record', 'rviz', 'markers',
            'log_level', 'use_sim_time', 'record_dir', 'resume', 'bag', 'bag_dir'} <= declared().keys()  # fmt: skip


def test_every_argument_says_what_it_is_for():
    for name, (_, description, _) in declared().items():
        assert len(description.value.split()) > 1, name


def test_executables_are_installed():
    cmake = (ROOT / 'CMakeLists.txt').read_text()
    for call in calls('ours'):
        name = call.args[0].value
        assert re.search(rf'\b{name}\b', cmake), f'{name} is launched but not installed'


def test_the_recorder_is_given_parameters_of_its_own():
    """In both launch files; and record.launch.py declares all that it reads, with the node's default of privacy."""
    known, names = set(names_of(RecorderNodeConfig())), {'folder', 'privacy', 'resume'}
    assert names <= known
    assert names | {'image_topic', 'depth_topic', 'camera_info_topic'} <= declared(RECORD).keys()
    read = {call.args[0] for call in calls('LaunchConfiguration', RECORD)}
    assert {each.value for each in read if isinstance(each, ast.Constant)} <= declared(RECORD).keys()
    assert declared(RECORD)['privacy'][0].value == RecorderNodeConfig().privacy
    function = next(node for node in TREE.body if isinstance(node, ast.FunctionDef) and node.name == 'recorder')
    given = next(node for node in ast.walk(function) if isinstance(node, ast.Dict))
    assert {key.value for key in given.keys} <= known


@pytest.mark.parametrize('tree', [TREE, RECORD])
def test_nothing_is_computed_or_installed_while_launching(tree):
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert not names & {'eval', 'exec', 'PythonExpression', 'subprocess', 'os', 'Command'}


@pytest.mark.parametrize('name', ['crib_monitor.yaml', 'crib_monitor.rviz'])
def test_configuration_files_are_yaml(name):
    assert yaml.safe_load((ROOT / 'config' / name).read_text())


def test_rviz_shows_the_topics_of_this_launch():
    config = yaml.safe_load((ROOT / 'config/crib_monitor.rviz').read_text())
    displays = config['Visualization Manager']['Displays']
    shown = {display['Topic']['Value'] for display in displays if 'Topic' in display}
    function = next(node for node in TREE.body if isinstance(node, ast.FunctionDef) and node.name == 'rviz')
    remapped = {node.elts[0].value for node in ast.walk(function) if isinstance(node, ast.Tuple)}
    assert shown == remapped


def test_rviz_starts_in_the_frame_that_is_asked_for():
    """Nothing publishes TF, so RViz shows images of one frame only: that of the synthetic camera, unless told."""
    call = next(call for call in calls('Node') if ast.unparse(call).startswith("Node(package='rviz2'"))
    given = [ast.unparse(each) for each in next(word for word in call.keywords if word.arg == 'arguments').value.elts]
    assert given[given.index("'-f'") + 1] == "LaunchConfiguration('fixed_frame')"
    default, description, _ = declared()['fixed_frame']
    config = yaml.safe_load((ROOT / 'config/crib_monitor.rviz').read_text())
    assert default.value == StreamConfig.frame_id
    assert default.value == config['Visualization Manager']['Global Options']['Fixed Frame']
    assert 'camera_color_optical_frame' in description.value


def test_arguments_of_the_pose_node_are_parameters_of_its_own():
    """Empty: as in the parameter file; what is given must be a parameter that the node knows."""
    function = next(node for node in TREE.body if isinstance(node, ast.FunctionDef) and node.name == 'estimators')
    parameters = ast.literal_eval(next(node for node in ast.walk(function) if isinstance(node, ast.Dict)))
    assert parameters.keys() == {'body', 'weights', 'image_backend', 'points_backend'}
    assert set(parameters.values()) <= set(names_of(PoseConfig()))
    assert all(declared()[name][0].value == '' for name in parameters)


def test_parameter_file_names_known_nodes():
    nodes = {name.rsplit('/', 1)[1] for name in yaml.safe_load((ROOT / 'config/crib_monitor.yaml').read_text())}
    assert nodes <= {'pose_node', 'marker_node', 'replay_node', 'synthetic_camera_node', 'viewer', 'report_node',
                     'recorder_node'}  # fmt: skip
