"""The engine protocol, and what the workers need to know about a device.

This is all of ``models`` that ``tasks`` may see, beside the registry. Importing it imports
no torch: a worker's parent process must never touch a device.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import logging
import os
import platform
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from farm.errors import DeviceBroken, EngineFault, FarmError, OutOfMemory
from farm.types import Artifact, OnStep, Picture, RunRequest

CPU = "cpu"
FIRST_GPU = "cuda:0"
"""A worker owns one GPU; which one is CUDA_VISIBLE_DEVICES' affair."""
HUB = "hub"
TINY = "tiny"
"""The two settings of where weights come from that are no folder."""

Interrupts = tuple[type[Exception], ...]

_log = logging.getLogger(__name__)


class HubSource(Protocol):
    """A hub repository at a pinned commit.

    ``variant`` names a precision's files (``fp16``); ``layout`` is ``pipeline`` (diffusers'
    index and folders), ``model`` (one configuration and its weights) or ``files`` (those that
    ``files`` lists, by their paths in the repository, and no other). Of any source,
    ``only_with`` are the card's options with which it is used at all.
    """

    @property
    def hub_id(self) -> str: ...
    @property
    def revision(self) -> str: ...
    @property
    def variant(self) -> str | None: ...
    @property
    def layout(self) -> str: ...
    @property
    def files(self) -> Sequence[str]: ...
    @property
    def only_with(self) -> Mapping[str, str]: ...


@runtime_checkable
class FileSource(Protocol):
    """A single file under a URL, of which the SHA-256 is known.

    ``format`` is ``onnx``, ``safetensors``, or one that is converted to safetensors when it is
    fetched: ``torch`` (a pickled checkpoint) and ``torchscript``.
    """

    @property
    def url(self) -> str: ...
    @property
    def sha256(self) -> str: ...
    @property
    def format(self) -> str: ...
    @property
    def only_with(self) -> Mapping[str, str]: ...


Source = HubSource | FileSource


class Card(Protocol):
    """What the registry reads of a model's card: its id, the parts of its weights by name, the
    engine's own settings, and what truly makes the output."""

    @property
    def id(self) -> str: ...
    @property
    def weights(self) -> Mapping[str, Source]: ...
    @property
    def options(self) -> Mapping[str, str]: ...

    def served_by(self, weights: str) -> str: ...


class Gate(Protocol):
    """Knows whether an upstream should be called now, from how the last calls went."""

    def wait_s(self) -> float:
        """Seconds until it may be asked again; 0: the caller calls now, and says how it went."""
        ...

    def went_well(self) -> None:
        """The upstream answered."""
        ...

    def went_wrong(self) -> None:
        """The upstream did not answer, or broke."""
        ...


Fetch = Callable[[str, int, float], bytes]
"""What a URL answers with: at most so many bytes, within so many seconds. Raises
:class:`farm.errors.Rejected` where it may not be fetched, could not be, or is larger."""

ReadPicture = Callable[[bytes], Picture]
"""A picture of unknown origin, checked. Raises :class:`farm.errors.Rejected` for what is none,
:class:`farm.errors.Overloaded` where there is not enough memory for it."""


@dataclass(frozen=True, slots=True)
class UpstreamSetup:
    """Another service that runs a model for the farm, and what calling it needs from outside.

    ``name`` is what the service is called; ``model`` its own name for the model; ``timeout_s``
    the longest wait for one answer, ``run_s`` for all of one run, ``backoff_s`` the shortest
    before the same is asked again. The ``key`` is in no repr.
    """

    name: str
    base_url: str
    key: str = field(repr=False)
    model: str
    served_by: str
    timeout_s: float
    run_s: float
    fetch: Fetch
    read_picture: ReadPicture
    gate: Gate
    backoff_s: float = 0.5


@dataclass(frozen=True, slots=True)
class EngineSetup:
    """What an engine is made from.

    ``weights`` is ``hub``, ``tiny``, or a folder with one folder per model id; ``sources`` are
    the parts of the real weights, ``options`` the card's settings for the engine. ``cache`` is
    where tiny checkpoints and fetched files are kept. ``interrupts`` are exceptions of the
    caller's that may arrive in the middle of a call (a time limit's signal); they pass through
    unchanged. ``upstream`` is the service that runs the model, where one does.
    """

    model_id: str
    weights: str
    sources: Mapping[str, Source]
    options: Mapping[str, str]
    served_by: str
    cache: Path
    interrupts: Interrupts = ()
    upstream: UpstreamSetup | None = None


