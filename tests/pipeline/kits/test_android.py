"""The kit for Android: compiled whole, its core run on a JVM with a phone's own libraries."""

import json
import re
import shutil

import pytest

from edgetransfer.bundle.opened import open_bundle
from edgetransfer.export.golden import escaped
from edgetransfer.kits.app import judge_app
from edgetransfer.kits.files.linux.edge_model import WordPiece, lines_of, read_settings
from tests.pipeline.kits.conftest import LABELS
from tests.pipeline.kits.linux import strings
from tests.pipeline.phone import jvm

MODEL = "edgemodel/src/main/assets/model"
GOLDEN = "edgemodel/src/androidTest/assets/golden"


def kotlin(folder):
    """Return what can be compiled here: all but what needs AndroidX."""
    return sorted(each for each in folder.rglob("*.kt") if "androidTest" not in each.parts)


@pytest.fixture(scope="session")
def core(picture_bundle, tmp_path_factory):
    """The kit and a program that replays its cases, compiled with warnings as errors."""
    from edgetransfer.kits.kit import make_kit

    room = tmp_path_factory.mktemp("android")
    folder = make_kit(picture_bundle, "android", room / "kit").folder
    jar = jvm.compiled_files([*kotlin(folder), jvm.HERE / "Replay.kt"], room / "kit.jar")
    jvm.refuse_other_machines()
    return jar


@pytest.fixture
def replay(core, tmp_path):
    def run(word, folder, *more):
        arguments = (word, folder / MODEL, *more)
        return jvm.started((core,), "dev.edgetransfer.kit.ReplayKt", arguments, core.parent)

    return run


def checked(replay, folder):
    """Return what was measured, how far outputs are off, and what is wrong."""
    measured, worst, *wrong = replay("check", folder, folder / GOLDEN)
    return json.loads(measured), float(worst), wrong


@pytest.mark.parametrize("kind", ["picture", "text"])
def test_golden_cases_are_bit_equal(kind, picture_bundle, text_bundle, kit, replay, tmp_path):
    bundle = {"picture": picture_bundle, "text": text_bundle}[kind]
    folder = kit(bundle, "android")
    measured, worst, wrong = checked(replay, folder)
    assert wrong == []
    assert worst <= 1e-4
    assert len(measured["cases"]) == len(lines_of(folder / GOLDEN / "golden.tsv")) - 1
    file = tmp_path / "measured.json"
    file.write_text(json.dumps(measured))
    assert judge_app(open_bundle(bundle), file)["status"] == "PASS"


def edited(core, tmp_path, name, *pairs):
    """Compile a copy of the kit in which words were exchanged in one file."""
    room = tmp_path / "wrong"
    shutil.copytree(core.parent / "kit", room / "kit")
    (file,) = room.rglob(name)
    text = file.read_text()
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    file.write_text(text)
    return jvm.compiled_files([*kotlin(room / "kit"), jvm.HERE / "Replay.kt"], room / "kit.jar")


WRONG = {
    "red and blue exchanged": (
        ("Picture.kt", ("intArrayOf(16, 8, 0)", "intArrayOf(0, 8, 16)")),
        "decode 00: red and blue are exchanged",
    ),
    "EXIF ignored": (
        ("Picture.kt", ("byte(file, at + 1) == APP1", "byte(file, at + 1) == 0")),
        "decode turned: 48 x 36 pixels, expected 36 x 48: it was not turned as its EXIF block says",
    ),
    "clear pixels black": (
        ("Picture.kt", ("* alpha + 255 * (255 - alpha)", "* alpha")),
        "decode transparent: bytes are off by ",
    ),
}


@pytest.mark.parametrize("fault", WRONG)
def test_a_copy_that_is_made_wrong_says_what_is(fault, core, picture_bundle, kit, tmp_path):
    change, told = WRONG[fault]
    jar, folder = edited(core, tmp_path, *change), kit(picture_bundle, "android")
    arguments = ("check", folder / MODEL, folder / GOLDEN)
    _, _, *wrong = jvm.started((jar,), "dev.edgetransfer.kit.ReplayKt", arguments, core.parent)
    assert any(line.startswith(told) for line in wrong), wrong


def test_another_model_and_ids_put_around_wrongly(text_bundle, picture_bundle, kit, replay):
    folder = kit(text_bundle, "android")
    settings = folder / MODEL / "model.tsv"
    settings.write_text(settings.read_text().replace("before\t", "before\t3,"))
    _, _, wrong = checked(replay, folder)
    assert wrong[0].startswith("tokens 00: ids [3, ")
    settings.write_text(settings.read_text().replace("contract\t1", "contract\t2"))
    assert replay("check", folder, folder / GOLDEN) == [
        "error: model.tsv: a model of contract 2, this kit reads 1"
    ]
    pictures = kit(picture_bundle, "android")
    shutil.copyfile(folder / MODEL / "model.onnx", pictures / MODEL / "model.onnx")
    (pictures / MODEL / "labels.txt").unlink()
    (said,) = replay("check", pictures, pictures / GOLDEN)
    assert said.startswith("error: labels.txt: not there, or not readable: ")


def test_labels_that_would_do_harm_come_out_as_they_are(text_bundle, kit, replay):
    folder = kit(text_bundle, "android")
    said = {
        replay("classify", folder, text)[0] for text in ("alpha bird", "even fish", "iron jump")
    }
    assert said <= set(LABELS)


def test_strings_of_all_kinds_have_the_same_ids(text_bundle, kit, replay, tmp_path):
    """The port in Python is held against the tokenizer itself when a kit is made."""
    folder = kit(text_bundle, "android")
    port = WordPiece.read(folder / MODEL, read_settings(folder / MODEL))
    texts = list(strings())
    file = tmp_path / "texts"
    file.write_text("\n".join(map(escaped, texts)), encoding="utf-8")
    found = replay("tokens", folder, file)
    other = [
        text
        for text, line in zip(texts, found, strict=True)
        if line != ",".join(map(str, port.ids(text)))
    ]
    assert other == []


def test_what_gradle_is_told(picture_bundle, kit):
    """No Gradle is at hand: that the files say what they have to is held here."""
    folder = kit(picture_bundle, "android")
    module = (folder / "edgemodel" / "build.gradle.kts").read_text()
    for said in (
        'implementation("com.microsoft.onnxruntime:onnxruntime-android:1.29.0")',
        "minSdk = 24",
        'noCompress += listOf("onnx")',
        'abiFilters += listOf("arm64-v8a", "armeabi-v7a", "x86_64")',
        'consumerProguardFiles("consumer-rules.pro")',
    ):
        assert said in module
    rules = (folder / "edgemodel" / "consumer-rules.pro").read_text()
    assert "-keep class ai.onnxruntime.** { *; }" in rules
    manifest = (folder / "edgemodel" / "src" / "main" / "AndroidManifest.xml").read_text()
    assert re.search(r'TelemetryInitializer"[^>]*tools:node="remove"', manifest, re.DOTALL)
    assert not (folder / MODEL).parent.joinpath("golden").exists()  # no app ships it
    assert (folder / GOLDEN / "golden.tsv").is_file()
