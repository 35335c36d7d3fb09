//! Encrypted connections: who is trusted, who is let in, and what is said where either fails.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};
use tempfile::TempDir;

use crate::support::{Running, Server, bridge, eventually, fails, succeeds, worker};

/// Somebody who vouches for others.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new(name: &str) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, name);
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Self {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    /// A certificate and its key.
    fn vouches(&self, name: &str, until: i32) -> (String, String) {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(until, 1, 1);
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        (certificate.pem(), key.serialize_pem())
    }
}

/// Files with certificates.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(TempDir::with_prefix("bridge-test-").expect("a folder"))
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).expect("a file");
        path.to_str().expect("a plain path").to_owned()
    }

    /// A certificate as two files.
    fn pair(&self, name: &str, (certificate, key): &(String, String)) -> [String; 2] {
        [
            self.write(&format!("{name}.pem"), certificate),
            self.write(&format!("{name}.key"), key),
        ]
    }
}

/// A Redis that speaks TLS on a port of its own, and shows this certificate.
fn server(files: &Files, ca: &Authority, certificate: &(String, String)) -> (Server, String) {
    let [cert, key] = files.pair("server", certificate);
    let ca = files.write("server-ca.pem", &ca.pem);
    let acl = files.write(
        "users.acl",
        "user default on nopass ~* &* +@all\nuser ada on >hunter2 ~* &* +@all\n",
    );
    let port = TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a free port")
        .port()
        .to_string();
    let settings = [
        "--tls-port",
        &port,
        "--tls-cert-file",
        &cert,
        "--tls-key-file",
        &key,
        "--tls-ca-cert-file",
        &ca,
        "--aclfile",
        &acl,
    ];
    (
        Server::start(&settings, ""),
        format!("rediss://localhost:{port}/0"),
    )
}

/// `bridge dlq count` with these certificates.
fn count(url: &str, settings: &[(&str, &str)]) -> Command {
    let mut command = bridge(url, &["dlq", "count"]);
    command.envs(settings.iter().copied());
    command
}

#[track_caller]
fn is_told(command: Command, words: &[&str]) {
    let told = fails(command);
    assert!(
        !told.contains("panicked") && !told.contains("hunter2"),
        "{told}"
    );
    for word in words {
        assert!(told.contains(word), "{told}");
    }
}

#[test]
fn both_programs_do_their_work_over_tls_with_certificates_of_their_own() {
    let (files, ca) = (Files::new(), Authority::new("The CA"));
    let (mut server, url) = server(&files, &ca, &ca.vouches("localhost", 2_999));
    let [cert, key] = files.pair("client", &ca.vouches("bridge", 2_999));
    let trusted = files.write("ca.pem", &ca.pem);
    let password = files.write("password", "hunter2\n");
    let settings = [
        ("REDIS_CA_FILE", trusted.as_str()),
        ("REDIS_CERT_FILE", &cert),
        ("REDIS_KEY_FILE", &key),
        ("REDIS_PASSWORD_FILE", &password),
    ];
    let url = url.replace("://", "://ada@");
    let with = |mut command: Command| {
        command.envs(settings);
        command
    };
    let mut working = Running::start(with(worker(&url, &[])), server.path("log"));
    let leads = server.file("leads.jsonl", "{\"name\":\"Ada Example\"}\n");
    succeeds(with(bridge(&url, &["push", &leads])));
    eventually("the lead is enriched", || {
        server.run::<u64>("XLEN enriched_leads") == 1
    });
    // The live screen listens on a connection of its own.
    let frame = succeeds(with(bridge(&url, &["--once", "text", "--keys", "2"])));
    assert!(
        !frame.contains("encrypted") && !frame.contains("lost"),
        "{frame}"
    );
    let clients: String = server.run("CLIENT LIST");
    let ours = clients.lines().filter(|line| line.contains("user=ada"));
    assert!(ours.count() >= 2, "{clients}");
    working.stop();

    // The same settings as a profile of the console.
    let config = files.write(
        "config.toml",
        &format!(
            "[profiles.prod]\nurl = \"{url}\"\nca_file = \"{trusted}\"\ncert_file = \"{cert}\"\nkey_file = \"{key}\"\npassword_file = \"{password}\"\n"
        ),
    );
    let args = ["--config", &config, "--profile", "prod", "dlq", "count"];
    assert_eq!(succeeds(bridge("redis://127.0.0.1:1", &args)), "0\n");

    let one = |settings: &[(&str, &str)]| count(&url, settings);
    let ca_file = ("REDIS_CA_FILE", trusted.as_str());
    is_told(
        one(&[("REDIS_PASSWORD", "hunter2"), ca_file]),
        &["certificate of this program", "REDIS_CERT_FILE"],
    );
    let stranger = Authority::new("Another CA");
    let [cert, other_key] = files.pair("stranger", &stranger.vouches("bridge", 2_999));
    is_told(
        one(&[
            ca_file,
            ("REDIS_CERT_FILE", &cert),
            ("REDIS_KEY_FILE", &other_key),
        ]),
        &["certificate", "REDIS_CERT_FILE"],
    );
    is_told(
        one(&[
            ca_file,
            ("REDIS_CERT_FILE", &cert),
            ("REDIS_KEY_FILE", &key),
        ]),
        &["REDIS_CERT_FILE", "REDIS_KEY_FILE"],
    );
    is_told(
        one(&[ca_file, ("REDIS_CERT_FILE", &cert)]),
        &["REDIS_CERT_FILE and REDIS_KEY_FILE go together"],
    );
    let others = files.write("others.pem", &stranger.pem);
    is_told(
        one(&[("REDIS_CA_FILE", &others)]),
        &["nobody who is trusted here vouches", "REDIS_CA_FILE"],
    );
    is_told(
        one(&[]),
        &["nobody who is trusted here vouches", "REDIS_CA_FILE"],
    );
    is_told(
        count(&url.replace("localhost", "127.0.0.1"), &[ca_file]),
        &["another name: localhost"],
    );
    is_told(
        count("redis://localhost:1", &[ca_file]),
        &["would not be encrypted", "rediss://"],
    );
}

