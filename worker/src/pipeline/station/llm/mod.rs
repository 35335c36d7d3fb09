//! `llm`: asks a language model about the lead, at any service with OpenAI's chat completions.
//!
//! - `chat`: what is on the wire
//!
//! An answer that does not fit the schema is tried again, for the next may. What stands in a lead
//! becomes a part of the prompt: let nothing hang on an answer that its author must not decide.

mod chat;

use std::time::Duration;

use bridge_shared::envelope::ErrorKind;
use bridge_shared::lead::Lead;
use bridge_shared::money::Money;
use futures::future::{BoxFuture, FutureExt as _};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Request, Url};
use serde_json::{Map, Value};

use super::super::expression::{Escape, Template};
use super::super::rate::Rate;
use super::answer::Answer;
use super::http::service::{Care, Service, shown};
use super::validate::Schema;
use super::{Call, Contract, Failure, Keys, Outcome, Station};
use chat::{Format, Reply, Usage};

/// Time one call may take where the route does not say.
const TIMEOUT: Duration = Duration::from_secs(60);
/// About how many characters make a token.
const CHARACTERS: usize = 4;

#[derive(Debug)]
struct Llm {
    service: Service,
    url: Url,
    headers: HeaderMap,
    system: Option<Template>,
    prompt: Template,
    /// The request but for its messages.
    frame: Map<String, Value>,
    schema: Option<Schema>,
    answer: Answer,
    prices: Option<Prices>,
    token_rate: Option<Rate>,
}

/// US dollars per million tokens, which is micro-dollars per token.
#[derive(Debug, Clone, Copy)]
struct Prices {
    input: f64,
    output: f64,
}

impl Prices {
    /// Rounded up to a whole micro-dollar.
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss
    )]
    fn cost(self, usage: Usage) -> Money {
        let micros = usage.input as f64 * self.input + usage.output as f64 * self.output;
        // Without what the binary fractions of the prices add to a whole number.
        Money::from_micros((micros - 1e-6).ceil().max(0.0) as u64)
    }
}

pub(super) fn make(keys: &mut Keys<'_>) -> Option<Box<dyn Station>> {
    let url = url(keys);
    let headers = headers(keys);
    let model = keys.text("model");
    let model = keys.need("model", model, "model = \"...\"");
    let system = keys.template("system", Escape::Plain);
    let prompt = keys.template("prompt", Escape::Plain);
    let prompt = keys.need("prompt", prompt, "prompt = \"...\"");
    let wants_json = keys.has("schema") || keys.has("schema_file");
    let schema = Schema::read(keys);
    let format = keys.one_of("response_format", chat::FORMATS);
    let parameters = parameters(keys);
    let goes_into = keys.has("into");
    let answer = Answer::read(keys);
    let prices = prices(keys);
    let token_rate = keys.rate("token_rate");
    let care = Care::read(keys);
    if !wants_json && !goes_into {
        keys.wrong(
            &keys.span(),
            format!("{} gets a text that goes nowhere", keys.owner()),
            "add into = \"...\" for a text, or a schema for JSON",
        );
    }
    if wants_json && schema.is_none() {
        return None;
    }
    let (url, mut frame) = (url?, parameters);
    frame.insert("model".into(), model?.into_inner().into());
    if let Some(schema) = &schema {
        let format = format.unwrap_or(Format::JsonSchema);
        frame.extend(
            format
                .say(&schema.source)
                .map(|said| ("response_format".to_owned(), said)),
        );
    }
    Some(Box::new(Llm {
        service: Service::new(keys, care, false)?,
        url,
        headers,
        system,
        prompt: prompt?,
        frame,
        schema,
        answer: answer?,
        prices,
        token_rate,
    }))
}

fn url(keys: &mut Keys<'_>) -> Option<Url> {
    let url = keys.filled("url");
    let url = keys.need(
        "url",
        url,
        "url = \"https://api.openai.com/v1/chat/completions\"",
    )?;
    let parsed = Url::parse(url.get_ref())
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https"));
    if parsed.is_none() {
        keys.wrong(
            &url.span(),
            "this is not an http or https URL",
            "write url = \"https://...\"",
        );
    }
    parsed
}

