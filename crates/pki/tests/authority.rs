//! What the authority issues, to whom, and that a rotation cuts nobody off.

#![cfg(test)]

use std::sync::Arc;

use countersign_model::{Seconds, Timestamp};
use countersign_pki::{
    Authority, AuthorityError, CertificateError, Identity, IdentityError, IdentityRequest, PeerCertificate,
    SpiffeId, TrustBundle, TrustDomain,
};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PKCS_ED25519, SanType,
};
use rustls::{
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, UnixTime},
    server::WebPkiClientVerifier,
};
use x509_parser::{
    certificate::X509Certificate, certification_request::X509CertificationRequest, prelude::FromDer,
};

const HOUR: Seconds = Seconds::new(3_600);

fn now() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

fn later(hours: u32) -> Timestamp {
    now().plus(Seconds::new(hours * 3_600))
}

fn domain() -> TrustDomain {
    "example.org".parse().unwrap()
}

fn agent(name: &str) -> SpiffeId {
    SpiffeId::agent(domain(), name.parse().unwrap())
}

fn authority() -> Authority {
    Authority::generate(domain(), now()).unwrap()
}

fn enrolled(authority: &Authority, name: &str, at: Timestamp) -> Identity {
    let request = IdentityRequest::generate().unwrap();
    let issued = authority.issue(request.csr(), &agent(name), at, HOUR).unwrap();
    request.complete(issued.chain).unwrap()
}

/// Verifies a chain as a TLS server does.
fn verifies(chain: &[CertificateDer<'static>], trust: &TrustBundle, at: Timestamp) -> bool {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let roots = Arc::new(trust.roots().unwrap());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build().unwrap();
    let at = UnixTime::since_unix_epoch(std::time::Duration::from_secs(at.as_seconds().try_into().unwrap()));
    verifier.verify_client_cert(&chain[0], &chain[1..], at).is_ok()
}

fn only(root: &CertificateDer<'static>) -> TrustBundle {
    TrustBundle::new(vec![root.clone()]).unwrap()
}

#[test]
fn an_svid_names_one_agent_and_lives_an_hour() {
    let authority = authority();
    let identity = enrolled(&authority, "deploy-bot", now());
    let certificate = identity.certificate();
    assert_eq!(certificate.spiffe_id, agent("deploy-bot"));
    assert_eq!(certificate.not_after, later(1));
    assert!(certificate.not_before < now(), "clocks that run behind are forgiven");
    let trust = authority.trust_bundle().unwrap();
    assert!(verifies(identity.chain(), &trust, now()));
    assert!(!verifies(identity.chain(), &trust, later(2)), "it ends");
    let stranger = Authority::generate(domain(), now()).unwrap();
    assert!(!verifies(identity.chain(), &stranger.trust_bundle().unwrap(), now()));
    let half_life = identity.renew_at().millis_since(now());
    assert!((25 * 60_000..=30 * 60_000).contains(&half_life), "{half_life}");
    assert!(identity.is_valid_at(now()) && !identity.is_valid_at(later(2)));
}

#[test]
fn no_two_certificates_have_one_serial_number() {
    let authority = authority();
    let request = IdentityRequest::generate().unwrap();
    let issue = || authority.issue(request.csr(), &agent("a"), now(), HOUR).unwrap().certificate;
    let (one, two) = (issue(), issue());
    assert_ne!(one.serial, two.serial);
    assert_ne!(one.fingerprint, two.fingerprint);
}

/// The attack: a request that asks to be another agent, an authority, and valid for ever.
#[test]
fn nothing_but_the_public_key_is_taken_from_a_request() {
    let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "control-plane");
    params.subject_alt_names = vec![
        SanType::URI("spiffe://example.org/control-plane".try_into().unwrap()),
        SanType::DnsName("control.example.org".try_into().unwrap()),
    ];
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::Any];
    let csr = params.serialize_request(&key).unwrap();
    let issued = authority().issue(csr.der(), &agent("honest"), now(), HOUR).unwrap();
    let read = PeerCertificate::read(&issued.chain[0]).unwrap();
    assert_eq!(read.spiffe_id, agent("honest"));
    assert_eq!(read, issued.certificate);
    assert_eq!(read.not_after, later(1));
}

fn public_key(der: &[u8]) -> Vec<u8> {
    X509Certificate::from_der(der).unwrap().1.public_key().raw.to_vec()
}

fn request_key(csr: &[u8]) -> Vec<u8> {
    let (_, request) = X509CertificationRequest::from_der(csr).unwrap();
    request.certification_request_info.subject_pki.raw.to_vec()
}

