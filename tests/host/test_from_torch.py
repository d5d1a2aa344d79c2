"""PyTorch models become layers that give what the model gives."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from tinyinc_host import network  # noqa: E402
from tinyinc_host.from_torch import Residual, freeze, from_torch  # noqa: E402


def image_model():
    return nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1, stride=2, bias=False),
        nn.BatchNorm2d(6),
        nn.ReLU6(),
        Residual(
            nn.Conv2d(6, 6, (3, 1), padding=(1, 0), groups=6),
            nn.BatchNorm2d(6),
            nn.ReLU(),
            nn.Sequential(nn.Conv2d(6, 6, 1), nn.BatchNorm2d(6, affine=False)),
        ),
        nn.ReLU(),
        nn.MaxPool2d(2, padding=1, stride=1),
        nn.AvgPool2d(2),
        nn.Dropout(0.5),
        nn.Flatten(),
        nn.Linear(6 * 3 * 2, 10),
        nn.BatchNorm1d(10),
        nn.ReLU(),
        nn.Linear(10, 4),
    )


def flat_model():
    return nn.Sequential(
        nn.Conv1d(3, 5, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.MaxPool1d(2),
        nn.Conv1d(5, 7, 3, padding="same"),
        nn.ReLU(),
        nn.AdaptiveAvgPool1d(1),
        nn.Flatten(),
        nn.Linear(7, 4),
    )


def used(model, x):
    """The model, whose batch norms have seen something."""
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)) and module.affine:
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
    with torch.no_grad():
        for _ in range(20):
            model.train()(x)
    return model.eval()


@pytest.mark.parametrize(
    ("make", "shape"), [(image_model, (9, 7, 2)), (flat_model, (1, 20, 3))], ids=["2d", "1d"]
)
def test_layers_give_what_the_model_gives(make, shape):
    x = np.random.default_rng(0).normal(0, 1, (16, *shape)).astype(np.float32)
    channels_first = torch.tensor(x).permute(0, 3, 1, 2)
    if shape[0] == 1:
        channels_first = channels_first[:, :, 0]
    model = used(make(), channels_first)
    with torch.no_grad():
        expected = model(channels_first).numpy()
    layers = from_torch(model, shape)
    assert np.abs(network.forward(shape, layers, x)[-1] - expected).max() < 1e-4
    net = network.network(shape, freeze(layers, 2), labels="abcd", raw_range=(-4, 4))
    x = x.clip(-4, 4)
    with torch.no_grad():
        clipped = channels_first.clip(-4, 4) / 4  # as the network normalises it
        classes = model(clipped).argmax(1).tolist()
    assert [net.predict(row.ravel()) for row in x] == ["abcd"[c] for c in classes]


def test_frozen_layers():
    layers = freeze(from_torch(flat_model().eval(), (1, 20, 3)), 3)
    assert [(layer.kind, layer.train) for layer in layers] == [
        ("conv", "none"),
        ("max_pool", "none"),
        ("conv", "none"),
        ("average_pool", "none"),
        ("dense", "all"),
    ]


@pytest.mark.parametrize(
    ("modules", "text"),
    [
        ([nn.Tanh()], "Tanh is no layer"),
        ([nn.BatchNorm2d(2)], "only behind a convolution"),
        ([nn.Conv2d(2, 4, 3, dilation=2)], "dilation 1"),
        ([nn.Conv2d(2, 4, 3, groups=2)], "groups are 1, or one per channel"),
        ([nn.MaxPool2d(2, ceil_mode=True)], "ceil_mode False"),
        ([nn.AvgPool2d(3, padding=1)], "count_include_pad=False"),
        ([nn.AdaptiveAvgPool2d(2)], "only a global pool"),
        ([nn.Conv2d(2, 4, 3), nn.ReLU(), nn.ReLU()], "relu: only behind"),
        (
            [nn.Conv2d(2, 4, 3), nn.Flatten(), nn.Linear(9, 2)],
            "layer 1 \\(dense\\): weights are 2 x",
        ),
        ([Residual(nn.Conv2d(2, 2, 1))], "layer 1 \\(add\\): source is -1"),
    ],
)
def test_refusals(modules, text):
    with pytest.raises(ValueError, match=text):
        from_torch(nn.Sequential(*modules).eval(), (6, 5, 2))
