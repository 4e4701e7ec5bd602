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
    if line.chars().any(is_misleading) { Err(Why::Characters) } else { Ok(()) }
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
