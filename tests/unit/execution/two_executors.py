"""A user's configuration with workers for computing and threads for the rest."""

from parsl.config import Config
from parsl.executors import HighThroughputExecutor, ThreadPoolExecutor
from parsl.providers import LocalProvider

provider = LocalProvider(init_blocks=1, max_blocks=1)
compute = HighThroughputExecutor(
    label="compute", address="127.0.0.1", max_workers_per_node=1, provider=provider
)
config = Config(executors=[compute, ThreadPoolExecutor(label="io", max_threads=2)])
