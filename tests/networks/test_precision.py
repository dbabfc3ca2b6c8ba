import pytest
import torch

from monai_tumor.networks.precision import cpu_has_bf16


@pytest.mark.parametrize(
    ("avx", "amx", "expected"),
    [(False, False, False), (True, False, True), (False, True, True)],
)
def test_either_instruction_set_will_do(monkeypatch, avx, amx, expected):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    assert cpu_has_bf16() is expected
