"""Where the results of a command go, and what is refused of these places before any work begins."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pnpkit.command.messages import say
from pnpkit.command.options import Options
from pnpkit.errors import InputError
from pnpkit.images import address
from pnpkit.images.address import is_zarr
from pnpkit.machine import files

CANDIDATE = "candidate"  # what is added to the name of an input for the result of a blur that may be there


@dataclass(frozen=True)
class Places:
    """The paths of one input and of all that is written for it: pure names, nothing is touched.

    Attributes:
        source: the input. output: its result. json, page, gif: of --json, --report and --gif, where they are asked for.
    """

    source: str
    output: Path
    json: Path | None = None
    page: Path | None = None
    gif: Path | None = None

    @classmethod
    def of(cls, name: str, word: str, options: Options) -> Places:
        """The places of the input ``name`` whose result's name has ``word`` in it."""
        return cls(
            source=name,
            output=destination(name, options.out, word, ".png" if options.preview else ""),
            json=Path(options.json_file) if options.json_file else None,
            page=page_of(name, options.report) if options.report else None,
            gif=Path(options.gif) if options.gif else None,
        )

    def written(self) -> dict[str, Path]:
        """What is written, by its name in a message."""
        named = {"the output": self.output, "--json": self.json, "--report": self.page, "--gif": self.gif}
        return {what: path for what, path in named.items() if path is not None}


def destination(name: str, out: str | None, word: str, suffix: str = "") -> Path:
    """Where the result goes: to ``out``, into it if it is a folder, or beside the input as NAME-word; with the suffix
    of the input, unless another is given or nothing is written with that."""
    source, part = address.split(name)
    own = "".join(source.suffixes[-2:]) if source.stem.lower().endswith(".ome") else source.suffix
    stem, suffix = source.name.removesuffix(own) + (f"-{part}" if part else ""), suffix or written_as(own)
    if out is None:
        return source.with_name(f"{stem}-{word}{suffix}")
    return Path(out) / f"{stem}{suffix}" if is_folder(out) else Path(out)


def written_as(suffix: str) -> str:
    """The suffix of the result: that of the input, but for what is read alone."""
    from pnpkit.images.files import DEVELOPED

    return DEVELOPED.get(suffix.lower(), suffix)


def is_folder(name: str | os.PathLike[str]) -> bool:
    """Whether it is a folder, and not one of zarr, which stands for a file."""
    return os.path.isdir(name) and not is_zarr(name)


def page_of(name: str, folder: str) -> Path:
    """The page of --report: the name that is given where it ends with .html, else NAME.html in that folder."""
    source, part = address.split(name)
    return Path(folder) if is_page(folder) else Path(folder) / f"{source.stem}{f'-{part}' if part else ''}.html"


def is_page(name: str) -> bool:
    """Whether --report names the page itself: it ends with .html, and no folder is called that."""
    return name.lower().endswith(".html") and not os.path.isdir(name)


def expand(inputs: Sequence[str], word: str = "", quiet: bool = True, suffix: str = "") -> list[str]:
    """The files that the inputs name: a folder stands for the images in it.

    Where there is a ``word``, results of earlier runs are left out: NAME-word beside NAME.
    """
    from pnpkit.images.files import DEVELOPED, extensions

    found_files: list[str] = []
    for name in inputs:
        check_name(name, "an input")
        if is_folder(name):
            known = {*extensions(), *DEVELOPED}
            there = (p for p in Path(name).iterdir() if not p.name.startswith("."))
            found = sorted(p for p in there if is_zarr(p) or (p.suffix.lower() in known and p.is_file()))
            if not found:
                raise InputError(f"folder {name} holds no image")
            words = (word, CANDIDATE) if word else ()
            results = {destination(str(p), None, each, suffix) for p in found for each in words}
            found_files += [str(p) for p in found if p not in results]
            left = len(results & set(found))
            if left and not quiet:
                say(f"{name}: {left} earlier results (*-{word}.*) are left alone")
        else:
            found_files.append(name)
    return found_files


