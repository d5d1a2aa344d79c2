"""The update of rule `full` against finite differences of the loss in float64."""

import numpy as np
import pytest
from hypothesis import assume, given, settings

import images
import reference
from driver import Driver, networks

STEP = 1e-6


def finite_differences(network, parameters, x, target):
    gradient = np.empty_like(parameters)
    for index in np.ndindex(parameters.shape):
        kept, losses = parameters[index], []
        for sign in 1, -1:
            parameters[index] = kept + sign * STEP
            losses.append(network.loss(x, target))
        parameters[index] = kept
        gradient[index] = (losses[0] - losses[1]) / (2 * STEP)
    return gradient


@settings(max_examples=15)
@given(net=networks(units=10, rule=images.RULES.index("full"), learning_rate=1.0))
def test_update_is_minus_the_gradient(engine, net):
    image, samples, targets = net
    for x, target in zip(samples, targets):
        before, network = image.copy(), reference.Network(image)
        network.forward(x)
        assume(network.margin > 1e-4)  # no ReLU flips within a step
        Driver(engine, image).learn(x, target)
        for i in range(len(network.w)):
            for tensor, parameters in (("weights", network.w[i]), ("bias", network.b[i])):
                old, new = (getattr(im, tensor)(i).astype("f8") for im in (before, image))
                expected = finite_differences(network, parameters, x, target)
                np.testing.assert_allclose(old - new, expected, rtol=1e-4, atol=2e-6)


@settings(max_examples=15)
@given(net=networks(units=10))
def test_reference_gradients(net):
    """The reference itself: the chain rule against finite differences."""
    image, samples, targets = net
    network = reference.Network(image)
    network.forward(samples[0])
    assume(network.margin > 1e-4)
    for i, gradients in enumerate(network.gradients(samples[0], targets[0])):
        for parameters, gradient in zip((network.w[i], network.b[i]), gradients):
            expected = finite_differences(network, parameters, samples[0], targets[0])
            np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("rate", [0.5, 0.03125])
def test_learning_rate_scales_the_update(engine, rate):
    x, start = [1, -1, 0.5], images.build((3, 5, 4))
    moved = []
    for scale in rate, 2 * rate:
        image = start.copy()
        image.state["learning_rate"] = scale
        Driver(engine, image).learn(x, 2)
        moved.append(image.bias(1) - start.bias(1))
    np.testing.assert_allclose(2 * moved[0], moved[1], rtol=1e-5, atol=1e-7)
