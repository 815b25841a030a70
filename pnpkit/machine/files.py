"""Writing files whole or not at all, and reading files whose hash is verified.

A file is written beside its final place and then renamed.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import BinaryIO

from pnpkit.errors import CardError, InputError

try:
    import fcntl
except ImportError:  # Windows: files left by a killed process cannot be told from those another process writes
    locks: ModuleType | None = None
else:
    locks = fcntl


@contextmanager
def replacing(path: str | os.PathLike[str], overwrite: bool = True) -> Iterator[BinaryIO]:
    """Yield a binary file that replaces ``path`` if the block succeeds, and that is removed if it fails.

    The file is written as ``.pnpkit-KEY-RANDOM.part`` beside ``path``, where KEY stands for its name. It is locked
    meanwhile. A file with the same KEY that no process holds was left by a killed process, and it is removed.

    Args:
        path: the final name.
        overwrite: whether a file at ``path`` is replaced. If it is not, exactly one of several processes succeeds.

    Raises:
        OSError: as ``open`` does, always with a file name. FileExistsError if there is a file that must not be
            replaced.
    """
    path = Path(path)
    prefix = f".pnpkit-{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:12]}-"
    remove_stale(path.parent, prefix)
    try:
        temporary, opened = begin(path.parent, prefix)
        try:
            with opened as file:
                yield file
                file.flush()
                if overwrite:
                    os.replace(temporary, path)
                else:
                    put(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        if error.errno is None or (error.filename and not str(error.filename).endswith(".part")):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


@contextmanager
def replacing_folder(path: str | os.PathLike[str], overwrite: bool = True) -> Iterator[Path]:
    """Yield a new folder that replaces ``path`` if the block succeeds, and that is removed if it fails.

    Args:
        path: the final name.
        overwrite: whether a folder at ``path`` is replaced.

    Raises:
        FileExistsError: there is something at ``path`` that must not be replaced.
        OSError: as ``os.mkdir`` and ``os.rename`` do.
    """
    path = Path(path)
    temporary = path.parent / f".pnpkit-{secrets.token_hex(8)}.part"
    temporary.mkdir()
    try:
        yield temporary
        if path.exists():
            if not (overwrite and path.is_dir()):
                raise FileExistsError(17, "exists already", str(path))
            old = path.parent / f".pnpkit-{secrets.token_hex(8)}.part"
            os.rename(path, old)
            os.rename(temporary, path)
            shutil.rmtree(old)
        else:
            os.rename(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def begin(folder: Path, prefix: str) -> tuple[Path, BinaryIO]:
    """Make a new file with this prefix in the folder, open and locked.

    ``tempfile`` is not used, because its files are readable by their owner only.
    """
    while True:
        temporary = folder / f"{prefix}{secrets.token_hex(8)}.part"
        file = temporary.open("xb")
        if locks is None:
            return temporary, file
        with suppress(OSError):  # a file system without locks
            locks.flock(file, locks.LOCK_EX)
        if os.fstat(file.fileno()).st_nlink:
            return temporary, file
        file.close()  # another process mistook it for a stale one before it was locked


def put(temporary: Path, path: Path) -> None:
    """Rename the file to ``path``. Raises FileExistsError if there is a file of this name."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise FileExistsError(17, "exists already", str(path)) from None
    except OSError:  # a file system without hard links: the name is taken first, then the file is moved to it
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        try:
            os.replace(temporary, path)
        except OSError:
            path.unlink()
            raise


def remove_stale(folder: Path, prefix: str) -> None:
    """Remove the parts with this prefix that no living process holds."""
    if locks is None:
        return
    with suppress(OSError):
        for name in os.listdir(folder):
            if name.startswith(prefix) and name.endswith(".part"):
                with suppress(OSError), open(folder / name, "rb") as file:
                    locks.flock(file, locks.LOCK_EX | locks.LOCK_NB)  # raises if another process holds it
                    os.unlink(folder / name)


def hold(path: Path) -> BinaryIO | None:
    """Open a file and lock it until it is closed. None if another process holds it. Without locks it is only opened."""
    file = path.open("ab")
    if locks is not None:
        try:
            locks.flock(file, locks.LOCK_EX | locks.LOCK_NB)
        except BlockingIOError:
            file.close()
            return None
        except OSError:  # a file system without locks
            pass
    return file


def write_whole(path: str | os.PathLike[str], data: bytes, overwrite: bool = True) -> None:
    """Write ``data`` to ``path``, which then holds exactly these data or its old content; see ``replacing``."""
    with replacing(path, overwrite) as file:
        file.write(data)


def sha256_of(path: str | os.PathLike[str]) -> str:
    """Return the hash of a file in hexadecimal digits. For a folder, hash the names and hashes of all its content."""
    digest = hashlib.sha256()
    if os.path.isdir(path):
        for below in sorted(below for below in Path(path).rglob("*") if below.is_file()):
            digest.update(f"{below.relative_to(path).as_posix()} {sha256_of(below)}\n".encode())
        return digest.hexdigest()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def check_name(path: Path) -> None:
    """Raise InputError if no file can have this name, for instance if it has more than 255 bytes."""
    try:
        os.lstat(path)
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{path}: expected a name that a file can have, got one refused as '{reason}'") from None


def read_verified(path: Path, sha256: str) -> bytes:
    """Return the bytes of ``path`` after checking that they have this hash.

    Raises:
        CardError: the file cannot be read, or holds other bytes.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CardError(f"cannot read {path}: {error}") from error
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise CardError(f"{path} has sha256 {found[:12]}..., its card says {sha256[:12]}...")
    return data
