"""
The crib monitor as separate processes: camera (synthetic, recorded or live), pose node, marker node, recorder, RViz.

`hwhup monitor` starts the same graph in one process; both read config/crib_monitor.yaml.
"""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, ExecuteProcess, OpaqueFunction, SetEnvironmentVariable
from launch.conditions import IfCondition
from launch.substitutions import EnvironmentVariable, EqualsSubstitution, LaunchConfiguration
from launch_ros.actions import Node, PushRosNamespace
from launch_ros.parameter_descriptions import ParameterFile, ParameterValue

PACKAGE = 'hwhup_ros'


def generate_launch_description():
    share = Path(get_package_share_directory(PACKAGE))
    profile = str(share / 'config' / 'fastdds_shm64.xml')
    return LaunchDescription(
        [
            *arguments(share),
            # Large images need more shared memory than Fast DDS takes by default; a profile of the user's own stays.
            SetEnvironmentVariable(
                'FASTRTPS_DEFAULT_PROFILES_FILE',
                EnvironmentVariable('FASTRTPS_DEFAULT_PROFILES_FILE', default_value=profile),
            ),
            # Waiting OpenMP threads shall sleep: spinning ones take a core from the middleware.
            SetEnvironmentVariable('OMP_WAIT_POLICY', EnvironmentVariable('OMP_WAIT_POLICY', default_value='PASSIVE')),
            PushRosNamespace(LaunchConfiguration('namespace')),
            *cameras(),
            OpaqueFunction(function=estimators),
            recorder(),
            OpaqueFunction(function=bag, condition=IfCondition(LaunchConfiguration('bag'))),
            rviz(),
        ]
    )


def arguments(share):
    """Return every argument with its meaning; defaults of parameters are in the parameter file, not here."""
    config = share / 'config'
    texts = {
        'camera': ('synthetic', 'where images come from', ['synthetic', 'replay', 'live']),
        'replay_dir': ('', 'camera:=replay: folder of RGB-D frames, or a bag', None),
        'image_topic': ('image', 'colour images; live RealSense: /camera/camera/color/image_raw', None),
        'depth_topic': ('depth', 'depth registered to colour; /camera/camera/aligned_depth_to_color/image_raw', None),
        'camera_info_topic': ('camera_info', 'calibration; RealSense: /camera/camera/color/camera_info', None),
        'namespace': ('crib', 'namespace of all nodes and of relative topics', None),
        'params_file': (str(config / 'crib_monitor.yaml'), 'ROS parameter file of all nodes', None),
        'body': ('', 'body model: infant, adult or a file; empty: as in params_file', None),
        'weights': ('', 'network weights: a name or a file; empty: as in params_file', None),
        'image_backend': ('', 'what decodes images: own or cv_bridge; empty: as in params_file', None),
        'points_backend': ('', 'what packs the point cloud: own or sensor_msgs_py; empty: as in params_file', None),
        'markers': ('true', 'publish RViz markers', ['true', 'false']),
        'rviz': ('false', 'start RViz', ['true', 'false']),
        'rviz_config': (str(config / 'crib_monitor.rviz'), 'RViz configuration', None),
        'fixed_frame': (
            'crib_camera_optical_frame',
            'rviz:=true: frame_id of the images, as nothing publishes TF; live RealSense and a replayed folder: '
            'camera_color_optical_frame',
            None,
        ),
        'record': ('false', 'record what is worth keeping of camera and poses, heads blurred', ['true', 'false']),
        'record_dir': ('crib_recording', 'record:=true: folder of the recording', None),
        'resume': ('false', 'record:=true: go on with the recording in record_dir', ['true', 'false']),
        'bag': ('false', 'record camera, poses and body model with ros2 bag, all of it', ['true', 'false']),
        'bag_dir': ('crib_bag', 'bag:=true: new folder of the bag', None),
        'use_sim_time': ('false', 'take the time from /clock', ['true', 'false']),
        'log_level': ('info', 'log level of all nodes', ['debug', 'info', 'warn', 'error', 'fatal']),
    }
    return [
        DeclareLaunchArgument(name, default_value=default, description=text, choices=choices)
        for name, (default, text, choices) in texts.items()
    ]


def cameras():
    """Return the two cameras that are ours; with camera:=live neither starts."""
    replay_parameters = {'recording': ParameterValue(LaunchConfiguration('replay_dir'), value_type=str)}
    return [
        ours('synthetic_camera_node', condition=camera_is('synthetic')),
        ours('replay_node', condition=camera_is('replay'), overrides=[replay_parameters]),
    ]


def camera_is(kind):
    return IfCondition(EqualsSubstitution(LaunchConfiguration('camera'), kind))


def estimators(context):
    """Return pose and marker node; their arguments override the parameter file only where they were given."""
    parameters = {
        'body': 'engine.body',
        'weights': 'engine.weights',
        'image_backend': 'image_backend',
        'points_backend': 'points_backend',
    }
    given = {name: LaunchConfiguration(name).perform(context) for name in parameters}
    given = {name: value for name, value in given.items() if value}
    return [
        ours('pose_node', overrides=[{parameters[name]: value for name, value in given.items()}]),
        ours(
            'marker_node',
            condition=IfCondition(LaunchConfiguration('markers')),
            overrides=[{'body': given['body']}] if 'body' in given else [],
        ),
    ]


def ours(executable, condition=None, overrides=()):
    """Return one of our nodes with the parameters and remappings that all of them share."""
    return Node(
        package=PACKAGE,
        executable=executable,
        name=executable,
        condition=condition,
        output='screen',
        parameters=[
            ParameterFile(LaunchConfiguration('params_file'), allow_substs=False),
            {'use_sim_time': ParameterValue(LaunchConfiguration('use_sim_time'), value_type=bool)},
            *overrides,
        ],
        remappings=[(topic, LaunchConfiguration(f'{topic}_topic')) for topic in ('image', 'depth', 'camera_info')],
        ros_arguments=['--log-level', LaunchConfiguration('log_level')],
    )


def recorder():
    """Return the recorder node."""
    folder = ParameterValue(LaunchConfiguration('record_dir'), value_type=str)
    resume = ParameterValue(LaunchConfiguration('resume'), value_type=bool)
    return ours(
        'recorder_node',
        condition=IfCondition(LaunchConfiguration('record')),
        overrides=[{'folder': folder, 'resume': resume}],
    )


def bag(context):
    """Return the bag of what a later run can replay and compare with."""
    namespace = LaunchConfiguration('namespace').perform(context).strip('/')
    prefix = f'/{namespace}' if namespace else ''
    names = [LaunchConfiguration(f'{topic}_topic').perform(context) for topic in ('image', 'depth', 'camera_info')]
    topics = [name if name.startswith('/') else f'{prefix}/{name}' for name in (*names, 'smpl_poses', 'body_model')]
    command = ['ros2', 'bag', 'record', '-o', LaunchConfiguration('bag_dir'), *topics]
    return [ExecuteProcess(cmd=command, output='screen')]


def rviz():
    """Return RViz; the topics in its configuration become those of this launch."""
    return Node(
        package='rviz2',
        executable='rviz2',
        name='rviz2',
        arguments=['-d', LaunchConfiguration('rviz_config'), '-f', LaunchConfiguration('fixed_frame')],
        remappings=[
            ('/crib/image', LaunchConfiguration('image_topic')),
            ('/crib/points', 'points'),
            ('/crib/markers', 'markers'),
        ],
        condition=IfCondition(LaunchConfiguration('rviz')),
        output='log',
    )
