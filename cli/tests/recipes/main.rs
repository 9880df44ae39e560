//! The policies that everybody writes, held as truth tables over three hosts: every pod asks every port of every other, by both
//! families, on one host and across two, and so do clients outside and the hosts themselves.
#![allow(clippy::unwrap_used)]

#[path = "../fabric/mod.rs"]
mod fabric;

mod book;
mod ground;
mod table;

use book::{EGRESS, INGRESS, OUTSIDE, PORTS, Recipe};
use ground::Ground;
use table::Table;

#[test]
fn ingress_policies_let_in_exactly_whom_they_name() {
    hold("recipesingress", INGRESS);
}

#[test]
fn egress_policies_let_out_exactly_to_whom_they_name() {
    hold("recipesegress", EGRESS);
}

#[test]
fn policies_with_ports_open_exactly_these() {
    hold("recipesports", PORTS);
}

#[test]
fn address_blocks_and_the_world_are_told_apart_to_the_bit() {
    hold("recipesworld", OUTSIDE);
}

/// One recipe after the other, and in the end none again.
fn hold(lab: &str, recipes: &[Recipe]) {
    let ground = Ground::new(lab);
    let fabric = &ground.fabric;
    ground.hold("without any policy everybody reaches everybody", &open());
    for recipe in recipes {
        fabric.apply("default", recipe.policies);
        fabric.await_realised("default");
        ground.hold(recipe.claim, &Table::read(recipe.table));
        fabric.done("default", &["delete", "-f", "-"], recipe.policies);
        fabric.settle();
    }
    ground.hold("with every policy gone everybody reaches everybody", &open());
    ground.down();
}

fn open() -> Table {
    Table::read(
        "
            web  api  db   pay  ops  try  world
        others *    *    *    *    *    *    *
        ",
    )
}
