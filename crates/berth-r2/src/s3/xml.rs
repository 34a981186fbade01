//! XML, out and in.

use axum::body::Body as HttpBody;
use axum::response::Response;
use http::{HeaderValue, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use quick_xml::events::Event;

use super::error::S3Error;

/// What S3 leaves as it is in a name.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~')
    .remove(b'/');

/// The namespace of answers.
pub(super) const NAMESPACE: &str = "http://s3.amazonaws.com/doc/2006-03-01/";

/// A document that is written.
pub(super) struct Xml {
    text: String,
    open: Vec<&'static str>,
}

impl Xml {
    pub(super) fn new(root: &'static str, namespace: Option<&str>) -> Self {
        let mut text = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n".to_owned();
        match namespace {
            Some(namespace) => text.push_str(&format!("<{root} xmlns=\"{namespace}\">")),
            None => text.push_str(&format!("<{root}>")),
        }
        Self {
            text,
            open: vec![root],
        }
    }

    /// An element with text.
    pub(super) fn text(&mut self, name: &str, value: impl std::fmt::Display) -> &mut Self {
        self.text.push_str(&format!("<{name}>"));
        escape(&value.to_string(), &mut self.text);
        self.text.push_str(&format!("</{name}>"));
        self
    }

    /// Text of the root itself.
    pub(super) fn value(&mut self, value: &str) {
        escape(value, &mut self.text);
    }

    /// An element with others in it. The name may have attributes behind it.
    pub(super) fn within(
        &mut self,
        name: &'static str,
        inside: impl FnOnce(&mut Self),
    ) -> &mut Self {
        self.text.push_str(&format!("<{name}>"));
        inside(self);
        let name = name.split(' ').next().unwrap_or(name);
        self.text.push_str(&format!("</{name}>"));
        self
    }

    pub(super) fn finish(mut self) -> String {
        while let Some(name) = self.open.pop() {
            self.text.push_str(&format!("</{name}>"));
        }
        self.text
    }

    pub(super) fn response(self) -> Response {
        let mut response = Response::new(HttpBody::from(self.finish()));
        let kind = HeaderValue::from_static("application/xml");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        response
    }
}

/// What XML cannot say is replaced: clients that have such keys ask for them encoded.
fn escape(value: &str, text: &mut String) {
    for char in value.chars() {
        match char {
            '&' => text.push_str("&amp;"),
            '<' => text.push_str("&lt;"),
            '>' => text.push_str("&gt;"),
            '"' => text.push_str("&quot;"),
            '\r' => text.push_str("&#13;"),
            '\t' | '\n' => text.push(char),
            char if char < ' ' || matches!(char, '\u{fffe}' | '\u{ffff}') => text.push('\u{fffd}'),
            char => text.push(char),
        }
    }
}

/// A key as a client that asked for `encoding-type=url` reads it.
pub(super) fn encoded(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

/// The elements of a document that have only text, each with its path from below the root.
///
/// # Errors
/// It is no XML.
pub(super) fn leaves(document: &[u8]) -> Result<Vec<(String, String)>, S3Error> {
    let malformed = || {
        S3Error::bad(
            "MalformedXML",
            "The XML you provided was not well-formed or did not validate against our published schema.",
        )
    };
    let document = std::str::from_utf8(document).map_err(|_| malformed())?;
    let mut reader = quick_xml::Reader::from_str(document);
    let mut leaves = Vec::new();
    let mut path: Vec<String> = Vec::new();
    let mut text: Option<String> = None;
    loop {
        match reader.read_event().map_err(|_| malformed())? {
            Event::Start(start) => {
                let name = String::from_utf8_lossy(start.local_name().as_ref()).into_owned();
                path.push(name);
                text = Some(String::new());
            }
            Event::Empty(empty) => {
                let name = String::from_utf8_lossy(empty.local_name().as_ref()).into_owned();
                path.push(name);
                leaves.push((path.get(1..).unwrap_or_default().join("/"), String::new()));
                path.pop();
            }
            Event::Text(piece) => {
                let piece = piece.decode().map_err(|_| malformed())?;
                if let Some(text) = &mut text {
                    text.push_str(&piece);
                }
            }
            Event::CData(piece) => {
                let piece = piece.decode().map_err(|_| malformed())?;
                if let Some(text) = &mut text {
                    text.push_str(&piece);
                }
            }
            Event::GeneralRef(reference) => {
                let char = match reference.resolve_char_ref().map_err(|_| malformed())? {
                    Some(char) => char,
                    None => match reference.decode().map_err(|_| malformed())?.as_ref() {
                        "amp" => '&',
                        "lt" => '<',
                        "gt" => '>',
                        "quot" => '"',
                        "apos" => '\'',
                        _ => return Err(malformed()),
                    },
                };
                if let Some(text) = &mut text {
                    text.push(char);
                }
            }
            Event::End(_) => {
                let name = path.get(1..).unwrap_or_default().join("/");
                if let Some(text) = text.take() {
                    leaves.push((name, text));
                } else {
                    // An end of an element with others in it: what comes next is of another one.
                    leaves.push((format!("{name}/"), String::new()));
                }
                path.pop();
            }
            Event::Eof if path.is_empty() => return Ok(leaves),
            Event::Eof => return Err(malformed()),
            _ => {}
        }
    }
}

/// The elements of one name, each as its children that have only text.
pub(super) fn each(leaves: &[(String, String)], name: &str) -> Vec<Vec<(String, String)>> {
    let (mut all, mut one) = (Vec::new(), Vec::new());
    let inside = format!("{name}/");
    for (path, text) in leaves {
        match path.strip_prefix(&inside) {
            Some("") => all.push(std::mem::take(&mut one)),
            Some(child) => one.push((child.to_owned(), text.clone())),
            None => {}
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut xml = Xml::new("Delete", Some(NAMESPACE));
        let keys = ["a&b<c>\"'é", " x\r\ny ", ""];
        for key in keys {
            xml.within("Object", |xml| {
                xml.text("Key", key);
            });
        }
        xml.text("Quiet", true);
        let leaves = leaves(xml.finish().as_bytes()).unwrap();
        let objects = each(&leaves, "Object");
        let found: Vec<&str> = objects.iter().map(|object| object[0].1.as_str()).collect();
        assert_eq!(found, keys);
        assert!(leaves.contains(&("Quiet".to_owned(), "true".to_owned())));
    }

    #[test]
    fn what_is_no_document() {
        for bad in ["<a>", "<a></b>", "<a>&nope;</a>", "<a", "\u{1}<"] {
            assert!(leaves(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(leaves(b"\xff").is_err());
    }

    #[test]
    fn names_in_addresses() {
        assert_eq!(encoded("a b/ü+~"), "a%20b/%C3%BC%2B~");
    }
}
