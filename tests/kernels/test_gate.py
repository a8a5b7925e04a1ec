"""The GPU harness as far as a machine without a GPU goes: it compiles for Hopper, and its keystream is one-to-one."""

from __future__ import annotations

import pytest

from tests.support import require


@pytest.mark.torch
def test_the_harness_compiles_for_hopper() -> None:
    require("torch")
    from evolve.evaluators.timing import driver, gate

    try:
        image = driver.compile_cubin(gate.SOURCE, "sm_90")
    except driver.CudaError as error:
        pytest.skip(f"no NVRTC beside this torch: {error}")
    assert image[:4] == b"\x7fELF"
    with pytest.raises(driver.CudaError, match="nvrtcCompileProgram"):
        driver.compile_cubin('extern "C" __global__ void k() { nonsense; }', "sm_90")


def test_the_keystream_depends_on_key_and_place() -> None:
    from evolve.evaluators.timing.gate import keystream

    one = keystream(0x1234567890ABCDEF, 0, 4096)
    assert (keystream(0x1234567890ABCDEF, 100, 50) == one[100:150]).all()
    for key in (0x1234567890ABCDEE, 0x1234567890ABCDEF ^ (1 << 63)):
        assert (keystream(key, 0, 4096) != one).mean() > 0.99
    bits = [int(x).bit_count() for x in one]
    assert 15.5 < sum(bits) / len(bits) < 16.5
