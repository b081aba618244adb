"""The kit for Linux in Python: golden cases hold, and a copy that was made wrong says where."""

import json
import os
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from packaging.requirements import Requirement
from tokenizers import Tokenizer

from edgetransfer.kits.files.linux.edge_model import EdgeModel, WordPiece, decode, read_settings
from tests.pipeline.kits.conftest import LABELS
from tests.pipeline.kits.linux import DAMAGED, damage, no_mean, printed, strings


@pytest.fixture
def copied(linux_kits, tmp_path):
    def copy(kind):
        return Path(shutil.copytree(linux_kits[kind], tmp_path / kind))

    return copy


def program(kit, name, *words, **environment):
    """Run a program of a kit in a folder of its own; return the finished process."""
    room = kit.with_name("room")
    room.mkdir(exist_ok=True)
    return subprocess.run(
        [sys.executable, "-B", kit / name, *words],
        cwd=room,
        env={**os.environ, **environment},
        capture_output=True,
        check=False,
        timeout=120,
        encoding="utf-8",
        errors="surrogateescape",
    )


@pytest.mark.parametrize("kind", ["picture", "text"])
def test_golden_cases_are_equal(copied, kind):
    kit = copied(kind)
    done = program(kit, "check.py")
    assert done.returncode == 0, done.stdout + done.stderr
    first, second = done.stdout.splitlines()
    assert re.fullmatch(
        r"\d+ cases, 0 wrong, logits off by 0 at most \(as on the build host\)", first
    )
    assert re.match(r"[\d.]+ ms median, [\d.]+ ms 90th percentile of 50 runs of 00: onnx", second)
    found = json.loads((kit.with_name("room") / "measured.json").read_text())
    assert (found["schema"], found["kit"], found["wrong"]) == ("edgetransfer.app/1", "linux", [])
    assert found["sha256"] == read_settings(kit / "model")["sha256"]
    assert found["runtime"] == f"onnxruntime {version('onnxruntime')}"
    assert len(found["cases"]) == int(first.split()[0])
    assert len(found["milliseconds"]) == 50


