"""A1: every shipped target against a dozen machines; what is not the target never counts as it."""

from dataclasses import replace

import pytest
from pydantic import ValidationError

from edgetransfer.agent.runtimes import CPU, version_of
from edgetransfer.measure.gates import Gate
from edgetransfer.measure.target_match import OF_THE_DEVICE, as_preview, stand
from edgetransfer.measure.verdict import CLAIMS
from edgetransfer.spec import catalogue
from edgetransfer.spec.target import Runtime
from edgetransfer.tasks.classification.task import TASK

ARM = ["asimd", "asimddp", "asimdhp"]
VNNI = ["avx", "avx2", "fma", "avx512f", "avx512_vnni"]
PI_5 = ["Raspberry Pi 5 Model B Rev 1.0", "raspberrypi,5-model-b", "brcm,bcm2712"]
PI_4 = ["Raspberry Pi 4 Model B Rev 1.4", "raspberrypi,4-model-b", "brcm,bcm2711"]
NANO = [
    "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super",
    "nvidia,p3768-0000+p3767-0005-super",
    "nvidia,p3767-0005",
    "nvidia,tegra234",
]


def linux(arch, isa, identity=(), **more):
    return {
        "arch": arch,
        "isa": isa,
        "os": "Linux 6.6",
        "os_family": "linux",
        "identity": list(identity),
        "runtime": "onnxruntime 1.32.0",
        "providers": ["AzureExecutionProvider", CPU],
        "other_runtimes": {},
        "emulator": None,
        **more,
    }


def page(system, engine="wasm", **more):
    return {
        "arch": "wasm32" if engine == "wasm" else engine,
        "isa": ["wasm_simd"],
        "os": system,
        "os_family": "browser",
        "runtime": f"onnxruntime-web 1.30.0, {engine}",
        "providers": [engine],
        **more,
    }


def jetson(identity, capability, runtime="tensorrt 10.13.3"):
    told = linux("arm64", ARM, identity, other_runtimes={"TensorRT": None})
    return told, {
        "provider": "TensorRT",
        "runtime": runtime,
        "gpu": "Orin",
        "compute_capability": capability,
    }


