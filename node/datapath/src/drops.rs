//! What the programs drop: counted by reason, and a sample told; and how full the maps are.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use libbpf_rs::RingBufferBuilder;
use record::inspect::{DropCount, DropSample, MapFill, Traffic};
use record::{Direction, DropReason, Group, RuleId, Vni};

use crate::Datapath;
use crate::abi::{self, DropKey, Event};
use crate::entry::Slot;
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

    /// How full each map is that can fill up. What records put there is counted from what is held; the rest is read.
    pub fn fill(&self) -> Result<Vec<MapFill>, Error> {
        let tables = &self.loaded.tables;
        let held = |of: fn(&Slot) -> bool| self.held.entries.keys().filter(|slot| of(slot)).count() as u64;
        let intervals = u64::from(tables.intervals.capacity() - self.held.slices.unused());
        let used = [
            ("endpoints_by_link", self.attached.len() as u64, tables.endpoints_by_link.capacity()),
            ("networks", held(|slot| matches!(slot, Slot::Network(_))), tables.networks.capacity()),
            ("routes", self.held.routes.len() as u64, tables.routes.capacity()),
            ("nodes", held(|slot| matches!(slot, Slot::Node(_))), tables.nodes.capacity()),
            ("members", held(|slot| matches!(slot, Slot::Member(_))), tables.members.capacity()),
            ("groups", held(|slot| matches!(slot, Slot::Group(_))), tables.groups.capacity()),
            ("rows", held(|slot| matches!(slot, Slot::Row(_))), tables.rows.capacity()),
            ("intervals", intervals, tables.intervals.capacity()),
            (
                "address_classes",
                held(|slot| matches!(slot, Slot::Class(_))),
                tables.address_classes.capacity(),
            ),
            ("flows", tables.flows.count()?, tables.flows.capacity()),
            ("translations", tables.translations.count()?, tables.translations.capacity()),
            ("published", tables.published.count()?, tables.published.capacity()),
            ("named_peers", tables.named_peers.count()?, tables.named_peers.capacity()),
            ("fragments", tables.fragments.count()?, tables.fragments.capacity()),
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
