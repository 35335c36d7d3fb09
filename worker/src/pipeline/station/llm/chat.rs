//! Chat completions on the wire. Source: OpenAI's API reference, as its many imitators keep to it.

use bridge_shared::envelope::ErrorKind;
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::Failure;
use super::super::answer::excerpt;

/// Characters of a refusal that go into the error.
const EXCERPT: usize = 200;

/// How a model is told that its answer must be JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// With the schema.
    JsonSchema,
    /// That it must be an object.
    JsonObject,
    /// Not at all, but for what the prompt says.
    None,
}

/// The words for it.
pub(super) const FORMATS: &[(&str, Format)] = &[
    ("json_schema", Format::JsonSchema),
    ("json_object", Format::JsonObject),
    ("none", Format::None),
];

impl Format {
    pub(super) fn say(self, schema: &Value) -> Option<Value> {
        match self {
            Self::JsonSchema => Some(json!({
                "type": "json_schema",
                "json_schema": { "name": "answer", "schema": schema },
            })),
            Self::JsonObject => Some(json!({ "type": "json_object" })),
            Self::None => None,
        }
    }
}

/// What is said to the model.
pub(super) fn messages(system: Option<&str>, prompt: &str) -> Value {
    let system = system.map(|text| json!({ "role": "system", "content": text }));
    let prompt = json!({ "role": "user", "content": prompt });
    system.into_iter().chain([prompt]).collect()
}

/// Tokens that a call took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) struct Usage {
    #[serde(rename = "prompt_tokens", default)]
    pub(super) input: u64,
    #[serde(rename = "completion_tokens", default)]
    pub(super) output: u64,
}

/// What came back.
#[derive(Debug)]
pub(super) struct Reply {
    /// What was counted, where it was.
    pub(super) usage: Option<Usage>,
    /// What the model said, or why it did not.
    pub(super) content: Result<String, Failure>,
}

#[derive(Deserialize)]
struct Completion {
    choices: Vec<Choice>,
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct Choice {
    message: Message,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Message {
    content: Option<Content>,
    refusal: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Deserialize)]
struct Part {
    #[serde(default)]
    text: String,
}

impl Reply {
    /// # Errors
    /// What is wrong with it, as the end of a sentence.
    pub(super) fn read(body: &[u8]) -> Result<Self, String> {
        let completion: Completion = serde_json::from_slice(body)
            .map_err(|error| format!("the answer is no chat completion: {error}"))?;
        let Completion { choices, usage } = completion;
        let choice = choices
            .into_iter()
            .next()
            .ok_or("the answer is a chat completion without a choice")?;
        Ok(Self {
            usage,
            content: choice.content(),
        })
    }
}

impl Choice {
    fn content(self) -> Result<String, Failure> {
        let failed = |what: String| Err(Failure::new(ErrorKind::Permanent, what));
        if let Some(refusal) = self.message.refusal {
            return failed(format!("the model refuses: {}", excerpt(&refusal, EXCERPT)));
        }
        match self.finish_reason.as_deref() {
            Some("length") => {
                return failed("the answer was cut off; allow it more max_tokens".into());
            }
            Some("content_filter") => return failed("the answer was held back by a filter".into()),
            _ => {}
        }
        let text = match self.message.content {
            Some(Content::Text(text)) => text,
            Some(Content::Parts(parts)) => parts.into_iter().map(|part| part.text).collect(),
            None => String::new(),
        };
        if text.trim().is_empty() {
            // Models that think sometimes end before they have spoken.
            let what = "the model said nothing";
            return Err(Failure::new(ErrorKind::Transient, what));
        }
        Ok(text)
    }
}

/// JSON without the fence that some models cannot leave out.
pub(super) fn without_fence(text: &str) -> &str {
    let text = text.trim();
    let inner = text
        .strip_prefix("```")
        .and_then(|rest| rest.strip_suffix("```"))
        .and_then(|rest| rest.split_once('\n'));
    inner.map_or(text, |(_language, inner)| inner.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(choice: &Value) -> Result<String, (ErrorKind, String)> {
        let body = json!({ "choices": [choice] }).to_string();
        let reply = Reply::read(body.as_bytes()).expect("a completion");
        reply
            .content
            .map_err(|failure| (failure.kind, failure.error))
    }

    #[test]
    fn a_completion_is_read_as_services_write_it() {
        let body = br#"{"id":"x","choices":[{"index":0,"message":{"role":"assistant","content":"hi","refusal":null},"finish_reason":"stop"}],
            "usage":{"prompt_tokens":12,"completion_tokens":3,"total_tokens":15}}"#;
        let reply = Reply::read(body).expect("a completion");
        assert_eq!(
            reply.usage,
            Some(Usage {
                input: 12,
                output: 3
            })
        );
        assert_eq!(reply.content.expect("content"), "hi");
        let parts = json!({ "message": { "content": [{ "type": "text", "text": "a" }, { "type": "text", "text": "b" }] } });
        assert_eq!(content(&parts).expect("content"), "ab");
    }

    #[test]
    fn what_is_no_answer_is_named() {
        let message = |content: Value, reason: &str| json!({ "message": { "content": content }, "finish_reason": reason });
        let refusal = json!({ "message": { "content": null, "refusal": "no\u{1b}" } });
        for (choice, kind, words) in [
            (
                message(json!("{\"a\":"), "length"),
                ErrorKind::Permanent,
                "cut off",
            ),
            (
                message(json!(""), "content_filter"),
                ErrorKind::Permanent,
                "filter",
            ),
            (
                message(json!(null), "stop"),
                ErrorKind::Transient,
                "said nothing",
            ),
            (refusal, ErrorKind::Permanent, "the model refuses: no"),
        ] {
            let (found, said) = content(&choice).expect_err(words);
            assert_eq!(found, kind, "{said}");
            assert!(said.contains(words) && !said.contains('\u{1b}'), "{said}");
        }
        for body in [
            "",
            "[]",
            "{}",
            r#"{"choices":[]}"#,
            r#"{"error":{"message":"x"}}"#,
        ] {
            assert!(Reply::read(body.as_bytes()).is_err(), "{body}");
        }
    }

    #[test]
    fn a_fence_is_taken_off() {
        for text in ["{}", " {} ", "```json\n{}\n```", "```\n{}```"] {
            assert_eq!(without_fence(text), "{}", "{text}");
        }
        assert_eq!(without_fence("```{}"), "```{}");
    }
}
