//! The syntax of texts: names, labels, addresses, prefixes, ports.

use std::net::IpAddr;

use record::{Mac, Prefix, PrefixError};

use crate::nearest::nearest;
use crate::problem::Fault;

/// The syntax of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Any text.
    Free,
    /// A DNS label (RFC 1123): at most 63 of `a-z0-9-`, alphanumeric at both ends.
    Label,
    /// A DNS subdomain (RFC 1123): labels joined by dots, at most 253 characters.
    Subdomain,
    /// One segment of a path, as roles are named: anything but `.` and `..`, without `/` and `%`.
    PathSegment,
    /// The key of a label or annotation, or a finalizer: `name` or `subdomain/name`.
    QualifiedName,
    /// The value of a label: empty, or at most 63 of `A-Za-z0-9-_.`, alphanumeric at both ends.
    LabelValue,
    /// A prefix as policies write it: host bits are accepted and cleared, as upstream does.
    Range,
    /// A prefix in canonical form.
    Prefix,
    /// An IPv4 or IPv6 address.
    Address,
    /// An Ethernet address of one interface.
    Mac,
    /// A service name (RFC 6335): at most 15 of `a-z0-9-`, with a letter.
    PortName,
    /// A moment (RFC 3339).
    Time,
    /// One of these words.
    OneOf(&'static [&'static str]),
}

/// What is wrong with a text and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Misfit {
    pub(crate) fault: Fault,
    pub(crate) reason: String,
    pub(crate) remedy: String,
}

impl Format {
    /// Whether the text has this syntax.
    pub fn accepts(self, text: &str) -> bool {
        self.check(text).is_ok()
    }

    /// The syntax in words; empty where any text will do.
    pub fn words(self) -> String {
        let words = match self {
            Self::Free => "",
            Self::Label => {
                "a DNS label (RFC 1123): at most 63 of a-z, 0-9 and -, a letter or digit at both ends"
            }
            Self::Subdomain => "a DNS subdomain (RFC 1123): labels joined by dots, at most 253 characters",
            Self::PathSegment => "at most 253 characters, neither . nor .., without / and %",
            Self::QualifiedName => {
                "a qualified name: NAME or SUBDOMAIN/NAME, NAME being at most 63 characters"
            }
            Self::LabelValue => {
                "empty, or at most 63 of A-Z, a-z, 0-9, -, _ and ., a letter or digit at both ends"
            }
            Self::Range => "ADDRESS/LENGTH (RFC 4632); bits behind the length are cleared",
            Self::Prefix => "ADDRESS/LENGTH (RFC 4632) with no bit set behind the length",
            Self::Address => "an IPv4 or IPv6 address",
            Self::Mac => "an Ethernet address of one interface, such as 02:00:00:00:00:01",
            Self::PortName => {
                "a port name (RFC 6335): at most 15 of a-z, 0-9 and single dashes, with a letter"
            }
            Self::Time => "a moment (RFC 3339), such as 2026-11-20T15:00:00Z",
            Self::OneOf(words) => return format!("one of {}", words.join(", ")),
        };
        words.to_owned()
    }

    /// A regular expression (RE2) that every accepted text matches.
    pub(crate) const fn pattern(self) -> Option<&'static str> {
        match self {
            Self::Label => Some("^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"),
            Self::Subdomain => Some(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"),
            Self::PathSegment => Some("^[^/%]+$"),
            Self::QualifiedName => Some(
                r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?([A-Za-z0-9][-A-Za-z0-9_.]{0,61})?[A-Za-z0-9]$",
            ),
            Self::LabelValue => Some("^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$"),
            Self::Range | Self::Prefix => Some("^[0-9A-Fa-f:.]+/[0-9]{1,3}$"),
            Self::Address => Some("^[0-9A-Fa-f:.]+$"),
            Self::Mac => Some("^[0-9A-Fa-f][02468ACEace](:[0-9A-Fa-f]{2}){5}$"),
            Self::PortName => Some("^([0-9]+-)*[0-9]*[a-z][a-z0-9]*(-[a-z0-9]+)*$"),
            Self::Free | Self::Time | Self::OneOf(_) => None,
        }
    }

    /// How long an accepted text can be, in bytes.
    pub(crate) const fn longest(self) -> Option<usize> {
        match self {
            Self::Label | Self::LabelValue => Some(LABEL_LIMIT),
            Self::Subdomain | Self::PathSegment => Some(SUBDOMAIN_LIMIT),
            Self::QualifiedName => Some(SUBDOMAIN_LIMIT + 1 + LABEL_LIMIT),
            Self::Range | Self::Prefix => Some("ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255/128".len()),
            Self::Address => Some("ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255".len()),
            Self::Mac => Some("02:00:00:00:00:01".len()),
            Self::PortName => Some(PORT_NAME_LIMIT),
            Self::Free | Self::Time | Self::OneOf(_) => None,
        }
    }

