"""The iOS kit holds together; Swift compiled it and ran it, as `make test-swift` does again."""

import json
import plistlib
import random
import re
import shutil

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from PIL import Image
from tokenizers import Tokenizer

from edgetransfer.bundle.opened import open_bundle
from edgetransfer.export.golden import HARD_TEXTS
from edgetransfer.kits.app import judge_app
from edgetransfer.kits.files.linux.edge_model import lines_of
from tests.pipeline.kits.conftest import LABELS
from tests.pipeline.kits.swift import green, toolchain

MODEL, GOLDEN = "Sources/EdgeModel/Resources/model", "Sources/EdgeModelCheck/Resources/golden"
PICTURE, SESSION = "Sources/EdgeModel/Picture.swift", "Sources/EdgeModel/EdgeModel.swift"
WORDPIECE = "Sources/EdgeModel/WordPiece.swift"
POOLS = (
    *("abc XYZ 019", "áéñ Çğİıßẞ", "ẹ́ọ̀ṣńǹ", "العربية ًٌٍ", "中文字漢", "한국어かなカナ"),
    *(
        "😀👩‍👩‍👧‍👦🇳🇬",
        "\u200b\u200d\ufeff\xad\x00\x07",
        "\u00a0\u3000\u2028\t\r\n",
        "'\"-—…¿¡«»$+<=>^`|~",
    ),
    *("[MASK] [UNK] [CLS] ##a", "ﬁﬀ℃ⅣΑΒΣςЖщ", "े्नमस्", "e\u0301 é a\u030a å"),
)


def test_the_kit_is_as_swift_compiled_it():
    """2.6 GB of compiler are too many for every run of the tests."""
    assert green.digest() == json.loads(green.FILE.read_text("utf-8"))["digest"], (
        "files/ios was changed since Swift compiled it and ran it: run `make test-swift`, and "
        f"commit {green.FILE.name}"
    )


@pytest.mark.parametrize("which", ["picture_bundle", "text_bundle"])
def test_the_package(which, kit, request):
    folder = kit(request.getfixturevalue(which), "ios")
    assert (folder / MODEL / "model.onnx").is_file()
    assert (folder / GOLDEN / "golden.tsv").is_file()
    manifest = (folder / "Package.swift").read_text()
    for target in (folder / "Sources").iterdir():
        assert f'name: "{target.name}"' in manifest
    with (folder / "Sources/EdgeModel/Resources/PrivacyInfo.xcprivacy").open("rb") as file:
        assert plistlib.load(file)["NSPrivacyTracking"] is False
    code = "".join(each.read_text() for each in folder.rglob("*.swift"))
    assert not any(label in code for label in LABELS)


@pytest.fixture(scope="session")
def library(tmp_path_factory):
    toolchain.needed()
    return toolchain.library(tmp_path_factory.mktemp("library"))


@pytest.fixture
def package(kit, library, tmp_path):
    """Make a kit for Swift, with the tests of a proof in it."""

    def make(bundle):
        proof = tmp_path / "proof"
        proof.mkdir()
        made = toolchain.Package(kit(bundle, "ios"), library, proof)
        shutil.copy(toolchain.HERE / "ProofTests.swift", made.kit / "Tests" / "EdgeModelTests")
        return made

    return make


@pytest.fixture
def say(record_property):
    return lambda *lines: [record_property("said", each) for each in lines]


def test_swift_and_pictures(package, picture_bundle, say):
    """Every case; then copies that are wrong on purpose, each of which says what is."""
    made = package(picture_bundle)
    store(made.kit / GOLDEN, made.proof)
    code, printed = made.swift("test", "--skip", "testTexts")
    assert code == 0, printed
    assert f"{len(cases(made))} cases, 0 wrong" in printed
    say(made.run("swift", "--version")[1].splitlines()[0], *summary(printed))
    code, printed = made.check()
    assert code == 0, printed
    measured = json.loads((made.kit / "measured.json").read_text())
    assert (measured["kit"], measured["wrong"]) == ("ios", [])
    assert [each["name"] for each in measured["cases"]] == cases(made)
    row = judge_app(open_bundle(picture_bundle), made.kit / "measured.json")
    assert (row["worst"], row["changed"], row["n"]) == (0, 0, 50)
    for name, how in WRONG_MODELS.items():
        say(f"{name}: {wrong_model(made, how)}")
    for name, (change, fault) in WRONG_PICTURES.items():
        say(f"{name}: {wrong_code(made, *change, fault)}")


