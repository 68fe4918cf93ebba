"""HW-HuP: 3D human pose and shape that adapts to the room it hangs in. Knows no ROS."""

__version__ = '0.1.0'
