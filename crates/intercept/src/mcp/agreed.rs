//! What a client says of itself, and what it has agreed on with the server.

use super::{edit::Members, revision::Revision};

/// The member of `_meta` that names the client from 2026-07-28 on.
const CLIENT_KEY: &str = "io.modelcontextprotocol/clientInfo";
/// The longest name of a client that is looked at.
const MAX_NAME: usize = 128;

/// What was settled when a session began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Agreed {
    pub(super) revision: Revision,
    /// The client's name.
    pub(super) client: Option<String>,
    /// Whether the client can have a person open an address (2025-11-25, URL mode elicitation).
    pub(crate) opens_urls: bool,
}

impl Agreed {
    /// Reads the parameters of `initialize`, and the server's answer to it.
    pub(crate) fn of(params: Option<&str>, answer: &str) -> Option<Self> {
        let answer = Members::parse(answer).ok()?;
        let version = Members::parse(answer.get("result")?).ok()?.string("protocolVersion")?;
        let revision = Revision::parse(&version)?;
        let params = params.and_then(|params| Members::parse(params).ok());
        let member = |name: &str| Members::parse(params.as_ref()?.raw(name)?).ok();
        let elicitation = member("capabilities").and_then(|can| Members::parse(can.raw("elicitation")?).ok());
        Some(Self {
            revision,
            client: member("clientInfo").and_then(|client| name(&client)),
            opens_urls: revision == Revision::November2025
                && elicitation
                    .is_some_and(|modes| modes.get("url").is_some_and(|mode| mode.starts_with('{'))),
        })
    }
}

/// The client's name in a request that stands for itself.
pub(super) fn client_of(params: Option<&str>) -> Option<String> {
    let meta = Members::parse(Members::parse(params?).ok()?.raw("_meta")?).ok()?;
    name(&Members::parse(meta.raw(CLIENT_KEY)?).ok()?)
}

fn name(client: &Members<'_>) -> Option<String> {
    client.string("name").filter(|name| name.len() <= MAX_NAME)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agreed(params: &str, version: &str) -> Option<Agreed> {
        Agreed::of(Some(params), &format!(r#"{{"id":1,"result":{{"protocolVersion":"{version}"}}}}"#))
    }

    #[test]
    fn a_session_is_in_the_revision_of_the_answer_and_the_client_says_what_it_can() {
        let params = r#"{"clientInfo":{"name":"ide"},"capabilities":{"elicitation":{"url":{}}}}"#;
        let expected =
            |revision, opens_urls| Some(Agreed { revision, client: Some("ide".to_owned()), opens_urls });
        assert_eq!(agreed(params, "2025-11-25"), expected(Revision::November2025, true));
        assert_eq!(agreed(params, "2025-06-18"), expected(Revision::June2025, false));
        let plain = r#"{"clientInfo":{"name":"ide"},"capabilities":{"elicitation":{}}}"#;
        assert_eq!(agreed(plain, "2025-11-25"), expected(Revision::November2025, false));
        assert_eq!(agreed(params, "2099-01-01"), None);
        assert_eq!(agreed("{", "2025-06-18").map(|agreed| agreed.client), Some(None));
    }

    #[test]
    fn a_request_that_stands_for_itself_names_its_client() {
        let params = format!(r#"{{"_meta":{{"{CLIENT_KEY}":{{"name":"agent","version":"1"}}}}}}"#);
        assert_eq!(client_of(Some(&params)).as_deref(), Some("agent"));
        let long = params.replace("agent", &"a".repeat(MAX_NAME + 1));
        assert_eq!((client_of(Some(&long)), client_of(Some("{}")), client_of(None)), (None, None, None));
    }
}
