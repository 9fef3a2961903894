"""The replay pool and the history of weights."""

import torch

from ganforge.systems.history import ReplayPool, WeightHistory


def random_images(*values: float) -> torch.Tensor:
    return torch.tensor(values).reshape(-1, 1, 1, 1).expand(-1, 3, 2, 2).clone()


def test_a_pool_shows_what_comes_until_it_is_full():
    pool = ReplayPool(1, 3, (3, 2, 2))
    for value in (1.0, 2.0, 3.0):
        assert torch.equal(pool.swap(random_images(value), 0), random_images(value))
    assert pool.count.tolist() == [3]
    assert pool.images[0, :, 0].tolist() == [1.0, 2.0, 3.0]


def test_a_full_pool_shows_an_earlier_fake_half_of_the_time():
    torch.manual_seed(0)
    pool = ReplayPool(1, 50, (3, 2, 2))
    pool.swap(random_images(*range(50)), 0)
    old, ages = 0, []
    for value in range(50, 4050):
        shown = pool.swap(random_images(float(value)), 0)[0, 0, 0, 0].item()
        old += shown != value
        if shown != value:
            ages.append(value - shown)
            assert value in pool.images[0, :, 0]
            assert shown not in pool.images[0, :, 0]
    assert abs(old / 4000 - 0.5) < 4 * (0.25 / 4000) ** 0.5
    # a stored image leaves with probability 1/100 a fake: it stays for 100 in the mean
    assert abs(sum(ages) / len(ages) - 100) < 10


def test_a_pool_gives_every_fake_once_and_keeps_the_rest():
    torch.manual_seed(1)
    pool = ReplayPool(1, 5, (3, 2, 2))
    shown = [pool.swap(random_images(float(v)), 0)[0, 0, 0, 0].item() for v in range(200)]
    # what fills the pool is shown at once, and may come again; later ones come at most once
    late = [v for v in shown if v >= 5]
    assert len(set(late)) == len(late)
    assert len(pool.images[0, :, 0].unique()) == 5


def test_shards_have_pools_of_their_own():
    pool = ReplayPool(2, 2, (3, 2, 2))
    pool.swap(random_images(1.0, 2.0), 1)
    assert pool.count.tolist() == [0, 2] and not pool.images[0].any()


def test_what_a_pool_shows_is_detached_and_its_own():
    pool = ReplayPool(1, 1, (3, 2, 2))
    fake = random_images(1.0).requires_grad_()
    shown = pool.swap(fake, 0)
    assert not shown.requires_grad
    shown.fill_(9)
    assert not (pool.images == 9).any()


def test_a_pool_of_no_images_shows_the_fakes():
    pool = ReplayPool(1, 0, (3, 2, 2))
    assert torch.equal(pool.swap(random_images(1.0, 2.0), 0), random_images(1.0, 2.0))


def test_the_history_is_the_mean_of_all_weights_so_far():
    torch.manual_seed(0)
    module = torch.nn.Linear(3, 2).double()
    history = WeightHistory(module)
    seen = [module.weight.detach().clone()]
    for _ in range(5):
        with torch.no_grad():
            module.weight.add_(torch.randn(2, 3, dtype=torch.float64))
        history.update(module)
        seen.append(module.weight.detach().clone())
    mean = torch.stack(seen).mean(0)
    expected = (module.weight - mean).square().sum()  # the bias has not moved
    torch.testing.assert_close(history.distance(module), expected, rtol=1e-12, atol=0)


def test_the_history_pulls_towards_its_mean():
    module = torch.nn.Linear(3, 2).double()
    history = WeightHistory(module)
    assert history.distance(module).item() == 0
    before = module.weight.detach().clone()
    with torch.no_grad():
        module.weight.add_(1)
    history.distance(module).backward()
    torch.testing.assert_close(module.weight.grad, 2 * (module.weight.detach() - before))
