"""A network is left exactly as it was, whatever happens, and what is recorded is true."""

import os
import random
import signal
import threading
import time
from copy import deepcopy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from vizkit.errors import InputError
from vizkit.forward import recorded
from vizkit.hooks import OverwrittenError, evaluating, recording
from vizkit.results import Tap

INPUTS = torch.rand(2, 3, 8, 8) - 0.5


class Restless(nn.Module):
    """Changes, replaces and adds buffers, adds a hook and draws random numbers in forward."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(4, 5)
        self.register_buffer("changed", torch.zeros(3))
        self.register_buffer("replaced", torch.zeros(()))
        self.register_buffer("filled", None)

    def forward(self, x):
        self.changed += 1
        self.replaced = self.replaced + 1
        self.filled = x.detach().mean()
        self.register_buffer("added", torch.ones(1))
        self.norm.register_forward_hook(lambda *_: None)
        noise = torch.rand(()).item() + np.random.rand() + random.random()  # noqa: NPY002
        x = self.drop(self.norm(self.conv(x)))
        return self.head(x.mean(dim=(-2, -1))) + 0 * noise


class Interrupting(nn.Module):
    """Sends Ctrl-C to this process in forward."""

    def forward(self, x):
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(1000):  # the interrupt arrives between two steps of Python
            x = x + 0
        return x


@pytest.fixture
def restless():
    """Mixed training flags, frozen and free parameters, gradients, and the user's own hooks."""
    torch.manual_seed(0)
    net = Restless().train()
    net.norm.eval()
    net.conv.weight.requires_grad_(False)
    net(INPUTS).square().sum().backward()
    seen = []
    net.conv.register_forward_hook(lambda _m, _i, output: seen.append(output.shape))
    net.conv.register_forward_pre_hook(lambda _m, inputs: seen.append(inputs[0].shape))
    net.conv.register_forward_hook(
        lambda _m, _a, _k, _o: None, with_kwargs=True, always_call=True, prepend=True
    )
    net.head.register_full_backward_hook(lambda *_: None)
    net.head.register_full_backward_pre_hook(lambda *_: None)
    net.user_saw = seen
    return net


class TestEvaluating:
    def test_evaluates_with_frozen_parameters(self, restless):
        with evaluating(restless):
            assert not any(m.training for m in restless.modules())
            assert not any(p.requires_grad for p in restless.parameters())
            assert restless(INPUTS).grad_fn is None

    def test_network_is_left_as_it_was(self, restless, unchanged):
        with unchanged(restless), evaluating(restless):
            restless(INPUTS)
        assert restless.user_saw, "the user's own hooks work inside too"

    def test_output_is_the_same_before_inside_and_after(self, restless):
        expected = deepcopy(restless).eval()(INPUTS)
        with evaluating(restless):
            inside = restless(INPUTS)
        assert torch.equal(inside, expected)
        assert torch.equal(restless.eval()(INPUTS), expected)

    @pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
    def test_after_an_exception(self, restless, unchanged, error):
        def fail(*_):
            raise error

        def work():
            with evaluating(restless):
                restless.head.register_forward_hook(fail)
                restless(INPUTS)

        with unchanged(restless), pytest.raises(error):
            work()

    @pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
    def test_inside_other_modes(self, restless, unchanged, mode):
        with mode(), unchanged(restless), evaluating(restless):
            output = restless(INPUTS)
        assert not output.is_inference()

    @pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
    def test_other_types(self, restless, unchanged, dtype):
        restless.to(dtype)
        with unchanged(restless), evaluating(restless):
            assert restless(INPUTS.to(dtype)).dtype == dtype

    def test_network_made_in_inference_mode(self):
        with torch.inference_mode():
            net = Restless().train()
        frozen, changed = net.conv.weight.requires_grad, net.changed
        with evaluating(net), torch.no_grad(), torch.inference_mode():
            net(INPUTS)
        assert net.conv.weight.requires_grad == frozen
        assert net.changed is changed
        assert changed.tolist() == [0, 0, 0]
        assert net.training

    def test_nested(self, restless, unchanged):
        with unchanged(restless), evaluating(restless):
            with evaluating(restless):
                restless(INPUTS)
            assert not restless.training
            restless(INPUTS)

    def test_removes_whatever_hooks_were_added_inside(self, restless, unchanged):
        with unchanged(restless), evaluating(restless):
            restless.conv.register_forward_hook(lambda *_: None, with_kwargs=True)
            restless.conv.register_forward_pre_hook(lambda *_: None, with_kwargs=True)
            restless.head.register_full_backward_hook(lambda *_: None)

    def test_a_hook_that_removes_itself_is_still_there(self, restless, unchanged):
        handle = restless.conv.register_forward_hook(lambda *_: handle.remove())
        with unchanged(restless), evaluating(restless):
            restless(INPUTS)

    def test_hooks_stay_in_their_order(self, restless, unchanged):
        """The first of several takes itself away, and another comes."""
        first = restless.conv.register_forward_hook(lambda *_: first.remove(), prepend=True)
        with unchanged(restless), evaluating(restless):
            restless.conv.register_forward_hook(lambda *_: None, prepend=True)
            restless(INPUTS)

    def test_parameters_that_forward_exchanges(self, unchanged):
        class Exchanging(nn.Conv2d):
            def forward(self, x):
                self.weight = nn.Parameter(self.weight * 2)
                self.extra = nn.Parameter(torch.zeros(1))
                del self.bias
                return x

        net = nn.Sequential(Exchanging(3, 4, 3), nn.BatchNorm2d(3)).train()
        with unchanged(net), evaluating(net):
            net(INPUTS)


