"""Built-in backbones, timm folders and somebody's own ONNX files."""

import importlib.util
import json

import pytest
import torch
from safetensors.torch import load_file

from edgetransfer.backbone import sources
from edgetransfer.backbone.builtin import TINY_64, ConvNorm, MobileNetV2
from edgetransfer.errors import MissingExtraError, SpecError
from edgetransfer.spec.preprocess import ImagePreprocessing, TextPreprocessing
from scripts.pretraining.weights import initialise, silence

CONTRACT = ImagePreprocessing(exact=(8, 8))
CONTRACT_JSON = CONTRACT.model_dump_json()


def message(path, modality="image", load=sources.load, error=SpecError):
    with pytest.raises(error) as caught:
        load(sources.locate(str(path)), modality)
    return str(caught.value)


@pytest.mark.parametrize("name", sources.builtin_names())
def test_a_builtin_backbone_is_what_its_card_says(name):
    source = sources.locate(f"builtin:{name}")
    backbone = sources.load(source, "image")
    card = json.loads((source.path / "card.json").read_text())
    height, width = backbone.preprocessing.output_size
    with torch.no_grad():
        features = backbone.network(torch.zeros(2, 3, height, width))
    assert features.shape == (2, backbone.feature_dim)
    assert [height, width] == card["input_size"]
    assert backbone.licence == card["license"]
    held = sum(each.numel() for each in backbone.network.parameters())
    assert held == card["parameters"]
    assert not backbone.network.training


@pytest.mark.parametrize("name", sources.builtin_names())
def test_a_builtin_backbone_is_small_and_whole(name):
    weights = load_file(sources.WEIGHTS / name / "model.safetensors")
    assert all(torch.isfinite(each.float()).all() for each in weights.values())
    assert (sources.WEIGHTS / name / "model.safetensors").stat().st_size < 2_500_000


def test_a_builtin_backbone_takes_no_texts():
    name = f"builtin:{sources.builtin_names()[0]}"
    assert message(name, "text") == (
        f"--backbone {name}: the built-in backbone takes pictures, and the examples are texts\n"
        "  fix: give a text encoder: --backbone hf:ORG/NAME or a local folder"
    )


def test_initialising_follows_its_seed_and_silences_residual_branches():
    networks = []
    for seed in (0, 0, 1):
        network = MobileNetV2(TINY_64)
        initialise(network, torch.Generator().manual_seed(seed))
        networks.append(network.state_dict())
    names = [name for name in networks[0] if name.endswith("conv.weight")]
    assert all(torch.equal(networks[0][name], networks[1][name]) for name in names)
    assert not any(torch.equal(networks[0][name], networks[2][name]) for name in names)
    silent = [block for block in MobileNetV2(TINY_64).blocks if block.residual]
    zero = [v for name, v in networks[0].items() if name.endswith("norm.weight") and not v.any()]
    assert len(zero) == len(silent) > 0


def test_silencing_a_dead_channel_changes_nothing_but_the_size_of_its_weights():
    torch.manual_seed(0)
    layer = ConvNorm((4, 8), kernel=3, groups=4).eval()
    layer.norm.running_var[:] = torch.tensor([1.0, 1.0, 1e-9, 1e-9, 1.0, 1.0, 1.0, 1.0])
    torch.nn.init.uniform_(layer.norm.bias, 0.1, 1.0)
    pictures = torch.rand(2, 4, 6, 6)
    pictures[:, 1] = 0  # what channels 2 and 3 look at
    with torch.no_grad():
        before = layer(pictures)
        assert silence(layer) == 2
        torch.testing.assert_close(layer(pictures), before)
    assert not layer.conv.weight[2:4].any()
    assert layer.conv.weight[[0, 1, 4, 5, 6, 7]].any()
    assert silence(layer) == 0


