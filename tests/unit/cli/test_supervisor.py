from pathlib import Path

from cli.supervisor import Child, Supervisor, after_exit


def test_delays_double_up_to_four_seconds_and_start_over_after_a_calm_life():
    child = Child("serve", ())

    dues = [after_exit(child, 0.0) for _ in range(7)]
    child.started_at = 100.0
    calm = after_exit(child, 131.0)

    assert dues == [0.2, 0.4, 0.8, 1.6, 3.2, 4.0, 4.0]
    assert calm == 131.2


def test_what_dies_is_started_again_when_it_is_due(tmp_path: Path):
    child = Child("broken", ["no-such-command"], logs=tmp_path / "logs" / "broken.log")
    supervisor = Supervisor([child])

    supervisor.step(0.0)
    assert child.process is not None
    child.process.wait()
    supervisor.step(1.0)
    supervisor.step(1.1)
    waiting = child.process
    supervisor.step(1.3)
    supervisor.end()

    assert waiting is None
    assert child.starts == 2
    assert "No such command" in (tmp_path / "logs" / "broken.log").read_text()


def test_ending_ends_every_child():
    children = [Child("help", ["--help"]), Child("settings", ["settings"])]
    supervisor = Supervisor(children)
    supervisor.step(0.0)
    processes = [child.process for child in children]

    supervisor.end()

    assert all(process is not None and process.poll() is not None for process in processes)