def summary(printed):
    """Return what the kit's test says of its cases, and the count of tests."""
    said = re.findall("^.* cases, .*", printed, re.MULTILINE)
    return [*dict.fromkeys(said), re.findall(r"Executed \d+ tests, .*? failures", printed)[-1]]


def cases(made):
    return [line.split("\t")[0] for line in lines_of(made.kit / GOLDEN / "golden.tsv")[1:]]


def store(golden, proof):
    """Write pictures as they lie in their files, as a decoder hands them over."""
    rows = []
    for file in sorted(
        each for each in golden.iterdir() if each.suffix in (".png", ".jpg", ".gif")
    ):
        with Image.open(file) as image:
            orientation = image.getexif().get(0x0112, 1)
            if image.mode.startswith("I;16"):
                pixels = Image.fromarray((np.asarray(image) // 257).astype(np.uint8))
            else:
                pixels = image.copy() if image.mode in ("L", "CMYK") else image.convert("RGBA")
        if pixels.mode == "RGBA":
            pixels = pixels.convert("RGBa")
        shutil.copy(file, proof)
        (proof / f"{file.name}.stored").write_bytes(pixels.tobytes())
        rows.append((file.name, pixels.height, pixels.width, pixels.mode, orientation))
    lines = ("\t".join(map(str, row)) + "\n" for row in rows)
    (proof / "stored.tsv").write_text("".join(lines), "utf-8")


OFF = r"model [\w-]+: logits are off by "
WRONG_PICTURES = {
    "blue, green, red": (
        (PICTURE, "Int(bytes[place + channel]) + white", "Int(bytes[place + 2 - channel]) + white"),
        "decode 00: red and blue are exchanged",
    ),
    "EXIF ignored": (
        (PICTURE, "seen(orientation: Int)", "seen(orientation _: Int, as orientation: Int = 1)"),
        "decode turned: 48 x 36 pixels, expected 36 x 48: it was not turned as its EXIF block says",
    ),
    "on black": (
        (PICTURE, "let white = 255 - Int(bytes[place + 3])", "let white = 0"),
        "decode transparent: bytes are off by 255, at most 1 is right",
    ),
    "halved before the model, by the nearest pixel": (
        (
            SESSION,
            "let shape = [1, Int64(picture.height)",
            """let (h, w) = ((picture.height + 1) / 2, (picture.width + 1) / 2)
            let places = (0..<h).flatMap { y in (0..<w).map { 2 * y * picture.width + 2 * $0 } }
            let rgb = places.flatMap { picture.rgb[3 * $0..<3 * $0 + 3] }
            let picture = try Picture(height: h, width: w, rgb: rgb)
            let shape = [1, Int64(picture.height)""",
        ),
        OFF,
    ),
}


def wrong_code(made, file, old, new, fault):
    """Change the code, see that the kit's own tests fail and say why, and change it back."""
    source = made.kit / file
    right = source.read_text()
    assert right.count(old) == 1, old
    source.write_text(right.replace(old, new))
    code, printed = made.swift("test", "--filter", "ProofTests|GoldenTests", "--skip", "testTexts")
    source.write_text(right)
    assert code != 0, printed
    return re.search(f"^{fault}.*", printed, re.MULTILINE)[0]


def plain(model):
    """Take the normalisation out."""
    for each in model.graph.initializer:
        if each.name in ("pre/scale", "pre/shift"):
            array = numpy_helper.to_array(each)
            filled = np.full_like(array, 1 if each.name == "pre/scale" else 0)
            each.CopyFrom(numpy_helper.from_array(filled, each.name))


def nearest(model):
    """Let it shrink pictures by taking the nearest pixel."""
    (resize,) = (each for each in model.graph.node if each.op_type == "Resize")
    kept = [each for each in resize.attribute if each.name == "axes"]
    del resize.attribute[:]
    resize.attribute.extend([*kept, helper.make_attribute("mode", "nearest")])


WRONG_MODELS = {"no normalisation": plain, "nearest": nearest}


def wrong_model(made, how):
    """Check another model, which is no part of what was compiled."""
    folder = made.proof / how.__name__
    shutil.copytree(made.kit / MODEL, folder)
    model = onnx.load(folder / "model.onnx")
    how(model)
    onnx.save(model, folder / "model.onnx")
    code, printed = made.check(f"/proof/{folder.name}")
    assert code == 1, printed
    return re.search(f"^{OFF}.*", printed, re.MULTILINE)[0]


def test_swift_and_texts(package, text_bundle, say):
    """Every case, and 11,000 strings that tokenizers disagree on."""
    made = package(text_bundle)
    texts = strings(11_000)
    (made.proof / "texts.json").write_text(json.dumps(texts), "utf-8")
    code, printed = made.swift("test", "--skip", "testPictures")
    assert code == 0, printed
    say(*summary(printed))
    wanted = expected(text_bundle, made.kit / MODEL, texts)
    found = json.loads((made.proof / "ids.json").read_text("utf-8"))
    different = sum(one != other for one, other in zip(found, wanted, strict=True))
    say(f"{len(texts)} strings, {different} different")
    assert different == 0
    fault = rf"tokens {cases(made)[0]}: ids \["
    change = (WORDPIECE, "return before + kept + after", "return kept + after")
    say(f"no id before: {wrong_code(made, *change, fault)}")


def strings(count):
    """Draw half of them from what is hard, half from all code points."""
    draw = random.Random(0)
    pools = [*POOLS, *HARD_TEXTS.values()]
    planes = ((1, 0x2FFF), (0x3000, 0xD7FF), (0xE000, 0x1FFFF))
    hard = (
        "".join(draw.choice(draw.choice(pools) or " ") for _ in range(30)) for _ in range(count)
    )
    wide = (
        "".join(chr(draw.randint(*draw.choice(planes))) for _ in range(20)) for _ in range(count)
    )
    mixed = [each for pair in zip(hard, wide, strict=True) for each in pair]
    edges = ["a" * 100, "a" * 101, "", "   ", "[MASK]", "x[MASK]y"]
    return [*edges, *mixed[: count - len(edges)]]


def expected(bundle, model, texts):
    """Return what `tokenizers` makes of texts."""
    opened = open_bundle(bundle)
    tokenizer = Tokenizer.from_file(str(opened.file(opened.preprocessing.tokenizer)))
    tokenizer.no_padding()
    tokenizer.enable_truncation(opened.preprocessing.max_length)
    return [each.ids for each in tokenizer.encode_batch(texts)]


def test_swift_and_what_is_apples(package, picture_bundle, say):
    """What Linux has not is compiled against declarations; the manifest is read for both."""
    made = package(picture_bundle)
    for name in ("CoreGraphics", "ImageIO"):
        shutil.copy(toolchain.HERE / "frameworks" / f"{name}.swift", made.proof)
        emit = ("-emit-module", "-parse-as-library", "-module-name", name, "-I", "/proof")
        code, printed = made.run(
            "swiftc", *emit, "-o", f"/proof/{name}.swiftmodule", f"/proof/{name}.swift"
        )
        assert code == 0, printed
    shutil.copy(toolchain.HERE / "swift-format.json", made.proof)
    places = [f"/kit/{each}" for each in ("Sources", "Tests", "Package.swift")]
    form = ("--configuration", "/proof/swift-format.json", "--strict", "--recursive")
    code, printed = made.run("swift-format", "lint", *form, *places)
    assert code == 0, printed
    (snippet, _) = re.findall("```swift\n(.*?)```", (made.kit / "README.md").read_text(), re.DOTALL)
    main = "import Foundation\nlet data = Data()\n" + snippet
    (made.kit / "Sources" / "golden" / "main.swift").write_text(main)
    build = ("build", "--target", "golden", "-Xswiftc", "-I/proof")
    code, printed = made.swift(*build)
    assert code == 0, printed
    code, printed = made.swift("build", "--target", "golden")
    assert code != 0
    assert "error: extra argument 'decoding' in call" in printed  # ImageIO is not there
    say("Pictures.swift and README.md compile against declarations of Apple's frameworks")
    for has, wanted in (("false", ("sourceControl", "product")), ("true", ("binary", "byName"))):
        say(f"hasFramework = {has}: {manifest(made, has, wanted)}")


def manifest(made, has, wanted):
    """Read the manifest as Apple's systems do; see where ONNX Runtime comes from."""
    file = made.kit / "Package.swift"
    right = file.read_text()
    changed = right.replace("#if !os(Linux)", "#if os(Linux)")
    file.write_text(changed.replace("hasFramework = false", f"hasFramework = {has}"))
    code, printed = made.run("swift", "package", "--disable-sandbox", "dump-package")
    file.write_text(right)
    assert code == 0, printed
    read = json.loads(printed)
    (core,) = (each for each in read["targets"] if each["name"] == "COrt")
    (given,) = core["dependencies"]
    kinds = [each["type"] for each in read["targets"]] + [
        k for d in read["dependencies"] for k in d
    ]
    assert wanted[0] in kinds
    assert wanted[1] in given
    return f"onnxruntime by {wanted[0]}"
