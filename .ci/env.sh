# Source me in bash after .ci/setup.sh: ROS 2, the virtual environment, the built messages; the source tree wins over the
# installed copy of our modules. Sourcing twice changes nothing.

_hwhup_root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)"

_hwhup_prepend() { # NAME DIR: put DIR in front of the colon list NAME, once.
    local list=":${!1:-}:"
    while [[ "$list" == *":$2:"* ]]; do list="${list/":$2:"/:}"; done
    while [[ "$list" == :* ]]; do list="${list#:}"; done
    while [[ "$list" == *: ]]; do list="${list%:}"; done
    export "$1=$2${list:+:$list}"
}

# The script of our one package, not install/local_setup.bash: that one cannot stand a space in the path.
_hwhup_overlay="$_hwhup_root/install/hwhup_ros/share/hwhup_ros/local_setup.bash"
if [[ ! -x "$_hwhup_root/.venv/bin/python" || ! -f "$_hwhup_overlay" ]]; then
    echo "hwhup: $_hwhup_root is not set up; run: bash .ci/setup.sh" >&2
    return 1
fi

_hwhup_prepend PATH "$_hwhup_root/.venv/bin"
if [[ "$(<"$_hwhup_root/.venv/.with_ros_wheels")" == yes ]]; then
    # The wheels find their libraries by themselves, unless a parent's answer is inherited.
    unset _ROS_WHEELS_BOOTSTRAP_COMPLETE LD_LIBRARY_PATH
    _hwhup_prepend AMENT_PREFIX_PATH "$_hwhup_root/.venv"
    _hwhup_prepend CMAKE_PREFIX_PATH "$_hwhup_root/.venv"
elif [[ -z "${ROS_DISTRO:-}" ]]; then
    echo "hwhup: $_hwhup_root was set up on top of a ROS 2 that is not in this shell; source its setup.bash first" >&2
    return 1
fi

# ROS's scripts read variables that may be unset.
_hwhup_flags="$-"
set +u
. "$_hwhup_overlay"
if [[ "$_hwhup_flags" == *u* ]]; then set -u; fi
_hwhup_prepend AMENT_PREFIX_PATH "$_hwhup_root/install/hwhup_ros"

_hwhup_prepend PYTHONPATH "$_hwhup_root"
export FASTRTPS_DEFAULT_PROFILES_FILE="${FASTRTPS_DEFAULT_PROFILES_FILE:-$_hwhup_root/config/fastdds_shm64.xml}"
unset -f _hwhup_prepend
unset _hwhup_root _hwhup_overlay _hwhup_flags
