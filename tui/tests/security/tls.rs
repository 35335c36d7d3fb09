//! Encrypted connections: who is trusted, who is let in, and what is said where either fails.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use bridge_shared::sandbox::Sandbox;
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

/// A port that nobody listens on, low enough for the nodes of a cluster, which talk among
/// themselves on the one 10,000 further up.
fn free_port() -> String {
    loop {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        if port < 50_000 {
            return port.to_string();
        }
    }
}

/// Settings of a server that speaks TLS on this port as well, and shows this certificate.
fn speaks_tls(
    files: &Files,
    ca: &Authority,
    certificate: &(String, String),
    port: &str,
) -> Vec<String> {
    let [cert, key] = files.pair("server", certificate);
    let ca = files.write("server-ca.pem", &ca.pem);
    let settings = [
        ["--tls-port", port],
        ["--tls-cert-file", &cert],
        ["--tls-key-file", &key],
        ["--tls-ca-cert-file", &ca],
    ];
    settings.concat().into_iter().map(str::to_owned).collect()
}

/// The same words as the sandbox wants them.
fn words(settings: &[String]) -> Vec<&str> {
    settings.iter().map(String::as_str).collect()
}

/// A Redis that speaks TLS on a port of its own, and shows this certificate.
fn server(files: &Files, ca: &Authority, certificate: &(String, String)) -> (Server, String) {
    let acl = files.write(
        "users.acl",
        "user default on nopass ~* &* +@all\nuser ada on >hunter2 ~* &* +@all\n",
    );
    let port = free_port();
    let settings = speaks_tls(files, ca, certificate, &port);
    let settings = [&words(&settings)[..], &["--aclfile", &acl]].concat();
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
    // So many that they go by whole batches, for which a worker has connections of its own.
    let leads = server.file("leads.jsonl", &"{\"name\":\"Ada Example\"}\n".repeat(3_000));
    succeeds(with(bridge(&url, &["push", &leads])));
    eventually("the leads are enriched", || {
        server.run::<u64>("XLEN enriched_leads") == 3_000
    });
    let calls: String = server.run("INFO commandstats");
    assert!(calls.contains("cmdstat_sort:"), "{calls}");
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
fn certificates_that_are_exchanged_while_a_worker_runs_need_no_restart() {
    let (files, ca) = (Files::new(), Authority::new("The old CA"));
    let (mut server, url) = server(&files, &ca, &ca.vouches("localhost", 2_999));
    let [cert, key] = files.pair("client", &ca.vouches("bridge", 2_999));
    let trusted = files.write("ca.pem", &ca.pem);
    let mut command = worker(&url, &[]);
    command.envs([
        ("REDIS_CA_FILE", &trusted),
        ("REDIS_CERT_FILE", &cert),
        ("REDIS_KEY_FILE", &key),
    ]);
    let working = Running::start(command, server.path("log"));
    let lead = r#"{"name":"Ada"}"#;
    let done = |server: &mut Server, n: u64| {
        let _: u64 = server.run(&format!("LPUSH leads_to_enrich {lead}"));
        eventually("the lead is enriched", || {
            server.run::<u64>("XLEN enriched_leads") == n
        });
    };
    done(&mut server, 1);
    // Everything is another one: whom the server trusts, what it shows, and the same on our side.
    let ca = Authority::new("The new CA");
    let [new_cert, new_key] = files.pair("new-server", &ca.vouches("localhost", 2_999));
    let new_ca = files.write("new-server-ca.pem", &ca.pem);
    let _: () = server.run(&format!(
        "CONFIG SET tls-cert-file {new_cert} tls-key-file {new_key} tls-ca-cert-file {new_ca}"
    ));
    files.pair("client", &ca.vouches("bridge", 2_999));
    files.write("ca.pem", &ca.pem);
    let _: u64 = server.run("CLIENT KILL TYPE normal SKIPME yes");
    done(&mut server, 2);
    drop(working);
}

/// A lead goes its way over TLS, and nobody comes in without the right certificates.
fn works_over_tls(
    server: &mut Server,
    url: &str,
    names: &[(&str, &str); 3],
    ca: &Authority,
    files: &Files,
) {
    let [cert, key] = files.pair("client", &ca.vouches("bridge", 2_999));
    let trusted = files.write("ca.pem", &ca.pem);
    let strangers = files.write("others.pem", &Authority::new("Another CA").pem);
    let with = |mut command: Command, ca: &str| {
        command.envs(names.iter().copied()).envs([
            ("REDIS_CA_FILE", ca),
            ("REDIS_CERT_FILE", &cert),
            ("REDIS_KEY_FILE", &key),
        ]);
        command
    };
    let mut working = Running::start(with(worker(url, &[]), &trusted), server.path("log"));
    let leads = server.file("leads.jsonl", "{\"name\":\"Ada Example\"}\n");
    succeeds(with(bridge(url, &["push", &leads]), &trusted));
    eventually("the lead is enriched", || {
        server.run::<u64>(&format!("XLEN {}", names[2].1)) == 1
    });
    let frame = succeeds(with(
        bridge(url, &["--once", "text", "--keys", "2"]),
        &trusted,
    ));
    assert!(
        !frame.contains("encrypted") && !frame.contains("lost"),
        "{frame}"
    );
    working.stop();
    is_told(
        with(bridge(url, &["dlq", "count"]), &strangers),
        &["nobody who is trusted here vouches", "REDIS_CA_FILE"],
    );
    let mut bare = bridge(url, &["dlq", "count"]);
    bare.envs(names.iter().copied());
    bare.env("REDIS_CA_FILE", &trusted);
    is_told(bare, &["REDIS_CERT_FILE"]);
}

#[test]
fn sentinels_and_the_primary_they_name_are_talked_to_over_tls() {
    let (files, ca) = (Files::new(), Authority::new("The CA"));
    let certificate = ca.vouches("127.0.0.1", 2_999);
    let (port, watch_port) = (free_port(), free_port());
    let settings = speaks_tls(&files, &ca, &certificate, &port);
    let mut server = Server::start(&words(&settings), "");
    let settings = speaks_tls(&files, &ca, &certificate, &watch_port);
    let settings = [&words(&settings)[..], &["--tls-replication", "yes"]].concat();
    let patient = std::time::Duration::from_secs(60);
    let sentinel = server.redis.sentinel("leads", patient, &settings);
    let mut sentinel = Server::of(sentinel.expect("a sentinel"), "");
    // It was started with the port that is not encrypted, and would name that one.
    let _: () = sentinel.run("SENTINEL REMOVE leads");
    let _: () = sentinel.run(&format!("SENTINEL MONITOR leads 127.0.0.1 {port} 1"));
    let url = format!("rediss+sentinel://127.0.0.1:{watch_port}/leads/0");
    let names = [
        ("QUEUE_NAME", "leads_to_enrich"),
        ("FAILED_QUEUE_NAME", "failed_leads"),
        ("ENRICHED_STREAM", "enriched_leads"),
    ];
    works_over_tls(&mut server, &url, &names, &ca, &files);
}

#[test]
fn a_cluster_is_talked_to_over_tls() {
    let (files, ca) = (Files::new(), Authority::new("The CA"));
    let port = free_port();
    let settings = speaks_tls(&files, &ca, &ca.vouches("localhost", 2_999), &port);
    let settings = [&words(&settings)[..], &["--tls-cluster", "yes"]].concat();
    let node = Sandbox::cluster_node(&settings).expect("a node");
    let mut server = Server::of(node, "");
    let _: () = server.run("CLUSTER ADDSLOTSRANGE 0 16383");
    eventually("the cluster serves", || {
        let info: String = server.run("CLUSTER INFO");
        info.contains("cluster_state:ok")
    });
    let url = format!("rediss+cluster://localhost:{port}");
    let names = [
        ("QUEUE_NAME", "{leads}_to_enrich"),
        ("FAILED_QUEUE_NAME", "{leads}_failed"),
        ("ENRICHED_STREAM", "{leads}_enriched"),
    ];
    works_over_tls(&mut server, &url, &names, &ca, &files);
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
