"""The program that runs Python of unknown origin: it takes its own rights away, and then reads the code.

Started by `ragagent.tools.sandbox` as a file, and made of the standard library alone. From the kernel it asks:

- Landlock: no file can be opened, made, renamed or removed but in the scratch folder; the interpreter's own library and
  the system's shared libraries can be read;
- a seccomp filter that lets through a list of system calls that work on memory, on open files, on files of those
  folders and on the clock: no socket, no process or thread, no signal, no other process's memory, no program to become;
- limits of memory, processor time, file size and open files;
- namespaces of its own for users, network and shared memory, where these are permitted.

All but the last have to be given: where one is not, it ends with `UNSAFE` before it has read a byte of the code. Before
that it also tries a socket, a process, a signal and a file of /proc, and ends where one of them works.
"""

from __future__ import annotations

import ctypes
import os
import resource
import struct
import sys

UNSAFE = 125
"""What the program ends with when it cannot be safe; it says why on its error stream."""
MACHINE = "x86_64"
LANDLOCK = 3
"""The first version of Landlock that guards against truncation."""

_PDEATHSIG, _DUMPABLE, _SECCOMP, _NO_NEW_PRIVS = 1, 4, 22, 38
_NEW_USER, _NEW_NET, _NEW_IPC = 0x10000000, 0x40000000, 0x08000000
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_ALLOW, _REFUSE, _KILL = 0x7FFF0000, 0x00050000 | 1, 0x80000000
_ARCHITECTURE, _OTHER_ABI = 0xC000003E, 0x40000000
_SOCKET, _FORK, _KILL_CALL, _UNSHARE = 41, 57, 62, 272
_IOCTL, _FCNTL, _PRLIMIT, _CAPSET = 16, 72, 302, 126
# Whether it is a terminal, and how large; whether it is closed when another program begins.
_REQUESTS = (0x5401, 0x5413, 0x5451)
# Copies, flags and locks of open files. F_SETOWN and F_SETSIG would send any signal to any process of the user.
_COMMANDS = (0, 1, 2, 3, 4, 5, 6, 7, 1030)

# By the numbers of x86_64.
_CALLS = {
    "memory": (9, 10, 11, 12, 25, 28),  # mmap mprotect munmap brk mremap madvise
    "open files": (0, 1, 3, 5, 8, 17, 18, 19, 20, 32, 33, 292, 74, 75, 77, 217, 436, 7, 23, 270, 271, 138),
    # open openat stat lstat newfstatat statx access faccessat faccessat2 rename renameat renameat2 unlink unlinkat
    # getcwd chdir umask
    "files": (2, 257, 4, 6, 262, 332, 21, 269, 439, 82, 264, 316, 87, 263, 79, 80, 95),
    "itself": (
        39,
        186,
        102,
        104,
        107,
        108,
        110,
        63,
        98,
        97,
        100,
        204,
        218,
        273,
        334,
        158,
        202,
        60,
        231,
        24,
        111,
        118,
        120,
    ),
    "time": (35, 230, 96, 201, 228, 229),
    "handlers of signals": (13, 14, 15, 131),
    "chance": (318,),
}

_WRITE, _READ, _LIST, _UNLINK, _MAKE_FILE, _TRUNCATE = (1 << bit for bit in (1, 2, 3, 5, 8, 14))
# No folders in it: one in another in another, thousands deep, could neither be measured nor removed.
_SCRATCH = _WRITE | _READ | _LIST | _UNLINK | _MAKE_FILE | _TRUNCATE
_LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64")
_FILES = ("/etc/ld.so.cache", "/dev/urandom")


class Unsafe(Exception):
    """The kernel does not give what is needed."""


def main() -> None:
    memory_bytes, seconds, file_bytes, files = map(int, sys.argv[1:5])
    scratch = os.getcwd()
    try:
        _confine(scratch, memory_bytes, seconds, file_bytes, files)
    except (Unsafe, OSError, ValueError, AttributeError) as error:
        sys.stderr.write(str(error))
        sys.stderr.flush()
        os._exit(UNSAFE)
    code = sys.stdin.buffer.read().decode("utf-8", "replace")
    sys.stdin.close()
    _run(code)


def _confine(scratch: str, memory_bytes: int, seconds: int, file_bytes: int, files: int) -> None:
    if sys.platform != "linux" or os.uname().machine != MACHINE:
        raise Unsafe(f"it is made for Linux on {MACHINE}, and this is {sys.platform} on {os.uname().machine}")
    library = ctypes.CDLL(None, use_errno=True)
    library.syscall.restype = ctypes.c_long
    library.prctl(_PDEATHSIG, 9, 0, 0, 0)
    library.prctl(_DUMPABLE, 0, 0, 0, 0)
    if library.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise Unsafe("the kernel does not let a process give up rights (PR_SET_NO_NEW_PRIVS)")
    # More than is needed, and not permitted everywhere.
    library.syscall(_UNSHARE, _NEW_USER | _NEW_NET | _NEW_IPC)
    # Whatever root could do without asking: all capabilities, version 3 of the call, two words of three sets.
    if library.syscall(_CAPSET, struct.pack("=Ii", 0x20080522, 0), struct.pack("=6I", *[0] * 6)):
        raise Unsafe("the kernel does not let a process give up capabilities")
    _limit(memory_bytes, seconds, file_bytes, files)
    _landlock(library, scratch)
    _filter(library)
    _try_out(library)


