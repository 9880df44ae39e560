//! The flow table: listing, and forgetting what is idle.

use record::inspect::{Flow as FlowRow, FlowFilter, Traffic};
use record::{Direction, RuleId, Vni};

use crate::Datapath;
use crate::abi::{
    Address, EXIT_LEG, EXIT_NONE, FLOW_STATES, FORGET_AT_ONCE, Flow, FlowEnd, FlowKey, ForgetRequest,
    SIDE_EGRESS, SIDE_INGRESS,
};
use crate::error::Error;
use crate::table;

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Flows that are left.
    pub live: u64,
    /// Flows forgotten.
    pub forgotten: u64,
}

impl Datapath {
    /// The live flows that match, told from their initiators' side, in no order.
    pub fn flows(&self, filter: &FlowFilter) -> Result<Vec<FlowRow>, Error> {
        let now = now()?;
        let limit = if filter.limit == 0 { ANSWER_FLOWS } else { filter.limit as usize };
        let found = self.loaded.tables.flows.entries()?;
        let matching =
            found.iter().filter(|(key, flow)| matches(filter, key, flow) && !self.is_expired(flow, now));
        Ok(matching.filter_map(|(key, flow)| describe(key, flow, now)).take(limit).collect())
    }

    /// Forgets flows idle for longer than their state allows. Run it every few seconds: expired flows no longer pass packets,
    /// but count towards their tenant's quota until then.
    pub fn sweep(&mut self) -> Result<Swept, Error> {
        let now = now()?;
        let found = self.loaded.tables.flows.entries()?;
        let expired: Vec<FlowKey> =
            found.iter().filter(|(_, flow)| self.is_expired(flow, now)).map(|(key, _)| *key).collect();
        let forgotten = self.forget(&expired, false)?;
        Ok(Swept { live: (found.len() as u64).saturating_sub(forgotten), forgotten })
    }

    /// Forgets every flow with an end at one of these addresses of the network.
    pub(crate) fn forget_flows(&self, vni: u32, addresses: &[Address]) -> Result<(), Error> {
        let is_there =
            |end: &FlowEnd| end.vni == vni && end.address.is_set() && addresses.contains(&end.address);
        let found = self.loaded.tables.flows.entries()?;
        let theirs: Vec<FlowKey> = found
            .iter()
            .map(|(key, _)| *key)
            .filter(|key| is_there(&key.low) || is_there(&key.high))
            .collect();
        self.forget(&theirs, true).map(drop)
    }

    /// By the program `forget`, which accounts each flow once and spares one that a packet has just renewed.
    fn forget(&self, keys: &[FlowKey], always: bool) -> Result<u64, Error> {
        let mut forgotten = 0;
        for some in keys.chunks(FORGET_AT_ONCE) {
            let requests = some.iter().map(|key| ForgetRequest { key: *key, always: always.into() });
            let data: Vec<u8> = requests.flat_map(|request| table::bytes(&request).to_vec()).collect();
            forgotten += u64::from(self.loaded.run("forget", &data)?.0);
        }
        Ok(forgotten)
    }

    fn is_expired(&self, flow: &Flow, now: u64) -> bool {
        let timeouts = self.config.timeouts.seconds();
        let seconds = timeouts.get(usize::from(flow.state)).copied().unwrap_or(0);
        now > flow.seen.saturating_add(u64::from(seconds) * SECOND)
    }
}

fn matches(filter: &FlowFilter, key: &FlowKey, flow: &Flow) -> bool {
    let vni = filter.vni.map(Vni::value);
    let address = filter.address.map(Address::of);
    let ends = [&key.low, &key.high];
    filter.tenant.is_none_or(|tenant| tenant.0 == flow.tenant)
        && vni.is_none_or(|vni| ends.iter().any(|end| end.vni == vni))
        && address.is_none_or(|address| ends.iter().any(|end| end.address == address))
}

fn describe(key: &FlowKey, flow: &Flow, now: u64) -> Option<FlowRow> {
    let (source, destination) =
        if flow.initiator_low != 0 { (key.low, key.high) } else { (key.high, key.low) };
    let traffic =
        |direction: usize| Traffic { packets: flow.packets[direction], bytes: flow.bytes[direction] };
    // An end outside the fabric has no network.
    let vni = Vni::new(source.vni).or_else(|| Vni::new(destination.vni))?;
    Some(FlowRow {
        vni,
        protocol: key.protocol as u8,
        source: source.address.ip(),
        source_port: u16::from_be_bytes(source.port),
        destination: destination.address.ip(),
        destination_port: u16::from_be_bytes(destination.port),
        sent: traffic(0),
        received: traffic(1),
        age_ms: now.saturating_sub(flow.created) / MILLISECOND,
        idle_ms: now.saturating_sub(flow.seen) / MILLISECOND,
        state: STATES.get(usize::from(flow.state)).copied().unwrap_or("unknown").to_owned(),
        rule: RuleId(flow.rule),
        translation: translation(flow),
        judged: Some(judged(flow)),
    })
}

fn judged(flow: &Flow) -> Vec<Direction> {
    let sides = [(SIDE_EGRESS, Direction::Egress), (SIDE_INGRESS, Direction::Ingress)];
    sides.into_iter().filter(|(side, _)| flow.sides & side != 0).map(|(_, direction)| direction).collect()
}

fn translation(flow: &Flow) -> String {
    let outside = &flow.outside;
    let end =
        |address: Address, port: [u8; 2]| std::net::SocketAddr::new(address.ip(), u16::from_be_bytes(port));
    let way = match flow.exit {
        EXIT_NONE => return String::new(),
        EXIT_LEG => "the host knows it as",
        _ => "outside it is",
    };
    format!("{way} {} with {}", end(outside.ours, outside.our_port), end(outside.theirs, outside.their_port))
}

/// The programs' clock in nanoseconds.
pub(crate) fn now() -> Result<u64, Error> {
    let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC)
        .map_err(|errno| Error::hook("read", "the monotonic clock", -(errno as i32)))?;
    Ok(time.tv_sec() as u64 * SECOND + time.tv_nsec() as u64)
}

pub(crate) const SECOND: u64 = 1_000_000_000;
pub(crate) const MILLISECOND: u64 = 1_000_000;
/// What [`FlowFilter::limit`] 0 stands for.
const ANSWER_FLOWS: usize = 65_536;
/// In the order of `enum flow_state`.
const STATES: [&str; FLOW_STATES] =
    ["new", "established", "closing", "closed", "new", "established", "established", "established"];
