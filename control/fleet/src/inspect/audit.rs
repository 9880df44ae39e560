//! What is searched for in the audit, as the parameters say it.

use std::time::SystemTime;

use api::{Search, Subject};

use super::parameters::{Query, known, parsed};

/// What the parameters ask for. Errors: what is wrong with them.
pub(super) fn search(query: &Query, now: SystemTime) -> Result<Search, String> {
    known(query, &["tenant", "user", "object", "verb", "since", "refused", "limit"])?;
    let text = |name: &str| query.get(name).filter(|text| !text.is_empty());
    let limit = parsed::<usize>(query, "limit", "a number")?.unwrap_or(USUAL);
    if !(1..=Search::MOST).contains(&limit) {
        return Err(format!("the parameter limit={limit} is not from 1 to {}", Search::MOST));
    }
    Ok(Search {
        tenant: text("tenant").cloned(),
        user: text("user").cloned(),
        verb: text("verb").cloned(),
        object: text("object").map(|text| Subject::parse(text)).transpose()?,
        since: text("since").map(|text| Search::time(text, now)).transpose()?,
        refused: parsed(query, "refused", "true or false")?.unwrap_or(false),
        limit,
    })
}

/// Events that are shown unless more are asked for.
const USUAL: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(pairs: &[(&str, &str)]) -> Result<Search, String> {
        let query = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        search(&query, SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(7_200))
    }

    #[test]
    fn a_search_is_read_from_its_parameters() {
        let read = asked(&[("object", "netpol/shop/db"), ("since", "1h"), ("refused", "true"), ("user", "")]);
        let read = read.unwrap();
        let object = Subject::Exactly("networkpolicies".into(), "shop".into(), "db".into());
        assert_eq!((read.object, read.refused, read.user, read.limit), (Some(object), true, None, USUAL));
        assert_eq!(read.since, Some(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(3_600)));
        assert_eq!(asked(&[("since", "1970-01-01T01:00:00Z")]).unwrap().since, read.since);
    }

    #[test]
    fn what_cannot_be_searched_for_is_refused_with_what_can() {
        for (pair, part) in [
            (("usr", "x"), "\"user\""),
            (("since", "yesterday"), "write 30m"),
            (("object", "a/b/c/d"), "KIND/NAMESPACE/NAME"),
            (("limit", "0"), "from 1 to 1000"),
            (("limit", "many"), "a number"),
        ] {
            let refused = asked(&[pair]).unwrap_err();
            assert!(refused.contains(part), "{pair:?}: {refused}");
        }
    }
}
