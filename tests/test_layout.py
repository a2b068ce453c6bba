"""The house: which room may use which. An arrow only ever points down."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from conftest import REPO

# Each floor may import from those below it and from its own, a name being a module or a package.
FLOORS = (
    ("benchmarks", "training", "examples"),
    ("face_reenactment", "demo_video"),
    ("batch",),
    ("reenactment",),
    ("FaceBoxes", "TDDFA", "TDDFA_ONNX"),
    ("utils",),
    ("models", "bfm"),
    ("Sim3DR",),
    ("utils.errors", "utils.io", "utils.remote", "utils.assets", "utils.cache"),
)
# Within a floor, the modules before may import those behind.
ORDERS = (
    ("face_reenactment", "reenactment"),
    ("demo_video", "reenactment"),
    ("batch.program", "batch.run", "batch.work", "batch.ledger"),
    ("TDDFA_ONNX", "TDDFA"),
    ("reenactment.options", "reenactment.reenactor", "reenactment.views", "reenactment.scene",
     "reenactment.faces"),
    ("reenactment.job", "reenactment.outputs", "reenactment.views"),
    ("reenactment.tracking", "reenactment.reenactor"),
    ("reenactment.smoothing", "reenactment.reenactor"),
    ("reenactment.reenactor", "reenactment.track"),
    ("utils.sinks", "utils.footage"),
    ("models.networks", "models.export", "models.backends"),
)
SOURCES = sorted(
    path.relative_to(REPO)
    for path in REPO.glob("**/*.py")
    if path.relative_to(REPO).parts[0] not in ("tests", "setup.py", "build")
    and not path.relative_to(REPO).parts[0].startswith(".")
)


def module_name(path: Path) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_name(path) for path in SOURCES}


def imports(path: Path) -> set[str]:
    """Our own modules that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse((REPO / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in MODULES else node.module for name in names}
    return found & MODULES


def matches(module: str, name: str) -> bool:
    return module == name or module.startswith(f"{name}.")


def floor(module: str) -> int:
    """The longest name that fits decides."""
    fitting = [(len(name), i) for i, names in enumerate(FLOORS) for name in names
               if matches(module, name)]
    assert fitting, f"{module} has no floor: give it one here"
    return max(fitting)[1]


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_arrows_point_down(path):
    module = module_name(path)
    up = {other for other in imports(path) if floor(other) < floor(module)}
    assert not up


@pytest.mark.parametrize("order", ORDERS, ids=lambda order: order[0])
def test_arrows_within_a_floor(order):
    for path in SOURCES:
        for place, name in enumerate(order):
            if matches(module_name(path), name):
                assert not {o for o in imports(path) for up in order[:place] if matches(o, up)}


def test_there_are_no_circles():
    left = {module_name(path): imports(path) - {module_name(path)} for path in SOURCES}
    while ready := [module for module, needs in left.items() if not needs & left.keys()]:
        for module in ready:
            del left[module]
    assert not left


def test_nothing_uses_the_programs_but_what_measures_them():
    programs = {"face_reenactment", "demo_video"}
    users = {path.parts[0] for path in SOURCES if imports(path) & programs}
    assert users <= {"benchmarks"}
