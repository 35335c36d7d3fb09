//! Pause and resume, with the audit of who did it.

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
    let user = ["USER", "LOGNAME"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|user| !user.is_empty()))
        .unwrap_or_else(|| "unknown".into());
    format!("{user}@{}", gethostname::gethostname().to_string_lossy())
}