    pub(crate) fn check(self, text: &str) -> Result<(), Misfit> {
        match self {
            Self::Free => Ok(()),
            Self::Label => check_label(text),
            Self::Subdomain => check_subdomain(text),
            Self::PathSegment => check_path_segment(text),
            Self::QualifiedName => check_qualified(text),
            Self::LabelValue => check_label_value(text),
            Self::Range => range(text).map(|_| ()),
            Self::Prefix => text.parse::<Prefix>().map(|_| ()).map_err(|error| prefix_misfit(text, &error)),
            Self::Address => check_address(text),
            Self::Mac => text
                .parse::<Mac>()
                .map(|_| ())
                .map_err(|reason| invalid(reason, "give six pairs of hex digits, the first pair even")),
            Self::PortName => check_port_name(text),
            Self::Time => check_time(text),
            Self::OneOf(words) => check_one_of(text, words),
        }
    }
}

/// Reads a prefix as upstream's policies accept it: with host bits, which are cleared.
pub(crate) fn range(text: &str) -> Result<Prefix, Misfit> {
    match text.parse::<Prefix>() {
        Ok(prefix) => Ok(prefix),
        Err(PrefixError::HostBits { network, .. }) => Ok(network),
        Err(error) => Err(prefix_misfit(text, &error)),
    }
}

fn invalid(reason: impl Into<String>, remedy: impl Into<String>) -> Misfit {
    Misfit { fault: Fault::Invalid, reason: reason.into(), remedy: remedy.into() }
}

fn too_long(limit: usize) -> Misfit {
    Misfit {
        fault: Fault::TooLong,
        reason: format!("is longer than {limit} characters"),
        remedy: "shorten it".to_owned(),
    }
}

fn empty() -> Misfit {
    Misfit { fault: Fault::Required, reason: "is empty".to_owned(), remedy: "give a name".to_owned() }
}

fn check_label(text: &str) -> Result<(), Misfit> {
    if text.is_empty() {
        return Err(empty());
    }
    if text.len() > LABEL_LIMIT {
        return Err(too_long(LABEL_LIMIT));
    }
    if is_label(text) { Ok(()) } else { Err(dns_misfit(text, "label", "a-z, 0-9 and -")) }
}

fn check_subdomain(text: &str) -> Result<(), Misfit> {
    if text.is_empty() {
        return Err(empty());
    }
    if text.len() > SUBDOMAIN_LIMIT {
        return Err(too_long(SUBDOMAIN_LIMIT));
    }
    if text.split('.').all(is_label) {
        return Ok(());
    }
    Err(dns_misfit(text, "subdomain", "a-z, 0-9, - and ."))
}

fn is_label(text: &str) -> bool {
    let inside = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !text.is_empty() && text.bytes().all(inside) && !text.starts_with('-') && !text.ends_with('-')
}

fn dns_misfit(text: &str, what: &str, letters: &str) -> Misfit {
    let dots = what == "subdomain";
    let mended: String = text
        .to_lowercase()
        .chars()
        .map(|letter| if letter.is_ascii_alphanumeric() || (dots && letter == '.') { letter } else { '-' })
        .collect();
    let mended = mended.trim_matches(['-', '.']);
    let fits = !mended.is_empty() && mended.split('.').all(is_label);
    let remedy = if fits { format!("write {mended}") } else { format!("use {letters} alone") };
    invalid(format!("is no DNS {what} (RFC 1123): {letters}, with a letter or digit at both ends"), remedy)
}

fn check_path_segment(text: &str) -> Result<(), Misfit> {
    if text.is_empty() {
        return Err(empty());
    }
    if text.len() > SUBDOMAIN_LIMIT {
        return Err(too_long(SUBDOMAIN_LIMIT));
    }
    if matches!(text, "." | "..") || text.contains(['/', '%']) {
        let mended = text.replace(['/', '%'], ":");
        let remedy =
            if mended == text { "choose another name".to_owned() } else { format!("write {mended}") };
        return Err(invalid(
            "cannot stand in a path: . and .. are taken, / and % have a meaning there",
            remedy,
        ));
    }
    Ok(())
}

