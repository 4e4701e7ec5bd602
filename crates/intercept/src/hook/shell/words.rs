//! Words: what is left of them once quotes are removed, if that can be known.

use brush_parser::{
    ParserOptions,
    word::{self, TildeExpr, WordPiece, WordPieceWithSource},
};

use super::{assign, walk::Reader};
use crate::hook::part::Why;

/// A word of a shell line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Word {
    /// The program gets exactly this.
    Known(String),
    /// What the program gets is computed when the line runs. As it was written.
    Unknown(String),
}

impl Word {
    /// The text, if it is known.
    pub(super) fn known(&self) -> Option<&str> {
        match self {
            Self::Known(text) => Some(text),
            Self::Unknown(_) => None,
        }
    }

    /// The text as it is shown.
    pub(super) fn shown(&self) -> &str {
        match self {
            Self::Known(text) | Self::Unknown(text) => text,
        }
    }

    /// The same text, not known.
    pub(super) fn unknown(&self) -> Self {
        Self::Unknown(self.shown().to_owned())
    }
}

/// What has been read of a word.
struct Reading<'w> {
    raw: &'w str,
    text: String,
    known: bool,
}

impl Reader<'_> {
    /// Reads a word, and the commands in it.
    pub(super) fn word(&mut self, raw: &str) -> Word {
        if raw.bytes().all(is_plain) {
            return Word::Known(raw.to_owned());
        }
        if let Some(text) = quoted_text_of_cat(raw) {
            self.cat();
            return Word::Known(text.to_owned());
        }
        match word::parse(raw, &ParserOptions::default()) {
            Ok(pieces) => self.pieces(raw, &pieces),
            Err(_) => self.unreadable(raw),
        }
    }

    /// Reads the body of a here-document in which expansions happen.
    pub(super) fn body(&mut self, raw: &str) -> Word {
        match word::parse_heredoc(raw, &ParserOptions::default()) {
            Ok(pieces) => {
                let mut reading = Reading { raw, text: String::new(), known: true };
                for piece in &pieces {
                    self.piece(piece, true, &mut reading);
                }
                reading.finish()
            }
            Err(_) => self.unreadable(raw),
        }
    }

    fn unreadable(&mut self, raw: &str) -> Word {
        self.opaque(Why::Unparsed);
        Word::Unknown(raw.to_owned())
    }

    fn pieces(&mut self, raw: &str, pieces: &[WordPieceWithSource]) -> Word {
        let mut reading = Reading { raw, text: String::new(), known: true };
        for piece in pieces {
            self.piece(piece, false, &mut reading);
        }
        reading.finish()
    }

    fn piece(&mut self, piece: &WordPieceWithSource, quoted: bool, reading: &mut Reading<'_>) {
        let source = reading.raw.get(piece.start_index..piece.end_index).unwrap_or_default();
        match &piece.piece {
            WordPiece::Text(text) if quoted => reading.quoted(text),
            WordPiece::Text(text) => {
                // Whatever separates words or commands cannot stand in a word without quotes: the
                // parser has taken the end of something for another place than the shell does.
                if text.contains(|letter: char| letter.is_whitespace() || ";&|<>()`".contains(letter)) {
                    self.opaque(Why::Unparsed);
                }
                reading.unquoted(text);
            }
            WordPiece::SingleQuotedText(text) => reading.text.push_str(text),
            WordPiece::AnsiCQuotedText(text) if !text.contains('\\') => reading.text.push_str(text),
            WordPiece::AnsiCQuotedText(_) => reading.unknown(source),
            WordPiece::DoubleQuotedSequence(inner) => {
                for piece in inner {
                    self.piece(piece, true, reading);
                }
            }
            WordPiece::GettextDoubleQuotedSequence(inner) => {
                for piece in inner {
                    self.piece(piece, true, reading);
                }
                reading.known = false;
            }
            WordPiece::TildeExpansion(TildeExpr::Home) => match &self.around.home {
                Some(home) => reading.text.push_str(home),
                None => reading.unknown(source),
            },
            WordPiece::TildeExpansion(_) => reading.unknown(source),
            WordPiece::EscapeSequence(escape) => match escape.strip_prefix('\\') {
                Some("\n") => {}
                Some(letter) => reading.text.push_str(letter),
                None => reading.unknown(source),
            },
            WordPiece::ParameterExpansion(_) => self.parameter(source, reading),
            WordPiece::CommandSubstitution(line) => {
                // An empty one is what the parser makes of one behind a here-document.
                if !line.is_empty() && ends_where_it_seems(source, line) {
                    self.nested(line);
                } else {
                    self.opaque(Why::Unparsed);
                }
                reading.unknown(source);
            }
            WordPiece::BackquotedCommandSubstitution(line) => {
                // Within backquotes, backslashes mean something else once more.
                if line.contains('\\') || hides_its_end(line) {
                    self.opaque(Why::Unparsed);
                } else {
                    self.nested(line);
                }
                reading.unknown(source);
            }
            WordPiece::ArithmeticExpression(expression) => {
                self.arithmetic(&expression.value);
                reading.unknown(source);
            }
        }
    }

    /// `$name` and its many forms, by how they are written.
    fn parameter(&mut self, source: &str, reading: &mut Reading<'_>) {
        let inner = source.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
        let inner = inner.or_else(|| source.strip_prefix('$')).unwrap_or_default();
        let known = match inner {
            "HOME" => self.around.home.clone(),
            "PWD" => self.folder.as_ref().and_then(|folder| folder.to_str()).map(str::to_owned),
            // Numbers: whatever they are, they are no option and no name.
            "?" | "#" => Some(source.to_owned()),
            _ => None,
        };
        match known.filter(|text| text.bytes().all(|byte| is_plain(byte) || b"?$#{}".contains(&byte))) {
            Some(text) => reading.text.push_str(&text),
            None => {
                if !is_plain_parameter(inner) {
                    self.opaque(Why::Expansion);
                }
                reading.unknown(source);
            }
        }
    }

    /// Arithmetic evaluates what variables hold, and that can run commands.
    pub(super) fn arithmetic(&mut self, expression: &str) {
        if expression.contains(|letter: char| letter.is_alphabetic() || "_`$[".contains(letter)) {
            self.opaque(Why::Arithmetic);
        }
    }
}

