"""ROS 2 side of the project: messages, conversions and nodes; the method itself is in `hwhup_core`."""

from pkgutil import extend_path

# The generated `hwhup_ros.msg` is installed elsewhere; a source tree finds it there.
__path__ = extend_path(__path__, __name__)
