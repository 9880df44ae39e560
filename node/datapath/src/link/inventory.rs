//! Which links of containers are there.

use rtnetlink::packet_route::link::InfoKind;

use super::Links;
use super::device::Device;
use super::error::Error;
use super::mark::LinkId;

/// A container link, as found in the kernel.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owned {
    /// Whose it is.
    pub id: LinkId,
    /// The host end's index.
    pub index: u32,
    /// The host end's name.
    pub name: String,
    /// Whether the host end is up; if not, its making was cut short.
    pub up: bool,
}

impl Links {
    /// Every container link of ours, in the order of their numbers; also those that were half made when a process died.
    ///
    /// Errors: the kernel's refusals.
    pub fn inventory(&mut self) -> Result<Vec<Owned>, Error> {
        let devices = self.netlink.devices(InfoKind::Veth)?;
        let mut owned: Vec<Owned> = devices.into_iter().filter_map(owned).collect();
        owned.sort_unstable();
        Ok(owned)
    }

    /// Removes everything of ours: the links of containers, then the host's own. Names what was removed.
    ///
    /// Errors: the kernel's refusals; what was removed before stays removed.
    pub fn purge(&mut self) -> Result<Vec<String>, Error> {
        let mut removed = Vec::new();
        for link in self.inventory()? {
            if self.detach(link.id)? {
                removed.push(link.name);
            }
        }
        removed.extend(self.purge_host()?);
        Ok(removed)
    }
}

fn owned(device: Device) -> Option<Owned> {
    if !device.is_ours() {
        return None;
    }
    let id = LinkId::recognise(&device.name, device.alias.as_deref())?;
    Some(Owned { id, index: device.index, name: device.name, up: device.up })
}
