# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import io

import h5py
import numpy as np
import torch

from universal_model_components.imaging.hdf5 import LEVELS, case_file, dequantize, encode, quantize


def test_quantized_values_are_within_half_a_step(generator):
    values = torch.rand(7, 5, 3, generator=generator)
    values[0, 0, :2] = torch.tensor([0.0, 1.0])
    levels = quantize(values.clone())
    assert levels.dtype == np.uint16
    assert levels[0, 0, :2].tolist() == [0, LEVELS]
    restored = dequantize(levels)
    assert restored.dtype == np.float32
    assert np.abs(restored - values.numpy()).max() <= 0.5 / LEVELS + 1e-7
    assert np.array_equal(quantize(torch.from_numpy(restored.copy())), levels)


def test_a_file_holds_what_was_encoded(generator):
    levels = quantize(torch.rand(3, 8, 8, 4, generator=generator))
    content = encode("cubes", levels, (1, 8, 8, 4), {"case": "ct/a", "levels": LEVELS}, {"scale": np.arange(3)})
    with h5py.File(io.BytesIO(content), "r") as stored:
        assert sorted(stored) == ["cubes", "scale"]
        cubes = stored["cubes"]
        assert (cubes.chunks, cubes.compression, cubes.shuffle, cubes.dtype) == ((1, 8, 8, 4), "gzip", True, np.uint16)
        assert all(part.fletcher32 for part in stored.values())
        assert np.array_equal(cubes[()], levels)
        assert stored["scale"][()].tolist() == [0, 1, 2]
        assert dict(stored.attrs) == {"case": "ct/a", "levels": LEVELS}


def test_the_bytes_of_a_file_depend_on_its_content_alone():
    # LZF's table keeps what was compressed before: of sixty arrays like these, it wrote six with other bytes.
    random = np.random.default_rng(0)
    walks = [(random.integers(-1, 2, (8, 16, 16, 8)).cumsum(axis=-1) + 200).astype(np.uint16) for _ in range(60)]
    first = [encode("cubes", walk, (1, 16, 16, 8), {}) for walk in walks]
    again = [encode("cubes", walk, (1, 16, 16, 8), {}) for walk in reversed(walks)]
    assert first == again[::-1]


def test_the_bytes_of_a_file_do_not_depend_on_when_its_arrays_are_freed(monkeypatch):
    arguments = "cubes", np.arange(4096, dtype=np.uint16).reshape(4, 16, 16, 4), (1, 16, 16, 4), {"case": "a" * 600}
    tables = {"scale": np.zeros(4, np.uint8), "box": np.zeros((4, 2, 3), np.float32)}
    freed, held, create = encode(*arguments, tables), [], h5py.Group.create_dataset

    def hold(*given, **options):  # as a profiler does that looks at the frames of a thread
        held.append(create(*given, **options))
        return held[-1]

    monkeypatch.setattr(h5py.Group, "create_dataset", hold)
    assert encode(*arguments, tables) == freed
    assert len(held) == 3


def test_different_ids_have_different_files():
    first, second = case_file("store", "ct/a b"), case_file("store", "ct/a_b")
    assert first != second
    assert first.parent == second.parent
    assert first.name.startswith("ct_a_b-")


def test_levels_are_kept_and_volumes_rounded_to_the_nearest(generator):
    levels = np.arange(LEVELS + 1, dtype=np.uint16)
    np.testing.assert_array_equal(quantize(torch.from_numpy(dequantize(levels))), levels)
    volume = torch.rand(5, 6, 7, generator=generator)
    rounded = dequantize(quantize(volume.clone()))
    assert rounded.dtype == np.float32
    assert np.abs(rounded - volume.numpy()).max() <= 0.5 / LEVELS + 1e-7
