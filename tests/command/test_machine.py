"""What is set for the processor before Paddle is imported."""

import pytest

from convbert.command import machine

AVX2 = "fpu avx avx2 fma"
AVX512 = f"{AVX2} avx512f avx512dq avx512cd avx512bw avx512vl"


@pytest.mark.parametrize(
    ("vendor", "flags", "kernels"),
    [
        ("AuthenticAMD", "fpu avx", None),
        ("AuthenticAMD", AVX2, "5"),
        ("AuthenticAMD", f"{AVX2} avx512f", "5"),
        ("AuthenticAMD", AVX512, "7"),
        ("GenuineIntel", AVX512, None),
    ],
)
def test_mkl_gets_the_kernels_of_an_amd_processor(monkeypatch, vendor, flags, kernels):
    fields = {"vendor_id": vendor, "flags": flags}
    monkeypatch.setattr(machine, "cpu_fields", lambda: fields)
    assert machine._mkl_kernels() == kernels


def test_an_unknown_processor_is_left_alone(monkeypatch):
    monkeypatch.setattr(machine, "cpu_fields", dict)
    assert machine._mkl_kernels() is None
