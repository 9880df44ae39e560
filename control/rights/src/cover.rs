//! What may be handed on: nobody gives rights that they do not have.

use intent::rights::{ALL, Reach, Rule};

use crate::matching::{lists, reaches};

/// The rights among `asked` that `held` lacks, each named once; empty: all of them are held.
///
/// Each single right (a verb on a resource, perhaps of one name, or on a path) must be within one held rule. A right to
/// everything is within a right to everything alone: what may come later counts.
pub fn missing(held: &[Rule], asked: &[Rule]) -> Vec<Rule> {
    let lacking = asked.iter().filter(|rule| !held.iter().any(|own| holds(own, rule)));
    let mut missing: Vec<Rule> = Vec::new();
    for right in lacking.flat_map(single_rights) {
        if !held.iter().any(|own| holds(own, &right)) {
            gather(&mut missing, right);
        }
    }
    missing
}

/// Whether the whole of a rule is within one held rule.
fn holds(own: &Rule, rule: &Rule) -> bool {
    let within = match (&own.reach, &rule.reach) {
        (
            Reach::Resources { groups, resources, names },
            Reach::Resources { groups: asked_groups, resources: asked_resources, names: asked_names },
        ) => {
            all(asked_groups, |group| lists(groups, group))
                && all(asked_resources, |asked| resources.iter().any(|given| contains(given, asked)))
                && (names.is_empty()
                    || (!asked_names.is_empty() && all(asked_names, |name| names.contains(name))))
        }
        (Reach::Paths(paths), Reach::Paths(asked)) => {
            all(asked, |path| paths.iter().any(|given| reaches(given, path)))
        }
        (Reach::Resources { .. }, Reach::Paths(_)) | (Reach::Paths(_), Reach::Resources { .. }) => false,
    };
    within && all(&rule.verbs, |verb| lists(&own.verbs, verb))
}

fn all(words: &[String], holds: impl Fn(&String) -> bool) -> bool {
    words.iter().all(holds)
}

/// Whether a resource as one rule writes it takes in a resource as another writes it.
fn contains(given: &str, asked: &str) -> bool {
    given == ALL
        || given == asked
        || match (given.split_once('/'), asked.split_once('/')) {
            (Some((ALL, part)), Some((_, asked))) => part == asked,
            _ => false,
        }
}

/// The rule as rights of one verb on one resource of one group and one name, or on one path.
fn single_rights(rule: &Rule) -> Vec<Rule> {
    let one = |word: &String| vec![word.clone()];
    let reaches: Vec<Reach> = match &rule.reach {
        Reach::Paths(paths) => paths.iter().map(|path| Reach::Paths(one(path))).collect(),
        Reach::Resources { groups, resources, names } => {
            let names: Vec<Vec<String>> =
                if names.is_empty() { vec![Vec::new()] } else { names.iter().map(one).collect() };
            let places =
                groups.iter().flat_map(|group| resources.iter().map(move |resource| (group, resource)));
            places
                .flat_map(|(group, resource)| {
                    names.iter().map(move |names| Reach::Resources {
                        groups: one(group),
                        resources: one(resource),
                        names: names.clone(),
                    })
                })
                .collect()
        }
    };
    let with =
        |reach: Reach| rule.verbs.iter().map(move |verb| Rule { verbs: one(verb), reach: reach.clone() });
    reaches.into_iter().flat_map(with).collect()
}

/// Adds a single right to those told: verbs on the same thing share a line.
fn gather(told: &mut Vec<Rule>, right: Rule) {
    match told.last_mut().filter(|last| last.reach == right.reach) {
        Some(last) => last.verbs.extend(right.verbs),
        None => told.push(right),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(list: &str) -> Vec<String> {
        list.split(',').filter(|word| !word.is_empty()).map(|word| word.replace("core", "")).collect()
    }

    fn on(verbs: &str, groups: &str, resources: &str, names: &str) -> Rule {
        let reach =
            Reach::Resources { groups: words(groups), resources: words(resources), names: words(names) };
        Rule { verbs: words(verbs), reach }
    }

    fn at(verbs: &str, paths: &str) -> Rule {
        Rule { verbs: words(verbs), reach: Reach::Paths(words(paths)) }
    }

    #[test]
    fn what_is_held_in_pieces_is_held() {
        let held = [on("get,list", "core", "namespaces", ""), on("delete", "core", "namespaces", "")];
        assert_eq!(missing(&held, &[on("get,delete", "core", "namespaces", "shop")]), []);
        let all = [on("*", "*", "*", ""), at("*", "*")];
        assert_eq!(
            missing(&all, &[on("x", "y", "z/w", "n"), at("get", "/metrics"), on("*", "*", "*", "")]),
            []
        );
    }

    #[test]
    fn what_is_not_held_is_told_right_by_right() {
        let held = [on("get", "core", "namespaces", ""), on("get", "a", "x", "one")];
        let asked = [on("get,list,watch", "core", "namespaces", ""), on("get", "a", "x", "one,two")];
        let expected = [on("list,watch", "core", "namespaces", ""), on("get", "a", "x", "two")];
        assert_eq!(missing(&held, &asked), expected);
    }

    #[test]
    fn everything_is_more_than_all_there_is() {
        let held = [on("get,list,watch,create,update,patch,delete", "a", "x", "")];
        for asked in [on("*", "a", "x", ""), on("get", "*", "x", ""), on("get", "a", "*", "")] {
            assert_eq!(missing(&held, std::slice::from_ref(&asked)), [asked]);
        }
        assert_eq!(missing(&[on("get", "a", "x", "one")], &[on("get", "a", "x", "")]).len(), 1);
    }

    #[test]
    fn parts_and_paths_are_compared_as_they_are_matched() {
        let held = [on("get", "a", "*/status,y", ""), at("get", "/fabric/*")];
        assert_eq!(
            missing(&held, &[on("get", "a", "x/status,y", ""), at("get", "/fabric/v1,/fabric/v1/*")]),
            []
        );
        let lacking = [on("get", "a", "y/status2", ""), on("get", "a", "x", ""), at("get", "/fabric,/*")];
        assert_eq!(missing(&held, &lacking).len(), 4);
    }
}