def _limit(memory_bytes: int, seconds: int, file_bytes: int, files: int) -> None:
    limits = {
        resource.RLIMIT_AS: memory_bytes,
        resource.RLIMIT_CPU: seconds,
        resource.RLIMIT_FSIZE: file_bytes,
        resource.RLIMIT_NOFILE: files,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MEMLOCK: 0,
    }
    for kind, value in limits.items():
        _, hard = resource.getrlimit(kind)
        most = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (most, most))


def _landlock(library: ctypes.CDLL, scratch: str) -> None:
    version = library.syscall(444, None, ctypes.c_size_t(0), ctypes.c_uint32(1))
    if version < LANDLOCK:
        what = f"is version {version}" if version > 0 else "is not there"
        raise Unsafe(f"Landlock {what}, and version {LANDLOCK} of it is needed to keep files out of reach (Linux 6.2)")
    files = (1 << (16 if version >= 5 else 15)) - 1
    network, scopes = (3 if version >= 4 else 0), (3 if version >= 6 else 0)
    fields = (files, network, scopes)[: 3 if version >= 6 else 2 if version >= 4 else 1]
    attributes = struct.pack(f"{len(fields)}Q", *fields)
    rules = library.syscall(444, attributes, ctypes.c_size_t(len(attributes)), ctypes.c_uint32(0))
    if rules < 0:
        raise Unsafe("Landlock takes no rules")
    _allow(library, rules, scratch, _SCRATCH)
    for folder in {*_LIBRARIES, os.path.join(sys.base_prefix, "lib"), *sys.path, "/usr/share/zoneinfo"}:
        if os.path.isdir(folder):
            _allow(library, rules, folder, _READ | _LIST)
        elif os.path.isfile(folder):
            _allow(library, rules, folder, _READ)
    for file in _FILES:
        if os.path.exists(file):
            _allow(library, rules, file, _READ)
    if library.syscall(446, ctypes.c_int(rules), ctypes.c_uint32(0)):
        raise Unsafe("Landlock does not take effect")
    os.close(rules)


def _allow(library: ctypes.CDLL, rules: int, path: str, access: int) -> None:
    place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    attributes = struct.pack("=Qi", access, place)
    if library.syscall(445, ctypes.c_int(rules), ctypes.c_int(1), attributes, ctypes.c_uint32(0)):
        raise Unsafe(f"Landlock takes no rule for {path}")
    os.close(place)


def _filter(library: ctypes.CDLL) -> None:
    program = _program()
    code = ctypes.create_string_buffer(program, len(program))
    header = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(code)))
    if library.prctl(_SECCOMP, 2, ctypes.cast(header, ctypes.c_void_p), 0, 0):
        raise Unsafe("the kernel takes no filter of system calls (seccomp)")


def _program() -> bytes:
    """What is on the list passes, all else is refused with EPERM; calls of another architecture end the process."""
    code = [
        (_LOAD, 0, 0, 4),
        (_EQUAL, 1, 0, _ARCHITECTURE),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, 0),
        (_AT_LEAST, 0, 1, _OTHER_ABI),
        (_RETURN, 0, 0, _KILL),
    ]
    for number in sorted({number for group in _CALLS.values() for number in group}):
        code += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _ALLOW)]
    for number, chosen in ((_IOCTL, _REQUESTS), (_FCNTL, _COMMANDS)):
        block = [(_LOAD, 0, 0, 24)]
        for request in chosen:
            block += [(_EQUAL, 0, 1, request), (_RETURN, 0, 0, _ALLOW)]
        code += [(_EQUAL, 0, len(block) + 1, number), *block, (_RETURN, 0, 0, _REFUSE)]
    # Limits may be asked for and not set: nothing where the new one would be.
    asked = [(_LOAD, 0, 0, 32), (_EQUAL, 0, 3, 0), (_LOAD, 0, 0, 36), (_EQUAL, 0, 1, 0), (_RETURN, 0, 0, _ALLOW)]
    code += [(_EQUAL, 0, len(asked) + 1, _PRLIMIT), *asked, (_RETURN, 0, 0, _REFUSE)]
    code.append((_RETURN, 0, 0, _REFUSE))
    return b"".join(struct.pack("HBBI", *one) for one in code)


def _try_out(library: ctypes.CDLL) -> None:
    """Ends where something works that must not."""
    if library.syscall(_SOCKET, 2, 1, 0) >= 0:
        raise Unsafe("a socket could be opened")
    child = library.syscall(_FORK)
    if child == 0:
        os._exit(0)
    if child > 0 or library.syscall(_KILL_CALL, os.getpid(), 0) == 0:
        raise Unsafe("a process could be started, or a signal sent")
    for path in ("/proc/self/environ", "/"):
        try:
            os.close(os.open(path, os.O_RDONLY))
        except OSError:
            continue
        raise Unsafe(f"{path} could be opened")


def _run(code: str) -> None:
    """Runs it as the main module; of a last line that is an expression the value is printed, as at a prompt."""
    import ast
    import traceback

    names: dict[str, object] = {"__name__": "__main__", "__builtins__": __builtins__}
    try:
        tree = ast.parse(code, "<code>")
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, "<code>", "exec"), names)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), "<code>", "eval"), names)
            if value is not None:
                sys.stdout.write(f"{value!r}\n")
    except SystemExit as ended:
        sys.stdout.flush()
        raise ended
    except BaseException as error:  # noqa: BLE001  # whatever the code raises is told, and is its own
        sys.stdout.flush()
        # The first frame is this function's.
        place = error.__traceback__.tb_next if error.__traceback__ is not None else None
        traceback.print_exception(type(error), error, place, limit=-5)
        sys.stderr.flush()
        os._exit(1)
    sys.stdout.flush()


if __name__ == "__main__":
    main()
