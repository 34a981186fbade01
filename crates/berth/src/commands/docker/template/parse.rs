//! Template text → nodes.

use serde_json::Value;

use super::TemplateError;
use super::functions::NAMES;

/// A piece of a template.
#[derive(Debug, PartialEq)]
pub(super) enum Node {
    Text(String),
    Print(Pipeline),
    If {
        condition: Pipeline,
        then: Vec<Node>,
        otherwise: Vec<Node>,
    },
    Range {
        over: Pipeline,
        body: Vec<Node>,
        otherwise: Vec<Node>,
    },
}

/// Commands joined by `|`.
#[derive(Debug, PartialEq)]
pub(super) struct Pipeline(pub(super) Vec<Command>);

#[derive(Debug, PartialEq)]
pub(super) enum Command {
    Value(Operand),
    Call {
        function: String,
        operands: Vec<Operand>,
    },
}

#[derive(Debug, PartialEq)]
pub(super) enum Operand {
    Literal(Value),
    /// `.A.B`, or `$.A.B` from the root.
    Field {
        from_root: bool,
        path: Vec<String>,
    },
    Group(Pipeline),
}

/// How a list of nodes ended.
#[derive(Clone, Copy, PartialEq)]
enum Ending {
    Text,
    Else,
    End,
}

/// Parses a whole template.
pub(super) fn parse(text: &str) -> Result<Vec<Node>, TemplateError> {
    let pieces = split(text)?;
    let mut parser = Nodes {
        pieces: pieces.into_iter(),
    };
    match parser.nodes()? {
        (nodes, Ending::Text) => Ok(nodes),
        (_, Ending::Else) => Err(syntax("`else` without `if` or `range`")),
        (_, Ending::End) => Err(syntax("`end` without `if` or `range`")),
    }
}

fn syntax(message: impl Into<String>) -> TemplateError {
    TemplateError::Syntax(message.into())
}

/// Text, or what is between `{{` and `}}`.
enum Piece {
    Text(String),
    Action(String),
}

fn split(text: &str) -> Result<Vec<Piece>, TemplateError> {
    let mut pieces = Vec::new();
    let mut rest = text;
    let mut trim_next = false;
    loop {
        let (before, after) = match rest.split_once("{{") {
            Some((before, after)) => (before, Some(after)),
            None => (rest, None),
        };
        let mut before = if trim_next {
            before.trim_start()
        } else {
            before
        };
        let Some(after) = after else {
            pieces.push(Piece::Text(before.to_owned()));
            return Ok(pieces);
        };
        let end = action_end(after).ok_or_else(|| syntax("a `{{` is not closed"))?;
        let (mut action, following) = (&after[..end], &after[end + 2..]);
        if let Some(trimmed) = action.strip_prefix("- ") {
            before = before.trim_end();
            action = trimmed;
        }
        trim_next = false;
        if let Some(trimmed) = action.strip_suffix(" -") {
            trim_next = true;
            action = trimmed;
        }
        pieces.push(Piece::Text(before.to_owned()));
        pieces.push(Piece::Action(action.trim().to_owned()));
        rest = following;
    }
}

/// Where the `}}` is that closes an action: not one in a string.
fn action_end(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let (mut at, mut quote) = (0, None);
    while at < bytes.len() {
        match (quote, bytes[at]) {
            (Some(b'"'), b'\\') => at += 1,
            (Some(open), byte) if byte == open => quote = None,
            (None, byte @ (b'"' | b'`')) => quote = Some(byte),
            (None, b'}') if bytes.get(at + 1) == Some(&b'}') => return Some(at),
            _ => {}
        }
        at += 1;
    }
    None
}

struct Nodes {
    pieces: std::vec::IntoIter<Piece>,
}

impl Nodes {
    /// Nodes up to an `else`, an `end` or the end of the text.
    fn nodes(&mut self) -> Result<(Vec<Node>, Ending), TemplateError> {
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.next() {
            let action = match piece {
                Piece::Text(text) => {
                    if !text.is_empty() {
                        nodes.push(Node::Text(text));
                    }
                    continue;
                }
                Piece::Action(action) => action,
            };
            let (word, rest) = action
                .split_once(char::is_whitespace)
                .unwrap_or((&action, ""));
            match word {
                "else" if rest.is_empty() => return Ok((nodes, Ending::Else)),
                "end" if rest.is_empty() => return Ok((nodes, Ending::End)),
                "if" => {
                    let (condition, then, otherwise) = self.block(rest)?;
                    nodes.push(Node::If {
                        condition,
                        then,
                        otherwise,
                    });
                }
                "range" => {
                    let (over, body, otherwise) = self.block(rest)?;
                    nodes.push(Node::Range {
                        over,
                        body,
                        otherwise,
                    });
                }
                _ => nodes.push(Node::Print(pipeline(&action)?)),
            }
        }
        Ok((nodes, Ending::Text))
    }

