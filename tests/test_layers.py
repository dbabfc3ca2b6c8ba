"""The rules of the house that a reader of DESIGN.md may rely on, held by the syntax tree."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import monai_tumor

PACKAGE = Path(monai_tumor.__file__).parent
FLOORS = {
    **dict.fromkeys(("errors", "labels", "paths", "files", "lazy", "locks", "provenance"), 0),
    **dict.fromkeys(("dicom", "imaging", "networks", "metrics"), 1),
    **dict.fromkeys(("data", "transforms", "training", "explain"), 2),
    **dict.fromkeys(("bundles", "report"), 3),
    **dict.fromkeys(("inference", "pacs"), 4),
    "services": 5,
    **dict.fromkeys(("cli", "web"), 6),
}
MODULES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
TREES = {name: ast.parse(path.read_text()) for name, path in MODULES.items()}


def room(module: str) -> str:
    """The room that a module lies in; "" for the package itself."""
    return [*module.split("."), ""][1]


def targets(node: ast.Import | ast.ImportFrom) -> list[str]:
    """The modules that an import loads: `from a import b` loads a.b where b is a module."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    assert node.level == 0, "imports in this package are absolute"
    base = node.module or ""
    inner = [f"{base}.{alias.name}" for alias in node.names]
    modules = [name for name in inner if name in MODULES]
    return modules if len(modules) == len(inner) else [base, *modules]


def for_types_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def imports(tree: ast.AST, inside_functions: bool = True) -> list[str]:
    found: list[str] = []
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.Import | ast.ImportFrom):
            found += targets(child)
        elif for_types_only(child):
            continue
        elif inside_functions or not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            found += imports(child, inside_functions)
    return found


def faults(module: str, names: list[str]) -> list[str]:
    """Those of the imported `names` that lie on the floor of `module` or above it."""
    own = room(module)
    if not own:
        return []
    rooms = {room(n) for n in names if n.startswith("monai_tumor.")} - {own}
    if FLOORS[own] == 0:
        return sorted(r for r in rooms if FLOORS[r] > 0)
    return sorted(r for r in rooms if FLOORS[r] >= FLOORS[own])


def test_every_module_has_a_floor():
    assert {room(m) for m in MODULES} - {""} <= set(FLOORS)
    assert len(MODULES) > 30


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_downward_only(module):
    assert faults(module, imports(TREES[module])) == []


def test_the_check_itself_sees_a_fault():
    tree = ast.parse(
        "from monai_tumor.labels import scheme\n"
        "def f():\n    from monai_tumor.transforms import LoadStudyd\n"
        "import monai_tumor.services.evaluate\n"
    )
    assert faults("monai_tumor.training.curves", imports(tree)) == ["services", "transforms"]
    assert faults("monai_tumor.labels", ["monai_tumor.errors"]) == []
    assert faults("monai_tumor.labels", ["monai_tumor.metrics"]) == ["metrics"]
    assert faults("monai_tumor.cli", ["monai_tumor.web.page"]) == ["web"]


def test_no_import_circles():
    """No module imports, on loading, one that is loading it."""
    graph = {
        name: {n for n in imports(tree, inside_functions=False) if n in MODULES} - {name}
        for name, tree in TREES.items()
    }
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, " -> ".join((*above, name))
        if name not in done:
            for other in sorted(graph[name]):
                visit(other, (*above, name))
            done.add(name)

    for name in graph:
        visit(name, ())
    assert done == set(MODULES)


def test_only_bundles_imports_monai_bundle():
    users = {
        name
        for name, tree in TREES.items()
        for imported in imports(tree)
        if imported == "monai.bundle" or imported.startswith("monai.bundle.")
    }
    assert {room(user) for user in users} <= {"bundles"}


@pytest.mark.parametrize("module", [m for m in MODULES if FLOORS.get(room(m), 0) < 6])
def test_no_prints_and_no_environment_below_the_command_line(module):
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id != "print", f"line {node.lineno}"
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            used = f"{node.value.id}.{node.attr}"
            assert used not in ("os.environ", "os.getenv"), f"line {node.lineno}"
        if isinstance(node, ast.ImportFrom) and node.module == "os":
            assert not {"environ", "getenv"} & {a.name for a in node.names}, f"line {node.lineno}"


CONFIGS = sorted(
    [
        *(PACKAGE.parent / "bundles").glob("*/configs/**/*.yaml"),
        *(PACKAGE.parent / "bundles").glob("*/configs/*.json"),
        *(PACKAGE.parent / "configs").glob("*.yaml"),
    ]
)
_ROOMS_NAMED = re.compile(r"\bmonai_tumor\.([a-z_]\w*)")


def texts(content: object) -> list[tuple[str, str]]:
    """Key and value of each text in a config, at any depth."""
    pairs = content.items() if isinstance(content, dict) else []
    if isinstance(content, list):
        pairs = [("", value) for value in content]
    found = []
    for key, value in pairs:
        if isinstance(value, str):
            found.append((str(key), value))
        found += texts(value)
    return found


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: f"{p.parents[1].name}/{p.name}")
def test_configs_name_only_what_they_may(path):
    for key, value in texts(yaml.safe_load(path.read_text())):
        if key == "_target_" and not value.startswith("$"):
            assert value.split(".")[0] in ("monai", "torch", "ignite", "monai_tumor"), value
        if key == "_target_" or value.startswith("$"):
            for name in _ROOMS_NAMED.findall(value):
                assert FLOORS[name] <= 2, value


def test_importing_the_package_costs_nothing():
    code = (
        "import sys, monai_tumor\n"
        "monai_tumor.Modality, monai_tumor.SCHEMES, monai_tumor.paths\n"
        "heavy = {'torch', 'monai', 'numpy', 'nibabel', 'scipy', 'skimage', 'pydicom'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=PACKAGE.parent, check=True
    )
    assert done.stdout.strip() == "[]"
