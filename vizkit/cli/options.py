"""Options that several commands have."""

from __future__ import annotations

from typing import Annotated

import typer

ModelsArg = Annotated[
    str,
    typer.Option(
        "--models", "-m", help="Names, separated by commas: demo/vgg11_bn,torchvision/vgg16."
    ),
]


ModelArgument = Annotated[
    list[str],
    typer.Argument(help="Models: demo/vgg16_bn, vgg16_bn, torchvision/vgg16."),
]


WeightsOption = Annotated[
    str,
    typer.Option("--weights", "-w", help="'default', 'none' (untrained), or a .pth/.safetensors."),
]


DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1 or mps.")]


ClassesOption = Annotated[
    str,
    typer.Option(
        "--classes", help="Names of the outputs, separated by commas, or a file with one a line."
    ),
]


TestSizeOption = Annotated[
    bool,
    typer.Option(
        "--test-size", help="At the larger input at which timm tested, where there is one."
    ),
]


JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON records instead of a table.")]


PhotosArgument = Annotated[
    list[str], typer.Argument(help="Photos or folders; - reads their names from standard input.")
]


DEFAULT_MODEL = "demo/vgg16_bn"