def check_name(name: str, what: str) -> None:
    """Refuse an empty name."""
    if not name:
        raise InputError(f"{what} has an empty name: an unset variable of the shell?")


def make_folder(out: str | None, several: bool) -> None:
    """Make the folder for results, if ``out`` must be one: it ends with a slash, or several results go there."""
    if out is None:
        return
    check_name(out, "the output")
    if Path(out).is_dir() or not (several or out.endswith("/")):
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


def target_for(name: str, out: str | None, word: str, overwrite: bool, reads: Sequence[str] = ()) -> Path:
    """The file for the result of the input ``name``; ``reads`` are the other files that are read.

    Raises:
        InputError: a place that must not be written to.
    """
    from pnpkit.images.files import check_input, check_output

    check_input(name)
    target = destination(name, out, word)
    check_output(target, [name, *reads], overwrite)
    return target


def file_key(path: str | os.PathLike[str]) -> object:
    """What two names of one file have in common: its inode or, before there is a file, where it will be."""
    path = address.file_of(path)
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


def check_places(places: Places, options: Options, guarded: frozenset[object], known: tuple[str, ...] = ()) -> None:
    """Refuse places that do not exist, may not be written to, are read, or are taken twice; then make the folder of
    the page.

    Args:
        guarded: the ``file_key`` of all that is read.
        known: extensions that can be written, where they are not those of pictures.
    """
    from pnpkit.images.files import check_input, check_output, extensions

    check_input(places.source)
    end = places.output.suffix
    if options.out is None and end.lower() not in (known or extensions()):
        came = f"one that ends with {end}" if end else "one without an ending"
        raise InputError(f"{places.source}: expected a picture, got {came}: name the result, such as -o restored.png")
    check_output(places.output, [places.source], options.overwrite, known)
    check_beside(places, options)
    check_written(places, guarded)
    if places.page is not None and not is_page(options.report or ""):
        try:
            places.page.parent.mkdir(exist_ok=True)
        except OSError as error:
            raise InputError(f"--report {places.page.parent}: {error.strerror}") from None


def check_beside(places: Places, options: Options) -> None:
    """Refuse places of --json, --report and --gif whose folder does not exist, or that exist themselves."""
    json, page, gif = places.json, places.page, places.gif
    if gif is not None and gif.suffix.lower() != ".gif":
        raise InputError(f"--gif {gif}: expected a name that ends with .gif")
    for what, path, folder in (
        ("--json", json, json and json.parent),
        ("--report", page, page and (page.parent if is_page(options.report or "") else page.parent.parent)),
        ("--gif", gif, gif and gif.parent),
    ):
        if folder is not None and not folder.is_dir():
            raise InputError(f"the folder of {what} {path} does not exist")
    if json is not None and json.exists() and (json.suffix != ".json" or not options.overwrite):
        raise InputError(f"--json {json} exists: choose another name or, for a .json file, add --overwrite")
    for what, path in (("--report", page), ("--gif", gif)):
        if path is not None and path.exists() and not options.overwrite:
            raise InputError(f"{what} {path} exists: choose another name or add --overwrite")


def check_written(places: Places, guarded: frozenset[object]) -> None:
    """Refuse to write over what is read, to one place twice, over a folder, or where nothing may be written."""
    taken: dict[object, str] = {}
    for what, path in places.written().items():
        files.check_name(path)
        if file_key(path) in guarded:
            raise InputError(f"{path}: {what} is a file that is read: choose another name, inputs stay untouched")
        other = taken.setdefault(file_key(path), what)
        if other != what:
            raise InputError(f"{path}: both {other} and {what} would be written there: choose another name")
        parent = path.parent if path.parent.exists() or what != "--report" else path.parent.parent
        if is_folder(path) or not os.access(parent, os.W_OK):
            came = "a folder" if is_folder(path) else f"a file in {path.parent}, which may not be written to"
            raise InputError(f"{path}: expected a place for {what}, got {came}: choose another")
