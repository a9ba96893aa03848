"""Pictures of benchmarks: where marks stand, and what they say."""

import pytest
from matplotlib.colors import to_rgba

from vizkit.benchmarks.rows import COLUMNS, frame_of
from vizkit.errors import InputError
from vizkit.plots import plot_benchmark
from vizkit.plots.style import THEMES


def row(tool, ratio, **more):
    floor = tool == "PyTorch"
    known = dict.fromkeys(COLUMNS) | {
        "suite": "capture", "model": "vgg16", "device": "cpu", "tool": tool, "floor": "forward",
        "task": "forward" if floor else "capture, all stages", "milliseconds": 100 * ratio,
        "runs": 5, "ratio": ratio, "low": 0.9 * ratio, "high": 1.1 * ratio, "note": "",
    }  # fmt: skip
    return known | more


ROWS = [
    row("PyTorch", 1),
    row("vizkit", 1.02, goal="≤ 1.03x forward", reached=1.02, met=True, correct=True),
    row("torchlens", 30.0, correct=True),
    row("hooks", 0.97, correct=False, error=130751.0),
    row("PyTorch", 1, model="vovnet"),
    row("vizkit", 1.5, model="vovnet", goal="≥ 20x as fast as captum", reached=10.0, met=False),
    row("captum", 15.0, model="vovnet"),
    row("broken", 1, model="vovnet")
    | dict.fromkeys(("ratio", "low", "high", "milliseconds"))
    | {"runs": 0},
]


def marks(axes, shape):
    return [line.get_xdata()[0] for line in axes.lines if line.get_marker() == shape]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_marks_tell_tools_wrong_results_and_goals(theme):
    figure = plot_benchmark(frame_of(ROWS), theme=theme)
    left, right = figure.axes
    assert [each.get_title(loc="left") for each in figure.axes] == ["vgg16", "vovnet"]
    assert marks(left, "o") == [1.02]
    assert marks(left, "s") == [30.0]
    assert marks(left, "X") == [0.97]
    assert marks(left, "|") == [1.03]
    # a tenth as fast as captum is half as fast as the goal: captum's 15 times, over 20
    assert marks(right, "|") == [0.75]
    colours = THEMES[theme].series
    drawn = {line.get_marker(): to_rgba(line.get_color()) for line in left.lines}
    assert drawn["o"] == to_rgba(colours[0])
    assert drawn["X"] == to_rgba(colours[1])
    assert to_rgba(figure.get_facecolor()) == to_rgba(THEMES[theme].paper)
    words = [text.get_text() for text in (*left.texts, *right.texts)]
    assert {"1.02", "30.0", "0.970 wrong", "failed"} <= set(words)
    names = [label.get_text() for label in left.get_yticklabels()]
    assert names == ["", "vizkit", "torchlens", "hooks", "captum", "broken"]
    assert left.get_xscale() == "log"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "vizkit", "others", "wrong result", "goal",
    ]  # fmt: skip
    assert figure.to_frame().equals(frame_of(ROWS))


def test_a_limit_in_milliseconds_is_drawn_as_a_ratio():
    own = row("vizkit", 1.2, goal="≤ 25 ms more than bare Python", reached=20.0, met=True)
    (axes,) = plot_benchmark(frame_of([row("PyTorch", 1), own])).axes
    # bare Python takes 100
    assert marks(axes, "|") == [pytest.approx(1.25)]


def test_quartiles_are_lines():
    (axes,) = plot_benchmark(frame_of(ROWS[:2])).axes
    (segment,) = axes.collections[0].get_segments()
    assert list(segment[:, 0]) == pytest.approx([0.918, 1.122])


def test_all_numbers_have_room():
    figure = plot_benchmark(frame_of(ROWS))
    figure.draw_without_rendering()
    for axes in figure.axes:
        for text in axes.texts:
            box = text.get_window_extent().transformed(axes.transAxes.inverted())
            assert box.x1 <= 1.02, text.get_text()


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([*ROWS, row("vizkit", 1.0, suite="import")], "one suite fits in a figure"),
        ([], "no table to draw"),
        ([row("PyTorch", 1)], "nothing was timed"),
        ([ROWS[-1]], "nothing was timed"),
    ],
)
def test_what_cannot_be_drawn(rows, words):
    with pytest.raises(InputError, match=words):
        plot_benchmark(frame_of(rows))
