"""Several threads look into the same networks: each gets what it would have got alone."""

import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from operations import LONGER, OPERATIONS, Scene, a_net, facts
from striking import ctrl_c
from torch import nn

import vizkit
from vizkit.hooks import _locks_of, blank, dry_run, evaluating, first_parameter
from vizkit.speed import measure
from vizkit.widgets.work import Events, Work

# what several threads ask at the same time, of the same two networks
ASKED = [
    "capture", "attribute grad_cam", "attribute saliency", "attribute guided_backprop",
    "attribute occlusion", "describe", "predict", "embed", "compare", "find_stages",
    "profile", "similarity", "perturbation_curves", "read a checkpoint",
]  # fmt: skip
PATIENCE = 60
EVERYTHING = OPERATIONS | LONGER


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    return Scene(tmp_path_factory.mktemp("scene"))


@pytest.fixture
def handler():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    signal.signal(signal.SIGINT, before)


class Slow(nn.Module):
    """Takes its time, and counts who is inside."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        # plain attributes are put back after each pass
        self.counts, self.started = {"inside": 0, "most": 0}, threading.Event()

    def forward(self, x):
        counts = self.counts
        counts["inside"] += 1
        counts["most"] = max(counts["most"], counts["inside"])
        if not x.is_meta:
            self.started.set()
            time.sleep(0.3)
        counts["inside"] -= 1
        return self.conv(x).mean(dim=(-2, -1))


@pytest.fixture
def slow():
    net = Slow().train()
    return vizkit.wrap(net, name="slow", transform=vizkit.Transform((16, 16), (16, 16)))


def together(*tasks):
    """Do things at the same time, each in a thread; return what each gave or raised."""
    results = [None] * len(tasks)
    ready = threading.Barrier(len(tasks))

    def run(n):
        ready.wait(PATIENCE)
        try:
            results[n] = tasks[n]()
        except Exception as error:
            results[n] = error

    threads = [threading.Thread(target=run, args=(n,), daemon=True) for n in range(len(tasks))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive(), "threads wait for each other"
    return results


def test_everybody_gets_what_he_would_have_got_alone(scene, unchanged):
    alone = {name: facts(EVERYTHING[name](scene)) for name in ASKED}

    def ask(names):
        return [facts(EVERYTHING[name](scene)) == alone[name] for name in names]

    with unchanged(scene.nets[0]), unchanged(scene.nets[1]):
        # three threads, which begin at different places
        orders = [ASKED[n:] + ASKED[:n] for n in (0, 5, 10)]
        found = together(*(lambda names=names: ask(names) for names in orders))
    assert found == [[True] * len(ASKED)] * 3


def test_an_error_in_one_thread_is_its_own(scene, unchanged):
    expected = facts(vizkit.capture(scene.model, scene.inputs))

    def fails():
        for _ in range(10):
            with pytest.raises(vizkit.VizkitError):
                vizkit.capture(scene.model, torch.zeros(1, 5, 16, 16))
            with pytest.raises(vizkit.VizkitError):
                vizkit.attribute(scene.model, scene.inputs, targets=99)
        return "failed"

    def works():
        return [facts(vizkit.capture(scene.model, scene.inputs)) == expected for _ in range(20)]

    with unchanged(scene.nets[0]):
        assert together(fails, works, works) == ["failed", [True] * 20, [True] * 20]


def test_networks_in_any_order(scene):
    """Whoever needs two networks takes them in the same order as everybody."""
    there, back = scene.models, scene.models[::-1]
    alone = [facts(vizkit.compare(models, scene.inputs)) for models in (there, back)]
    tasks = [lambda m=m: facts(vizkit.compare(m, scene.inputs)) for m in (there, back)]
    timing = [lambda m=m: len(measure(m, runs=3, batch=1)) for m in (there, back)]
    for _ in range(3):
        found = together(*tasks, *timing)
        assert found == [*alone, 2, 2]


def test_one_at_a_time_in_a_network_by_whatever_name(slow):
    again = vizkit.wrap(slow.module, name="again", transform=slow.transform)
    inputs = torch.rand(1, 3, 16, 16)
    first, second = together(
        lambda: vizkit.embed(slow, inputs, pool=False),
        lambda: vizkit.embed(again, inputs, pool=False),
    )
    assert torch.equal(first, second)
    assert slow.module.counts["most"] == 1


def test_two_networks_do_not_wait_for_each_other(slow):
    """One thread stays in its network until the other has been all through its own."""
    entered, done = threading.Event(), threading.Event()

    class Waiting(nn.Module):
        def forward(self, x):
            entered.set()
            assert done.wait(PATIENCE)
            return x.mean(dim=(-2, -1))

    def first():
        with evaluating(net := Waiting()):
            return net(torch.rand(1, 3, 16, 16)).shape

    def second():
        assert entered.wait(PATIENCE)
        shape = vizkit.capture(slow, torch.rand(1, 3, 16, 16)).logits.shape
        done.set()
        return shape

    assert together(first, second) == [(1, 3), (1, 4)]


def test_a_widget_and_a_cell_at_the_same_time(scene, unchanged):
    """As a notebook does: the answer of a thread is shown by the one that asked, between cells."""
    expected = facts(vizkit.attribute(scene.model, scene.inputs))
    shown, failures = [], []
    work = Work(Events(lambda *_: None, failures.append, lambda: None))

    def show(found):
        # whoever shows an answer may look at the network, too
        shown.append(facts(found) == expected and facts(ask()) == expected)

    def ask():
        return vizkit.attribute(scene.model, scene.inputs)

    with unchanged(scene.nets[0]):
        for _ in range(5):
            work.start(lambda _step: ask(), show)
            assert facts(ask()) == expected
            work.wait(PATIENCE)
    assert shown == [True] * 5
    assert not failures


def test_who_holds_a_network_may_ask_it_more(scene, unchanged):
    """A callback in the middle of a pass looks at the same network, and changes nothing in it."""
    net, seen = scene.nets[0], []
    expected = vizkit.capture(scene.model, scene.inputs)

    def callback(*_):
        if not seen:
            seen.append(None)
            seen[0] = vizkit.capture(scene.model, scene.inputs)

    handle = net.pool.register_forward_hook(callback)
    found = vizkit.capture(scene.model, scene.inputs)
    handle.remove()
    with unchanged(net):
        again = vizkit.capture(scene.model, scene.inputs)
    assert facts(found) == facts(seen[0]) == facts(again) == facts(expected)


@pytest.mark.usefixtures("handler")
class TestCtrlC:
    def test_while_another_thread_is_in_the_network(self, slow, unchanged):
        """Whoever waits for a network can be interrupted, and the other goes on."""
        inputs = torch.rand(1, 3, 16, 16)
        expected = vizkit.capture(slow, inputs)
        slow.module.started.clear()
        other = []
        thread = threading.Thread(target=lambda: other.append(vizkit.capture(slow, inputs)))
        with unchanged(slow.module):
            thread.start()
            assert slow.module.started.wait(PATIENCE)
            threading.Timer(0.05, ctrl_c).start()
            with pytest.raises(KeyboardInterrupt):
                vizkit.capture(slow, inputs)
            assert thread.is_alive(), "it waited until the other was ready"
            thread.join(PATIENCE)
        assert facts(other[0]) == facts(expected)

    def test_again_and_again_while_others_work(self, scene, unchanged):
        """At whatever moment: the main thread stops, and the answers of the others are right."""
        expected = facts(vizkit.attribute(scene.model, scene.inputs))
        stop = threading.Event()

        def work():
            answers = []
            while not stop.is_set():
                answers.append(vizkit.attribute(scene.model, scene.inputs))
            return all(facts(each) == expected for each in answers)

        with ThreadPoolExecutor(2) as pool, unchanged(scene.nets[0]), unchanged(scene.nets[1]):
            others = [pool.submit(work) for _ in range(2)]
            delays = [0.001 + 0.0017 * n for n in range(25)]
            heard = [
                interrupted(lambda: vizkit.compare(scene.models, scene.inputs), delay)
                for delay in delays
            ]
            stop.set()
            assert [each.result(PATIENCE) for each in others] == [True, True]
        assert sum(heard) >= len(delays) - 1
        assert all(free(each.lock) for net in scene.nets for each in _locks_of(net))

    def test_in_the_middle_of_many_networks(self, unchanged):
        """One after the other is entered, and all are left."""
        nets = [a_net(3 + n).train() for n in range(6)]
        view = vizkit.Transform((16, 16), (16, 16))
        models = [vizkit.wrap(net, name=f"{n}", transform=view) for n, net in enumerate(nets)]
        inputs = torch.rand(1, 3, 16, 16)
        vizkit.compare(models, inputs)
        whole = nn.ModuleList(nets)
        for n in range(12):
            with unchanged(whole):
                interrupted(lambda: vizkit.compare(models, inputs), 0.002 + 0.005 * n)
            assert all(free(each.lock) for net in nets for each in _locks_of(net))


def interrupted(work, delay):
    """Work until Ctrl-C comes; whether it was heard: Python drops one that falls in a finaliser."""
    timer = threading.Timer(delay, ctrl_c)
    try:
        timer.start()
        while timer.is_alive():
            work()
        work()
    except KeyboardInterrupt:
        return True
    finally:
        timer.join()
    return False


def free(lock):
    """Whether another thread can have a lock at once."""
    with ThreadPoolExecutor(1) as pool:
        taken = pool.submit(lambda: lock.acquire(blocking=False) and not lock.release()).result()
    return bool(taken)


class Waits(nn.Module):
    """Stays in its pass until it is let go."""

    def __init__(self):
        super().__init__()
        self.inside, self.go = threading.Event(), threading.Event()

    def forward(self, x):
        self.inside.set()
        assert self.go.wait(PATIENCE)
        return x


def test_a_part_that_came_from_another_network_later_is_waited_for():
    net, other = nn.Sequential(nn.Conv2d(3, 4, 3)), nn.Sequential(nn.Conv2d(3, 4, 3), Waits())
    other[1].go.set()
    for each in (net, other):
        with evaluating(each):
            dry_run(each, blank(each, (8, 8), "meta"))
    other[1].inside.clear()
    other[1].go.clear()
    net[0] = other[0]

    def count():
        with evaluating(other):
            dry_run(other, blank(other, (8, 8), "meta"))

    with ThreadPoolExecutor(2) as pool:
        counting = pool.submit(count)
        assert other[1].inside.wait(PATIENCE)
        reading = pool.submit(first_parameter, net)
        with pytest.raises(TimeoutError):
            reading.result(0.2)
        other[1].go.set()
        counting.result(PATIENCE)
        assert reading.result(PATIENCE).device == torch.device("cpu")
