//! `sealane reference`: what can be written, field by field, without asking a server.

use std::io::Write;

use clap::Args;
use intent::nearest::nearest;
use intent::{Kind, crd, reference};

use crate::failure::Failure;
use crate::output;

/// Tell what can be written in documents of a kind
///
/// Every field with its type, default, constraints and meaning, and an example, as Markdown; it needs no server.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  sealane reference vnet                     the page of VirtualNetwork
  sealane reference                          every page
  sealane reference --crd > sealane.yaml     Sealane's own kinds, for a cluster that is to hold their documents")]
pub(crate) struct Reference {
    /// The kinds, by any of their names; left out: all
    #[arg(value_name = "KIND")]
    kinds: Vec<String>,

    /// Print custom resource definitions (apiextensions.k8s.io/v1) instead; upstream's kinds have none
    #[arg(long)]
    crd: bool,
}

impl Reference {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let kinds: Vec<Kind> = self.kinds.iter().map(|word| kind(word)).collect::<Result<_, _>>()?;
        let kinds = if kinds.is_empty() { Kind::ALL.to_vec() } else { kinds };
        let mut out = output::screen();
        if self.crd {
            for definition in self.definitions(&kinds)? {
                write!(out, "---\n{definition}")?;
            }
            return Ok(());
        }
        for (index, kind) in kinds.into_iter().enumerate() {
            let apart = if index > 0 { "\n" } else { "" };
            write!(out, "{apart}{}", reference::page(kind))?;
        }
        Ok(())
    }

    fn definitions(&self, kinds: &[Kind]) -> Result<Vec<String>, Failure> {
        let mut definitions = Vec::new();
        for kind in kinds {
            match crd::definition(*kind) {
                Some(definition) => definitions.push(output::yaml(&definition)),
                None if self.kinds.is_empty() => {}
                None => {
                    let message =
                        format!("{kind} is upstream's own kind and has no custom resource definition");
                    return Err(Failure::usage(message, "leave it out: every cluster knows it"));
                }
            }
        }
        Ok(definitions)
    }
}

fn kind(word: &str) -> Result<Kind, Failure> {
    Kind::named(word).ok_or_else(|| {
        let names = Kind::ALL.iter().flat_map(|kind| kind.descriptor().names());
        let remedy = nearest(word, names).map_or_else(
            || format!("known: {}", Kind::ALL.map(|kind| kind.descriptor().plural).join(", ")),
            |meant| format!("did you mean {meant}?"),
        );
        Failure::usage(format!("no kind is named {word:?}"), remedy)
    })
}
