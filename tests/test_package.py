import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import monai_tumor

ROOT = Path(monai_tumor.__file__).parents[1]


def test_all_is_complete_sorted_and_loads():
    names = monai_tumor.__all__
    assert set(names) == {*monai_tumor._HOME, "__version__"}
    assert len(names) == len(set(names))
    # Constants, classes, the rest: the order in which ruff (RUF022) keeps __all__.
    assert names == sorted(names, key=lambda n: (not n.isupper(), not n[0].isupper(), n))
    assert set(dir(monai_tumor)) == set(names)
    for name, home in monai_tumor._HOME.items():
        assert getattr(monai_tumor, name) is getattr(
            importlib.import_module(f"monai_tumor.{home}"), name
        )


def test_each_name_for_type_checkers_is_public():
    import ast

    tree = ast.parse(Path(monai_tumor.__file__).read_text())
    (block,) = [n for n in tree.body if isinstance(n, ast.If)]
    typed = {a.name for node in block.body for a in node.names}
    assert typed == set(monai_tumor._HOME)


@pytest.mark.parametrize("name", monai_tumor._ROOMS)
def test_a_room_is_there_after_importing_the_package_alone(name):
    assert importlib.util.find_spec(f"monai_tumor.{name}") is not None


def test_rooms_load_when_they_are_first_used():
    code = "import monai_tumor; print(monai_tumor.paths.__name__, monai_tumor.provenance.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.split() == ["monai_tumor.paths", "monai_tumor.provenance"]


def test_an_unknown_name():
    with pytest.raises(AttributeError, match=r"^module 'monai_tumor' has no attribute 'segmnt'$"):
        _ = monai_tumor.segmnt


@pytest.mark.parametrize("room", ["training", "transforms", "networks", "data"])
def test_a_room_exports_what_it_lists(room):
    module = importlib.import_module(f"monai_tumor.{room}")
    assert all(hasattr(module, name) for name in module.__all__)
    imported = {
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", "").startswith("monai_tumor.")
    }
    assert imported <= set(module.__all__)
