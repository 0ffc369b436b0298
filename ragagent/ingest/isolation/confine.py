"""What a reading process may not do: outlive its parent, reach a network, take more memory or time than it is given.

On Linux by the kernel's own means: a death signal, a seccomp filter, resource limits. Elsewhere what there is of them
applies, and the parent's watch over the time does the rest.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import math
import os
import platform
import resource
import signal
import struct
import sys
import threading

_PR_SET_PDEATHSIG, _PR_SET_SECCOMP, _PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS = 1, 22, 36, 38
_SECCOMP_MODE_FILTER = 2
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000 | errno.EACCES
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06  # instructions of the kernel's filter machine
_OTHER_ABI = 0x40000000
_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
# socket, io_uring_setup (opens sockets past the filter), ptrace and the two that reach into another process's memory.
_FORBIDDEN = {"x86_64": (41, 425, 101, 310, 311), "aarch64": (198, 425, 117, 270, 271)}
_PARENT_CHECK_S = 1.0
MAXRSS_BYTES = 1 if sys.platform == "darwin" else 1024
"""The unit of the peak memory that systems report of a process."""


def confine(parent: int) -> None:
    """Ties this process to `parent` and takes the network from it, and from all that it starts."""
    # An interrupt at the terminal is the parent's affair.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        control = ctypes.CDLL(None, use_errno=True).prctl
        control(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        # What a reader has started and forgotten comes to this process, which ends it.
        control(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        _forbid_network(control)
    else:
        threading.Thread(target=_end_after, args=(parent,), daemon=True).start()
    if os.getppid() != parent:
        os._exit(0)


def limit(memory_bytes: int, seconds: float) -> None:
    """Gives what follows so much memory in all, and so much more time of the processor."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _soft_limit(resource.RLIMIT_CPU, math.ceil(used.ru_utime + used.ru_stime + seconds) + 1)
    # Reserved addresses and mapped files are no memory; they count for RLIMIT_AS and not here.
    _soft_limit(resource.RLIMIT_DATA if sys.platform == "linux" else resource.RLIMIT_AS, memory_bytes)


def peak_bytes() -> int:
    """The most memory this process, or one that it has started, has had resident: what the system says at its end.

    At first what the process that started it had by then: Linux carries the figure of a parent over into the program
    that a child of it becomes.
    """
    return MAXRSS_BYTES * max(
        resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )


def _soft_limit(kind: int, value: int) -> None:
    _, hard = resource.getrlimit(kind)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(kind, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))


def _forbid_network(control: ctypes._NamedFuncPointer) -> None:
    machine = platform.machine()
    if machine not in _ARCHITECTURES:
        return
    program = _filter(machine)
    code = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog: the number of instructions, and where they are.
    header = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(code)))
    # Without the first the second is for root alone; where a kernel refuses, the readers still have no reason to.
    control(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    control(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.cast(header, ctypes.c_void_p), 0, 0)


def _filter(machine: str) -> bytes:
    """Refuses the forbidden calls with EACCES, and all calls of another architecture than `machine`."""
    forbidden = _FORBIDDEN[machine]
    left = len(forbidden)
    code = [
        (_LOAD, 0, 0, 4),  # the architecture
        (_EQUAL, 0, left + 2, _ARCHITECTURES[machine]),
        (_LOAD, 0, 0, 0),  # the number of the call
        (_AT_LEAST, left, 0, _OTHER_ABI),
        *((_EQUAL, left - 1 - place, 0, number) for place, number in enumerate(forbidden[:-1])),
        (_EQUAL, 0, 1, forbidden[-1]),
        (_RETURN, 0, 0, _REFUSE),
        (_RETURN, 0, 0, _ALLOW),
    ]
    return b"".join(struct.pack("HBBI", *one) for one in code)


def _end_after(parent: int) -> None:
    pause = threading.Event()
    while not pause.wait(_PARENT_CHECK_S):
        if os.getppid() != parent:
            os._exit(0)
