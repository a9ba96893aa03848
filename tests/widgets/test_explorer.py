"""The explorer without a browser: fields in, traits out."""

import base64
import json
import statistics
import subprocess
import sys
import threading
import time

import ipywidgets.embed
import pytest
import torch
from browsing import MODELS
from torch import nn

import vizkit
from vizkit.attribution import METHODS
from vizkit.widgets import Explorer, explore
from vizkit.widgets.album import Album

PIECE = 1 << 15


@pytest.fixture
def explorer(models, photo):
    found = explore(models, {"chelsea": photo, "coffee": vizkit.samples()["coffee"]})
    yield found
    found._work.cancel()
    found.close_all()


def put(explorer, field, value):
    getattr(explorer.controls, field).value = value
    explorer.wait(60)


def test_it_begins_with_a_picture(explorer, models):
    canvas = explorer.canvas
    assert isinstance(explorer, Explorer)
    assert [each["name"] for each in canvas.scene["models"]] == [m.name for m in models]
    assert canvas.scene["image"] == "chelsea"
    assert len(canvas.scene_data) == canvas.scene["bytes"]
    assert canvas.heat["method"] == "Grad-CAM"
    assert canvas.message == canvas.busy == ""
    assert set(explorer.controls.target.options) == set(models[0].classes)
    assert {value for _, value in explorer.controls.method.options} == set(METHODS)


def test_called_bare_it_shows_the_bundled_models_and_photos():
    found = explore()
    assert len(found.canvas.scene["models"]) == 3
    assert [value for _, value in found.controls.photo.options] == list(vizkit.samples())
    found.close_all()


@pytest.mark.parametrize(
    ("field", "value", "what"),
    [("target", "church", "class"), ("method", "saliency", "method")],
)
def test_a_class_or_method_sends_no_maps_again(explorer, field, value, what):
    before, maps = explorer.canvas.scene_data, explorer.look.maps
    put(explorer, field, value)
    assert explorer.canvas.scene_data is before
    assert explorer.look.maps is maps
    shown = explorer.canvas.heat["targets"][0]["class"] if what == "class" else None
    assert shown == "church" or explorer.canvas.heat["method"] == METHODS["saliency"].label


def test_another_photo_is_another_scene(explorer, models):
    put(explorer, "photo", "coffee")
    assert explorer.canvas.scene["image"] == "coffee"
    expected = vizkit.capture(models[1], vizkit.samples()["coffee"])["stride8"]
    assert torch.equal(explorer.look.maps[models[1].name]["stride8"], expected)


def test_one_to_four_models_can_be_chosen(explorer):
    explorer.controls.models[3].value = "demo/vgg13"
    explorer.wait(60)
    assert [m["name"] for m in explorer.canvas.scene["models"]][3] == "demo/vgg13"
    for each in explorer.controls.models[1:]:
        each.value = ""
    explorer.wait(60)
    assert [m["name"] for m in explorer.canvas.scene["models"]] == ["demo/vgg11"]
    explorer.controls.models[0].value = ""
    explorer.wait(60)
    assert "no model is chosen" in explorer.canvas.message
    assert len(explorer.canvas.scene["models"]) == 1, "the picture stays"
    assert explorer.controls.models[0].value == "demo/vgg11", "and the fields say what it shows"


def test_layers_can_be_read_and_the_stage_is_found_again(explorer):
    explorer.canvas.place = 2
    put(explorer, "read_at", "layers, convolutions")
    assert "conv3_2" in explorer.canvas.scene["places"]
    explorer.canvas.place = 1
    put(explorer, "read_at", "stages")
    assert 0 <= explorer.canvas.place < 6
    explorer.canvas.place = 4
    put(explorer, "photo", "coffee")
    assert explorer.canvas.place == 4


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("target", "curch", "did you mean 'church'"),
        ("method", "cam", "needs a classifier of global average pooling"),
        ("path", "/nowhere/at/all.jpg", "no such image"),
        ("another", "vgg99", "unknown model 'vgg99'"),
        ("another", "demo/vgg12", "unknown demo model"),
    ],
)
def test_errors_are_seen_in_the_widget(explorer, field, value, words):
    put(explorer, field, value)
    assert words in explorer.canvas.message
    assert "still shows" in explorer.canvas.message
    assert explorer.canvas.scene["image"] == "chelsea"
    assert explorer.canvas.busy == ""
    names = {name for each in explorer.controls.models for _, name in each.options}
    assert not names & {"vgg99", "demo/vgg12"}, "what cannot be loaded is no choice"
    assert [each.value for each in explorer.controls.models] == [*MODELS, ""]
    assert (explorer.controls.target.value, explorer.controls.method.value) == ("", "grad_cam")
    put(explorer, "photo", "coffee")
    assert explorer.canvas.message == "", "the next question is another"
    assert explorer.canvas.scene["image"] == "coffee"


def test_an_error_is_gone_with_the_next_picture(explorer):
    put(explorer, "target", "nothing")
    assert explorer.canvas.message
    put(explorer, "target", "church")
    assert explorer.canvas.message == ""


