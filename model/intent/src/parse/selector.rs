//! meta.k8s.io/v1 `LabelSelector`.

use std::collections::BTreeSet;

use record::selector::{LabelSelector, Operator, Requirement};

use super::Findings;
use super::cursor::Cursor;
use crate::problem::Fault;

/// Reads a selector; one that is absent or empty matches everything.
pub(super) fn selector(at: &Cursor<'_>, findings: &mut Findings) -> LabelSelector {
    let mut requirements = BTreeSet::new();
    for (key, value) in at.field("matchLabels").texts() {
        let operator = Operator::In(BTreeSet::from([value.to_owned()]));
        requirements.insert(Requirement { key: key.to_owned(), operator });
    }
    for expression in at.field("matchExpressions").elements() {
        requirements.extend(requirement(&expression, findings));
    }
    LabelSelector(requirements)
}

fn requirement(at: &Cursor<'_>, findings: &mut Findings) -> Option<Requirement> {
    let values_at = at.field("values");
    let values: BTreeSet<String> =
        values_at.elements().iter().filter_map(|value| value.text().map(str::to_owned)).collect();
    let name = at.field("operator").text()?;
    let operator = match name {
        "In" | "NotIn" if values_at.elements().is_empty() => {
            let remedy = "list the values, or use Exists or DoesNotExist";
            findings.missing(&values_at, format!("is empty, and {name} needs values"), remedy);
            return None;
        }
        "Exists" | "DoesNotExist" if !values_at.elements().is_empty() => {
            let remedy = "leave the values out, or use In or NotIn";
            findings.problem(
                &values_at,
                Fault::Forbidden,
                format!("is given, and {name} takes no values"),
                remedy,
            );
            return None;
        }
        "In" => Operator::In(values),
        "NotIn" => Operator::NotIn(values),
        "Exists" => Operator::Exists,
        "DoesNotExist" => Operator::DoesNotExist,
        _ => return None,
    };
    Some(Requirement { key: at.field("key").text()?.to_owned(), operator })
}
