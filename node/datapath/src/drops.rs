//! What the programs drop: counted by reason, and a sample told; and how full the maps are.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use libbpf_rs::RingBufferBuilder;
use record::inspect::{DropCount, DropSample, MapFill, Traffic};
use record::{Direction, DropReason, Group, RuleId, Vni};

use crate::Datapath;
use crate::abi::{self, DropKey, Event};
use crate::error::Error;
use crate::flow::{self, MILLISECOND};
use crate::table;

impl Datapath {
    /// What was dropped since the maps were made, by network, reason and rule; none that is zero.
    pub fn drops(&self) -> Result<Vec<DropCount>, Error> {
        let entries = self.loaded.tables.drops.entries()?;
        let counted = entries.into_iter().filter_map(|(key, counts)| {
            let traffic = Traffic {
                packets: counts.iter().map(|count| count.packets).sum(),
                bytes: counts.iter().map(|count| count.bytes).sum(),
            };
            let reason = DropReason::from_number(u8::try_from(key.reason).ok()?)?;
            let count = DropCount { vni: Vni::new(key.vni), reason, rule: RuleId(key.rule), traffic };
            (traffic.packets > 0).then_some(count)
        });
        Ok(counted.collect())
    }

    /// Waits at most `timeout` for dropped packets to be told, and gives each to `tell`, oldest first. One reader at a time.
    pub fn events(&self, timeout: Duration, mut tell: impl FnMut(DropSample)) -> Result<(), Error> {
        let offset = boot_offset()?;
        let ring = self.loaded.map("events");
        let failed = |operation| move |source| Error::library(operation, "events", source);
        let mut builder = RingBufferBuilder::new();
        builder
            .add(&ring, |bytes| {
                if let Some(sample) = table::value(bytes).and_then(|event| sample(&event, offset)) {
                    tell(sample);
                }
                0
            })
            .map_err(failed("listen to"))?;
        builder.build().and_then(|reader| reader.poll(timeout)).map_err(failed("read"))
    }

    /// Dropped packets that could not be told, for the ring was full or the rate exceeded, since the maps were made.
    pub fn events_lost(&self) -> Result<u64, Error> {
        let rates = self.loaded.tables.event_rates.entries()?;
        Ok(rates.iter().flat_map(|(_, rates)| rates).map(|rate| rate.lost).sum())
    }

    /// How full each map is that can fill up.
    pub fn fill(&self) -> Result<Vec<MapFill>, Error> {
        let tables = &self.loaded.tables;
        let intervals = u64::from(tables.intervals.capacity() - self.held.slices.unused());
        let used = [
            (
                tables.endpoints_by_link.name(),
                tables.endpoints_by_link.count()?,
                tables.endpoints_by_link.capacity(),
            ),
            (tables.networks.name(), tables.networks.count()?, tables.networks.capacity()),
            (tables.routes.name(), tables.routes.count()?, tables.routes.capacity()),
            (tables.nodes.name(), tables.nodes.count()?, tables.nodes.capacity()),
            (tables.members.name(), tables.members.count()?, tables.members.capacity()),
            (tables.groups.name(), tables.groups.count()?, tables.groups.capacity()),
            (tables.rows.name(), tables.rows.count()?, tables.rows.capacity()),
            (tables.intervals.name(), intervals, tables.intervals.capacity()),
            (
                tables.address_classes.name(),
                tables.address_classes.count()?,
                tables.address_classes.capacity(),
            ),
            (tables.flows.name(), tables.flows.count()?, tables.flows.capacity()),
            (tables.translations.name(), tables.translations.count()?, tables.translations.capacity()),
            (tables.published.name(), tables.published.count()?, tables.published.capacity()),
            (tables.fragments.name(), tables.fragments.count()?, tables.fragments.capacity()),
        ];
        let fill = |(map, used, capacity): (&str, u64, u32)| MapFill {
            map: map.to_owned(),
            used,
            capacity: u64::from(capacity),
        };
        Ok(used.into_iter().map(fill).collect())
    }

    /// A counter for each reason that no flood of networks and rules can crowd out.
    pub(crate) fn prepare_drops(&self) -> Result<(), Error> {
        for reason in DropReason::ALL {
            self.loaded.tables.drops.put_zero(&DropKey { reason: *reason as u32, ..DropKey::default() })?;
        }
        Ok(())
    }
}

fn sample(event: &Event, boot_offset: u64) -> Option<DropSample> {
    Some(DropSample {
        time_ms: (event.time + boot_offset) / MILLISECOND,
        vni: Vni::new(event.vni),
        source: event.source.ip(),
        source_port: u16::from_be_bytes(event.source_port),
        destination: event.destination.ip(),
        destination_port: u16::from_be_bytes(event.destination_port),
        protocol: event.protocol,
        groups: (Group(event.source_group), Group(event.destination_group)),
        reason: DropReason::from_number(event.reason)?,
        rule: RuleId(event.rule),
        direction: match event.side {
            abi::SIDE_EGRESS => Some(Direction::Egress),
            abi::SIDE_INGRESS => Some(Direction::Ingress),
            _ => None,
        },
    })
}

/// Nanoseconds from the programs' clock to the time since 1970.
fn boot_offset() -> Result<u64, Error> {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos() as u64);
    Ok(wall.saturating_sub(flow::now()?))
}
