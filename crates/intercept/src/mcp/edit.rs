//! Changing one member of a JSON object and leaving every other byte as it was.

use std::{borrow::Cow, fmt, ops::Range};

use serde::de::{Deserializer as _, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The members of an object as raw text, in their order.
#[derive(Debug, Clone)]
pub(super) struct Members<'a>(Vec<(String, Text<'a>)>);

#[derive(Debug, Clone)]
enum Text<'a> {
    Given(&'a str),
    Changed(String),
}

impl Text<'_> {
    fn as_str(&self) -> &str {
        match self {
            Self::Given(text) => text,
            Self::Changed(text) => text,
        }
    }
}

impl<'a> Members<'a> {
    /// The members of an object. One with a name twice is refused: readers differ on which one counts.
    pub(super) fn parse(text: &'a str) -> Result<Self, serde_json::Error> {
        let mut reader = serde_json::Deserializer::from_str(text);
        let members = reader.deserialize_map(Read)?;
        reader.end()?;
        Ok(members)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, text)| text.as_str())
    }

    /// A member as it was given, for as long as what it was read from lives.
    pub(super) fn raw(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|(known, _)| known == name).and_then(|(_, text)| match text {
            Text::Given(text) => Some(*text),
            Text::Changed(_) => None,
        })
    }

    /// The text of a member that is a string.
    pub(super) fn string(&self, name: &str) -> Option<String> {
        serde_json::from_str(self.get(name)?).ok()
    }

    /// Puts raw JSON in the place of a member, or at the end.
    pub(super) fn set(&mut self, name: &str, raw: String) {
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, text)) => *text = Text::Changed(raw),
            None => self.0.push((name.to_owned(), Text::Changed(raw))),
        }
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.0.retain(|(known, _)| known != name);
    }
}

impl fmt::Display for Members<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (position, (name, text)) in self.0.iter().enumerate() {
            let comma = if position == 0 { "" } else { "," };
            write!(f, "{comma}{}:{}", serde_json::Value::from(name.as_str()), text.as_str())?;
        }
        f.write_str("}")
    }
}

/// Parts of a text that are replaced where they stand, white space around them included in what stays.
#[derive(Debug)]
pub(super) struct Edits<'a> {
    text: &'a str,
    parts: Vec<(Range<usize>, &'a str)>,
}

impl<'a> Edits<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, parts: Vec::new() }
    }

    /// Replaces a part of the text, as [`Members::raw`] has it.
    pub(super) fn replace(&mut self, part: &str, with: &'a str) {
        let start = part.as_ptr().addr().saturating_sub(self.text.as_ptr().addr());
        self.parts.push((start..start + part.len(), with));
    }

    pub(super) fn finish(mut self) -> Cow<'a, str> {
        if self.parts.is_empty() {
            return Cow::Borrowed(self.text);
        }
        self.parts.sort_by_key(|(part, _)| part.start);
        let (mut edited, mut at) = (String::with_capacity(self.text.len() + 64), 0);
        for (part, with) in self.parts {
            edited.push_str(self.text.get(at..part.start).unwrap_or_default());
            edited.push_str(with);
            at = part.end;
        }
        edited.push_str(self.text.get(at..).unwrap_or_default());
        Cow::Owned(edited)
    }
}

struct Read;

impl<'de> Visitor<'de> for Read {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
        let mut members: Vec<(String, Text<'de>)> = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            let value = map.next_value::<&'de RawValue>()?;
            if members.iter().any(|(known, _)| *known == name) {
                return Err(A::Error::custom("duplicate member name"));
            }
            members.push((name, Text::Given(value.get())));
        }
        Ok(Members(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_changed_keeps_its_bytes() {
        let text = r#"{"a": 1.0e0 ,"é":{"x" : [1,  2]},"big":12345678901234567890123}"#;
        let mut members = Members::parse(text).unwrap();
        members.set("a", "2".to_owned());
        members.set("new", "null".to_owned());
        members.remove("missing");
        assert_eq!(
            members.to_string(),
            r#"{"a":2,"é":{"x" : [1,  2]},"big":12345678901234567890123,"new":null}"#
        );
        assert!(Members::parse(r#"{"a":1,"\u0061":2}"#).is_err());
        assert!(Members::parse("[]").is_err());
    }

    #[test]
    fn parts_are_replaced_where_they_stand() {
        let text = " { \"a\" : {\"b\" :\t1 } , \"c\": \"x\" }\n";
        let members = Members::parse(text).unwrap();
        let inner = Members::parse(members.raw("a").unwrap()).unwrap();
        let mut edits = Edits::new(text);
        edits.replace(members.raw("c").unwrap(), "\"longer\"");
        edits.replace(inner.raw("b").unwrap(), "2");
        assert_eq!(edits.finish(), " { \"a\" : {\"b\" :\t2 } , \"c\": \"longer\" }\n");
        assert!(matches!(Edits::new(text).finish(), Cow::Borrowed(same) if same == text));
    }
}
