"""The doctor says what a machine has and what mends it, and changes nothing."""

import json

import pytest

from edgetransfer.errors import SpecError
from edgetransfer.pipeline import doctor
from edgetransfer.pipeline.doctor import Finding
from edgetransfer.pipeline.stage.reporter import SilentReporter
from edgetransfer.spec import catalogue

X86 = {
    "arch": "x86_64",
    "isa": ["avx2"],
    "os_family": "linux",
    "runtime": "onnxruntime 1.32.0",
    "providers": ["CPUExecutionProvider"],
}
TAKES = {"ir_version": 14, "opset": 28, "free_memory_mib": 4000, "free_disk_mib": 4000}


def row(name, environment, capabilities=TAKES, prepared=()):
    found = doctor.row_of(catalogue.target(name), environment, capabilities, frozenset(prepared))
    return found.state, [(each.what, each.fix) for each in found.findings]


def test_a_machine_of_the_class_is_ready():
    assert row("x86-avx2", X86) == ("ready", [])
    assert row("this-machine", X86) == ("ready", [])


def test_a_server_with_a_boards_instructions_is_not_the_board():
    """A1: `doctor` called a Graviton ready for a Raspberry Pi."""
    arm = {**X86, "arch": "arm64", "isa": ["asimd", "asimddp"], "identity": ["Amazon EC2"]}
    assert row("arm64-dotprod", arm) == ("ready", [])
    assert row("raspberry-pi-5", arm)[0] == "another device"
    pi = {**arm, "identity": ["Raspberry Pi 5 Model B Rev 1.0"]}
    assert row("raspberry-pi-5", pi) == ("ready", [])


def test_another_machine_is_pointed_to_an_emulated_one():
    unprepared = ("qemu:arm64 is not prepared", "edgetransfer doctor --prepare qemu:arm64")
    assert row("raspberry-pi-5", X86) == ("another device", [unprepared])
    ready = ("numbers on qemu:arm64", "edgetransfer bench BUNDLE --on qemu:arm64")
    assert row("raspberry-pi-5", X86, prepared=["qemu:arm64"]) == ("another device", [ready])
    assert row("x86-vnni", X86) == ("another device", [])
    assert row("ios-coreml", X86) == ("export only", [])


@pytest.mark.parametrize(
    ("change", "takes", "what"),
    [
        ({"runtime": "onnxruntime 1.9.2"}, TAKES, "onnxruntime 1.9.2 there, older than 1.19.2"),
        ({}, {**TAKES, "ir_version": 9}, "takes files up to IR version 9, not 10"),
        ({}, {**TAKES, "opset": 19}, "takes operators up to set 19, not 20"),
        ({"providers": []}, TAKES, "no CPUExecutionProvider there"),
    ],
)
def test_a_runtime_that_is_too_old(change, takes, what):
    fix = "python3 -m pip install 'onnxruntime>=1.19.2'"
    assert row("x86-avx2", {**X86, **change}, takes) == ("lacks", [(what, fix)])


@pytest.mark.parametrize(
    ("version", "state", "findings"),
    [
        ("10.13.2", "ready", []),
        (None, "ready", []),
        (
            "10.3.0",
            "lacks",
            [
                (
                    "tensorrt 10.3.0 there, older than 10.12",
                    "python3 -m pip install --upgrade tensorrt",
                )
            ],
        ),
    ],
)
def test_a_runtime_beside_onnxruntime(version, state, findings):
    there = {**X86, "other_runtimes": {"TensorRT": version}}
    assert row("nvidia-rtx", there, TAKES) == (state, findings)


@pytest.mark.parametrize(
    ("target", "version", "finding"),
    [
        ("jetson-orin-nano", "10.3.0.30", None),
        ("jetson-thor", "10.13.3", None),
        (
            "jetson-orin-jetpack7",
            "10.13.3",
            ("tensorrt 10.13.3 there, older than 11.4.1", "update JetPack: TensorRT comes with it"),
        ),
        (
            "jetson-thor",
            "absent",
            ("no TensorRT there", "sudo apt-get install python3-libnvinfer"),
        ),
    ],
)
def test_advice_is_right_for_each_jetpack(target, version, finding):
    """F: what JetPack ships is taken, and no wheel for PCs is advised on a Jetson."""
    others = {} if version == "absent" else {"TensorRT": version}
    board = {
        **X86,
        "other_runtimes": others,
        "arch": "arm64",
        "isa": ["asimd", "asimddp", "fphp", "asimdhp"],
    }
    board["identity"] = [*catalogue.target(target).device.board]
    wanted = ("ready", []) if finding is None else ("lacks", [finding])
    assert row(target, board, TAKES) == wanted


def test_what_disturbs_comes_with_the_command_that_mends_it():
    found = doctor.findings_of(
        {
            "import": {"loads": False, "why": "import onnxruntime was killed by SIGSEGV"},
            "warnings": ["frequency governor is powersave, not performance", "strange"],
            "conditions": {"temperatures_c": {"cpu": 81.2, "board": 40.0}},
        },
        {**TAKES, "free_disk_mib": 100},
    )
    governors = "/sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"
    assert found == (
        Finding(
            "import onnxruntime was killed by SIGSEGV", "python3 -m pip install onnxruntime numpy"
        ),
        Finding(
            "frequency governor is powersave, not performance",
            f"echo performance | sudo tee {governors}",
        ),
        Finding("strange", None),
        Finding("cpu tells 81 °C: let it cool", None),
        Finding("only 100 MiB of disk are free", None),
    )


def test_nothing_disturbs_an_emulated_processor():
    assert doctor.findings_of({"emulator": "qemu-test", "warnings": ["load"]}, TAKES) == ()


def test_what_needs_no_preparing_is_refused(tmp_path):
    with pytest.raises(SpecError) as caught:
        doctor.prepare(["ssh:pi"], tmp_path, SilentReporter())
    assert str(caught.value) == (
        "--prepare: nothing has to be prepared there\n"
        "  found: 'ssh:pi'\n"
        "  expected: browser, qemu:arm64, qemu:armhf, qemu:riscv64, qemu:x86-avx2"
    )


def test_this_machine_is_looked_at(command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = command("doctor", "--target", "this-machine")
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80
    for heading in ("local", "Targets", "Emulated processors, for numbers only"):
        assert f"\n{heading}\n" in out
    assert "(tried)" in out
    code, out, _ = command("doctor", "--json", "--target", "this-machine")
    told = json.loads(out)
    assert code == 0
    assert [each["name"] for each in told["targets"]] == ["this-machine"]
    assert told["capabilities"]["opset"] >= 20
    assert {each["where"] for each in told["previews"]} >= {"qemu:arm64", "qemu:x86-avx2"}


def test_a_target_that_lacks_something_ends_with_its_exit_code(command):
    code, out, _ = command("doctor", "--target", "openvino-cpu", "--json")
    row = json.loads(out)["targets"][0]
    assert code == (6 if row["state"] == "lacks" else 0)
    assert row["state"] in ("lacks", "another device", "ready")


def test_a_target_that_is_not_there(command):
    code, _, error = command("doctor", "--target", "toaster")
    assert code == 3
    assert error.startswith("error: no target is called 'toaster'\n")
