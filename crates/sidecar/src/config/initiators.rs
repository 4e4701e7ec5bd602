//! `[[initiators]]`: the identity providers whose word about the initiating human counts.

use countersign_intercept::initiator::{IssuerSettings, is_algorithm};
use countersign_settings::Settings;

/// The most issuers.
const MAX_ISSUERS: usize = 32;
/// How tokens may be signed unless something else is said: what providers sign with.
const ALGORITHMS: [&str; 3] = ["RS256", "ES256", "EdDSA"];

pub(super) fn read(settings: &mut Settings) -> Vec<IssuerSettings> {
    let mut issuers: Vec<IssuerSettings> = Vec::new();
    for number in 0..MAX_ISSUERS {
        let key = format!("initiators.{number}");
        if !settings.has(&key) {
            break;
        }
        let issuer = issuer(settings, &key);
        if issuers.iter().any(|known| known.issuer == issuer.issuer) {
            settings.problem(format!("{key}.issuer = {:?} is there twice", issuer.issuer));
        }
        issuers.push(issuer);
    }
    issuers
}

fn issuer(settings: &mut Settings, key: &str) -> IssuerSettings {
    let of = |name: &str| format!("{key}.{name}");
    let issuer = settings.required(&of("issuer"), "the issuer, from https:// on, exactly as it names itself");
    let audience = settings.take_list(&of("audience"));
    let mut algorithms = settings.take_list(&of("algorithms"));
    let person_claim = settings.take(&of("person_claim")).unwrap_or_else(|| "email".to_owned());
    let domains = settings.take_list(&of("domains"));
    // Its keys are trusted as the connection that they come over is.
    if !issuer.is_empty() && !issuer.starts_with("https://") && !is_loopback(&issuer) {
        settings.problem(format!("{key}.issuer = {issuer:?}: must begin with https://"));
    }
    if audience.is_empty() {
        settings.problem(format!(
            "{key}.audience must be set: a list of whom tokens must be for, as a rule the client id of the agent's \
             host, or tokens for any other application would be taken"
        ));
    }
    if let Some(unknown) = algorithms.iter().find(|name| !is_algorithm(name)) {
        settings
            .problem(format!("{key}.algorithms: {unknown:?} is no signature algorithm with a public key"));
    }
    if algorithms.is_empty() {
        algorithms = ALGORITHMS.map(str::to_owned).into();
    }
    IssuerSettings { issuer, audience, algorithms, person_claim, domains }
}

fn is_loopback(issuer: &str) -> bool {
    let uri = issuer.parse::<http::Uri>().ok();
    let host = uri.as_ref().and_then(http::Uri::host).unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::super::{Config, Sources};

    fn load(toml: &str) -> Result<Config, String> {
        let toml = format!("data = \"/a\"\ncontrol = \"a:1\"\n{toml}");
        let sources = Sources { toml: Some(toml), ..Sources::default() };
        Config::load(&sources).map_err(|problems| problems.to_string())
    }

    #[test]
    fn an_issuer_has_an_audience_and_sensible_defaults() {
        let config = load(
            "[[initiators]]\nissuer = \"https://login.example.com\"\naudience = [\"agent-host\"]\n\
             [[initiators]]\nissuer = \"http://127.0.0.1:9\"\naudience = [\"a\", \"b\"]\nalgorithms = [\"ES256\"]\n\
             person_claim = \"upn\"\ndomains = [\"example.com\"]\n",
        )
        .unwrap();
        assert_eq!(config.initiators[0].algorithms, ["RS256", "ES256", "EdDSA"]);
        assert_eq!(config.initiators[0].person_claim, "email");
        assert_eq!(
            (config.initiators[1].audience.len(), config.initiators[1].person_claim.as_str()),
            (2, "upn")
        );
    }

    #[test]
    fn what_would_take_anybodys_word_is_refused() {
        for (body, expected) in [
            ("audience = [\"a\"]", "initiators.0.issuer must be set"),
            ("issuer = \"http://login.example.com\"\naudience = [\"a\"]", "must begin with https://"),
            ("issuer = \"https://login.example.com\"", "audience must be set"),
            (
                "issuer = \"https://x\"\naudience = [\"a\"]\nalgorithms = [\"HS256\"]",
                "no signature algorithm",
            ),
            ("issuer = \"https://x\"\naudience = [\"a\"]\nalgorithms = [\"none\"]", "no signature algorithm"),
            ("issuer = \"https://x\"\naudience = [\"a\"]\nsecret = \"x\"", "there is no setting"),
        ] {
            let problems = load(&format!("[[initiators]]\n{body}\n")).unwrap_err();
            assert!(problems.contains(expected), "{body}: {problems}");
        }
        let twice = "[[initiators]]\nissuer = \"https://x\"\naudience = [\"a\"]\n".repeat(2);
        assert!(load(&twice).unwrap_err().contains("is there twice"));
    }
}
