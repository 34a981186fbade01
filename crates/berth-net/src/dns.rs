//! The resolver of a container: what port 53 of every address answers.
//!
//! With the internet on, queries go to the host's resolvers as they came, and names of the host's
//! `/etc/hosts` are answered. With it off, allowed names answer [`FAKE4`] and [`FAKE6`], which no
//! one routes: connections to them are told apart by the name in their first bytes. Allowed names
//! that do not exist are answered likewise with the internet on (as workerd's sidecar does).

mod forward;
mod host;
mod names;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA};
use hickory_proto::rr::{RData, Record, RecordType};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

pub(crate) use names::Names;

use crate::network::Shared;

/// Address of allowed names that have none.
pub(crate) const FAKE4: Ipv4Addr = Ipv4Addr::new(11, 0, 0, 1);
/// The same for IPv6.
pub(crate) const FAKE6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);

/// Seconds for which our own answers hold.
const TTL: u32 = 60;
/// How long a connection to the resolver may be idle.
const IDLE: Duration = Duration::from_secs(30);

/// How a query came, which is how long its answer may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Udp,
    Tcp,
}

/// The answer to a query; `None` for what is no query and deserves no answer.
pub(crate) async fn answer(bytes: &[u8], transport: Transport, shared: &Shared) -> Option<Vec<u8>> {
    let query = match parse(bytes) {
        Parsed::Query(query) => query,
        Parsed::Refused(code) => return refusal(bytes, code),
        Parsed::Ignored => return None,
    };
    let policy = shared.policy();
    let question = query.queries().first()?;
    let name = names::normal(&question.name().to_ascii());
    if let Some(addresses) = names::localhost(&name) {
        return reply(&query, question, ResponseCode::NoError, &addresses);
    }
    let allowed = policy.names.matches(&name);
    if !policy.egress.internet {
        return if allowed {
            fake(&query, question)
        } else {
            reply(&query, question, ResponseCode::NXDomain, &[])
        };
    }
    if let Some(addresses) = host::addresses_of(&name) {
        return reply(&query, question, ResponseCode::NoError, &addresses);
    }
    if question.query_type() == RecordType::AAAA && !host::has_inet6() {
        // Connecting would succeed inside the container and fail outside: better not to begin.
        return reply(&query, question, ResponseCode::NoError, &[]);
    }
    let servers = match &shared.options.resolvers {
        Some(servers) => Arc::new(servers.clone()),
        None => host::resolvers(),
    };
    match forward::forward(bytes, transport, &servers).await {
        Some(answer) if allowed && forward::code(&answer) == NX_DOMAIN => fake(&query, question),
        Some(answer) => Some(answer),
        None => reply(&query, question, ResponseCode::ServFail, &[]),
    }
}

/// Response code "no such name" in a message's header.
const NX_DOMAIN: u8 = 3;

/// Serves one connection to port 53.
pub(crate) async fn serve_stream(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    shared: &Shared,
) -> std::io::Result<()> {
    loop {
        let length = match tokio::time::timeout(IDLE, stream.read_u16()).await {
            Ok(Ok(length)) => length,
            // The client has finished, or forgotten us.
            Ok(Err(_)) | Err(_) => return Ok(()),
        };
        let mut query = vec![0; usize::from(length)];
        tokio::time::timeout(IDLE, stream.read_exact(&mut query)).await??;
        let Some(answer) = answer(&query, Transport::Tcp, shared).await else {
            return Ok(());
        };
        let length = u16::try_from(answer.len()).map_err(std::io::Error::other)?;
        let mut framed = length.to_be_bytes().to_vec();
        framed.extend(answer);
        stream.write_all(&framed).await?;
    }
}

enum Parsed {
    Query(Message),
    /// A request that cannot be served, with the code that says so.
    Refused(ResponseCode),
    /// No request at all.
    Ignored,
}

/// Length of a message's header, and the bit in its third byte that marks an answer.
const HEADER: usize = 12;
const ANSWER: u8 = 0x80;

fn parse(bytes: &[u8]) -> Parsed {
    if bytes.len() < HEADER || bytes[2] & ANSWER != 0 {
        return Parsed::Ignored;
    }
    match Message::from_vec(bytes) {
        Err(_) => Parsed::Refused(ResponseCode::FormErr),
        Ok(query) if query.op_code() != OpCode::Query => Parsed::Refused(ResponseCode::NotImp),
        Ok(query) if query.queries().len() != 1 => Parsed::Refused(ResponseCode::FormErr),
        Ok(query) => Parsed::Query(query),
    }
}

/// A header that refuses the request `bytes`, of which only the header is looked at.
fn refusal(bytes: &[u8], code: ResponseCode) -> Option<Vec<u8>> {
    let id = u16::from_be_bytes([*bytes.first()?, *bytes.get(1)?]);
    let mut message = Message::new();
    message
        .set_id(id)
        .set_message_type(MessageType::Response)
        .set_recursion_available(true)
        .set_response_code(code);
    message.to_vec().ok()
}

/// The addresses that stand for an allowed name.
fn fake(query: &Message, question: &Query) -> Option<Vec<u8>> {
    let addresses = [IpAddr::V4(FAKE4), IpAddr::V6(FAKE6)];
    reply(query, question, ResponseCode::NoError, &addresses)
}

/// An answer of our own, with those of `addresses` that are of the type asked for.
fn reply(
    query: &Message,
    question: &Query,
    code: ResponseCode,
    addresses: &[IpAddr],
) -> Option<Vec<u8>> {
    let mut message = Message::new();
    message
        .set_id(query.id())
        .set_message_type(MessageType::Response)
        .set_recursion_desired(query.recursion_desired())
        .set_recursion_available(true)
        .set_authoritative(code != ResponseCode::ServFail)
        .set_response_code(code)
        .add_query(question.clone());
    for address in addresses {
        let data = match (question.query_type(), address) {
            (RecordType::A, IpAddr::V4(v4)) => RData::A(A(*v4)),
            (RecordType::AAAA, IpAddr::V6(v6)) => RData::AAAA(AAAA(*v6)),
            _ => continue,
        };
        message.add_answer(Record::from_rdata(question.name().clone(), TTL, data));
    }
    message.to_vec().ok()
}
