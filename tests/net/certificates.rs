//! Certificates: what is made can be used, and what does not fit is refused with words that help.

use std::fs;
use std::time::{Duration, SystemTime};

use plimsoll::id::ClusterId;
use plimsoll::net::{Authority, Bounds, Caller, Credentials, CredentialsFiles, Endpoint, IssueError};

use crate::site::{CLUSTER, Site, authority, credentials_of_client, loopback, node, within};

#[test]
fn what_an_authority_issues_says_whom_it_is_for() {
    let authority = authority();
    let issued = authority.node(node(7), None).unwrap();
    let credentials = Credentials::from_pem(&issued.certificate, &issued.key, authority.certificate()).unwrap();
    assert_eq!(credentials.caller(), Caller::Node(node(7)));
    assert_eq!(credentials.cluster(), CLUSTER);
    assert_eq!(credentials_of_client(&authority).caller(), Caller::Client);
    let shown = format!("{credentials:?}");
    let secret: String = issued.key.lines().filter(|line| !line.starts_with('-')).collect();
    assert!(!shown.contains(&secret[..16]), "{shown}");
}

#[test]
fn an_authority_that_was_kept_issues_for_the_same_cluster() {
    within(async {
        let first = authority();
        let kept = Authority::from_pem(first.certificate(), &first.key()).unwrap();
        assert_eq!(kept.cluster(), CLUSTER);
        let (one, mut two) = (Site::open(&first, 1), Site::open(&kept, 2));
        one.knows(&two);
        one.say(2, 0..1);
        two.hears(1, 0..1).await;
    });
}

#[test]
fn an_authority_is_not_made_of_parts_that_do_not_belong_together() {
    let (one, two) = (authority(), authority());
    let error = Authority::from_pem(one.certificate(), &two.key()).err().unwrap();
    assert_eq!(error, IssueError::Mismatch);
    let of_node = one.node(node(1), None).unwrap();
    for (certificate, key, expected) in [
        (of_node.certificate.as_str(), of_node.key.as_str(), "not an authority's"),
        ("nothing", &one.key(), "no PEM certificate"),
        (one.certificate(), "nothing", "the authority's key is unusable"),
    ] {
        let error = Authority::from_pem(certificate, key).err().unwrap().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn credentials_that_do_not_fit_say_which_part_and_what_to_do() {
    let authority = authority();
    let issued = authority.node(node(1), None).unwrap();
    let (certificate, key, trusted) = (
        issued.certificate.as_str(),
        issued.key.as_str(),
        authority.certificate(),
    );
    let elsewhere = Authority::new(ClusterId::new(1), None).unwrap();
    let two_trusted = format!("{trusted}{trusted}");
    let cut = &certificate[..certificate.len() / 2];
    for (certificate, key, trusted, expected) in [
        (
            key,
            key,
            trusted,
            "the certificate is unusable: there is no certificate in it; give the PEM certificate that",
        ),
        (
            "",
            key,
            trusted,
            "the certificate is unusable: there is no certificate in it",
        ),
        (cut, key, trusted, "the certificate is unusable: it is no PEM"),
        (
            trusted,
            key,
            trusted,
            "the certificate is unusable: it is an authority's",
        ),
        (
            certificate,
            certificate,
            trusted,
            "the private key is unusable: there is no private key in it; give the PEM key",
        ),
        (
            certificate,
            key,
            certificate,
            "the authority's certificate is unusable: it is that of node-1.",
        ),
        (
            certificate,
            key,
            key,
            "the authority's certificate is unusable: there is no certificate in it",
        ),
        (
            certificate,
            key,
            &two_trusted,
            "it holds 2 certificates, where exactly one is trusted",
        ),
        (certificate, key, elsewhere.certificate(), "give files of one cluster"),
    ] {
        let error = Credentials::from_pem(certificate, key, trusted)
            .err()
            .unwrap()
            .to_string();
        assert!(error.contains(expected), "{error}\nlacks\n{expected}");
    }
}

#[test]
fn a_key_of_another_certificate_opens_no_endpoint() {
    within(async {
        let authority = authority();
        let (one, two) = (
            authority.node(node(1), None).unwrap(),
            authority.node(node(2), None).unwrap(),
        );
        let mixed = Credentials::from_pem(&one.certificate, &two.key, authority.certificate()).unwrap();
        let error = Endpoint::open(loopback(), &mixed, Bounds::default())
            .err()
            .unwrap()
            .to_string();
        assert!(
            error.contains("certificate and its private key cannot be used together"),
            "{error}"
        );
    });
}

#[test]
fn files_are_named_in_errors() {
    let folder = std::env::temp_dir().join(format!("plimsoll-net-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let files = CredentialsFiles {
        certificate: folder.join("node.pem"),
        key: folder.join("node.key"),
        authority: folder.join("authority.pem"),
    };
    let error = Credentials::read(&files).err().unwrap().to_string();
    assert!(
        error.contains("node.pem: cannot be read") && error.contains("it should hold the certificate"),
        "{error}"
    );
    let authority = authority();
    let issued = authority.node(node(1), None).unwrap();
    fs::write(&files.certificate, &issued.certificate).unwrap();
    fs::write(&files.key, "nothing").unwrap();
    fs::write(&files.authority, authority.certificate()).unwrap();
    let error = Credentials::read(&files).err().unwrap().to_string();
    assert!(error.contains("node.key: the private key is unusable"), "{error}");
    fs::write(&files.key, &issued.key).unwrap();
    assert_eq!(Credentials::read(&files).unwrap().caller(), Caller::Node(node(1)));
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn an_expiry_that_cannot_be_written_is_refused() {
    let authority = authority();
    let past = SystemTime::UNIX_EPOCH - Duration::from_secs(1);
    assert!(matches!(
        authority.client(Some(past)).err(),
        Some(IssueError::NotMade(_))
    ));
}
