import torch
from parsl_optuna.kernels.optimiser import adam_state, restore_adam


def steps(optimiser, weight, count):
    for _ in range(count):
        optimiser.zero_grad()
        (weight**2).sum().backward()
        optimiser.step()


def test_training_goes_on_to_the_last_digit():
    one, two = (torch.nn.Parameter(torch.tensor([1.0, -2.0])) for _ in range(2))
    first, second = torch.optim.Adam([one], lr=0.1), torch.optim.Adam([two], lr=0.1)
    assert adam_state(first, [one]) == []
    steps(first, one, 5)
    with torch.no_grad():
        two.copy_(one)
    restore_adam(second, [two], adam_state(first, [one]))

    steps(first, one, 5)
    steps(second, two, 5)

    assert torch.equal(one, two)
