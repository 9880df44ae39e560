//! The index agrees with an evaluator written apart from it, however the objects came to be.
#![allow(clippy::unwrap_used)]

mod oracle;

use intent::rights::{Binding, Reach, Role, RoleRef, Rule, Subject};
use oracle::World;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use record::Labels;
use record::selector::{LabelSelector, Operator, Requirement};
use rights::{On, Question, Rights, missing};

const TENANTS: [&str; 3] = ["system", "acme", "beta"];
const NAMESPACES: [&str; 2] = ["shop", "bank"];
const NAMES: [&str; 3] = ["a", "b", "c"];
const GROUPS: [&str; 5] = ["", "x.io", "x.io", "", "fabric.sealane.dev"];

/// A change of the world.
#[derive(Clone, Debug)]
enum Step {
    PutRole(String, Role),
    RemoveRole(String, Option<String>, String),
    PutBinding(String, Binding),
    RemoveBinding(String, Option<String>, String),
}

/// A question that owns what it is about.
#[derive(Clone, Debug)]
struct Asked {
    user: String,
    groups: Vec<String>,
    tenant: String,
    verb: String,
    group: String,
    resource: String,
    part: Option<String>,
    namespace: Option<String>,
    name: Option<String>,
    path: Option<String>,
}

impl Asked {
    fn question(&self) -> Question<'_> {
        let on = match &self.path {
            Some(path) => On::Path(path),
            None => On::Objects {
                group: &self.group,
                resource: &self.resource,
                subresource: self.part.as_deref(),
                namespace: self.namespace.as_deref(),
                name: self.name.as_deref(),
            },
        };
        Question { user: &self.user, groups: &self.groups, tenant: &self.tenant, verb: &self.verb, on }
    }
}

fn word(words: &'static [&'static str]) -> impl Strategy<Value = String> + Clone {
    prop::sample::select(words).prop_map(str::to_owned)
}

fn words(words: &'static [&'static str]) -> impl Strategy<Value = Vec<String>> + Clone {
    prop::collection::vec(word(words), 1..3)
}

fn verbs() -> impl Strategy<Value = Vec<String>> + Clone {
    prop_oneof![8 => words(&["get", "get", "list", "create"]), 1 => Just(vec!["*".to_owned()])]
}

fn any_rule() -> impl Strategy<Value = Rule> + Clone {
    let resources = words(&["nodes", "pods", "pods/log", "*/log", "nodes", "pods", "*"]);
    let names = prop_oneof![2 => Just(Vec::new()), 1 => words(&["n1", "n2"])];
    let groups = words(&["", "x.io", "x.io", "*"]);
    let on = (verbs(), groups, resources, names).prop_map(|(verbs, groups, resources, names)| Rule {
        verbs,
        reach: Reach::Resources { groups, resources, names },
    });
    let at = (verbs(), words(&["/m", "/m/*", "/m*", "/", "*", "/n/"]))
        .prop_map(|(verbs, paths)| Rule { verbs, reach: Reach::Paths(paths) });
    prop_oneof![4 => on, 1 => at]
}

fn any_labels() -> impl Strategy<Value = Labels> + Clone {
    prop::collection::btree_map(word(&["l", "m"]), word(&["1", "2"]), 0..2)
        .prop_map(|labels| labels.into_iter().collect())
}

fn any_selector() -> impl Strategy<Value = LabelSelector> + Clone {
    let operator = prop_oneof![
        3 => word(&["1", "2"]).prop_map(|value| Operator::In([value].into())),
        1 => Just(Operator::Exists),
    ];
    (word(&["l", "m"]), operator)
        .prop_map(|(key, operator)| LabelSelector([Requirement { key, operator }].into()))
}

fn any_namespace() -> impl Strategy<Value = Option<String>> + Clone {
    prop::option::of(word(&NAMESPACES))
}

