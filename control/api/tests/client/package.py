"""What Python's kubernetes package does with the API: arguments are the kubeconfig files of the tenants default and acme."""

import sys
import threading

from kubernetes import client, config, dynamic, watch
from kubernetes.client.rest import ApiException

GROUP, VERSION, NETWORKS = "sealane.dev", "v1alpha1", "virtualnetworks"


def connect(path):
    return config.new_client_from_config(config_file=path)


def network(name, cidr, **metadata):
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "VirtualNetwork",
        "metadata": {"name": name, **metadata},
        "spec": {"subnets": [{"cidr": cidr}]},
    }


def policy(name):
    return client.V1NetworkPolicy(
        metadata=client.V1ObjectMeta(name=name, labels={"app": name}),
        spec=client.V1NetworkPolicySpec(
            pod_selector=client.V1LabelSelector(match_labels={"app": "web"}), policy_types=["Ingress"]
        ),
    )


def refused(code, act, *arguments, **options):
    try:
        act(*arguments, **options)
    except ApiException as error:
        assert error.status == code, f"{code} was expected: {error}"
        return error
    raise AssertionError(f"{act} {arguments} is not refused with {code}")


def typed_kinds(api):
    core, networking = client.CoreV1Api(api), client.NetworkingV1Api(api)
    core.create_namespace(client.V1Namespace(metadata=client.V1ObjectMeta(name="shop")))
    made = networking.create_namespaced_network_policy("shop", policy("web"))
    refused(409, networking.create_namespaced_network_policy, "shop", policy("web"))
    made.spec.policy_types = ["Ingress", "Egress"]
    changed = networking.replace_namespaced_network_policy("web", "shop", made)
    assert changed.metadata.generation == 2 and changed.spec.policy_types == ["Ingress", "Egress"]
    refused(409, networking.replace_namespaced_network_policy, "web", "shop", made)
    for body in (
        [{"op": "add", "path": "/metadata/labels/form", "value": "json"}],
        {"metadata": {"labels": {"form": "strategic"}}},
    ):
        patched = networking.patch_namespaced_network_policy("web", "shop", body)
        assert patched.metadata.labels["app"] == "web", patched
    tried = networking.patch_namespaced_network_policy("web", "shop", {"spec": {"policyTypes": ["Egress"]}}, dry_run="All")
    assert tried.spec.policy_types == ["Egress"]
    assert networking.read_namespaced_network_policy("web", "shop").spec.policy_types == ["Ingress", "Egress"]


def pages(api):
    networking = client.NetworkingV1Api(api)
    for number in range(7):
        networking.create_namespaced_network_policy("shop", policy(f"page{number}"))
    seen, token = [], None
    while True:
        page = networking.list_namespaced_network_policy("shop", limit=3, _continue=token, label_selector="app!=web")
        seen += [item.metadata.name for item in page.items]
        token = page.metadata._continue
        if not token:
            break
    assert seen == [f"page{number}" for number in range(7)], seen
    networking.delete_collection_namespaced_network_policy("shop", label_selector="app!=web")
    left = networking.list_namespaced_network_policy("shop", field_selector="metadata.name!=none")
    assert [item.metadata.name for item in left.items] == ["web"], left


def informer(api):
    """Lists, then watches from there, and ends with what there is."""
    custom = client.CustomObjectsApi(api)
    listed = custom.list_cluster_custom_object(GROUP, VERSION, NETWORKS)
    known = {item["metadata"]["name"]: item for item in listed["items"]}

    def write():
        for number in range(20):
            name = f"n{number % 4}"
            custom.create_cluster_custom_object(GROUP, VERSION, NETWORKS, network(name, f"10.{number}.0.0/16"))
            if number < 16:
                custom.delete_cluster_custom_object(GROUP, VERSION, NETWORKS, name)
        custom.create_cluster_custom_object(GROUP, VERSION, NETWORKS, network("last", "10.99.0.0/16"))

    writer = threading.Thread(target=write)
    writer.start()
    stream = watch.Watch()
    revision = listed["metadata"]["resourceVersion"]
    for event in stream.stream(
        custom.list_cluster_custom_object, GROUP, VERSION, NETWORKS, resource_version=revision, timeout_seconds=60
    ):
        name = event["object"]["metadata"]["name"]
        if event["type"] == "DELETED":
            del known[name]
        else:
            known[name] = event["object"]
        if name == "last":
            stream.stop()
    writer.join()
    # The fabric may have written status meanwhile: what there is counts.
    found = {item["metadata"]["name"] for item in custom.list_cluster_custom_object(GROUP, VERSION, NETWORKS)["items"]}
    assert found == set(known), (found, set(known))


def lost_watch(api):
    """A revision that the server never had is told as upstream tells it."""
    custom = client.CustomObjectsApi(api)
    stream = watch.Watch()

    def follow():
        for _ in stream.stream(
            custom.list_cluster_custom_object, GROUP, VERSION, NETWORKS, resource_version="999999999", timeout_seconds=20
        ):
            raise AssertionError("there is nothing to see")

    refused(410, follow)


def dynamic_kinds(api):
    dynamic_client = dynamic.DynamicClient(api)
    networks = dynamic_client.resources.get(api_version=f"{GROUP}/{VERSION}", kind="VirtualNetwork")
    owner = networks.create(body=network("owner", "10.100.0.0/16", finalizers=["example.org/hold"]))
    reference = {"apiVersion": owner.apiVersion, "kind": owner.kind, "name": "owner", "uid": owner.metadata.uid}
    networks.create(body=network("owned", "10.101.0.0/16", ownerReferences=[{**reference, "blockOwnerDeletion": True}]))
    merged = networks.patch(
        name="owned", body={"spec": {"mtu": 1400}}, content_type="application/merge-patch+json"
    )
    assert merged.spec.mtu == 1400, merged
    networks.delete(name="owner", body={"propagationPolicy": "Foreground"})
    # From before the deletion: the dependent may be gone before the watch begins.
    for event in networks.watch(resource_version=merged.metadata.resourceVersion, timeout=60):
        if event["type"] == "DELETED" and event["object"].metadata.name == "owned":
            break
    else:
        raise AssertionError("the dependent stays")
    held = networks.get(name="owner")
    assert held.metadata.deletionTimestamp and "example.org/hold" in held.metadata.finalizers, held
    networks.patch(
        name="owner", body={"metadata": {"finalizers": None}}, content_type="application/merge-patch+json"
    )


def problems(api):
    custom = client.CustomObjectsApi(api)
    wrong = network("wrong", "10.0.0.1/8")
    wrong["spec"]["mtu"] = -1
    told = refused(422, custom.create_cluster_custom_object, GROUP, VERSION, NETWORKS, wrong)
    assert "spec.subnets[0].cidr" in told.body and "spec.mtu" in told.body, told.body


def tenants(default, acme):
    client.CustomObjectsApi(default).create_cluster_custom_object(
        GROUP,
        VERSION,
        "tenants",
        {"apiVersion": f"{GROUP}/{VERSION}", "kind": "Tenant", "metadata": {"name": "acme"}},
    )
    names = [item.metadata.name for item in client.CoreV1Api(acme).list_namespace().items]
    assert names == ["default"], names


def main(default, acme):
    for claim in (typed_kinds, pages, informer, lost_watch, dynamic_kinds, problems):
        claim(default)
    tenants(default, acme)
    print("every claim holds")


main(connect(sys.argv[1]), connect(sys.argv[2]))
