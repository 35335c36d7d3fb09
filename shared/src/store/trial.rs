//! Trying a lead: a console asks, whichever worker hears it first brings the lead along its route,
//! dry, and answers. Only copies of leads go this way.

use bytes::Bytes;

use super::{Store, StoreError};

/// How long a question waits for a worker, in seconds.
const QUESTION_SECONDS: u64 = 60;
/// How long an answer waits for the console, in seconds.
const ANSWER_SECONDS: u64 = 300;

/// A lead to be tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trial {
    /// Under which name the answer is wanted.
    pub token: String,
    /// The lead.
    pub lead: Bytes,
}

impl Store {
    /// Asks the workers to try a lead. A question that nobody hears within a minute is forgotten.
    ///
    /// # Errors
    /// Every [`StoreError`] a call can meet.
    pub async fn ask_trial(&self, trial: &Trial) -> Result<(), StoreError> {
        let key = &self.keys().trials;
        let question = [trial.token.as_bytes(), b"\n", &trial.lead[..]].concat();
        let mut pipe = redis::pipe();
        pipe.atomic();
        pipe.cmd("RPUSH").arg(key).arg(question).ignore();
        pipe.cmd("EXPIRE").arg(key).arg(QUESTION_SECONDS).ignore();
        self.pipeline(&pipe).await
    }

    /// Takes the oldest question.
    ///
    /// # Errors
    /// Every [`StoreError`] a call can meet.
    pub async fn take_trial(&self) -> Result<Option<Trial>, StoreError> {
        let question: Option<Vec<u8>> = self
            .query(redis::cmd("LPOP").arg(&self.keys().trials))
            .await?;
        Ok(question.and_then(|question| {
            let end = question.iter().position(|byte| *byte == b'\n')?;
            let token = std::str::from_utf8(&question[..end]).ok()?.to_owned();
            let lead = Bytes::from(question).slice(end + 1..);
            Some(Trial { token, lead })
        }))
    }

    /// Answers a question.
    ///
    /// # Errors
    /// Every [`StoreError`] a call can meet.
    pub async fn answer_trial(&self, token: &str, answer: &str) -> Result<(), StoreError> {
        let mut cmd = redis::cmd("SET");
        cmd.arg(self.keys().trial(token)).arg(answer);
        cmd.arg("EX").arg(ANSWER_SECONDS);
        self.query(&cmd).await
    }

    /// The answer to a question, where there is one by now.
    ///
    /// # Errors
    /// Every [`StoreError`] a call can meet.
    pub async fn trial_answer(&self, token: &str) -> Result<Option<String>, StoreError> {
        self.query(redis::cmd("GET").arg(self.keys().trial(token)))
            .await
    }
}
