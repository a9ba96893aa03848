"""Which models are batch-normalised twins of which, by their names."""

from __future__ import annotations

from collections.abc import Iterable


def twins(models: Iterable[str]) -> dict[str, str]:
    """Find the batch-normalised twin of each plain model.

    Parameters
    ----------
    models : iterable of str
        Names, with or without a source (``demo/vgg11``) and a tag (``vgg16_bn.tv_in1k``).

    Returns
    -------
    dict of str to str
        Twin by plain model, in the order given; models without one are left out.
    """
    known = list(models)
    # a dot may begin a tag, and may also be part of a name
    named = {model: (_before_the_tag(model), f"{model}_bn") for model in known}
    found = {model: [name for name in names if name in known] for model, names in named.items()}
    return {model: names[0] for model, names in found.items() if names}


def _before_the_tag(model: str) -> str:
    source, slash, name = model.rpartition("/")
    own, dot, tag = name.partition(".")
    return f"{source}{slash}{own}_bn{dot}{tag}"
