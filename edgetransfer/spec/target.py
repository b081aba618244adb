"""What is known of a device or of a processor that is emulated here: runtime, numbers, files."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from edgetransfer.spec.base import Name, Spec

IntType = Literal["u8", "s8"]


RUNTIMES = {"onnxruntime", "onnxruntime-web", "openvino", "tensorrt"}
"""What a target may run; `bundle.agent_archive.add_runtime` adds to them."""


def _known(name: str) -> str:
    if name not in RUNTIMES:
        raise ValueError(f"no such runtime, expected one of {', '.join(sorted(RUNTIMES))}")
    return name


RuntimeName = Annotated[str, AfterValidator(_known)]


class Runtime(Spec):
    """The runtime on the device and the newest files it reads."""

    name: RuntimeName = "onnxruntime"
    provider: str = "CPUExecutionProvider"
    package: str = Field("onnxruntime", description="what brings it to a device's Python")
    install: str = Field("", description="what brings it there; default: pip, by `package`")
    update: str = Field("", description="what brings a newer one, where `install` does not")
    min_version: str = Field(description="oldest release the artefact is made for")
    opset: int = Field(20, ge=18, le=20, description="ONNX operator set of the artefact")
    ir_version: int = Field(10, ge=8, le=10, description="ONNX file format; boards lag, so <= 10")

    @property
    def builds_engines(self) -> bool:
        """Whether it makes an engine of a network, which takes prepared tensors alone."""
        return self.name == "tensorrt"

    @staticmethod
    def of_any_machine() -> Runtime:
        """Return what every machine has that builds: a preview runs there."""
        return Runtime(min_version="1.19.2")


class Isa(Spec):
    """Which machines belong to the target, by architecture and instruction-set flags."""

    arch: Literal["x86_64", "arm64"]
    any_of: tuple[str, ...] = Field((), description="at least one of these flags is present")
    all_of: tuple[str, ...] = Field((), description="all of these flags are present")
    none_of: tuple[str, ...] = Field((), description="none of these flags is present")

    def matches(self, arch: str, flags: frozenset[str]) -> bool:
        """Tell whether a machine with `flags` belongs to the target.

        >>> Isa(arch="x86_64", any_of=("avx_vnni",)).matches("x86_64", frozenset({"avx_vnni"}))
        True
        """
        return (
            arch == self.arch
            and (not self.any_of or not flags.isdisjoint(self.any_of))
            and flags.issuperset(self.all_of)
            and flags.isdisjoint(self.none_of)
        )


class Int8Scheme(Spec):
    """How 8-bit numbers are laid out where the target's kernels are fast and exact."""

    activation: IntType = "u8"
    weight: IntType = Field("s8", description="u8: the same numbers, moved up by 128")
    per_channel: bool = True
    symmetric_activation: bool = False
    quantised_bias: bool = Field(True, description="false where the runtime adds biases in float")
    floats: Literal["fp32", "fp16"] = Field("fp32", description="what is not quantised is in")
    own_operators: bool = Field(
        True, description="whether ONNX Runtime's own operators may stand in the graph"
    )


_SETTING = re.compile(
    r"session\.(x64quantprecision|qdqisint8allowed|set_denormal_as_zero|disable_prepacking"
    r"|disable_quant_qdq|disable_double_qdq_remover|enable_quant_qdq_cleanup|dynamic_block_base"
    r"|qdq_matmulnbits_accuracy_level|enable_dq_matmulnbits_fusion|force_spinning_stop"
    r"|disable_aot_function_inlining|strict_shape_type_inference|disable_cpu_ep_fallback"
    r"|use_env_allocators|use_device_allocator_for_initializers|intra_op\.allow_spinning)"
    r"|optimization\.(enable_\w+|disable_specified_optimizers)|mlas\.\w+|tensorrt\.\w+"
)
"""What steers how a graph is computed. Other entries of ONNX Runtime name files, folders or
libraries: they are for whoever owns the process, not for who made a target or a bundle."""


def _setting(key: str) -> str:
    if not _SETTING.fullmatch(key):
        raise ValueError("not a setting of how a graph is computed, and no other is taken")
    return key


Setting = Annotated[str, AfterValidator(_setting)]


class SessionOptions(Spec):
    """How the runtime is started on the target."""

    threads: int = Field(1, ge=1, le=256)
    config: dict[Setting, str] = Field({}, description="ONNX Runtime session config entries")
    why: str = Field("", description="what goes wrong without these entries, in a few words")


