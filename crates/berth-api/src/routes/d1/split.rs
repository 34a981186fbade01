//! SQL text → statements, as SQLite's shell finds their ends: a `;` outside of quotes and comments, and
//! in `CREATE TRIGGER` only after its `END`. Pure.

/// The statements, without those that are nothing but comments.
pub(super) fn statements(sql: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut scan = Scan::default();
    let mut start = 0;
    let mut at = 0;
    while at < sql.len() {
        let (token, length) = token(&sql[at..]);
        at += length;
        if scan.take(token) {
            push(&mut found, &sql[start..at], scan.words > 0);
            start = at;
            scan = Scan::default();
        }
    }
    push(&mut found, &sql[start..], scan.words > 0);
    found
}

fn push(found: &mut Vec<String>, text: &str, any: bool) {
    if any {
        found.push(text.trim().to_owned());
    }
}

enum Token<'a> {
    /// White space, a comment.
    Nothing,
    /// A name or a keyword without quotes.
    Word(&'a str),
    Semicolon,
    /// Anything else.
    Other,
}

/// Where in a statement we are.
#[derive(Default)]
struct Scan {
    words: usize,
    /// What the statement begins with makes a trigger.
    trigger: bool,
    /// The first words can still become one.
    undecided: bool,
    /// In a trigger: the last thing was a `;`.
    after_semicolon: bool,
    /// In a trigger: that was followed by `END`.
    ended: bool,
}

impl Scan {
    /// Whether the statement ends with this.
    fn take(&mut self, token: Token<'_>) -> bool {
        match token {
            Token::Nothing => false,
            Token::Semicolon => {
                if !self.trigger || self.ended {
                    return true;
                }
                self.after_semicolon = true;
                false
            }
            Token::Other => {
                self.words += 1;
                (self.after_semicolon, self.ended, self.undecided) = (false, false, false);
                false
            }
            Token::Word(word) => {
                self.begin(word);
                self.words += 1;
                self.ended = self.trigger && self.after_semicolon && is(word, "END");
                self.after_semicolon = false;
                false
            }
        }
    }

    /// `[EXPLAIN [QUERY PLAN]] CREATE [TEMP | TEMPORARY] TRIGGER`.
    fn begin(&mut self, word: &str) {
        if self.words == 0 {
            self.undecided = is(word, "CREATE") || is(word, "EXPLAIN");
            return;
        }
        if !self.undecided {
            return;
        }
        if is(word, "TRIGGER") {
            self.trigger = true;
            self.undecided = false;
        } else {
            let before = ["CREATE", "TEMP", "TEMPORARY", "QUERY", "PLAN"];
            self.undecided = before.iter().any(|expected| is(word, expected));
        }
    }
}

fn is(word: &str, expected: &str) -> bool {
    word.eq_ignore_ascii_case(expected)
}

/// The first token and its length in bytes.
fn token(text: &str) -> (Token<'_>, usize) {
    let mut chars = text.char_indices();
    let Some((_, first)) = chars.next() else {
        return (Token::Nothing, 0);
    };
    // Up to and with the first `end` after so many bytes, or all there is.
    let until = |from: usize, end: &str| {
        let rest = text.get(from..).unwrap_or_default();
        rest.find(end)
            .map_or(text.len(), |found| from + found + end.len())
    };
    match first {
        ';' => (Token::Semicolon, 1),
        '-' if text.starts_with("--") => (Token::Nothing, until(2, "\n")),
        '/' if text.starts_with("/*") => (Token::Nothing, until(2, "*/")),
        '[' => (Token::Other, until(1, "]")),
        // A doubled quote ends one text and begins the next.
        '\'' => (Token::Other, until(1, "'")),
        '"' => (Token::Other, until(1, "\"")),
        '`' => (Token::Other, until(1, "`")),
        space if space.is_whitespace() => (Token::Nothing, space.len_utf8()),
        letter if is_word(letter) => {
            let end = text.find(|char| !is_word(char)).unwrap_or(text.len());
            (Token::Word(&text[..end]), end)
        }
        other => (Token::Other, other.len_utf8()),
    }
}

fn is_word(char: char) -> bool {
    char.is_alphanumeric() || matches!(char, '_' | '$') || !char.is_ascii() && !char.is_whitespace()
}

#[cfg(test)]
mod tests {
    use super::statements;

    #[test]
    fn statements_end_where_sqlite_ends_them() {
        for (sql, expected) in [
            ("", &[] as &[&str]),
            ("-- nothing\n ; /* ; */", &[]),
            ("SELECT 1", &["SELECT 1"]),
            (
                "SELECT ';'; SELECT \"a;b\" ;",
                &["SELECT ';';", "SELECT \"a;b\" ;"],
            ),
            (
                "INSERT INTO t VALUES ('it''s; fine'); SELECT 2",
                &["INSERT INTO t VALUES ('it''s; fine');", "SELECT 2"],
            ),
            (
                "SELECT [a;b], `c;d` -- e;\n; SELECT 3",
                &["SELECT [a;b], `c;d` -- e;\n;", "SELECT 3"],
            ),
            (
                "CREATE TEMP TRIGGER x AFTER INSERT ON t BEGIN UPDATE t SET a = CASE WHEN 1 THEN 2 END; \
                 DELETE FROM u; END; SELECT 4",
                &[
                    "CREATE TEMP TRIGGER x AFTER INSERT ON t BEGIN UPDATE t SET a = CASE WHEN 1 THEN 2 END; \
                     DELETE FROM u; END;",
                    "SELECT 4",
                ],
            ),
            (
                "CREATE TABLE trigger_log (a); SELECT 'unclosed",
                &["CREATE TABLE trigger_log (a);", "SELECT 'unclosed"],
            ),
            ("SELECT 'ü;'; SELECT ñ;", &["SELECT 'ü;';", "SELECT ñ;"]),
        ] {
            assert_eq!(statements(sql), expected, "{sql}");
        }
    }
}
