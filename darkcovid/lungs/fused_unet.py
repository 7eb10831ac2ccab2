"""The lung U-Net as a CPU computes it fastest: the same function of the same weights, by fewer and larger operations.

BatchNorm is folded into the convolution before it (Jacob et al. 2018, section 3.2), and oneDNN computes a convolution and its
activation together, as torch's own compiler has it do. Upsampling by nearest neighbor and a 3x3 convolution are together one
transposed convolution, 4x4 with stride 2, so neither the upsampled map nor its concatenation with the encoder's is written.
"""

from copy import deepcopy
from functools import lru_cache

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

ACTIVATIONS = {nn.ReLU: "relu", nn.Hardswish: "hardswish", nn.Hardsigmoid: "hardsigmoid"}
BATCH = 16  # oneDNN compiles its code for each size of batch, so there are few: powers of two up to this one, and multiples of it
SIDE = 256
OPERATORS = (
    "_convolution_pointwise",
    "_convolution_pointwise_",
    "_convolution_transpose_pointwise",
    "_reorder_convolution_weight",
    "_reorder_convolution_transpose_weight",
)


@lru_cache
def can_fuse(dtype: torch.dtype) -> bool:
    """Whether this build of torch has the operators, and this processor computes them in a dtype."""
    if not torch.backends.mkldnn.is_available() or not all(hasattr(torch.ops.mkldnn, name) for name in OPERATORS):
        return False
    geometry = [1, 1], [1, 1], [1, 1], 1
    try:
        torch.ops.mkldnn._reorder_convolution_weight(torch.zeros(8, 8, 3, 3, dtype=dtype), *geometry, [1, 8, 8, 8])
    except RuntimeError:  # oneDNN has no bf16 below AVX-512
        return False
    return True


def fused_unet(unet: nn.Module, dtype: torch.dtype) -> nn.Module:
    """A network of `build_unet` for inference on the CPU.

    Args:
        unet: With its weights; not changed.
        dtype: float32 or bfloat16.

    Returns:
        (b, 1, h, w) float normalized pixels to (b, 1, h, w) logits of this dtype; h and w multiples of 32.
    """
    fused = _FusedUNet(deepcopy(unet).cpu().float().eval().requires_grad_(False), dtype)
    with torch.no_grad():
        fused(torch.zeros(BATCH, 1, SIDE, SIDE))  # lays out the weights for batches like this one; others give the same
    return fused


