import pytest
import torch

from workflow.errors import TaskError
from workflow.kernels.device import device_of


def test_auto_is_a_gpu_where_there_is_one():
    assert device_of("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert device_of("cpu").type == "cpu"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_told():
    with pytest.raises(TaskError, match="no GPU that torch can use; take auto or cpu"):
        device_of("cuda")
