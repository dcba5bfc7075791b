from concurrent.futures import wait

import pytest
from parsl_optuna.execution.inline import InlineExecutor


def test_results_and_errors_come_by_the_future():
    executor = InlineExecutor()

    good, bad = executor.submit(divmod, 7, 2), executor.submit(divmod, 7, 0)
    wait([good, bad])
    executor.close()

    assert good.result() == (3, 1)
    with pytest.raises(ZeroDivisionError):
        bad.result()