class Engine(Protocol):
    """One model that can be loaded, run and unloaded, by one thread at a time.

    The order is ``load``, any number of ``run``, ``unload``; then ``load`` again, if wanted.
    An engine is usable after any ``run`` that raised, DeviceBroken excepted: after that nothing
    works on the device in this process.

    ``served_by`` says what truly makes the output (``sdxl``, or ``sdxl-tiny``; ``grabcut``).
    ``resident_bytes`` is the device memory that ``load`` took, 0 while unloaded.
    """

    @property
    def served_by(self) -> str: ...
    @property
    def resident_bytes(self) -> int: ...

    def load(self, device: str) -> None:
        """Bring the weights onto ``device`` (``cpu`` or ``cuda:<n>``); a no-op when loaded.

        Raises:
            WeightsMissing: the files are not there, or not whole.
            OutOfMemory: the device is too small, or too full.
            EngineFault: the library refused the files, or the device broke.
        """
        ...

    def run(self, request: RunRequest, on_step: OnStep) -> list[Artifact]:
        """Do one job. The same model, parameters and seed on the same kind of device give
        the same output.

        ``on_step(step, steps)`` is called after each model step, with ``step`` rising by one
        from 1 to ``steps``. What it raises of :class:`farm.errors.FarmError` (``Cancelled``)
        ends the run at that step and passes through unchanged, and so do the interrupts.
        An engine that waits for somebody else's work calls it every second or so with the step
        that it knows of, which may be the same again, or 0 before the first.

        Raises:
            InvalidRequest: a parameter is missing, unknown or unusable; nothing was computed.
            OutOfMemory: the device was too full for this request.
            DeviceBroken: the device is lost to this process.
            ContentRefused: whoever runs the model has a policy against it.
            EngineFault: anything else that broke, with its cause.
        """
        ...

    def unload(self) -> None:
        """Give the device memory back; a no-op when unloaded. The object may load again."""
        ...


class Judge(Protocol):
    """Looks at what an engine made, before it is stored; used by one thread at a time."""

    def load(self, device: str) -> None:
        """Bring the classifier onto ``device``; a no-op when loaded.

        Raises:
            SetupError: it is not there, broken, or does not know a refused label. Whoever
                wanted results judged hands none out then.
            OutOfMemory: the device is too small, or too full.
        """
        ...

    def refusal(self, artifact: Artifact) -> str | None:
        """The label for which a result is refused, or None where it may be handed out.

        Pictures are looked at; other kinds of results are not, and may be.

        Raises:
            OutOfMemory, EngineFault: it could not be told.
        """
        ...

    def unload(self) -> None:
        """Give the memory back; a no-op when unloaded."""
        ...


@contextlib.contextmanager
def faults(engine: str, doing: str, interrupts: Interrupts = ()) -> Iterator[None]:
    """Turn what a library raises into the farm's errors; the one place where that happens.

    Raises:
        OutOfMemory: the device, or the machine, had too little memory.
        DeviceBroken: the device is lost to this process.
        EngineFault: anything else that is neither a FarmError nor one of ``interrupts``.
    """
    unchanged: Interrupts = (FarmError, *interrupts)
    try:
        yield
    except unchanged:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            # The frames of the failed call hold the tensors that did not fit; whoever
            # catches this wants to empty the cache and try again.
            traceback.clear_frames(error.__traceback__)
            raise OutOfMemory(f"The {engine} engine ran out of memory while {doing}.") from error
        reason = f"{type(error).__name__}: {error}".strip(": ")
        kind = DeviceBroken if is_device_broken(error) else EngineFault
        raise kind(f"The {engine} engine broke while {doing}: {reason:.500}") from error


def is_out_of_memory(error: BaseException) -> bool:
    """True for an allocation that failed, on a GPU or in main memory."""
    if isinstance(error, MemoryError):
        return True
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(error, torch.OutOfMemoryError):
        return True
    cv2 = sys.modules.get("cv2")
    if cv2 is not None and isinstance(error, cv2.error):
        return bool(getattr(error, "code", None) == cv2.Error.STS_NO_MEM)
    # torch's CPU allocator and some CUDA libraries raise a bare RuntimeError.
    words = str(error)
    return isinstance(error, RuntimeError) and (
        "DefaultCPUAllocator" in words
        or "CUDA out of memory" in words
        or "CUDA error: out of memory" in words
        or "CUBLAS_STATUS_ALLOC_FAILED" in words
    )


