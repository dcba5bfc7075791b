import resource
import subprocess
import sys

import pytest
import torch
from parsl_optuna.core.errors import TaskError
from parsl_optuna.kernels.device import _float32_parts, device_of, keep_memory, one_core


def test_auto_is_a_gpu_where_there_is_one():
    assert device_of("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert device_of("cpu").type == "cpu"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_told():
    with pytest.raises(TaskError, match="no GPU that torch can use; take auto or cpu"):
        device_of("cuda")


PRECISIONS = """
import torch
{setting}
from parsl_optuna.kernels.device import _float32_parts, full_precision
before = [part.fp32_precision for part in _float32_parts()]
with full_precision():
    {used}
    inside = {{part.fp32_precision for part in _float32_parts()}}
assert inside <= {{"ieee", "none"}}, inside
assert [part.fp32_precision for part in _float32_parts()] == before
assert {after}
"""


@pytest.mark.parametrize(
    ("setting", "used", "after"),
    [
        ("", "", "torch.backends.cudnn.allow_tf32"),
        ("", "with torch.backends.cudnn.flags(enabled=False): pass", "torch.backends.cudnn.allow_tf32"),
        ("torch.set_float32_matmul_precision('high')", "", "torch.backends.cuda.matmul.allow_tf32"),
        ("torch.backends.fp32_precision = 'tf32'", "", "torch.backends.fp32_precision == 'tf32'"),
        ("torch.backends.cudnn.conv.fp32_precision = 'ieee'", "", "True"),
    ],
)
def test_products_of_float32_are_not_rounded_to_less(setting, used, after):
    if "fp32_precision" in setting and not _float32_parts():
        pytest.skip("torch before 2.9")
    code = PRECISIONS.format(setting=setting, used=used or "pass", after=after)

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr


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
