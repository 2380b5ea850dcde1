"""What is under deploy/: it names commands, settings and services that there are, and gives no container more than it needs."""

import importlib.metadata
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from imageflow import bootstrap, settings
from imageflow.cli import cli
from imageflow.flows import file as flow_file
from imageflow.model import messages

DEPLOY = Path(__file__).parents[2] / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
OURS = {name: service for name, service in COMPOSE["services"].items() if name not in ("rabbitmq", "postgres")}
MANIFESTS = [
    (path.name, document)
    for path in sorted((DEPLOY / "kubernetes").glob("*.yaml"))
    for document in yaml.safe_load_all(path.read_text())
]
PODS = {
    document["metadata"]["name"].removeprefix("imageflow-"): document["spec"]["template"]["spec"]
    for _, document in MANIFESTS
    if document["kind"] in ("Deployment", "Job")
}
SCHEMAS = "1.33"
"""The version of Kubernetes whose schemas are taken."""
RESTRICTED = {
    "runAsNonRoot": True,
    "runAsUser": 10001,
    "runAsGroup": 10001,
    "fsGroup": 10001,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def of_kind(kind: str) -> dict[str, dict]:
    return {
        document["metadata"]["name"].removeprefix("imageflow-"): document
        for _, document in MANIFESTS
        if document["kind"] == kind
    }


def check_command(words: list[str]) -> None:
    """The words are a command with options and arguments that it takes."""
    command, context = cli, None
    context = cli.make_context("imageflow", [], resilient_parsing=True)
    while words and hasattr(command, "get_command"):
        if words == ["--help"]:
            return
        found = command.get_command(context, words[0])
        assert found is not None, f"there is no command {words[0]}"
        command, words = found, words[1:]
    command.make_context(command.name, [re.sub(r"\$\{\w+:-(.*)\}", r"\1", word) for word in words], parent=context)


def check_settings(names) -> None:
    for name in names:
        if name.startswith(settings.PREFIX):
            assert name.removeprefix(settings.PREFIX) in settings.DOCS, f"there is no setting {name}"


# image --------------------------------------------------------------------------------------------------------------------


def test_the_image_sets_what_there_is():
    """Each IMAGEFLOW_ variable of the image is a setting; the user is not root; the base is an argument."""
    check_settings(re.findall(r"IMAGEFLOW_\w+(?==)", DOCKERFILE))
    assert re.findall(r"^USER (.*)$", DOCKERFILE, re.MULTILINE) == ["10001:10001"]
    assert DOCKERFILE.count("FROM ${BASE}") == 2
    assert re.findall(r"^ARG BASE=(.*)$", DOCKERFILE, re.MULTILINE) == ["python:3.11-slim-bookworm"]


def test_the_build_backend_is_locked():
    """The image's builder takes the backend and all it needs from the lock file, with hashes."""
    pattern = re.compile(re.search(r"keep = /(.*?)/ \}", DOCKERFILE)[1])
    lock = (DEPLOY.parent / "requirements-dev.lock").read_text()
    kept = {line.partition("==")[0] for line in lock.splitlines() if pattern.match(line)}
    needed = {"hatchling"}
    for requirement in importlib.metadata.requires("hatchling") or []:
        if "python_version" not in requirement:
            needed.add(re.match(r"[\w.-]+", requirement)[0])
    assert needed <= kept


def test_the_build_context_holds_what_the_image_needs():
    """What the Dockerfile copies is let through by .dockerignore, which lets nothing else through."""
    ignore = (DEPLOY.parent / ".dockerignore").read_text().split()
    copied = {word for line in re.findall(r"^COPY (?!--)(.*) \S+$", DOCKERFILE, re.MULTILINE) for word in line.split()}
    assert ignore[0] == "*"
    assert {line[1:] for line in ignore if line.startswith("!")} == copied
    assert all((DEPLOY.parent / path).exists() for path in copied)


def test_nothing_names_a_registry():
    """Images are named without a host, so that each site takes them from where it takes images."""
    images = [service["image"] for service in COMPOSE["services"].values()]
    images += [container["image"] for pod in PODS.values() for container in pod["containers"]]
    assert not [image for image in images if "/" in image]


# compose ------------------------------------------------------------------------------------------------------------------


def test_compose_has_every_service():
    """The five services, the migration that goes before them, broker and database; the emulators under `demo` only."""
    assert {*bootstrap.SERVICES, "migrate", "rabbitmq", "postgres"} <= COMPOSE["services"].keys()
    profiles = {name: service.get("profiles") for name, service in COMPOSE["services"].items()}
    assert {name for name, found in profiles.items() if found == ["demo"]} == {"erp", "omnitron"}
    assert all(profiles[name] is None for name in bootstrap.SERVICES)


@pytest.mark.parametrize("name", OURS)
def test_compose_gives_commands_that_there_are(name):
    """Command, options and IMAGEFLOW_ variables of each container exist."""
    check_command([str(word) for word in OURS[name]["command"]])
    check_settings(OURS[name].get("environment", {}))


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_compose_limits_every_container(name):
    """No capabilities, no new privileges, bounded memory and CPU, bounded logs; ImageFlow's own have a read-only root."""
    service = COMPOSE["services"][name]
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert "privileged" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["mem_limit"]
    assert service["cpus"]
    assert service["logging"]["options"]["max-size"]
    assert service.get("restart") == ("no" if name in ("migrate", "cli") else "unless-stopped")
    assert name not in OURS or service["read_only"] is True
    assert name in OURS or service["user"] not in ("root", "0")
    assert "container_name" not in service  # it would forbid --scale


def test_compose_keeps_scripts_and_data_inside():
    """Transformer and database are on the internal network alone; scripts' containers hold no flow's secrets."""
    assert COMPOSE["networks"]["inside"]["internal"] is True
    assert COMPOSE["services"]["transformer"]["networks"] == ["inside"]
    assert COMPOSE["services"]["postgres"]["networks"] == ["inside"]
    assert "volumes" not in COMPOSE["services"]["transformer"]
    published = {name for name, service in COMPOSE["services"].items() if "ports" in service}
    assert published == {"gateway", "rabbitmq"}


def test_compose_lets_services_finish():
    """What Docker waits for is longer than what a service may take to stop."""
    for name in bootstrap.SERVICES:
        service = COMPOSE["services"][name]
        grace = float(service["stop_grace_period"].removesuffix("s"))
        assert grace > float(service["environment"]["IMAGEFLOW_STOP_SECONDS"])
        assert service["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}


def test_secrets_are_made_for_compose(tmp_path):
    """make-secrets.sh makes each file that compose.yaml names, random, once, in a folder closed to others."""
    folder = tmp_path / "secrets"
    made = [DEPLOY / "make-secrets.sh", folder]
    subprocess.run(["sh", *made], check=True, capture_output=True)
    first = {path.name: path.read_text() for path in folder.rglob("*") if path.is_file()}
    assert {Path(secret["file"]).name for secret in COMPOSE["secrets"].values()} <= first.keys()
    subprocess.run(["sh", *made], check=True, capture_output=True)
    assert {path.name: path.read_text() for path in folder.rglob("*") if path.is_file()} == first
    assert folder.stat().st_mode & 0o777 == 0o700
    environ = {f"IMAGEFLOW_{name}_FILE": str(folder / name.lower()) for name in settings.FROM_FILES}
    found = settings.load(environ)
    assert first["rabbitmq_password"] in found.broker_url.reveal()
    assert first["postgres_password"] in found.store_url.reveal()
    assert f"default_pass = {first['rabbitmq_password']}" in first["rabbitmq_user"]
    assert len(found.secret_key.reveal()) == 48


def test_the_demo_flow_is_a_flow():
    """The demo's flow file is valid, and names hosts and a secret that compose.yaml and make-secrets.sh give it."""
    document = flow_file.load(DEPLOY / "flows" / "demo.yaml")
    assert flow_file.parse(document).name == "demo"
    text = yaml.safe_dump(document)
    assert set(re.findall(r"http://(\w+):", text)) == {"erp", "omnitron"}
    assert re.findall(r"/run/secrets/flows/(\w+)", text) == ["demo_password"]


@pytest.mark.parametrize("name", ["scheduler", "gateway"])
def test_gateway_and_scheduler_have_the_key(name):
    """The gateway's tokens and the scheduler's signatures hang on SECRET_KEY: where nothing can be written none is made."""
    variable = "IMAGEFLOW_SECRET_KEY_FILE"
    service = COMPOSE["services"][name]
    assert service["environment"][variable] == "/run/secrets/secret_key"
    assert "secret_key" in service["secrets"]
    (container,) = PODS[name]["containers"]
    assert {"name": variable, "value": "/run/secrets/imageflow/secret_key"} in container["env"]
    (items,) = [volume["secret"]["items"] for volume in PODS[name]["volumes"] if volume["name"] == "secrets"]
    assert {"key": "secret_key", "path": "secret_key"} in items


# kubernetes ---------------------------------------------------------------------------------------------------------------


def test_kustomization_names_every_manifest():
    """What is in the folder is applied."""
    (kustomization,) = [document for _, document in MANIFESTS if document["kind"] == "Kustomization"]
    files = {path.name for path in (DEPLOY / "kubernetes").glob("*.yaml")} - {"kustomization.yaml"}
    assert set(kustomization["resources"]) == files


def test_kubernetes_has_every_service():
    """A deployment and a disruption budget for each service, a job for the migration."""
    assert of_kind("Deployment").keys() == of_kind("PodDisruptionBudget").keys() == set(bootstrap.SERVICES)
    assert of_kind("Job").keys() == {"migrate"}


@pytest.mark.parametrize("name", PODS)
def test_pods_are_restricted_and_run_what_there_is(name):
    """Not root, nothing to gain, no token of the cluster, no variables by service links; command and settings exist."""
    pod = PODS[name]
    assert pod["securityContext"] == RESTRICTED
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"]["limits"].keys() == {"cpu", "memory"}
    check_command(list(container["args"]))
    check_settings(of_kind("ConfigMap")["imageflow"]["data"])
    check_settings(variable["name"] for variable in container.get("env", []))
    mounts = {mount["name"] for mount in container["volumeMounts"]}
    assert mounts == {volume["name"] for volume in pod["volumes"]}
    assert ("flow-secrets" in mounts) == (name not in ("transformer", "migrate"))


@pytest.mark.parametrize("name", bootstrap.SERVICES)
def test_deployments_roll_without_a_gap(name):
    """A new pod is ready before an old one goes; selectors agree; the grace period is longer than STOP_SECONDS."""
    deployment = of_kind("Deployment")[name]
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == labels
    assert of_kind("PodDisruptionBudget")[name]["spec"]["selector"]["matchLabels"] == labels
    assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    stop_seconds = float(of_kind("ConfigMap")["imageflow"]["data"]["IMAGEFLOW_STOP_SECONDS"])
    assert PODS[name]["terminationGracePeriodSeconds"] > stop_seconds + 10
    (container,) = PODS[name]["containers"]
    assert container["livenessProbe"]["httpGet"] == {"path": "/health", "port": "metrics"}
    assert container["readinessProbe"]["httpGet"] == {"path": "/ready", "port": "metrics"}
    assert ("replicas" in deployment["spec"]) == (name not in of_kind("ScaledObject"))


@pytest.mark.parametrize("name", ["transformer", "writer"])
def test_scalers_count_what_is_in_hand_too(name):
    """KEDA asks the management API, which tells unacknowledged messages, over the queues of all flows and no others."""
    spec = of_kind("ScaledObject")[name]["spec"]
    assert spec["scaleTargetRef"] == {"name": f"imageflow-{name}"}
    (trigger,) = spec["triggers"]
    metadata = trigger["metadata"]
    assert trigger["type"] == "rabbitmq"
    assert (metadata["protocol"], metadata["excludeUnacknowledged"]) == ("http", "false")
    assert (metadata["mode"], metadata["useRegex"], metadata["operation"]) == ("QueueLength", "true", "sum")
    assert all(isinstance(value, str) for value in metadata.values())
    queue = {"transformer": messages.transform_queue, "writer": messages.write_queue}[name]
    assert re.search(metadata["queueName"], queue("winter-images"))
    others = {messages.READ_QUEUE, messages.OUTBOUND_QUEUE, messages.PARKED_QUEUE}
    assert not [other for other in others if re.search(metadata["queueName"], other)]
    authentication = trigger["authenticationRef"]["name"].removeprefix("imageflow-")
    assert of_kind("TriggerAuthentication")[authentication]["spec"]["secretTargetRef"][0]["parameter"] == "host"


def test_scalers_have_fields_that_keda_knows():
    """KEDA's schemas are not in the validator's package: the fields of its ScaledObject, by hand."""
    known = {"scaleTargetRef", "minReplicaCount", "maxReplicaCount", "pollingInterval", "cooldownPeriod", "fallback"}
    for scaled in of_kind("ScaledObject").values():
        assert scaled["apiVersion"] == "keda.sh/v1alpha1"
        spec = scaled["spec"]
        assert spec.keys() <= known | {"triggers", "advanced"}
        assert spec["fallback"].keys() == {"failureThreshold", "replicas"}
        assert 1 <= spec["minReplicaCount"] < spec["maxReplicaCount"]
        down = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]["scaleDown"]
        assert down["policies"] == [{"type": "Pods", "value": 1, "periodSeconds": 60}]
        assert all(trigger.keys() == {"type", "metadata", "authenticationRef"} for trigger in spec["triggers"])


@pytest.mark.parametrize(
    ("name", "prefetch"), [("transformer", bootstrap.TRANSFORM_PREFETCH), ("writer", bootstrap.WRITE_PREFETCH)]
)
def test_scalers_add_no_idle_replica(name, prefetch):
    """A scaler adds a replica only if a flow has more messages than one replica prefetches."""
    [trigger] = of_kind("ScaledObject")[name]["spec"]["triggers"]
    assert int(trigger["metadata"]["value"]) > prefetch


def native() -> list:
    """The manifests of Kubernetes' own kinds."""
    foreign = ("keda.sh/", "kustomize.config.k8s.io/")
    return [
        pytest.param(document, id=f"{document['kind']}-{document['metadata']['name']}")
        for _, document in MANIFESTS
        if not document["apiVersion"].startswith(foreign)
    ]


@pytest.mark.parametrize("manifest", native())
def test_manifests_follow_the_schemas(manifest):
    """Each manifest of Kubernetes' own kinds is valid by Kubernetes' JSON Schema, without fields that it does not know."""
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    kubernetes_validate.validate(manifest, SCHEMAS, strict=True)