fn headers(keys: &mut Keys<'_>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let key = keys.filled("api_key").map(|key| {
        let span = key.span();
        (AUTHORIZATION, span, format!("Bearer {}", key.into_inner()))
    });
    let more = keys.filled_entries("headers").unwrap_or_default();
    let more = more.into_iter().filter_map(|(name, value)| {
        let header = HeaderName::try_from(name.get_ref().as_str()).ok();
        if header.is_none() {
            keys.wrong(
                &name.span(),
                format!("\"{}\" cannot be a header's name", name.get_ref()),
                "write letters, digits and dashes",
            );
        }
        let span = value.span();
        Some((header?, span, value.into_inner()))
    });
    for (name, span, value) in key.into_iter().chain(more) {
        let Ok(mut value) = HeaderValue::try_from(value) else {
            keys.wrong(
                &span,
                format!("header \"{name}\" has a value that cannot be sent"),
                "take line breaks and control characters out",
            );
            continue;
        };
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    headers
}

fn parameters(keys: &mut Keys<'_>) -> Map<String, Value> {
    let Some(parameters) = keys.json("parameters") else {
        return Map::new();
    };
    let span = parameters.span();
    let Value::Object(parameters) = parameters.into_inner() else {
        keys.wrong(
            &span,
            "parameters must be a table",
            "write parameters = { temperature = 0 }",
        );
        return Map::new();
    };
    for name in ["model", "messages", "stream", "response_format", "n"] {
        if parameters.contains_key(name) {
            keys.wrong(
                &span,
                format!("the station itself decides about {name}"),
                "take it out of parameters",
            );
        }
    }
    parameters
}

fn prices(keys: &mut Keys<'_>) -> Option<Prices> {
    let at = keys.place("price_in");
    let (input, output) = (keys.number("price_in"), keys.number("price_out"));
    match (input, output) {
        (Some(input), Some(output)) => Some(Prices { input, output }),
        (None, None) => None,
        _ => {
            keys.wrong(
                &at,
                "a price for one way only",
                "give both price_in and price_out, in US dollars per million tokens",
            );
            None
        }
    }
}

impl Llm {
    async fn ask(&self, call: &Call<'_>, lead: &mut Lead) -> Result<Outcome, Failure> {
        let unsent = |_: &Failure| call.spend(Money::ZERO);
        let system = self.system.as_ref().map(|system| system.render(lead));
        let system = system.transpose().inspect_err(unsent)?;
        let prompt = self.prompt.render(lead).inspect_err(unsent)?;
        if let Some(rate) = &self.token_rate
            && let Some(later) = call
                .pace(rate, self.estimate(system.as_deref(), &prompt))
                .await?
        {
            return Ok(later);
        }
        let request = self
            .request(call.id(), system.as_deref(), &prompt)
            .inspect_err(unsent)?;
        let body = match self.service.call(call, request).await {
            Ok(body) => body,
            Err(refusal) => return refusal.end(),
        };
        self.take(call, &body, lead).map_err(|failure| Failure {
            error: format!("{}: {}", shown(&self.url), failure.error),
            ..failure
        })?;
        Ok(Outcome::Continue)
    }

    fn estimate(&self, system: Option<&str>, prompt: &str) -> u64 {
        let characters = system.map_or(0, |text| text.chars().count()) + prompt.chars().count();
        let answer = ["max_tokens", "max_completion_tokens"]
            .iter()
            .find_map(|name| self.frame.get(*name)?.as_u64())
            .unwrap_or(0);
        u64::try_from(characters.div_ceil(CHARACTERS)).unwrap_or(u64::MAX / 2) + answer
    }

    fn request(&self, id: &str, system: Option<&str>, prompt: &str) -> Result<Request, Failure> {
        let mut body = self.frame.clone();
        body.insert("messages".into(), chat::messages(system, prompt));
        let body = serde_json::to_vec(&body).expect("a JSON value is JSON");
        self.service
            .client()
            .request(Method::POST, self.url.clone())
            .headers(self.headers.clone())
            .header("Idempotency-Key", id)
            .body(body)
            .build()
            .map_err(|error| {
                let what = format!("no request can be made: {error}");
                Failure::new(ErrorKind::Invalid, what)
            })
    }

