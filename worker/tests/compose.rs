//! The compose file and the files of settings beside it: each setting reaches every service that reads
//! it, and each secret reaches no other.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::command;
use serde_json::{Map, Value};

/// The secrets of `.env`, and the services that get each.
const SECRETS: [(&str, &[&str]); 3] = [
    ("BRIDGE_API_TOKEN", &["prometheus", "scrapegoat"]),
    ("POSTGRES_PASSWORD", &["postgres"]),
    ("GRAFANA_PASSWORD", &["grafana"]),
];

fn root(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file)
}

fn services() -> Map<String, Value> {
    let text = fs::read_to_string(root("docker-compose.yml")).expect("the compose file");
    let mut file: Value = serde_saphyr::from_str(&text).expect("YAML");
    let Value::Object(services) = file["services"].take() else {
        panic!("the compose file has no services");
    };
    services
}

/// The names that an example file documents, commented out or not.
fn documented(file: &str) -> BTreeSet<String> {
    let text = fs::read_to_string(root(file)).expect(file);
    let names = text.lines().filter_map(|line| {
        let (name, _) = line.trim_start_matches('#').split_once('=')?;
        let is_name = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
        (!name.is_empty() && name.chars().all(is_name)).then(|| name.to_owned())
    });
    names.collect()
}

/// Whether a service gets the value of a setting: as a variable of the same name without a value, or
/// put into any of its texts.
fn gets(service: &Value, name: &str) -> bool {
    let is_handed_on = service["environment"].get(name) == Some(&Value::Null);
    let text = service.to_string();
    is_handed_on
        || [":", "}", "-"]
            .iter()
            .any(|end| text.contains(&format!("${{{name}{end}")))
}

/// The variables that the help of a program names, by the heading that each stands under.
fn read_by(mut program: Command) -> BTreeMap<String, BTreeSet<String>> {
    let output = program.arg("--help").stdout(Stdio::piped()).output();
    let output = output.expect("the program runs");
    assert!(output.status.success());
    let help = String::from_utf8(output.stdout).expect("text");
    let (mut heading, mut read) = (String::new(), BTreeMap::<_, BTreeSet<_>>::new());
    for line in help.lines() {
        if let Some(name) = line.strip_suffix(':').filter(|name| !name.starts_with(' ')) {
            name.clone_into(&mut heading);
        }
        if let Some((_, rest)) = line.split_once("[env: ") {
            let name = rest.split(['=', ']']).next().expect("a part");
            read.entry(heading.clone())
                .or_default()
                .insert(name.to_owned());
        }
    }
    assert!(read.contains_key("Redis"), "{help}");
    read
}

fn bridge() -> Command {
    let worker = Path::new(env!("CARGO_BIN_EXE_scrapegoat-worker"));
    Command::new(worker.with_file_name("bridge"))
}

#[test]
fn every_setting_reaches_each_service_that_reads_it() {
    let (services, documented) = (services(), documented(".env.example"));
    // What stands under these headings is read by another service.
    for (service, program, elsewhere) in [
        ("scrapegoat-worker", command(&["run"]), "API"),
        ("scrapegoat", command(&["api"]), "Work"),
        ("console", bridge(), ""),
    ] {
        let mut read = read_by(program);
        read.remove(elsewhere);
        let mut names: BTreeSet<String> = read.into_values().flatten().collect();
        if service != "console" {
            names.insert("RUST_LOG".into());
        }
        let names: Vec<&String> = names.intersection(&documented).collect();
        assert!(names.len() >= 3, "{service}: {names:?}");
        for name in names {
            assert!(
                gets(&services[service], name),
                "{service} reads {name}, which .env documents, and does not get it"
            );
        }
    }
    for name in &documented {
        assert!(
            services.values().any(|service| gets(service, name)),
            "{name} of .env reaches no service"
        );
    }
}

#[test]
fn the_api_documents_every_setting_of_its_own() {
    let documented = documented(".env.example");
    // The service has a fixed address inside of its container, and is guarded by the host's.
    let fixed = ["BRIDGE_API_LISTEN", "BRIDGE_HTTP", "BRIDGE_API_INSECURE"];
    let mut read = read_by(command(&["api"]));
    for name in read.remove("API").expect("the API has settings") {
        let is_known = fixed.contains(&name.as_str()) || documented.contains(&name);
        assert!(is_known, "{name} is not in .env.example");
    }
    for name in read_by(command(&["run"])).remove("Work").expect("settings") {
        assert!(documented.contains(&name), "{name} is not in .env.example");
    }
}

#[test]
fn each_secret_reaches_only_the_services_that_use_it() {
    let services = services();
    for (secret, users) in SECRETS {
        let get: BTreeSet<&str> = services
            .iter()
            .filter(|(_, service)| gets(service, secret))
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(get, users.iter().copied().collect(), "{secret}");
    }
    let looks_secret = |name: &&String| {
        ["PASSWORD", "TOKEN", "SECRET", "KEY", "_URL", "HEADERS"]
            .iter()
            .any(|word| name.contains(word))
    };
    let (settings, of_pipeline) = (
        documented(".env.example"),
        documented("pipeline.env.example"),
    );
    let known: BTreeSet<&str> = SECRETS.iter().map(|(name, _)| *name).collect();
    for name in settings.iter().filter(looks_secret) {
        assert!(known.contains(&**name), "who gets {name} of .env.example?");
    }
    assert!(of_pipeline.contains("DATABASE_URL"));
    assert!(settings.is_disjoint(&of_pipeline));
    // Only the workers get a whole file, and by default none that has settings of others.
    for (name, service) in &services {
        let files: Vec<&str> = match &service["env_file"] {
            Value::Null => Vec::new(),
            Value::Array(files) => files.iter().filter_map(Value::as_str).collect(),
            file => file.as_str().into_iter().collect(),
        };
        assert!(files.is_empty() || name == "scrapegoat-worker", "{name}");
        for file in files {
            assert!(file.ends_with(":-pipeline.env.example}"), "{file}");
        }
    }
    assert!(!settings.contains("ENV_FILE"));
}
