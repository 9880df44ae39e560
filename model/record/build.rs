//! Makes `DropReason` from the list that the eBPF programs include.

use std::fmt::Write as _;

fn main() {
    let header = "include/drop_reason.h";
    println!("cargo::rerun-if-changed={header}");
    let text = std::fs::read_to_string(header).expect("include/drop_reason.h is in this crate");
    let reasons: Vec<Reason> = text.lines().filter_map(Reason::parse).collect();
    assert!(!reasons.is_empty(), "{header} lists no DROP_REASON");
    let out =
        std::path::Path::new(&std::env::var("OUT_DIR").expect("cargo sets OUT_DIR")).join("drop_reason.rs");
    std::fs::write(&out, enumeration(&reasons)).expect("OUT_DIR is writable");
}

struct Reason {
    number: u8,
    name: String,
    meaning: String,
}

impl Reason {
    /// `DROP_REASON(7, group_unknown, "…")  \` — the macro's own definition line has no number and is passed over.
    fn parse(line: &str) -> Option<Self> {
        let inner = line.trim().strip_prefix("DROP_REASON(")?;
        let (number, rest) = inner.split_once(',')?;
        let (name, rest) = rest.split_once(',')?;
        let meaning = rest.split('"').nth(1)?;
        Some(Self {
            number: number.trim().parse().ok()?,
            name: name.trim().to_owned(),
            meaning: meaning.to_owned(),
        })
    }

    fn variant(&self) -> String {
        self.name.split('_').map(|word| word[..1].to_uppercase() + &word[1..]).collect()
    }
}

fn enumeration(reasons: &[Reason]) -> String {
    let mut text = String::from(
        "/// Why the datapath dropped a packet. Made from `include/drop_reason.h`, the one list.\n\
         #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]\n#[repr(u8)]\npub enum DropReason {\n",
    );
    for reason in reasons {
        let _ = writeln!(text, "    /// {}\n    {} = {},", reason.meaning, reason.variant(), reason.number);
    }
    text.push_str("}\n\nimpl DropReason {\n    /// Every reason, in the order of the list.\n    pub const ALL: &[Self] = &[");
    for reason in reasons {
        let _ = write!(text, "Self::{}, ", reason.variant());
    }
    text.push_str("];\n\n    /// The name used in metrics, traces and tables: `policy-denied`.\n    pub const fn name(self) -> &'static str {\n        match self {\n");
    for reason in reasons {
        let _ = writeln!(
            text,
            "            Self::{} => \"{}\",",
            reason.variant(),
            reason.name.replace('_', "-")
        );
    }
    text.push_str("        }\n    }\n\n    /// One sentence for a person.\n    pub const fn meaning(self) -> &'static str {\n        match self {\n");
    for reason in reasons {
        let _ = writeln!(text, "            Self::{} => \"{}\",", reason.variant(), reason.meaning);
    }
    text.push_str("        }\n    }\n}\n");
    text
}