MODEL, SETTINGS = "edge_model.py", "model/model.tsv"
WRONG = {
    "blue, green, red": (
        *("picture", MODEL, r'(return np.array\(image.convert\("RGB"\)\))', r"\1[:, :, ::-1]"),
        "decode 00: red and blue are exchanged",
    ),
    "EXIF ignored": (
        *("picture", MODEL, r"image = ImageOps.exif_transpose\(image\)", "pass"),
        "decode turned: 48 x 36 pixels, expected 36 x 48: it was not turned as its EXIF block says",
    ),
    "opacity ignored": (
        *("picture", MODEL, r'if image.mode in \("LA".*', "if False:"),
        "decode transparent: bytes are off by 235, at most 1 is right",
    ),
    "made smaller before the model": (
        *("picture", MODEL, r"ascontiguousarray\(given\)", "ascontiguousarray(given[::2, ::2])"),
        "model 00: logits are off by ",
    ),
    "another id before": ("text", SETTINGS, r"before\t2", "before\t3", "tokens 00: ids [3, "),
    "no id after": ("text", SETTINGS, r"after\t3", "after\t", "tokens 00: ids [2, "),
    "no attention": (
        *("text", MODEL, r"np.ones_like\(ids\)", "np.zeros_like(ids)"),
        "model 00: logits are off by ",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_kit_made_wrong_says_which_step_is(copied, name):
    kind, file, old, new, said = WRONG[name]
    kit = copied(kind)
    text, count = re.subn(old, new, (kit / file).read_text(encoding="utf-8"))
    assert count == 1
    (kit / file).write_text(text, encoding="utf-8")
    done = program(kit, "check.py")
    assert done.returncode == 1, done.stderr
    wrong = json.loads((kit.with_name("room") / "measured.json").read_text())["wrong"]
    assert any(each.startswith(said) for each in wrong), wrong
    assert done.stdout.splitlines()[: len(wrong)] == wrong


def test_a_model_without_normalisation_is_another(copied):
    kit = copied("picture")
    no_mean(kit / "model" / "model.onnx")
    done = program(kit, "check.py")
    assert done.returncode == 1
    assert done.stdout.startswith("model 00: logits are off by "), done.stdout


@pytest.mark.parametrize(("kind", "file", "change", "said"), DAMAGED)
def test_a_damaged_file_ends_in_one_message(copied, kind, file, change, said):
    kit = copied(kind)
    damage(kit, file, change)
    done = program(kit, "check.py")
    assert (done.returncode, done.stdout) == (1, ""), done.stdout
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_other_labels_than_outputs(copied):
    kit = copied("picture")
    (kit / "model" / "labels.txt").write_text("one\n")
    done = program(kit, "check.py")
    assert done.returncode == 1
    assert done.stdout.startswith("model 00: the model gives (3,) numbers, not one of each label")


def test_a_line_for_each_argument(copied):
    kit = copied("picture")
    golden = kit / "golden"
    done = program(kit, "run.py", golden / "00.png", golden / "golden.tsv", "no-such")
    assert done.returncode == 1
    name, *told = done.stdout.rstrip("\n").split("\t")
    assert name == str(golden / "00.png")
    assert re.fullmatch(r"\w+ [01]\.\d{3}(, \w+ 0\.\d{3}){2}", told[0])
    one, other = done.stderr.splitlines()
    assert one.startswith(f"{golden / 'golden.tsv'}: not a picture in a known format")
    assert other.startswith("no-such: no file that can be read")


@pytest.mark.parametrize("kind", ["picture", "text"])
def test_the_code_of_the_readme_runs(copied, kind):
    kit = copied(kind)
    if kind == "picture":
        shutil.copyfile(kit / "golden" / "turned.jpg", kit / "photo.jpg")
    words = [sys.executable, "-B", "-c", printed(kit, "python")]
    done = subprocess.run(words, cwd=kit, capture_output=True, text=True, check=True)
    model = EdgeModel(kit / "model")
    labels, accepted = model.classify("a text" if kind == "text" else kit / "photo.jpg")
    assert done.stdout == f"{labels[0].name} {labels[0].probability} {accepted}\n"


def test_labels_come_out_as_they_are(copied):
    kit = copied("text")
    given = [
        "alpha bird",
        "even fish",
        "iron jump",
        "moon nest",
        b"a\xffb".decode("utf-8", "replace"),
    ]
    done = program(kit, "run.py", *given[:4], b"a\xffb")
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    model = EdgeModel(kit / "model")
    for text, line in zip(given, lines, strict=True):
        labels, accepted = model.classify(text)
        assert line[1] == ", ".join(f"{name} {share:.3f}" for name, share in labels)
        assert line[2:] == ([] if accepted else ["not sure"])
        assert {name for name, _ in labels} < set(LABELS)


def test_the_port_of_the_tokenizer(linux_kits, text_bundle):
    kit = linux_kits["text"]
    tokenizer = Tokenizer.from_file(str(text_bundle / "tokenizer.json"))
    tokenizer.no_padding()
    settings = read_settings(kit / "model")
    tokenizer.enable_truncation(int(settings["longest"]))
    port = WordPiece.read(kit / "model", settings)
    different = [text for text in strings() if port.ids(text) != tokenizer.encode(text).ids]
    assert different == []


@contextmanager
def served(kit):
    """Yield the address that a kit's server prints."""
    words = [sys.executable, "-B", kit / "serve.py", "--port", "0"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def answer(address, body, **headers):
    request = urllib.request.Request(address, body, headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as found:
            return found.status, json.load(found)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_the_server_answers_as_the_model_does(linux_kits):
    kit = linux_kits["picture"]
    content = (kit / "golden" / "turned.jpg").read_bytes()
    labels, accepted = EdgeModel(kit / "model").classify(content)
    with served(kit) as address:
        code, said = answer(address, content)
        assert (code, said["accepted"]) == (200, accepted)
        assert said["labels"] == [each._asdict() for each in labels]
        assert said["milliseconds"] > 0
        assert answer(address, b"no picture")[0] == 400
        assert answer(address.removesuffix("/classify"), content)[0] == 404
        assert answer(address, None)[0] == 405
        assert answer(address, content, **{"Content-Length": "99999999999"})[0] == 413


def test_the_server_of_texts(linux_kits):
    with served(linux_kits["text"]) as address:
        code, said = answer(address, "alpha bird \N{HONEYBEE}".encode())
    assert code == 200
    assert {each["name"] for each in said["labels"]} < set(LABELS)


CV2 = """
CAP_PROP_BUFFERSIZE = 38
class VideoCapture:
    def __init__(self, camera):
        assert camera == 0
        self.left = 2
    def set(self, *_): pass
    def release(self): pass
    def read(self):
        self.left -= 1
        import numpy
        return self.left >= 0, numpy.load({picture!r})[:, :, ::-1]
"""


def test_the_camera_gives_what_opencv_reads_as_a_picture(linux_kits, tmp_path):
    """OpenCV, of which this is a stand-in, has blue first."""
    kit = linux_kits["picture"]
    picture = decode(kit / "golden" / "00.png")
    np.save(tmp_path / "picture.npy", picture)
    (tmp_path / "cv2.py").write_text(CV2.format(picture=str(tmp_path / "picture.npy")))
    done = program(
        Path(shutil.copytree(kit, tmp_path / "kit")), "camera.py", PYTHONPATH=str(tmp_path)
    )
    assert done.returncode == 0, done.stderr
    (best, *_), accepted = EdgeModel(kit / "model").classify(picture)
    sure = "" if accepted else "\tnot sure"
    line = rf"{best.name} {best.probability:.3f}\t[\d.]+ ms{sure}"
    assert re.fullmatch(f"{line}\n{line}\n", done.stdout)


def test_a_camera_is_no_use_to_a_model_of_texts(copied):
    done = program(copied("text"), "camera.py")
    assert (done.returncode, done.stderr) == (
        1,
        "the model takes texts, and a camera gives none\n",
    )


def test_what_is_pinned_is_what_was_tested(linux_kits):
    lines = (linux_kits["picture"] / "requirements.txt").read_text().splitlines()
    pinned = [Requirement(line) for line in lines if not line.startswith("#")]
    here = {each.name: str(each.specifier) for each in pinned if each.marker.evaluate()}
    assert here == {each: f"=={version(each)}" for each in ("onnxruntime", "numpy", "pillow")}


def test_the_unit_is_one_that_systemd_takes(linux_kits, tmp_path):
    tool = shutil.which("systemd-analyze")
    if tool is None:
        pytest.skip("systemd-analyze is not installed")
    text = (linux_kits["picture"] / "edge-model.service").read_text()
    assert "\nEnvironment=ORT_DISABLE_TELEMETRY=1\n" in text
    unit = tmp_path / "edge-model.service"
    unit.write_text(text.replace("/opt/edge-model/.venv/bin/python", sys.executable))
    for words in (["verify"], ["security", "--offline=true", "--threshold=20"]):
        done = subprocess.run([tool, *words, unit], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), done.stdout