fn check_qualified(text: &str) -> Result<(), Misfit> {
    let (prefix, name) = match text.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, text),
    };
    if let Some(prefix) = prefix {
        if prefix.is_empty() {
            return Err(invalid(
                "has nothing before its /",
                "give a DNS subdomain there, or leave out the /",
            ));
        }
        check_subdomain(prefix)
            .map_err(|misfit| Misfit { reason: format!("prefix {}", misfit.reason), ..misfit })?;
    }
    if name.is_empty() {
        return Err(Misfit {
            fault: Fault::Required,
            reason: "has no name".into(),
            remedy: "give one".into(),
        });
    }
    if name.len() > LABEL_LIMIT {
        return Err(too_long(LABEL_LIMIT));
    }
    if is_label_word(name) {
        return Ok(());
    }
    Err(invalid(
        "is no qualified name: A-Z, a-z, 0-9, -, _ and ., with a letter or digit at both ends, after an optional DNS subdomain and /",
        "write it like app or example.com/app",
    ))
}

fn check_label_value(text: &str) -> Result<(), Misfit> {
    if text.len() > LABEL_LIMIT {
        return Err(too_long(LABEL_LIMIT));
    }
    if text.is_empty() || is_label_word(text) {
        return Ok(());
    }
    Err(invalid(
        "is no label value: A-Z, a-z, 0-9, -, _ and ., with a letter or digit at both ends",
        "leave out the other characters, or keep it as an annotation",
    ))
}

fn is_label_word(text: &str) -> bool {
    let edge = |letter: char| letter.is_ascii_alphanumeric();
    let inside = |letter: char| edge(letter) || matches!(letter, '-' | '_' | '.');
    text.starts_with(edge) && text.ends_with(edge) && text.chars().all(inside)
}

fn check_address(text: &str) -> Result<(), Misfit> {
    match text.parse::<IpAddr>() {
        Ok(IpAddr::V6(address)) if address.to_ipv4_mapped().is_some() => {
            let plain = address.to_ipv4_mapped().expect("the guard has just seen it");
            Err(invalid("is an IPv4 address in IPv6 clothes", format!("write {plain}")))
        }
        Ok(_) => Ok(()),
        Err(_) if text.contains('/') => {
            Err(invalid("is a prefix where an address is wanted", "leave out the / and what follows"))
        }
        Err(_) => Err(invalid("is no IPv4 or IPv6 address", "write it like 10.1.0.1 or fd00:1::1")),
    }
}

fn prefix_misfit(text: &str, error: &PrefixError) -> Misfit {
    match error {
        PrefixError::HostBits { network, .. } => {
            invalid("has bits set behind its length", format!("write {network}, the network it lies in"))
        }
        PrefixError::Length { length, bits } => invalid(
            format!("has a length of {length}, longer than an address of {bits} bits"),
            format!("give 0–{bits} after the /"),
        ),
        PrefixError::Form(_) if text.parse::<IpAddr>().is_ok() => {
            let length = if text.contains(':') { 128 } else { 32 };
            invalid("is an address without a length", format!("write {text}/{length} for this address alone"))
        }
        PrefixError::Form(_) => invalid(
            "is not ADDRESS/LENGTH",
            "write it like 10.1.0.0/16 or fd00:1::/64, without leading zeros",
        ),
    }
}

fn check_port_name(text: &str) -> Result<(), Misfit> {
    if text.len() > PORT_NAME_LIMIT {
        return Err(too_long(PORT_NAME_LIMIT));
    }
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(invalid("is a number in quotes", format!("write {text} without quotes")));
    }
    let inside = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let fits = text.bytes().all(inside)
        && text.bytes().any(|byte| byte.is_ascii_lowercase())
        && !text.contains("--")
        && !text.starts_with('-')
        && !text.ends_with('-');
    if fits {
        return Ok(());
    }
    Err(invalid(
        "is no port name (RFC 6335): a-z, 0-9 and single dashes inside, with at least one letter",
        "write the name that the workload gave its port, such as http, or the number",
    ))
}

