import resource

import pytest
import torch
from parsl_optuna.core.errors import TaskError
from parsl_optuna.kernels.device import device_of, full_precision, keep_memory, one_core


def test_auto_is_a_gpu_where_there_is_one():
    assert device_of("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert device_of("cpu").type == "cpu"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_told():
    with pytest.raises(TaskError, match="no GPU that torch can use; take auto or cpu"):
        device_of("cuda")


@pytest.mark.skipif(not hasattr(torch.backends.cuda.matmul, "fp32_precision"), reason="torch before 2.9")
def test_products_of_float32_are_not_rounded_to_less():
    parts = (torch.backends.cuda.matmul, torch.backends.cudnn.conv, torch.backends.cudnn.rnn)
    torch.set_float32_matmul_precision("high")
    try:
        before = [part.fp32_precision for part in parts]
        with full_precision():
            inside = {part.fp32_precision for part in parts}
        after = [part.fp32_precision for part in parts]
    finally:
        torch.set_float32_matmul_precision("highest")

    assert "tf32" in before
    assert inside == {"ieee"}
    assert after == before


def test_a_task_computes_on_one_core():
    torch.set_num_threads(2)

    one_core()

    assert torch.get_num_threads() == 1


def test_blocks_that_come_and_go_cost_no_page_faults():
    keep_memory()
    blocks = [torch.ones(2**18) for _ in range(4)]  # a MiB each: the heap is as large as it will get
    del blocks
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt

    for _ in range(200):
        torch.ones(2**18)

    assert resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before < 0.1 * 200 * 256
