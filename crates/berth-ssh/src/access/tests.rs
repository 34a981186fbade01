use std::time::{Duration, UNIX_EPOCH};

use russh::keys::PrivateKey;
use russh::keys::ssh_key::certificate::{Builder, CertType};
use russh::keys::ssh_key::private::Ed25519Keypair;

use super::*;

const FROM: u64 = 1_000;
const UNTIL: u64 = 2_000;

fn key(seed: u8) -> PrivateKey {
    PrivateKey::from(Ed25519Keypair::from_seed(&[seed; 32]))
}

fn line(key: &PrivateKey) -> String {
    key.public_key().to_openssh().unwrap()
}

#[test]
fn keys_are_those_of_the_configuration() {
    let (known, stranger) = (key(1), key(2));
    let with_comment = format!(" {} me@here\n", line(&known).trim());
    let access = Access::read([with_comment.as_str()], []).unwrap();
    let may = |user: &str, key: &PrivateKey| {
        let allowed = access.of_key(user, key.public_key()).is_some();
        assert_eq!(access.may_know(user, key.public_key()), allowed);
        allowed
    };
    assert!(may(USER, &known));
    assert!(!may(USER, &stranger));
    assert!(!may("root", &known));
    assert!(!access.is_empty() && Access::default().is_empty());
}

#[test]
fn what_is_no_ed25519_key_is_said() {
    let read = |line: &str| Access::read([line], []).unwrap_err();
    for wrong in ["", "ssh-ed25519", "ssh-ed25519 AAAA", "hunter2"] {
        assert!(
            matches!(read(wrong), AccessError::NotAKey { .. }),
            "{wrong}"
        );
    }
    let ecdsa = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBHwf2HMM5TRXvo2SQJjsNkiDD5KqiiNjrGVv3UUh+mMT5RHxiRtOnlqvjhQtBq0VpmpCV/PwUdhOig4vkbqAcEc=";
    let refused = read(ecdsa);
    assert!(matches!(refused, AccessError::Kind(_)), "{refused}");
}

/// A certificate of `authority` for `holder`, changed before it is signed.
fn certificate(
    authority: &PrivateKey,
    holder: &PrivateKey,
    change: impl FnOnce(&mut Builder),
) -> Certificate {
    let public = holder.public_key().key_data().clone();
    let mut builder = Builder::new([7; 16], public, FROM, UNTIL).unwrap();
    change(&mut builder);
    builder.sign(authority).unwrap()
}

#[test]
fn certificates_say_who_and_until_when() {
    let (authority, holder) = (key(1), key(2));
    let access = Access::read([], [line(&authority).as_str()]).unwrap();
    // Worth signing, whoever's it is; as a key of its own it is nobody's.
    assert!(access.may_know(USER, holder.public_key()));
    assert!(access.of_key(USER, holder.public_key()).is_none());
    assert!(access.of_key(USER, authority.public_key()).is_none());

    let at = |certificate: &Certificate, seconds: u64| {
        access.of_certificate(USER, certificate, UNIX_EPOCH + Duration::from_secs(seconds))
    };
    let named = |builder: &mut Builder| {
        builder.valid_principal(USER).unwrap();
    };
    let good = certificate(&authority, &holder, named);
    assert_eq!(at(&good, FROM), Some(Allowed { terminal: false }));
    assert_eq!(at(&good, FROM - 1), None);
    assert_eq!(at(&good, UNTIL), None);
    let terminal = certificate(&authority, &holder, |builder| {
        named(builder);
        builder.extension("permit-pty", "").unwrap();
    });
    assert_eq!(at(&terminal, FROM), Some(Allowed { terminal: true }));

    let other = certificate(&key(3), &holder, named);
    assert_eq!(at(&other, FROM), None, "of another authority");
    let whose = certificate(&authority, &holder, |builder| {
        builder.valid_principal("somebody").unwrap();
    });
    assert_eq!(at(&whose, FROM), None, "for somebody else");
    let everybody = certificate(&authority, &holder, |builder| {
        builder.all_principals_valid().unwrap();
    });
    assert_eq!(at(&everybody, FROM), None, "for nobody in particular");
    let host = certificate(&authority, &holder, |builder| {
        named(builder);
        builder.cert_type(CertType::Host).unwrap();
    });
    assert_eq!(at(&host, FROM), None, "a host's");
    let narrow = certificate(&authority, &holder, |builder| {
        named(builder);
        builder.critical_option("force-command", "date").unwrap();
    });
    assert_eq!(at(&narrow, FROM), None, "for less than a shell");
    let user =
        |user: &str| access.of_certificate(user, &good, UNIX_EPOCH + Duration::from_secs(FROM));
    assert!(user("root").is_none());
}
