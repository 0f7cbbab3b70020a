"""A machine of its own for a real adbd: network, folders and processes.

`unshare` runs this file, as the first process there. The root folder is made
anew: all of this machine's but `/data` and `/sys`, which are the phone's.
Nothing of it can be seen from outside, and all of it ends with this program,
which ends with the socket that it is given. Requests on that are JSON:

    ["start"]         Starts the daemon.
    ["kill"]          Kills it.
    ["socket"]        Answers with a socket of this network.
    ["run", word...]  Runs a command; answers with its exit code.
"""

import contextlib
import fcntl
import json
import os
import select
import signal
import socket
import struct
import sys

_SIOCSIFFLAGS, _UP_AND_RUNNING = 0x8914, 0x1 | 0x40
_OWN = ("data", "sys", "proc")


def run(*words):
    return os.spawnvp(os.P_WAIT, words[0], words)


def mount(*words):
    if run("mount", *words):
        sys.exit(f"mount {' '.join(words)} failed")


def begin_network():
    with socket.socket() as any_socket:
        request = struct.pack("16sH14x", b"lo", _UP_AND_RUNNING)
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, request)


def enter_root(phone):
    """Makes the root folder, and enters it."""
    root = f"{phone}/root"
    os.mkdir(root)
    mount("-t", "tmpfs", "tmpfs", root)
    for entry in os.scandir("/"):
        place = f"{root}/{entry.name}"
        if entry.name in _OWN:
            continue
        if entry.is_symlink():
            os.symlink(os.readlink(entry.path), place)
        elif entry.is_dir():
            os.mkdir(place)
            mount("--rbind", entry.path, place)
    for name in _OWN:
        os.mkdir(f"{root}/{name}")
    mount("-t", "proc", "proc", f"{root}/proc")
    for name in ("data", "sys"):
        mount("--bind", f"{phone}/{name}", f"{root}/{name}")
    os.chroot(root)
    os.chdir("/")


def serve(control, command):
    daemon = None
    while True:
        ready, _, _ = select.select([control], [], [], 0.1)
        # Orphans come to the first process, which must bury them.
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if not ready:
            continue
        message = control.recv(4096)
        if not message:
            return
        kind, *words = json.loads(message)
        code = 0
        if kind == "start":
            daemon = os.spawnvp(os.P_NOWAIT, command[0], command)
        elif kind == "kill":
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(daemon, signal.SIGKILL)
                os.waitpid(daemon, 0)
        elif kind == "run":
            code = run(*words)
        else:
            with socket.socket() as ours:
                socket.send_fds(control, [b"0"], [ours.fileno()])
            continue
        control.send(str(code).encode())


def main():
    control = socket.socket(fileno=int(sys.argv[1]))
    begin_network()
    enter_root(sys.argv[2])
    control.send(b"0")
    serve(control, sys.argv[3:])


main()