class TestInterrupt:
    @pytest.fixture(autouse=True)
    def handler(self):
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        yield
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        signal.signal(signal.SIGINT, before)

    @pytest.fixture
    def touchy(self):
        """A network that, once armed, is interrupted when its hooks are put back."""

        class Touchy(nn.Conv2d):
            armed = False

            def __getattribute__(self, name):
                if name == "_forward_hooks" and type(self).armed:
                    type(self).armed = False
                    os.kill(os.getpid(), signal.SIGINT)
                    time.sleep(0.001)
                return super().__getattribute__(name)

        return nn.Sequential(Touchy(3, 3, 3), nn.BatchNorm2d(3), nn.Dropout()).train()

    def test_in_forward(self, unchanged):
        net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), Interrupting()).train()
        with unchanged(net), pytest.raises(KeyboardInterrupt), evaluating(net):
            net(INPUTS)

    def test_from_outside_at_any_moment(self, unchanged):
        net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout()).train()
        taps = [Tap("0", "0", "conv", 1, 4)]

        def work(timer):
            timer.start()
            for _ in range(20_000):
                with evaluating(net), recording(net, taps):
                    net(INPUTS)

        for delay in (0.01, 0.013, 0.017, 0.021, 0.03):
            timer = threading.Timer(delay, os.kill, (os.getpid(), signal.SIGINT))
            with unchanged(net), pytest.raises(KeyboardInterrupt):
                work(timer)
            timer.join()

    def test_while_restoring_waits_until_all_is_restored(self, touchy, unchanged):
        def work():
            with evaluating(touchy):
                type(touchy[0]).armed = True

        with unchanged(touchy), pytest.raises(KeyboardInterrupt):
            work()

    def test_a_second_one_does_not_stop_the_restoring(self, touchy, unchanged):
        def work():
            with evaluating(touchy):
                type(touchy[0]).armed = True
                raise KeyboardInterrupt

        with unchanged(touchy), pytest.raises(KeyboardInterrupt):
            work()

    def test_a_users_own_handler_is_called(self):
        calls = []
        signal.signal(signal.SIGINT, lambda *_: calls.append(1))
        net = nn.Sequential(Interrupting())
        with evaluating(net):
            net(INPUTS)
        assert calls == [1]
        signal.signal(signal.SIGINT, signal.default_int_handler)


