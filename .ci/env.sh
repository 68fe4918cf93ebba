# Source me in bash after .ci/setup.sh: ROS 2, the virtual environment, the built messages; the source tree wins over the
# installed copy of our modules. Sourcing twice changes nothing.

_hwhup_root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)"

_hwhup_prepend() { # NAME DIR: put DIR in front of the colon list NAME, once.
    local list=":${!1:-}:"
    while [[ "$list" == *":$2:"* ]]; do list="${list/":$2:"/:}"; done
    list="${list#:}"
    export "$1=$2${list:+:${list%:}}"
}

if [[ ! -x "$_hwhup_root/.venv/bin/python" || ! -f "$_hwhup_root/install/local_setup.bash" ]]; then
    echo "hwhup: $_hwhup_root is not set up; run: bash .ci/setup.sh" >&2
    return 1
fi

_hwhup_prepend PATH "$_hwhup_root/.venv/bin"
if [[ -f "$_hwhup_root/.venv/.ros_wheels" ]]; then
    # The wheels find their libraries by themselves, unless a parent's answer is inherited.
    unset _ROS_WHEELS_BOOTSTRAP_COMPLETE LD_LIBRARY_PATH
    _hwhup_prepend AMENT_PREFIX_PATH "$_hwhup_root/.venv"
    _hwhup_prepend CMAKE_PREFIX_PATH "$_hwhup_root/.venv"
fi

# colcon's script reads variables that may be unset, and asks for the interpreter that built the overlay.
_hwhup_flags="$-"
set +u
export COLCON_PYTHON_EXECUTABLE="$_hwhup_root/.venv/bin/python"
. "$_hwhup_root/install/local_setup.bash"
unset COLCON_PYTHON_EXECUTABLE
[[ "$_hwhup_flags" == *u* ]] && set -u

_hwhup_prepend PYTHONPATH "$_hwhup_root"
export FASTRTPS_DEFAULT_PROFILES_FILE="${FASTRTPS_DEFAULT_PROFILES_FILE:-$_hwhup_root/config/fastdds_shm64.xml}"
unset -f _hwhup_prepend
unset _hwhup_root _hwhup_flags
