//! Pause and resume, with the audit of who did it.

use nix::unistd::{Uid, User};

use super::{Store, StoreError};

impl Store {
    /// Sets or clears the pause flag, which every worker honours within a second, and writes it
    /// into the audit; returns whether that changed anything.
    ///
    /// # Errors
    /// Every [`StoreError`] a call can meet.
    pub async fn set_paused(&self, paused: bool, who: &str) -> Result<bool, StoreError> {
        let keys = self.keys();
        let script = &self.scripts().pause;
        let mut cmd = script.call(&[&keys.paused, &keys.audit]);
        cmd.arg(who).arg(u8::from(paused));
        let was: i64 = self.run(script, &cmd).await?.next()?;
        Ok((was == 1) != paused)
    }
}

/// Who is at the keys, for the audit: `user@host`.
#[must_use]
pub fn operator() -> String {
    let user = user(
        |name| std::env::var(name).ok(),
        || User::from_uid(Uid::effective()).ok()?.map(|user| user.name),
        Uid::effective().as_raw(),
    );
    format!("{user}@{}", gethostname::gethostname().to_string_lossy())
}

/// What the environment calls the user, else the system, which may have no name for a number: in a
/// container there is often neither.
fn user(
    env: impl Fn(&str) -> Option<String>,
    name: impl FnOnce() -> Option<String>,
    number: u32,
) -> String {
    let told = |name: &String| !name.is_empty();
    ["USER", "LOGNAME"]
        .iter()
        .find_map(|name| env(name).filter(told))
        .or_else(|| name().filter(told))
        .unwrap_or_else(|| format!("uid-{number}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_has_no_name_in_the_environment_is_told_by_the_system_or_by_number() {
        let env = |user: &'static str, logname: &'static str| {
            move |name: &str| match name {
                "USER" => Some(user.to_owned()),
                "LOGNAME" => Some(logname.to_owned()),
                _ => None,
            }
        };
        let ada = || Some("ada".to_owned());
        assert_eq!(user(env("grace", "eve"), ada, 7), "grace");
        assert_eq!(user(env("", "eve"), ada, 7), "eve");
        assert_eq!(user(|_| None, ada, 7), "ada");
        assert_eq!(user(|_| None, || None, 7), "uid-7");
    }
}
