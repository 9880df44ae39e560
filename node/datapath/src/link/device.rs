//! Links as the kernel has them: read, made, changed, removed.

use nix::errno::Errno;
use record::Mac;
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{
    InfoData, InfoKind, InfoVxlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};

use super::error::{Error, Fault};
use super::mark;
use super::netlink::Netlink;

/// What is read of a link.
#[derive(Clone, Debug, Default)]
pub(super) struct Device {
    pub(super) index: u32,
    pub(super) name: String,
    pub(super) kind: Option<InfoKind>,
    pub(super) alias: Option<String>,
    pub(super) group: u32,
    pub(super) mac: Option<Mac>,
    /// Bytes of a layer 3 packet.
    pub(super) mtu: u32,
    pub(super) up: bool,
    /// The index of a veth's other end, in the namespace where that is.
    pub(super) other_end: Option<u32>,
    /// The attributes of a VXLAN device.
    pub(super) vxlan: Vec<InfoVxlan>,
}

impl Device {
    /// Whether Sealane made it.
    pub(super) fn is_ours(&self) -> bool {
        match &self.alias {
            Some(alias) => alias.split(':').next() == Some(mark::ALIAS),
            None => self.group == mark::GROUP,
        }
    }
}

impl From<LinkMessage> for Device {
    fn from(message: LinkMessage) -> Self {
        let mut device = Self {
            index: message.header.index,
            up: message.header.flags.contains(LinkFlags::Up),
            ..Self::default()
        };
        for attribute in message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => device.name = name,
                LinkAttribute::IfAlias(alias) => device.alias = Some(alias),
                LinkAttribute::Group(group) => device.group = group,
                LinkAttribute::Address(octets) => device.mac = octets.try_into().ok().map(Mac),
                LinkAttribute::Mtu(mtu) => device.mtu = mtu,
                LinkAttribute::Link(index) => device.other_end = Some(index),
                LinkAttribute::LinkInfo(parts) => device.describe(parts),
                _ => {}
            }
        }
        device
    }
}

impl Device {
    fn describe(&mut self, parts: Vec<LinkInfo>) {
        for part in parts {
            match part {
                LinkInfo::Kind(kind) => self.kind = Some(kind),
                LinkInfo::Data(InfoData::Vxlan(attributes)) => self.vxlan = attributes,
                _ => {}
            }
        }
    }
}

impl Netlink {
    /// The link of that name, if there is one.
    pub(super) fn device_named(&mut self, name: &str) -> Result<Option<Device>, Error> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        self.device(message, name)
    }

    /// The link of that index, if there is one.
    pub(super) fn device_at(&mut self, index: u32) -> Result<Option<Device>, Error> {
        self.device(addressed(index), &format!("number {index}"))
    }

    fn device(&mut self, message: LinkMessage, what: &str) -> Result<Option<Device>, Error> {
        match self.read(RouteNetlinkMessage::GetLink(message)) {
            Ok(answer) => Ok(answer.into_iter().find_map(link)),
            Err(fault) if fault.errno() == Some(Errno::ENODEV) => Ok(None),
            Err(fault) => Err(fault.on("read link", what)),
        }
    }

    /// Every link of the kind, as the kernel sorts them out.
    pub(super) fn devices(&mut self, kind: InfoKind) -> Result<Vec<Device>, Error> {
        let mut message = LinkMessage::default();
        let what = format!("of kind {kind}");
        message.attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(kind)]));
        let answer = self.dump(&RouteNetlinkMessage::GetLink(message));
        Ok(answer.map_err(|fault| fault.on("list links", what))?.into_iter().filter_map(link).collect())
    }

    /// Makes a link; refused if its name is in use.
    pub(super) fn create_device(&mut self, message: LinkMessage) -> Result<(), Fault> {
        self.change(RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Changes attributes of a link.
    pub(super) fn set_device(&mut self, device: &Device, attribute: LinkAttribute) -> Result<(), Error> {
        let mut message = addressed(device.index);
        message.attributes.push(attribute);
        self.change(RouteNetlinkMessage::SetLink(message), 0)
            .map_err(|fault| fault.on("change link", &device.name))
    }

    /// Takes a link up.
    pub(super) fn up(&mut self, index: u32) -> Result<(), Fault> {
        let mut message = addressed(index);
        message.header.flags = LinkFlags::Up;
        message.header.change_mask = LinkFlags::Up;
        self.change(RouteNetlinkMessage::SetLink(message), 0)
    }

    /// Removes a link; false if it is gone already.
    pub(super) fn delete_device(&mut self, device: &Device) -> Result<bool, Error> {
        match self.change(RouteNetlinkMessage::DelLink(addressed(device.index)), 0) {
            Ok(()) => Ok(true),
            Err(fault) if fault.errno() == Some(Errno::ENODEV) => Ok(false),
            Err(fault) => Err(fault.on("remove link", &device.name)),
        }
    }
}

/// The error of making `object`: a kind that the kernel cannot make is told apart.
pub(super) fn creation(fault: Fault, object: &str, kind: &'static str, option: &'static str) -> Error {
    match fault {
        Fault::Refused(refusal) if refusal.errno == Errno::EOPNOTSUPP => {
            Error::NoDriver { object: object.to_owned(), kind, option, refusal }
        }
        fault => fault.on("create link", object),
    }
}

fn addressed(index: u32) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message
}

fn link(message: RouteNetlinkMessage) -> Option<Device> {
    match message {
        RouteNetlinkMessage::NewLink(message) => Some(message.into()),
        _ => None,
    }
}