#[test]
fn requests_that_are_not_signed_with_their_own_ed25519_key_are_refused() {
    let authority = authority();
    let issue = |csr: &[u8]| authority.issue(csr, &agent("a"), now(), HOUR);
    let good = IdentityRequest::generate().unwrap();
    for position in 0..good.csr().len() {
        let mut changed = good.csr().to_vec();
        changed[position] ^= 1;
        match issue(&changed) {
            Err(AuthorityError::Request(_)) => {}
            // The frame around the signature has a few bits that mean nothing; the key is still the signed one.
            Ok(issued) => {
                assert_eq!(public_key(&issued.chain[0]), request_key(good.csr()), "byte {position}");
            }
            Err(other) => panic!("byte {position}: {other}"),
        }
    }
    let other = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let csr = CertificateParams::default().serialize_request(&other).unwrap();
    assert!(matches!(issue(csr.der()), Err(AuthorityError::Request(_))));
    assert!(matches!(issue(&[0x30; 10_000]), Err(AuthorityError::Request(_))));
    assert!(matches!(issue(&[good.csr(), b"x"].concat()), Err(AuthorityError::Request(_))));
    assert!(matches!(issue(b""), Err(AuthorityError::Request(_))));
}

#[test]
fn an_authority_issues_for_its_own_trust_domain_only_and_not_after_its_end() {
    let authority = authority();
    let request = IdentityRequest::generate().unwrap();
    let foreign = SpiffeId::agent("example.com".parse().unwrap(), "a".parse().unwrap());
    let refused = authority.issue(request.csr(), &foreign, now(), HOUR);
    assert!(matches!(refused, Err(AuthorityError::Foreign(_))));
    let nearly = authority.not_after().minus(Seconds::new(600));
    let issued = authority.issue(request.csr(), &agent("a"), nearly, HOUR).unwrap();
    assert_eq!(issued.certificate.not_after, authority.not_after(), "no certificate outlives its authority");
    let ended = authority.not_after().plus(HOUR);
    let refused = authority.issue(request.csr(), &agent("a"), ended, HOUR);
    assert!(matches!(refused, Err(AuthorityError::Expired)));
}

#[test]
fn a_certificate_is_taken_only_for_its_own_key() {
    let authority = authority();
    let (mine, yours) = (IdentityRequest::generate().unwrap(), IdentityRequest::generate().unwrap());
    let issued = authority.issue(yours.csr(), &agent("a"), now(), HOUR).unwrap();
    assert!(matches!(mine.complete(issued.chain), Err(IdentityError::Mismatch(_))));
}

fn self_signed(change: impl FnOnce(&mut CertificateParams)) -> CertificateDer<'static> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.subject_alt_names = vec![SanType::URI("spiffe://example.org/agent/a".try_into().unwrap())];
    change(&mut params);
    params.self_signed(&KeyPair::generate_for(&PKCS_ED25519).unwrap()).unwrap().into()
}

#[test]
fn a_peer_has_exactly_one_name_and_it_is_a_spiffe_id() {
    let uri = |text: &str| SanType::URI(text.try_into().unwrap());
    let read = |names: Vec<SanType>| {
        PeerCertificate::read(&self_signed(|params| params.subject_alt_names = names)).unwrap_err()
    };
    assert!(PeerCertificate::read(&self_signed(|_| {})).is_ok());
    assert!(matches!(read(vec![]), CertificateError::Names(_)));
    let (a, b) = (uri("spiffe://example.org/agent/a"), uri("spiffe://example.org/agent/b"));
    assert!(matches!(read(vec![a.clone(), b]), CertificateError::Names(_)));
    let dns = SanType::DnsName("a.example.org".try_into().unwrap());
    assert!(matches!(read(vec![a, dns.clone()]), CertificateError::Names(_)));
    assert!(matches!(read(vec![dns]), CertificateError::Names(_)));
    for wrong in ["https://example.org/agent/a", "spiffe://example.org/agent/a/b", "spiffe://example.org"] {
        assert!(matches!(read(vec![uri(wrong)]), CertificateError::SpiffeId(_)), "{wrong}");
    }
}

#[test]
fn a_peer_is_not_an_authority_and_may_sign_handshakes() {
    let read = |change: fn(&mut CertificateParams)| PeerCertificate::read(&self_signed(change)).unwrap_err();
    assert_eq!(
        read(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)),
        CertificateError::Authority
    );
    assert_eq!(
        read(|params| params.key_usages.push(KeyUsagePurpose::KeyCertSign)),
        CertificateError::Authority
    );
    assert_eq!(
        read(|params| params.key_usages = vec![KeyUsagePurpose::KeyAgreement]),
        CertificateError::KeyUsage
    );
    assert_eq!(read(|params| params.key_usages.clear()), CertificateError::KeyUsage);
}

