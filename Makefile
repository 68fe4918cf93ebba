SHELL := /usr/bin/env bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup demo adapt-demo test lint bench lock clean

# Tests find each other, and nobody else, over the loopback interface.
test_environment = \
	export OMP_NUM_THREADS=1 ROS_PYTHON_CHECK_FIELDS=1 ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST \
		ROS_DOMAIN_ID=$$(( 1 + $$$$ % 100 )) FASTRTPS_DEFAULT_PROFILES_FILE="$$PWD/config/fastdds_shm64.xml"

help:  ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 12

setup:  ## install all that is needed into .venv and build the messages
	@bash .ci/setup.sh

demo: setup  ## watch a synthetic crib for 30 seconds: out/demo/{report.json,overlay.png,mesh.png}
	@mkdir -p out/demo
	@ROS_AUTOMATIC_DISCOVERY_RANGE=$${ROS_AUTOMATIC_DISCOVERY_RANGE:-LOCALHOST} .venv/bin/hwhup monitor --duration 30 \
		--report out/demo/report.json --overlay out/demo/overlay.png --snapshot out/demo/mesh.png
	@.venv/bin/python .ci/summary.py out/demo/report.json
	@ls -l out/demo/report.json out/demo/overlay.png out/demo/mesh.png

adapt-demo: setup  ## record a synthetic crib, adapt colour weights to it, deploy them: out/adapt/report.json
	@rm -rf out/adapt
	@. .ci/env.sh; export FASTRTPS_DEFAULT_PROFILES_FILE="$$PWD/config/fastdds_shm64.xml" OMP_WAIT_POLICY=PASSIVE \
		ROS_AUTOMATIC_DISCOVERY_RANGE=$${ROS_AUTOMATIC_DISCOVERY_RANGE:-LOCALHOST}; python -m hwhup_ros.adapt_demo

test:  ## run all tests (installs what they need, on Debian/Ubuntu as root also Chromium)
	@bash .ci/setup.sh --browser
	@. .ci/env.sh; $(test_environment); python -m pytest test

lint: setup  ## ruff check, ruff format --check, mypy --strict on hwhup_core
	@. .ci/env.sh; ruff check .; ruff format --check .; mypy

bench: setup  ## print the speed table: ours against the naive way, in one run
	@. .ci/env.sh; python benchmarks/run.py

lock:  ## compile .ci/requirements.in into the pinned lock (needs uv and the network)
	@bash .ci/lock.sh

clean:  ## remove what was built, installed and written
	rm -rf .venv build install log out .mypy_cache .ruff_cache .pytest_cache
