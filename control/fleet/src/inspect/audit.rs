//! What was changed and what was refused, by whom: searching the audit.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use api::{Found, Refusal, Search, Subject, Verb};
use axum::body::Body;
use axum::extract::Query as Parameters;
use axum::http::Response;
use axum::response::IntoResponse;
use axum::{Extension, Json};
use intent::object::SYSTEM_TENANT;

use super::parameters::{known, parsed};
use super::routes::{Caller, Shared, allowed, fitting};
use super::{AuditList, State};

/// Events of a tenant are for whoever may list `audit` there; those of all, at the provider's level.
pub(super) async fn audit(
    Extension(state): Shared,
    Extension(who): Caller,
    Parameters(query): Parameters<BTreeMap<String, String>>,
) -> Response<Body> {
    let search = fitting(search(&query, SystemTime::now())).and_then(|search| {
        let home = search.tenant.as_deref().unwrap_or(SYSTEM_TENANT);
        allowed(&state, &who, Verb::List, home, "audit").map(|()| search)
    });
    match found(&state, search).await {
        Ok(Found { events, more, unreadable }) => {
            Json(AuditList { events, more, unreadable }).into_response()
        }
        Err(refusal) => refusal.response(),
    }
}

async fn found(state: &Arc<State>, search: Result<Search, Refusal>) -> Result<Found, Refusal> {
    state.api.search(search?).await
}

fn search(query: &BTreeMap<String, String>, now: SystemTime) -> Result<Search, String> {
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