#[test]
fn after_a_rotation_old_and_new_certificates_are_good_and_old_trust_still_finds_the_new() {
    let old = authority();
    let before = enrolled(&old, "before", now());
    let old_root = old.trust_bundle().unwrap().certificates()[0].clone();
    let new = old.rotate(now()).unwrap();
    let after = enrolled(&new, "after", now());
    let bundle = new.trust_bundle().unwrap();
    assert_eq!(bundle.certificates().len(), 2);
    assert!(verifies(before.chain(), &bundle, now()), "old certificates stay good");
    assert!(verifies(after.chain(), &bundle, now()));
    assert!(verifies(after.chain(), &only(&old_root), now()), "who knows only the old root finds the new");
    assert!(verifies(after.chain(), &only(&bundle.certificates()[0]), now()));
    assert!(!verifies(before.chain(), &only(&bundle.certificates()[0]), now()), "once the old is dropped");
}

#[test]
fn the_control_planes_chain_holds_every_root_that_a_token_may_name() {
    let old = authority();
    let fingerprints = [old.fingerprint()];
    let new = old.rotate(now()).unwrap().rotate(now()).unwrap();
    let identity = new.control_plane_identity(now(), HOUR).unwrap();
    let shown: Vec<_> = identity.chain().iter().map(|der| countersign_model::Digest::of(der)).collect();
    for fingerprint in fingerprints.into_iter().chain([new.fingerprint()]) {
        assert!(shown.contains(&fingerprint));
    }
    for root in new.trust_bundle().unwrap().certificates() {
        assert!(verifies(identity.chain(), &only(root), now()));
    }
}

#[test]
fn many_rotations_stay_within_bounds_and_ended_roots_are_forgotten() {
    let mut authority = authority();
    for _ in 0..12 {
        authority = authority.rotate(now()).unwrap();
    }
    assert_eq!(authority.trust_bundle().unwrap().certificates().len(), TrustBundle::MAX);
    let identity = authority.control_plane_identity(now(), HOUR).unwrap();
    assert!(verifies(identity.chain(), &authority.trust_bundle().unwrap(), now()));
    let much_later = authority.not_after().minus(HOUR);
    let mut rotated = authority.rotate(much_later).unwrap();
    assert!(rotated.forget_expired(much_later.plus(Seconds::new(7_200))));
    assert_eq!(rotated.trust_bundle().unwrap().certificates().len(), 1);
}

#[test]
fn an_authority_is_kept_in_one_private_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("authority.pem");
    let made = Authority::open_or_create(&path, &domain(), now()).unwrap();
    let opened = Authority::open_or_create(&path, &domain(), later(1)).unwrap();
    assert_eq!(made.fingerprint(), opened.fingerprint());
    let rotated = opened.rotate(now()).unwrap();
    rotated.save(&path).unwrap();
    let read = Authority::load(&path, &domain()).unwrap();
    assert_eq!(read.trust_bundle().unwrap(), rotated.trust_bundle().unwrap());
    let identity = enrolled(&read, "a", now());
    assert!(verifies(identity.chain(), &only(&made.trust_bundle().unwrap().certificates()[0]), now()));
    std::os::unix::fs::symlink("/dev/null", folder.path().join("empty.pem")).unwrap();
    assert!(Authority::load(&folder.path().join("empty.pem"), &domain()).is_err());
}

