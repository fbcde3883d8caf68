"""Locks between processes, on this machine and, where the file system allows it, on all that share a folder."""

from __future__ import annotations

import fcntl
import functools
import logging
import os
import signal
import tempfile
from pathlib import Path

from filelock import BaseFileLock, FileLock, SoftFileLease

LEASE_S = 60.0  # without a heartbeat: then another node takes over
# Kinds of mounts on which flock, where it works at all, keeps out this machine's processes only.
LOCAL_KINDS = ("cifs", "smb3", "9p", "vboxsf", "fuse.sshfs", "fuse.s3fs", "fuse.rclone", "fuse.gcsfuse")
LOCAL_OPTIONS = {"nolock", "local_lock=all", "local_lock=flock", "localflock", "noflock"}  # of NFS, of Lustre
logger = logging.getLogger(__name__)


def lock_at(path: Path) -> BaseFileLock:
    """A lock that one process holds at a time, for a with statement; its folder is made if missing.

    The kernel drops it when its holder dies (flock). Where flock does not reach other nodes it is a file with a
    heartbeat: a dead holder's is taken over, at once on its own node, after `LEASE_S` elsewhere; a holder that loses it
    (a node that hung) is told to stop, as by SIGTERM.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if flock_reaches(path.parent):
        return FileLock(path)
    return SoftFileLease(
        f"{path}.lease",
        lease_duration=LEASE_S,
        on_compromise=lambda loss: os.kill(os.getpid(), signal.SIGTERM),
    )


@functools.cache
def flock_reaches(folder: Path, mounts: Path = Path("/proc/self/mountinfo")) -> bool:
    """Whether flock in a folder holds among all nodes that share it, as far as can be told; said if not."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        kind, options = mount_of(folder.resolve(), mounts)
        reason = f"{kind} ({','.join(sorted(options & LOCAL_OPTIONS))})" if options & LOCAL_OPTIONS else None
        reason = reason or (kind if kind in LOCAL_KINDS else None)
    except OSError as error:
        reason = str(error)
    if reason:
        logger.info(
            "%s: flock does not reach other nodes here (%s); locks are files with a heartbeat", folder, reason
        )
    return not reason


def mount_of(folder: Path, mounts: Path) -> tuple[str, set[str]]:
    """Kind and options of the file system that holds a folder; empty where the system does not tell (proc(5))."""
    found: tuple[int, str, set[str]] = (-1, "", set())
    for line in mounts.read_text().splitlines() if mounts.exists() else ():
        before, after = (part.split() for part in line.split(" - ", 1))
        point = Path(before[4].encode().decode("unicode_escape"))
        if folder.is_relative_to(point) and len(point.parts) >= found[0]:
            found = (len(point.parts), after[0], {*before[5].split(","), *after[2].split(",")})
    return found[1:]
