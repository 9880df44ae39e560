//! `sealane diff --tenant A --tenant B`: whether two tenants are the same, and where they are not.

use std::io::Write;

use serde_json::{Value, json};

use super::content::{Content, Difference, PASSED_OVER, differences};
use super::unified;
use crate::failure::{Failure, count};
use crate::output;
use crate::settings::{Format, Settings};
use crate::style::Style;

/// Compares two tenants and tells what was found.
///
/// # Errors
/// [`Failure::Code`] 1 where they differ.
pub(super) fn tell(settings: &Settings, first: &str, second: &str) -> Result<(), Failure> {
    if first == second {
        return Err(Failure::usage(format!("{first} is named twice"), "name two tenants"));
    }
    let client = settings.client()?;
    let one = Content::read(&client, settings, first)?;
    let other = Content::read(&client, settings, second)?;
    let found = differences(&one, &other);
    let mut out = output::screen();
    match settings.output {
        Format::Json | Format::Yaml => {
            output::document(&mut out, settings.output, &document(&one, &other, &found)?)?;
        }
        Format::Name => {
            for difference in &found {
                writeln!(out, "{}", difference.identity.shown())?;
            }
        }
        Format::Table | Format::Wide => words(&mut out, &one, &other, &found)?,
    }
    if found.is_empty() { Ok(()) } else { Err(Failure::Code(1)) }
}

fn words(out: &mut dyn Write, one: &Content, other: &Content, found: &[Difference]) -> Result<(), Failure> {
    let style = Style::of(&std::io::stdout());
    for difference in found {
        let [before, after] = sides(difference);
        let shown = difference.identity.shown();
        let heading = |tenant: &str, side: &Option<Value>| {
            let absent = if side.is_none() { " (is not there)" } else { "" };
            format!("{tenant}: {shown}{absent}")
        };
        let headings = [heading(&one.tenant, &difference.first), heading(&other.tenant, &difference.second)];
        unified::write(out, style, &headings, [&before, &after])?;
    }
    let (first, second) = (&one.tenant, &other.tenant);
    let both = one.objects.keys().filter(|identity| other.objects.contains_key(identity)).count();
    if found.is_empty() {
        writeln!(
            out,
            "{first} and {second} are the same: {} compared, whole but for {PASSED_OVER}",
            count(both, "object")
        )?;
        return Ok(());
    }
    let only = |side: fn(&Difference) -> &Option<Value>| {
        found.iter().filter(|difference| side(difference).is_none()).count()
    };
    let (only_second, only_first) = (only(|one| &one.first), only(|one| &one.second));
    eprintln!(
        "{first} and {second} differ: of {} in both {} not the same, {only_first} only in {first}, {only_second} only in {second}; \
         {PASSED_OVER} are passed over",
        count(both, "object"),
        match found.len() - only_first - only_second {
            1 => "1 is".to_owned(),
            several => format!("{several} are"),
        },
    );
    Ok(())
}

fn sides(difference: &Difference) -> [String; 2] {
    [&difference.first, &difference.second].map(|side| side.as_ref().map(output::yaml).unwrap_or_default())
}

fn document(one: &Content, other: &Content, found: &[Difference]) -> Result<Value, Failure> {
    let mut different = Vec::new();
    for difference in found {
        let mut unified = Vec::new();
        let [before, after] = sides(difference);
        let headings = [one.tenant.clone(), other.tenant.clone()];
        unified::write(&mut unified, Style::PLAIN, &headings, [&before, &after])?;
        let identity = &difference.identity;
        let only_in = match (&difference.first, &difference.second) {
            (Some(_), None) => Some(&one.tenant),
            (None, Some(_)) => Some(&other.tenant),
            _ => None,
        };
        different.push(json!({
            "apiVersion": identity.kind.descriptor().api_version(),
            "kind": identity.kind.descriptor().kind,
            "namespace": identity.namespace,
            "name": identity.name,
            "onlyIn": only_in,
            "first": difference.first,
            "second": difference.second,
            "diff": String::from_utf8_lossy(&unified),
        }));
    }
    let both = one.objects.keys().filter(|identity| other.objects.contains_key(identity)).count();
    Ok(json!({
        "tenants": [one.tenant, other.tenant],
        "same": found.is_empty(),
        "compared": both,
        "passedOver": PASSED_OVER,
        "different": different,
    }))
}