#[test]
fn processes_that_start_at_once_agree_on_one_authority() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("authority.pem");
    let start = || Authority::open_or_create(&path, &domain(), now()).unwrap().fingerprint();
    let fingerprints: Vec<_> = std::thread::scope(|scope| {
        let started: Vec<_> = (0..8).map(|_| scope.spawn(start)).collect();
        started.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(fingerprints.windows(2).all(|pair| pair[0] == pair[1]));
}

fn brought(
    alg: &'static rcgen::SignatureAlgorithm,
    change: impl FnOnce(&mut CertificateParams),
) -> (String, String) {
    let key = KeyPair::generate_for(alg).unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "Example Corporate CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    change(&mut params);
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

#[test]
fn an_operator_can_bring_an_authority_of_another_kind_and_take_over_with_it() {
    let (certificate, key) = brought(&PKCS_ECDSA_P256_SHA256, |_| {});
    let brought = Authority::from_pem(domain(), certificate.as_bytes(), key.as_bytes(), now()).unwrap();
    let identity = enrolled(&brought, "a", now());
    assert!(verifies(identity.chain(), &brought.trust_bundle().unwrap(), now()));
    let own = authority();
    let own_root = own.trust_bundle().unwrap();
    let taken_over = own.hand_over_to(brought, now()).unwrap();
    assert!(verifies(enrolled(&taken_over, "b", now()).chain(), &own_root, now()));
}

#[test]
fn an_authority_that_cannot_issue_is_refused_at_once() {
    let open = |certificate: &str, key: &str| {
        Authority::from_pem(domain(), certificate.as_bytes(), key.as_bytes(), now()).map(drop)
    };
    let (certificate, key) = brought(&PKCS_ED25519, |_| {});
    let (_, other_key) = brought(&PKCS_ED25519, |_| {});
    assert!(open(&certificate, &key).is_ok());
    assert!(matches!(open(&certificate, &other_key), Err(AuthorityError::KeyMismatch)));
    let (leaf, leaf_key) = brought(&PKCS_ED25519, |params| params.is_ca = IsCa::ExplicitNoCa);
    assert!(matches!(open(&leaf, &leaf_key), Err(AuthorityError::Unfit(_))));
    let (mute, mute_key) =
        brought(&PKCS_ED25519, |params| params.key_usages = vec![KeyUsagePurpose::DigitalSignature]);
    assert!(matches!(open(&mute, &mute_key), Err(AuthorityError::Unfit(_))));
    let (ended, ended_key) =
        brought(&PKCS_ED25519, |params| params.not_after = rcgen::date_time_ymd(2020, 1, 1));
    assert!(matches!(open(&ended, &ended_key), Err(AuthorityError::Expired)));
    assert!(matches!(open("", &key), Err(AuthorityError::Unfit(_))));
    assert!(matches!(open(&certificate, ""), Err(AuthorityError::Pem(_))));
    assert!(matches!(open("nonsense", "nonsense"), Err(AuthorityError::Pem(_))));
}

#[test]
fn an_identity_is_kept_in_one_private_file_and_never_printed() {
    let folder = tempfile::tempdir().unwrap();
    let (path, trust_path) = (folder.path().join("identity.pem"), folder.path().join("trust.pem"));
    let authority = authority();
    let identity = enrolled(&authority, "a", now());
    identity.save(&path).unwrap();
    let read = Identity::load(&path).unwrap();
    assert_eq!(read.certificate(), identity.certificate());
    assert_eq!(read.chain(), identity.chain());
    let renewed = enrolled(&authority, "a", later(1));
    renewed.save(&path).unwrap();
    assert_eq!(Identity::load(&path).unwrap().certificate(), renewed.certificate());
    let trust = authority.trust_bundle().unwrap();
    trust.save(&trust_path).unwrap();
    assert_eq!(TrustBundle::load(&trust_path).unwrap(), trust);
    assert!(TrustBundle::load(&path).is_err(), "a file with a private key is no trust bundle");
    let shown = format!("{authority:?} {identity:?} {:?}", IdentityRequest::generate().unwrap());
    assert!(!shown.contains("PRIVATE") && !shown.to_lowercase().contains("key:"), "{shown}");
}

#[test]
fn a_trust_bundle_holds_authorities_only_and_never_nobody() {
    let authority = authority();
    let leaf = enrolled(&authority, "a", now()).chain()[0].clone();
    assert!(TrustBundle::new(vec![]).is_err());
    assert!(TrustBundle::new(vec![leaf]).is_err());
    let root = authority.trust_bundle().unwrap().certificates()[0].clone();
    assert!(TrustBundle::new(vec![root; TrustBundle::MAX + 1]).is_err());
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_a_parser_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..600), at in 0_usize..400) {
        use std::sync::OnceLock;
        static GOOD: OnceLock<(Authority, Vec<u8>, Vec<u8>)> = OnceLock::new();
        let (authority, csr, leaf) = GOOD.get_or_init(|| {
            let authority = authority();
            let request = IdentityRequest::generate().unwrap();
            let csr = request.csr().to_vec();
            let leaf = authority.issue(&csr, &agent("a"), now(), HOUR).unwrap().chain[0].to_vec();
            (authority, csr, leaf)
        });
        let mutated = |good: &[u8]| {
            let mut changed = good.to_vec();
            for (place, byte) in changed.iter_mut().skip(at).zip(bytes.iter().take(8)) {
                *place = *byte;
            }
            changed
        };
        for csr in [bytes.clone(), mutated(csr)] {
            let _ = authority.issue(&csr, &agent("a"), now(), HOUR);
        }
        for der in [bytes.clone(), mutated(leaf)] {
            let _ = PeerCertificate::read(&CertificateDer::from(der.clone()));
            let _ = TrustBundle::new(vec![CertificateDer::from(der)]);
        }
        let _ = TrustBundle::from_pem(&bytes);
    }
}
