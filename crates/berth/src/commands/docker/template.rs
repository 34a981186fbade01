//! The part of Go's `text/template` that `--format` is used with: fields, `range`, `if`, and a few
//! functions. What is not understood is an error, never a guess.

mod functions;
mod parse;

use std::fmt::Write as _;

use serde_json::Value;

use parse::{Command, Node, Operand, Pipeline};

/// Why a template cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum TemplateError {
    /// It is not a template, or uses what is not understood.
    #[error("the template cannot be read: {0}")]
    Syntax(String),
    /// It does not fit what it is applied to.
    #[error("the template cannot be applied: {0}")]
    Evaluation(String),
}

/// A parsed template.
#[derive(Debug)]
pub(crate) struct Template {
    nodes: Vec<Node>,
}

impl Template {
    /// Parses `{{ … }}` actions and the text between them.
    pub(crate) fn parse(text: &str) -> Result<Self, TemplateError> {
        parse::parse(text).map(|nodes| Self { nodes })
    }

    /// For listings, where the docker command writes `\t` and `\n` for tab and newline, and `json`
    /// for the whole object.
    pub(crate) fn of_listing(text: &str) -> Result<Self, TemplateError> {
        if text == "json" {
            return Self::parse("{{json .}}");
        }
        if text.starts_with("table") {
            return Err(TemplateError::Syntax(
                "tables are not supported; name the columns without `table`".to_owned(),
            ));
        }
        Self::parse(&text.replace("\\t", "\t").replace("\\n", "\n"))
    }

    /// The text for one value.
    pub(crate) fn render(&self, value: &Value) -> Result<String, TemplateError> {
        let mut out = String::new();
        render(&self.nodes, value, value, &mut out)?;
        Ok(out)
    }
}

fn render(
    nodes: &[Node],
    root: &Value,
    dot: &Value,
    out: &mut String,
) -> Result<(), TemplateError> {
    for node in nodes {
        match node {
            Node::Text(text) => out.push_str(text),
            Node::Print(pipeline) => print(&pipe(pipeline, root, dot)?, out),
            Node::If {
                condition,
                then,
                otherwise,
            } => {
                let branch = if truth(&pipe(condition, root, dot)?) {
                    then
                } else {
                    otherwise
                };
                render(branch, root, dot, out)?;
            }
            Node::Range {
                over,
                body,
                otherwise,
            } => {
                let items = items(pipe(over, root, dot)?)?;
                if items.is_empty() {
                    render(otherwise, root, dot, out)?;
                }
                for item in &items {
                    render(body, root, item, out)?;
                }
            }
        }
    }
    Ok(())
}

/// What `range` goes over: a list, or an object's values in the order of their keys.
fn items(value: Value) -> Result<Vec<Value>, TemplateError> {
    match value {
        Value::Array(items) => Ok(items),
        Value::Object(fields) => Ok(fields.into_iter().map(|(_, value)| value).collect()),
        Value::Null => Ok(Vec::new()),
        other => Err(TemplateError::Evaluation(format!(
            "range can't iterate over {other}"
        ))),
    }
}

fn pipe(pipeline: &Pipeline, root: &Value, dot: &Value) -> Result<Value, TemplateError> {
    let mut last = None;
    for command in &pipeline.0 {
        last = Some(run(command, root, dot, last)?);
    }
    Ok(last.unwrap_or_default())
}

/// One command of a pipeline; what the one before it made is its last argument.
fn run(
    command: &Command,
    root: &Value,
    dot: &Value,
    piped: Option<Value>,
) -> Result<Value, TemplateError> {
    match command {
        Command::Value(operand) => match piped {
            None => operand_value(operand, root, dot),
            Some(_) => Err(TemplateError::Evaluation(
                "only a function can follow a `|`".to_owned(),
            )),
        },
        Command::Call { function, operands } => {
            let mut arguments = operands
                .iter()
                .map(|operand| operand_value(operand, root, dot))
                .collect::<Result<Vec<_>, _>>()?;
            arguments.extend(piped);
            functions::call(function, &arguments)
        }
    }
}

fn operand_value(operand: &Operand, root: &Value, dot: &Value) -> Result<Value, TemplateError> {
    match operand {
        Operand::Literal(value) => Ok(value.clone()),
        Operand::Field { from_root, path } => {
            let start = if *from_root { root } else { dot };
            field(start, path).cloned()
        }
        Operand::Group(pipeline) => pipe(pipeline, root, dot),
    }
}

/// A field that no document has is a mistake; further in, an absent one is what Docker leaves out.
fn field<'v>(value: &'v Value, path: &[String]) -> Result<&'v Value, TemplateError> {
    const ABSENT: &Value = &Value::Null;
    let mut found = value;
    for (depth, name) in path.iter().enumerate() {
        found = match found {
            Value::Object(fields) => match fields.get(name) {
                Some(value) => value,
                None if depth > 0 => ABSENT,
                None => {
                    return Err(TemplateError::Evaluation(format!(
                        "there is no field `.{name}`"
                    )));
                }
            },
            Value::Null if depth > 0 => ABSENT,
            other => {
                return Err(TemplateError::Evaluation(format!(
                    "{other} has no field `.{name}`"
                )));
            }
        };
    }
    Ok(found)
}

/// Go's truth: not empty, not zero.
fn truth(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
    }
}

/// As Go's `%v` prints it.
fn print(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("<no value>"),
        Value::String(text) => out.push_str(text),
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(' ');
                }
                print(item, out);
            }
            out.push(']');
        }
        Value::Object(fields) => {
            out.push_str("map[");
            for (index, (key, value)) in fields.iter().enumerate() {
                let _ = write!(out, "{}{key}:", if index > 0 { " " } else { "" });
                print(value, out);
            }
            out.push(']');
        }
        other => {
            let _ = write!(out, "{other}");
        }
    }
}

#[cfg(test)]
mod tests;
