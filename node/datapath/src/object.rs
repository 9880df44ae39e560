//! Loading the programs, and the maps that outlive them.
//!
//! ```text
//!   PIN_DIR/maps/NAME      every map; `state` carries the schema's version
//!   PIN_DIR/links/NAME     every link (see `hook`)
//! ```
//!
//! Promises: pinned maps of this schema are used on, with all that is in them; another schema is refused before anything is
//! touched; programs are in the kernel and verified before a link is moved to them.

use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::Path;

use libbpf_rs::{MapCore as _, Object, ObjectBuilder, OpenObject};

use crate::abi::{self, *};
use crate::config::Config;
use crate::error::Error;
use crate::hook;
use crate::socket;
use crate::table::{CpuTable, Table};

/// The maps, by the names of `bpf/maps.h`.
#[derive(Debug)]
pub(crate) struct Tables {
    pub(crate) config: Table<u32, abi::Config>,
    pub(crate) state: Table<u32, State>,
    pub(crate) endpoints_by_link: Table<u32, Endpoint>,
    pub(crate) endpoints_by_address: Table<Place, Resident>,
    pub(crate) endpoints_by_shadow: Table<Address, Shadowed>,
    pub(crate) networks: Table<u32, Network>,
    pub(crate) routes: Table<RouteKey, Route>,
    pub(crate) nodes: Table<u32, Address>,
    pub(crate) nodes_by_address: Table<Address, u32>,
    pub(crate) members: Table<MemberKey, u32>,
    pub(crate) groups: Table<GroupKey, GroupEntry>,
    pub(crate) rows: Table<RowKey, RowEntry>,
    pub(crate) intervals: Table<u32, Interval>,
    pub(crate) address_classes: Table<ClassKey, ClassEntry>,
    pub(crate) tenants: Table<u32, Tenant>,
    pub(crate) flows: Table<FlowKey, Flow>,
    pub(crate) translations: Table<Outside, Translation>,
    pub(crate) published: Table<PublishedKey, Published>,
    pub(crate) named_peers: Table<NamedKey, PeerName>,
    pub(crate) fragments: Table<FragmentKey, Fragment>,
    pub(crate) drops: CpuTable<DropKey, DropCount>,
    pub(crate) event_rates: CpuTable<u32, EventRate>,
}

/// The programs and maps in the kernel.
#[derive(Debug)]
pub(crate) struct Loaded {
    object: Object,
    pub(crate) tables: Tables,
    /// Whether the programs for sockets are among them.
    pub(crate) has_sockets: bool,
}

impl Loaded {
    /// Loads the programs onto the pinned maps, making those that are missing; those for sockets if asked to. Errors: [`Error::Schema`] and the kernel's.
    pub(crate) fn load(config: &Config, has_sockets: bool) -> Result<Self, Error> {
        let maps = config.pin_dir.join("maps");
        for directory in [&config.pin_dir, &maps] {
            std::fs::create_dir_all(directory).map_err(|source| Error::pin("create", directory, source))?;
        }
        check_schema(&maps)?;
        let open = ObjectBuilder::default()
            .open_memory(OBJECT)
            .map_err(|source| Error::library("parse", "the programs", source))?;
        let object = prepare(open, &maps, config, has_sockets)?
            .load()
            .map_err(|source| Error::library("load", "the programs", source))?;
        let tables = Tables::of(&object)?;
        let state = tables.state.find(&0)?.unwrap_or_default();
        tables.state.put(&0, &State { schema: SCHEMA, generation: state.generation.max(1), ..state })?;
        Ok(Self { object, tables, has_sockets })
    }

    /// The descriptor of a program of the object.
    pub(crate) fn program(&self, name: &'static str) -> RawFd {
        let program = self.object.progs().find(|program| program.name() == name);
        program.expect("every name used is a program of the object").as_fd().as_raw_fd()
    }

    /// Every program, with the instructions that the verifier went through.
    pub(crate) fn verified(&self) -> Result<Vec<(String, u32)>, Error> {
        let cost = |program: libbpf_rs::Program<'_>| {
            let name = program.name().to_string_lossy().into_owned();
            let instructions = hook::verified_instructions(&name, program.as_fd().as_raw_fd())?;
            Ok((name, instructions))
        };
        self.object.progs().filter(|program| program.autoload()).map(cost).collect()
    }

    /// A map that `Tables` has no type for.
    pub(crate) fn map(&self, name: &'static str) -> libbpf_rs::Map<'_> {
        self.object.maps().find(|map| map.name() == name).expect("every name used is a map of the object")
    }

    /// Runs a program on `data` with no device: what it returned, and the data as it left it.
    pub(crate) fn run(&self, name: &'static str, data: &[u8]) -> Result<(u32, Vec<u8>), Error> {
        let program = self.object.progs_mut().find(|program| program.name() == name);
        let program = program.expect("every name used is a program of the object");
        let mut out = vec![0; data.len()];
        let input =
            libbpf_rs::ProgramInput { data_in: Some(data), data_out: Some(&mut out), ..Default::default() };
        let output = program.test_run(input).map_err(|source| Error::library("run", name, source))?;
        Ok((output.return_value, out))
    }
}

