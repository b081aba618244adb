"""What every stage of one run shares."""

from edgetransfer.pipeline.stage.reporter import SilentReporter
from edgetransfer.pipeline.stage.run import Run
from edgetransfer.pipeline.stage.store import Store
from edgetransfer.spec import catalogue
from edgetransfer.spec.recipe import recipe_from


def test_threads_are_those_that_were_asked_for_else_the_targets(tmp_path):
    target = catalogue.target("x86-avx2")
    for asked, threads in ((None, target.session.threads), (3, 3)):
        recipe = recipe_from({"data": "photos", "threads": asked})
        run = Run(recipe, (target,), None, Store(tmp_path), SilentReporter())
        session = run.session_of(target)
        assert session == {"threads": threads, "config": target.session.config}
