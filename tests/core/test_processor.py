"""Names and instructions of processors, by drawn /proc/cpuinfo."""

import pytest

from darkcovid.core import processor

XEON = "model name\t: Intel(R) Xeon(R) Processor\nflags\t\t: fpu avx2 avx512f avx512_bf16 amx_bf16 amx_tile\n"
LAPTOP = "model name : AMD Ryzen 5 3600\nflags : fpu avx avx2\n"
ARM = "Model\t\t: Raspberry Pi 5\nFeatures\t: fp asimd\n"


@pytest.mark.parametrize(
    ("text", "name", "features", "bf16"),
    [
        (XEON, "Intel(R) Xeon(R) Processor", ["AMX bf16", "AVX-512 bf16", "AVX-512", "AVX2"], True),
        (LAPTOP, "AMD Ryzen 5 3600", ["AVX2"], False),
        (ARM, "Raspberry Pi 5", ["NEON"], False),
        ("Features : asimd bf16\n", None, ["Arm bf16", "NEON"], True),
        ("", None, [], False),
    ],
)
def test_processors_are_told(monkeypatch, text, name, features, bf16):
    monkeypatch.setattr(processor, "_cpuinfo", lambda: text)
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    assert processor.processor_name() == (name or processor.processor_name())
    assert processor.matrix_features() == features and processor.has_bf16_instructions() == bf16


@pytest.mark.parametrize(
    ("limit", "features"),
    [
        ("ALL", ["AMX bf16", "AVX-512 bf16", "AVX-512", "AVX2"]),
        ("AVX512_CORE_AMX", ["AMX bf16", "AVX-512 bf16", "AVX-512", "AVX2"]),
        ("avx512_core_bf16", ["AVX-512 bf16", "AVX-512", "AVX2"]),
        ("AVX512_CORE_VNNI", ["AVX-512", "AVX2"]),
        ("AVX2", ["AVX2"]),
        ("SSE41", []),
    ],
)
def test_what_onednn_may_not_use_is_left_out(monkeypatch, limit, features):
    monkeypatch.setattr(processor, "_cpuinfo", lambda: XEON)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
    assert processor.matrix_features() == features
