import pytest
import torch
from parsl_optuna.tasks.lvae.params import GUARDS
from parsl_optuna.tasks.lvae.pruning import GIVEN_BACK, Pruner, Safeguards
from parsl_optuna.tasks.lvae.strategies import Rule
from torch import Generator

STDS = [5.0, 4.0, 3.0, 0.003, 0.001, 0.002]


def pruner(stds=STDS, start=0, **guards):
    made = Pruner(
        len(stds), "plummet", Rule(0.02, 0.99, 0.05, 0.2, 1.0), Safeguards(**guards), start, 0.9, Generator()
    )
    codes = torch.tensor([[-1.0], [1.0]]) / 2**0.5 * torch.tensor(stds) + 7.0
    made.observe(codes)
    return made


def left(made):
    return made.active.nonzero().flatten().tolist()


def test_nothing_goes_before_the_first_epoch_of_pruning():
    made = pruner(start=3)

    assert [made.step(epoch, 1.0) for epoch in range(5)] == [0, 0, 0, 3, 0]
    assert [event["epoch"] for event in made.events] == [3, 3, 3]


def test_pruned_codes_are_their_means_and_carry_no_gradient():
    made = pruner()
    made.step(0, 1.0)
    codes = torch.randn(4, 6, requires_grad=True)

    masked = made.mask(codes)
    masked.sum().backward()

    assert masked[:, 3:].flatten().tolist() == pytest.approx([7.0] * 12)
    assert codes.grad[:, 3:].abs().sum() == 0
    assert codes.grad[:, :3].abs().sum() > 0


def test_the_smallest_go_first_under_a_limit():
    made = pruner(max_prune_per_epoch=1)
    found = [left(made) for epoch in range(4) if made.step(epoch, 1.0) is not None]

    assert found == [[0, 1, 2, 3, 5], [0, 1, 2, 3], [0, 1, 2], [0, 1, 2]]
    assert made.held["max_prune_per_epoch"] == 2


def test_the_floor_is_never_overshot():
    made = pruner(min_active_dims=5)
    made.step(0, 1.0)

    assert left(made) == [0, 1, 2, 3, 5]
    assert made.held["min_active_dims"] == 1
    made.step(1, 1.0)
    assert made.n_active == 5


def test_a_cooldown_lets_epochs_pass():
    made = pruner(max_prune_per_epoch=1, cooldown_epochs=3)

    assert [made.step(epoch, 1.0) for epoch in range(8)] == [1, 0, 0, 1, 0, 0, 1, 0]


def test_a_dimension_must_be_a_candidate_several_times_in_a_row():
    made = pruner(k_consecutive=3)

    assert [made.step(epoch, 1.0) for epoch in range(4)] == [0, 0, 3, 0]
    assert made.held["k_consecutive"] == 2


def test_a_risen_error_holds_pruning_back_and_earlier_epochs_do_not_count():
    made = pruner(start=1, recon_tol=0.1)
    made.step(0, 0.001)

    assert made.step(1, 1.0) == 3
    made = pruner(start=0, recon_tol=0.1, max_prune_per_epoch=1)
    assert [made.step(epoch, error) for epoch, error in enumerate([1.0, 1.2, 1.05])] == [1, 0, 1]
    assert made.held["recon_tol"] == 1


def test_a_state_goes_on_where_it_was():
    one = pruner(k_consecutive=2, max_prune_per_epoch=1)
    one.step(0, 1.0)
    two = pruner(k_consecutive=2, max_prune_per_epoch=1)
    two.restore(one.state())

    for epoch in range(1, 6):
        assert one.step(epoch, 1.0) == two.step(epoch, 1.0)
    assert (one.events, one.held) == (two.events, two.held)


def test_a_batch_of_one_design_says_nothing():
    made = pruner()
    before = made.std.clone()
    made.observe(torch.zeros(1, 6))

    assert torch.equal(made.std, before)


@pytest.mark.parametrize("name", GUARDS)
def test_every_profile_is_a_set_of_safeguards(name):
    assert Safeguards(*GUARDS[name])


def down_to(dims, errors, start=4):
    """Return a pruner of `neighbours` after epochs with these errors."""
    rule = Rule(0.02, 0.99, 0.05, 0.2, 1.0)
    made = Pruner(5, "neighbours", rule, Safeguards(), start, 0.9, Generator(), dims)
    made.observe(torch.tensor([[-1.0], [1.0]]) / 2**0.5 * torch.tensor([5.0, 4.0, 3.0, 2.0, 1.0]))
    for epoch, error in enumerate(errors):
        made.step(epoch, error)
    return made


BEFORE = [0.5, 0.1, 0.02, 0.01, 0.02]


def test_a_dimension_whose_loss_the_network_gets_over_stays_away():
    made = down_to(3, [*BEFORE, 0.4, 0.3, 0.019, 0.3, 0.3, 0.3])

    assert left(made) == [0, 1, 2]
    assert made.settled


def test_the_last_dimension_comes_back_once_where_the_network_does_not():
    made = down_to(3, [*BEFORE, *[0.3] * 4])

    assert left(made) == [0, 1, 2]
    assert made.step(9, 0.3) == -1  # four epochs after the last one went in epoch 5
    assert left(made) == [0, 1, 2, 3]
    assert [(event["epoch"], event["dim"], event["reason"]) for event in made.events] == [
        (4, 4, "neighbours"),
        (5, 3, "neighbours"),
        (9, 3, GIVEN_BACK),
    ]
    assert [made.step(epoch, 0.3) for epoch in range(10, 22)] == [0] * 12
    assert made.settled


def test_a_small_error_is_no_loss_however_many_times_it_has_grown():
    assert left(down_to(3, [*[1e-5] * 5, *[0.009] * 8])) == [0, 1, 2]


def test_what_it_knows_of_the_loss_goes_on_where_it_was():
    made, again = down_to(3, [*BEFORE, 0.3]), down_to(3, [])
    again.restore(made.state())

    assert [again.step(epoch, 0.3) for epoch in range(6, 10)] == [0, 0, 0, -1]


def test_nothing_is_settled_before_something_went_or_without_a_number():
    assert not down_to(5, [0.1] * 6).settled
    assert not down_to(None, [0.1] * 6).settled


def test_means_and_stds_follow_a_turn_of_the_active_codes():
    made = down_to(3, [])
    made.active[4] = False
    made.mean = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])
    swap = torch.eye(5)[[3, 1, 2, 0, 4]]
    made.turn(swap, torch.tensor([0.1, 0.2, 0.3, 0.4]))

    assert made.mean.tolist() == [4.0, 2.0, 3.0, 1.0, 5.0]
    assert made.std.tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4, 1.0])


def test_it_goes_on_from_the_first_epoch_with_pruning_until_the_number_is_reached():
    made = down_to(3, [], start=4)
    went = []
    for epoch in range(8):
        went.append(made.goes_on(epoch))
        made.step(epoch, 0.1)

    assert went == [False] * 4 + [True, True, False, False]
    assert not down_to(None, [], start=0).goes_on(0)