def test_a_networks_own_error_is_seen(photo):
    class Broken(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Conv2d(3, 4, 3, stride=2)
            self.head = nn.Linear(4, 2)
            self.fail = False

        def forward(self, x):
            if self.fail:
                raise RuntimeError("burnt out")
            return self.head(self.body(x).relu().mean((2, 3)))

    network = Broken()
    found = explore(vizkit.wrap(network, name="mine", stages=["body"]), {"a": photo, "b": photo})
    network.fail = True
    put(found, "photo", "b")
    assert "(1, 3, 224, 224): burnt out" in found.canvas.message
    assert found.controls.photo.value == "a"
    network.fail = False
    put(found, "photo", "b")
    assert found.canvas.message == ""
    found.close_all()


def test_photos_can_be_added(explorer, tmp_path, photo):
    photo.save(tmp_path / "one.png")
    vizkit.samples()["rocket"].save(tmp_path / "two.png")
    put(explorer, "path", str(tmp_path / "two.png"))
    assert explorer.canvas.scene["image"] == "two.png"
    assert explorer.controls.path.value == ""
    put(explorer, "path", str(tmp_path))
    assert explorer.canvas.scene["image"] == "one.png"
    names = [value for _, value in explorer.controls.photo.options]
    assert names == ["chelsea", "coffee", "two.png", "one.png"]


def upload(explorer, name, content, selection="one"):
    """Send a file as the browser does."""
    last = len(content) - 1
    for start in range(0, len(content), PIECE):
        message = {"number": name, "name": name, "size": len(content), "start": start}
        message["selection"] = selection
        piece = memoryview(content[start : start + PIECE])
        explorer.controls.upload._handle_custom_msg(message, [piece])
        if start + PIECE <= last:
            assert "receiving" in explorer.canvas.busy
    explorer.wait(60)


def test_photos_can_be_uploaded(explorer, photo, tmp_path):
    photo.rotate(90).save(tmp_path / "x.png")
    upload(explorer, "<i>mine</i>.png", (tmp_path / "x.png").read_bytes())
    assert explorer.canvas.scene["image"] == "i>.png", "a path's last part"
    assert explorer.canvas.busy == ""
    assert explorer.controls.progress.layout.visibility == "hidden"
    upload(explorer, "bad.png", b"no image at all")
    assert "bad.png: not an image" in explorer.canvas.message
    assert explorer.canvas.busy == ""


def test_what_is_wrong_with_an_upload_is_readable_after_its_last_file(explorer, photo, tmp_path):
    photo.rotate(90).save(tmp_path / "x.png")
    good = (tmp_path / "x.png").read_bytes()
    upload(explorer, "bad.png", b"no image at all")
    upload(explorer, "good.png", good)
    upload(explorer, "worse.png", b"nor this")
    upload(explorer, "better.png", good)
    assert explorer.canvas.scene["image"] == "better.png"
    lines = explorer.canvas.message.splitlines()
    assert [line.split(":")[0] for line in lines] == ["bad.png", "worse.png"]
    upload(explorer, "next.png", good, selection="two")
    assert explorer.canvas.message == "", "another upload is another matter"


def test_an_upload_is_cancelled_with_all_that_was_chosen(explorer, photo, tmp_path):
    photo.save(tmp_path / "x.png")
    content = (tmp_path / "x.png").read_bytes()
    message = {"selection": "one", "number": "1", "name": "a.png", "size": 100, "start": 0}
    explorer.controls.upload._handle_custom_msg(message, [b"12345"])
    explorer.controls.cancel.click()
    upload_all = explorer.controls.upload._handle_custom_msg
    upload_all(message | {"number": "2", "name": "b.png", "size": len(content)}, [content])
    explorer.wait(60)
    assert "Cancelled" in explorer.canvas.message
    assert "b.png" not in explorer._album.names
    upload(explorer, "c.png", content, selection="two")
    assert explorer.canvas.scene["image"] == "c.png"


def test_an_upload_can_be_stopped(explorer):
    message = {"number": "1", "name": "x.png", "size": 100, "start": 0}
    explorer.controls.upload._handle_custom_msg(message, [b"12345"])
    assert explorer.canvas.busy == "receiving x.png"
    assert explorer.controls.progress.value == 0.05
    explorer.controls.cancel.click()
    assert "Cancelled" in explorer.canvas.message
    assert explorer.canvas.busy == ""
    explorer.controls.upload._handle_custom_msg(message | {"start": 5}, [b"67890"])
    assert explorer.canvas.busy == "", "what comes late is not taken"


def test_slow_work_is_cancelled_and_the_networks_are_as_they_were(explorer, models, unchanged):
    with unchanged(models[0].module):
        explorer.controls.method.value = "score_cam"
        deadline = time.monotonic() + 20
        while "Score-CAM of" not in explorer.canvas.busy:
            explorer._work._tell(0.05)
            assert time.monotonic() < deadline
        assert not explorer.controls.cancel.disabled
        explorer.controls.cancel.click()
        assert "Cancelled" in explorer.canvas.message
        assert explorer.canvas.busy == ""
        while any(each.name == "vizkit" for each in threading.enumerate()):
            assert time.monotonic() < deadline, "the thread stops"
            time.sleep(0.01)
    assert explorer.canvas.heat["method"] == "Grad-CAM"
    assert explorer.controls.method.value == "grad_cam", "else any change would begin it again"
    put(explorer, "method", "layer_cam")
    assert explorer.canvas.heat["method"] == "Layer-CAM"


def test_only_the_newest_of_many_changes_is_shown(explorer):
    for name in ("church", "golf ball", "parachute"):
        explorer.controls.target.value = name
    explorer.wait(60)
    assert explorer.canvas.heat["targets"][0]["class"] == "parachute"


def test_another_class_is_one_pass(photo, capsys):
    """The time is printed: how much of it others on the machine take is not vizkit's."""
    model = vizkit.load("demo/vgg11")
    found = explore(model, photo)
    passes, taken = [], []
    handle = model.module.register_forward_hook(lambda *_: passes.append(1))
    for name in found.controls.target.options[:7]:
        begun, before = time.perf_counter(), len(passes)
        put(found, "target", name)
        taken.append(1000 * (time.perf_counter() - begun))
        assert len(passes) == before + 1
        assert found.canvas.heat["targets"][0]["class"] == name
    handle.remove()
    with capsys.disabled():
        print(f" {statistics.median(taken):.0f} ms ", end="")  # noqa: T201
    found.close_all()


def test_a_model_may_stand_beside_itself(explorer):
    explorer.controls.models[1].value = "demo/vgg11"
    explorer.wait(60)
    names = [each["name"] for each in explorer.canvas.scene["models"]]
    assert names == ["demo/vgg11", "demo/vgg11 (2)", "demo/vovnet19b"]
    assert explorer.canvas.message == ""


def test_outputs_without_names_are_chosen_by_number(photo):
    found = explore(vizkit.wrap(vizkit.load("demo/vgg11").module, name="nameless"), photo)
    assert found.controls.target.options[3] == "class 3"
    for text in ("class 3", "3"):
        put(found, "target", text)
        assert found.canvas.message == ""
        assert found.canvas.heat["targets"][0]["class"] == "class 3"
    put(found, "target", "11")
    assert "unknown target 11" in found.canvas.message
    found.close()


def test_tensors_have_no_photo_but_pixels(models, photo):
    found = explore(models[0], models[0].transform(photo))
    assert found.canvas.scene["image"] == "image 1"
    found.close()


def test_a_long_list_is_cut_and_says_so(models, photo, monkeypatch):
    monkeypatch.setattr("vizkit.widgets.album.MOST", 2)
    found = explore(models[0], {"a": photo, "b": photo, "c": photo})
    assert found.canvas.message == "The first 2 of 3 photos are listed."
    assert len(found.controls.photo.options) == 2
    found.close()


def test_closing_stops_the_work(explorer):
    explorer.controls.method.value = "score_cam"
    explorer.close()
    deadline = time.monotonic() + 20
    while any(each.name == "vizkit" for each in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.01)


LEFT_OPEN = """
import torch
torch.set_num_threads(1)
from vizkit.widgets import explore
explorer = explore("demo/vgg11")
"""


def test_a_script_that_leaves_an_explorer_open_ends_without_a_word():
    done = subprocess.run(
        [sys.executable, "-c", LEFT_OPEN], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_bad_arguments_are_refused(models, photo, tmp_path):
    with pytest.raises(vizkit.InputError, match="up to 4 models"):
        explore([*models, "demo/vgg13", "demo/vgg16"])
    with pytest.raises(vizkit.InputError, match="no images"):
        explore(models, tmp_path)
    with pytest.raises(vizkit.InputError, match="no models"):
        explore([])
    with pytest.raises(vizkit.InputError, match=r"a model is a name, .* not int"):
        explore(3)
    (tmp_path / "bad.jpg").write_bytes(b"no image")
    with pytest.raises(vizkit.InputError, match=r"bad\.jpg: not an image"):
        explore(models[:1], tmp_path)


def test_photos_of_one_name_are_told_apart(photo, tmp_path):
    album = Album({"a": photo})
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        photo.save(tmp_path / folder / "a.png")
        album.add(tmp_path / folder / "a.png")
    assert album.names == ("a", "a.png", "a.png (2)")
    assert album.add(tmp_path / "x" / "a.png") == "a.png"


def test_saved_state_holds_all_that_the_canvas_needs(explorer):
    state = ipywidgets.embed.dependency_state([explorer])
    own = state[explorer.canvas.model_id]
    assert own["model_name"] == "AnyModel"
    buffers = {tuple(each["path"]): base64.b64decode(each["data"]) for each in own["buffers"]}
    assert buffers[("scene_data",)] == explorer.canvas.scene_data
    assert buffers[("heat_data",)] == explorer.canvas.heat_data
    assert buffers[("palettes",)] == explorer.canvas.palettes
    assert own["state"]["scene"] == json.loads(json.dumps(explorer.canvas.scene))
    assert own["state"]["_esm"].rstrip().endswith("export default { render };")


def test_every_field_has_a_label(explorer):
    fields = (*explorer.controls.questions, explorer.controls.another, explorer.controls.path)
    assert all(each.description for each in fields)
