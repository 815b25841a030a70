"""Files appear whole or not at all, written beside their place and then renamed; and are what their hash says."""

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
except ImportError:  # Windows: what a killed process left is then not told from what another one writes
    locks: ModuleType | None = None
else:
    locks = fcntl


@contextmanager
def replacing(path: str | os.PathLike[str], overwrite: bool = True) -> Iterator[BinaryIO]:
    """A binary file that takes the place of ``path`` when the block ends well, and vanishes when it does not.

    It is written as ``.pnpkit-KEY-RANDOM.part`` beside its place, where KEY stands for the name of ``path``, and is
    locked meanwhile: one of the same KEY that nobody holds was left by a process that was killed, and is removed.

    Args:
        overwrite: whether a file at ``path`` is replaced. Of several processes that must not, exactly one succeeds.

    Raises:
        OSError: as ``open`` does, always with a file name; FileExistsError where there is a file that must not be
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
    """A new folder that takes the place of ``path`` when the block ends well, and vanishes when it does not.

    Args:
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
    """A new file of that prefix in the folder, open and locked.

    Not by ``tempfile``: its files are readable by their owner only.
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
        file.close()  # another process took it for a stale one before it was locked


def put(temporary: Path, path: Path) -> None:
    """Give the file the name ``path``, which no other file may have: FileExistsError if one has."""
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
    """Remove the parts of that prefix which no living process holds."""
    if locks is None:
        return
    with suppress(OSError):
        for name in os.listdir(folder):
            if name.startswith(prefix) and name.endswith(".part"):
                with suppress(OSError), open(folder / name, "rb") as file:
                    locks.flock(file, locks.LOCK_EX | locks.LOCK_NB)  # raises where another process holds it
                    os.unlink(folder / name)


def hold(path: Path) -> BinaryIO | None:
    """The file, open and locked until it is closed; None where another process holds it. Where there are no locks it is
    open only."""
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
    """``path`` holds exactly ``data``, or what it held before; see ``replacing``."""
    with replacing(path, overwrite) as file:
        file.write(data)


def sha256_of(path: str | os.PathLike[str]) -> str:
    """The hash of a file, in hexadecimal digits; of a folder that of the names and hashes of all that is in it."""
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
    """Raise InputError where no file can have that name: one of more than 255 bytes, for instance."""
    try:
        os.lstat(path)
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{path}: expected a name that a file can have, got one refused as '{reason}'") from None


def read_verified(path: Path, sha256: str) -> bytes:
    """The bytes of ``path``, once they have that hash.

    Raises:
        CardError: it cannot be read, or holds other bytes.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CardError(f"cannot read {path}: {error}") from error
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise CardError(f"{path} has sha256 {found[:12]}..., its card says {sha256[:12]}...")
    return data
