"""A program that takes memory of GPU 0 when it is told to, as another user of the GPU would.

    python -m scripts.gpu_memory.holder

It makes its context at once and says `ready`. Each line that it reads is a number of bytes: it takes as many, plainly
(cuMemAlloc), and says `took N`, or `failed CODE`. It has them until its input ends. The driver's own library is all
that it needs.
"""

from __future__ import annotations

import ctypes
import sys


class CudaError(Exception):
    """A call of the driver's library failed; with its code."""


class Cuda:
    """The driver's library, with a context on the first GPU. Raises OSError without it, CudaError where it fails."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL("libcuda.so.1")
        device, context = ctypes.c_int(), ctypes.c_void_p()
        self._call("cuInit", ctypes.c_uint(0))
        self._call("cuDeviceGet", ctypes.byref(device), 0)
        self._call("cuCtxCreate_v2", ctypes.byref(context), ctypes.c_uint(0), device)

    def take(self, size: int) -> None:
        """Take so many bytes."""
        place = ctypes.c_uint64()
        self._call("cuMemAlloc_v2", ctypes.byref(place), ctypes.c_size_t(size))

    def _call(self, name: str, *arguments: object) -> None:
        code = getattr(self._library, name)(*arguments)
        if code:
            raise CudaError(f"{name}: {code}")


def main() -> None:
    """Take what is told."""
    cuda = Cuda()
    print("ready", flush=True)
    for line in sys.stdin:
        try:
            cuda.take(int(line))
            print(f"took {line.strip()}", flush=True)
        except CudaError as error:
            print(f"failed {error}", flush=True)


if __name__ == "__main__":
    main()