fn any_role() -> impl Strategy<Value = Role> + Clone {
    let gathers = prop::option::weighted(0.3, prop::collection::vec(any_selector(), 1..3));
    let rules = prop::collection::vec(any_rule(), 0..5);
    (word(&NAMES), any_namespace(), any_labels(), rules, gathers).prop_map(
        |(name, namespace, labels, rules, gathers)| {
            let gathers = if namespace.is_some() { None } else { gathers };
            Role { name, namespace, labels, rules, gathers }
        },
    )
}

fn any_user() -> impl Strategy<Value = String> + Clone {
    word(&["ann", "bob", "system:serviceaccount:shop:bot", "system:node:n1"])
}

fn any_subject() -> impl Strategy<Value = Subject> + Clone {
    prop_oneof![
        any_user().prop_map(Subject::User),
        word(&["dev", "ops", "system:nodes"]).prop_map(Subject::Group),
        word(&NAMESPACES).prop_map(|namespace| Subject::ServiceAccount { namespace, name: "bot".to_owned() }),
    ]
}

fn any_binding() -> impl Strategy<Value = Binding> + Clone {
    let subjects = prop::collection::vec(any_subject(), 0..3);
    (word(&NAMES), any_namespace(), any::<bool>(), word(&NAMES), subjects).prop_map(
        |(name, namespace, own, role, subjects)| {
            let role =
                if own && namespace.is_some() { RoleRef::Role(role) } else { RoleRef::ClusterRole(role) };
            Binding { name, namespace, role, subjects }
        },
    )
}

fn any_step() -> impl Strategy<Value = Step> + Clone {
    prop_oneof![
        5 => (word(&TENANTS), any_role()).prop_map(|(tenant, role)| Step::PutRole(tenant, role)),
        5 => (word(&TENANTS), any_binding()).prop_map(|(tenant, binding)| Step::PutBinding(tenant, binding)),
        1 => (word(&TENANTS), any_namespace(), word(&NAMES))
            .prop_map(|(tenant, namespace, name)| Step::RemoveRole(tenant, namespace, name)),
        1 => (word(&TENANTS), any_namespace(), word(&NAMES))
            .prop_map(|(tenant, namespace, name)| Step::RemoveBinding(tenant, namespace, name)),
    ]
}

fn any_question() -> impl Strategy<Value = Asked> + Clone {
    let groups = prop_oneof![
        40 => prop::collection::vec(word(&["dev", "ops"]), 0..3),
        4 => Just(vec!["system:nodes".to_owned()]),
        1 => Just(vec!["dev".to_owned(), "system:masters".to_owned()]),
    ];
    let caller = (any_user(), groups, word(&TENANTS), word(&["get", "get", "list", "create", "connect"]));
    let object = (
        word(&GROUPS),
        word(&["pods", "nodes"]),
        prop::option::weighted(0.3, word(&["log", "status"])),
        any_namespace(),
        prop::option::of(word(&["n1", "n2"])),
    );
    let path = prop::option::weighted(0.2, word(&["/m", "/m/x", "/mm", "/", "/n", "/n/x"]));
    (caller, object, path).prop_map(
        |((user, groups, tenant, verb), (group, resource, part, namespace, name), path)| Asked {
            user,
            groups,
            tenant,
            verb,
            group,
            resource,
            part,
            namespace,
            name,
            path,
        },
    )
}

