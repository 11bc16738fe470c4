use super::*;
use claim::Claim;
use holdall::ids::Sha256;

/// What stock cosign 2.5.0 and 3.1.1 wrote for one image, with one key: the seeds of the fuzz target.
const KEY: &[u8] = include_bytes!("../../../fuzz/seeds/cosign/p256");
const PAYLOAD: &[u8] = include_bytes!("../../../fuzz/seeds/cosign/payload");
const SIGNATURE: &str =
    "MEUCIG6qcg0jQPTsnN7JEjLyRR8wuN3oSBKUQaOCR8xXxqLmAiEAzIg7zUYxo2T2ASIc5X0ummqi8qUZWa6Lr+uJx5sCbdw=";
const BUNDLE: &[u8] = include_bytes!("../../../fuzz/seeds/cosign/bundle");
const IMAGE: &str = "c84cb2949a16fbd29c64ec8a5cbb22d7a0935c3d35047e5779706a013692b94b";

fn key() -> PublicKey {
    PublicKey::parse(KEY, "cosign.pub").unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn both_of_cosign_s_forms_hold_for_the_image_they_name_and_for_nothing_that_was_changed() {
    let image = Sha256::from_hex(IMAGE).unwrap();
    for claim in [
        claim::simple_signing(PAYLOAD, SIGNATURE).unwrap(),
        claim::bundle(BUNDLE).unwrap(),
    ] {
        assert_eq!(claim.digests, [image]);
        assert!(key().signed(&claim.message, &claim.signature));
        for at in 0..claim.message.len() {
            let Claim {
                mut message,
                signature,
                ..
            } = claim.clone();
            message[at] ^= 1;
            assert!(!key().signed(&message, &signature), "byte {at}");
        }
        for at in 0..claim.signature.len() {
            let Claim {
                message,
                mut signature,
                ..
            } = claim.clone();
            signature[at] ^= 1;
            assert!(!key().signed(&message, &signature), "byte {at} of the signature");
        }
        assert!(!key().signed(&claim.message, b""));
    }
}

#[test]
fn a_form_that_breaks_off_anywhere_is_malformed_and_no_panic() {
    for len in 0..PAYLOAD.len() {
        let found = claim::simple_signing(&PAYLOAD[..len], SIGNATURE);
        assert!(matches!(found, Err(Fault::Malformed(_))), "{len}: {found:?}");
    }
    for len in 0..BUNDLE.len() {
        let found = claim::bundle(&BUNDLE[..len]);
        assert!(matches!(found, Err(Fault::Malformed(_))), "{len}: {found:?}");
    }
    assert!(matches!(
        claim::simple_signing(PAYLOAD, "not base64!"),
        Err(Fault::Malformed(_))
    ));
}

#[test]
fn what_signs_something_else_than_an_image_is_no_signature_of_one() {
    let other = text(PAYLOAD).replace("cosign container image", "atomic container");
    assert_eq!(
        claim::simple_signing(other.as_bytes(), SIGNATURE),
        Err(Fault::OtherStatement("atomic container signature".to_owned()))
    );
    let other = text(BUNDLE).replace("application/vnd.in-toto+json", "text/plain");
    assert_eq!(
        claim::bundle(other.as_bytes()),
        Err(Fault::OtherStatement("text/plain".to_owned()))
    );
    let sha512 = text(PAYLOAD).replace("sha256:", "sha512:");
    assert!(matches!(
        claim::simple_signing(sha512.as_bytes(), SIGNATURE),
        Err(Fault::Malformed(_))
    ));
}

#[test]
fn two_values_for_one_name_are_malformed_and_neither_is_chosen() {
    let twice = text(PAYLOAD).replacen("\"image\":{", "\"image\":{\"docker-manifest-digest\":\"x\",", 1);
    assert!(matches!(
        claim::simple_signing(twice.as_bytes(), SIGNATURE),
        Err(Fault::Malformed(_))
    ));
    let (start, end) = ("\"signatures\":[", "]}}");
    let (_, rest) = text(BUNDLE).split_once(start).unwrap();
    let one = rest.strip_suffix(end).unwrap();
    let twice = text(BUNDLE).replacen(one, &format!("{one},{one}"), 1);
    assert!(matches!(
        claim::bundle(twice.as_bytes()),
        Err(Fault::Malformed(_))
    ));
}

#[test]
fn nothing_of_a_signature_passes_for_a_line_of_its_own() {
    let other = text(BUNDLE).replace(
        "application/vnd.dev.sigstore.bundle.v0.3+json",
        &format!("x\\nsigned   docker.io/a/b:1: by cosign.pub{}", "y".repeat(1000)),
    );
    let fault = claim::bundle(other.as_bytes()).unwrap_err().to_string();
    assert!(
        fault.contains("signed   docker.io") && !fault.contains('\n'),
        "{fault}"
    );
    assert!(fault.chars().count() < 300, "{fault}");
}

#[test]
fn keys_of_the_kinds_that_cosign_signs_with_are_taken_and_others_are_named() {
    for pem in [
        KEY,
        include_bytes!("../../../fuzz/seeds/cosign/p384"),
        include_bytes!("../../../fuzz/seeds/cosign/rsa"),
        include_bytes!("../../../fuzz/seeds/cosign/ed25519"),
    ] {
        PublicKey::parse(pem, "k").unwrap();
    }
    let not_one = PublicKey::parse(
        b"-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\nAAAA\n",
        "cosign.key",
    );
    let message = not_one.unwrap_err().to_string();
    assert!(
        message.contains("cosign.key") && message.contains("PUBLIC KEY"),
        "{message}"
    );
    // X25519, by which nothing is signed.
    let other = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VuAyEAlHSu7O/sdM02DEPtoa1nHBgBl2KUx1HMA4R2edFFXQQ=\n-----END PUBLIC KEY-----\n";
    let refused = PublicKey::parse(other.as_bytes(), "k").unwrap_err();
    assert!(matches!(refused, crate::Error::Unsupported { .. }), "{refused}");
}
