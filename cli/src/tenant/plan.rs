//! The steps that make one tenant the same as another, and why they may not be taken.
//!
//! Pure: contents in, steps or problems out.

use intent::problem::Fault;
use intent::{Kind, Problem};
use serde_json::{Value, json};

use crate::object::content::{Content, Difference, Identity, differences, is_given};
use crate::object::text;

/// What is done with one object of the copy.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Step {
    pub(super) identity: Identity,
    pub(super) action: Action,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Action {
    Create(Value),
    Replace(Value),
    /// Delete and create: what is wanted is no update of what is there.
    Renew(Value),
    Remove,
}

/// Everything that has to be done, in the order in which it can be: those that others live in come first, and go last.
pub(super) fn plan(source: &Content, copy: &Content) -> Vec<Step> {
    let unmarked = without_mark(copy);
    let mut steps: Vec<Step> = Vec::new();
    let mut removals = Vec::new();
    for difference in differences(source, &unmarked) {
        let Difference { identity, first, second } = difference;
        match (first, second) {
            (Some(wanted), None) => {
                let document = if identity.kind == Kind::Tenant {
                    marked(wanted, &copy.tenant, &source.tenant)
                } else {
                    wanted
                };
                steps.push(Step { identity, action: Action::Create(document) });
            }
            (Some(wanted), Some(_)) => {
                let live = &copy.objects[&identity];
                let action = if takes_subnets_away(&wanted, live) {
                    Action::Renew(wanted)
                } else {
                    Action::Replace(replaced(wanted, live))
                };
                steps.push(Step { identity, action });
            }
            (None, _) => removals.push(Step { identity, action: Action::Remove }),
        }
    }
    steps.extend(removals.into_iter().rev());
    steps
}

/// Why a tenant cannot be cloned, or the steps may not be taken; empty: they may.
pub(super) fn faults(source: &Content, copy: &Content, steps: &[Step], overwrite: bool) -> Vec<Problem> {
    let mut problems: Vec<Problem> = source
        .objects
        .iter()
        .filter(|(_, object)| is_ending(object))
        .map(|(identity, _)| {
            let of = format!("{} of {}", identity.shown(), source.tenant);
            problem(of, "is being deleted", "wait until it is gone")
        })
        .collect();
    if let Some(origin) = mark(source) {
        let remedy = format!("finish it with `sealane tenant clone {origin} {}`", source.tenant);
        problems.push(problem(source.tenant.clone(), format!("is an unfinished clone of {origin}"), remedy));
    }
    let begun = mark(copy);
    if let Some(origin) = begun.filter(|origin| *origin != source.tenant) {
        let name = &copy.tenant;
        let remedy = format!(
            "finish it with `sealane tenant clone {origin} {name}`, or take it away with `sealane tenant delete {name}`"
        );
        problems.push(problem(name.clone(), format!("is an unfinished clone of {origin}"), remedy));
    }
    if copy.objects.iter().any(|(identity, object)| identity.kind == Kind::Tenant && is_ending(object)) {
        problems.push(problem(copy.tenant.clone(), "is being deleted", "wait until it is gone"));
    }
    let may_change = overwrite || begun == Some(&source.tenant);
    for Step { identity, action } in steps {
        let object = copy.objects.get(identity);
        let of = format!("{} of {}", identity.shown(), copy.tenant);
        match action {
            Action::Replace(_) | Action::Renew(_) if !may_change => problems.push(problem(
                of,
                format!("differs from {}'s", source.tenant),
                "say --overwrite if it may be changed, or choose a name that is free",
            )),
            Action::Remove if object.is_some_and(|object| !is_given(identity, object)) => {
                let reason = format!("is not in {}", source.tenant);
                problems.push(problem(of, reason, "delete it first, or choose a name that is free"));
            }
            _ => {}
        }
    }
    problems
}

/// Something that is wrong with an object as a whole.
pub(super) fn problem(path: String, reason: impl Into<String>, remedy: impl Into<String>) -> Problem {
    Problem {
        path,
        value: String::new(),
        fault: Fault::Invalid,
        reason: reason.into(),
        remedy: remedy.into(),
        place: None,
    }
}

/// The tenant that this one is an unfinished clone of.
pub(super) fn mark(content: &Content) -> Option<&str> {
    let (_, itself) = content.objects.iter().find(|(identity, _)| identity.kind == Kind::Tenant)?;
    Some(text(itself, &["metadata", "annotations", CLONE_OF])).filter(|mark| !mark.is_empty())
}

/// The annotation of a tenant that is a clone not finished yet, with the name of the tenant that is cloned.
pub(super) const CLONE_OF: &str = "sealane.dev/clone-of";

fn without_mark(content: &Content) -> Content {
    let mut content = content.clone();
    for (identity, object) in &mut content.objects {
        let annotations = object.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut);
        if let (Kind::Tenant, Some(annotations)) = (identity.kind, annotations) {
            annotations.remove(CLONE_OF);
        }
    }
    content
}