    fn block(&mut self, head: &str) -> Result<(Pipeline, Vec<Node>, Vec<Node>), TemplateError> {
        let head = pipeline(head)?;
        let unclosed = || syntax("an `if` or `range` has no `end`");
        let (body, end) = self.nodes()?;
        let otherwise = match end {
            Ending::End => Vec::new(),
            Ending::Else => match self.nodes()? {
                (nodes, Ending::End) => nodes,
                _ => return Err(unclosed()),
            },
            Ending::Text => return Err(unclosed()),
        };
        Ok((head, body, otherwise))
    }
}

fn pipeline(text: &str) -> Result<Pipeline, TemplateError> {
    let tokens = tokens(text)?;
    let mut tokens = tokens.as_slice();
    let parsed = commands(&mut tokens)?;
    if tokens.is_empty() {
        Ok(parsed)
    } else {
        Err(syntax(format!("`{text}` has a `)` too many")))
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Word(String),
    Text(String),
    Pipe,
    Open,
    Close,
}

fn tokens(text: &str) -> Result<Vec<Token>, TemplateError> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '|' => 1,
            '(' => 1,
            ')' => 1,
            '"' | '`' => string_length(rest)
                .ok_or_else(|| syntax(format!("a string is not closed in `{text}`")))?,
            _ => rest
                .find(|c: char| c.is_whitespace() || matches!(c, '|' | '(' | ')' | '"' | '`'))
                .unwrap_or(rest.len()),
        };
        let (token, after) = rest.split_at(length);
        tokens.push(match first {
            '|' => Token::Pipe,
            '(' => Token::Open,
            ')' => Token::Close,
            '`' => Token::Text(token.trim_matches('`').to_owned()),
            '"' => Token::Text(
                serde_json::from_str(token)
                    .map_err(|error| syntax(format!("the string {token}: {error}")))?,
            ),
            _ => Token::Word(token.to_owned()),
        });
        rest = after.trim_start();
    }
    Ok(tokens)
}

fn string_length(text: &str) -> Option<usize> {
    let quote = text.chars().next()?;
    let mut escaped = false;
    for (at, character) in text.char_indices().skip(1) {
        match character {
            _ if escaped => escaped = false,
            '\\' if quote == '"' => escaped = true,
            _ if character == quote => return Some(at + 1),
            _ => {}
        }
    }
    None
}

fn commands(tokens: &mut &[Token]) -> Result<Pipeline, TemplateError> {
    let mut commands = vec![command(tokens)?];
    while let Some((Token::Pipe, rest)) = tokens.split_first() {
        *tokens = rest;
        commands.push(command(tokens)?);
    }
    Ok(Pipeline(commands))
}

fn command(tokens: &mut &[Token]) -> Result<Command, TemplateError> {
    if let Some((Token::Word(word), rest)) = tokens.split_first()
        && word.starts_with(|c: char| c.is_ascii_alphabetic())
        && !matches!(word.as_str(), "true" | "false" | "nil")
    {
        if !NAMES.contains(&word.as_str()) {
            return Err(syntax(format!("`{word}` is not a function that is known")));
        }
        *tokens = rest;
        let mut operands = Vec::new();
        while !matches!(tokens.first(), None | Some(Token::Pipe | Token::Close)) {
            operands.push(operand(tokens)?);
        }
        return Ok(Command::Call {
            function: word.clone(),
            operands,
        });
    }
    let value = operand(tokens)?;
    if matches!(tokens.first(), None | Some(Token::Pipe | Token::Close)) {
        Ok(Command::Value(value))
    } else {
        Err(syntax("a value has arguments, and only functions can"))
    }
}

fn operand(tokens: &mut &[Token]) -> Result<Operand, TemplateError> {
    let Some((first, rest)) = tokens.split_first() else {
        return Err(syntax("an action is empty"));
    };
    *tokens = rest;
    match first {
        Token::Text(text) => Ok(Operand::Literal(text.clone().into())),
        Token::Word(word) => word_operand(word),
        Token::Open => {
            let group = commands(tokens)?;
            match tokens.split_first() {
                Some((Token::Close, rest)) => {
                    *tokens = rest;
                    Ok(Operand::Group(group))
                }
                _ => Err(syntax("a `(` is not closed")),
            }
        }
        Token::Pipe | Token::Close => Err(syntax("a value is missing")),
    }
}

fn word_operand(word: &str) -> Result<Operand, TemplateError> {
    let (from_root, path) = match word.strip_prefix('$') {
        Some(path) => (true, path),
        None => (false, word),
    };
    if path.is_empty() && from_root {
        return Ok(Operand::Field {
            from_root,
            path: Vec::new(),
        });
    }
    if let Some(path) = path.strip_prefix('.') {
        let path: Vec<String> = match path {
            "" => Vec::new(),
            path => path.split('.').map(str::to_owned).collect(),
        };
        let is_name = |name: &String| {
            !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_')
        };
        if path.iter().all(is_name) {
            return Ok(Operand::Field { from_root, path });
        }
    } else if !from_root && let Ok(value) = serde_json::from_str::<Value>(word) {
        return Ok(Operand::Literal(value));
    }
    Err(syntax(format!("`{word}` is not understood")))
}
