"""Takes a process's rights away: network, child processes, writing, memory and CPU. Knows no document and no protocol."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000
_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
_WRITE_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_TRUNC
_HEADROOM_BYTES = 64 * 1_048_576
_REFUSED_PREFIXES = ("socket.", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "shutil.", "ftplib.", "smtplib.", "urllib.", "http.")
_REFUSED = frozenset(
    "subprocess.Popen os.system os.startfile pty.spawn os.remove os.rename os.rmdir os.mkdir os.truncate os.link os.symlink os.chmod "
    "os.chown os.utime os.kill os.killpg os.setxattr os.removexattr os.putenv ctypes.dlopen ctypes.dlsym".split()
)


def die_with_parent(parent: int) -> None:
    """Ask the kernel to kill this process when ``parent`` ends; exit at once when it already has. Linux only, else nothing."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        raise SystemExit(1)


def confine() -> None:
    """Give up network, child processes and writing for the rest of this process's life. Cannot be undone.

    The kernel takes the network away where it permits an empty network namespace and the growth of files everywhere that has
    ``resource``; an audit hook refuses sockets, programs and changes to the file system in any case.
    """
    _leave_network()
    _forbid_file_growth()
    sys.addaudithook(_refuse)


def limit(*, cpu_seconds: int, memory_mb: int) -> None:
    """Bound the CPU time from now on and the address space in all; the kernel ends the process with SIGXCPU when CPU runs out."""
    if sys.platform == "win32":
        return
    import resource

    usage = resource.getrusage(resource.RUSAGE_SELF)
    used = int(usage.ru_utime + usage.ru_stime)
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (used + cpu_seconds + 1, hard))
    # Code already mapped counts; a small limit must still let the interpreter say that it is spent.
    space = max(memory_mb * 1_048_576, _address_space() + _HEADROOM_BYTES)
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_AS, (space, resource.getrlimit(resource.RLIMIT_AS)[1]))


def peak_memory_mb() -> int:
    """Return this process's largest resident size so far, in MB; 0 where the platform does not tell."""
    if sys.platform == "win32":
        return 0
    import resource

    try:
        # Linux's ru_maxrss starts from the parent's size at the fork; VmHWM is this program's own.
        with open("/proc/self/status", encoding="ascii", errors="replace") as status:
            own = next((line for line in status if line.startswith("VmHWM:")), "")
        if own:
            return int(own.split()[1]) // 1_024
    except OSError:
        pass  # no /proc: the resource module is the next best
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // (1_048_576 if sys.platform == "darwin" else 1_024)


def _address_space() -> int:
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def _leave_network() -> None:
    if sys.platform != "linux":
        return
    library = ctypes.CDLL(None, use_errno=True)
    library.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    # Without privileges an own user namespace is needed first; where neither is permitted the audit hook remains.
    if library.unshare(_CLONE_NEWNET) != 0:
        library.unshare(_CLONE_NEWUSER | _CLONE_NEWNET)


def _forbid_file_growth() -> None:
    if sys.platform == "win32":
        return
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _refuse(event: str, arguments: tuple[object, ...]) -> None:
    if event == "open":
        flags = arguments[2] if len(arguments) > 2 else 0
        if isinstance(flags, int) and flags & _WRITE_FLAGS:
            raise PermissionError("a document reader may not write files")
    elif event in _REFUSED or event.startswith(_REFUSED_PREFIXES):
        raise PermissionError(f"a document reader may not use {event}")
