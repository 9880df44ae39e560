//! One netlink socket: a request, the kernel's answer.
//!
//! The kernel handles a routing request within the call that sends it, so the answer is there when the call returns and
//! nothing is gained by waiting for it asynchronously. A socket belongs to the network namespace that its maker was in,
//! for its life, whichever thread uses it.

use std::io;

use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};
use rtnetlink::packet_core::{
    ErrorMessage, NLM_F_ACK, NLM_F_ACK_TLVS, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkHeader,
    NetlinkMessage, NetlinkPayload, NlasIterator,
};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::sys::protocols::NETLINK_ROUTE;
use rtnetlink::sys::{Socket, SocketAddr};

use super::error::{Error, Fault, Refusal};

/// A socket for routing requests (RFC 3549; `man 7 rtnetlink`).
#[derive(Debug)]
pub(super) struct Netlink {
    socket: Socket,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Netlink {
    /// A socket into the calling thread's network namespace.
    pub(super) fn open() -> Result<Self, Error> {
        let socket = connect().map_err(|source| Error::Socket {
            operation: "open",
            object: "a routing socket".to_owned(),
            source,
        })?;
        Ok(Self { socket, sequence: 0, buffer: Vec::with_capacity(ANSWER) })
    }

    /// Asks for a change; `flags` are the `NLM_F_*` that say which (create, exclusive, replace).
    pub(super) fn change(&mut self, message: RouteNetlinkMessage, flags: u16) -> Result<(), Fault> {
        self.exchange(message, flags | NLM_F_ACK).map(drop)
    }

    /// Asks for one object.
    pub(super) fn read(&mut self, message: RouteNetlinkMessage) -> Result<Vec<RouteNetlinkMessage>, Fault> {
        self.exchange(message, NLM_F_ACK).map(|answer| answer.messages)
    }

    /// Asks for every object that `message` selects. A table that changes while it is read is read again.
    pub(super) fn dump(&mut self, message: &RouteNetlinkMessage) -> Result<Vec<RouteNetlinkMessage>, Fault> {
        for _ in 0..DUMP_ATTEMPTS {
            let answer = self.exchange(message.clone(), NLM_F_DUMP)?;
            if !answer.interrupted {
                return Ok(answer.messages);
            }
        }
        Err(Fault::Refused(Refusal {
            errno: Errno::EINTR,
            said: Some("the table never stood still".to_owned()),
        }))
    }

    fn exchange(&mut self, message: RouteNetlinkMessage, flags: u16) -> Result<Answer, Fault> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.sequence;
        let mut request = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        self.socket.send(&bytes, 0).map_err(Fault::Socket)?;

        let mut answer = Answer::default();
        loop {
            self.buffer.clear();
            match self.socket.recv(&mut self.buffer, 0) {
                // A socket with a time limit is not resumed after a signal.
                Err(source) if source.kind() == io::ErrorKind::Interrupted => continue,
                received => received.map_err(Fault::Socket)?,
            };
            if answer.take(&self.buffer, self.sequence)? {
                return Ok(answer);
            }
        }
    }
}

/// What has arrived of an answer.
#[derive(Default)]
struct Answer {
    messages: Vec<RouteNetlinkMessage>,
    interrupted: bool,
}

impl Answer {
    /// Takes one datagram; true when the answer to `sequence` is whole.
    fn take(&mut self, mut datagram: &[u8], sequence: u32) -> Result<bool, Fault> {
        while !datagram.is_empty() {
            let message =
                NetlinkMessage::<RouteNetlinkMessage>::deserialize(datagram).map_err(Fault::Unreadable)?;
            let length = (message.header.length as usize).next_multiple_of(4).min(datagram.len());
            datagram = &datagram[length..];
            if message.header.sequence_number != sequence {
                continue;
            }
            self.interrupted |= message.header.flags & NLM_F_DUMP_INTR != 0;
            match message.payload {
                NetlinkPayload::InnerMessage(inner) => self.messages.push(inner),
                NetlinkPayload::Error(error) => {
                    return acknowledged(&error, message.header.flags).map(|()| true);
                }
                NetlinkPayload::Done(done) if done.code < 0 => {
                    return Err(Fault::Refused(Refusal { errno: Errno::from_raw(-done.code), said: None }));
                }
                NetlinkPayload::Done(_) => return Ok(true),
                _ => {}
            }
        }
        Ok(false)
    }
}

fn acknowledged(error: &ErrorMessage, flags: u16) -> Result<(), Fault> {
    let Some(code) = error.code else { return Ok(()) };
    let said = if flags & NLM_F_ACK_TLVS == 0 { None } else { sentence(&error.header) };
    Err(Fault::Refused(Refusal { errno: Errno::from_raw(code.get().abs()), said }))
}

/// The sentence of an extended acknowledgement: attributes behind the header of the request, which alone is echoed.
fn sentence(echo: &[u8]) -> Option<String> {
    let attributes = echo.get(REQUEST_HEADER..)?;
    NlasIterator::new(attributes)
        .filter_map(Result::ok)
        .find(|attribute| attribute.kind() == ACK_MESSAGE)
        .map(|attribute| String::from_utf8_lossy(attribute.value()).trim_end_matches('\0').to_owned())
}

fn connect() -> io::Result<Socket> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    socket.set_cap_ack(true)?;
    socket.set_ext_ack(true)?;
    // Without it old kernels ignore the filters of a dump and answer with everything.
    socket.set_netlink_get_strict_chk(true)?;
    // An answer is never late; this bounds the harm of one that is lost.
    setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::seconds(ANSWER_SECONDS))?;
    Ok(socket)
}

/// Bytes that hold any datagram of the kernel's (it cuts dumps at 32 KiB).
const ANSWER: usize = 64 << 10;
const ANSWER_SECONDS: i64 = 10;
const DUMP_ATTEMPTS: usize = 16;
/// Bytes of `struct nlmsghdr`.
const REQUEST_HEADER: usize = 16;
/// `NLMSGERR_ATTR_MSG` of linux/netlink.h.
const ACK_MESSAGE: u16 = 1;
