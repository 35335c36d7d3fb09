//! A private Redis in a temporary folder, for the demo and the tests.

use std::io::{Read as _, Seek as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Why no private Redis could be had.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// Neither program is on the PATH.
    #[error(
        "neither redis-server nor valkey-server is on the PATH. Install one: apt install redis-server, or brew install redis."
    )]
    NotInstalled,
    /// The temporary folder or the process could not be made.
    #[error("cannot start a private Redis: {0}")]
    Start(#[from] std::io::Error),
    /// The server ended, or never answered; holds its own words.
    #[error("a private Redis does not answer: {0}")]
    Silent(String),
}

/// A Redis of one's own. Ends, and takes its folder with it, when dropped.
#[derive(Debug)]
pub struct Sandbox {
    server: Child,
    port: u16,
    folder: TempDir,
    program: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
}

impl Sandbox {
    /// Starts a server on a free port of the loopback, with nothing written to disk, and waits
    /// until it answers. `settings` are further arguments (`--appendonly`, `yes`).
    ///
    /// # Errors
    /// [`SandboxError`].
    pub fn start(settings: &[&str]) -> Result<Self, SandboxError> {
        Self::start_within(&[], settings)
    }

    /// As [`Self::start`], with more in the server's environment.
    ///
    /// # Errors
    /// [`SandboxError`].
    pub fn start_within(
        environment: &[(&str, String)],
        settings: &[&str],
    ) -> Result<Self, SandboxError> {
        let folder = TempDir::with_prefix("redis-bridge-")?;
        Self::launch(folder, environment, settings, free_port)
    }

    /// Starts a node of a cluster, which knows no other and holds no slot.
    ///
    /// # Errors
    /// [`SandboxError`].
    pub fn cluster_node(settings: &[&str]) -> Result<Self, SandboxError> {
        let folder = TempDir::with_prefix("redis-bridge-")?;
        let settings = [&["--cluster-enabled", "yes"], settings].concat();
        Self::launch(folder, &[], &settings, || {
            // The nodes talk among themselves on the port 10,000 further up.
            loop {
                let port = free_port()?;
                if let Some(bus) = port.checked_add(10_000)
                    && TcpListener::bind((Ipv4Addr::LOCALHOST, bus)).is_ok()
                {
                    return Ok(port);
                }
            }
        })
    }

    /// Starts a sentinel that watches this server by a name, and alone decides, after
    /// `down_after` of silence, that a replica must take over.
    ///
    /// # Errors
    /// [`SandboxError`].
    pub fn sentinel(
        &self,
        name: &str,
        down_after: Duration,
        settings: &[&str],
    ) -> Result<Self, SandboxError> {
        let folder = TempDir::with_prefix("redis-bridge-")?;
        let file = folder.path().join("sentinel.conf");
        std::fs::write(
            &file,
            format!(
                "sentinel monitor {name} 127.0.0.1 {} 1\n\
                 sentinel down-after-milliseconds {name} {}\n\
                 sentinel failover-timeout {name} 3000\n",
                self.port,
                down_after.as_millis(),
            ),
        )?;
        let file = file.to_string_lossy();
        Self::launch(
            folder,
            &[],
            &[&[&file, "--sentinel"], settings].concat(),
            free_port,
        )
    }

    fn launch(
        folder: TempDir,
        environment: &[(&str, String)],
        arguments: &[&str],
        port: impl Fn() -> std::io::Result<u16>,
    ) -> Result<Self, SandboxError> {
        let program = find_server().ok_or(SandboxError::NotInstalled)?;
        let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        let environment: Vec<(String, String)> = environment
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone()))
            .collect();
        let mut last = SandboxError::NotInstalled;
        // Between finding a free port and taking it somebody else may take it.
        for _ in 0..5 {
            let port = port()?;
            match spawn(&program, port, &folder, &environment, &arguments) {
                Ok(server) => {
                    return Ok(Self {
                        server,
                        port,
                        folder,
                        program,
                        arguments,
                        environment,
                    });
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    /// Its port on the loopback.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.server.id()
    }

    /// Ends the server at once, as a power cut would.
    pub fn kill(&mut self) {
        // Both fail only where it has ended already.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }

    /// Whether the server has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.server.try_wait(), Ok(None))
    }

    /// Starts the server again on the same port, with whatever it left in its folder.
    ///
    /// # Errors
    /// [`SandboxError`].
    pub fn restart(&mut self) -> Result<(), SandboxError> {
        self.kill();
        self.server = spawn(
            &self.program,
            self.port,
            &self.folder,
            &self.environment,
            &self.arguments,
        )?;
        Ok(())
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(
    program: &PathBuf,
    port: u16,
    folder: &TempDir,
    environment: &[(String, String)],
    arguments: &[String],
) -> Result<Child, SandboxError> {
    let mut log = tempfile::tempfile()?;
    let files = arguments.iter().take_while(|word| !word.starts_with("--"));
    // A file of settings must come first, and what comes last counts.
    let (file, settings) = arguments.split_at(files.count());
    let mut server = Command::new(program)
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .args(file)
        .args([
            "--bind",
            "127.0.0.1",
            "--port",
            &port.to_string(),
            "--save",
            "",
            "--daemonize",
            "no",
        ])
        .arg("--dir")
        .arg(folder.path())
        .args(settings)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log.try_clone()?)
        // Ctrl-C in the terminal is for the program that owns the server, which ends it in turn.
        .process_group_of_its_own()
        .spawn()?;
    let deadline = Instant::now() + Duration::from_secs(10);
    while Instant::now() < deadline {
        if server.try_wait()?.is_some() {
            break;
        }
        if answers(port) {
            return Ok(server);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let _ = server.kill();
    let _ = server.wait();
    let mut words = String::new();
    log.rewind()?;
    log.read_to_string(&mut words)?;
    let last = words
        .lines()
        .rev()
        .find(|line| !line.trim().is_empty())
        .unwrap_or("it said nothing");
    Err(SandboxError::Silent(last.trim().to_owned()))
}

/// Whether a Redis on this port answers a PING, if only to ask for a password; while it loads its
/// data it does neither.
fn answers(port: u16) -> bool {
    use std::io::Write as _;
    let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port).into();
    let Ok(mut stream) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) else {
        return false;
    };
    let mut answer = [0; 5];
    stream
        .set_read_timeout(Some(Duration::from_millis(500)))
        .is_ok()
        && stream.write_all(b"PING\r\n").is_ok()
        && stream.read_exact(&mut answer).is_ok()
        && matches!(&answer, b"+PONG" | b"-NOAU")
}

fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
        .local_addr()?
        .port())
}

fn find_server() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    ["redis-server", "valkey-server"].iter().find_map(|name| {
        folders
            .iter()
            .map(|folder| folder.join(name))
            .find(|file| file.is_file())
    })
}

trait OwnGroup {
    fn process_group_of_its_own(&mut self) -> &mut Self;
}

impl OwnGroup for Command {
    #[cfg(unix)]
    fn process_group_of_its_own(&mut self) -> &mut Self {
        use std::os::unix::process::CommandExt as _;
        self.process_group(0)
    }

    #[cfg(not(unix))]
    fn process_group_of_its_own(&mut self) -> &mut Self {
        self
    }
}
