//! Word of container links that vanish, and of one other link that changes, as it happens.
//!
//! Promises: what vanishes after the watch was opened is told, or [`Event::Overrun`] is, after which the one remedy is to
//! look at the inventory. So: open the watch, then list, then listen.

use std::collections::VecDeque;
use std::fmt;
use std::io;

use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt};
use rtnetlink::MulticastGroup;
use rtnetlink::packet_core::{NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::sys::protocols::NETLINK_ROUTE;
use rtnetlink::sys::{AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket};

use super::device::Device;
use super::error::Error;
use super::mark::LinkId;

/// What a watch tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A container link's host end is gone: it was removed, or its container's namespace was, or it was moved away.
    Removed {
        /// Whose it was.
        id: LinkId,
        /// The index it had. The kernel does not use an index again soon.
        index: u32,
    },
    /// The link that was asked for by [`Watch::follow`] has changed: its MTU, its state or anything else.
    Changed,
    /// More happened than was listened to, and some of it is lost: look at the inventory.
    Overrun,
}

/// Listens for container links that vanish.
pub struct Watch {
    socket: TokioSocket,
    buffer: Vec<u8>,
    heard: VecDeque<Event>,
    followed: Option<u32>,
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("heard", &self.heard).finish_non_exhaustive()
    }
}

impl Watch {
    /// Listens from now on, in the calling thread's namespace. Panics outside of a tokio runtime.
    ///
    /// Errors: [`Error::Socket`].
    pub fn open() -> Result<Self, Error> {
        let socket = listen().map_err(|source| fault("open", source))?;
        Ok(Self { socket, buffer: Vec::with_capacity(DATAGRAM), heard: VecDeque::new(), followed: None })
    }

    /// Tells from now on of changes of the link with this index too.
    pub fn follow(&mut self, index: u32) {
        self.followed = Some(index);
    }

    /// The next event. Dropping the future loses nothing.
    ///
    /// Errors: [`Error::Socket`]; the watch is of no more use then.
    pub async fn next(&mut self) -> Result<Event, Error> {
        loop {
            if let Some(event) = self.heard.pop_front() {
                return Ok(event);
            }
            self.buffer.clear();
            match self.socket.recv(&mut self.buffer).await {
                Ok(()) => hear(&self.buffer, self.followed, &mut self.heard),
                Err(source) if source.raw_os_error() == Some(Errno::ENOBUFS as i32) => {
                    return Ok(Event::Overrun);
                }
                Err(source) if source.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(fault("listen to", source)),
            }
        }
    }
}

fn listen() -> io::Result<TokioSocket> {
    let mut asynchronous = <TokioSocket as AsyncSocket>::new(NETLINK_ROUTE)?;
    let socket = asynchronous.socket_mut();
    // A host that stops takes a thousand links at once. Without CAP_NET_ADMIN the kernel's limit applies.
    setsockopt(socket, sockopt::RcvBufForce, &RECEIVE_BUFFER)
        .or_else(|_| setsockopt(socket, sockopt::RcvBuf, &RECEIVE_BUFFER))?;
    socket.bind(&SocketAddr::new(0, 1 << (MulticastGroup::Link as u32 - 1)))?;
    Ok(asynchronous)
}

/// Takes one datagram. What cannot be read may have been a removal of ours.
fn hear(mut datagram: &[u8], followed: Option<u32>, heard: &mut VecDeque<Event>) {
    while let Some(header) = datagram.get(..HEADER) {
        let (length, kind) = header.split_at(4);
        let length = u32::from_ne_bytes(length.try_into().expect("four bytes")) as usize;
        let kind = u16::from_ne_bytes([kind[0], kind[1]]);
        let Some(message) = datagram.get(..length).filter(|message| message.len() >= HEADER) else {
            heard.push_back(Event::Overrun);
            return;
        };
        if kind == REMOVAL {
            match NetlinkMessage::deserialize(message) {
                Ok(message) => heard.extend(removal(message)),
                Err(_) => heard.push_back(Event::Overrun),
            }
        }
        if kind == CHANGE && followed.is_some() && index_of(message) == followed {
            heard.push_back(Event::Changed);
        }
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
}

/// Of `struct ifinfomsg`, behind the header: family, padding and type are four bytes, then comes the index.
fn index_of(message: &[u8]) -> Option<u32> {
    let index = message.get(HEADER + 4..HEADER + 8)?;
    Some(u32::from_ne_bytes(index.try_into().expect("four bytes")))
}

fn removal(message: NetlinkMessage<RouteNetlinkMessage>) -> Option<Event> {
    let NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelLink(message)) = message.payload else {
        return None;
    };
    // A bridge tells by the same message that a port has left it.
    if message.header.interface_family != AddressFamily::Unspec {
        return None;
    }
    let device = Device::from(message);
    if !device.is_ours() {
        return None;
    }
    let id = LinkId::recognise(&device.name, device.alias.as_deref())?;
    Some(Event::Removed { id, index: device.index })
}

fn fault(operation: &'static str, source: io::Error) -> Error {
    Error::Socket { operation, object: "the watch over links".to_owned(), source }
}

const DATAGRAM: usize = 64 << 10;
const RECEIVE_BUFFER: usize = 4 << 20;
/// Bytes of `struct nlmsghdr`.
const HEADER: usize = 16;
/// `RTM_DELLINK` of linux/rtnetlink.h.
const REMOVAL: u16 = 17;
/// `RTM_NEWLINK`.
const CHANGE: u16 = 16;
