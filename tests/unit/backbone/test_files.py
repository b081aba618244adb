"""The contract is what the library would have done, or an error that names the step."""

import json

import numpy as np
import pytest

from edgetransfer.agent.runtimes.onnxruntime import OnnxSession
from edgetransfer.backbone.files import from_transformers
from edgetransfer.backbone.timm_folder import from_timm
from edgetransfer.errors import SpecError
from edgetransfer.graph.embed import PICTURE, preprocessing_graph

NUMBERS = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]}


@pytest.fixture
def written(tmp_path):
    def write(raw):
        file = tmp_path / "preprocessor_config.json"
        file.write_text(json.dumps(raw))
        return file

    return write


@pytest.fixture
def message():
    def of(call, *arguments):
        with pytest.raises(SpecError) as caught:
            call(*arguments)
        return str(caught.value)

    return of


@pytest.mark.parametrize(
    ("raw", "edge", "exact", "crop"),
    [
        ({"size": {"height": 20, "width": 30}}, None, (20, 30), None),
        (
            {"size": {"height": 40, "width": 40}, "do_center_crop": True, "crop_size": 32},
            None,
            (40, 40),
            (32, 32),
        ),
        ({"size": {"height": 40, "width": 40}, "crop_size": 32}, None, (40, 40), None),
        ({"size": {"shortest_edge": 40}}, 40, None, (40, 40)),
        (
            {
                "size": {"shortest_edge": 40},
                "do_center_crop": True,
                "crop_size": {"height": 32, "width": 20},
            },
            40,
            None,
            (32, 20),
        ),
        ({"size": {"shortest_edge": 224}, "crop_pct": 0.875}, 256, None, (224, 224)),
        ({"size": {"shortest_edge": 384}, "crop_pct": 1.0}, None, (384, 384), None),
        ({"size": 224, "crop_pct": 0.95}, 235, None, (224, 224)),
        ({"size": 224, "feature_extractor_type": "ViTFeatureExtractor"}, None, (224, 224), None),
        ({"size": 224, "image_processor_type": "ConvNextImageProcessor"}, 256, None, (224, 224)),
        ({"size": 224, "image_processor_type": "CLIPImageProcessorFast"}, 224, None, (224, 224)),
        (
            {"size": {"shortest_edge": 224}, "image_processor_type": "LevitImageProcessor"},
            256,
            None,
            (224, 224),
        ),
    ],
)
def test_sizes(written, raw, edge, exact, crop):
    spec = from_transformers(written({**NUMBERS, **raw}))
    assert (spec.shortest_edge, spec.exact, spec.crop) == (edge, exact, crop)


@pytest.mark.parametrize(
    ("raw", "rescale", "mean", "std"),
    [
        ({}, 1 / 255, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)),
        ({"rescale_factor": 0.5}, 0.5, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)),
        ({"do_rescale": False}, 1.0, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)),
        ({"do_normalize": False}, 1 / 255, (0, 0, 0), (1, 1, 1)),
    ],
)
def test_numbers(written, raw, rescale, mean, std):
    size = {"size": {"height": 8, "width": 8}}
    spec = from_transformers(written({**NUMBERS, **size, **raw}))
    assert (spec.rescale, spec.mean, spec.std) == (rescale, mean, std)


@pytest.mark.parametrize(
    ("resample", "interpolation"), [(0, "nearest"), (2, "bilinear"), (3, "bicubic")]
)
def test_resampling(written, resample, interpolation):
    raw = {**NUMBERS, "size": {"height": 8, "width": 8}, "resample": resample}
    assert from_transformers(written(raw)).interpolation == interpolation


def test_no_file(tmp_path, message):
    file = tmp_path / "preprocessor_config.json"
    assert message(from_transformers, file) == (
        f"{file}: the backbone does not say how its pictures are prepared\n"
        "  found: no such file\n"
        "  fix: copy preprocessor_config.json of the original model into the folder"
    )


def test_no_json(tmp_path, message):
    file = tmp_path / "preprocessor_config.json"
    file.write_text("{")
    assert message(from_transformers, file) == (
        f"{file}: not a readable way to prepare pictures\n"
        "  found: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)\n"
        "  expected: preprocessor_config.json as transformers writes it"
    )