/// The shape of RFC 3339; the server writes these, so that no calendar is kept here.
fn check_time(text: &str) -> Result<(), Misfit> {
    let digits = |range: std::ops::Range<usize>| {
        text.get(range).is_some_and(|part| part.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let at =
        |index: usize, wanted: &[u8]| text.as_bytes().get(index).is_some_and(|byte| wanted.contains(byte));
    let fits = digits(0..4)
        && at(4, b"-")
        && digits(5..7)
        && at(7, b"-")
        && digits(8..10)
        && at(10, b"Tt")
        && digits(11..13)
        && at(13, b":")
        && digits(14..16)
        && at(16, b":")
        && digits(17..19)
        && at(19, b"Zz.+-");
    if fits { Ok(()) } else { Err(invalid("is no moment (RFC 3339)", "write it like 2026-11-20T15:00:00Z")) }
}

fn check_one_of(text: &str, words: &'static [&'static str]) -> Result<(), Misfit> {
    if words.contains(&text) {
        return Ok(());
    }
    let remedy = match nearest(text, words.iter().copied()) {
        Some(word) => format!("write {word}"),
        None => format!("write one of {}", words.join(", ")),
    };
    Err(Misfit { fault: Fault::NotSupported, reason: format!("is none of {}", words.join(", ")), remedy })
}

const LABEL_LIMIT: usize = 63;
const SUBDOMAIN_LIMIT: usize = 253;
const PORT_NAME_LIMIT: usize = 15;

#[cfg(test)]
mod tests {
    use super::*;

    fn cases(format: Format, accepted: &[&str], refused: &[&str]) {
        for text in accepted {
            assert!(format.accepts(text), "{format:?} refuses {text:?}: {:?}", format.check(text));
        }
        for text in refused {
            assert!(!format.accepts(text), "{format:?} accepts {text:?}");
        }
    }

    #[test]
    fn names_are_dns_labels_and_subdomains() {
        let long = "a".repeat(64);
        cases(
            Format::Label,
            &["a", "0", "a-b", &long[..63]],
            &["", "-a", "a-", "A", "a.b", "a_b", &long, "ä"],
        );
        let longest = format!("{}.{}.{}.{}", &long[..63], &long[..63], &long[..63], &long[..61]);
        assert_eq!(longest.len(), 253);
        cases(
            Format::Subdomain,
            &["a.b", "a-1.b", &longest],
            &["", ".a", "a.", "a..b", &format!("{longest}a")],
        );
    }

    #[test]
    fn names_of_roles_are_path_segments() {
        let accepted = ["a", "system:node", "Read All", "a.b", "..."];
        cases(Format::PathSegment, &accepted, &["", ".", "..", "a/b", "50%", &"a".repeat(254)]);
    }

    #[test]
    fn a_wrong_name_comes_back_mended() {
        assert_eq!(Format::Label.check("My_Net").unwrap_err().remedy, "write my-net");
        assert_eq!(Format::Label.check("_").unwrap_err().remedy, "use a-z, 0-9 and - alone");
    }

    #[test]
    fn labels_follow_upstream_syntax() {
        let accepted = ["app", "app.kubernetes.io/name", "A_b.c", "example.com/A"];
        cases(Format::QualifiedName, &accepted, &["", "/a", "a/", "a/b/c", "-a", "Example.com/a", "a b"]);
        cases(Format::LabelValue, &["", "a", "A_b-c.d", "1"], &["-a", "a-", "a b", "a/b", &"a".repeat(64)]);
    }

    #[test]
    fn addresses_are_canonical_and_plain() {
        cases(
            Format::Address,
            &["10.0.0.1", "fd00::1"],
            &["", "10.0.0.256", "010.0.0.1", "10.0.0.0/8", "::ffff:1.2.3.4"],
        );
        cases(
            Format::Prefix,
            &["10.0.0.0/8", "::/0"],
            &["10.0.0.1/8", "10.0.0.0", "10.0.0.0/33", "10.0.0.0/+8"],
        );
        cases(Format::Range, &["10.0.0.0/8", "10.0.0.1/8"], &["10.0.0.0", "fd00::/129", "a/8"]);
        assert_eq!(
            Format::Prefix.check("10.0.0.1/8").unwrap_err().remedy,
            "write 10.0.0.0/8, the network it lies in"
        );
        assert_eq!(
            Format::Range.check("10.0.0.7").unwrap_err().remedy,
            "write 10.0.0.7/32 for this address alone"
        );
        cases(Format::Mac, &["02:00:00:00:00:01"], &["02:00:00:00:00", "03:00:00:00:00:01", "x"]);
    }

    #[test]
    fn port_names_follow_rfc_6335() {
        let refused = ["", "80", "8-0", "a--b", "-a", "a-", "HTTP", "sixteen-letters-"];
        cases(Format::PortName, &["http", "h2c", "8080-tcp", "a-b-c"], &refused);
        assert_eq!(Format::PortName.check("80").unwrap_err().remedy, "write 80 without quotes");
    }

    #[test]
    fn words_and_moments() {
        cases(Format::OneOf(&["TCP", "UDP"]), &["TCP"], &["tcp", "ICMP"]);
        assert_eq!(Format::OneOf(&["TCP", "UDP"]).check("tcp").unwrap_err().remedy, "write TCP");
        let refused = ["", "2026-11-20", "2026-11-20 15:00:00Z", "yesterday"];
        cases(Format::Time, &["2026-11-20T15:00:00Z", "2026-11-20T15:00:00.5+01:00"], &refused);
    }
}
