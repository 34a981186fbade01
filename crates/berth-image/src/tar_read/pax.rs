//! PAX extended header records: `<length> <key>=<value>\n`, where the length counts the whole record
//! and the value may hold any bytes, newlines included.

use std::io;

use super::bad;

/// What the records before an entry say about it; later records win.
#[derive(Debug, Default)]
pub(super) struct Pax {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    pub(super) mtime: Option<(i64, u32)>,
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) sparse: PaxSparse,
}

/// `GNU.sparse.*`: three generations of one idea.
#[derive(Debug, Default)]
pub(super) struct PaxSparse {
    pub(super) name: Option<Vec<u8>>,
    pub(super) major: Option<u64>,
    pub(super) real_size: Option<u64>,
    /// Offsets and lengths, alternating (versions 0.0 and 0.1; 1.0 has them in the data).
    pub(super) map: Vec<u64>,
}

impl Pax {
    pub(super) fn parse(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() && bytes[0] != 0 {
            let (record, rest) = split_record(bytes)?;
            let equals = record
                .iter()
                .position(|byte| *byte == b'=')
                .ok_or_else(|| bad("a PAX record has no `=`"))?;
            self.set(&record[..equals], &record[equals + 1..])?;
            bytes = rest;
        }
        Ok(())
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        match key {
            b"path" => self.path = text(value)?,
            b"linkpath" => self.link = text(value)?,
            b"size" => self.size = number(value)?,
            b"uid" => self.uid = number(value)?,
            b"gid" => self.gid = number(value)?,
            b"mtime" => self.mtime = time(value)?,
            b"GNU.sparse.name" => self.sparse.name = text(value)?,
            b"GNU.sparse.major" => self.sparse.major = number(value)?,
            b"GNU.sparse.size" | b"GNU.sparse.realsize" => self.sparse.real_size = number(value)?,
            b"GNU.sparse.offset" | b"GNU.sparse.numbytes" => {
                self.sparse.map.extend(number(value)?);
            }
            b"GNU.sparse.map" => {
                for part in value.split(|byte| *byte == b',') {
                    self.sparse.map.extend(number(part)?);
                }
            }
            _ => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    self.xattrs.retain(|(known, _)| known != name);
                    self.xattrs.push((name.to_vec(), value.to_vec()));
                }
            }
        }
        Ok(())
    }
}

fn split_record(bytes: &[u8]) -> io::Result<(&[u8], &[u8])> {
    let malformed = || bad("a PAX record is malformed");
    let space = bytes
        .iter()
        .take(21)
        .position(|byte| *byte == b' ')
        .ok_or_else(malformed)?;
    let length = usize::try_from(number(&bytes[..space])?.ok_or_else(malformed)?)
        .map_err(|_| malformed())?;
    if length <= space + 1 || length > bytes.len() || bytes[length - 1] != b'\n' {
        return Err(malformed());
    }
    Ok((&bytes[space + 1..length - 1], &bytes[length..]))
}

/// An empty value takes an earlier record back.
fn text(value: &[u8]) -> io::Result<Option<Vec<u8>>> {
    if value.contains(&0) {
        return Err(bad("a name holds a NUL byte"));
    }
    Ok((!value.is_empty()).then(|| value.to_vec()))
}

fn number(value: &[u8]) -> io::Result<Option<u64>> {
    if value.is_empty() {
        return Ok(None);
    }
    std::str::from_utf8(value)
        .ok()
        .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|digits| digits.parse().ok())
        .map(Some)
        .ok_or_else(|| bad("a PAX record's number is malformed"))
}

/// `[-]seconds[.fraction]`; digits beyond nanoseconds are dropped.
fn time(value: &[u8]) -> io::Result<Option<(i64, u32)>> {
    let malformed = || bad("a PAX record's time is malformed");
    if value.is_empty() {
        return Ok(None);
    }
    let text = std::str::from_utf8(value).map_err(|_| malformed())?;
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if !whole
        .bytes()
        .chain(fraction.bytes())
        .all(|byte| byte.is_ascii_digit())
    {
        return Err(malformed());
    }
    let seconds: i64 = whole.parse().map_err(|_| malformed())?;
    let nanos = fraction
        .bytes()
        .chain(std::iter::repeat(b'0'))
        .take(9)
        .fold(0, |sum: u32, digit| sum * 10 + u32::from(digit - b'0'));
    Ok(Some(match (negative, nanos) {
        (false, _) => (seconds, nanos),
        (true, 0) => (-seconds, 0),
        (true, _) => (-seconds - 1, 1_000_000_000 - nanos),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_nanoseconds_and_may_be_negative() {
        assert_eq!(time(b"1.5").unwrap(), Some((1, 500_000_000)));
        assert_eq!(time(b"1.1234567899").unwrap(), Some((1, 123_456_789)));
        assert_eq!(time(b"-1").unwrap(), Some((-1, 0)));
        assert_eq!(time(b"-1.25").unwrap(), Some((-2, 750_000_000)));
        assert!(time(b"1.x").is_err());
    }

    #[test]
    fn values_may_hold_newlines_and_records_after_them_count() {
        let mut pax = Pax::default();
        pax.parse(b"33 SCHILY.xattr.security.x=a\nb\0c\n12 size=1234\n".as_slice())
            .unwrap_err();
        let mut bytes = record("SCHILY.xattr.security.x", b"a\nb\0c");
        bytes.extend(record("size", b"1234"));
        pax.parse(&bytes).unwrap();
        assert_eq!(pax.xattrs, [(b"security.x".to_vec(), b"a\nb\0c".to_vec())]);
        assert_eq!(pax.size, Some(1234));
    }

    #[test]
    fn malformed_records_are_errors() {
        for bad in [
            b"5 a=b\n\n".as_slice(),
            b"9999 a=b\n",
            b"0 a=b\n",
            b"x a=b\n",
            b"6 aab\n",
            b"99999999999999999999999 a=b\n",
            b"12 size=-123\n",
            b"11 path=a\0b\n",
        ] {
            assert!(Pax::default().parse(bad).is_err(), "{}", bad.escape_ascii());
        }
    }

    fn record(key: &str, value: &[u8]) -> Vec<u8> {
        crate::tar_write::pax_record(key.as_bytes(), value)
    }
}
