//! The wire format: `length:u32le id:u32le value`, where the lowest bit of `id` marks a reply.

use super::session::SessionError;

/// A JSON-like value with bytes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    /// Nothing.
    Null,
    /// A truth value.
    Bool(bool),
    /// An integer; esbuild's are 32 bits wide.
    Int(u32),
    /// Text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A list.
    List(Vec<Value>),
    /// Named values, in order.
    Map(Vec<(String, Value)>),
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<u32> for Value {
    fn from(value: u32) -> Self {
        Self::Int(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

impl<T: Into<Self>> From<Vec<T>> for Value {
    fn from(values: Vec<T>) -> Self {
        Self::List(values.into_iter().map(Into::into).collect())
    }
}

/// A map from pairs.
pub(crate) fn map<const N: usize>(entries: [(&str, Value); N]) -> Value {
    let entries = entries.map(|(key, value)| (key.to_owned(), value));
    Value::Map(entries.into())
}

/// A message (an error or a warning) without a place.
pub(crate) fn message(text: String) -> Value {
    map([
        ("id", "".into()),
        ("pluginName", "".into()),
        ("text", text.into()),
        ("location", Value::Null),
        ("notes", Value::List(Vec::new())),
        ("detail", u32::MAX.into()),
    ])
}

impl Value {
    /// The member of a map; `Null` when there is none.
    pub(crate) fn get(&self, key: &str) -> &Self {
        match self {
            Self::Map(entries) => entries
                .iter()
                .find(|(name, _)| name == key)
                .map_or(&Self::Null, |(_, value)| value),
            _ => &Self::Null,
        }
    }

    /// Text; empty for anything else.
    pub(crate) fn text(&self) -> &str {
        match self {
            Self::Text(text) => text,
            _ => "",
        }
    }

    /// The elements of a list; none for anything else.
    pub(crate) fn list(&self) -> &[Self] {
        match self {
            Self::List(values) => values,
            _ => &[],
        }
    }

    /// An integer, if it is one.
    pub(crate) fn int(&self) -> Option<u32> {
        match self {
            Self::Int(value) => Some(*value),
            _ => None,
        }
    }

    /// `true` only for the truth value `true`.
    pub(crate) fn is_true(&self) -> bool {
        matches!(self, Self::Bool(true))
    }

    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Null => out.push(0),
            Self::Bool(value) => out.extend([1, u8::from(*value)]),
            Self::Int(value) => {
                out.push(2);
                out.extend(value.to_le_bytes());
            }
            Self::Text(text) => {
                out.push(3);
                encode_bytes(text.as_bytes(), out);
            }
            Self::Bytes(bytes) => {
                out.push(4);
                encode_bytes(bytes, out);
            }
            Self::List(values) => {
                out.push(5);
                encode_len(values.len(), out);
                values.iter().for_each(|value| value.encode(out));
            }
            Self::Map(entries) => {
                out.push(6);
                encode_len(entries.len(), out);
                for (key, value) in entries {
                    encode_bytes(key.as_bytes(), out);
                    value.encode(out);
                }
            }
        }
    }
}

fn encode_len(len: usize, out: &mut Vec<u8>) {
    // Nothing that is sent comes near 4 GiB: options and replies are small.
    out.extend(u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes());
}

fn encode_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    encode_len(bytes.len(), out);
    out.extend(bytes);
}

/// One packet.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Packet {
    /// Pairs a reply with its request; each side counts its own.
    pub(crate) id: u32,
    /// A reply, not a request.
    pub(crate) reply: bool,
    /// The content.
    pub(crate) value: Value,
}

impl Packet {
    /// The packet with its length in front.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![0; 4];
        out.extend((self.id << 1 | u32::from(self.reply)).to_le_bytes());
        self.value.encode(&mut out);
        let len = u32::try_from(out.len() - 4).unwrap_or(u32::MAX);
        out[..4].copy_from_slice(&len.to_le_bytes());
        out
    }

    /// A packet from what follows its length.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, SessionError> {
        let mut reader = Reader(bytes);
        let id = reader.u32()?;
        let value = reader.value()?;
        if !reader.0.is_empty() {
            return Err(SessionError::Protocol("bytes after a packet"));
        }
        Ok(Self {
            id: id >> 1,
            reply: id & 1 == 1,
            value,
        })
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], SessionError> {
        let (head, tail) = self
            .0
            .split_at_checked(len)
            .ok_or(SessionError::Protocol("a truncated packet"))?;
        self.0 = tail;
        Ok(head)
    }

    fn u8(&mut self) -> Result<u8, SessionError> {
        Ok(self.take(1)?[0])
    }

    fn u32(&mut self) -> Result<u32, SessionError> {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(self.take(4)?);
        Ok(u32::from_le_bytes(bytes))
    }

    fn bytes(&mut self) -> Result<&'a [u8], SessionError> {
        let len = self.u32()? as usize;
        self.take(len)
    }

    fn text(&mut self) -> Result<String, SessionError> {
        Ok(String::from_utf8_lossy(self.bytes()?).into_owned())
    }

    fn value(&mut self) -> Result<Value, SessionError> {
        Ok(match self.u8()? {
            0 => Value::Null,
            1 => Value::Bool(self.u8()? != 0),
            2 => Value::Int(self.u32()?),
            3 => Value::Text(self.text()?),
            4 => Value::Bytes(self.bytes()?.to_vec()),
            5 => {
                let count = self.u32()?;
                Value::List((0..count).map(|_| self.value()).collect::<Result<_, _>>()?)
            }
            6 => {
                let count = self.u32()?;
                let entry = |_| Ok((self.text()?, self.value()?));
                Value::Map((0..count).map(entry).collect::<Result<_, SessionError>>()?)
            }
            _ => return Err(SessionError::Protocol("an unknown kind of value")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_value_survives_the_wire() {
        let packet = Packet {
            id: 77,
            reply: true,
            value: map([
                ("null", Value::Null),
                ("bool", true.into()),
                ("int", 0xffff_ffff.into()),
                ("text", "grüße".into()),
                ("bytes", Value::Bytes(vec![0, 255])),
                ("list", vec!["a", "b"].into()),
                ("map", map([])),
            ]),
        };
        let bytes = packet.encode();
        assert_eq!(
            bytes[..4],
            u32::try_from(bytes.len() - 4).unwrap().to_le_bytes()
        );
        assert_eq!(Packet::decode(&bytes[4..]).unwrap(), packet);
    }

    #[test]
    fn truncated_and_overlong_packets_are_errors() {
        let bytes = Packet {
            id: 1,
            reply: false,
            value: vec!["abc"].into(),
        }
        .encode();
        for end in 4..bytes.len() {
            assert!(Packet::decode(&bytes[4..end]).is_err(), "{end}");
        }
        let longer = [&bytes[4..], &[0]].concat();
        assert!(Packet::decode(&longer).is_err());
    }
}
