"""What is under deploy/: it names commands, settings and services that there are, and gives no container more than it needs."""

import importlib.metadata
import ipaddress
import os
import re
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path

import pytest
import yaml

from imageflow import bootstrap, settings
from imageflow.actions import service_accounts
from imageflow.broker import rabbitmq_accounts
from imageflow.cli import cli
from imageflow.flows import file as flow_file
from imageflow.model import messages
from imageflow.runtime.process import MARGIN_SECONDS
from imageflow.sandbox.outcome import MEMORY_BYTES
from imageflow.sandbox.supervisor import MAX_WORKERS
from imageflow.secret import Secret
from imageflow.store import role_setup, service_roles

DEPLOY = Path(__file__).parents[2] / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
FOREIGN = ("rabbitmq", "postgres", "proxy")
OURS = {name: service for name, service in COMPOSE["services"].items() if name not in FOREIGN}
ONCE = ("migrate", "accounts", "apply", "demo", "cli")
"""Containers that do one thing and end."""
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
    words = [re.sub(r"\$\{\w+:-(.*)\}", r"\1", word) for word in words]
    here = [str(DEPLOY / ("compose.yaml" if "." in word else "")) if word[0] == "/" else word for word in words]
    command.make_context(command.name, here, parent=context)


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
    """The five services, what goes before them, broker and database; the emulators under `demo` only, the proxy under `tls`."""
    assert {*bootstrap.SERVICES, "migrate", "accounts", "apply", "rabbitmq", "postgres"} <= COMPOSE["services"].keys()
    profiles = {name: service.get("profiles") for name, service in COMPOSE["services"].items()}
    assert {name for name, found in profiles.items() if found == ["demo"]} == {"erp", "omnitron", "demo"}
    assert {name for name, found in profiles.items() if found == ["tls"]} == {"proxy"}
    assert all(profiles[name] is None for name in bootstrap.SERVICES)


@pytest.mark.parametrize("name", OURS)
def test_compose_gives_commands_that_there_are(name):
    """Command, options and IMAGEFLOW_ variables of each container exist."""
    if "entrypoint" not in OURS[name]:
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
    again = "on-failure:3" if name in ("apply", "demo") else "no"  # a busy machine may not compile a mapping in time
    assert service.get("restart") == (again if name in ONCE else "unless-stopped")
    assert name in ("rabbitmq", "postgres") or service["read_only"] is True
    assert name in OURS or service["user"] not in ("root", "0")
    assert "container_name" not in service  # it would forbid --scale


def test_compose_keeps_scripts_and_data_inside():
    """Transformer and database are on the internal network alone; scripts' containers hold no flow's secrets."""
    assert COMPOSE["networks"]["inside"]["internal"] is True
    assert COMPOSE["services"]["transformer"]["networks"] == ["inside"]
    assert COMPOSE["services"]["postgres"]["networks"] == ["inside"]
    assert "volumes" not in COMPOSE["services"]["transformer"]
    published = {name: service["ports"] for name, service in COMPOSE["services"].items() if "ports" in service}
    assert published.keys() == {"gateway", "rabbitmq", "proxy"}
    assert all("127.0.0.1:" in port for name in ("gateway", "rabbitmq") for port in published[name])


@pytest.mark.parametrize("name", bootstrap.SERVICES)
def test_compose_gives_each_service_its_own_accounts(name):
    """Its own URLs of queue and database, and nobody else's; the owner's and the administrator's are for the set-up alone."""
    given = {secret if isinstance(secret, str) else secret["source"] for secret in COMPOSE["services"][name]["secrets"]}
    key = {"secret_key"} if name in ("scheduler", "gateway") else set()
    assert given == {f"broker_url_{name}", f"store_url_{name}"} | key
    targets = {secret["target"] for secret in COMPOSE["services"][name]["secrets"] if isinstance(secret, dict)}
    assert targets == {"broker_url", "store_url"}
    for set_up, kind in (("migrate", "store_url"), ("accounts", "broker_url")):
        assert {kind, f"{kind}_{name}"} <= set(COMPOSE["services"][set_up]["secrets"])
        assert COMPOSE["services"][name]["depends_on"][set_up] == {"condition": "service_completed_successfully"}
        assert not [
            one for one in OURS if one != set_up and kind in map(str, COMPOSE["services"][one].get("secrets", []))
        ]