AT_HOME = {"provider": CPU}
MACHINES = {
    "Xeon": (linux("x86_64", VNNI, ["Dell Inc. PowerEdge R650"]), AT_HOME),
    "Haswell": (linux("x86_64", ["avx", "avx2", "fma"]), AT_HOME),
    "Xeon with OpenVINO": (
        linux("x86_64", VNNI, other_runtimes={"OpenVINO": "2026.4.1"}),
        {"runtime": "openvino 2026.4.1", "provider": "OpenVINO"},
    ),
    "Xeon with a GeForce": (
        linux("x86_64", VNNI, other_runtimes={"TensorRT": "10.13.3", "TensorRT-RTX": "1.7.0"}),
        {
            "provider": "TensorRT",
            "runtime": "tensorrt 10.13.3",
            "gpu": "NVIDIA GeForce RTX 4070",
            "compute_capability": "8.9",
        },
    ),
    "Graviton 3": (
        linux("arm64", [*ARM, "i8mm"], ["Amazon EC2 c7g.large", "Not Specified"]),
        AT_HOME,
    ),
    "Graviton 2": (linux("arm64", ARM, ["Amazon EC2 c6g.large"]), AT_HOME),
    "Pi 5": (linux("arm64", ARM, PI_5), AT_HOME),
    "Pi 5 in a container": (linux("arm64", ARM), AT_HOME),
    "Pi 500": (linux("arm64", ARM, ["Raspberry Pi 500 Rev 1.0"]), AT_HOME),
    "Pi 4": (linux("arm64", ["asimd"], PI_4), AT_HOME),
    "Pi 5, 32 bits": (linux("armhf", [], PI_5), AT_HOME),
    "Rock 5B": (linux("arm64", ARM, ["Radxa ROCK 5B", "rockchip,rk3588"]), AT_HOME),
    "Orion O6": (linux("arm64", [*ARM, "i8mm"], ["Radxa Orion O6"]), AT_HOME),
    "Orin Nano": jetson(NANO, "8.7"),
    "AGX Orin": jetson(["NVIDIA Jetson AGX Orin Developer Kit", "nvidia,tegra234"], "8.7"),
    "AGX Orin, JetPack 7": jetson(
        ["NVIDIA Jetson AGX Orin Developer Kit", "nvidia,tegra234"], "8.7", "tensorrt 11.4.1"
    ),
    "Thor": jetson(
        ["NVIDIA Jetson AGX Thor Developer Kit", "nvidia,tegra264"], "11.0", "tensorrt 11.4.1"
    ),
    "Mac": (
        linux("arm64", [*ARM, "i8mm"], ["Mac14,2"], os="Darwin 23.1", os_family="macos"),
        AT_HOME,
    ),
    "phone, Termux": (
        linux("arm64", [*ARM, "i8mm"], ["Google Pixel 8"], os_family="android"),
        AT_HOME,
    ),
    "desktop's browser": (page("Linux 6.6"), {"provider": "wasm"}),
    "desktop's browser, WebGPU": (page("Linux 6.6", "webgpu"), {"provider": "webgpu"}),
    "phone's browser": (page("Android 16", identity=["Pixel 8"]), {"provider": "wasm"}),
    "iPhone's browser": (page("iPhone"), {"provider": "wasm"}),
    "old runtime": (linux("x86_64", VNNI, runtime="onnxruntime 1.18.1"), AT_HOME),
    "no runtime": (linux("x86_64", VNNI, runtime=None, providers=None), AT_HOME),
}
ARM_CLASSES = {"arm64-generic", "arm64-dotprod"}
IS = {
    "Xeon": {"x86-vnni"},
    "Haswell": {"x86-avx2"},
    "Xeon with OpenVINO": {"openvino-cpu"},
    "Xeon with a GeForce": {"nvidia-rtx"},
    "Graviton 3": {*ARM_CLASSES, "arm64-i8mm"},
    "Graviton 2": ARM_CLASSES,
    "Pi 5": {*ARM_CLASSES, "raspberry-pi-5"},
    "Pi 5 in a container": ARM_CLASSES,
    "Pi 500": ARM_CLASSES,
    "Pi 4": {"arm64-generic", "raspberry-pi-4"},
    "Pi 5, 32 bits": set(),
    "Rock 5B": {*ARM_CLASSES, "rk3588"},
    "Orion O6": {*ARM_CLASSES, "arm64-i8mm", "radxa-orion-o6"},
    "Orin Nano": {"jetson-orin-nano"},
    "AGX Orin": {"jetson-agx-orin"},
    "AGX Orin, JetPack 7": {"jetson-agx-orin", "jetson-orin-jetpack7"},
    "Thor": {"jetson-thor"},
    "Mac": {*ARM_CLASSES, "arm64-i8mm"},
    "phone, Termux": {*ARM_CLASSES, "arm64-i8mm", "android-cpu"},
    "desktop's browser": {"web-wasm"},
    "desktop's browser, WebGPU": {"web-webgpu"},
    "phone's browser": {"web-wasm"},
    "iPhone's browser": {"web-wasm"},
    "old runtime": set(),
    "no runtime": set(),
}
TARGETS = {
    name: catalogue.target(name) for name in catalogue.names("targets") if name != "this-machine"
}


@pytest.mark.parametrize("machine", MACHINES)
def test_a_machine_is_exactly_these_targets(machine):
    told, session = MACHINES[machine]
    found = {name: stand(target, told, session) for name, target in TARGETS.items()}
    assert {name for name, each in found.items() if each.is_target} == IS[machine]
    for name, each in found.items():
        assert (each.kind == "preview") == bool(each.why) == (name not in IS[machine])


