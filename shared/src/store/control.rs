//! Pause and resume, with the audit of who did it.

use super::{Store, StoreError};

/// About how many entries of the audit are kept.
const AUDIT_LENGTH: u64 = 10_000;

impl Store {
    /// Sets or clears the pause flag, which every worker honours within a second, and writes it
    /// into the audit; returns whether that changed anything.
    ///
    /// # Errors
    /// Every [`StoreError`] a call can meet.
    pub async fn set_paused(&self, paused: bool, who: &str) -> Result<bool, StoreError> {
        let keys = self.keys();
        let mut pipe = redis::pipe();
        pipe.atomic();
        pipe.cmd("EXISTS").arg(&keys.paused);
        if paused {
            pipe.cmd("SET").arg(&keys.paused).arg(who);
        } else {
            pipe.cmd("DEL").arg(&keys.paused);
        }
        pipe.ignore();
        pipe.cmd("XADD")
            .arg(&keys.audit)
            .arg("MAXLEN")
            .arg("~")
            .arg(AUDIT_LENGTH)
            .arg("*");
        pipe.arg("who")
            .arg(who)
            .arg("what")
            .arg(if paused { "paused" } else { "resumed" });
        pipe.arg("count").arg(0).arg("detail").arg("").ignore();
        let (was,): (bool,) = self.pipeline(&pipe).await?;
        Ok(was != paused)
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
