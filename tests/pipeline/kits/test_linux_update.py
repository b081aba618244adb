"""A kit for Linux fetches a newer model, and keeps the one it has where anything is wrong."""

import functools
import http.server
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from edgetransfer.bundle.files import digest_of
from edgetransfer.kits.files.linux.edge_model import EdgeModel
from edgetransfer.kits.model_folder import list_files
from edgetransfer.kits.push import push
from tests.pipeline.kits.linux import no_mean


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        """Write nothing down."""


@pytest.fixture
def web(tmp_path):
    """Serve a folder of models; return it and its address."""
    folder = tmp_path / "models"
    folder.mkdir()
    handler = functools.partial(Quiet, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def kit(linux_kits, tmp_path):
    return Path(shutil.copytree(linux_kits["picture"], tmp_path / "kit"))


def run(kit, name, *words):
    return subprocess.run(
        [sys.executable, "-B", kit / name, *words],
        cwd=kit.parent, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def state(kit):
    """Return every file of the model that is in place, and its digest."""
    return {
        each.relative_to(kit).as_posix(): digest_of(each)
        for each in (kit / "model").rglob("*")
        if each.is_file()
    }


def renamed(folder, version):
    """Change the labels of a version, as another training might have."""
    (folder / version / "labels.txt").write_text("one\ntwo\nthree\n", encoding="utf-8")
    told_of(folder, version)


def told_of(folder, version):
    """List the files of a version anew, in its folder and in the index."""
    list_files(folder / version)
    digest = digest_of(folder / version / "files.tsv")
    index = folder / "index.tsv"
    rows = [line.split("\t") for line in index.read_text().splitlines()]
    rows = [[*row[:3], digest] if row[0] == version else row for row in rows]
    index.write_text("".join("\t".join(row) + "\n" for row in rows))


def test_a_newer_model_is_put_in_place_and_can_be_undone(kit, web, picture_bundle):
    folder, address = web
    before = state(kit)
    push(picture_bundle, folder)
    push(picture_bundle, folder)
    renamed(folder, "2")
    done = run(kit, "update.py", address)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "2 is in place; python update.py --back undoes it\n"
    assert set(EdgeModel(kit / "model").labels) == {"one", "two", "three"}
    assert state(kit)["model/files.tsv"] == digest_of(folder / "2" / "files.tsv")
    checked = run(kit, "check.py")
    assert (checked.returncode, checked.stderr) == (0, "")
    assert ", 0 wrong, " in checked.stdout
    again = run(kit, "update.py", address + "/")
    assert (again.returncode, again.stdout) == (0, "2 is the newest, and is here\n")
    assert run(kit, "update.py", "--back").stdout == "the model before is in place again\n"
    assert state(kit) == before
    assert run(kit, "check.py").returncode == 0
    assert run(kit, "update.py", "--back").returncode == 0
    assert set(EdgeModel(kit / "model").labels) == {"one", "two", "three"}


def test_a_model_of_another_contract_is_passed_over(kit, web, picture_bundle):
    folder, address = web
    push(picture_bundle, folder)
    with (folder / "index.tsv").open("a") as index:
        index.write("2\t2\t2\t" + "0" * 64 + "\n")
    assert run(kit, "update.py", address).stdout.startswith("1 is in place")


def _other_byte(folder):
    content = bytearray((folder / "1" / "model.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "1" / "model.onnx").write_bytes(content)


def _longer(folder):
    with (folder / "1" / "labels.txt").open("a") as file:
        file.write("four\n")


def _other_list(folder):
    with (folder / "1" / "files.tsv").open("a") as file:
        file.write("\n")


def _gone(folder):
    (folder / "1" / "golden" / "00.png").unlink()


def _fails_its_cases(folder):
    no_mean(folder / "1" / "model.onnx")
    told_of(folder, "1")


def _no_cases(folder):
    shutil.rmtree(folder / "1" / "golden")
    renamed(folder, "1")


def _no_model(folder):
    (folder / "1" / "model.onnx").write_bytes(b"no model")
    told_of(folder, "1")


def _outside(folder):
    line = "0" * 64 + "\t4\t../../../run.py\n"
    (folder / "1" / "files.tsv").write_text(line)
    digest = digest_of(folder / "1" / "files.tsv")
    (folder / "index.tsv").write_text(f"1\t1\t1\t{digest}\n")


def _folder_outside(folder):
    (folder / "index.tsv").write_text("1\t1\t../1\t" + "0" * 64 + "\n")


def _no_index(folder):
    (folder / "index.tsv").unlink()


def _empty_index(folder):
    (folder / "index.tsv").write_text("")


REFUSED = {
    _other_byte: "/1/model.onnx: the digest is ",
    _longer: "/1/labels.txt: more bytes than are listed",
    _other_list: "/1/files.tsv: the digest is ",
    _gone: "/1/golden/00.png cannot be fetched: HTTP Error 404: File not found",
    _fails_its_cases: "the new model fails its golden cases here: model 00: logits are off by ",
    _no_cases: "golden.tsv cannot be read",
    _no_model: "ONNX Runtime cannot open it",
    _outside: "/1/files.tsv: not a digest, bytes and a name: ",
    _folder_outside: "/index.tsv: no name of a version and of a folder: ",
    _no_index: "/index.tsv cannot be fetched: HTTP Error 404: File not found",
    _empty_index: "/index.tsv: no model of contract 1, which this kit reads",
}


@pytest.mark.parametrize("spoil", REFUSED)
def test_the_model_stays_where_anything_is_wrong(kit, web, picture_bundle, spoil):
    folder, address = web
    push(picture_bundle, folder)
    before = state(kit)
    spoil(folder)
    done = run(kit, "update.py", address)
    assert (done.returncode, done.stdout) == (1, "")
    first, last = done.stderr.splitlines()
    assert REFUSED[spoil] in first
    assert last == "nothing was changed"
    assert state(kit) == before
    assert not (kit / "model.new").exists()
    assert run(kit, "check.py").returncode == 0


def test_a_model_of_texts_is_none_for_a_kit_of_pictures(kit, web, text_bundle):
    folder, address = web
    push(text_bundle, folder)
    done = run(kit, "update.py", address)
    assert done.stderr.startswith("the new model takes a text, the one in place does not\n")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["file:///etc"], 1, "file:///etc is no address that begins with https:// or http://"),
        (["http://127.0.0.1:9"], 1, "http://127.0.0.1:9/index.tsv cannot be fetched: "),
        (["--back"], 1, "no model before this one is here"),
        ([], 2, "give an address, or --back"),
        (["http://127.0.0.1:9", "--back"], 2, "give an address, or --back"),
    ],
)
def test_what_cannot_be_done_is_said(kit, words, code, said):
    done = run(kit, "update.py", *words)
    assert done.returncode == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr
