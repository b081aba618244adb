"""Files have one name by what is in them, and are asked for once."""

import hashlib

from edgetransfer.transport.ssh.jobs import Staging


def test_names_are_digests_and_endings(tmp_path):
    (tmp_path / "a.onnx").write_bytes(b"model")
    (tmp_path / "b.onnx").write_bytes(b"model")
    staging = Staging("/there")
    name = hashlib.sha256(b"model").hexdigest() + ".onnx"
    assert staging.put(str(tmp_path / "a.onnx")) == f"/there/{name}"
    assert staging.put(str(tmp_path / "b.onnx")) == f"/there/{name}"
    assert [(each.name, each.size) for each in staging.wanted()] == [(name, 5)]


def test_what_is_there_is_not_asked_for_again_until_it_changes(tmp_path):
    file = tmp_path / "x.npy"
    file.write_bytes(b"one")
    staging = Staging("/there")
    first = staging.put(str(file))
    staging.settle({each.name for each in staging.wanted()})
    assert staging.put(str(file)) == first
    assert staging.wanted() == ()
    file.write_bytes(b"another")
    assert staging.put(str(file)) != first
    assert [each.size for each in staging.wanted()] == [7]
