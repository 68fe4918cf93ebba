"""
The recorder alone, on the topics of a live camera; a pose node in the same namespace adds its estimate to each frame.

Colour is stored with blurred heads unless `privacy` says otherwise; where no pose node runs, no head is known, and only
depth is stored.
"""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.substitutions import EnvironmentVariable, LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterFile, ParameterValue

PACKAGE = 'hwhup_ros'


def generate_launch_description():
    share = Path(get_package_share_directory(PACKAGE))
    profile = str(share / 'config' / 'fastdds_shm64.xml')
    return LaunchDescription(
        [
            *arguments(),
            # Large images need more shared memory than Fast DDS takes by default; a profile of the user's own stays.
            SetEnvironmentVariable(
                'FASTRTPS_DEFAULT_PROFILES_FILE',
                EnvironmentVariable('FASTRTPS_DEFAULT_PROFILES_FILE', default_value=profile),
            ),
            OpaqueFunction(function=recorder),
        ]
    )


def arguments():
    """Return every argument with its meaning; defaults of parameters are in the node, not here."""
    texts = {
        'folder': (None, 'folder of the recording, new or empty', None),
        'resume': ('false', 'go on with the recording in folder', ['true', 'false']),
        'privacy': ('head_blurred', 'what is stored of colour', ['full', 'head_blurred', 'no_color']),
        'params_file': ('', 'ROS parameter file with more (camera, operator, consent, gates, novelty, storage)', None),
        'namespace': ('crib', 'namespace of the recorder and of relative topics', None),
        'image_topic': ('image', 'colour images; live RealSense: /camera/camera/color/image_raw', None),
        'depth_topic': ('depth', 'depth registered to colour; /camera/camera/aligned_depth_to_color/image_raw', None),
        'camera_info_topic': ('camera_info', 'calibration; RealSense: /camera/camera/color/camera_info', None),
        'poses_topic': ('smpl_poses', 'answers of the pose node', None),
        'log_level': ('info', 'log level', ['debug', 'info', 'warn', 'error', 'fatal']),
    }
    return [
        DeclareLaunchArgument(name, default_value=default, description=text, choices=choices)
        for name, (default, text, choices) in texts.items()
    ]


def recorder(context):
    """Return the recorder; a parameter file is read where one was given."""
    params_file = LaunchConfiguration('params_file').perform(context)
    topics = [(topic, LaunchConfiguration(f'{topic}_topic')) for topic in ('image', 'depth', 'camera_info')]
    given = {name: ParameterValue(LaunchConfiguration(name), value_type=str) for name in ('folder', 'privacy')}
    return [
        Node(
            package=PACKAGE,
            executable='recorder_node',
            name='recorder_node',
            namespace=LaunchConfiguration('namespace'),
            output='screen',
            parameters=[
                *([ParameterFile(params_file, allow_substs=False)] if params_file else []),
                {**given, 'resume': ParameterValue(LaunchConfiguration('resume'), value_type=bool)},
            ],
            remappings=[*topics, ('smpl_poses', LaunchConfiguration('poses_topic'))],
            ros_arguments=['--log-level', LaunchConfiguration('log_level')],
        )
    ]
