//! JSON with comments and trailing commas, as wrangler reads `.json` and `.jsonc`.

use jsonc_parser::ast;
use jsonc_parser::common::{Range, Ranged as _};
use jsonc_parser::{CollectOptions, ParseOptions};

use super::Parsed;
use crate::Diagnostic;
use crate::source::{Source, Span};
use crate::value::{Entry, Kind, Value};

mod syntax;

/// What JSONC allows beyond JSON, and nothing of JSON5.
const OPTIONS: ParseOptions = ParseOptions {
    allow_comments: true,
    allow_loose_object_property_names: false,
    allow_trailing_commas: true,
    allow_missing_commas: false,
    allow_single_quoted_strings: false,
    allow_hexadecimal_numbers: false,
    allow_unary_plus_numbers: false,
    allow_bare_decimal_point_numbers: false,
    allow_non_finite_numbers: false,
    allow_extended_string_escapes: false,
};

pub(super) fn parse(source: &Source) -> Result<Parsed, Box<Diagnostic>> {
    let result = jsonc_parser::parse_to_ast(source.text(), &CollectOptions::default(), &OPTIONS)
        .map_err(|error| Box::new(syntax::error(source, &error)))?;
    let Some(root) = result.value else {
        return Err(Box::new(source.error(0..0, "the file is empty").with_hint(
            "at least `name`, `main` and `compatibility_date` are needed",
        )));
    };
    let mut convert = Convert {
        source,
        warnings: Vec::new(),
    };
    let root = convert.value(root)?;
    Ok(Parsed {
        root,
        warnings: convert.warnings,
    })
}

struct Convert<'a> {
    source: &'a Source,
    warnings: Vec<Diagnostic>,
}

impl Convert<'_> {
    fn value(&mut self, value: ast::Value<'_>) -> Result<Value, Box<Diagnostic>> {
        let span = span(value.range());
        let kind = match value {
            ast::Value::NullKeyword(_) => Kind::Null,
            ast::Value::BooleanLit(literal) => Kind::Bool(literal.value),
            ast::Value::StringLit(literal) => Kind::String(literal.value.into_owned()),
            ast::Value::NumberLit(literal) => {
                Kind::Number(literal.value.parse().map_err(|_| {
                    Box::new(
                        self.source
                            .error(
                                span.clone(),
                                format!("`{}` is not a number that fits", literal.value),
                            )
                            .with_hint("numbers have 64 bits"),
                    )
                })?)
            }
            ast::Value::Array(array) => Kind::Array(
                array
                    .elements
                    .into_iter()
                    .map(|element| self.value(element))
                    .collect::<Result<_, _>>()?,
            ),
            ast::Value::Object(object) => Kind::Object(self.object(object)?),
        };
        Ok(Value { kind, span })
    }

    fn object(&mut self, object: ast::Object<'_>) -> Result<Vec<Entry>, Box<Diagnostic>> {
        let mut entries: Vec<Entry> = Vec::with_capacity(object.properties.len());
        for property in object.properties {
            let key_span = span(property.name.range());
            let key = property.name.as_str().to_owned();
            let value = self.value(property.value)?;
            let entry = Entry {
                key,
                key_span,
                value,
            };
            match entries.iter().position(|other| other.key == entry.key) {
                Some(index) => {
                    let first = self.source.locate(entries[index].key_span.clone());
                    let message = format!("`{}` is given twice", entry.key);
                    self.warnings.push(
                        self.source
                            .warning(entry.key_span.clone(), message)
                            .with_hint(format!(
                                "this one wins; remove the one in line {}",
                                first.line
                            )),
                    );
                    entries[index] = entry;
                }
                None => entries.push(entry),
            }
        }
        Ok(entries)
    }
}

fn span(range: Range) -> Span {
    range.start..range.end
}
