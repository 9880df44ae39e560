//! The answers to questions about rights.
//!
//! Promises: what is told is what a request would meet: the same authorizer decides.

use intent::Kind;
use intent::object::DEFAULT;
use intent::rights::{Reach, Rule};
use serde_json::{Map, Value, json};

use crate::access::{Asked, Authorizer, Decision, What};
use crate::review::Review;
use crate::status::Refusal;
use crate::target::home;
use crate::who::{Authenticate, Who};

/// Who is asked, and where.
pub(crate) struct Place<'a> {
    pub(crate) authorizer: &'a dyn Authorizer,
    pub(crate) authenticate: Option<&'a dyn Authenticate>,
    pub(crate) tenant: &'a str,
    pub(crate) namespace: Option<&'a str>,
}

impl Place<'_> {
    /// The question with its answer. Errors: 400.
    pub(crate) async fn answer(
        &self,
        review: Review,
        who: &Who,
        mut question: Value,
    ) -> Result<Value, Refusal> {
        let known = review.known();
        let version = format!("{}/{}", known.group, Review::VERSION);
        for (field, wanted) in [("apiVersion", version.as_str()), ("kind", known.kind)] {
            let found = &question[field];
            if !found.is_null() && found != wanted {
                return Err(Refusal::bad_request(format!(
                    "{field} of the object is {found}, and {wanted:?} is asked here"
                )));
            }
        }
        let empty = Value::Object(Map::new());
        let spec = question.get("spec").filter(|spec| spec.is_object()).unwrap_or(&empty);
        let status = match review {
            Review::SelfSubjectAccess => self.access(&who.user, &who.groups, spec)?,
            Review::SubjectAccess | Review::LocalSubjectAccess => {
                let groups: Vec<String> = texts(&spec["groups"]);
                let user = text(spec, "user");
                if user.is_empty() && groups.is_empty() {
                    return Err(Refusal::bad_request(
                        "spec.user and spec.groups are empty: say who is meant",
                    ));
                }
                self.access(user, &groups, spec)?
            }
            Review::SelfSubjectRules => self.rules(who, spec),
            Review::SelfSubject => json!({ "userInfo": { "username": who.user, "groups": who.groups } }),
            Review::Token => self.token(who, text(spec, "token")).await?,
        };
        question["apiVersion"] = version.into();
        question["kind"] = known.kind.into();
        if !question["metadata"].is_object() {
            question["metadata"] = json!({});
        }
        question["status"] = status;
        Ok(question)
    }

    fn access(&self, user: &str, groups: &[String], spec: &Value) -> Result<Value, Refusal> {
        let (resource, path) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
        let (asked, tenant) = match (resource.is_object(), path.is_object()) {
            (true, false) => (resource, self.tenant_of(resource)),
            (false, true) if self.namespace.is_none() => (path, self.tenant),
            (false, true) => {
                return Err(Refusal::bad_request("a path is in no namespace: ask by a SubjectAccessReview"));
            }
            (true, true) => {
                return Err(Refusal::bad_request(
                    "spec has both resourceAttributes and nonResourceAttributes: leave one out",
                ));
            }
            (false, false) => {
                return Err(Refusal::bad_request(
                    "spec has neither resourceAttributes nor nonResourceAttributes: add one",
                ));
            }
        };
        let given = |field: &str| Some(text(asked, field)).filter(|text| !text.is_empty());
        let what = if resource.is_object() {
            let namespace = given("namespace");
            if self.namespace.is_some() && namespace != self.namespace {
                return Err(Refusal::bad_request(format!(
                    "spec.resourceAttributes.namespace is {:?}, and the request is about {:?}",
                    namespace.unwrap_or_default(),
                    self.namespace.unwrap_or_default(),
                )));
            }
            What::Objects {
                group: text(asked, "group"),
                resource: text(asked, "resource"),
                subresource: given("subresource"),
                namespace,
                name: given("name"),
            }
        } else {
            What::Path(text(asked, "path"))
        };
        let asked = Asked { user, groups, tenant, verb: text(asked, "verb"), what };
        Ok(match self.authorizer.decide(&asked) {
            Decision::Allowed(reason) => json!({ "allowed": true, "reason": reason }),
            Decision::Denied(None) => json!({ "allowed": false }),
            Decision::Denied(Some(reason)) => json!({ "allowed": false, "reason": reason }),
        })
    }

    /// What the provider has for all is reached through a tenant, and decided at the provider's level.
    fn tenant_of(&self, asked: &Value) -> &str {
        let (group, plural) = (text(asked, "group"), text(asked, "resource"));
        let mut kinds = Kind::ALL.into_iter().map(Kind::descriptor);
        let scope =
            kinds.find(|known| known.group == group && known.plural == plural).map(|known| known.scope);
        scope.and_then(|scope| home(self.tenant, scope)).unwrap_or(self.tenant)
    }

    fn rules(&self, who: &Who, spec: &Value) -> Value {
        let namespace = Some(text(spec, "namespace")).filter(|namespace| !namespace.is_empty());
        let rules =
            self.authorizer.rules(&who.user, &who.groups, self.tenant, Some(namespace.unwrap_or(DEFAULT)));
        let (mut objects, mut paths) = (Vec::new(), Vec::new());
        for Rule { verbs, reach } in rules {
            match reach {
                Reach::Resources { groups, resources, names } => {
                    let mut rule = json!({ "verbs": verbs, "apiGroups": groups, "resources": resources });
                    if !names.is_empty() {
                        rule["resourceNames"] = names.into();
                    }
                    objects.push(rule);
                }
                Reach::Paths(urls) => paths.push(json!({ "verbs": verbs, "nonResourceURLs": urls })),
            }
        }
        json!({ "resourceRules": objects, "nonResourceRules": paths, "incomplete": false })
    }

    async fn token(&self, asker: &Who, token: &str) -> Result<Value, Refusal> {
        if token.is_empty() {
            return Err(Refusal::bad_request("spec.token is empty: give the token that is asked about"));
        }
        let owner = match self.authenticate {
            Some(authenticate) => authenticate.authenticate(token).await,
            None => None,
        };
        Ok(match owner {
            Some(owner) => {
                let owner = Who::identified(owner, asker.from);
                json!({ "authenticated": true, "user": { "username": owner.user, "groups": owner.groups } })
            }
            None => json!({ "authenticated": false, "error": "the token is nobody's, expired or withdrawn" }),
        })
    }
}

fn text<'v>(document: &'v Value, field: &str) -> &'v str {
    document.get(field).and_then(Value::as_str).unwrap_or_default()
}

fn texts(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(|text| text.as_str().map(str::to_owned)).collect()
}