impl Reading<'_> {
    fn quoted(&mut self, text: &str) {
        self.known &= !text.contains("\\\n");
        self.text.push_str(text);
    }

    fn unquoted(&mut self, text: &str) {
        let braces = text.contains('{') && (self.raw.contains(',') || self.raw.contains(".."));
        let pattern = text.contains(['*', '?', '(']) || (text.contains('[') && self.raw != "[");
        let tilde = text.contains("=~") || text.contains(":~");
        // zsh puts a program's path in the place of `=program`.
        let equals = self.text.is_empty() && text.starts_with('=') && text.contains(|letter| letter != '=');
        self.known &= !(braces || pattern || tilde || equals);
        self.text.push_str(text);
    }

    fn unknown(&mut self, source: &str) {
        self.known = false;
        self.text.push_str(source);
    }

    fn finish(self) -> Word {
        if self.known { Word::Known(self.text) } else { Word::Unknown(self.raw.to_owned()) }
    }
}

/// Characters that mean themselves wherever they stand in a word.
const fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'_' | b'-' | b'.' | b'/' | b',' | b':' | b'@' | b'%' | b'+')
}

/// Whether an expansion only yields what a variable holds, perhaps cut.
fn is_plain_parameter(inner: &str) -> bool {
    if inner.len() == 1 && inner.contains(|one: char| one.is_ascii_digit() || "@*#?-$!".contains(one)) {
        return true;
    }
    let name = inner.strip_prefix('#').filter(|rest| !rest.is_empty()).unwrap_or(inner);
    let end =
        name.find(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_')).unwrap_or(name.len());
    let (name, rest) = name.split_at(end);
    let is_number = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit());
    if !(assign::is_name(name) || is_number) {
        return false;
    }
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    match rest {
        "" | "[@]" | "[*]" => true,
        _ if rest.contains(['`', '(', '[', '{', '\'', '"', '\\']) => false,
        _ if rest.starts_with([':']) && rest.get(1..).is_some_and(|rest| rest.split(':').all(digits)) => true,
        _ => {
            let operator = rest.strip_prefix(':').unwrap_or(rest);
            operator.starts_with(['-', '+', '?']) || rest.starts_with(['#', '%', '/', '^', ','])
        }
    }
}

/// Whether a text may hold its closing sign where a simple reader does not see it: in a comment, a
/// pattern of `case`, or a here-document.
fn hides_its_end(text: &str) -> bool {
    text.contains("<<")
        || text.contains("$'")
        || text.split(|letter: char| !letter.is_ascii_alphanumeric()).any(|word| word == "case")
        || text.starts_with('#')
        || text.contains([' ', '\t', '\n', ';', '|', '&', '(', ')']) && has_comment(text)
}

fn has_comment(text: &str) -> bool {
    let mut before = ' ';
    text.chars().any(|letter| {
        let starts = letter == '#' && " \t\n;|&()".contains(before);
        before = letter;
        starts
    })
}

/// Whether `$(line)` ends where the parser says, found out in a second way.
fn ends_where_it_seems(source: &str, line: &str) -> bool {
    if hides_its_end(line) {
        return false;
    }
    let Some(rest) = source.strip_prefix("$(") else { return false };
    closing(rest) == Some(line.len()) && rest.len() == line.len() + 1
}

/// Where the parenthesis closes that was opened before the text.
fn closing(text: &str) -> Option<usize> {
    #[derive(PartialEq)]
    enum In {
        Parentheses,
        Double,
    }
    let mut nesting = vec![In::Parentheses];
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        let double = nesting.last() == Some(&In::Double);
        match letter {
            '\\' => {
                letters.next();
            }
            '"' if double => {
                nesting.pop();
            }
            '"' => nesting.push(In::Double),
            '\'' if !double => {
                letters.by_ref().find(|(_, letter)| *letter == '\'')?;
            }
            // Within double quotes, a parenthesis opens something only behind a dollar sign.
            '(' if !double || text.get(..at).is_some_and(|before| before.ends_with('$')) => {
                nesting.push(In::Parentheses);
            }
            ')' if !double => {
                nesting.pop();
                if nesting.is_empty() {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

/// The text of `"$(cat <<'END' … END)"`, as agents write commit messages: nothing in it is expanded.
fn quoted_text_of_cat(raw: &str) -> Option<&str> {
    let inner = raw.strip_prefix("\"$(cat <<'")?.strip_suffix(")\"")?;
    let (end, rest) = inner.split_once("'\n")?;
    if !assign::is_name(end) {
        return None;
    }
    let body = rest.trim_end_matches([' ', '\n']).strip_suffix(end)?.strip_suffix('\n')?;
    // The first line that is the end is the end; what comes behind it would be commands.
    if body.lines().any(|line| line == end) { None } else { Some(body) }
}