@pytest.mark.parametrize(
    ("name", "variable"), [("reader", "READERS"), ("transformer", "TRANSFORMERS"), ("writer", "WRITERS")]
)
def test_compose_keeps_the_number_of_replicas(name, variable):
    """It stands in a file (.env), not in the words of one call: so each `up` brings as many."""
    assert COMPOSE["services"][name]["scale"] == f"${{{variable}:-1}}"


def test_the_transformers_memory_adds_up():
    """All workers at their limit fit into the container, beside what starts them."""
    needed = MAX_WORKERS * MEMORY_BYTES / 2**20
    assert float(COMPOSE["services"]["transformer"]["mem_limit"].removesuffix("m")) >= needed + 256
    (container,) = PODS["transformer"]["containers"]
    assert float(container["resources"]["limits"]["memory"].removesuffix("Mi")) >= needed + 256


def test_the_proxy_lets_nothing_through_that_is_for_monitoring():
    """TLS alone, no metrics, no readiness, no address that a client made up; the gateway believes no one but the proxy."""
    text = (DEPLOY / "proxy" / "nginx.conf").read_text()
    assert re.findall(r"listen (.*);", text) == ["8443 ssl http2"]
    assert re.findall(r"location = (\S+) \{ return 404; \}", text) == ["/metrics", "/ready"]
    assert "proxy_set_header X-Forwarded-For $remote_addr;" in text
    assert "ssl_protocols TLSv1.2 TLSv1.3;" in text
    proxy, gateway = COMPOSE["services"]["proxy"], COMPOSE["services"]["gateway"]
    address = proxy["networks"]["door"]["ipv4_address"]
    assert gateway["environment"]["IMAGEFLOW_TRUSTED_PROXIES"] == address
    assert {name for name, one in COMPOSE["services"].items() if "door" in one.get("networks", ())} == {
        "proxy",
        "gateway",
    }
    assert set(proxy["networks"]) == {"door", "world"}
    assert COMPOSE["networks"]["door"]["internal"] is True
    within = ipaddress.ip_network(re.search(r":-(.*)\}", COMPOSE["networks"]["door"]["ipam"]["config"][0]["subnet"])[1])
    assert ipaddress.ip_address(re.search(r":-(.*)\}", address)[1]) in within