fn take(step: &Step, world: &mut World, rights: &mut Rights) {
    match step {
        Step::PutRole(tenant, role) => {
            world.roles.retain(|(home, old)| {
                home != tenant || (&old.namespace, &old.name) != (&role.namespace, &role.name)
            });
            world.roles.push((tenant.clone(), role.clone()));
            rights.put_role(tenant, role.clone());
        }
        Step::RemoveRole(tenant, namespace, name) => {
            world
                .roles
                .retain(|(home, old)| home != tenant || (&old.namespace, &old.name) != (namespace, name));
            rights.remove_role(tenant, namespace.as_deref(), name);
        }
        Step::PutBinding(tenant, binding) => {
            world.bindings.retain(|(home, old)| {
                home != tenant || (&old.namespace, &old.name) != (&binding.namespace, &binding.name)
            });
            world.bindings.push((tenant.clone(), binding.clone()));
            rights.put_binding(tenant, binding.clone());
        }
        Step::RemoveBinding(tenant, namespace, name) => {
            world
                .bindings
                .retain(|(home, old)| home != tenant || (&old.namespace, &old.name) != (namespace, name));
            rights.remove_binding(tenant, namespace.as_deref(), name);
        }
    }
}

fn from_nothing(world: &World) -> Rights {
    let mut rights = Rights::default();
    world.bindings.iter().for_each(|(tenant, binding)| rights.put_binding(tenant, binding.clone()));
    world.roles.iter().rev().for_each(|(tenant, role)| rights.put_role(tenant, role.clone()));
    rights
}

fn agrees(world: &World, rights: &Rights, asked: &Asked) -> Result<bool, TestCaseError> {
    let question = asked.question();
    let (expected, found) = (world.allows(&question), rights.decide(&question));
    prop_assert_eq!(expected, found.is_some(), "{:?}\n{:?}\n{:#?}", question, found, world);
    Ok(expected)
}

/// Worlds, and questions to each: a hundred thousand in all.
const WORLDS: u32 = 1_000;
const QUESTIONS: usize = 100;

#[test]
fn a_hundred_thousand_decisions_agree_with_the_documentation() {
    let config = ProptestConfig { cases: WORLDS, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let steps = prop::collection::vec(any_step(), 20..90);
    let questions = prop::collection::vec(any_question(), QUESTIONS);
    let (allowed, denied) = (std::cell::Cell::new(0_u32), std::cell::Cell::new(0_u32));
    let ran = runner.run(&(steps, questions), |(steps, questions)| {
        let (mut world, mut rights) = Default::default();
        steps.iter().for_each(|step| take(step, &mut world, &mut rights));
        prop_assert_eq!(&rights, &from_nothing(&world), "an index that followed is one from nothing");
        for asked in &questions {
            let count = if agrees(&world, &rights, asked)? { &allowed } else { &denied };
            let master = asked.groups.iter().any(|group| group == rights::MASTERS);
            count.set(count.get() + u32::from(!master));
        }
        Ok(())
    });
    ran.unwrap();
    // Answers that are all alike would prove nothing.
    assert!(
        allowed.get() > 2_000 && denied.get() > 2_000,
        "{} allowed, {} denied",
        allowed.get(),
        denied.get()
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whoever hands on rights only while nothing is missing makes nobody stronger than they are themselves.
    #[test]
    fn rights_that_are_covered_allow_nothing_more(
        held in prop::collection::vec(any_rule(), 0..5),
        asked in prop::collection::vec(any_rule(), 0..3),
        questions in prop::collection::vec(any_question(), 40),
    ) {
        let lacking = missing(&held, &asked);
        let mut rights = Rights::default();
        for (name, rules) in [("held", held), ("asked", asked.clone()), ("lacking", lacking.clone())] {
            rights.put_role("acme", Role { name: name.into(), namespace: None, labels: Labels::default(), rules, gathers: None });
            let binding = Binding {
                name: name.into(),
                namespace: None,
                role: RoleRef::ClusterRole(name.into()),
                subjects: vec![Subject::User(name.into())],
            };
            rights.put_binding("acme", binding);
        }
        for question in &questions {
            let may = |user: &'static str| {
                rights.decide(&Question { user, groups: &[], tenant: "acme", ..question.question() }).is_some()
            };
            prop_assert!(!may("asked") || may("held") || may("lacking"), "{:?}", question);
            prop_assert!(!may("lacking") || may("asked"), "what is told as missing was asked for: {:?}", question);
        }
    }
}
