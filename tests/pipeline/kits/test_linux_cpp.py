"""The C++ of the kit for Linux: built, run on the golden cases and on what is damaged.

`make test-cpp` fetches what it is built against. It is built twice, once to be watched by gcc's
sanitizers, of which one finds fault with stb: a null pointer to no bytes.
"""

import json
import os
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from edgetransfer.kits.files.linux.edge_model import lines_of, read_settings
from edgetransfer.kits.wordpiece import write_wordpiece
from tests.pipeline.kits.conftest import LABELS
from tests.pipeline.kits.linux import DAMAGED, damage, no_mean, printed, strings

FETCHED = os.environ.get("EDGETRANSFER_TEST_CPP")
TOOLS = ("cmake", "g++")
STRICT = "-Wall -Wextra -Werror"
WATCHED = f"{STRICT} -fsanitize=address,undefined -fno-sanitize-recover=all"
pytestmark = [
    pytest.mark.skipif(not FETCHED, reason="make test-cpp fetches what C++ is built against"),
    pytest.mark.skipif(not all(map(shutil.which, TOOLS)), reason="apt install cmake g++"),
]


def called(words, **how):
    how = {"encoding": "utf-8", "errors": "surrogateescape", **how}
    return subprocess.run(words, capture_output=True, check=False, timeout=300, **how)


def built(kit, room, flags, kind):
    """Build the C++ of a kit; return the folder of its programs."""
    prefix = Path(FETCHED).resolve()
    words = ["cmake", "-S", kit / "cpp", "-B", room, f"-DCMAKE_PREFIX_PATH={prefix}"]
    words += [f"-DCMAKE_CXX_FLAGS={flags}", f"-DCMAKE_BUILD_TYPE={kind}"]
    for command in (words, ["cmake", "--build", room]):
        done = called(command)
        assert done.returncode == 0, done.stdout + done.stderr
    return room


@pytest.fixture(scope="module")
def programs(linux_kits, tmp_path_factory):
    room = tmp_path_factory.mktemp("cpp") / "build"
    return built(linux_kits["picture"], room, STRICT, "Release")


@pytest.fixture(scope="module")
def watched(linux_kits, tmp_path_factory):
    room = tmp_path_factory.mktemp("cpp") / "watched"
    flags = f"{WATCHED} -fno-sanitize=nonnull-attribute"
    return built(linux_kits["picture"], room, flags, "Debug")


@pytest.fixture
def copied(linux_kits, tmp_path):
    def copy(kind):
        return Path(shutil.copytree(linux_kits[kind], tmp_path / kind))

    return copy


def checked(program, kit):
    return called([program, kit / "model", kit / "golden"], cwd=kit)


@pytest.mark.parametrize("kind", ["picture", "text"])
def test_golden_cases_are_equal(programs, copied, kind):
    kit = copied(kind)
    done = checked(programs / "edge-check", kit)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    first, second = done.stdout.splitlines()
    exact = r"(\d+) cases, 0 wrong, logits off by 0 at most \(as on the build host\)"
    cases = re.fullmatch(exact, first)[1]
    assert re.match(r"[\d.]+ ms median, [\d.]+ ms 90th percentile of 50 runs of 00: onnx", second)
    python = called([sys.executable, "-B", kit / "check.py"], cwd=kit.parent)
    assert python.stdout.splitlines()[0] == first
    found, other = (
        json.loads((folder / "measured.json").read_text()) for folder in (kit, kit.parent)
    )
    assert len(found["cases"]) == int(cases)
    assert len(found["milliseconds"]) == 50
    for name in found.keys() - {"cases", "milliseconds"}:
        assert found[name] == other[name]
    for one, two in zip(found["cases"], other["cases"], strict=True):
        assert one["name"] == two["name"]
        assert one["outputs"] == pytest.approx(two["outputs"], rel=1e-6)


def test_ctest_runs_them(programs):
    done = called(["ctest", "--test-dir", programs])
    assert done.returncode == 0, done.stdout
    assert "100% tests passed" in done.stdout


def test_it_is_installed_and_found_by_cmake(programs, linux_kits, tmp_path):
    done = called(["cmake", "--install", programs, "--prefix", tmp_path])
    assert done.returncode == 0, done.stderr
    kit = linux_kits["picture"]
    words = [tmp_path / "bin" / "edge-classify", "--model", kit / "model"]
    assert called([*words, kit / "golden" / "00.png"]).returncode == 0
    assert (tmp_path / "include" / "edge_model" / "edge_model.hpp").is_file()