def is_device_broken(error: BaseException) -> bool:
    """True for what CUDA says when a kernel went wrong (an illegal address, a failed assertion, an
    uncorrectable memory error): every later call of this process gets the same answer."""
    if not isinstance(error, RuntimeError) or is_out_of_memory(error):
        return False
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(error, torch.AcceleratorError):
        return True
    # The libraries on top of CUDA are told of it, and raise a bare RuntimeError.
    words = str(error)
    return "CUDA error: " in words or "CUDNN_STATUS_EXECUTION_FAILED" in words


def pick_device() -> str:
    """``cuda:0`` where torch sees a GPU, else ``cpu``; where torch is not installed, too.

    Imports torch and may start CUDA, which does not survive a fork: call it in the process
    that will run the engine.
    """
    try:
        import torch
    except ModuleNotFoundError:
        return CPU
    return FIRST_GPU if torch.cuda.is_available() else CPU


def device_memory_bytes(device: str) -> int:
    """All memory of a device, in bytes: the GPU's own, or the machine's for ``cpu``."""
    if device == CPU:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    import torch

    return int(torch.cuda.get_device_properties(device).total_memory)


@dataclass(frozen=True, slots=True)
class DeviceState:
    """A device as an operator sees it: the GPU's name, or None for a machine without one, and
    its memory with everything in it, of whatever process; 0 where the driver does not say."""

    gpu: str | None
    memory_bytes: int
    memory_used_bytes: int


class DeviceWatch:
    """Looks at the device of a worker without touching it: asks the driver (NVML), not CUDA.

    So a worker can be seen before its first job, and torch stays out until then. Used by one
    thread.

    Args:
        visible: what CUDA_VISIBLE_DEVICES says, None where it is not set. The first of them
            is the worker's.
    """

    def __init__(self, visible: str | None) -> None:
        self._nvml, self._gpu, self._name = _first_gpu(visible)

    @property
    def has_gpu(self) -> bool:
        """Whether the driver knows a GPU that this process may use."""
        return self._gpu is not None

    def look(self, device: str) -> DeviceState:
        """The device as it is now: ``cpu``, or the GPU."""
        if device == CPU or self._gpu is None:
            import psutil

            memory = psutil.virtual_memory()
            return DeviceState(None, memory.total, memory.total - memory.available)
        try:
            memory = self._nvml.nvmlDeviceGetMemoryInfo(self._gpu)
        except self._nvml.NVMLError:
            # GPUs that share the machine's memory have no number of their own.
            return DeviceState(self._name, 0, 0)
        return DeviceState(self._name, int(memory.total), int(memory.used))

    def versions(self) -> dict[str, str]:
        """The versions of Python, of the libraries that engines need and of the GPU's driver."""
        found = {"python": platform.python_version()}
        for name, distribution in (("farm", "media-farm"), ("torch",) * 2, ("diffusers",) * 2):
            with contextlib.suppress(importlib.metadata.PackageNotFoundError):
                found[name] = importlib.metadata.version(distribution)
        if self._gpu is not None:
            with contextlib.suppress(self._nvml.NVMLError):
                found["driver"] = str(self._nvml.nvmlSystemGetDriverVersion())
                cuda = int(self._nvml.nvmlSystemGetCudaDriverVersion_v2())
                found["cuda"] = f"{cuda // 1000}.{cuda % 1000 // 10}"
        return found


def _first_gpu(visible: str | None) -> tuple[Any, Any, str | None]:
    """NVML, its handle of the first visible GPU, and that GPU's name; else Nones."""
    try:
        import pynvml
    except ImportError:
        return None, None, None
    first = "0" if visible is None else visible.split(",")[0].strip()
    if not first:
        return None, None, None
    try:
        pynvml.nvmlInit()
        if first.startswith("MIG-"):
            gpu = pynvml.nvmlDeviceGetHandleByUUID(first)
            return pynvml, gpu, str(pynvml.nvmlDeviceGetName(gpu))
        for index in range(pynvml.nvmlDeviceGetCount()):
            gpu = pynvml.nvmlDeviceGetHandleByIndex(index)
            # CUDA takes the beginning of a UUID for the whole.
            uuid = str(pynvml.nvmlDeviceGetUUID(gpu))
            if first == str(index) or (first.startswith("GPU-") and uuid.startswith(first)):
                return pynvml, gpu, str(pynvml.nvmlDeviceGetName(gpu))
    except pynvml.NVMLError as error:  # no driver, or no such GPU
        _log.info("no GPU to tell of: %s", error)
    return pynvml, None, None
