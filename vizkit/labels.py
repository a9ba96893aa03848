"""Which class a photo is of, by its folder or a table, and which output of a network that is."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from os.path import normpath
from pathlib import Path

from vizkit.errors import InputError, unknown
from vizkit.files import printable, read_rows
from vizkit.images import photos_in
from vizkit.models import Classifier
from vizkit.models.names import synset_names

# columns of a table of labels; the second is Kaggle's of ImageNet's validation photos
_OWN = ("file", "class")
_KAGGLE = ("ImageId", "PredictionString")


def labelled(root: Path, table: str | Path | None = None) -> list[tuple[Path, str]]:
    """List the photos of a folder and the classes that they are of.

    Parameters
    ----------
    root : Path
        One folder a class; with a table, any.
    table : str or Path, optional
        A CSV with a row for each photo: ``file`` (as seen from ``root``) and ``class``; or
        Kaggle's ``LOC_val_solution.csv`` of ImageNet's flat validation folder.

    Returns
    -------
    list of (Path, str)
        Each photo and the name of its class; by folders sorted, by a table in its order.

    Raises
    ------
    InputError
        If there are none, or a folder or the table cannot be read.
    """
    if not root.is_dir():
        raise InputError(f"no such folder: {root}")
    if table is not None:
        return _by_table(root, Path(table).expanduser())
    parts = ((path, path.relative_to(root).parts) for path in photos_in(root))
    # photos beside the class folders belong to no class
    found = [(path, printable(names[0])) for path, names in parts if len(names) > 1]
    if not found:
        raise InputError(
            f"{root} has no class folders with photos, such as {root.name}/church/; for photos in "
            "one folder, give a table of their classes (labels)"
        )
    return found


def folder_indices(classifier: Classifier, folders: Sequence[str]) -> dict[str, int]:
    """Find the output that each class folder stands for.

    Parameters
    ----------
    classifier : Classifier
        Who knows the names.
    folders : sequence of str
        Names of classes or ImageNet synsets; or the numbers of all outputs, from 0, as in
        ImageNet-V2. Some numbers alone could also be the user's own: they are refused.

    Returns
    -------
    dict of str to int
        Output by folder.

    Raises
    ------
    InputError
        If a folder is no class of the network.
    """
    if not classifier.classes:
        raise InputError(f"{classifier.name} has no class names: give them to load or wrap")
    if sorted(folders) == sorted(map(str, range(len(classifier.classes)))):
        return {folder: int(folder) for folder in folders}
    # exact names win over those that differ in case only ("Cardigan" is a dog in ImageNet)
    exact = {name: i for i, name in enumerate(classifier.classes)}
    numbers = {_plain(name): i for name, i in exact.items()} | exact
    found = {}
    for folder in folders:
        name = synset_names().get(folder, folder)
        # a network may be called after the folders, also where these are synsets
        spellings = (folder, name, _plain(folder), _plain(name))
        index = next((numbers[each] for each in spellings if each in numbers), None)
        if index is None:
            raise _no_class(classifier, folder, name)
        if classifier.classes.count(classifier.classes[index]) > 1:
            raise InputError(
                f"{classifier.classes[index]!r} names more than one class of {classifier.name}"
            )
        found[folder] = index
    return found


def _no_class(classifier: Classifier, folder: str, name: str) -> InputError:
    shown = folder if name == folder else f"{folder} ({name})"
    error = unknown(f"class folder of {classifier.name}", shown, classifier.classes, 12)
    if not folder.isdecimal():
        return error
    last = len(classifier.classes) - 1
    return InputError(
        f"{error}; numbers are outputs only if all from 0 to {last} are there, "
        "without leading zeros"
    )


def _by_table(root: Path, table: Path) -> list[tuple[Path, str]]:
    rows = read_rows(
        table, f"the table of classes {table} cannot be read", dtype=str, keep_default_na=False
    )
    if set(_KAGGLE) <= set(rows.columns):
        # such as "n03995372 85 1 499 272": a class and boxes
        files, classes = rows[_KAGGLE[0]] + ".JPEG", rows[_KAGGLE[1]].str.split(n=1).str[0]
    elif set(_OWN) <= set(rows.columns):
        files, classes = rows[_OWN[0]], rows[_OWN[1]]
    else:
        raise InputError(
            printable(f"{table} has columns {', '.join(rows.columns)}, not {', '.join(_OWN)}")
        )
    if rows.empty:
        raise InputError(f"{table} has no rows")
    # the same file may be written in more than one way
    found = [(root / normpath(file), str(name)) for file, name in zip(files, classes, strict=True)]
    counts = Counter(path for path, _ in found)
    twice = [path for path, count in counts.items() if count > 1]
    if twice:
        inside = twice[0].is_relative_to(root)
        name = twice[0].relative_to(root) if inside else twice[0]
        raise InputError(printable(f"{table} has more than one row for {name}"))
    if any(not file or not name for file, name in zip(files, classes, strict=True)):
        raise InputError(f"{table} has rows without a file or a class")
    if not any(path.is_file() for path, _ in found):
        raise InputError(
            f"{root} has none of the {len(found)} files in {table}, such as {found[0][0].name}"
        )
    return found


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", " ", name).strip().lower()
