//! Recognises most canonical JSON at a glance, without building a value.
//!
//! Ingesting a ledger means checking the form of every event; reading each into a value and writing it
//! again costs ten times what storing it does. So this walks over the bytes once. It says yes only to
//! what is canonical beyond doubt, and leaves the rest (fractions, unusual escapes, member names
//! beyond ASCII, deep nesting) to the reader that takes its time.

/// How deep it follows.
const MAX_DEPTH: usize = 64;
/// The most digits of an integer that is exact in a double whatever the digits are.
const MAX_DIGITS: usize = 15;

/// Whether a text is canonical JSON (RFC 8785) beyond doubt. `false` says nothing.
pub(crate) fn is_plainly_canonical(text: &str) -> bool {
    let mut scan = Scan { rest: text.as_bytes() };
    scan.value(0).is_some() && scan.rest.is_empty()
}

/// Tells of each member of an object that is canonical beyond doubt: its name and the text of its value.
/// What was told counts only when the end is reached.
pub(crate) fn plain_members<'a>(text: &'a str, member: &mut dyn FnMut(&'a str, &'a str)) -> Option<()> {
    let mut scan = Scan { rest: text.as_bytes() };
    scan.members(0, &mut |name, value| {
        if let (Ok(name), Ok(value)) = (str::from_utf8(name), str::from_utf8(value)) {
            member(name, value);
        }
    })?;
    scan.rest.is_empty().then_some(())
}

/// What is still to be looked at. Every step answers `None` when it is in doubt.
struct Scan<'a> {
    rest: &'a [u8],
}

impl<'a> Scan<'a> {
    fn value(&mut self, depth: usize) -> Option<()> {
        match self.rest.first()? {
            b'"' => self.string().map(|_| ()),
            b'{' if depth < MAX_DEPTH => self.members(depth, &mut |_, _| ()),
            b'[' if depth < MAX_DEPTH => self.array(depth),
            b'-' | b'0'..=b'9' => self.integer(),
            b't' => self.expect(b"true"),
            b'f' => self.expect(b"false"),
            b'n' => self.expect(b"null"),
            _ => None,
        }
    }

    fn expect(&mut self, word: &[u8]) -> Option<()> {
        self.rest = self.rest.strip_prefix(word)?;
        Some(())
    }

    /// An object; tells of each member's name and the text of its value.
    fn members(&mut self, depth: usize, member: &mut dyn FnMut(&'a [u8], &'a [u8])) -> Option<()> {
        self.byte(b'{')?;
        let mut last: Option<&[u8]> = None;
        if self.byte(b'}').is_some() {
            return Some(());
        }
        loop {
            let name = self.string()?;
            // In plain ASCII, the order of bytes is that of UTF-16 code units. Strictly rising also
            // means that no name comes twice.
            let is_plain = name.iter().all(|byte| byte.is_ascii() && *byte != b'\\');
            if !is_plain || last.is_some_and(|last| last >= name) {
                return None;
            }
            last = Some(name);
            self.byte(b':')?;
            let value = self.rest;
            self.value(depth + 1)?;
            member(name, value.get(..value.len() - self.rest.len())?);
            if self.byte(b',').is_none() {
                return self.byte(b'}');
            }
        }
    }

    fn array(&mut self, depth: usize) -> Option<()> {
        self.byte(b'[')?;
        if self.byte(b']').is_some() {
            return Some(());
        }
        loop {
            self.value(depth + 1)?;
            if self.byte(b',').is_none() {
                return self.byte(b']');
            }
        }
    }

    /// A string with no escapes but the short ones that RFC 8785 §3.2.2.2 demands. Returns what is
    /// between its quotes.
    fn string(&mut self) -> Option<&'a [u8]> {
        self.byte(b'"')?;
        let start = self.rest;
        loop {
            let (_, from) = self.rest.split_at_checked(special(self.rest)?)?;
            match from {
                [b'"', after @ ..] => {
                    self.rest = after;
                    return start.get(..start.len() - from.len());
                }
                [b'\\', b'"' | b'\\' | b'b' | b't' | b'n' | b'f' | b'r', after @ ..] => self.rest = after,
                _ => return None,
            }
        }
    }

    /// Goes past one byte, if it comes next.
    fn byte(&mut self, byte: u8) -> Option<()> {
        let (first, after) = self.rest.split_first()?;
        (*first == byte).then(|| self.rest = after)
    }

    fn integer(&mut self) -> Option<()> {
        let is_negative = self.byte(b'-').is_some();
        let digits = self.rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (number, after) = self.rest.split_at_checked(digits)?;
        let is_exact = match number {
            [b'0'] => !is_negative,
            [b'1'..=b'9', ..] => digits <= MAX_DIGITS,
            _ => false,
        };
        let ends = !matches!(after.first(), Some(b'.' | b'e' | b'E'));
        self.rest = after;
        (is_exact && ends).then_some(())
    }
}