@pytest.mark.parametrize(
    ("target", "machine", "why"),
    [
        ("raspberry-pi-5", "Xeon", "measured on x86_64, the target is arm64"),
        (
            "raspberry-pi-5",
            "Graviton 2",
            "measured on Amazon EC2 c6g.large, the target is Raspberry Pi 5",
        ),
        (
            "raspberry-pi-5",
            "Pi 5 in a container",
            "what board this is was not seen (it shows neither a device tree nor DMI), the target "
            "is Raspberry Pi 5",
        ),
        (
            "raspberry-pi-5",
            "Pi 500",
            "measured on Raspberry Pi 500 Rev 1.0, the target is Raspberry Pi 5",
        ),
        (
            "raspberry-pi-5",
            "Pi 4",
            "measured on arm64 without asimddp, which the target has",
        ),
        ("raspberry-pi-4", "Pi 5, 32 bits", "measured on armhf, the target is arm64"),
        (
            "android-cpu",
            "desktop's browser",
            "measured in a browser on Linux 6.6, the target runs onnxruntime on Android",
        ),
        (
            "android-cpu",
            "phone's browser",
            "measured in a browser on Android 16, the target runs onnxruntime on Android",
        ),
        ("android-cpu", "Graviton 2", "measured on Linux, the target is Android"),
        ("ios-coreml", "Xeon", "measured on Linux x86_64, the target is iOS arm64"),
        ("ios-cpu", "Mac", "measured on macOS, the target is iOS"),
        (
            "android-qnn",
            "phone, Termux",
            "the sessions ran on CPUExecutionProvider, the target's run on QNNExecutionProvider",
        ),
        ("web-wasm", "Xeon", "measured on Linux, the target is a browser"),
        (
            "web-webgpu",
            "desktop's browser",
            "the sessions ran on wasm, the target's run on webgpu",
        ),
        (
            "x86-vnni",
            "Haswell",
            "measured on x86_64 without avx512_vnni or avx_vnni, one of which the target has",
        ),
        ("x86-avx2", "Xeon", "measured on x86_64 with avx512_vnni, which the target has not"),
        (
            "x86-vnni",
            "old runtime",
            "measured with onnxruntime 1.18.1, the target runs 1.19.2 or newer",
        ),
        ("x86-vnni", "no runtime", "measured with no runtime, the target runs onnxruntime"),
        (
            "openvino-cpu",
            "Xeon",
            "measured with onnxruntime, the target runs openvino",
        ),
        (
            "nvidia-rtx",
            "Xeon",
            "measured with onnxruntime, the target runs tensorrt",
        ),
        (
            "jetson-agx-orin",
            "Orin Nano",
            "measured on NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super, the "
            "target is Jetson AGX Orin",
        ),
        (
            "jetson-orin-jetpack7",
            "AGX Orin",
            "measured with tensorrt 10.13.3, the target runs 11.4.1 or newer",
        ),
        (
            "nvidia-rtx-jit",
            "Xeon with a GeForce",
            "the sessions ran on TensorRT, the target's run on TensorRT-RTX",
        ),
    ],
)
def test_why_a_place_is_not_the_target_is_told(target, machine, why):
    assert stand(TARGETS[target], *MACHINES[machine]).why == (why,)


def test_what_a_session_alone_can_tell_is_left_open_before_there_is_one():
    told, session = jetson(NANO, "8.6")
    target = TARGETS["jetson-orin-nano"]
    assert stand(target, told).is_target
    assert stand(target, told, session).why == (
        "measured on a GPU of compute capability 8.6, the target has 8.7",
    )
    xeon, _ = MACHINES["Xeon with a GeForce"]
    assert stand(TARGETS["nvidia-rtx"], xeon).is_target
    old = {**xeon, "other_runtimes": {"TensorRT": "10.3.0"}}
    least = TARGETS["nvidia-rtx"].runtime.min_version
    assert (stand(TARGETS["nvidia-rtx"], old).why == ()) == (
        version_of("10.3.0") >= version_of(least)
    )
    assert stand(TARGETS["openvino-cpu"], MACHINES["Xeon"][0]).why == (
        "measured with onnxruntime, the target runs openvino",
    )


@pytest.mark.parametrize(
    ("session", "why"),
    [
        ({}, "which execution provider ran was not told, the target's is {}"),
        ({"provider": "{}", "nodes": {CPU: 31}}, f"no operator ran on {{}}, all on {CPU}"),
        ({"provider": CPU}, f"the sessions ran on {CPU}, the target's run on {{}}"),
    ],
)  # fmt: skip
def test_a_provider_that_fell_back_is_not_the_target(session, why):
    provider = "OpenVINOExecutionProvider"
    told = {key: value.format(provider) if key == "provider" else value
            for key, value in session.items()}  # fmt: skip
    runtime = Runtime(provider=provider, min_version="1.19.2")
    target = TARGETS["x86-vnni"].model_copy(update={"runtime": runtime})
    machine = linux("x86_64", VNNI, providers=[provider, CPU])
    assert stand(target, machine, told).why == (why.format(provider),)


