//! How large a container's packets may be: by the underlay, the family by which nodes are reached, and its network.
//!
//! Promises: pure; what is not known counts as what needs more room.

use std::net::IpAddr;

use record::record::Network;
use record::{NodeId, Record};

/// Whether the overlay's outer header is IPv6's towards any node: each is reached by its first address of a family that this one
/// has too. While a node with both families knows no other, it may turn out to be.
pub(crate) fn crosses_ipv6<'r>(
    own: &[IpAddr],
    this: Option<NodeId>,
    records: impl Iterator<Item = &'r Record>,
) -> bool {
    if !own.iter().any(IpAddr::is_ipv6) || !own.iter().any(IpAddr::is_ipv4) {
        return own.iter().any(IpAddr::is_ipv6);
    }
    let mut others = records
        .filter_map(|record| match record {
            Record::Node(node) if Some(node.id) != this => node.underlay.first(),
            _ => None,
        })
        .peekable();
    others.peek().is_none() || others.any(IpAddr::is_ipv6)
}

/// The MTU of a network's links where the underlay leaves a container `most`.
pub(crate) fn mtu_of(network: &Network, most: u16) -> u16 {
    network.mtu.map_or(most, |mtu| mtu.min(most))
}

/// What is to be said of a network that wants more than there is.
pub(crate) fn too_wide(network: &Network, most: u16) -> Option<String> {
    let wanted = network.mtu.filter(|mtu| *mtu > most)?;
    Some(format!(
        "network {} has an MTU of {wanted}, but the underlay of this node leaves its containers {most}, which their links have; give \
         the underlay's link {} more, or the network {most}",
        network.name,
        wanted - most
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: u32, underlay: &[&str]) -> Record {
        let underlay = underlay.iter().map(|text| text.parse().unwrap()).collect();
        Record::Node(record::record::Node { id: NodeId(id), name: format!("n{id}"), underlay })
    }

    fn crosses(own: &[&str], others: &[&[&str]]) -> bool {
        let own: Vec<IpAddr> = own.iter().map(|text| text.parse().unwrap()).collect();
        let this = node(1, &["2001:db8::1"]);
        let others = others.iter().zip(2..).map(|(underlay, id)| node(id, underlay));
        let records: Vec<Record> = std::iter::once(this).chain(others).collect();
        crosses_ipv6(&own, Some(NodeId(1)), records.iter())
    }

    #[test]
    fn ipv6_costs_room_where_a_node_is_reached_by_it_or_may_be() {
        let (four, six, both, six_first) =
            (["192.0.2.1"], ["2001:db8::1"], ["192.0.2.1", "2001:db8::1"], ["2001:db8::1", "192.0.2.1"]);
        assert!(!crosses(&four, &[]) && !crosses(&four, &[&both, &six_first]));
        assert!(crosses(&six, &[]) && crosses(&six, &[&both]));
        assert!(crosses(&both, &[]), "nobody is known yet");
        assert!(!crosses(&both, &[&four]) && !crosses(&both, &[&four, &both]));
        assert!(crosses(&both, &[&four, &six]) && crosses(&both, &[&four, &six_first]));
    }
}
