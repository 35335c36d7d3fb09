//! Secrets stay secret: every setting that may hold one holds a canary, everything that can be made
//! to speak is made to, and no canary is found anywhere.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use crate::support::{
    Console, Running, Server, api_of, ask, bridge, dead_ids, eventually, said, service, worker,
};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;

/// The secrets, each with characters that change their form on the way through a URL.
const CANARIES: [(&str, &str); 8] = [
    ("REDIS_PASSWORD_CANARY", "canary/redis@1+A"),
    ("STATION_KEY", "canary/station@2+B"),
    ("STATION_TOKEN", "canary/token@3+C"),
    ("EXEC_KEY", "canary/exec@4+D"),
    ("DATABASE_PASSWORD", "canary%2Fdatabase%405%2BE"),
    ("WEBHOOK_SECRET", "canary/webhook@6+F"),
    ("BRIDGE_API_TOKEN", "canary/api@7+G"),
    ("OTLP_KEY", "canary/otlp@8+H"),
];

const ROUTE: &str = r#"
default_pipeline = "test"
[[pipelines.test.stations]]
kind = "http"
name = "enrich"
url = "SERVICE/people?key=${STATION_KEY}"
headers = { authorization = "Bearer ${STATION_TOKEN}" }
on_error = "skip"
[[pipelines.test.stations]]
kind = "exec"
name = "program"
command = ["sh", "-c", "cat > /dev/null; echo \"$KEY\" >&2; echo \"$KEY\"; exit 1"]
environment = { KEY = "${EXEC_KEY}" }
on_error = "skip"
[[pipelines.test.stations]]
kind = "http"
name = "last"
url = "SERVICE/last?key=${STATION_KEY}"
headers = { authorization = "Bearer ${STATION_TOKEN}" }
[[pipelines.test.sinks]]
kind = "postgres"
url = "postgres://ada:${DATABASE_PASSWORD}@127.0.0.1:1/leads"
[[pipelines.test.sinks]]
kind = "webhook"
url = "SERVICE/hook?key=${STATION_KEY}"
secret = "${WEBHOOK_SECRET}"
headers = { authorization = "Bearer ${STATION_TOKEN}" }
"#;

/// Says back all that it was told, as a service does that has not thought of this.
fn gossip(head: &str, body: &str) -> (u16, String) {
    let status = match head.split(' ').nth(1).unwrap_or_default() {
        target if target.starts_with("/last") && !body.contains("dead") => 200,
        target if target.starts_with("/hook") => 503,
        _ => 400,
    };
    let told = if status == 200 {
        "{}".into()
    } else {
        format!("you said {head} {body}")
    };
    (status, told)
}

/// What was found where.
#[derive(Default)]
struct Finds(String);

impl Finds {
    fn look(&mut self, place: &str, bytes: &[u8]) {
        self.look_for(&CANARIES, place, bytes);
    }

    fn look_for(&mut self, canaries: &[(&str, &str)], place: &str, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes);
        for (name, canary) in canaries {
            for form in forms(canary) {
                if let Some(at) = text.find(&form) {
                    let from = text[..at]
                        .char_indices()
                        .rev()
                        .nth(60)
                        .map_or(0, |(i, _)| i);
                    let _ = writeln!(
                        self.0,
                        "{place} has {name}: ...{}",
                        &text[from..at + form.len()]
                    );
                }
            }
        }
    }

    fn look_into(&mut self, folder: &Path) {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                self.look_into(&path);
            } else {
                let bytes = std::fs::read(&path).unwrap_or_default();
                self.look(&path.display().to_string(), &bytes);
            }
        }
    }

    /// The command lines of all that runs.
    fn look_at_processes(&mut self, canaries: &[(&str, &str)]) {
        for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let file = entry.path().join("cmdline");
            let bytes = std::fs::read(&file).unwrap_or_default();
            self.look_for(canaries, &file.display().to_string(), &bytes);
        }
    }
}

/// A secret in every form that it may take on its way.
fn forms(canary: &str) -> Vec<String> {
    let encoded = percent_encode(canary);
    let json = serde_json::to_string(canary).expect("a text is JSON");
    let mut forms = vec![
        canary.to_owned(),
        encoded.clone(),
        encoded.to_ascii_lowercase(),
        canary
            .replace("%2F", "/")
            .replace("%40", "@")
            .replace("%2B", "+"),
        json.trim_matches('"').to_owned(),
        canary.escape_default().to_string(),
    ];
    // As a part of base64 it has three forms, and the middle of each is always the same.
    for skip in 0..3 {
        let padded = format!("{}{canary}", "x".repeat(skip));
        let text = BASE64.encode(padded);
        forms.push(text[4..text.len() - 4].to_owned());
    }
    forms.sort();
    forms.dedup();
    forms
}

