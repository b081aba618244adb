"""The kit for Android: compiled whole, and run on a JVM with a phone's own libraries."""

import json
import re
import shutil
from itertools import groupby
from pathlib import Path
from xml.etree import ElementTree

import pytest
from filelock import FileLock
from tokenizers import Tokenizer

from edgetransfer.bundle.opened import open_bundle
from edgetransfer.export.golden import escaped
from edgetransfer.kits.app import judge_app
from edgetransfer.kits.files.linux.edge_model import lines_of, read_settings
from edgetransfer.kits.kit import make_kit
from tests.pipeline.kits.conftest import LABELS
from tests.pipeline.kits.linux import DAMAGED, damage, no_mean, strings
from tests.pipeline.phone import jvm

MODEL = "edgemodel/src/main/assets/model"
GOLDEN = "edgemodel/src/androidTest/assets/golden"
DOCS = Path(__file__).parents[3] / "docs" / "android.md"
PACKAGE = "dev.edgetransfer.kit"
SNIPPET = """
package printed{number}
import android.content.Context
import dev.edgetransfer.kit.*
fun show(name: String, share: Float) = println("$name $share")
fun printed(context: Context, bytes: ByteArray) {{
println(bytes.size)
{code}
}}
"""


def printed(kits, room):
    """Write what README.md and docs/android.md print to files that can be compiled."""
    pages = [DOCS, *(folder / "README.md" for folder in kits.values())]
    for number, page in enumerate(pages):
        (code,) = re.findall(r"```kotlin\n(.*?)```", page.read_text(), re.DOTALL)
        room.joinpath(f"Printed{number}.kt").write_text(SNIPPET.format(number=number, code=code))
    return sorted(room.glob("Printed*.kt"))


@pytest.fixture(scope="session")
def kits(picture_bundle, text_bundle, shared):
    """A kit of each kind of model, which nobody changes."""
    bundles = {"picture": picture_bundle, "text": text_bundle}
    with FileLock(shared / "android.lock"):
        folders = {kind: shared / "android" / kind for kind in bundles}
        for kind, folder in folders.items():
            if not folder.exists():
                make_kit(bundles[kind], "android", folder)
    return folders


@pytest.fixture(scope="session")
def classes(kits, shared):
    """All Kotlin of the kit and what is printed of it, the copies made wrong, and `Replay`.

    `-no-jdk` leaves the classes of Java that phones have: those of API 23.
    """
    room = shared / "android"
    with FileLock(shared / "android-classes.lock"):
        if not (room / "done").exists():
            files = [*kits["text"].rglob("*.kt"), *printed(kits, room)]
            declared = jvm.HERE / "androidx/test/platform/app/InstrumentationRegistry.java"
            jar = jvm.compiled_files([*files, declared], room / "kit.jar", "-no-jdk")
            jvm.refuse_other_machines()
            wrong = jvm.compiled_files([*copies(kits["text"], room / "wrong")], room / "wrong.jar")
            programs = [*replays(room)]
            jvm.with_stand_ins(programs, f"{jar}:{wrong}", room)
            jvm.for_glibc(room / "lib")
            (room / "done").touch()
    return room


WRONG = {
    "bgr": (
        "picture",
        ("val pixel = row[x]", "val pixel = Integer.reverseBytes(row[x] and 0xFFFFFF) ushr 8 or "
        "(row[x] and (255 shl 24))"),
        "decode 00: red and blue are exchanged",
    ),
    "unturned": (
        "picture",
        ("rgb(bitmap, Exif.orientation(file))", "rgb(bitmap)"),
        "decode turned: 48 x 36 pixels, expected 36 x 48: it was not turned as its EXIF block says",
    ),
    "black": (
        "picture",
        ("private const val WHITE = 255", "private const val WHITE = 0"),
        "decode transparent: bytes are off by ",
    ),
    "halved": (
        "picture",
        (
            "fun logits(picture: Rgb): FloatArray {",
            """fun logits(full: Rgb): FloatArray {
                val picture = Rgb.of((full.height + 1) / 2, (full.width + 1) / 2, 1) { y, row ->
                    for (x in row.indices) {
                        val place = 3 * (2 * y * full.width + 2 * x)
                        row[x] = (0..2).fold(255) { sum, each ->
                            sum shl 8 or (full.bytes[place + each].toInt() and 255)
                        }
                    }
                }""",
        ),
        "model 00: logits are off by ",
    ),
    "unattended": (
        "text",
        ("LongArray(ids.size) { 1 }", "LongArray(ids.size) { 0 }"),
        "model 00: logits are off by ",
    ),
}  # fmt: skip


