"""Opens the backbones that ship with the package, MobileNetV2s, and folders laid out like them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from edgetransfer.backbone.files import read_card, read_weights
from edgetransfer.backbone.model import Backbone, LinearHead, Source
from edgetransfer.spec.preprocess import ImagePreprocessing, Modality

Block = tuple[int, int, int, int]
"""(expansion, channels, repeats, stride): one row of table 2 of Sandler et al. (2018)."""
STEM_CHANNELS = 32


def round_channels(channels: float, divisor: int = 8) -> int:
    """Round a channel count to a multiple of `divisor`, never below 90 per cent of it.

    Every kernel library works on channels in eights, so that other counts cost the same.

    >>> [round_channels(0.35 * c) for c in (16, 24, 32, 64, 160)]
    [8, 8, 16, 24, 56]
    """
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


@dataclass(frozen=True)
class MobileNetV2Config:
    """What distinguishes one MobileNetV2 from another.

    Pictures are `input_size`, height and width in pixels: a property of the weights, for the
    network itself runs on any size. `width` multiplies every channel count but `feature_dim`, the
    length of the feature vector; rows of `blocks` have those before that, and their first stride.
    """

    input_size: tuple[int, int]
    width: float
    blocks: tuple[Block, ...]
    feature_dim: int

    @classmethod
    def from_card(cls, card: Mapping[str, Any]) -> MobileNetV2Config:
        """Read it out of a parsed `card.json`; KeyError or ValueError where that does not fit."""
        height, width = card["input_size"]
        rows = [(e, c, n, s) for e, c, n, s in card["blocks"]]
        return cls((height, width), float(card["width"]), tuple(rows), int(card["feature_dim"]))


TINY_64 = MobileNetV2Config(
    input_size=(64, 64),
    width=0.5,
    blocks=((1, 32, 1, 1), (3, 48, 1, 2), (4, 128, 2, 2), (6, 224, 3, 2)),
    feature_dim=768,
)
"""For 64 pixels: maps of 32, 32, 16, 8, 4 and 4; shallow, as it learns faster in few epochs."""


class ConvNorm(nn.Module):
    """Convolution, batch norm and, unless it is a linear bottleneck, ReLU6.

    ``[N, channels[0], H, W] -> [N, channels[1], ceil(H / stride), ceil(W / stride)]``. Padding is
    static and the same on all sides, so that it lands inside the exported Conv.
    """

    def __init__(
        self,
        channels: tuple[int, int],
        *,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
        activate: bool = True,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            *channels, kernel, stride, padding=kernel // 2, groups=groups, bias=False
        )
        self.norm = nn.BatchNorm2d(channels[1])
        self.act = nn.ReLU6() if activate else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map [N, C, H, W] to [N, C', H', W']."""
        y: torch.Tensor = self.act(self.norm(self.conv(x)))
        return y


class InvertedResidual(nn.Module):
    """Expand, filter each channel, project; add the input where the shape allows it.

    ``[N, channels[0], H, W] -> [N, channels[1], ceil(H / stride), ceil(W / stride)]``. The
    expansion is a multiple of the input's channels, and left out where it is 1. The projection is
    linear: a ReLU in the narrow layer loses what the wide one found (Sandler et al. 2018, sections
    3.2 and 3.3).
    """

    def __init__(self, channels: tuple[int, int], expansion: int, stride: int) -> None:
        super().__init__()
        narrow, out = channels
        wide = narrow * expansion
        self.residual = stride == 1 and narrow == out
        self.expand = ConvNorm((narrow, wide)) if expansion > 1 else nn.Identity()
        self.depthwise = ConvNorm((wide, wide), kernel=3, stride=stride, groups=wide)
        self.project = ConvNorm((wide, out), activate=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map [N, C, H, W] to [N, C', H', W']."""
        y: torch.Tensor = self.project(self.depthwise(self.expand(x)))
        return x + y if self.residual else y


class MobileNetV2(nn.Module):
    """The feature extractor of MobileNetV2: a stem, inverted residuals, a 1x1 Conv, a mean.

    ``[N, 3, H, W]`` float, normalised -> ``[N, config.feature_dim]`` float, between 0 and 6.
    "MobileNetV2: Inverted Residuals and Linear Bottlenecks", Sandler et al., CVPR 2018, table 2 and
    section 4, without dropout and classifier. Every operator is a Conv, a batch norm that folds
    into it, a Clip(0, 6) or an Add, but for the mean over the last map, exported as a ReduceMean.

    >>> network = MobileNetV2(TINY_64).eval()
    >>> tuple(network(torch.zeros(2, 3, 64, 64)).shape)
    (2, 768)
    """

    def __init__(self, config: MobileNetV2Config) -> None:
        super().__init__()
        self.config = config
        narrow = round_channels(STEM_CHANNELS * config.width)
        self.stem = ConvNorm((3, narrow), kernel=3, stride=2)
        residuals = []
        for expansion, channels, repeats, stride in config.blocks:
            out = round_channels(channels * config.width)
            for index in range(repeats):
                step = stride if index == 0 else 1
                residuals.append(InvertedResidual((narrow, out), expansion, step))
                narrow = out
        self.blocks = nn.Sequential(*residuals)
        self.tail = ConvNorm((narrow, config.feature_dim))
        self.pool = nn.AdaptiveAvgPool2d(1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map pictures [N, 3, H, W] to feature vectors [N, feature_dim]."""
        return torch.flatten(self.pool(self.tail(self.blocks(self.stem(x)))), 1)


def load(source: Source, modality: Modality) -> Backbone:
    """Open a built-in backbone; SpecError for texts, or a card and weights that do not fit."""
    if modality != "image":
        what = "the built-in" if source.name.startswith("builtin:") else "this"
        raise source.refused(
            f"{what} backbone takes pictures, and the examples are texts",
            fix="give a text encoder: --backbone hf:ORG/NAME or a local folder",
        )
    card = read_card(source.path / "card.json")
    weights = read_weights(source.path / "model.safetensors")
    try:
        config = MobileNetV2Config.from_card(card)
        network = MobileNetV2(config)
        network.load_state_dict(weights)
    except (ValueError, KeyError, TypeError, RuntimeError) as error:
        raise source.refused(
            "not a backbone of edgetransfer's own layout",
            found=" ".join(str(error).split())[:200],
            expected="card.json and model.safetensors as `edgetransfer pretrain` writes them",
        ) from error
    classifier = None
    if (source.path / "classifier.safetensors").is_file():  # of the source's classes, in float16
        found = read_weights(source.path / "classifier.safetensors")
        classifier = LinearHead(found["weight"].float().numpy(), found["bias"].float().numpy())
    return Backbone(
        network=network.eval(),
        feature_dim=config.feature_dim,
        preprocessing=ImagePreprocessing(
            exact=config.input_size,
            interpolation=card["interpolation"],
            mean=tuple(card["mean"]),
            std=tuple(card["std"]),
        ),
        licence=card["license"],
        classifier=classifier,
    )
