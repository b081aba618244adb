"""Models for kits to fetch: a folder a version, and an index that is written last."""

from edgetransfer.bundle.files import digest_of
from edgetransfer.bundle.opened import open_bundle
from edgetransfer.kits.files.linux.edge_model import lines_of, read_settings


def test_versions_and_their_digests(picture_bundle, text_bundle, command, tmp_path):
    for words in ((picture_bundle,), (text_bundle, "--version", "2026.1"), (picture_bundle,)):
        code, *said = command("push", words[0], "models", *words[1:])
        assert code == 0, said
    folder = tmp_path / "models"
    rows = [line.split("\t") for line in lines_of(folder / "index.tsv")]
    assert [row[:3] for row in rows] == [
        ["1", "1", "1"],
        ["2026.1", "1", "2026.1"],
        ["2", "1", "2"],
    ]
    for _, _, name, digest in rows:
        assert digest_of(folder / name / "files.tsv") == digest
        listed = [line.split("\t") for line in lines_of(folder / name / "files.tsv")]
        there = {p.relative_to(folder / name).as_posix() for p in (folder / name).rglob("*.*")}
        assert {each for *_, each in listed} == there - {"files.tsv"}
        for wanted, size, each in listed:
            file = folder / name / each
            assert (wanted, int(size)) == (digest_of(file), file.stat().st_size)
        assert (folder / name / "golden" / "golden.tsv").is_file()
    settings = read_settings(folder / "2")
    assert settings["sha256"] == open_bundle(picture_bundle).digest("model.onnx")
    assert {each.name for each in folder.iterdir()} == {"index.tsv", "1", "2", "2026.1"}


def test_a_version_that_apps_may_have_stays(picture_bundle, command, tmp_path):
    assert command("push", picture_bundle, "models", "--version", "1.0")[0] == 0
    before = (tmp_path / "models" / "index.tsv").read_bytes()
    code, _, err = command("push", picture_bundle, "models", "--version", "1.0")
    assert (code, err) == (
        3,
        "error: models/1.0: that version is there already: apps may have fetched it\n"
        "  fix: name another with --version\n",
    )
    assert (tmp_path / "models" / "index.tsv").read_bytes() == before


def test_what_is_no_version(picture_bundle, command, tmp_path):
    for version in ("../up", "", ".hidden", "a b"):
        code, _, err = command("push", picture_bundle, "models", "--version", version)
        assert code == (3 if version else 0)
        assert not version or err.startswith("error: --version: not a version\n")
    assert [*tmp_path.iterdir()] == [tmp_path / "models"]


def test_an_index_that_is_none(picture_bundle, command, tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "index.tsv").write_text("hello\n")
    code, _, err = command("push", picture_bundle, "models")
    assert (code, err) == (
        9,
        "error: models/index.tsv line 1: not a line of the index\n  found: ['hello']\n"
        "  expected: as `edgetransfer push` wrote it\n",
    )
