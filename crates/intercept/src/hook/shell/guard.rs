//! What is not even parsed.

use crate::hook::part::Why;

/// The longest line that is read.
const MAX_LINE: usize = 64 * 1024;
/// The most places in which a line may begin something nested: it bounds the parser's stack.
const MAX_OPENINGS: usize = 2_000;
/// The words that begin something nested.
const OPENING_WORDS: [&str; 9] =
    ["if", "elif", "while", "until", "for", "case", "coproc", "select", "function"];

/// Whether a line may be parsed.
pub(super) fn check(line: &str) -> Result<(), Why> {
    if line.len() > MAX_LINE || openings(line) > MAX_OPENINGS {
        return Err(Why::TooLarge);
    }
    if line.chars().any(is_misleading) {
        return Err(Why::Characters);
    }
    if line.lines().any(expands_behind_a_document) { Err(Why::Unparsed) } else { Ok(()) }
}

/// Whether something is expanded behind the mark of a here-document, or the line goes on behind it: the
/// parser loses what stands there. Quotes are not looked at, so that none can hide it.
fn expands_behind_a_document(line: &str) -> bool {
    let Some((_, behind)) = line.split_once("<<") else { return false };
    let expands = ["$(", "${", "$[", "`", "<(", ">("].iter().any(|sign| behind.contains(sign));
    // `<<<` takes its text from the line itself.
    let document = !behind.starts_with('<') || behind.get(1..).is_some_and(|rest| rest.contains("<<"));
    document && (expands || behind.ends_with('\\'))
}

/// Counts without regard to quotes, so that no quoting can hide one.
fn openings(line: &str) -> usize {
    let signs = line.bytes().filter(|byte| matches!(byte, b'(' | b'{' | b'[' | b'`' | b'!')).count();
    let words = line.split(|letter: char| !letter.is_ascii_alphanumeric());
    signs + words.filter(|word| OPENING_WORDS.contains(word)).count()
}

/// Characters that shells read in different ways, that no terminal shows, or that show other text in
/// another order than it has.
fn is_misleading(letter: char) -> bool {
    match letter {
        '\n' | '\t' | ' ' => false,
        '\u{00ad}' | '\u{061c}' | '\u{180e}' | '\u{feff}' => true,
        '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' => true,
        '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}' => true,
        other => other.is_control() || other.is_whitespace(),
    }
}