fn marked(mut tenant: Value, name: &str, origin: &str) -> Value {
    tenant["metadata"]["name"] = json!(name);
    tenant["metadata"]["annotations"][CLONE_OF] = json!(origin);
    tenant
}

/// What is wanted in the place of what is there, which keeps what is its own: revision, VNI, finalizers, owners, mark.
fn replaced(mut wanted: Value, live: &Value) -> Value {
    for field in ["name", "resourceVersion", "finalizers", "ownerReferences"] {
        if let Some(own) = live["metadata"].get(field) {
            wanted["metadata"][field] = own.clone();
        }
    }
    if let Some(vni) = live.pointer("/spec/vni") {
        wanted["spec"]["vni"] = vni.clone();
    }
    if let Some(mark) = live["metadata"].get("annotations").and_then(|annotations| annotations.get(CLONE_OF))
    {
        wanted["metadata"]["annotations"][CLONE_OF] = mark.clone();
    }
    wanted
}

/// Whether a network would lose a subnet or its gateway, which no update may do.
fn takes_subnets_away(wanted: &Value, live: &Value) -> bool {
    let subnets = |object: &Value| {
        object.pointer("/spec/subnets").and_then(Value::as_array).cloned().unwrap_or_default()
    };
    let wanted = subnets(wanted);
    subnets(live).iter().any(|subnet| !wanted.contains(subnet))
}

fn is_ending(object: &Value) -> bool {
    !text(object, &["metadata", "deletionTimestamp"]).is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn itself(annotations: Value) -> (Identity, Value) {
        let identity = Identity { kind: Kind::Tenant, namespace: None, name: String::new() };
        let tenant = json!({
            "apiVersion": "sealane.dev/v1alpha1", "kind": "Tenant",
            "metadata": { "name": "x", "annotations": annotations },
        });
        (identity, tenant)
    }

    fn namespace(name: &str, label: &str) -> (Identity, Value) {
        let identity = Identity { kind: Kind::Namespace, namespace: None, name: name.to_owned() };
        let object = json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": { "name": name, "labels": { "stage": label }, "resourceVersion": "7" },
        });
        (identity, object)
    }

    fn content(tenant: &str, objects: Vec<(Identity, Value)>) -> Content {
        Content { tenant: tenant.to_owned(), objects: objects.into_iter().collect() }
    }

    fn told(source: &Content, copy: &Content, overwrite: bool) -> Vec<String> {
        let steps = plan(source, copy);
        faults(source, copy, &steps, overwrite).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_clone_that_was_cut_off_goes_on_and_is_done_when_nothing_differs() {
        let source = content("one", vec![itself(json!({})), namespace("a", "x"), namespace("b", "x")]);
        let begun = json!({ CLONE_OF: "one" });
        let copy = content("two", vec![itself(begun.clone()), namespace("a", "y")]);
        let steps = plan(&source, &copy);
        let actions: Vec<_> = steps.iter().map(|step| (&*step.identity.name, &step.action)).collect();
        assert!(
            matches!(actions[..], [("a", Action::Replace(a)), ("b", Action::Create(_))]
                if a["metadata"]["resourceVersion"] == "7" && a["metadata"]["labels"]["stage"] == "x"),
            "{actions:?}"
        );
        assert_eq!(told(&source, &copy, false), [""; 0]);
        let whole = content("two", vec![itself(begun), namespace("a", "x"), namespace("b", "x")]);
        assert_eq!(plan(&source, &whole), []);
    }

    #[test]
    fn somebody_elses_work_is_changed_only_if_that_is_said_and_never_removed() {
        let source = content("one", vec![itself(json!({})), namespace("a", "x")]);
        let copy = content("two", vec![itself(json!({})), namespace("a", "y"), namespace("mine", "y")]);
        let all = told(&source, &copy, false);
        assert_eq!(all.len(), 2, "{all:?}");
        assert!(all[0].contains("namespace/a of two") && all[0].contains("--overwrite"), "{all:?}");
        assert!(all[1].contains("namespace/mine of two") && all[1].contains("not in one"), "{all:?}");
        assert_eq!(told(&source, &copy, true), all[1..]);
    }

    #[test]
    fn a_tenant_that_is_not_there_is_made_with_a_mark_and_the_sources_labels() {
        let source = content("one", vec![itself(json!({ "owner": "us" }))]);
        let steps = plan(&source, &content("two", Vec::new()));
        let [Step { action: Action::Create(tenant), .. }] = &steps[..] else { panic!("{steps:?}") };
        let metadata = json!({ "name": "two", "annotations": { "owner": "us", CLONE_OF: "one" } });
        assert_eq!(tenant["metadata"], metadata);
    }

    #[test]
    fn an_unfinished_clone_of_another_is_neither_source_nor_copy() {
        let plain = content("one", vec![itself(json!({}))]);
        let begun = content("two", vec![itself(json!({ CLONE_OF: "three" }))]);
        assert!(told(&plain, &begun, true)[0].contains("sealane tenant clone three two"));
        assert!(told(&begun, &plain, true)[0].contains("sealane tenant clone three two"));
    }
}
