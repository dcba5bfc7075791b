from tests.scenarios import Bench, n_beta, quadratic


def test_untested_steps_state_about_the_bias_that_they_have(tmp_path):
    bench = Bench({"model": "quadratic", "overrides": {"data": {"n_data": 1000}}}, tmp_path)
    settings = {"chains": 32, "steps": 1500, "warmup": 400}

    found = bench.run("mclmc", target_accept=None, energy_variance=5e-4, **settings)

    error = abs(found["llc_hat"] - quadratic([2.0] * 10, n_beta(1000)))
    stated = found["diagnostics"]["energy_variance"] ** (1 / 3) / 4 * found["llc_hat"]
    assert error > 3 * found["se_hat"]
    assert 0.5 * error < stated <= found["bias"] < 2 * error
