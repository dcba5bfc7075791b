from parsl_optuna.core.counted import counted


def test_one_thing_is_no_plural():
    assert [counted(count, "trial") for count in (0, 1, 2)] == ["0 trials", "1 trial", "2 trials"]