class TestThreads:
    def test_one_at_a_time(self, unchanged):
        inside, most = [], []

        class Crowded(nn.Module):
            def forward(self, x):
                inside.append(x)
                most.append(len(inside))
                time.sleep(0.005)
                inside.pop()
                return x

        net = nn.Sequential(Crowded(), nn.BatchNorm2d(3), nn.Dropout()).train()
        errors = []

        def work():
            for _ in range(5):
                with evaluating(net):
                    net(INPUTS)
                    errors.extend(m for m in net.modules() if m.training)

        with unchanged(net):
            threads = [threading.Thread(target=work) for _ in range(3)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert most == [1] * 15
        assert not errors

    def test_different_networks_do_not_wait_for_each_other(self):
        first, second = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
        reached = threading.Event()

        def work():
            with evaluating(second):
                reached.set()

        with evaluating(first):
            thread = threading.Thread(target=work)
            thread.start()
            assert reached.wait(10)
        thread.join()


class Overwriting(nn.Module):
    """In-place operations that no module shows, on the outputs of modules."""

    def __init__(self, change):
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.change = change

    def forward(self, x):
        x = self.first(x)
        y = self.second(x)
        return self.change(x, y)


def add_(x, y):
    y += x
    return y


def relu_(_x, y):
    return F.relu_(y)


def through_a_view(x, y):
    x[:, :2].mul_(3)
    return x + y


def through_an_index(x, y):
    x[:, 0] = 0
    return x + y


def by_out(x, y):
    return torch.add(x, y, out=y)


def taps_of(net):
    return [Tap(path, path, "conv", 1, 4) for path in ("first", "second")]


class TestRecording:
    def test_a_copy_is_made_only_for_modules_that_work_in_place(self):
        net = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Conv2d(4, 4, 3), nn.ReLU()
        ).eval()
        given = {}
        for name, module in net.named_children():
            module.register_forward_hook(lambda _m, _i, o, name=name: given.update({name: o}))
        taps = [Tap(name, name, "", 1, 4) for name in ("0", "1", "2", "3")]
        with evaluating(net), recording(net, taps) as recorder:
            net(INPUTS)
        recorder.check()
        kept = {tap.name: maps for tap, maps in recorder.outputs.items()}
        shared = [name for name in kept if kept[name].data_ptr() == given[name].data_ptr()]
        assert shared == ["1", "2", "3"]
        # the network itself goes on as it would have done
        assert given["0"].data_ptr() == given["1"].data_ptr()
        assert (kept["0"] < 0).any()
        assert torch.equal(kept["1"], kept["0"].relu())

    @pytest.mark.parametrize("change", [add_, relu_, through_a_view, through_an_index, by_out])
    def test_changes_by_the_networks_own_code_are_noticed(self, change):
        net = Overwriting(change)
        with evaluating(net), torch.no_grad():
            with recording(net, taps_of(net)) as recorder:
                net(INPUTS)
            with pytest.raises(OverwrittenError, match=r"first|second") as error:
                recorder.check()
            with recording(net, taps_of(net), always_clone=frozenset(error.value.taps)) as recorder:
                net(INPUTS)
            recorder.check()
            expected = net.first(INPUTS)
            assert torch.equal(recorder.outputs[taps_of(net)[0]], expected)
            assert torch.equal(recorder.outputs[taps_of(net)[1]], net.second(expected))

    def test_every_call_of_a_module_is_its_own_tap(self):
        class Twice(nn.Module):
            def __init__(self):
                super().__init__()
                self.conv = nn.Conv2d(3, 3, 3, padding=1)

            def forward(self, x):
                return self.conv(self.conv(x))

        net = Twice()
        taps = [Tap("conv", "conv", "conv", 1, 3, call=call) for call in (0, 1)]
        with evaluating(net), recording(net, taps) as recorder:
            net(INPUTS)
            assert torch.equal(recorder.outputs[taps[0]], net.conv(INPUTS))
        with evaluating(net):
            assert torch.equal(recorder.outputs[taps[1]], net.conv(net.conv(INPUTS)))

    def test_hooks_go_even_if_forward_fails(self):
        net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True))
        with pytest.raises(RuntimeError), recording(net, [Tap("0", "0", "conv", 1, 4)]):
            net(torch.zeros(1, 5, 8, 8))
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in net)

    def test_anything_but_maps_is_refused(self):
        net = nn.Sequential(nn.Flatten(), nn.Linear(192, 5))
        with (
            evaluating(net),
            recording(net, [Tap("1", "1", "", 1, 5)]),
            pytest.raises(InputError, match=r"'1' returns \(2, 5\)"),
        ):
            net(INPUTS)

    @pytest.mark.parametrize("channels_last", [False, True])
    def test_the_graph_can_begin_at_the_first_tap(self, channels_last):
        net = nn.Sequential(
            nn.Conv2d(3, 4, 3),
            nn.ReLU(inplace=True),
            nn.Conv2d(4, 6, 3),
            nn.ReLU(inplace=True),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        taps = [Tap(name, name, "", 1, 4, channels_last=channels_last) for name in "023"]
        # a second pass goes on with a copy of what the first found overwritten
        with recorded(net, taps, INPUTS, detach=False, cut=True) as (recorder, output):
            maps = list(recorder.outputs.values())
            found = torch.autograd.grad(output.sum(), maps)
        first = net[0](INPUTS).detach().requires_grad_()
        second = net[2](first.relu())
        third = second.relu()
        expected = torch.autograd.grad(third.mean(dim=(-2, -1)).sum(), [first, second, third])
        for gradient, truth in zip(found, expected, strict=True):
            assert torch.equal(gradient, truth.movedim(-1, 1) if channels_last else truth)

    def test_two_taps_of_one_module_are_both_in_the_graph(self):
        net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        taps = [Tap("a", "0", "conv", 1, 4), Tap("b", "0", "conv", 1, 4)]
        with evaluating(net), recording(net, taps, detach=False, cut=True) as recorder:
            output = net(INPUTS)
            first, second = torch.autograd.grad(output.sum(), list(recorder.outputs.values()))
        assert torch.equal(first, second)