@pytest.fixture
def timm_folder(tmp_path):
    config = {
        "architecture": "resnet10t",
        "pretrained_cfg": {
            "input_size": [3, 32, 32],
            "mean": [0.5, 0.5, 0.5],
            "std": [0.5, 0.5, 0.5],
            "license": "apache-2.0",
        },
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").write_bytes(b"")
    return tmp_path


def test_a_timm_folder_without_timm(timm_folder):
    if importlib.util.find_spec("timm") is not None:
        pytest.skip("timm is installed")
    assert message(timm_folder, error=MissingExtraError) == (
        f"--backbone {timm_folder} needs the package timm, which is not installed\n"
        "  fix: pip install 'edgetransfer[timm]'"
    )


def test_a_timm_folder_takes_no_texts(timm_folder):
    assert message(timm_folder, "text") == (
        f"--backbone {timm_folder}: timm networks take pictures, and the examples are texts"
    )


@pytest.mark.parametrize(
    "architecture",
    ["resnet10t", "mobilenetv3_small_050", "efficientnet_lite0", "deit_tiny_patch16_224"],
)
def test_a_timm_folder_opens_with_its_classifier(timm_folder, architecture):
    timm = pytest.importorskip("timm", reason="the extra timm is not installed")
    from safetensors.torch import save_file

    torch.manual_seed(0)
    whole = timm.create_model(architecture, num_classes=5).eval()
    save_file(whole.state_dict(), timm_folder / "model.safetensors")
    config = json.loads((timm_folder / "config.json").read_text())
    told = whole.pretrained_cfg
    config["architecture"] = architecture
    config["pretrained_cfg"] |= {"classifier": told["classifier"], "input_size": told["input_size"]}
    (timm_folder / "config.json").write_text(json.dumps(config))
    backbone = sources.load(sources.locate(str(timm_folder)), "image")
    pictures = torch.rand(2, *told["input_size"])
    with torch.no_grad():
        features, logits = backbone.network(pictures), whole(pictures)
    assert features.shape == (2, backbone.feature_dim)
    assert backbone.licence == "apache-2.0"
    found = torch.from_numpy(backbone.classifier.logits(features.numpy()))
    torch.testing.assert_close(found, logits, rtol=1e-4, atol=1e-5)


@pytest.fixture
def own(tmp_path):
    """Write an ONNX file with a contract and labels beside it."""

    def write(contract=CONTRACT_JSON, labels="ant\nbee\n", **files):
        contents = {"mine.onnx": "", "preprocess.json": contract, "labels.txt": labels}
        for name, content in {**contents, **files}.items():
            data = content if isinstance(content, bytes) else content.encode()
            (tmp_path / name).write_bytes(data)
        return tmp_path / "mine.onnx"

    return write


@pytest.mark.parametrize("labels", ["ant\nbee\n", "ant\r\nbee\r\n", "ant\nbee", "ant\nbee\n\n"])
def test_an_onnx_file_with_its_contract_and_labels(own, labels):
    model = sources.load_fitted(sources.locate(str(own(labels=labels))), "image")
    assert (model.network, model.labels, model.preprocessing) == (None, ("ant", "bee"), CONTRACT)


def test_an_onnx_file_for_texts(own):
    contract = TextPreprocessing(max_length=9)
    tokenizer = '{"model": {"type": "WordLevel", "vocab": {"[UNK]": 0}, "unk_token": "[UNK]"}}'
    path = own(contract.model_dump_json(), **{"tokenizer.json": tokenizer})
    model = sources.load_fitted(sources.locate(str(path)), "text")
    assert model.preprocessing == contract
    kept = json.loads(model.tokenizer.read_text())
    assert (kept["model"]["vocab"], kept["truncation"]["max_length"]) == ({"[UNK]": 0}, 9)


def test_an_onnx_file_for_texts_without_its_tokenizer(own):
    path = own(TextPreprocessing().model_dump_json())
    assert message(path, "text", sources.load_fitted) == (
        f"{path.parent / 'tokenizer.json'}: the contract names a tokenizer that is missing"
    )


@pytest.mark.parametrize(
    ("contract", "problem"),
    [
        ('{"kind": "image"}', "image: give either shortest_edge or exact"),
        ("{}", "the whole: Unable to extract tag using discriminator 'kind'"),
        (
            "hello",
            "not a readable contract\n  found: Expecting value: line 1 column 1 (char 0)",
        ),
        (
            b"\xe9",
            "not a readable contract\n  found: not UTF-8: byte 0xe9 at offset 0",
        ),
        (
            TextPreprocessing().model_dump_json(),
            "the contract is for text and the examples are image",
        ),
    ],
)
def test_a_contract_that_is_none(own, contract, problem):
    path = own(contract)
    assert message(path, load=sources.load_fitted).removesuffix(
        "\n  expected: see docs/own-model.md"
    ) == (f"{path.parent / 'preprocess.json'}: {problem}")


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        ("", " line 1: a class without a name"),
        ("ant\nbee\nant\n", ": two classes of one name\n  found: lines 1 and 3: 'ant'"),
        ("ant\n\nbee\n", " line 2: a class without a name"),
    ],
)
def test_labels_that_are_none(own, labels, found):
    path = own(labels=labels)
    assert message(path, load=sources.load_fitted) == (
        f"{path.parent / 'labels.txt'}{found}\n"
        "  expected: one class a line, in the order of the outputs"
    )
