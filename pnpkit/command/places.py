"""Where the results of a command go: names, folders, and what is refused before any work begins."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import click

from pnpkit.errors import InputError


def expand(inputs: tuple[str, ...], word: str = "", quiet: bool = True) -> list[str]:
    """Files as they are; a folder stands for the images in it, but, where there is a ``word``, not for those that an
    earlier run left: NAME-word beside NAME."""
    from pnpkit.images.files import EXTENSIONS

    files: list[str] = []
    for name in inputs:
        if not name:
            raise InputError("an input has an empty name: an unset variable of the shell?")
        if Path(name).is_dir():
            found = sorted(p for p in Path(name).iterdir() if p.suffix.lower() in EXTENSIONS and seen(p))
            if not found:
                raise InputError(f"folder {name} holds no image")
            results = {destination(str(p), None, word) for p in found} if word else set()
            files += [str(p) for p in found if p not in results]
            left = len(results & set(found))
            if left and not quiet:
                click.echo(f"{name}: {left} earlier results (*-{word}.*) are left alone")
        else:
            files.append(name)
    return files


def seen(path: Path) -> bool:
    """A file that a person sees in its folder."""
    return path.is_file() and not path.name.startswith(".")


def make_folder(out: str | None, several: bool) -> None:
    """The folder for results, if ``out`` must be one: by a slash at its end, or for want of any other place."""
    if out == "":
        raise InputError("the output has an empty name: an unset variable of the shell?")
    if out is None or Path(out).is_dir() or not (several or out.endswith("/")):
        return
    if Path(out).suffix and not out.endswith("/"):
        raise InputError(f"several images, or those of a folder, need a folder as output, got {out}")
    try:
        Path(out).mkdir(exist_ok=True)
    except OSError as error:
        raise InputError(f"the folder {out} cannot be made: {error.strerror}") from None


@contextmanager
def gone_if_empty(*folders: str | None) -> Iterator[None]:
    """Folders that are not there before the block are not there after it either, unless something is in them."""
    new = [Path(name) for name in folders if name and not Path(name).exists()]
    try:
        yield
    finally:
        for path in new:
            with suppress(OSError):
                path.rmdir()


def destination(name: str, out: str | None, word: str) -> Path:
    """Where the result goes."""
    source = Path(name)
    if out is None:
        return source.with_name(f"{source.stem}-{word}{source.suffix}")
    return Path(out) / source.name if Path(out).is_dir() else Path(out)


def target_for(name: str, out: str | None, word: str, overwrite: bool) -> Path:
    """Where the result goes; refuses what must not be written."""
    from pnpkit.images.files import check_input, check_output

    check_input(name)
    target = destination(name, out, word)
    check_output(target, [Path(name)], overwrite)
    return target


def identity(path: str | os.PathLike[str]) -> object:
    """What two names of one file have in common: its inode or, before there is a file, where it will be."""
    try:
        found = os.stat(path)
    except OSError:
        return os.path.realpath(path)
    return found.st_dev, found.st_ino


def check_apart(files: list[str], places: list[Path]) -> None:
    """Refuse two results with one name: the second would take the place of the first."""
    taken: dict[str, str] = {}
    for name, place in zip(files, places, strict=True):
        other = taken.setdefault(os.path.realpath(place), name)
        if other is not name:
            raise InputError(f"{other} and {name} would both be written to {place}: restore them one by one")


def page_of(name: str, folder: str) -> Path:
    """The page of --report."""
    return Path(folder) / f"{Path(name).stem}.html"


def places(name: str, options: dict[str, Any]) -> tuple[Path | None, Path | None]:
    """Where the page and the animation go; the folder of the pages is made."""
    page = page_of(name, options["report"]) if options["report"] else None
    gif = Path(options["gif"]) if options.get("gif") else None
    if gif is not None and gif.suffix.lower() != ".gif":
        raise InputError(f"--gif {gif}: expected a name that ends with .gif")
    for what, path in (("--report", page), ("--gif", gif)):
        parent = None if path is None else path.parent.parent if what == "--report" else path.parent
        if parent is not None and not parent.is_dir():
            raise InputError(f"the folder of {what} {path} does not exist")
        if path is not None and path.exists() and not options["overwrite"]:
            raise InputError(f"{what} {path} exists: choose another name or add --overwrite")
    if page is not None:
        try:
            page.parent.mkdir(exist_ok=True)
        except OSError as error:
            raise InputError(f"--report {page.parent}: {error.strerror}") from None
    return page, gif
