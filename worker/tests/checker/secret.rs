//! The password of a run's Redis: in a file that clients read at each login, and in one that a server
//! reads when it starts again.

use std::path::PathBuf;
use std::sync::Mutex;

use bridge_shared::store::dead_letters::token;
use tempfile::TempDir;

/// A password that no other run has: a sentinel, or a worker that outlived its run, that comes to a
/// port which has another owner by now is turned away.
pub struct Secret {
    password: Mutex<String>,
    folder: TempDir,
}

impl Secret {
    pub fn new() -> Self {
        let secret = Self {
            password: Mutex::new(token()),
            folder: TempDir::with_prefix("bridge-checker-").expect("a folder"),
        };
        secret.tell_server(&secret.password());
        secret.tell_clients();
        secret
    }

    /// The password in force.
    pub fn password(&self) -> String {
        self.password.lock().expect("nobody panics with it").clone()
    }

    /// What the servers have from now on.
    pub fn change(&self, password: String) {
        *self.password.lock().expect("nobody panics with it") = password;
    }

    /// The settings of a server.
    pub fn settings(&self) -> PathBuf {
        self.folder.path().join("redis.conf")
    }

    /// What clients read.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("password")
    }

    pub fn tell_server(&self, password: &str) {
        let settings = format!("requirepass {password}\nmasterauth {password}\n");
        std::fs::write(self.settings(), settings).expect("written");
    }

    /// Gives the clients the password in force, in one step as an operator would.
    pub fn tell_clients(&self) {
        let fresh = self.folder.path().join("fresh");
        std::fs::write(&fresh, self.password()).expect("written");
        std::fs::rename(fresh, self.file()).expect("in the same folder");
    }
}