fn percent_encode(text: &str) -> String {
    text.bytes()
        .map(|byte| {
            if byte.is_ascii_alphanumeric() {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}

/// All that Redis holds.
fn dump(server: &mut Server) -> Vec<(String, Vec<u8>)> {
    let keys: Vec<String> = server.run("KEYS *");
    keys.into_iter()
        .map(|key| {
            let kind: String = server.run(&format!("TYPE {key}"));
            let words = match kind.as_str() {
                "list" => format!("LRANGE {key} 0 -1"),
                "hash" => format!("HGETALL {key}"),
                "zset" => format!("ZRANGE {key} 0 -1"),
                "stream" => format!("XRANGE {key} - +"),
                _ => format!("GET {key}"),
            };
            let value: redis::Value = server.run(&words);
            let mut bytes = key.clone().into_bytes();
            flatten(&value, &mut bytes);
            (key, bytes)
        })
        .collect()
}

fn flatten(value: &redis::Value, out: &mut Vec<u8>) {
    match value {
        redis::Value::BulkString(bytes) => out.extend_from_slice(bytes),
        redis::Value::SimpleString(text) => out.extend_from_slice(text.as_bytes()),
        redis::Value::Array(values) => values.iter().for_each(|value| flatten(value, out)),
        _ => {}
    }
    out.push(b' ');
}

/// Everything that is published, until the server ends.
fn listen(url: &str) -> Arc<Mutex<Vec<u8>>> {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let client = redis::Client::open(url).expect("a URL");
    let mut connection = client.get_connection().expect("a connection");
    let into = Arc::clone(&heard);
    let (ready, is_ready) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut pubsub = connection.as_pubsub();
        pubsub.psubscribe("*").expect("it listens");
        ready.send(()).expect("somebody waits");
        while let Ok(message) = pubsub.get_message() {
            into.lock()
                .expect("no panic")
                .extend_from_slice(message.get_payload_bytes());
        }
    });
    is_ready.recv().expect("it listens");
    heard
}

#[test]
fn what_leaks_is_found() {
    let mut finds = Finds::default();
    for said in [
        "key=canary%2Fstation%402%2BB",
        "Bearer canary/token@3+C",
        "Basic YWRhOmNhbmFyeS9yZWRpc0AxK0E=",
        "postgres://ada:canary/database@5+E@127.0.0.1",
    ] {
        let before = finds.0.len();
        finds.look("it", said.as_bytes());
        assert!(finds.0.len() > before, "{said}");
    }
    let mut finds = Finds::default();
    let mut process = Command::new("sh")
        .args(["-c", "read -r _", "planted/canary/process"])
        .stdin(std::process::Stdio::piped())
        .spawn()
        .expect("it starts");
    // The system shows what a process was called with a moment after it was called.
    eventually("the process is found", || {
        finds.look_at_processes(&[("PLANTED", "planted/canary/process")]);
        finds.0.contains("PLANTED")
    });
    // Closing its input ends it.
    drop(process.stdin.take());
    process.wait().expect("it ends");
}

/// Everything that answers, asked with the right password and with wrong ones.
fn questions(server: &Server, url: &str, route: &str, health: &str) -> Vec<Command> {
    let export = server.file_name("export.csv");
    let id = &dead_ids(url)[0];
    let (server_at, nobody_at) = (format!(":{}/0", server.redis.port()), ":1/0");
    let mut commands = vec![
        bridge(&url.replace(&server_at, nobody_at), &["status"]),
        bridge(&url.replace(&server_at, ":x/0"), &["status"]),
        worker(&url.replace("canary", "wrong"), &[]),
    ];
    for args in [
        &["--help"][..],
        &["status"],
        &["status", "--json"],
        &["dlq", "list"],
        &["dlq", "show", id],
        &["dlq", "show", id, "--json"],
        &["dlq", "groups"],
        &["dlq", "export", "-"],
        &["dlq", "export", &export],
        &["push", "/nonexistent"],
        &["pause"],
        &["resume"],
        &["--once", "svg", "--keys", "3 enter J"],
    ] {
        commands.push(bridge(url, args));
    }
    for screen in ["1", "2", "3 enter", "3 t", "4", "5", "6", "7"] {
        commands.push(bridge(url, &["--once", "text", "--keys", screen]));
    }
    commands.push(bridge(url, &["dlq", "retry", id]));
    let lead = server.file("lead.json", r#"{"name":"dead"}"#);
    for args in [
        &["--help"][..],
        &["pipeline", "check", route],
        &["pipeline", "show", route],
        &["pipeline", "show", route, "--json"],
        &["pipeline", "run", route, "--lead", &lead],
        &["pipeline", "run", route, "--lead", &lead, "--json"],
        &["healthcheck", "--health-file", health],
    ] {
        commands.push(worker(url, args));
    }
    commands
}

/// Everything that the API has to say, to those who have its token and to those who have not.
fn asked_of_the_api(address: &str) -> Vec<(String, String)> {
    let token = CANARIES[6].1;
    let mut answers = Vec::new();
    for request in [
        "GET /dlq/items",
        "GET /dlq",
        "GET /dlq/count",
        "GET /status",
        "GET /healthz",
        "GET /readyz",
        "GET /metrics",
        "GET /openapi.json",
        "GET /nothing",
        "POST /dlq/retry/99",
        "POST /dlq/items/none/retry",
        "POST /dlq/retry-all?filter=(",
        "POST /leads",
    ] {
        for token in [token, &token[1..]] {
            answers.push((request.to_owned(), ask(address, token, request, "[no JSON")));
        }
    }
    let open = answers
        .iter()
        .filter(|(_, answer)| answer.contains(" 200 "));
    assert!(open.count() >= 8, "{answers:?}");
    answers
}

#[test]
fn no_secret_is_found_anywhere() {
    let password = CANARIES[0].1;
    let acl = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(&acl, format!("user default on >{password} ~* &* +@all\n")).expect("written");
    let path = acl.path().to_str().expect("a plain path").to_owned();
    let login = format!(":{}@", percent_encode(password));
    let mut server = Server::start(&["--aclfile", &path], &login);
    let url = format!("redis://{login}127.0.0.1:{}/0", server.redis.port());
    let heard = listen(&url);
    let service = service(gossip);
    let route = server.file("route.toml", &ROUTE.replace("SERVICE", &service));
    let state = server.file_name("state");
    let mut settings = vec![
        ("XDG_STATE_HOME", state.as_str()),
        ("RUST_LOG", "trace"),
        ("RUST_BACKTRACE", "full"),
    ];
    settings.extend(CANARIES);
    // A collector of spans that says back its headers as well.
    let collector = format!("{service}/otlp");
    let headers = format!("x-api-key={}", CANARIES[7].1);
    settings.extend([
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.as_str()),
        ("OTEL_EXPORTER_OTLP_HEADERS", &headers),
        ("OTEL_BSP_SCHEDULE_DELAY", "100"),
    ]);
    let with = |mut command: Command| {
        command.envs(settings.iter().copied());
        command
    };

    // Two workers: one with its URL in the environment, one with it on its command line. And a
    // console that has it there too.
    let health = server.file_name("health");
    let flags = ["--pipeline", &route, "--max-retries", "0"];
    let more = ["--health-file", &health, "--http", "127.0.0.1:0"];
    let in_environment = worker(&url, &[&flags[..], &more].concat());
    let in_environment = Running::start(with(in_environment), server.path("json.log"));
    let flag = format!("--redis-url={url}");
    let mut as_flag = with(worker(
        "",
        &[&flags[..], &["--log-format", "text", &flag]].concat(),
    ));
    as_flag.env_remove("REDIS_URL");
    let as_flag = Running::start(as_flag, server.path("text.log"));
    let console = Console::open(&url, &settings);
    for n in 0..4 {
        let name = if n % 2 == 0 { "dead" } else { "sound" };
        server.push(&format!(
            r#"{{"name":"{name} {n}","linkedinUrl":"https://linkedin.com/in/n{n}"}}"#
        ));
    }
    eventually("two are dead", || {
        server.run::<u64>("LLEN failed_leads") == 2
    });
    eventually("the others wait for their sinks", || {
        let log = in_environment.log() + &as_flag.log();
        log.contains("wait in hand")
    });
    eventually("both workers have told who they are", || {
        server.run::<u64>("HLEN leads_to_enrich:workers:info") == 2
    });
    eventually("the console is open", || console.sent().len() > 2_000);
    let mut finds = Finds::default();
    finds.look_at_processes(&CANARIES);
    for command in questions(&server, &url, &route, &health) {
        let args: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
        let output = with(command).output().expect("it runs");
        finds.look(&format!("the answer to {args:?}"), said(&output).as_bytes());
    }
    finds.look("a frame of the console", &console.sent());
    for (request, answer) in asked_of_the_api(&api_of(&in_environment)) {
        finds.look(&format!("the answer to {request}"), answer.as_bytes());
    }
    // What a bug leaves behind.
    for place in ["draw", "task"] {
        let settings = [&settings[..], &[("BRIDGE_TEST_PANIC", place)]].concat();
        let console = Console::open(&url, &settings);
        eventually("the console reports a bug", || {
            String::from_utf8_lossy(&console.sent()).contains("This is a bug")
        });
        finds.look("the report of a bug", &console.sent());
    }
    let events = heard.lock().expect("no panic").clone();
    finds.look("an event", &events);
    for (key, bytes) in dump(&mut server) {
        finds.look(&format!("the key {key}"), &bytes);
    }
    drop((in_environment, as_flag, console));
    let folder = server.folder.path().to_owned();
    finds.look_into(&folder);
    assert!(finds.0.is_empty(), "{}", finds.0);
    // They were all there to be found: the services told what they were told, and the libraries
    // spoke as well.
    let events = String::from_utf8_lossy(&events);
    assert!(
        events.contains("${STATION_KEY}") && events.contains("${STATION_TOKEN}"),
        "{events}"
    );
    assert!(folder.join("state").is_dir(), "the console has a log");
    for name in ["text.log", "json.log"] {
        let log = std::fs::read_to_string(folder.join(name)).expect("a log");
        assert!(log.contains("TRACE"), "{name}");
    }
}
