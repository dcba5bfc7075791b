from parsl_optuna.core.clock import utc_now
from parsl_optuna.core.records import Asked, Manifest, State
from parsl_optuna.store.artifacts import ArtifactStore
from parsl_optuna.store.progress import Reporter, stop_reason
from parsl_optuna.study.pruning import Watch
from parsl_optuna.study.search.pruners import make_pruner
from parsl_optuna.worker.execute import failure


class Listener:
    def __init__(self, heard):
        self.heard = heard

    def report(self, trial_id, step, value):
        self.heard.append((trial_id, step, value))

    def reason_to_stop(self, trial_id):
        return None

    def end(self, trial_id, value):
        self.heard.append((trial_id, value))


def a_watch(folder):
    store = ArtifactStore(folder)
    watch = Watch(make_pruner("threshold", {"upper": 5.0}, "s"), store, lambda metrics: metrics.get("loss"))
    manifest = Manifest("t", 1, "trial", "p_0", "m", {"x": 1}, 0, 1.0)
    store.put_manifest(manifest, Asked(0, utc_now(), "search"))
    return store, watch, manifest


def paths(store, manifest):
    names = (manifest.pid, manifest.method, manifest.trial_id)
    return store.paths.progress(*names), store.paths.stop(*names)


def test_a_trial_is_asked_to_stop_when_the_pruner_says_so(tmp_path):
    store, watch, manifest = a_watch(tmp_path)
    progress, stop = paths(store, manifest)
    reporter = Reporter(progress)

    watch.look([manifest])
    reporter.report(1, {"loss": 1.0})
    watch.look([manifest])
    assert stop_reason(stop) is None
    reporter.report(2, {"loss": 9.0})
    watch.look([manifest])

    assert "stopped it at step 2" in stop_reason(stop)


def test_reports_without_the_objective_are_passed_over(tmp_path):
    store, watch, manifest = a_watch(tmp_path)
    progress, stop = paths(store, manifest)
    Reporter(progress).report(1, {"other": 9.0})

    watch.look([manifest])

    assert stop_reason(stop) is None


def test_what_an_ended_trial_reported_counts(tmp_path):
    store, _, manifest = a_watch(tmp_path)
    Reporter(paths(store, manifest)[0]).report(1, {"loss": 2.0})
    heard = []
    watch = Watch(Listener(heard), store, lambda metrics: metrics["loss"])

    watch.end(manifest, failure(manifest, State.PRUNED, "no"))

    assert heard == [(manifest.trial_id, 1, 2.0), (manifest.trial_id, None)]
