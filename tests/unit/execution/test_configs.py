"""Files that define a configuration, in the ways that people write them."""

import pytest
from parsl import Config
from parsl_optuna.core.errors import SpecError
from parsl_optuna.core.resources import ClusterSpec
from parsl_optuna.execution.configs import BY_NAME, ConfigSource, choose, file_config

from tests.conftest import ROOT

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # Parsl's own sockets
THREADS = "from parsl import Config\nfrom parsl.executors import ThreadPoolExecutor as Threads\n"
CLUSTER = ClusterSpec(partition="debug")


def written(tmp_path, text, name="c.py"):
    path = tmp_path / name
    path.write_text(THREADS + text)
    return path


def labels(config):
    return [executor.label for executor in config.executors]


@pytest.mark.parametrize(
    "text",
    [
        "config = Config(executors=[Threads(label='a')])",
        "my_setup = Config(executors=[Threads(label='a')])",
        "import parsl\nparsl.load(Config(executors=[Threads(label='a')]))",
        "import parsl\nconfig = Config(executors=[Threads(label='a')])\nparsl.load(config)",
        "from parsl import load\nc = Config(executors=[Threads(label='a')])\nwith load(c):\n    pass",
        "def config():\n    return Config(executors=[Threads(label='a')])",
        "def config(threads=2):\n    return Config(executors=[Threads(label='a', max_threads=threads)])",
        "def config(cluster):\n    cluster.partition.upper()\n    return Config([Threads(label='a')])",
        "def config(x=1, *, cluster):\n    cluster.walltime\n    return Config([Threads(label='a')])",
    ],
)
def test_the_only_configuration_is_found_whatever_it_is_called(tmp_path, text):
    assert labels(file_config(written(tmp_path, text), CLUSTER)) == ["a"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x = 1", "defines no parsl.Config"),
        ("a = Config(executors=[Threads()])\nb = Config(executors=[Threads()])", "defines 2 parsl.Config"),
        ("config = 1 / 0", "does not run: ZeroDivisionError"),
        ("raise SystemExit('no site')", "does not run: SystemExit: no site"),
        ("def config(site):\n    return None", r"config\(site\) cannot be called"),
        ("def config():\n    return 3", "returned a int"),
        ("def config():\n    raise KeyError('x')", "does not run: KeyError"),
    ],
)
def test_what_is_wrong_with_a_file_is_one_line(tmp_path, text, words):
    with pytest.raises(SpecError, match=words) as error:
        file_config(written(tmp_path, text), CLUSTER)

    assert "\n" not in str(error.value)


def noting(tmp_path):
    return f"with open({str(tmp_path / 'log')!r}, 'a') as stream:\n    stream.write('x')"


def test_a_file_is_run_once_until_a_second_configuration_is_needed(tmp_path):
    text = f"{noting(tmp_path)}\nconfig = Config(executors=[Threads(label='a')])"
    source = ConfigSource(str(written(tmp_path, text)), CLUSTER)

    first = source()
    assert (tmp_path / "log").read_text() == "x"
    assert source() is not first
    assert (tmp_path / "log").read_text() == "xx"


def test_a_function_is_called_again_and_its_file_is_not_run_again(tmp_path):
    text = f"{noting(tmp_path)}\ndef config():\n    return Config(executors=[Threads()])"
    source = ConfigSource(str(written(tmp_path, text)), CLUSTER)

    assert source() is not source()
    assert (tmp_path / "log").read_text() == "x"


@pytest.mark.parametrize("name", ["none.py", "slrum", "folder/none"])
def test_a_missing_file_is_told_with_the_names_that_there_are(name):
    with pytest.raises(SpecError, match="no such file; give a Python file, or one of local, slurm, pbs"):
        ConfigSource(name, CLUSTER)


@pytest.mark.parametrize("name", BY_NAME)
def test_the_example_of_the_repository_is_the_one_of_the_package(name, tmp_path):
    by_name, by_file = (
        ConfigSource(name, CLUSTER, tmp_path)(),
        file_config(ROOT / "parsl_configs" / f"{name}.py", CLUSTER),
    )

    assert labels(by_name) == labels(by_file)
    for one, other in zip(by_name.executors, by_file.executors, strict=True):
        assert one.encrypted
        assert one.provider.scheduler.name == other.provider.scheduler.name
        assert one.launch_cmd == other.launch_cmd


def two():
    names: dict = {}
    exec((ROOT / "tests" / "unit" / "execution" / "two_executors.py").read_text(), names)
    return names["config"]


def test_trials_go_to_the_executor_that_is_named_or_to_the_one_with_workers():
    assert choose(two(), None).label == "compute"
    assert choose(two(), "io").label == "io"


def test_an_executor_that_is_not_there_is_one_line_with_the_nearest():
    with pytest.raises(SpecError, match=r"executor 'compte'.*did you mean 'compute'"):
        choose(two(), "compte")


def test_several_executors_alike_have_to_be_named():
    from parsl.executors import ThreadPoolExecutor  # noqa: PLC0415

    config = Config(executors=[ThreadPoolExecutor(label="a"), ThreadPoolExecutor(label="b")])

    with pytest.raises(SpecError, match="set 'executor' to one of: a, b"):
        choose(config, None)


def test_parsl_s_own_provider_is_refused_where_its_shell_would_misread_the_folder(tmp_path, monkeypatch):
    folder = tmp_path / "a b"
    folder.mkdir()
    monkeypatch.chdir(folder)
    text = "from parsl import HighThroughputExecutor as H\nconfig = Config(executors=[H(label='h')])"

    with pytest.raises(SpecError, match="start the command, and set run_dir, in a folder of letters"):
        file_config(written(tmp_path, text), CLUSTER)