def test_a_runtime_that_is_no_plug_in_is_no_target():
    with pytest.raises(ValidationError, match="no such runtime, expected one of onnxruntime, "):
        Runtime(name="tensorflow", min_version="1")


EMULATED_ARM = linux("arm64", ARM, emulator="qemu-aarch64 10.0")


@pytest.mark.parametrize(
    ("target", "told", "kind", "why"),
    [
        ("raspberry-pi-5", EMULATED_ARM, "numbers", ()),
        ("radxa-orion-o6", EMULATED_ARM, "numbers", ()),
        ("android-cpu", EMULATED_ARM, "numbers", ()),
        ("ios-cpu", EMULATED_ARM, "numbers", ()),
        (
            "raspberry-pi-5",
            linux("x86_64", ["avx2"], emulator="QEMU"),
            "numbers",
            ("emulated x86_64, the target is arm64",),
        ),
        (
            "x86-vnni",
            linux("x86_64", ["avx2"], emulator="QEMU"),
            "numbers",
            ("emulated x86_64 without avx512_vnni or avx_vnni, one of which the target has",),
        ),
        (
            "ios-coreml",
            EMULATED_ARM,
            "preview",
            ("the sessions ran on CPUExecutionProvider, the target's run on "
             "CoreMLExecutionProvider",),
        ),
        (
            "web-wasm",
            EMULATED_ARM,
            "preview",
            ("measured with onnxruntime, the target runs onnxruntime-web",),
        ),
    ],
)  # fmt: skip
def test_an_emulated_processor_stands_for_numbers_never_for_times(target, told, kind, why):
    found = stand(TARGETS[target], told, AT_HOME)
    assert (found.kind, found.why, found.is_target) == (kind, why, False)


def test_webgpu_in_software_counts_for_numbers():
    told, session = MACHINES["desktop's browser, WebGPU"]
    assert stand(TARGETS["web-webgpu"], told, session, emulated=True).kind == "numbers"


def test_a_target_that_names_nothing_to_be_known_by_is_never_recognised():
    """A user's own board on a server with the same instructions: nothing says that it is one."""
    own = TARGETS["arm64-dotprod"].model_copy(update={"name": "camera", "device_class": False})
    assert stand(own, *MACHINES["Graviton 2"]).why == (
        "the target's file names nothing that its device could be known by (board under "
        "[device]); this machine calls itself Amazon EC2 c6g.large",
    )
    device = own.device.model_copy(update={"board": ("c6g.large",)})
    named = own.model_copy(update={"device": device})
    assert stand(named, *MACHINES["Graviton 2"]).is_target


def test_the_machine_that_builds_is_any_of_its_class():
    target = catalogue.resolve("this-machine", "x86_64", frozenset(VNNI))
    assert stand(target, *MACHINES["Xeon"]).is_target
    assert not stand(target, *MACHINES["Haswell"]).is_target
    assert not stand(target, *MACHINES["Graviton 2"]).is_target


def test_what_an_agent_does_not_tell_is_not_taken_for_granted():
    for name, target in TARGETS.items():
        assert stand(target, {}, {}).kind == "preview", name


def test_no_gate_that_speaks_of_the_device_passes_in_a_preview():
    names = sorted(OF_THE_DEVICE | CLAIMS | TASK.claims)
    gates = [
        Gate(name, status, True, 1.0, 2.0, "", f"{name}: 1 of 2")
        for name in names
        for status in ("PASS", "FAIL", "INCONCLUSIVE", "NOT RUN")
    ]
    shown = as_preview(gates)
    assert not any(gate.decides for gate in shown)
    assert not [g.name for g in shown if g.name in OF_THE_DEVICE and g.status == "PASS"]
    assert [g.status for g in shown if g.name == "latency"] == ["NOT RUN", "FAIL"] + 2 * ["NOT RUN"]
    assert next(g.status for g in shown if g.name == "accuracy") == "PASS"
    told = replace(gates[0], name="residency", status="PASS", message="residency: 52 of 52 Conv")
    assert as_preview([told])[0].message == (
        "residency: not run on the target; on the machine of the preview: 52 of 52 Conv"
    )