    /// Brings an answer to the lead, and counts what it cost even where it is no good.
    fn take(&self, call: &Call<'_>, body: &[u8], lead: &mut Lead) -> Result<(), Failure> {
        let reply = Reply::read(body).map_err(|how| Failure::new(ErrorKind::Permanent, how))?;
        if let Some(usage) = reply.usage {
            call.use_tokens(usage.input, usage.output);
            if let Some(prices) = self.prices {
                call.spend(prices.cost(usage));
            }
        }
        let content = reply.content?;
        let Some(schema) = &self.schema else {
            let text = serde_json::to_vec(content.trim()).expect("a text is JSON");
            return self.bring(&text, lead);
        };
        let json = chat::without_fence(&content);
        // The next answer may be better: this is no service, whose contract would be broken.
        let again = |what: String| Failure::new(ErrorKind::Transient, what);
        let value: Value = serde_json::from_str(json)
            .map_err(|error| again(format!("the answer is not JSON: {error}")))?;
        match schema.violations(&value) {
            None => self.bring(json.as_bytes(), lead),
            Some(how) => Err(again(format!("the answer does not fit the schema: {how}"))),
        }
    }

    fn bring(&self, json: &[u8], lead: &mut Lead) -> Result<(), Failure> {
        self.answer
            .apply(json, lead)
            .map_err(|how| Failure::new(ErrorKind::Permanent, how))
    }
}

impl Station for Llm {
    fn work<'a>(
        &'a self,
        call: &'a Call<'a>,
        lead: &'a mut Lead,
    ) -> BoxFuture<'a, Result<Outcome, Failure>> {
        self.ask(call, lead).boxed()
    }

    fn contract(&self) -> Contract {
        let produces = match (&self.answer, &self.schema) {
            (Answer::Merge, Some(schema)) => schema.properties(),
            (answer, _) => answer.produces(),
        };
        Contract {
            produces,
            ..Contract::default()
        }
    }

    fn timeout(&self) -> Option<Duration> {
        Some(TIMEOUT)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{client, mistakes, with_keys};
    use super::*;

    #[test]
    fn a_call_costs_what_its_tokens_cost() {
        let prices = Prices {
            input: 0.15,
            output: 0.60,
        };
        let cost = |input, output| prices.cost(Usage { input, output }).micros();
        assert_eq!(cost(1_000_000, 0), 150_000);
        assert_eq!(cost(1_000, 100), 210);
        assert_eq!(cost(1, 0), 1, "rounded up");
        assert_eq!(cost(20, 0), 3, "exactly");
        assert_eq!(cost(0, 0), 0);
    }

    #[test]
    fn mistakes_are_named() {
        drop(client());
        let base = "url = \"http://x/\"\nmodel = \"m\"\nprompt = \"p\"\n";
        let with = |more: &str| format!("{base}{more}");
        for (route, expected) in [
            (
                with(""),
                vec!["1: the station gets a text that goes nowhere"],
            ),
            (
                with("into = \"x\"\nprice_in = 1"),
                vec!["5: a price for one way only"],
            ),
            (
                with("into = \"x\"\nparameters = { model = \"n\" }"),
                vec!["5: the station itself decides about model"],
            ),
            (
                with("into = \"x\"\nparameters = 1"),
                vec!["5: parameters must be a table"],
            ),
            (
                with("into = \"x\"\ntoken_rate = \"fast\""),
                vec!["5: token_rate must be "],
            ),
            (
                with("schema = { type = \"x\" }"),
                vec!["4: this is no JSON Schema"],
            ),
            (
                with("into = \"x\"\napi_key = \"a\\nb\""),
                vec!["5: header \"authorization\" has a value that cannot be sent"],
            ),
            (
                with("into = \"x\"\nresponse_format = \"xml\""),
                vec!["5: response_format cannot be \"xml\""],
            ),
            (
                "into = \"x\"".into(),
                vec![
                    "1: the station needs url",
                    "1: the station needs model",
                    "1: the station needs prompt",
                ],
            ),
            (
                "url = \"x\"\nmodel = \"m\"\nprompt = \"p\"\ninto = \"x\"".into(),
                vec!["1: this is not an http or https URL"],
            ),
        ] {
            let said = mistakes(&route, |keys| make(keys).is_some());
            assert_eq!(said.len(), expected.len(), "{said:#?}");
            for (said, expected) in said.iter().zip(expected) {
                assert!(said.starts_with(expected), "{said}\nnot: {expected}");
            }
        }
    }

    #[test]
    fn the_contract_names_what_the_schema_does() {
        drop(client());
        let route = "url = \"http://x/\"\nmodel = \"m\"\nprompt = \"p\"\n[schema.properties]\nseniority = {}\nscore = {}";
        let station = with_keys(route, make).expect("a station");
        assert_eq!(station.contract().produces, ["score", "seniority"]);
    }
}