def copies(kit, room):
    """Write copies of the kit in which a word was exchanged, each in a package of its own."""
    for name, (_, (old, new), _) in WRONG.items():
        changed = 0
        (room / name).mkdir(parents=True)
        for file in [*kit.glob("edgemodel/src/main/**/*.kt"), *kit.rglob("Check.kt")]:
            text = file.read_text()
            changed += text.count(old)
            copy = room / name / file.name
            copy.write_text(text.replace(old, new).replace(PACKAGE, f"{PACKAGE}.{name}"))
            yield copy
        assert changed == 1, name


def replays(room):
    text = (jvm.HERE / "Replay.java").read_text()
    for name in ("", *WRONG):
        folder = room / "replay" / name
        folder.mkdir(parents=True)
        copy = folder / "Replay.java"
        copy.write_text(text.replace(PACKAGE, f"{PACKAGE}.{name}") if name else text)
        yield copy


@pytest.fixture
def replay(classes):
    def run(*words, package=PACKAGE):
        path = (classes / "classes", classes / "kit.jar", classes / "wrong.jar")
        return jvm.started(path, f"{package}.Replay", words, classes)

    return run


@pytest.fixture
def checked(replay):
    """Return what was measured, what came of it, and what is wrong; or an error in place of all."""

    def check(*folders, **how):
        lines = replay("check", *folders, **how)
        said = [[*group] for end, group in groupby(lines, "--".__eq__) if not end]
        assert len(said) == len(folders)
        return said

    return check


@pytest.fixture
def copied(kits, tmp_path):
    def copy(kind, name="kit"):
        return Path(shutil.copytree(kits[kind], tmp_path / name))

    return copy


@pytest.mark.parametrize("kind", ["picture", "text"])
def test_golden_cases_are_equal(kind, kits, picture_bundle, text_bundle, checked, tmp_path):
    """Decoded as the phone's code does, with Java's decoders in place of Android's."""
    ((measured, said, times, *wrong),) = checked(kits[kind])
    assert wrong == []
    count = len(lines_of(kits[kind] / GOLDEN / "golden.tsv")) - 1
    exactly = rf"{count} cases, 0 wrong, logits off by [\d.]+ at most \(as on the build host\)"
    assert re.fullmatch(exactly, said)
    assert re.fullmatch(
        r"[\d.]+ ms median, [\d.]+ ms 90th percentile of 50 runs of the first: onnxruntime 1.29.0",
        times,
    )
    file = tmp_path / "measured.json"
    file.write_text(measured)
    found = json.loads(measured)
    assert (found["kit"], found["device"], len(found["cases"])) == ("android", 'a "JVM"', count)
    row = judge_app(open_bundle({"picture": picture_bundle, "text": text_bundle}[kind]), file)
    assert (row["status"], row["changed"], row["n"]) == ("PASS", 0, 50)
    assert row["worst"] <= {"picture": 0, "text": 1e-5}[kind]


@pytest.mark.parametrize("kind", ["picture", "text"])
def test_the_tests_that_gradle_runs_on_a_desktop(kind, kits, classes):
    folder = kits[kind] / "edgemodel"
    path = (classes / "kit.jar", *jvm.junit())
    arguments = ("org.junit.runner.JUnitCore", [f"{PACKAGE}.CoreTest"], classes)
    said = jvm.started(path, *arguments, cwd=folder)
    assert "OK (6 tests)" in said


@pytest.mark.parametrize("name", WRONG)
def test_a_copy_that_is_made_wrong_says_what_is(name, kits, checked):
    kind, _, told = WRONG[name]
    ((_, _, _, *wrong),) = checked(kits[kind], package=f"{PACKAGE}.{name}")
    assert any(line.startswith(told) for line in wrong), wrong


def test_a_model_and_settings_that_are_made_wrong(copied, checked):
    kinds = {"picture": "plain", "text": "before"}
    plain, before = (copied(kind, name) for kind, name in kinds.items())
    no_mean(plain / MODEL / "model.onnx")
    settings = before / MODEL / "model.tsv"
    settings.write_text(settings.read_text().replace("before\t2", "before\t3"))
    (_, _, _, *one), (_, _, _, *other) = checked(plain, before)
    assert one[0].startswith("model 00: logits are off by ")
    assert other[0].startswith("tokens 00: ids [3, ")


