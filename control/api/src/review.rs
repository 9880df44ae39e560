//! The questions about rights: kinds of authorization.k8s.io/v1 and authentication.k8s.io/v1 that are answered when they are
//! made, and never kept.

/// A kind of question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Review {
    /// May I?
    SelfSubjectAccess,
    /// What may I?
    SelfSubjectRules,
    /// May somebody?
    SubjectAccess,
    /// May somebody in this namespace?
    LocalSubjectAccess,
    /// Who am I?
    SelfSubject,
    /// Whose token is this?
    Token,
}

/// What is known of a kind of question.
pub(crate) struct Known {
    pub(crate) group: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) plural: &'static str,
    pub(crate) singular: &'static str,
    pub(crate) namespaced: bool,
}

impl Review {
    pub(crate) const ALL: [Self; 6] = [
        Self::SelfSubjectAccess,
        Self::SelfSubjectRules,
        Self::SubjectAccess,
        Self::LocalSubjectAccess,
        Self::SelfSubject,
        Self::Token,
    ];

    /// The version of all of them.
    pub(crate) const VERSION: &str = "v1";

    pub(crate) const fn known(self) -> Known {
        let (group, kind, plural, singular) = match self {
            Self::SelfSubjectAccess => {
                (RIGHTS, "SelfSubjectAccessReview", "selfsubjectaccessreviews", "selfsubjectaccessreview")
            }
            Self::SelfSubjectRules => {
                (RIGHTS, "SelfSubjectRulesReview", "selfsubjectrulesreviews", "selfsubjectrulesreview")
            }
            Self::SubjectAccess => {
                (RIGHTS, "SubjectAccessReview", "subjectaccessreviews", "subjectaccessreview")
            }
            Self::LocalSubjectAccess => {
                (RIGHTS, "LocalSubjectAccessReview", "localsubjectaccessreviews", "localsubjectaccessreview")
            }
            Self::SelfSubject => (NAMES, "SelfSubjectReview", "selfsubjectreviews", "selfsubjectreview"),
            Self::Token => (NAMES, "TokenReview", "tokenreviews", "tokenreview"),
        };
        Known { group, kind, plural, singular, namespaced: matches!(self, Self::LocalSubjectAccess) }
    }

    /// The questions of a group and version.
    pub(crate) fn of(group: &str, version: &str) -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(move |review| review.known().group == group && version == Self::VERSION)
    }

    /// The question that a path names, within a namespace or outside.
    pub(crate) fn at(group: &str, version: &str, plural: &str, namespaced: bool) -> Option<Self> {
        let fits = |known: Known| known.plural == plural && known.namespaced == namespaced;
        Self::of(group, version).find(|review| fits(review.known()))
    }
}

const RIGHTS: &str = "authorization.k8s.io";
const NAMES: &str = "authentication.k8s.io";