class PreviewOptions(Spec):
    """Which emulated processor stands for the target's numbers before there is a device."""

    on: str = Field(
        "",
        pattern=r"^(qemu:[A-Za-z0-9_][A-Za-z0-9_-]*|browser(:webgpu)?)?$",
        description="what `bench --on` takes; empty: nothing here stands for it",
    )
    any_flags: bool = Field(
        False, description="every processor of the architecture computes the same integers"
    )


class Device(Spec):
    """By what the target's device is known, beside its instructions; see `measure.target_match`."""

    os: tuple[Literal["linux", "android", "ios", "macos", "windows", "browser"], ...] = Field(
        ("linux", "macos", "windows"), description="systems that count"
    )
    board: tuple[str, ...] = Field(
        (),
        description="one of these stands in what it calls itself (device tree, DMI); first: "
        "for people",
    )
    gpu: tuple[str, ...] = Field((), description="one of these stands in the name of its GPU")
    compute_capability: tuple[str, ...] = Field((), description="of its GPU, one of these")


class Provenance(Spec):
    """Where the numbers of a target file come from."""

    status: Literal["declared", "measured"]
    source: str
    date: str


class TargetSpec(Spec):
    """One device or class of devices."""

    name: Name
    title: str
    extends: str | None = Field(
        None, description="target whose fields are taken over; a path is seen from this file"
    )
    detect: bool = Field(False, description="stands for the class that the machine belongs to")
    device_class: bool = Field(False, description="an instruction-set class that can be detected")
    runtime: Runtime | None = None
    isa: Isa | None = None
    precision: Literal["w8a8", "fp16", "fp32"] = Field("w8a8", description="what `auto` takes")
    largest_download_mib: float = Field(
        0.0,
        ge=0,
        description="floats above it give way to 8 bits that hold the budget; 0: never",
    )
    int8: Int8Scheme = Int8Scheme()
    schemes: tuple[Literal["u8s8", "u8u8", "fp32"], ...] = Field(
        (), description="what `auto` holds side by side; none: what it takes, and floats if need be"
    )
    session: SessionOptions = SessionOptions()
    device: Device = Device()
    preview: PreviewOptions = PreviewOptions()
    export_only: bool = Field(
        False, description="files are made for it; no transport of ours measures there"
    )
    static_shapes: bool = Field(
        False, description="the shipped network takes one picture at a time, of one size"
    )
    rules: tuple[str, ...] = Field((), description="what else holds there, in words")
    reached: str = Field("ssh:HOST", description="what `bench --on` takes for a device of the kind")
    instead: str = Field(
        "", description="how to verify where no transport runs the target's own runtime, in words"
    )
    evidence: Provenance


Program = Literal["qemu-aarch64", "qemu-arm", "qemu-riscv64", "qemu-x86_64"]
"""What a file may have started here, found on the path or taken from Debian's own package."""
Word = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.+-]*$")]
"""What is handed to apt or pip: never an option."""
Pin = Annotated[str, Field(pattern=r"^[a-z0-9_-]+==[0-9][0-9a-z.]*$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Folder = Annotated[str, Field(pattern=r"^(\w[\w.+-]*/)*\w[\w.+-]*$")]
"""Below the guest's root."""


class Emulator(Spec):
    """The program that runs the guest's instructions, one of QEMU's user-mode emulators."""

    program: Program = Field(description="its name: qemu- and what QEMU calls the architecture")
    cpu: str = Field(pattern=r"^\w[\w.,=+-]*$", description="which processor it is told to be")
    min_version: int = Field(ge=1, description="oldest major version that will do")
    suite: Word = Field(description="Debian suite it is taken from where the system has none")


class Sysroot(Spec):
    """The guest's files: packages of a Debian suite, and wheels over them."""

    architecture: Word = Field(description="as Debian calls it")
    suite: Word
    packages: tuple[Word, ...] = Field(min_length=1)
    python: str = Field(pattern=r"^3\.\d{1,2}$", description="its Python: 3.11")
    wheel_platforms: tuple[Word, ...] = Field(
        (), description="of the runtime's wheels; none where Debian packages the runtime"
    )
    wheels: dict[Pin, Sha256] = Field(
        {},
        description="SHA-256 of the wheels of a version; others are taken as pip's index has them",
    )
    library_folders: tuple[Folder, ...] = Field(
        (), description="of libraries that Debian's alternatives would link"
    )


class EmulatedProcessor(Spec):
    """One emulated processor: ``qemu:NAME``."""

    name: Name
    title: str
    arch: str = Field(description="as the agent calls it")
    emulator: Emulator
    sysroot: Sysroot | None = Field(None, description="None: this machine's own Python runs")
    evidence: Provenance