def test_other_labels_than_outputs(copied, checked):
    folder = copied("picture")
    (folder / MODEL / "labels.txt").write_text("one\n")
    ((_, said, *wrong),) = checked(folder)
    assert said.startswith("0 cases, ")
    assert wrong[0] == "model 00: the model gives 3 numbers, not one of each of 1 labels"


def test_a_damaged_file_ends_in_one_message(copied, checked):
    folders = []
    for number, (kind, file, change, _) in enumerate(DAMAGED):
        folders.append(copied(kind, str(number)))
        folder, name = file.split("/")
        damage(folders[-1], f"{ {'model': MODEL, 'golden': GOLDEN}[folder] }/{name}", change)
    for (*_, expected), said in zip(DAMAGED, checked(*folders), strict=True):
        assert said[0].startswith("error: "), said
        assert expected in said[0]
        assert len(said) == 1


def test_labels_that_would_do_harm_come_out_as_they_are(kits, replay):
    texts = ("alpha bird", "even fish", "iron jump", "moon nest")
    assert set(replay("label", kits["text"], *texts)) == set(LABELS)


def test_strings_of_all_kinds_have_the_same_ids(kits, text_bundle, replay, tmp_path):
    tokenizer = Tokenizer.from_file(str(text_bundle / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(int(read_settings(kits["text"] / MODEL)["longest"]))
    texts, file = [*strings()], tmp_path / "texts"
    file.write_text("\n".join(map(escaped, texts)), encoding="utf-8")
    found = replay("tokens", kits["text"], file)
    wanted = [",".join(map(str, each.ids)) for each in tokenizer.encode_batch(texts)]
    assert len(texts) >= 11_000
    assert [t for t, one, other in zip(texts, found, wanted, strict=True) if one != other] == []


def test_files_and_bitmaps(kits, replay):
    """CameraX gives bitmaps that are not turned, and says by how much they have to be."""
    kit, golden = kits["picture"], kits["picture"] / GOLDEN
    turned, upright, none = replay(
        "file", kit, golden / "turned.jpg", golden / "00.png", golden / "golden.tsv"
    )
    assert replay("bitmap", kit, golden / "turned.jpg", "90") == [turned]
    assert replay("bitmap", kit, golden / "00.png", "0") == [upright]
    assert none == "error: not a picture that can be read"
    assert replay("bitmap", kit, golden / "00.png", "45") == [
        "error: a bitmap is turned by 0, 90, 180 or 270 degrees, not by 45"
    ]


ANDROID = "{http://schemas.android.com/apk/res/android}"
NODE = "{http://schemas.android.com/tools}node"
FILTERS = 'ndk { abiFilters += listOf("arm64-v8a", "armeabi-v7a", "x86_64") }'


def test_what_gradle_is_told(kits):
    """No Gradle is at hand: that the files say what they have to is held here."""
    folder = kits["picture"]
    module, sample = (folder / name / "build.gradle.kts" for name in ("edgemodel", "sample"))
    for said in (
        'implementation("com.microsoft.onnxruntime:onnxruntime-android:1.29.0")',
        'testImplementation("com.microsoft.onnxruntime:onnxruntime:1.29.0")',
        'consumerProguardFiles("consumer-rules.pro")',
    ):
        assert module.read_text().count(said) == 1
    for file in (module, sample):
        for said in ("minSdk = 24", 'androidResources { noCompress += "onnx" }', FILTERS):
            assert said in file.read_text()
        assert file.read_text().count("{") == file.read_text().count("}")
        manifest = ElementTree.parse(file.parent / "src" / "main" / "AndroidManifest.xml")
        (provider,) = manifest.iter("provider")
        assert provider.get(f"{ANDROID}name") == "ai.onnxruntime.TelemetryInitializer"
        assert provider.get(NODE) == "remove"
    rules = (folder / "edgemodel" / "consumer-rules.pro").read_text().splitlines()
    assert "-keep class ai.onnxruntime.** { *; }" in rules


def test_no_app_ships_the_golden_cases(kits):
    module = kits["picture"] / "edgemodel" / "src"
    assert (kits["picture"] / GOLDEN / "golden.tsv").is_file()
    assert {each.name for each in (module / "main" / "assets").rglob("*")} == {
        *("model", "model.onnx", "labels.txt", "model.tsv", "files.tsv")
    }
