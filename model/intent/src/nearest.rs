//! The nearest known name to one that is not known, so that an answer can say what was probably meant.

/// The candidate nearest to `name`, if any is near enough to be a slip: the same but for case and dashes, or at most a third
/// of the letters changed, added, lost or swapped with their neighbour.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if name.len() > LONGEST_NAME {
        return None;
    }
    let plain = plainly(name);
    let bound = (plain.len() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (distance(&plain, &plainly(candidate)), candidate))
        .filter(|(distance, _)| *distance <= bound)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

fn plainly(name: &str) -> Vec<char> {
    name.chars().filter(|letter| !matches!(letter, '-' | '_')).flat_map(char::to_lowercase).collect()
}

/// Optimal string alignment: insertions, deletions, substitutions, and swaps of neighbours.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before = vec![0; b.len() + 1];
    let mut previous: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let substituted = previous[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = substituted.min(previous[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut previous, row);
    }
    previous[b.len()]
}

const LONGEST_NAME: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_what_was_meant_and_a_stranger_finds_nothing() {
        let fields = ["podSelector", "policyTypes", "ingress", "egress"];
        for (written, meant) in [
            ("podselector", Some("podSelector")),
            ("pod-selector", Some("podSelector")),
            ("policyType", Some("policyTypes")),
            ("ingres", Some("ingress")),
            ("igress", Some("ingress")),
            ("egerss", Some("egress")),
            ("replicas", None),
            ("", None),
        ] {
            assert_eq!(nearest(written, fields), meant, "{written}");
        }
    }
}
