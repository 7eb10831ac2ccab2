"""Which processor is this, and which matrix instructions does it have, as far as oneDNN may use them?"""

import os
import platform
from pathlib import Path

FEATURES = {
    "amx_bf16": "AMX bf16",
    "avx512_bf16": "AVX-512 bf16",
    "bf16": "Arm bf16",
    "avx512f": "AVX-512",
    "avx2": "AVX2",
    "asimd": "NEON",
}  # as /proc/cpuinfo has them: as people call them
BF16 = ("amx_bf16", "avx512_bf16", "bf16")
WITHOUT_AMX = tuple(flag for flag in FEATURES if flag != "amx_bf16")


def processor_name() -> str:
    """What the system calls it, such as `AMD EPYC 9B14`; the kind of machine where it has no name."""
    for line in _cpuinfo().splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("model name", "Model") and value.strip():
            return value.strip()
    return platform.processor() or platform.machine()


def matrix_features() -> list[str]:
    """Its matrix and vector instructions, best first, without those that ONEDNN_MAX_CPU_ISA rules out."""
    present = set(_cpuinfo().lower().split())
    allowed = _allowed()
    return [name for flag, name in FEATURES.items() if flag in present and (allowed is None or flag in allowed)]


def has_bf16_instructions() -> bool:
    """Whether bf16 is computed and not emulated."""
    names = {FEATURES[flag] for flag in BF16}
    return not names.isdisjoint(matrix_features())


def _allowed() -> tuple[str, ...] | None:
    limit = (os.environ.get("ONEDNN_MAX_CPU_ISA") or os.environ.get("DNNL_MAX_CPU_ISA") or "ALL").upper()
    if any(name in limit for name in ("ALL", "DEFAULT", "AMX", "AVX10")):
        return None
    if "BF16" in limit or "FP16" in limit:
        return WITHOUT_AMX
    if limit.startswith("AVX512"):
        return "avx512f", "avx2"
    return ("avx2",) if limit.startswith("AVX2") else ()


def _cpuinfo() -> str:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
