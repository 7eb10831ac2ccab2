"""What works on a device works there whole: torch's `meta` device stands in for a GPU, and refuses tensors of another."""

import numpy as np
import pytest
import torch
from torch import nn

from darkcovid.audits.gradcam import grad_cam
from darkcovid.core.device import Device, get_device, predict_batches
from darkcovid.data.normalize import Normalize, PerImageStandardize, ZCAWhitening

META = Device(torch.device("meta"), "fp32")
PIXELS = np.zeros((3, 8, 8), np.uint8)
NORMALIZERS = [
    Normalize(0.5, 0.25),
    PerImageStandardize(),
    ZCAWhitening(Normalize(0.5, 0.25), torch.zeros(64), torch.eye(64), torch.ones(64)),
]


class ReachedError(Exception):
    """The network was called with what lies on the device."""


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(1, 16, 3)

    def forward(self, images):
        assert images.device == META.device
        assert self.layer(images).device == META.device
        raise ReachedError


@pytest.mark.parametrize("normalizer", NORMALIZERS, ids=lambda normalizer: normalizer.kind)
def test_a_normalizer_goes_where_the_network_goes(normalizer):
    with pytest.raises(ReachedError):
        next(predict_batches(Network(), PIXELS, normalizer, META))
    with pytest.raises(ReachedError):
        grad_cam(Network(), normalizer, PIXELS, np.zeros(3, np.int64), META)


def test_bf16_is_not_chosen_where_onednn_may_not_use_it(monkeypatch):
    monkeypatch.setattr("darkcovid.core.processor._cpuinfo", lambda: "flags : avx2 avx512_bf16 amx_bf16")
    for limit, precision in ((None, "bf16"), ("AVX2", "fp32"), ("AVX512_CORE_BF16", "bf16"), ("avx512_core_vnni", "fp32")):
        monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
        if limit:
            monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
        assert get_device("cpu", "auto").precision == precision