/// Where the first byte is that no string holds as it is: a quote, a backslash or a control character.
fn special(bytes: &[u8]) -> Option<usize> {
    let mut from = 0;
    let mut left = bytes;
    while let Some((eight, after)) = left.split_first_chunk::<8>() {
        let found = special_of_eight(u64::from_le_bytes(*eight));
        if found != 0 {
            return Some(from + found.trailing_zeros() as usize / 8);
        }
        from += 8;
        left = after;
    }
    left.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f)).map(|position| from + position)
}

/// The highest bit of each of eight bytes that is special. Eight at a time is several times faster than one by
/// one. What is above a special byte may be marked, too: the first mark counts.
const fn special_of_eight(word: u64) -> u64 {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const HIGH: u64 = ONES << 7;
    const fn below(word: u64, least: u64) -> u64 {
        word.wrapping_sub(ONES * least) & !word & HIGH
    }
    let quotes = below(word ^ (ONES * b'"' as u64), 1);
    let backslashes = below(word ^ (ONES * b'\\' as u64), 1);
    quotes | backslashes | below(word, 0x20)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::{is_plainly_canonical, special};
    use crate::{canonical::to_canonical_json, strict_json};

    fn is_canonical(text: &str) -> bool {
        let value = strict_json::parse(text.as_bytes());
        value.is_ok_and(|value| to_canonical_json(&value).is_ok_and(|canonical| canonical == text))
    }

    proptest! {
        #[test]
        fn the_first_special_byte_is_found(
            bytes in prop::collection::vec(prop_oneof![4 => any::<u8>(), 1 => Just(b'"'), 1 => Just(0x1f)], 0..40),
            plain in "[a-zé ]{0,40}",
        ) {
            let bytes = [plain.as_bytes(), &bytes].concat();
            let first = bytes.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f));
            prop_assert_eq!(special(&bytes), first);
        }
    }

    #[test]
    fn ordinary_records_are_recognised() {
        for text in [
            r#"{"a":[1,-2,0,999999999999999],"b":{"c":"d é \" \\ \n","e":null},"f":true,"g":false,"h":{},"i":[]}"#,
            r#""x""#,
            "0",
        ] {
            assert!(is_canonical(text) && is_plainly_canonical(text), "{text}");
        }
    }

    #[test]
    fn whatever_is_not_canonical_is_not_recognised() {
        for text in [
            "",
            " 1",
            "1 ",
            "1,",
            "01",
            "-0",
            "-",
            "1.0",
            "1e3",
            "9007199254740993",
            "tru",
            "nul",
            "truex",
            r#"{"b":1,"a":2}"#,
            r#"{"a":1,"a":2}"#,
            r#"{"a":1,}"#,
            r#"{"a" :1}"#,
            r#"{a:1}"#,
            "[1,]",
            "[1 ]",
            "[",
            r#"{"a":1"#,
            r#""\u0041""#,
            r#""\/""#,
            r#""\"#,
            "\"\u{1}\"",
            "\"a",
            r#"{"\u0061":1}"#,
            "[[]",
            "{}}",
        ] {
            assert!(!is_plainly_canonical(text), "{text}");
        }
        // Not in doubt for the other reader, but for this one.
        for text in [r#"{"é":1}"#, r#"{"a\n":1}"#, "1.5", r#""\u0001""#] {
            assert!(is_canonical(text) && !is_plainly_canonical(text), "{text}");
        }
        let deep = "[".repeat(200) + &"]".repeat(200);
        assert!(!is_plainly_canonical(&deep));
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::from),
            (-1_000_i64..1_000).prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".{0,6}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-c\u{e9}\u{ff5e}\u{1f600}\n]{0,3}", inner, 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_recognised_is_canonical(value in json(), at in any::<prop::sample::Index>(), put in "[ -~]{0,2}") {
            let Ok(text) = to_canonical_json(&value) else { return Ok(()) };
            for text in [text, serde_json::to_string(&value).unwrap()] {
                prop_assert!(!is_plainly_canonical(&text) || is_canonical(&text), "{}", text);
                // And with something put in, or taken out.
                let at = text.floor_char_boundary(at.index(text.len().max(1)));
                let mut changed = text.clone();
                changed.insert_str(at, &put);
                prop_assert!(!is_plainly_canonical(&changed) || is_canonical(&changed), "{}", changed);
                let mut shorter = text.clone();
                shorter.pop();
                prop_assert!(!is_plainly_canonical(&shorter) || is_canonical(&shorter), "{}", shorter);
            }
        }
    }
}