def test_what_is_not_there_is_said(linux_kits, tmp_path):
    if any(Path("/usr/include", name).exists() for name in ("onnxruntime", "stb")):
        pytest.skip("they are installed on this system")
    words = ["cmake", "-S", linux_kits["picture"] / "cpp", "-B", tmp_path]
    done = called(words)
    assert done.returncode != 0
    assert "ONNX Runtime was not found" in done.stderr
    assert "-DORT_ROOT=FOLDER" in done.stderr
    done = called([*words, f"-DORT_ROOT={Path(FETCHED).resolve()}"])
    assert "stb_image.h was not found" in done.stderr


@pytest.mark.parametrize("kind", ["picture", "text"])
def test_lines_are_those_of_python(programs, linux_kits, tmp_path, kind):
    kit = Path(shutil.copytree(linux_kits[kind], tmp_path / kind))
    if kind == "picture":
        given = sorted(
            each for each in (kit / "golden").iterdir() if each.suffix in (".png", ".gif")
        )
        (kit / "model" / "labels.txt").write_text("\n".join(LABELS[:3]), encoding="utf-8")
    else:
        texts = ["alpha bird", "of the moon nest \N{HONEYBEE}", "", "[MASK] $x\t\\", "</script>"]
        given = [*map(str.encode, texts), b"a\xffb\xe4\xb8", b"\xed\xa0\x80 open \xf4\x90\x80\x80"]
    python = called([sys.executable, "-B", kit / "run.py", *given])
    here = called([programs / "edge-classify", "--model", kit / "model", *given])
    assert (here.returncode, here.stdout) == (0, python.stdout), here.stderr + python.stderr
    assert python.stdout.count("\n") == len(given)
    assert LABELS[0] in here.stdout


LISTS = """
cmake_minimum_required(VERSION 3.16)
project(mine CXX)
add_subdirectory({kit}/cpp cpp)
add_executable(mine mine.cpp)
target_link_libraries(mine PRIVATE edge_model)
"""


def test_the_code_of_the_readme_runs(copied, tmp_path):
    """As a part of another project."""
    kit, mine = copied("picture"), tmp_path / "mine"
    mine.mkdir()
    shutil.copyfile(kit / "golden" / "turned.jpg", kit / "photo.jpg")
    include, code = printed(kit, "cpp").split("\n", 1)
    program = f"#include <iostream>\n{include}\nint main() {{\n{code}\n}}\n"
    (mine / "mine.cpp").write_text(program)
    (mine / "CMakeLists.txt").write_text(LISTS.format(kit=kit))
    words = [
        "cmake",
        "-S",
        mine,
        "-B",
        mine / "b",
        f"-DCMAKE_PREFIX_PATH={Path(FETCHED).resolve()}",
    ]
    for command in (words, ["cmake", "--build", mine / "b", "--target", "mine"]):
        done = called(command)
        assert done.returncode == 0, done.stdout + done.stderr
    done = called([mine / "b" / "mine"], cwd=kit)
    python = called([sys.executable, "-B", kit / "run.py", kit / "photo.jpg"])
    assert done.stdout.startswith(python.stdout.split("\t")[1].split()[0])


def test_files_that_are_no_pictures(programs, linux_kits):
    kit = linux_kits["picture"]
    given = [kit / "golden" / "golden.tsv", kit / "model", "no-such"]
    done = called([programs / "edge-classify", "--model", kit / "model", *given])
    assert (done.returncode, done.stdout) == (1, "")
    lines = done.stderr.splitlines()
    assert lines[0] == f"{given[0]}: not a picture in a known format: JPEG, PNG, GIF, BMP"
    assert lines[1].endswith("cannot be read: it is a folder")
    assert lines[2].endswith("cannot be read: No such file or directory")
    assert called([programs / "edge-classify"]).returncode == 2


