"""Scripts that do the same in every folder."""

import subprocess

import pytest
from parsl_optuna.execution import script

NAMES = [
    "plain",
    "with space",
    'it\'s "quoted"',
    "new\nline",
    "ünïcödé ☃",
    "$HOME `id` $(id) ; & | > <",
    "{brace} {block_id} {{x}} %j %% \\back",
    "-dash",
    "a:b=c,d",
    "x" * 240,
]


@pytest.fixture(params=NAMES)
def folder(request, tmp_path):
    folder = tmp_path / request.param
    folder.mkdir()
    return folder


def write(folder, pool, worker_init=""):
    files = script.Files(folder / "submit", "block-0")
    variables = {script.LAUNCH_DIR: str(folder), "OTHER": str(folder)}
    spread = f"bash {script.shlex.quote(str(files.pool))}"
    script.write(files, ["#SBATCH --output=/dev/null"], spread, worker_init, variables, pool)
    return files


def test_a_block_runs_in_the_launch_folder_with_its_variables(folder):
    files = write(folder, "python3 -c 'import os; print(repr((os.getcwd(), os.environ[\"OTHER\"])))'")

    done = subprocess.run(["bash", files.job], capture_output=True, check=True, cwd="/")

    assert (done.stdout, done.stderr) == (b"", b"")
    assert eval(files.output.read_text()) == (str(folder), str(folder))
    assert files.status.read_text() == "0\n"


def test_the_exit_status_and_the_end_of_the_output_are_kept(tmp_path):
    files = write(tmp_path, "true", worker_init="echo about to fail\nexit 7")

    done = subprocess.run(["bash", files.job], check=False)

    assert done.returncode == 7
    assert files.status.read_text() == "7\n"
    assert script.ending(files.output) == ["about to fail"]


def test_a_node_that_does_not_see_the_folder_leaves_with_a_status_of_its_own(tmp_path):
    files = write(tmp_path, "true")
    moved = tmp_path / "job.sh"
    files.job.rename(moved)
    for path in files.folder.iterdir():
        path.unlink()
    files.folder.rmdir()

    assert subprocess.run(["bash", moved], check=False).returncode == script.UNSEEN


def test_only_the_end_of_a_long_output_is_read(tmp_path):
    path = tmp_path / "out"
    path.write_text("\n".join(f"line {i}" for i in range(100_000)))

    assert script.ending(path, most_lines=2) == ["line 99998", "line 99999"]
    assert script.ending(tmp_path / "none") == []


def test_parsl_formats_our_launch_command_without_touching_paths():
    line = script.pool_line(
        "process_worker_pool.py --cert_dir {cert_dir} --logdir={logdir} --block_id={{block_id}}"
    )

    assert (
        line.format()
        .format(block_id=3)
        .endswith('--cert_dir "$PARSL_OPTUNA_CERTIFICATES" --logdir="$PARSL_OPTUNA_LOGS" --block_id=3')
    )
