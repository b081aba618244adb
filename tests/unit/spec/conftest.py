"""A project folder of the user's own, as the working directory."""

import pytest


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Write targets into ``./targets`` of an empty working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "targets").mkdir()

    def write(name, content):
        file = tmp_path / "targets" / f"{name}.toml"
        file.write_text(content, encoding="utf-8")
        return file

    return write
