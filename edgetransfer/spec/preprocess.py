"""The contract between an example and the network, one value for each kind of input.

Beside how an example is prepared it says what follows of it, so that nobody else asks which it is:

* `in_graph`: whether the preparation stands in ``model.onnx``, before the network;
* `one_shape`: whether all examples are prepared to tensors of one shape: then shapes can be static,
  ranges of activations be found beforehand and examples be stacked;
* `noun`: what an example is called, and `given` how a command line names one;
* `column`: the field of `spec.recipe.DataSpec` that names the column of a table it stands in;
* `backbone`: what a recipe begins with where none was named;
* `offers`: what is done with such examples beyond a probe and fine-tuning;
* `level`: what one of 255 levels of a channel is once it is prepared;
* `transformers()`: the contract in that library's words, where it is no file already;
* `before`, `inside`: what an app does with an example before it runs ``model.onnx``, and what that
  does by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from operator import gt
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Discriminator, Field, TypeAdapter, model_validator

from edgetransfer.spec.base import Positive, Spec

Interpolation = Literal["nearest", "bilinear", "bicubic"]
Method = Literal["views", "adaptation", "meta-learning", "contrastive", "self-training"]
TextInput = Literal["input_ids", "attention_mask", "token_type_ids"]
Mean = Annotated[float, Field(ge=-1e6, le=1e6)]
Triple = tuple[Mean, Mean, Mean]
Pixels = Annotated[int, Field(ge=1, le=4096)]
Size = tuple[Pixels, Pixels]


class ImagePreprocessing(Spec):
    """Decoded RGB ``uint8 [N, H, W, 3]`` of any size -> ``float32 [N, 3, h, w]``.

    The steps, in order: resize (antialiased, on 8-bit values, as Pillow does), crop the centre,
    multiply by `rescale`, subtract `mean`, divide by `std`, move channels first.
    """

    in_graph: ClassVar[bool] = True
    one_shape: ClassVar[bool] = True
    noun: ClassVar[str] = "picture"
    given: ClassVar[str] = "PICTURE"
    column: ClassVar[str] = "file_column"
    backbone: ClassVar[str] = "builtin:tiny-64"
    offers: ClassVar[frozenset[Method]] = frozenset({"views", "adaptation", "meta-learning"})
    before: ClassVar[str] = (
        "decode it, turn it by its EXIF orientation, lay transparent pixels over white; RGB, "
        "channels last, any size"
    )
    kind: Literal["image"] = "image"
    shortest_edge: int | None = Field(None, ge=1, le=8192, description="short side in pixels")
    exact: Size | None = Field(None, description="resize to (height, width), ignoring proportions")
    interpolation: Interpolation = "bilinear"
    crop: Size | None = Field(None, description="centre crop to (height, width)")
    rescale: float = Field(1 / 255, gt=0, le=1e6)
    mean: Triple = (0.5, 0.5, 0.5)
    std: tuple[Positive, Positive, Positive] = (0.5, 0.5, 0.5)

    @model_validator(mode="after")
    def _one_resize(self) -> ImagePreprocessing:
        if (self.shortest_edge is None) == (self.exact is None):
            raise ValueError("give either shortest_edge or exact")
        if self.exact is None and self.crop is None:
            raise ValueError("shortest_edge leaves one side open: give crop as well")
        if self.shortest_edge and self.crop and max(self.crop) > self.shortest_edge:
            raise ValueError(f"crop {self.crop} is larger than shortest_edge {self.shortest_edge}")
        if self.exact and self.crop and any(map(gt, self.crop, self.exact)):
            raise ValueError(f"crop {self.crop} is larger than exact {self.exact}")
        return self

    @property
    def output_size(self) -> Size:
        """(height, width) of the network's input in pixels.

        >>> ImagePreprocessing(shortest_edge=256, crop=(224, 224)).output_size
        (224, 224)
        """
        size = self.crop or self.exact
        assert size is not None  # by _one_resize
        return size

    @property
    def level(self) -> tuple[float, ...]:
        """What one of 255 levels of a channel is once it is prepared."""
        return tuple(self.rescale / each for each in self.std)

    @property
    def inside(self) -> str:
        """What ``model.onnx`` does by itself.

        >>> ImagePreprocessing(shortest_edge=256, crop=(224, 224)).inside
        'resize (short side 256, bilinear, antialiased), crop to 224 x 224, normalise'
        """
        size = f"short side {self.shortest_edge}"
        if self.exact is not None:
            size = " x ".join(map(str, self.exact))
        cut = f", crop to {self.crop[0]} x {self.crop[1]}" if self.crop else ""
        smooth = "" if self.interpolation == "nearest" else ", antialiased"
        return f"resize ({size}, {self.interpolation}{smooth}){cut}, normalise"

    def transformers(self) -> dict[str, Any]:
        """Return the contract as CLIP's image processor takes it: it knows every step of ours.

        >>> made = ImagePreprocessing(shortest_edge=256, crop=(224, 224)).transformers()
        >>> made["size"], made["crop_size"], made["resample"]
        ({'shortest_edge': 256}, {'height': 224, 'width': 224}, 2)
        """
        crop = None if self.crop is None else _sides(self.crop)
        size = {"shortest_edge": self.shortest_edge} if self.exact is None else _sides(self.exact)
        return {
            "image_processor_type": "CLIPImageProcessor",
            "do_convert_rgb": True,
            "do_resize": True,
            "size": size,
            "resample": FILTERS[self.interpolation],
            "do_center_crop": crop is not None,
            **({} if crop is None else {"crop_size": crop}),
            "do_rescale": True,
            "rescale_factor": self.rescale,
            "do_normalize": True,
            "image_mean": list(self.mean),
            "image_std": list(self.std),
        }


FILTERS = {"nearest": 0, "bilinear": 2, "bicubic": 3}
"""As Pillow numbers them, which transformers does too."""


def _sides(size: tuple[int, int]) -> dict[str, int]:
    return {"height": size[0], "width": size[1]}


class TextPreprocessing(Spec):
    """A text -> token ids ``int64 [N, length]`` by a Hugging Face ``tokenizer.json``."""

    in_graph: ClassVar[bool] = False
    one_shape: ClassVar[bool] = False
    noun: ClassVar[str] = "text"
    given: ClassVar[str] = "'a text'"
    column: ClassVar[str] = "text_column"
    backbone: ClassVar[str] = "hf:sentence-transformers/all-MiniLM-L6-v2"
    """22 M parameters, English, Apache-2.0; it is downloaded."""
    offers: ClassVar[frozenset[Method]] = frozenset({"contrastive", "self-training"})
    inside: ClassVar[str] = "nothing: standard ONNX has no tokenizer"
    kind: Literal["text"] = "text"
    tokenizer: str = Field("tokenizer.json", description="file beside the contract")
    max_length: int = Field(128, ge=2, le=1 << 20, description="tokens kept, special ones included")
    pad_id: int = Field(0, ge=0, lt=1 << 31)
    inputs: tuple[TextInput, ...] = Field(
        ("input_ids", "attention_mask"), min_length=1, description="the network's inputs, in order"
    )

    @property
    def before(self) -> str:
        """What an app does with a text."""
        return (
            "make token ids of it by tokenizer.json (of the Hugging Face tokenizers library; cuts "
            f"at {self.max_length} tokens); in a batch, pad ids with {self.pad_id}, all else with 0"
        )

    @property
    def level(self) -> tuple[float, ...]:
        """Nothing: token ids have no levels."""
        return ()

    def transformers(self) -> dict[str, Any]:
        """Return nothing: transformers reads the tokenizer's own files."""
        return {}


Modality = Literal["image", "text"]
Input = type[ImagePreprocessing] | type[TextPreprocessing]
INPUTS: Mapping[str, Input] = {"image": ImagePreprocessing, "text": TextPreprocessing}
Preprocessing = Annotated[ImagePreprocessing | TextPreprocessing, Discriminator("kind")]
PREPROCESSING: TypeAdapter[ImagePreprocessing | TextPreprocessing] = TypeAdapter(Preprocessing)
"""Reads and writes either contract: ``PREPROCESSING.validate_json(text)``."""
