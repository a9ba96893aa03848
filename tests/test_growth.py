"""A deeper network starts from a shallower one's layers."""

import pytest
import torch

from vizkit import zoo
from vizkit.errors import WeightsError
from vizkit.growth import inherit


def test_layers_of_the_same_name_are_copied_and_others_left():
    torch.manual_seed(0)
    donor, deeper = zoo.build("vgg11_bn"), zoo.build("vgg13_bn")
    before = {key: value.clone() for key, value in deeper.state_dict().items()}
    filled = inherit(deeper, donor, donor.state_dict())
    after = deeper.state_dict()
    # conv2_1 of VGG 11 is features.4; of VGG 13, features.7
    assert torch.equal(after["features.7.weight"], donor.state_dict()["features.4.weight"])
    assert torch.equal(after["head.fc.weight"], donor.state_dict()["head.fc.weight"])
    # conv1_2 is new
    assert torch.equal(after["features.3.weight"], before["features.3.weight"])
    assert "features.3.weight" not in filled
    assert len(filled) == len(donor.state_dict())


def test_nothing_in_common_is_an_error():
    with pytest.raises(WeightsError, match="none of the donor's layers"):
        inherit(
            zoo.build("vovnet19b"), zoo.build("vgg11"), zoo.build("vgg11").features.state_dict()
        )
