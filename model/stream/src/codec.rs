//! Messages as gRPC carries them: the records' own encoding in place of protobuf, filled up with zeros to [`SHORTEST`].

use std::marker::PhantomData;

use record::record::{decode, encode};
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

/// Sends `S`, receives `R`.
#[derive(Debug)]
pub(crate) struct Cbor<S, R>(PhantomData<fn(S) -> R>);

/// The sending half of [`Cbor`].
#[derive(Debug)]
pub(crate) struct Sending<S>(PhantomData<fn(S)>);

/// The receiving half of [`Cbor`].
#[derive(Debug)]
pub(crate) struct Receiving<R>(PhantomData<fn() -> R>);

impl<S, R> Default for Cbor<S, R> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<S, R> Codec for Cbor<S, R>
where
    S: minicbor::Encode<()> + Send + 'static,
    R: for<'b> minicbor::Decode<'b, ()> + Send + 'static,
{
    type Encode = S;
    type Decode = R;
    type Encoder = Sending<S>;
    type Decoder = Receiving<R>;

    fn encoder(&mut self) -> Sending<S> {
        Sending(PhantomData)
    }

    fn decoder(&mut self) -> Receiving<R> {
        Receiving(PhantomData)
    }
}

impl<S: minicbor::Encode<()>> Encoder for Sending<S> {
    type Item = S;
    type Error = Status;

    fn encode(&mut self, item: S, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        let message = encode(&item);
        bytes::BufMut::put_slice(buffer, &message);
        bytes::BufMut::put_bytes(buffer, 0, SHORTEST.saturating_sub(message.len()));
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        buffer()
    }
}

impl<R: for<'b> minicbor::Decode<'b, ()>> Decoder for Receiving<R> {
    type Item = R;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<R>, Status> {
        let length = bytes::Buf::remaining(buffer);
        let message = bytes::Buf::copy_to_bytes(buffer, length);
        decode(&message).map(Some).map_err(|error| {
            let mut status = Status::invalid_argument(format!("a message of {length} bytes: {error}"));
            status.set_source(std::sync::Arc::new(error));
            status
        })
    }

    fn buffer_settings(&self) -> BufferSettings {
        buffer()
    }
}

/// The shortest message in bytes. h2 (0.4.16 and later) closes a connection with `too_many_data_frames` when frames of less than
/// 256 bytes pile up before a reader that is slow; longer ones are bounded by the window alone, which makes the sender wait
/// instead. What decodes ends where CBOR says, so the fill is not seen.
const SHORTEST: usize = 256;

/// Small messages that are ready together leave in one frame.
fn buffer() -> BufferSettings {
    BufferSettings::new(16 << 10, 64 << 10)
}