@pytest.mark.skipif(shutil.which("nginx") is None, reason="no nginx")
def test_nginx_takes_the_proxys_configuration(tmp_path):
    """`nginx -t`, with a certificate of this test."""
    files = {"tls_certificate": tmp_path / "tls.crt", "tls_key": tmp_path / "tls.key"}
    made = ["-keyout", files["tls_key"], "-out", files["tls_certificate"], "-subj", "/CN=localhost"]
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc", *made]
    subprocess.run(command, check=True, capture_output=True)
    text = (DEPLOY / "proxy" / "nginx.conf").read_text().replace("/tmp/", f"{tmp_path}/")
    for name, path in files.items():
        text = text.replace(f"/run/secrets/{name};", f"{path};")
    (tmp_path / "nginx.conf").write_text(text)
    done = subprocess.run(["nginx", "-t", "-c", tmp_path / "nginx.conf"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_images_are_pinned_by_digest(tmp_path):
    """pin-images.sh writes a digest for each image that compose.yaml and Dockerfile take by tag, and keeps what else is set."""
    docker = tmp_path / "docker"
    docker.write_text('#!/bin/sh\nfor last; do :; done\n[ "$1" = pull ] || echo "${last%%:*}@sha256:abc"\n')
    docker.chmod(0o755)
    env = tmp_path / ".env"
    env.write_text("WRITERS=4\nPOSTGRES_IMAGE=old\n")
    path = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    subprocess.run(["sh", DEPLOY / "pin-images.sh", env], check=True, capture_output=True, env=path)
    found = dict(line.split("=", 1) for line in env.read_text().splitlines())
    text = (DEPLOY / "compose.yaml").read_text()
    tags = dict(re.findall(r"\$\{(\w+_(?:IMAGE|BASE)):-([a-z]+:[^}]+)\}", text))
    assert found == {"WRITERS": "4"} | {name: f"{tag.partition(':')[0]}@sha256:abc" for name, tag in tags.items()}
    pinned = dict(re.findall(r"^pin (\w+) (\S+)$", (DEPLOY / "pin-images.sh").read_text(), re.MULTILINE))
    assert pinned == tags


def test_compose_lets_services_finish():
    """What Docker waits for is longer than what a service may take to stop."""
    for name in bootstrap.SERVICES:
        service = COMPOSE["services"][name]
        grace = float(service["stop_grace_period"].removesuffix("s"))
        assert grace >= float(service["environment"]["IMAGEFLOW_STOP_SECONDS"]) + MARGIN_SECONDS + 10
        assert service["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}


def test_secrets_are_made_for_compose(tmp_path):
    """make-secrets.sh makes each file that compose.yaml names, random, once, in a folder closed to others."""
    folder = tmp_path / "secrets"
    made = [DEPLOY / "make-secrets.sh", folder]
    subprocess.run(["sh", *made], check=True, capture_output=True)
    first = {path.name: path.read_text() for path in folder.rglob("*") if path.is_file()}
    assert {Path(secret["file"]).name for secret in COMPOSE["secrets"].values()} - {
        "tls.crt",
        "tls.key",
    } <= first.keys()
    subprocess.run(["sh", *made], check=True, capture_output=True)
    assert {path.name: path.read_text() for path in folder.rglob("*") if path.is_file()} == first
    assert folder.stat().st_mode & 0o777 == 0o700
    names = ("BROKER_URL", "STORE_URL", "SECRET_KEY")
    environ = {f"IMAGEFLOW_{name}_FILE": str(folder / name.lower()) for name in names}
    found = settings.load(environ)
    assert first["rabbitmq_password"] in found.broker_url.reveal()
    assert first["postgres_password"] in found.store_url.reveal()
    assert f"default_pass = {first['rabbitmq_password']}" in first["rabbitmq_user"]
    assert len(found.secret_key.reveal()) == 48
    accounts = service_accounts.accounts(folder)
    assert [account.service for account in accounts] == [*bootstrap.SERVICES, rabbitmq_accounts.ERP]
    assert len({account.password for account in accounts}) == len(accounts)
    stores = [role_setup.account(Secret(first[f"store_url_{name}"])) for name in bootstrap.SERVICES]
    assert [user for user, _ in stores] == [service_roles.role_name(name) for name in bootstrap.SERVICES]
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o444 for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize(("name", "hosts"), [("demo", {"erp", "omnitron"}), ("posts", {"omnitron"})])
def test_the_demo_flows_are_flows(name, hosts):
    """The demo's flow files are valid, and name hosts and a secret that compose.yaml and make-secrets.sh give them."""
    document = flow_file.load(DEPLOY / "demo" / f"{name}.yaml")
    assert flow_file.parse(document).name == name
    assert f"/demo/{name}.yaml" in COMPOSE["services"]["demo"]["command"]
    text = yaml.safe_dump(document)
    assert set(re.findall(r"http://(\w+):", text)) == hosts
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
    assert {"key": "secret_key", "path": "secret_key"} in mounted(name)


def test_the_folders_flows_are_applied():
    """`up` saves the flows of the mounted folder, and undoes nothing that a person changed; an empty folder is told, a wrong file
    ends with an exit status.
    """
    apply = COMPOSE["services"]["apply"]
    assert any(volume.endswith(":/flows:ro") for volume in apply["volumes"])
    [shell, option, script] = apply["entrypoint"]
    script = script.replace("$$", "$")
    check_command([*re.search(r"imageflow (.*) \"", script)[1].split(), __file__])
    applied = "flow apply --keep-changes {0}/a.yaml {0}/b.yaml"
    for files, told in (((), "no flow file"), (("b.yaml", "a.yaml"), applied)):
        with tempfile.TemporaryDirectory() as folder:
            for file in files:
                Path(folder, file).touch()
            tried = script.replace("/flows/", f"{folder}/").replace("exec imageflow", "exec echo")
            done = subprocess.run([shell, option, tried], capture_output=True, text=True, check=True)
            assert done.stdout.strip() == told.format(folder)


# kubernetes ---------------------------------------------------------------------------------------------------------------


def test_kustomization_names_every_manifest():
    """What is in the folder is applied."""
    (kustomization,) = [document for _, document in MANIFESTS if document["kind"] == "Kustomization"]
    files = {path.name for path in (DEPLOY / "kubernetes").glob("*.yaml")} - {"kustomization.yaml"}
    assert set(kustomization["resources"]) == files


def test_kubernetes_has_every_service():
    """A deployment and a disruption budget for each service, jobs for schema and accounts."""
    assert of_kind("Deployment").keys() == of_kind("PodDisruptionBudget").keys() == set(bootstrap.SERVICES)
    assert of_kind("Job").keys() == {"migrate", "accounts"}


def mounted(name: str) -> list[dict]:
    (secret,) = [volume["secret"] for volume in PODS[name]["volumes"] if volume["name"] == "secrets"]
    assert secret["defaultMode"] == 0o440  # the pod's group is the process's own
    return secret["items"]


@pytest.mark.parametrize("name", bootstrap.SERVICES)
def test_pods_have_their_own_accounts(name):
    """Its own URLs, and nobody else's; the owner's and the administrator's are mounted by the jobs alone."""
    key = [{"key": "secret_key", "path": "secret_key"}] if name in ("scheduler", "gateway") else []
    own = [{"key": f"{kind}_{name}", "path": kind} for kind in ("broker_url", "store_url")]
    assert mounted(name) == own + key
    for job, kind in (("migrate", "store_url"), ("accounts", "broker_url")):
        assert {kind, f"{kind}_{name}"} <= {item["key"] for item in mounted(job)}


def test_pods_speak_to_nobody_by_default():
    """All pods are closed, in both directions; what is open names its peers; transformers get queue, database, names."""
    policies = {name: policy["spec"] for name, policy in of_kind("NetworkPolicy").items()}
    assert policies["default-deny"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    for spec in policies.values():
        for direction, peers in (("ingress", "from"), ("egress", "to")):
            assert direction not in spec or direction.title() in spec["policyTypes"]
            assert all(rule[peers] for rule in spec.get(direction, []))
    for name in PODS:
        labels = {"app.kubernetes.io/name": "imageflow", "app.kubernetes.io/component": name}
        chosen = {policy for policy, spec in policies.items() if selects(spec["podSelector"], labels)}
        more = {"gateway": {"outside", "door"}, "accounts": {"accounts"}, "transformer": set(), "migrate": set()}
        assert chosen == {"default-deny", "substrate"} | more.get(name, {"outside"})
    ports = [port["port"] for rule in policies["substrate"]["egress"] for port in rule["ports"]]
    assert ports == [53, 53, 5432, 5672, 5671]
    private = {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16"}
    assert private <= set(policies["outside"]["egress"][0]["to"][0]["ipBlock"]["except"])


def selects(selector: dict, labels: dict[str, str]) -> bool:
    wanted = selector.get("matchLabels", {}).items() <= labels.items()
    return wanted and all(labels[one["key"]] in one["values"] for one in selector.get("matchExpressions", []))


def test_the_ingress_has_no_path_for_monitoring():
    """Only what callers ask: the API, the Integrator's logs, and whether it lives."""
    spec = of_kind("Ingress")["imageflow"]["spec"]
    assert [path["path"] for path in spec["rules"][0]["http"]["paths"]] == ["/api", "/logs", "/health"]
    assert spec["tls"][0]["secretName"] == "imageflow-tls"


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
    assert ("flow-secrets" in mounts) == (name not in ("transformer", "migrate", "accounts"))


@pytest.mark.parametrize("name", bootstrap.SERVICES)
def test_deployments_roll_without_a_gap(name):
    """A new pod is ready before an old one goes; selectors agree; the grace period is longer than STOP_SECONDS."""
    deployment = of_kind("Deployment")[name]
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == labels
    assert of_kind("PodDisruptionBudget")[name]["spec"]["selector"]["matchLabels"] == labels
    assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    stop_seconds = float(of_kind("ConfigMap")["imageflow"]["data"]["IMAGEFLOW_STOP_SECONDS"])
    (container,) = PODS[name]["containers"]
    before = float(container["lifecycle"]["preStop"]["exec"]["command"][1]) if "lifecycle" in container else 0.0
    assert PODS[name]["terminationGracePeriodSeconds"] >= before + stop_seconds + MARGIN_SECONDS + 10
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
