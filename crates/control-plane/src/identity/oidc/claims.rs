//! Who a provider says somebody is: an e-mail address that it has verified, and groups.

use countersign_model::PersonId;
use serde_json::Value;

use super::{
    config::{ProviderConfig, ProviderKind},
    keys::TokenProblem,
    token::{Claims, text},
};

/// The most groups of one person.
const MAX_GROUPS: usize = 1_000;
/// The longest name of a group, in bytes.
const MAX_GROUP: usize = 256;

/// Why a provider's word about somebody is not enough here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotVouched {
    /// There is no e-mail address, or none that can be told apart surely.
    #[error("does not tell an e-mail address that could be used here")]
    NoEmail,
    /// The provider has not verified it.
    #[error("has not verified your e-mail address")]
    Unverified,
    /// The address is in a domain that is not the provider's.
    #[error("may not vouch for e-mail addresses of your domain here")]
    Domain,
    /// The account is not of the organisation.
    #[error("says that your account is not one of this organisation")]
    Organisation,
}

/// The e-mail address that a provider vouches for.
pub(super) fn email(
    config: &ProviderConfig,
    id_token: &Claims,
    more: &Claims,
) -> Result<PersonId, NotVouched> {
    // The organisation is believed from the signed token only, as whether it was asked for says nothing.
    if let Some(wanted) = &config.hosted_domain
        && id_token.get("hd").and_then(Value::as_str) != Some(wanted)
    {
        return Err(NotVouched::Organisation);
    }
    // The address and whether it is verified are of one source, or one would be said of another.
    let source = if id_token.contains_key("email") { id_token } else { more };
    let email = text(source, "email").map_err(|_: TokenProblem| NotVouched::NoEmail)?;
    // Outside ASCII, letters fold into others: two addresses could become one person.
    let (local, domain) = email.rsplit_once('@').ok_or(NotVouched::NoEmail)?;
    if !email.is_ascii() || local.is_empty() || domain.is_empty() || local.contains('@') {
        return Err(NotVouched::NoEmail);
    }
    if config.require_verified_email && !is_true(source.get("email_verified")) {
        return Err(NotVouched::Unverified);
    }
    let domain = domain.to_ascii_lowercase();
    if !config.allowed_domains.is_empty() && !config.is_authoritative_for(&domain) {
        return Err(NotVouched::Domain);
    }
    email.parse().map_err(|_| NotVouched::NoEmail)
}

/// Some providers write a truth as a text.
fn is_true(value: Option<&Value>) -> bool {
    matches!(value, Some(Value::Bool(true))) || value.and_then(Value::as_str) == Some("true")
}

/// Whether the claims leave open what the user-info endpoint may tell.
pub(super) fn is_incomplete(config: &ProviderConfig, claims: &Claims) -> bool {
    let groups = config.groups_claim.as_deref().is_some_and(|path| find(claims, path).is_none());
    !claims.contains_key("email") || (groups && config.kind != ProviderKind::Google)
}

/// The groups that a provider tells. `"*"` stands for every group here, so nobody is in a group of that name.
pub(super) fn groups(config: &ProviderConfig, id_token: &Claims, more: &Claims) -> Vec<String> {
    let Some(path) = &config.groups_claim else { return Vec::new() };
    let found = find(id_token, path).or_else(|| find(more, path));
    let names: Vec<&str> = match found {
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
        Some(Value::String(name)) => vec![name],
        _ => Vec::new(),
    };
    let usable = |name: &&str| {
        (1..=MAX_GROUP).contains(&name.len()) && *name != "*" && !name.contains(char::is_control)
    };
    let mut groups: Vec<String> = names.into_iter().filter(usable).map(ToOwned::to_owned).collect();
    groups.sort();
    groups.dedup();
    groups.truncate(MAX_GROUPS);
    groups
}