STEPS = "  expected: resize, centre crop, rescale, normalise, in this order"
SIZES = "  expected: size.shortest_edge, or size.height and size.width"


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (
            {"resample": 1},
            "a resampling filter that standard ONNX cannot reproduce\n  found: resample = 1\n"
            "  expected: 0 (nearest), 2 (bilinear) or 3 (bicubic)",
        ),
        (
            {"do_flip_channel_order": True, "do_pad": True},
            "a way to prepare pictures that is not known\n"
            f"  found: do_flip_channel_order = true, do_pad = true\n{STEPS}",
        ),
        (
            {"rescale_offset": True},
            f"a way to prepare pictures that is not known\n  found: rescale_offset = true\n{STEPS}",
        ),
        (
            {"do_resize": False},
            f"a way to prepare pictures that is not known\n  found: do_resize = false\n{STEPS}",
        ),
        (
            {"image_processor_type": "PerceiverImageProcessor"},
            "a way to prepare pictures that is not known\n"
            f"  found: a crop before the resize\n{STEPS}",
        ),
        (
            {"size": {"shortest_edge": 8, "longest_edge": 20}},
            "a way to resize that is not known\n"
            f"  found: size = {{'shortest_edge': 8, 'longest_edge': 20}}\n{SIZES}",
        ),
        ({"size": 8}, f"a way to resize that is not known\n  found: size = 8\n{SIZES}"),
        (
            {"size": 8, "image_processor_type": "NewImageProcessor"},
            f"a way to resize that is not known\n  found: size = 8 of New\n{SIZES}",
        ),
        ({"size": None}, f"a way to resize that is not known\n  found: size = None\n{SIZES}"),
        (
            {"image_mean": None},
            "the numbers to normalise with are missing\n"
            "  expected: image_mean and image_std, or do_normalize = false",
        ),
        (
            {"size": {"shortest_edge": 8}, "do_center_crop": True, "crop_size": 9},
            "crop (9, 9) is larger than shortest_edge 8",
        ),
        (
            {"image_std": [1, 1]},
            "image_std: List should have at least 3 items after validation, not 2 (found [1, 1])",
        ),
    ],
)
def test_what_is_not_known_is_named(written, message, raw, expected):
    file = written({**NUMBERS, "size": {"height": 8, "width": 8}, **raw})
    found = message(from_transformers, file)
    tail = "\n  expected: preprocessor_config.json as transformers writes it"
    assert found.replace("the whole: ", "").removesuffix(tail) == f"{file}: {expected}"


def test_labels_of_another_task_are_no_step(written):
    raw = {**NUMBERS, "size": {"height": 8, "width": 8}, "do_reduce_labels": True}
    assert from_transformers(written(raw)).exact == (8, 8)


CLASSES = {
    "ViT": {"size": {"height": 32, "width": 40}},
    "DeiT": {"size": 40, "crop_size": 32},
    "Beit": {"size": 40, "crop_size": 32, "do_center_crop": True},
    "CLIP": {"size": 40, "crop_size": 36},
    "ConvNext": {"size": {"shortest_edge": 32}},
    "MobileNetV1": {"size": {"shortest_edge": 40}, "crop_size": {"height": 32, "width": 32}},
    "MobileNetV2": {"size": 40, "crop_size": 32},
    "Levit": {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}},
    "Bit": {"size": 40, "crop_size": 32},
    "PoolFormer": {"size": {"shortest_edge": 32}, "crop_size": 32, "crop_pct": 0.9},
    "EfficientNet": {"size": {"height": 32, "width": 32}},
    "Pvt": {"size": 32},
    "Segformer": {"size": 32},
}


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("old", [False, True], ids=["as saved", "sizes as given"])
def test_pictures_are_prepared_as_transformers_does(transformers, written, kind, old):
    given = CLASSES[kind]
    try:
        processor = getattr(transformers, f"{kind}ImageProcessor")(**given)
    except ImportError as error:
        pytest.skip(str(error).strip().splitlines()[0])
    raw = {**json.loads(processor.to_json_string()), **(given if old else {})}
    if old:
        raw["feature_extractor_type"] = f"{kind}FeatureExtractor"
        raw.pop("image_processor_type")
    spec = from_transformers(written(raw))
    graph = OnnxSession(preprocessing_graph(spec).SerializeToString())
    generator = np.random.default_rng(0)
    for size in [(50, 71), (71, 50), (30, 31)]:
        picture = generator.integers(60, 190, (*size, 3), np.uint8)
        theirs = processor(picture, return_tensors="np", input_data_format="channels_last")
        ours = graph.run({PICTURE: picture[None]})[0]
        levels = np.reshape(spec.std, (1, 3, 1, 1)) / spec.rescale
        assert ours.shape == theirs["pixel_values"].shape
        assert np.abs((ours - theirs["pixel_values"]) * levels).max() < 2.001