class _FusedUNet(nn.Module):
    def __init__(self, unet: nn.Module, dtype: torch.dtype):
        super().__init__()
        self.dtype = dtype
        encoder, decoder, head = (getattr(unet, name) for name in ("encoder", "decoder", "segmentation_head"))
        _fuse_convolutions(encoder, dtype)
        _fuse_convolutions(head, dtype)
        self.encoder, self.head = encoder, head
        self.blocks = nn.ModuleList()
        for block, skip_channels in zip(decoder.blocks, encoder.out_channels[-2:0:-1], strict=True):
            up = _UpConvolution(block.conv1, skip_channels, dtype)
            _fuse_convolutions(block.conv2, dtype)
            self.blocks.append(nn.ModuleList([up, block.conv2]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        count = len(x)
        x = nn.functional.pad(x, (0, 0, 0, 0, 0, 0, 0, filled_batch(count) - count))
        x, *skips = self.encoder(x.to(self.dtype, memory_format=torch.channels_last))[:0:-1]
        for (up, convolution), skip in zip(self.blocks, skips, strict=True):  # pyright: ignore[reportGeneralTypeIssues]
            x = convolution(up(x, skip))
        return self.head(x)[:count]


def filled_batch(count: int) -> int:
    """The size of the batch in which some images are computed: the next power of two, above `BATCH` its next multiple."""
    return -(-count // BATCH) * BATCH if count > BATCH else 1 << max(0, count - 1).bit_length()


class _Convolution(nn.Module):
    """A convolution with the activation that follows it."""

    def __init__(self, conv: nn.Conv2d, activation: str, dtype: torch.dtype):
        super().__init__()
        self.weight, self.bias = conv.weight.detach().to(dtype), None if conv.bias is None else conv.bias.detach().to(dtype)
        self.geometry = list(conv.padding), list(conv.stride), list(conv.dilation), conv.groups
        self.activation = activation

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        ops = torch.ops.mkldnn
        if not self.weight.is_mkldnn:
            self.weight = ops._reorder_convolution_weight(self.weight, *self.geometry, list(x.shape))
        return ops._convolution_pointwise(x, self.weight, self.bias, *self.geometry, self.activation, [], "")


class _UpConvolution(nn.Module):
    """(b, c, h, w) and a skip of (b, s, 2h, 2w) to (b, k, 2h, 2w): convolution, BatchNorm and ReLU of both together."""

    def __init__(self, layers: nn.Sequential, skip_channels: int, dtype: torch.dtype):
        super().__init__()
        conv = fuse_conv_bn_eval(layers[0], layers[1]).requires_grad_(False)  # pyright: ignore[reportArgumentType]
        assert conv.bias is not None
        self.above = upsampling_kernel(conv.weight[:, :-skip_channels].detach()).to(dtype)
        self.skip, self.bias = conv.weight[:, -skip_channels:].detach().contiguous().to(dtype), conv.bias.detach().to(dtype)

    def forward(self, x: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        ops, by_two, by_one = torch.ops.mkldnn, ([1, 1], [0, 0], [2, 2], [1, 1], 1), ([1, 1], [1, 1], [1, 1], 1)
        if not self.above.is_mkldnn:
            self.above = ops._reorder_convolution_transpose_weight(self.above, *by_two, list(x.shape))
            self.skip = ops._reorder_convolution_weight(self.skip, *by_one, list(skip.shape))
        total = ops._convolution_transpose_pointwise(x, self.above, None, *by_two, "none", [], "")
        return ops._convolution_pointwise_.binary(total, skip, self.skip, self.bias, *by_one, "add", 1.0, "relu", [], None)


def upsampling_kernel(kernel: torch.Tensor) -> torch.Tensor:
    """The kernel of one transposed convolution, stride 2 and padding 1, for upsampling by 2 (nearest neighbor) and a convolution.

    Args:
        kernel: (k, c, 3, 3) of the convolution, padding 1.

    Returns:
        (c, k, 4, 4).
    """
    turned = kernel.flip(2, 3).transpose(0, 1)
    places = [(right, 1 - right, down, 1 - down) for right in (0, 1) for down in (0, 1)]
    return torch.stack([nn.functional.pad(turned, place) for place in places]).sum(0)


def _fuse_convolutions(module: nn.Module, dtype: torch.dtype) -> None:
    """Replace each convolution below a module, with the BatchNorm and the activation that are listed after it."""
    for parent in list(module.modules()):
        layers = [(name, layer) for name, layer in parent.named_children() if not isinstance(layer, nn.Identity)]
        for place, (name, layer) in enumerate(layers):
            if not isinstance(layer, nn.Conv2d):
                continue
            following = layers[place + 1 : place + 3]
            if following and isinstance(following[0][1], nn.BatchNorm2d):
                norm_name, norm = following.pop(0)
                layer = fuse_conv_bn_eval(layer, norm)  # pyright: ignore[reportArgumentType]
                activation = getattr(norm, "act", nn.Identity())  # of timm's BatchNorm
                setattr(parent, norm_name, nn.Identity())
                if not isinstance(activation, nn.Identity):
                    following = [(norm_name, activation)]
            kind = ACTIVATIONS.get(type(following[0][1])) if following else None
            if kind is not None:
                setattr(parent, following[0][0], nn.Identity())
            setattr(parent, name, _Convolution(layer, kind or "none", dtype))
