"""How the weights of a built-in backbone begin, and what is mended of them in the end."""

from __future__ import annotations

import torch
from torch import nn

from edgetransfer.backbone.builtin import ConvNorm, InvertedResidual


def initialise(network: nn.Module, generator: torch.Generator) -> None:
    """Draw new weights in place: He et al. (2015) by fan-out, batch norms at identity.

    The last batch norm of a residual branch starts at 0, so that the branch is silent at first
    (Goyal et al. 2017, section 5.1): without it the first layers' gradients drown the others. The
    generator is the only source of randomness.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.weight[0, 0].numel() * module.out_channels // module.groups
            nn.init.normal_(module.weight, 0.0, (2.0 / fan_out) ** 0.5, generator=generator)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0.0, 0.01, generator=generator)
            nn.init.zeros_(module.bias)
    for module in network.modules():
        if isinstance(module, InvertedResidual) and module.residual:
            nn.init.zeros_(module.project.norm.weight)


@torch.no_grad()
def silence(network: nn.Module, variance: float = 1e-6) -> int:
    """Make constant, in place, the channels that training left without any signal; return how many.

    Those are channels of a `ConvNorm` with less than a running `variance`. Their batch norm has
    next to no variance and so a slope of up to 1 / sqrt(eps) = 316, which once folded makes the
    weights of a dead channel the widest of their layer, and the step of a per-tensor quantiser with
    them. Nothing that was seen at the end of training changes.
    """
    silenced = 0
    for module in network.modules():
        if isinstance(module, ConvNorm):
            norm, mean, spread = module.norm, module.norm.running_mean, module.norm.running_var
            if mean is None or spread is None:
                continue
            dead = spread < variance
            norm.bias[dead] -= (norm.weight * mean / (spread + norm.eps).sqrt())[dead]
            module.conv.weight[dead], mean[dead], spread[dead] = 0.0, 0.0, 1.0
            silenced += int(dead.sum())
    return silenced
