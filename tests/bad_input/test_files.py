"""D3, D4: nonsense in place of any file of any command: one message, an exit code, at once."""

import pytest

from tests.bad_input.nonsense import CONTENTS, KINDS, NODES, put, reseal

WAYS = {
    "manifest.json": ["report", "predict", "bench", "export", "apply", "add", "engine"],
    "report.json": ["report"],
    "preprocess.json": ["predict", "bench", "add"],
    "labels.txt": ["predict", "bench", "export"],
    "measure/golden/index.json": ["bench"],
    "portability.json": ["bench"],
    "measure/statistics.safetensors": ["export"],
}
UNSEALED = {"manifest.json", "report.json", "portability.json"}


def argv(way, bundle, pictures, head):
    picture = pictures / "ant" / "0.png"
    return {
        "report": ["report", bundle],
        "predict": ["predict", bundle, picture],
        "bench": ["bench", bundle],
        "export": ["head", "export", bundle, "out.safetensors"],
        "apply": ["head", "apply", bundle, head, "--out", "applied"],
        "add": ["add-class", bundle, "moth", picture, "--out", "added"],
        "engine": ["engine", bundle, "--compute-capability", "8.9"],
    }[way]


CASES = [(file, way, kind) for file, ways in WAYS.items() for way in ways for kind in KINDS]


@pytest.mark.parametrize(("file", "way", "kind"), CASES, ids=map("-".join, CASES))
def test_a_file_of_a_bundle(file, way, kind, sound, copy, pictures, head, refused):
    """What a stranger sealed again is read; what is no file cannot be sealed."""
    bundle = copy(sound)
    put(bundle / file, kind)
    if file not in UNSEALED and kind in CONTENTS:
        reseal(bundle)
    code, told = refused(*argv(way, bundle, pictures, head))
    assert code in (3, 9)
    assert str(bundle) in told


@pytest.mark.parametrize("kind", KINDS)
def test_a_head_file(kind, sound, refused, tmp_path):
    put(tmp_path / "head", kind)
    code, told = refused("head", "apply", sound, tmp_path / "head", "--out", "applied")
    assert code == 9
    assert f"{tmp_path / 'head'}: not a readable head file\n" in told


TABLES = {
    "recipe": ("plan", "{data}", "--recipe"),
    "target": ("plan", "{data}", "--target"),
    "shown": ("targets",),
    "calibration": ("plan", "{data}", "--calibration"),
    "built": ("build", "{data}", "--recipe"),
}
TOML = {
    "empty": "", "deep": "a = " + "[" * 5000, "dotted": "a" + ".a" * 3000 + " = 1",
    "digits": "seed = " + "9" * 5000, "hex": "seed = 0x" + "f" * 5000, "twice": "a = 1\na = 2",
    "open": "[", "nan": "seed = nan", "binary": "\0\1", "date": "seed = 2026-01-01",
    "type": 'name = []\nseed = "x"', "unknown": "colour = 1", "large": "x = 1e999",
    "extends": 'extends = "x.toml"\nname = "x"',
}  # fmt: skip
TOML_CASES = [(way, kind) for way in TABLES for kind in (*TOML, *NODES)]


@pytest.mark.parametrize(("way", "kind"), TOML_CASES, ids=map("-".join, TOML_CASES))
def test_a_toml_file(way, kind, pictures, refused, tmp_path):
    file = tmp_path / "x.toml"
    if kind in TOML:
        file.write_text(TOML[kind])
    else:
        put(file, kind)
    if way in ("recipe", "built") and kind in ("empty",):
        file.write_text("fit = 1")
    if way == "calibration" and kind == "extends":
        pytest.skip("that is a field of targets alone")
    words = [word.format(data=pictures) for word in TABLES[way]]
    code, told = refused(*words, file)
    assert code == 3
    assert "x.toml" in told


BACKBONES = [(file, kind) for file in ("card.json", "model.safetensors") for kind in KINDS]
COMMANDS = {
    "build": ("build", "{data}"),
    "rank": ("backbones", "rank", "{data}"),
    "fewshot": ("fewshot", "{data}", "--ways", "2", "--shots", "1", "--queries", "1"),
}


@pytest.mark.parametrize(("file", "kind"), BACKBONES, ids=map("-".join, BACKBONES))
@pytest.mark.parametrize("command", ["build"])
def test_a_file_of_our_own_layout(command, file, kind, pictures, backbone, copy, refused):
    folder = copy(backbone)
    put(folder / file, kind)
    words = [word.format(data=pictures) for word in COMMANDS[command]]
    code, told = refused(*words, "--backbone", folder)
    assert code in (3, 4, 9)
    assert str(folder) in told


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_config(command, kind, pictures, encoder, copy, refused):
    folder = copy(encoder)
    put(folder / "config.json", kind)
    words = [word.format(data=pictures) for word in COMMANDS[command]]
    code, told = refused(*words, "--backbone", folder)
    assert code == 3
    assert str(folder) in told


DATA = [
    (suffix, kind)
    for suffix in (".csv", ".tsv", ".jsonl", ".parquet", ".txt", ".onnx")
    for kind in KINDS
]


@pytest.mark.parametrize(("suffix", "kind"), DATA, ids=map("".join, DATA))
def test_a_table(suffix, kind, refused, tmp_path):
    file = tmp_path / f"data{suffix}"
    put(file, kind)
    code, told = refused("build", file)
    assert code in (3, 4, 5)
    assert "data" in told


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture(kind, sound, refused, tmp_path):
    put(tmp_path / "x.png", kind)
    code, told = refused("predict", sound, tmp_path / "x.png")
    assert code == 4
    assert "x.png" in told
