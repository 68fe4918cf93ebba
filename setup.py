"""
Plain pip install of both Python packages with the `hwhup` command.

For use as a library, or of the nodes beside a ROS 2 that has the messages already. A ROS workspace does not read this
file: package.xml says ament_cmake, and CMakeLists.txt builds the messages too.
"""

from setuptools import find_packages, setup

setup(
    name='hwhup_ros',
    version='0.1.0',
    description='3D body pose and shape of a person at rest from a depth or colour camera, as SMPL bodies, for ROS 2.',
    license='Apache-2.0',
    license_files=['LICENSE', 'NOTICE'],
    python_requires='>=3.10',
    packages=find_packages(include=['hwhup_core', 'hwhup_core.*', 'hwhup_ros', 'hwhup_ros.*']),
    package_data={
        'hwhup_core.body': ['assets/*'],
        'hwhup_core.labeling': ['review_page/*'],
        'hwhup_core.networks': ['assets/*'],
    },
    install_requires=[
        'jaxtyping>=0.3,<0.4',
        'numba>=0.60',
        'numpy>=1.26',
        'opencv-python-headless>=4.10,<5',
        'psutil>=5.9',
        'pyyaml>=6',
        'safetensors>=0.4',
        'scipy>=1.11',
        'tensorboard>=2.16',
        'torch>=2.2',
        'tqdm>=4.66',
        'trimesh>=4.4',
    ],
    extras_require={
        # Non-commercial research licence: parity tests and interchange of body files.
        'smplx': ['smplx>=0.1.28'],
        # Has no wheels for most machines; see its own installation notes.
        'pytorch3d': ['pytorch3d'],
        'bags': ['rosbags>=0.10'],
        'view': ['viser>=1.0'],
        'dev': [
            'beartype>=0.20',
            'mypy>=1.14',
            'pytest>=8.2.3,<9',
            'pytest-timeout>=2.3',
            'ruff>=0.9',
            'types-pyyaml',
            'types-tqdm',
        ],
    },
    entry_points={'console_scripts': ['hwhup = hwhup_core.cli.main:main']},
)
