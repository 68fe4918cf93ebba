"""package.xml, setup.py, the lock and CMakeLists.txt agree with the source and with each other."""

import ast
import importlib.util
import re
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import hwhup_core

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ElementTree.parse(ROOT / 'package.xml').getroot()

PIP_NAMES = {'cv2': 'opencv-python-headless', 'yaml': 'pyyaml'}
"""Import name -> name in requirements-method.in, where they differ."""


def imported_packages(*folders: str) -> set[str]:
    """Return the top-level packages that the Python files below the folders import, without the standard library."""
    found = set()
    for folder in folders:
        for path in (ROOT / folder).rglob('*.py'):
            for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
                if isinstance(node, ast.Import):
                    found |= {alias.name.split('.')[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and not node.level:
                    found.add(node.module.split('.')[0])
    return found - set(sys.stdlib_module_names) - {'hwhup_core', 'hwhup_ros'}


def declared(*tags: str) -> set[str]:
    return {element.text for tag in tags for element in PACKAGE.iter(tag)}


def pip_requirements(name: str) -> set[str]:
    lines = (ROOT / '.ci' / name).read_text(encoding='utf-8').splitlines()
    return {re.split(r'[<>=\s;]', line)[0] for line in lines if line and not line.startswith(('#', '-', ' '))}


def test_every_import_of_the_ros_side_is_declared():
    ros = declared('depend', 'exec_depend')
    pip = pip_requirements('requirements-method.in')
    undeclared = {
        name
        for name in imported_packages('hwhup_ros', 'launch')
        if name not in ros and PIP_NAMES.get(name, name) not in pip
    }
    assert undeclared == set()


def test_every_import_of_the_core_is_installed_or_an_extra():
    optional = {'anny', 'pytorch3d', 'onnxruntime', 'openvino', 'lightning'}
    pip = pip_requirements('requirements-method.in') | optional
    assert {name for name in imported_packages('hwhup_core') if PIP_NAMES.get(name, name) not in pip} == set()


def test_lock_pins_everything_that_is_asked_for():
    lines = (ROOT / '.ci/requirements.lock').read_text(encoding='utf-8').splitlines()
    pinned = {line.split('==')[0] for line in lines if '==' in line}
    asked = pip_requirements('requirements.in') | pip_requirements('requirements-method.in')
    assert asked - pinned == set()
    assert [line for line in lines if '://' in line or line.startswith('--')] == []


def test_versions_agree():
    setup = re.search(r"version='([^']+)'", (ROOT / 'setup.py').read_text(encoding='utf-8'))
    assert setup[1] == PACKAGE.findtext('version') == hwhup_core.__version__


def test_cmake_generates_every_message_and_installs_executables_that_exist():
    text = (ROOT / 'CMakeLists.txt').read_text(encoding='utf-8')
    assert set(re.findall(r'msg/(\w+\.msg)', text)) == {path.name for path in (ROOT / 'msg').glob('*.msg')}
    nodes = re.search(r'foreach\(node ([^)]*)\)', text)[1].split()
    assert [
        node for node in nodes if 'def main(' not in (ROOT / f'hwhup_ros/{node}.py').read_text(encoding='utf-8')
    ] == []


def test_relocation_replaces_the_paths_of_the_build_machine():
    spec = importlib.util.spec_from_file_location('relocate', ROOT / '.ci/relocate.py')
    relocate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(relocate)
    line = '"/opt/python/cp311-cp311/include/python3.11;/opt/python/cp311-cp311/lib/x;/usr/include"'
    repaired = relocate.repaired(line)
    assert '/opt/python' not in repaired
    assert f'{sys.prefix}/lib/x;/usr/include' in repaired
    assert relocate.repaired(repaired) == repaired


def test_every_benchmark_has_rows():
    for path in (ROOT / 'benchmarks').glob('bench_*.py'):
        assert 'def rows(' in path.read_text(encoding='utf-8'), f'{path.name}: `make bench` calls its rows()'