TIMM = {"input_size": [3, 224, 224], "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}


@pytest.mark.parametrize(
    ("config", "edge", "exact", "crop", "interpolation"),
    [
        ({}, 256, None, (224, 224), "bilinear"),
        ({"crop_pct": 0.9, "interpolation": "bicubic"}, 248, None, (224, 224), "bicubic"),
        ({"crop_pct": 1.0}, 224, None, (224, 224), "bilinear"),
        (
            {"test_input_size": [3, 256, 256], "test_crop_pct": 1.0, "crop_pct": 0.9},
            256,
            None,
            (256, 256),
            "bilinear",
        ),
        ({"crop_mode": "squash", "crop_pct": 0.95}, None, (235, 235), (224, 224), "bilinear"),
        (
            {"crop_mode": "squash", "crop_pct": 1.0, "input_size": [3, 20, 30]},
            None,
            (20, 30),
            (20, 30),
            "bilinear",
        ),
    ],
)
def test_timm(config, edge, exact, crop, interpolation):
    spec = from_timm({**TIMM, **config})
    assert (spec.shortest_edge, spec.exact, spec.crop) == (edge, exact, crop)
    assert spec.interpolation == interpolation
    assert (spec.mean, spec.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))


@pytest.mark.parametrize(
    ("config", "found"),
    [
        ({"crop_mode": "border"}, "interpolation bilinear, crop mode border to 224 x 224"),
        ({"interpolation": "lanczos"}, "interpolation lanczos, crop mode center to 224 x 224"),
        (
            {"input_size": [3, 20, 30]},
            "interpolation bilinear, crop mode center to 20 x 30",
        ),
    ],
)
def test_timm_that_is_not_known(message, config, found):
    assert message(from_timm, {**TIMM, **config}) == (
        f"pretrained_cfg: a way to prepare pictures that is not known\n  found: {found}\n"
        "  expected: nearest, bilinear or bicubic; center (to a square) or squash"
    )


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        ({"image_mean": [0.5], "image_std": 0.5},
         "image_mean: List should have at least 3 items after validation, not 1 (found [0.5])"),
        ({"do_center_crop": True, "crop_size": {"shortest_edge": 8}},
         "crop_size: should be pixels, or height and width"),
        ({"do_center_crop": True, "crop_size": None},
         "the whole: crop_size should be given where do_center_crop is true"),
        ({"resample": [2]}, "resample: should be a valid integer (found [2])"),
        ({"size": {"height": "8", "width": 8}}, "size: should be pixels, from 1 to 4096"),
        ({"size": 10**9}, "size: should be pixels, from 1 to 4096 (found 1000000000)"),
        ({"crop_pct": 0}, "crop_pct: should be greater than or equal to 0.01 (found 0)"),
    ],
)  # fmt: skip
def test_what_was_a_traceback_is_told_by_its_field(written, message, raw, told):
    """D3: 9 of 32 odd files were tracebacks, others were taken for something else."""
    file = written({**NUMBERS, "size": {"height": 8, "width": 8}, **raw})
    assert message(from_transformers, file) == (
        f"{file}: {told}\n  expected: preprocessor_config.json as transformers writes it"
    )


@pytest.mark.parametrize("text", ["[]", "null", "3", '"x"'])
def test_json_that_is_no_object(tmp_path, message, text):
    file = tmp_path / "preprocessor_config.json"
    file.write_text(text)
    assert message(from_transformers, file).startswith(f"{file}: the whole: should be an obj")


def test_one_number_for_all_channels(written):
    numbers = {**NUMBERS, "image_mean": 0.25, "image_std": 0.5}
    file = written({**numbers, "size": {"height": 8, "width": 8}})
    assert from_transformers(file).mean == (0.25, 0.25, 0.25)
