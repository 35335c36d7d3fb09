//! Which Redis, as it may be shown, and which setting names it: what an error must say.

use std::fmt;
use std::path::Path;

use super::address::{has_password, lone_user};
use super::error::redacted;
use crate::config::RedisArgs;

/// Where Redis is, without its passwords, and how to change that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The URL as it may be shown.
    pub url: String,
    /// The settings that it comes from.
    pub set_by: String,
    /// What to do about a refused login.
    pub login: String,
}

impl Target {
    /// The Redis of these settings.
    #[must_use]
    pub fn new(args: &RedisArgs) -> Self {
        let url = args.url();
        let profile = args.access.profile.as_deref();
        let set_by = profile.map_or_else(
            || "--redis-url or REDIS_URL".to_owned(),
            |profile| format!("the url of {profile}"),
        );
        let login = login(args, &url, &set_by);
        Self {
            url: redacted(&url, has_other_password(args)),
            set_by,
            login,
        }
    }
}

/// Whether a password stands somewhere else than in the URL.
pub(super) fn has_other_password(args: &RedisArgs) -> bool {
    let access = &args.access;
    let file = access.redis_password_file.as_deref();
    file.is_some_and(|file| file != Path::new("")) || access.password.0.is_some()
}

/// Where the password comes from that was refused, or where one belongs.
fn login(args: &RedisArgs, url: &str, set_by: &str) -> String {
    let access = &args.access;
    let profile = access.profile.as_deref();
    if !has_password(url) {
        let file = access.redis_password_file.as_deref();
        if let Some(file) = file.filter(|file| *file != Path::new("")) {
            let setting = profile.map_or_else(
                || "REDIS_PASSWORD_FILE".to_owned(),
                |profile| format!("password_file of {profile}"),
            );
            return format!(
                "Write the right password into {} ({setting}): it is read again at each login.",
                file.display()
            );
        }
        if access.password.0.is_some() {
            return "Set REDIS_PASSWORD to the right password, or use REDIS_PASSWORD_FILE, which is read again at each login.".into();
        }
    }
    if lone_user(url) {
        return format!(
            "Its URL ({set_by}) has a user and no password. Write redis://:password@host for a password alone, redis://user:password@host for both, or put the password into REDIS_PASSWORD_FILE."
        );
    }
    format!("Put the user and password into {set_by}: redis://user:password@host.")
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

impl From<&str> for Target {
    fn from(url: &str) -> Self {
        Self::new(&RedisArgs::of(url, ["", "", ""]))
    }
}
