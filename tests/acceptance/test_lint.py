"""A flow file that is wrong is refused, and every mistake is named."""

from tests.acceptance.harness import site

WRONG = """
name: winter-images
direction: inbound
enabeld: true
schedule: {cron: "61 * * * *"}
omnitron:
  domain_url: https://brand.omnitron.net
  username: integration
  password: hunter2-plain
erp:
  endpoint_url: https://erp.example.com/images/
  timeout: [30]
"""


def test_lint_names_every_mistake_with_its_path(tmp_path):
    """Unknown field, wrong type, bad cron and plain password: all four at once, exit 2, and the password is not echoed."""
    with site(tmp_path) as here:
        path = here.flows / "wrong.yaml"
        path.write_text(WRONG)
        done = here.call("flow", "lint", str(path), check=False)
    assert done.returncode == 2
    for field in ("enabeld", "erp.timeout", "schedule.cron", "omnitron.password"):
        assert any(field in line for line in done.stdout.splitlines()), done.stdout
    assert "hunter2" not in done.stdout + done.stderr


def test_script_and_mapping_are_compiled(tmp_path):
    """A script's problem is named with its line, a mapping's with its place in the spec; lint and apply refuse both."""
    with site(tmp_path) as here:
        here.erp = here.omnitron = "http://127.0.0.1:9"
        mapping = [{"operation": "sort"}, {"operation": "shift", "spec": {"a": "b.@(("}}]
        here.flow("wrong", script="import json\nimport os\ndef process(r): return r\n", mapping=mapping)
        file = str(here.flows / "wrong.yaml")
        refused = [here.call("flow", verb, file, check=False) for verb in ("lint", "apply")]
        assert here.json("flow", "list") == []
    assert [done.returncode for done in refused] == [2, 2]
    assert refused[1].stderr.splitlines()[-1] == "nothing is saved: mend that first"
    for done in refused:
        script, spec = (done.stdout + done.stderr).splitlines()[:2]
        assert "script: line 2: the module 'os' is not available" in script
        assert "mapping[1].spec.a: shift: 'b.@((' has no closing parenthesis" in spec


def test_what_lint_refuses_is_not_applied(tmp_path):
    """`apply` refuses the file too, and a good file beside it is not applied either."""
    with site(tmp_path) as here:
        here.erp = here.omnitron = "http://127.0.0.1:9"
        here.flow("good")
        (here.flows / "wrong.yaml").write_text(WRONG)
        done = here.call("flow", "apply", str(here.flows / "good.yaml"), str(here.flows / "wrong.yaml"), check=False)
        assert done.returncode == 2
        assert here.json("flow", "list") == []


def test_apply_list_show_export(tmp_path):
    """A flow is saved as version 1, an equal one makes no new version, a changed one does; export gives the file back."""
    with site(tmp_path) as here:
        here.erp = here.omnitron = "http://127.0.0.1:9"
        document = here.flow("good", schedule={"cron": "*/5 * * * *"})
        for version in (1, 1):
            assert f"version {version}" in here.call("flow", "apply", str(here.flows / "good.yaml")).stdout
        here.flow("good", schedule={"every": "90s"})
        assert "version 2" in here.call("flow", "apply", str(here.flows / "good.yaml")).stdout
        shown = here.json("flow", "show", "good")
        assert len(shown["next_fires"]) == 5
        exported = here.flows / "again.yaml"
        exported.write_text(here.call("flow", "export", "good").stdout)
        assert "version 2" in here.call("flow", "apply", str(exported)).stdout
        assert document["name"] == shown["name"]


def test_missing_secret_is_named(tmp_path):
    """A secret that is not set stops `run` with exit 2 and its name."""
    with site(tmp_path) as here:
        here.erp = here.omnitron = "http://127.0.0.1:9"
        here.flow("good")
        del here.environ["OMNITRON_PASSWORD"]
        done = here.call("run", "good", "--flows", str(here.flows), "--wait", "--json", check=False)
    assert done.returncode == 2
    assert "OMNITRON_PASSWORD" in done.stderr


def test_misspelt_setting_is_named(tmp_path):
    """A misspelt variable stops the process with its name."""
    with site(tmp_path, IMAGEFLOW_BROKR_URL="amqp://x") as here:
        done = here.call("runs", check=False)
    assert done.returncode == 2
    assert "IMAGEFLOW_BROKR_URL" in done.stderr