SHRUNK = """
    Picture small{picture.height / 2, picture.width / 2, {}};
    for (int row = 0; row < small.height; ++row)
        for (int column = 0; column < small.width * 3; ++column)
            small.rgb.push_back(
                picture.rgb[(2 * row * picture.width + column / 3 * 2) * 3 + column % 3]);
    feeds.push_back(tensor(small.rgb, {1, small.height, small.width, 3}));
"""
WRONG = {
    "blue, green, red": (
        *("picture", "pictures.cpp", r"rgb\[channel\] =", "rgb[2 - channel] ="),
        "decode 00: red and blue are exchanged",
    ),
    "EXIF ignored": (
        *("picture", "pictures.cpp", r", orientation_of\(content\)\);", ", 1);"),
        "decode turned: 48 x 36 pixels, expected 36 x 48: it was not turned as its EXIF block says",
    ),
    "opacity ignored": (
        *("picture", "pictures.cpp", r"opacity = pixel\[3\]", "opacity = pixel[3] | 255"),
        "decode transparent: bytes are off by 235, at most 1 is right",
    ),
    "made smaller before the model": (
        *("picture", "edge_model.cpp", r"feeds.push_back\(tensor\(picture.rgb, .*", SHRUNK),
        "model 00: logits are off by ",
    ),
    "no attention": (
        *("text", "edge_model.cpp", r"\? ones : zeros", "? zeros : zeros"),
        "model 00: logits are off by ",
    ),
    "parts of words": (
        *("text", "wordpiece.cpp", r'inside \? U"##"', 'inside ? U"#"'),
        "tokens ",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_kit_made_wrong_says_which_step_is(programs, copied, name):
    """Only what was changed is compiled; the rest is taken from what was built."""
    kind, file, old, new, said = WRONG[name]
    kit = copied(kind)
    text, count = re.subn(old, new, (kit / "cpp" / file).read_text(encoding="utf-8"))
    assert count == 1
    (kit / "cpp" / file).write_text(text, encoding="utf-8")
    fetched = Path(FETCHED).resolve()
    whole = programs / "CMakeFiles" / "edge-check.dir" / "check.cpp.o"
    words = ["g++", "-std=c++17", "-o", kit / "check", kit / "cpp" / file, whole]
    words += [programs / "libedge_model.a", "-I", kit / "cpp"]
    words += ["-I", fetched / "include" / "onnxruntime", "-L", fetched / "lib", "-lonnxruntime"]
    done = called([*words, f"-Wl,-rpath,{fetched / 'lib'}"])
    assert done.returncode == 0, done.stderr
    done = checked(kit / "check", kit)
    assert done.returncode == 1, done.stderr
    wrong = json.loads((kit / "measured.json").read_text(encoding="utf-8"))["wrong"]
    assert any(each.startswith(said) for each in wrong), wrong
    assert done.stdout.splitlines()[: len(wrong)] == wrong


def test_another_model_and_other_ids(programs, copied):
    picture, text = copied("picture"), copied("text")
    no_mean(picture / "model" / "model.onnx")
    done = checked(programs / "edge-check", picture)
    assert done.returncode == 1
    assert done.stdout.startswith("model 00: logits are off by ")
    damage(text, "model/model.tsv", lambda was: was.replace("\nbefore\t2\n", "\nbefore\t3\n"))
    done = checked(programs / "edge-check", text)
    assert done.returncode == 1
    assert done.stdout.startswith("tokens 00: ids [3, ")


@pytest.mark.parametrize(("kind", "file", "change", "said"), DAMAGED)
def test_a_damaged_file_ends_in_one_message(watched, copied, kind, file, change, said):
    kit = copied(kind)
    damage(kit, file, change)
    done = checked(watched / "edge-check", kit)
    assert (done.returncode, done.stdout) == (1, ""), done.stdout
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("kind", ["picture", "text"])
def test_golden_cases_under_watch(watched, copied, kind):
    done = checked(watched / "edge-check", copied(kind))
    assert (done.returncode, done.stderr) == (0, "")


def spoilt(content, draw):
    """Return a file with bytes changed, cut off, or taken out."""
    content = bytearray(content)
    how, at = draw.random(), draw.randrange(len(content))
    if how < 0.3:
        return content[:at]
    if how < 0.4:
        del content[at : at + draw.randrange(40)]
    for _ in range(draw.choice((1, 1, 2, 5, 20))):
        end = min(len(content), draw.choice((64, 300, len(content))))
        content[draw.randrange(end)] = draw.choice((0, 1, 128, 255, draw.randrange(256)))
    return content


def test_pictures_that_are_damaged(watched, linux_kits, tmp_path):
    """Each gives a line or a message, and no sanitizer finds anything."""
    kit, draw, given = linux_kits["picture"], random.Random(0), []
    for file in sorted((kit / "golden").iterdir()):
        if file.suffix not in (".png", ".jpg", ".gif"):
            continue
        for number in range(100):
            given.append(tmp_path / f"{number}-{file.name}")
            given[-1].write_bytes(spoilt(file.read_bytes(), draw))
    done = called([watched / "edge-classify", "--model", kit / "model", *given])
    assert done.returncode == 1
    lines = [*done.stdout.splitlines(), *done.stderr.splitlines()]
    assert len(lines) == len(given) > 1000
    for line in lines:
        assert line.startswith(str(tmp_path)), line


def test_lists_that_are_damaged(watched, linux_kits, tmp_path):
    """Whatever is in them, the check ends by itself."""
    draw = random.Random(0)
    for kind, names in {
        "picture": ("model/model.tsv", "golden/golden.tsv", "model/labels.txt"),
        "text": ("model/model.tsv", "model/characters.tsv", "model/vocabulary.txt"),
    }.items():
        for number, name in enumerate(names * 10):
            kit = Path(shutil.copytree(linux_kits[kind], tmp_path / f"{kind}-{number}"))
            (kit / name).write_bytes(spoilt((kit / name).read_bytes(), draw))
            done = checked(watched / "edge-check", kit)
            assert done.returncode in (0, 1), done.stderr
            assert "Sanitizer" not in done.stderr
            shutil.rmtree(kit)


@pytest.fixture(scope="module")
def letters(tmp_path_factory):
    """A tokenizer that has a token of every letter in the strings, so that each makes an id."""
    folder = tmp_path_factory.mktemp("letters")
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    normalise = normalizers.BertNormalizer().normalize_str
    seen = sorted({letter for text in strings() for letter in normalise(text)} | set("abc"))
    tokens = [*special, *seen, *(f"##{each}" for each in seen)]
    vocabulary = {token: number for number, token in enumerate(dict.fromkeys(tokens))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(special)
    ends = [(name, vocabulary[name]) for name in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", None, ends)
    tokenizer.enable_truncation(64)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = write_wordpiece(folder / "tokenizer.json", 64, folder)
    lines = [f"{name}\t{value}\n" for name, value in {"contract": "1", **settings}.items()]
    (folder / "model.tsv").write_text("".join(lines), encoding="utf-8")
    return SimpleNamespace(folder=folder, tokenizer=tokenizer)


@pytest.fixture(scope="module")
def tokens(watched, linux_kits, tmp_path_factory):
    """Return code points and ids of texts, as the C++ makes them of their bytes."""
    program = tmp_path_factory.mktemp("tokens") / "tokens"
    words = ["g++", *WATCHED.split(), "-std=c++17", "-o", program]
    words += [Path(__file__).parent / "cpp" / "tokens.cpp", "-I", linux_kits["text"] / "cpp"]
    done = called([*words, watched / "libedge_model.a"])
    assert done.returncode == 0, done.stderr

    def run(folder, texts):
        lines = "".join(text.hex() + "\n" for text in texts)
        done = called([program, folder], input=lines)
        assert done.returncode == 0, done.stderr
        rows = [line.split("\t") for line in done.stdout.splitlines()]
        return [
            ([int(c, 16) for c in codes.split()], [*map(int, ids.split())]) for codes, ids in rows
        ]

    return run


def test_the_port_of_the_tokenizer(tokens, letters, linux_kits, text_bundle):
    """Of a bundle, and of one whose every letter is a token: what is made of a letter shows."""
    texts = [*strings()]
    encoded = [text.encode() for text in texts]
    other = Tokenizer.from_file(str(text_bundle / "tokenizer.json"))
    other.no_padding()
    folder = linux_kits["text"] / "model"
    other.enable_truncation(int(read_settings(folder)["longest"]))
    for tokenizer, place in ((letters.tokenizer, letters.folder), (other, folder)):
        found = tokens(place, encoded)
        right = [each.ids for each in tokenizer.encode_batch(texts)]
        rows = zip(texts, found, right, strict=True)
        assert [text for text, (_, ids), wanted in rows if ids != wanted] == []
    assert len(texts) > 11_000
    assert [[*map(ord, text)] for text in texts] == [codes for codes, _ in found]


def test_malformed_bytes_become_what_python_makes_of_them(tokens, linux_kits):
    draw = random.Random(0)
    leads = (*range(0x20, 0x80, 16), 0x80, 0xBF, 0xC0, 0xC1, 0xC2, 0xDF, 0xE0, 0xE4, 0xED, 0xEF)
    odd = (*leads, 0xF0, 0xF1, 0xF4, 0xF5, 0xFF, 0x8F, 0x90, 0x9F, 0xA0)
    texts = [bytes(draw.choices(odd, k=draw.randint(0, 12))) for _ in range(11_000)]
    found = tokens(linux_kits["text"] / "model", texts)
    wanted = [[*map(ord, text.decode("utf-8", "replace"))] for text in texts]
    rows = zip(texts, found, wanted, strict=True)
    assert [text for text, (codes, _), right in rows if codes != right] == []


def test_every_label_is_in_the_kit(linux_kits):
    assert sorted(lines_of(linux_kits["text"] / "model" / "labels.txt")) == sorted(LABELS)
