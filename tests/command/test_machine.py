"""What is set for the processor before Paddle is imported."""

import pytest

from convbert.command import machine

AVX2 = "fpu avx avx2 fma"
AVX512 = f"{AVX2} avx512f avx512dq avx512cd avx512bw avx512vl"


@pytest.mark.parametrize(
    ("fields", "kernels"),
    [
        ({"vendor_id": "AuthenticAMD", "flags": "fpu avx"}, None),
        ({"vendor_id": "AuthenticAMD", "flags": AVX2}, "5"),
        ({"vendor_id": "AuthenticAMD", "flags": f"{AVX2} avx512f"}, "5"),
        ({"vendor_id": "AuthenticAMD", "flags": AVX512}, "7"),
        ({"vendor_id": "GenuineIntel", "flags": AVX512}, None),
        ({}, None),
    ],
)
def test_mkl_gets_the_kernels_of_an_amd_processor(monkeypatch, fields, kernels):
    monkeypatch.setattr(machine, "cpu_fields", lambda: fields)
    assert machine._mkl_kernels() == kernels