impl Tables {
    fn of(object: &Object) -> Result<Self, Error> {
        let fd = |name: &'static str| descriptor(object, name);
        Ok(Self {
            config: Table::new("config", fd("config")?)?,
            state: Table::new("state", fd("state")?)?,
            endpoints_by_link: Table::new("endpoints_by_link", fd("endpoints_by_link")?)?,
            endpoints_by_address: Table::new("endpoints_by_address", fd("endpoints_by_address")?)?,
            endpoints_by_shadow: Table::new("endpoints_by_shadow", fd("endpoints_by_shadow")?)?,
            networks: Table::new("networks", fd("networks")?)?,
            routes: Table::new("routes", fd("routes")?)?,
            nodes: Table::new("nodes", fd("nodes")?)?,
            nodes_by_address: Table::new("nodes_by_address", fd("nodes_by_address")?)?,
            members: Table::new("members", fd("members")?)?,
            groups: Table::new("groups", fd("groups")?)?,
            rows: Table::new("rows", fd("rows")?)?,
            intervals: Table::new("intervals", fd("intervals")?)?,
            address_classes: Table::new("address_classes", fd("address_classes")?)?,
            tenants: Table::new("tenants", fd("tenants")?)?,
            flows: Table::new("flows", fd("flows")?)?,
            translations: Table::new("translations", fd("translations")?)?,
            published: Table::new("published", fd("published")?)?,
            named_peers: Table::new("named_peers", fd("named_peers")?)?,
            fragments: Table::new("fragments", fd("fragments")?)?,
            drops: CpuTable::new("drops", fd("drops")?)?,
            event_rates: CpuTable::new("event_rates", fd("event_rates")?)?,
        })
    }
}

/// Refuses pinned maps of another version. Maps without a version were never finished and are used on.
fn check_schema(maps: &Path) -> Result<(), Error> {
    let path = maps.join("state");
    if !path.exists() {
        return Ok(());
    }
    let handle = libbpf_rs::MapHandle::from_pinned_path(&path)
        .map_err(|source| Error::library("open", path.display().to_string(), source))?;
    let bytes = handle
        .lookup(&0u32.to_ne_bytes(), libbpf_rs::MapFlags::ANY)
        .map_err(|source| Error::library("read", path.display().to_string(), source))?;
    let found = bytes.as_deref().and_then(|bytes| bytes.get(4..8)).and_then(|bytes| bytes.try_into().ok());
    match found.map(u32::from_ne_bytes) {
        Some(0 | SCHEMA) => Ok(()),
        found => Err(Error::Schema { path: maps.to_owned(), found: found.unwrap_or(0), expected: SCHEMA }),
    }
}

fn prepare(
    mut open: OpenObject,
    maps: &Path,
    config: &Config,
    has_sockets: bool,
) -> Result<OpenObject, Error> {
    for mut program in open.progs_mut() {
        let name = program.name().to_string_lossy().into_owned();
        if !has_sockets && socket::PROGRAMS.iter().any(|(of_sockets, _)| *of_sockets == name) {
            program.set_autoload(false);
        }
    }
    for mut map in open.maps_mut() {
        let name = map.name().to_string_lossy().into_owned();
        // The scratch and the constants belong to the programs alone.
        if name == "scratches" || name.contains('.') {
            continue;
        }
        let path = maps.join(&name);
        let outcome = if path.exists() {
            map.reuse_pinned_map(&path)
        } else {
            let size = config.capacity.of(&name).map_or(Ok(()), |entries| map.set_max_entries(entries));
            size.and_then(|()| map.set_pin_path(&path))
        };
        outcome.map_err(|source| Error::library("prepare map", name, source))?;
    }
    Ok(open)
}

fn descriptor(object: &Object, name: &'static str) -> Result<OwnedFd, Error> {
    let map = object.maps().find(|map| map.name() == name).expect("every table is a map of the object");
    map.as_fd().try_clone_to_owned().map_err(|source| Error::Map { operation: "hold", map: name, source })
}

/// Compiled by build.rs from `bpf/`.
const OBJECT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/sealane.bpf.o"));
