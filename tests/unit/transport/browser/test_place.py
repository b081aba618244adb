"""What can be asked of browsers, and what is said where it cannot be had."""

import socket
import sys
import types

import pytest

from edgetransfer.errors import SpecError, StageError, UnsupportedError
from edgetransfer.transport.browser import place as browser
from edgetransfer.transport.browser import place as chromium
from edgetransfer.transport.browser import runtime as browser_runtime
from edgetransfer.transport.browser.exchange import Exchange, PageTimeouts
from edgetransfer.transport.browser.place import BrowserAddress
from edgetransfer.transport.job import Job


@pytest.mark.parametrize(
    ("address", "asked"),
    [
        ("", BrowserAddress("wasm", None)),
        ("wasm", BrowserAddress("wasm", None)),
        ("webgpu", BrowserAddress("webgpu", None)),
        ("listen:10.0.0.2", BrowserAddress("wasm", ("10.0.0.2", 0))),
        ("listen:10.0.0.2:8000", BrowserAddress("wasm", ("10.0.0.2", 8000))),
        ("webgpu:listen:127.0.0.1:8000", BrowserAddress("webgpu", ("127.0.0.1", 8000))),
    ],
)
def test_what_stands_behind_the_word(address, asked):
    assert BrowserAddress.read(address) == asked


def test_without_an_address_it_is_this_machines_own(monkeypatch):
    monkeypatch.setattr(browser, "own_address", lambda: "192.168.1.7")
    assert BrowserAddress.read("listen").listen == ("192.168.1.7", 0)


@pytest.mark.parametrize(
    "address", ["safari", "listen:a:b", "listen:1.2.3.4:80:more", "webgpu:fast"]
)
def test_what_is_no_browser(address):
    with pytest.raises(SpecError) as caught:
        BrowserAddress.read(address)
    assert str(caught.value) == (
        "--on: no such browser\n"
        f"  found: browser:{address}\n"
        "  expected: browser, browser:webgpu, browser:listen or browser:listen:ADDRESS:PORT"
    )


@pytest.fixture
def runtime(monkeypatch):
    monkeypatch.setattr(browser_runtime, "prepared", lambda engine: {})


def test_without_chromium(runtime, monkeypatch):
    monkeypatch.setattr(chromium, "PROGRAMS", ("absent-browser", "/absent"))
    with pytest.raises(UnsupportedError) as caught, browser.connect("", None):
        pass
    assert str(caught.value) == (
        "--on browser: no Chromium on this machine\n"
        "  expected: absent-browser\n"
        "  fix: apt-get install -y --no-install-recommends chromium, or --on browser:listen"
    )


def test_an_address_that_is_taken(runtime):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(StageError) as caught, browser.connect(f"listen:127.0.0.1:{port}", None):
            pass
    assert str(caught.value) == (
        f"--on browser:listen:127.0.0.1:{port}: cannot listen on this address\n"
        "  found: Address already in use\n"
        "  expected: an address of this machine and a port that is free, or no port"
    )


def test_nobody_opens_the_address():
    place = browser.Browser(
        "browser:listen", "wasm", Exchange(), None, patience=PageTimeouts(opened_s=0)
    )
    with pytest.raises(StageError) as caught:
        browser.await_page(place, "come nearer")
    assert str(caught.value) == (
        "browser:listen: nobody opened the address\n  found: no page within 0 s\n  fix: come nearer"
    )


def test_a_job_that_no_browser_can_do(tmp_path):
    place = browser.Browser("browser", "wasm", Exchange(), None)
    with pytest.raises(StageError) as caught:
        place.run(Job("optimise"), tmp_path)
    assert str(caught.value) == "browser: a browser cannot do the job 'optimise'"


def test_the_address_is_printed_with_and_without_a_code(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "segno", None)
    browser.invite("http://10.0.0.2:8000/token/")
    assert capsys.readouterr().err == (
        "\nOpen this on the phone or tablet to be measured:\n\n"
        "  http://10.0.0.2:8000/token/\n\n"
        "(with a QR code: pip install 'edgetransfer[browser]')\n\n"
    )
    drawn = []
    code = types.SimpleNamespace(terminal=lambda out, compact: drawn.append((out, compact)))
    made = types.SimpleNamespace(make=lambda url, micro: code)
    monkeypatch.setitem(sys.modules, "segno", made)
    browser.invite("http://10.0.0.2:8000/token/")
    assert "pip install" not in capsys.readouterr().err
    assert drawn == [(sys.stderr, True)]
