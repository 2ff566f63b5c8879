"""Devices, and the one place where a library's errors become the farm's."""

from __future__ import annotations

import weakref

import cv2
import numpy as np
import pytest
import torch

from farm.errors import Cancelled, DeviceBroken, EngineFault, OutOfMemory
from models.base import device_memory_bytes, faults, pick_device


def test_the_device_is_what_torch_sees() -> None:
    assert pick_device() == ("cuda:0" if torch.cuda.is_available() else "cpu")


def test_the_cpus_memory_is_the_machines() -> None:
    assert 2**28 < device_memory_bytes("cpu") < 2**50


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)"),
        torch.AcceleratorError("CUDA error: out of memory"),
    ],
)
def test_failed_allocations_are_out_of_memory(error: Exception) -> None:
    says = "The x engine ran out of memory while running"
    with pytest.raises(OutOfMemory, match=says) as caught, faults("x", "running"):
        raise error
    assert caught.value.__cause__ is error


@pytest.mark.parametrize(
    "error",
    [
        torch.AcceleratorError("CUDA error: an illegal memory access was encountered"),
        RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling cublasSgemm(...)"),
        RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
    ],
)
def test_a_gpu_that_is_lost_to_this_process_is_named(error: Exception) -> None:
    with pytest.raises(DeviceBroken, match="broke while running") as caught, faults("x", "running"):
        raise error
    assert caught.value.__cause__ is error


def test_an_allocation_that_opencv_cannot_make_is_out_of_memory() -> None:
    with pytest.raises(OutOfMemory), faults("x", "running"):
        cv2.resize(np.zeros((8, 8, 3), np.uint8), (2**29, 2**29))
    with pytest.raises(EngineFault, match="resize") as caught, faults("x", "running"):
        cv2.resize(np.zeros((8, 8, 3), np.uint8), (0, 0))
    assert not isinstance(caught.value, OutOfMemory)


def test_out_of_memory_lets_go_of_what_the_failed_call_held() -> None:
    held: list[weakref.ref[torch.Tensor]] = []

    def fail() -> None:
        tensor = torch.ones(8)
        held.append(weakref.ref(tensor))
        raise MemoryError

    with pytest.raises(OutOfMemory) as caught, faults("x", "running"):
        fail()
    assert caught.value.__cause__ is not None
    assert held[0]() is None


def test_other_errors_are_engine_faults_that_say_what_broke() -> None:
    says = "broke while loading: ValueError: bad shape"
    with pytest.raises(EngineFault, match=says), faults("x", "loading"):
        raise ValueError("bad shape")


@pytest.mark.parametrize("error", [Cancelled("stop"), TimeoutError("limit")])
def test_the_farms_own_errors_and_interrupts_pass(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, faults("x", "running", (TimeoutError,)):
        raise error
    assert caught.value is error
