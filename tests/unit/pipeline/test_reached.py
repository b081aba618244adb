"""What a module reaches is read off its imports, wherever they stand."""

import pytest

from edgetransfer.pipeline.stage.reached import Sources

FILES = {
    "__init__.py": "def build():\n    from edgetransfer.top import everything\n",
    "errors.py": "import json\n",
    "low/__init__.py": (
        "from edgetransfer.low import always\n\ndef f():\n    import edgetransfer.never\n"
    ),
    "low/always.py": "",
    "low/one.py": "import numpy as np\nfrom edgetransfer.errors import Error\n",
    "low/two.py": "import sklearn.linear_model\n",
    "low/deep/__init__.py": "",
    "low/deep/three.py": "",
    "typed.py": (
        "from typing import TYPE_CHECKING\nimport typing\n"
        "if TYPE_CHECKING:\n    from edgetransfer.low import one\n"
        "else:\n    from edgetransfer.low import two\n"
        "if typing.TYPE_CHECKING:\n    import torch\n"
    ),
    "lazy.py": (
        "class A:\n    async def f(self):\n        try:\n            pass\n"
        "        except ValueError:\n            from edgetransfer.low.one import x\n"
        "        match self:\n            case 1:\n                import timm.models\n"
    ),
    "named.py": (
        "import importlib\nfrom importlib.util import find_spec\n"
        "def f(name):\n    importlib.import_module('pyarrow.parquet')\n"
        "    find_spec('optimum')\n    importlib.import_module(f'edgetransfer.low.{name}')\n"
    ),
    "packed.py": "import edgetransfer.low.deep\nFOLDER = edgetransfer.low.deep.__file__\n",
    "page.py": "from pathlib import Path\nPAGE = Path(__file__).parent / 'shown' / 'page.html'\n",
    "shown/page.html": "<p>",
    "shown/page.css": "p {}",
    "unnamed.txt": "",
    "broken.py": "from edgetransfer.absent import x\n",
    "circle.py": "import edgetransfer.circled\n",
    "circled.py": "import edgetransfer.circle\n",
}


@pytest.fixture
def folder(tmp_path):
    for name, content in FILES.items():
        file = tmp_path / "edgetransfer" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    return tmp_path / "edgetransfer"


LOW = {"edgetransfer", "edgetransfer.low", "edgetransfer.low.always"}
ALL_BELOW = {*LOW, "edgetransfer.low.one", "edgetransfer.low.two", "edgetransfer.errors"}


@pytest.mark.parametrize(
    ("module", "reached", "libraries"),
    [
        ("low.one", {*LOW, "edgetransfer.low.one", "edgetransfer.errors"}, {"numpy"}),
        ("typed", {*LOW, "edgetransfer.low.two", "edgetransfer.typed"}, {"sklearn"}),
        (
            "lazy",
            {*LOW, "edgetransfer.low.one", "edgetransfer.errors", "edgetransfer.lazy"},
            {"numpy", "timm"},
        ),
        (
            "named",
            {
                *ALL_BELOW, "edgetransfer.named", "edgetransfer.low.deep",
                "edgetransfer.low.deep.three",
            },
            {"pyarrow", "optimum", "numpy", "sklearn"},
        ),
        (
            "packed",
            {*LOW, "edgetransfer.packed", "edgetransfer.low.deep", "edgetransfer.low.deep.three"},
            set(),
        ),
        ("circle", {"edgetransfer", "edgetransfer.circle", "edgetransfer.circled"}, set()),
        ("broken", {"edgetransfer", "edgetransfer.broken", "edgetransfer.absent"}, set()),
    ],
)  # fmt: skip
def test_b1_what_a_module_reaches(folder, module, reached, libraries):
    sources = Sources(folder)
    assert sources.reached(f"edgetransfer.{module}") == reached
    assert sources.libraries(f"edgetransfer.{module}") == libraries


@pytest.mark.parametrize(
    ("edited", "changes"),
    [
        ("low/one.py", {"lazy"}),
        ("low/two.py", {"typed"}),
        ("errors.py", {"lazy"}),
        ("low/__init__.py", {"lazy", "typed", "packed"}),
        ("__init__.py", {"lazy", "typed", "packed", "page"}),
        ("low/deep/three.py", {"packed"}),
        ("shown/page.html", {"page"}),
        ("shown/page.css", {"page"}),
        ("unnamed.txt", set()),
    ],
)
def test_b1_a_changed_line_changes_what_reaches_it_and_nothing_else(folder, edited, changes):
    modules = ("lazy", "typed", "packed", "page")
    before = {name: Sources(folder).digest(f"edgetransfer.{name}") for name in modules}
    with (folder / edited).open("a") as file:
        file.write("\n")
    after = {name: Sources(folder).digest(f"edgetransfer.{name}") for name in modules}
    assert {name for name in modules if before[name] != after[name]} == changes


def test_a_package_imported_for_itself_counts_whole_in_whatever_order(tmp_path):
    """What was reached hung on the order of a set, which is another in every process."""
    for number in range(20):
        package = tmp_path / f"p{number}"
        package.mkdir()
        (package / "__init__.py").write_text("def f():\n    import json\n")
        (package / "inner.py").write_text("")
        (tmp_path / f"m{number}.py").write_text(
            f"import edgetransfer.p{number}.inner\nimport edgetransfer.p{number}\n"
        )
        (tmp_path / f"n{number}.py").write_text(
            f"import edgetransfer.p{number}\nimport edgetransfer.p{number}.inner\n"
        )
        for name in (f"edgetransfer.m{number}", f"edgetransfer.n{number}"):
            assert "json" in Sources(tmp_path)._closure([name])


def test_without_source_nothing_is_reached(tmp_path):
    sources = Sources(tmp_path / "edgetransfer.zip" / "edgetransfer")
    assert sources.libraries("edgetransfer.lazy") == frozenset()
    assert sources.digest("edgetransfer.lazy") == sources.digest("edgetransfer.lazy")