#[test]
fn a_certificate_that_has_expired_is_told() {
    let (files, ca) = (Files::new(), Authority::new("The CA"));
    let (_server, url) = server(&files, &ca, &ca.vouches("localhost", 2_021));
    let trusted = files.write("ca.pem", &ca.pem);
    is_told(
        count(&url, &[("REDIS_CA_FILE", &trusted)]),
        &["its certificate has expired"],
    );
    // A worker that cannot be let in says so and ends, instead of waiting for better times.
    let mut command = worker(&url, &[]);
    command.env("REDIS_CA_FILE", &trusted);
    is_told(command, &["its certificate has expired"]);
}

#[test]
fn a_password_comes_from_the_url_a_file_or_the_environment() {
    let acl = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(
        &acl,
        "user default on >admin ~* &* +@all\nuser ada on >p@ss/word ~* &* +@all\n",
    )
    .expect("written");
    let path = acl.path().to_str().expect("a plain path");
    let server = Server::start(&["--aclfile", path], ":admin@");
    let at = format!("127.0.0.1:{}/0", server.redis.port());
    let file = server.file("password", "p@ss/word\n");
    for (url, settings) in [
        (format!("redis://ada:p%40ss%2Fword@{at}"), vec![]),
        (
            format!("redis://ada@{at}"),
            vec![("REDIS_PASSWORD", "p@ss/word")],
        ),
        (
            format!("redis://ada@{at}"),
            vec![
                ("REDIS_PASSWORD_FILE", file.as_str()),
                ("REDIS_PASSWORD", "wrong"),
            ],
        ),
        (
            format!("redis://ada:p%40ss%2Fword@{at}"),
            vec![("REDIS_PASSWORD", "wrong")],
        ),
    ] {
        assert_eq!(
            succeeds(count(&url, &settings)),
            "0\n",
            "{url} {settings:?}"
        );
    }
    let flag = format!("--redis-url=redis://ada:p%40ss%2Fword@{at}");
    let mut command = bridge("redis://127.0.0.1:1", &[&flag, "dlq", "count"]);
    command.env("REDIS_PASSWORD_FILE", Path::new("/nonexistent"));
    assert_eq!(succeeds(command), "0\n");
    is_told(
        count(
            &format!("redis://ada@{at}"),
            &[("REDIS_PASSWORD", "hunter2")],
        ),
        &["refuses the login"],
    );
    is_told(
        count(
            &format!("redis://ada@{at}"),
            &[("REDIS_PASSWORD_FILE", "/nonexistent")],
        ),
        &["cannot read REDIS_PASSWORD_FILE /nonexistent"],
    );
}