/// A claim by JSON Pointer, by its name, or by a dotted path.
fn find<'a>(claims: &'a Claims, path: &str) -> Option<&'a Value> {
    if let Some(pointer) = path.strip_prefix('/') {
        let mut steps = pointer.split('/').map(|step| step.replace("~1", "/").replace("~0", "~"));
        let first = claims.get(&steps.next()?)?;
        return steps.try_fold(first, |value, step| value.get(step));
    }
    if let Some(value) = claims.get(path) {
        return Some(value);
    }
    let mut steps = path.split('.');
    let first = claims.get(steps.next()?)?;
    steps.try_fold(first, |value, step| value.get(step))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config() -> ProviderConfig {
        ProviderConfig {
            id: "p".to_owned(),
            name: "P".to_owned(),
            kind: ProviderKind::Generic,
            issuer: "https://idp.example.com".to_owned(),
            client_id: "me".to_owned(),
            client_secret_file: None,
            scopes: Vec::new(),
            groups_claim: Some("groups".to_owned()),
            group_prefix: String::new(),
            hosted_domain: None,
            allowed_domains: Vec::new(),
            require_verified_email: true,
            roles: Vec::new(),
        }
    }

    fn claims(value: Value) -> Claims {
        serde_json::from_value(value).unwrap()
    }

    fn vouched(config: &ProviderConfig, id_token: Value) -> Result<String, NotVouched> {
        email(config, &claims(id_token), &Claims::new()).map(|person| person.to_string())
    }

    #[test]
    fn an_address_is_taken_when_it_is_verified_and_told_apart_surely() {
        let said = |email: &str| vouched(&config(), json!({"email": email, "email_verified": true}));
        assert_eq!(said("Reviewer-One@Example.com").unwrap(), "reviewer-one@example.com");
        // The Kelvin sign folds into the letter k: the address of somebody else.
        for other in [
            "\u{212a}im@example.com",
            "no-domain",
            "@example.com",
            "a@",
            "a@b@example.com",
            "a b@example.com",
        ] {
            assert_eq!(said(other), Err(NotVouched::NoEmail), "{other}");
        }
        let unverified =
            |value: Value| vouched(&config(), json!({"email": "a@example.com", "email_verified": value}));
        assert_eq!(unverified(json!(false)), Err(NotVouched::Unverified));
        assert_eq!(unverified(json!(1)), Err(NotVouched::Unverified));
        assert_eq!(unverified(json!("true")).unwrap(), "a@example.com");
        assert_eq!(vouched(&config(), json!({"email": "a@example.com"})), Err(NotVouched::Unverified));
        assert_eq!(vouched(&config(), json!({})), Err(NotVouched::NoEmail));
    }

    /// That an address is verified is said of the address beside it, and of no other.
    #[test]
    fn two_sources_do_not_vouch_together() {
        let (id_token, more) = (
            json!({"email": "victim@example.com"}),
            json!({"email": "me@example.com", "email_verified": true}),
        );
        assert_eq!(email(&config(), &claims(id_token), &claims(more)), Err(NotVouched::Unverified));
    }

    #[test]
    fn a_provider_vouches_for_its_own_domains_and_organisation_only() {
        let mut config = config();
        config.allowed_domains = vec!["example.com".to_owned()];
        let said = |config: &ProviderConfig, more: Value| {
            let mut claims = claims(json!({"email": "a@example.com", "email_verified": true}));
            claims.extend(more.as_object().unwrap().clone());
            vouched(config, Value::Object(claims))
        };
        said(&config, json!({})).unwrap();
        assert_eq!(said(&config, json!({"email": "a@example.com.evil.example"})), Err(NotVouched::Domain));
        assert_eq!(said(&config, json!({"email": "a@sub.example.com"})), Err(NotVouched::Domain));
        config.hosted_domain = Some("example.com".to_owned());
        said(&config, json!({"hd": "example.com"})).unwrap();
        assert_eq!(said(&config, json!({})), Err(NotVouched::Organisation));
        assert_eq!(said(&config, json!({"hd": "evil.example"})), Err(NotVouched::Organisation));
        let more = claims(json!({"hd": "example.com"}));
        let id_token = claims(json!({"email": "a@example.com", "email_verified": true}));
        assert_eq!(
            email(&config, &id_token, &more),
            Err(NotVouched::Organisation),
            "only the signed one counts"
        );
    }

    #[test]
    fn groups_are_found_by_path_and_nobody_is_in_every_group() {
        let found = |path: &str, value: Value| {
            let config = ProviderConfig { groups_claim: Some(path.to_owned()), ..config() };
            groups(&config, &claims(value), &Claims::new())
        };
        assert_eq!(
            found("groups", json!({"groups": ["sre", "*", "", "dev", 7, "sre", "a\nb"]})),
            ["dev", "sre"]
        );
        assert_eq!(found("groups", json!({"groups": "sre"})), ["sre"]);
        assert_eq!(found("realm_access.roles", json!({"realm_access": {"roles": ["sre"]}})), ["sre"]);
        assert_eq!(found("https://a.example/groups", json!({"https://a.example/groups": ["sre"]})), ["sre"]);
        assert_eq!(found("/a~1b/c", json!({"a/b": {"c": ["sre"]}})), ["sre"]);
        assert!(found("groups", json!({"groups": {"sre": true}})).is_empty());
        assert!(found("/groups/0/x", json!({"groups": ["sre"]})).is_empty());
        let more = claims(json!({"groups": ["sre"]}));
        assert_eq!(groups(&config(), &Claims::new(), &more), ["sre"]);
        assert!(
            groups(&config(), &claims(json!({"groups": []})), &more).is_empty(),
            "the signed one goes first"
        );
    }
}
