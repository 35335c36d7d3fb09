//! What is sent for a lead: method, URL, headers and body.

use bridge_shared::envelope::ErrorKind;
use bridge_shared::lead::Lead;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Body, Client, Method, Request, Url};
use serde_json::value::RawValue;

use super::super::super::expression::{Escape, Template};
use super::super::{Failure, Keys};
use super::address::{self, Allowed};

/// The request of a route, with what is the same for every lead already made.
#[derive(Debug)]
pub(super) struct Blueprint {
    method: Method,
    url: Address,
    query: Vec<(String, Template)>,
    headers: HeaderMap,
    /// Headers that differ from lead to lead.
    own_headers: Vec<(HeaderName, Template)>,
    body: Payload,
    /// Whether the lead chooses the host, and only public ones are for it.
    pub(super) public_only: bool,
    /// Whom it may choose, where the route says.
    allowed: Option<Allowed>,
}

#[derive(Debug)]
enum Address {
    Fixed(Url),
    Made(Box<Template>),
}

#[derive(Debug)]
enum Payload {
    None,
    Lead,
    /// `true` where it must be JSON.
    Made(Box<Template>, bool),
}

impl Blueprint {
    pub(super) fn read(keys: &mut Keys<'_>) -> Option<Self> {
        let method = method(keys);
        let private_hosts = keys.flag("private_hosts").unwrap_or(false);
        let by_lead = keys.written("url").is_some_and(address::host_is_from_lead);
        let allowed = hosts(keys, by_lead);
        let url = url(keys);
        let query = keys.template_entries("query", Escape::Plain);
        let (mut headers, own_headers) = headers(keys);
        let body = keys.template("body", Escape::Json);
        let method = method?;
        let body = match body {
            // A type of its own means that the author knows what the body is.
            Some(body) => Payload::Made(Box::new(body), !headers.contains_key(CONTENT_TYPE)),
            None if matches!(method, Method::POST | Method::PUT | Method::PATCH) => Payload::Lead,
            None => Payload::None,
        };
        if !matches!(body, Payload::None) && !headers.contains_key(CONTENT_TYPE) {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        Some(Self {
            method,
            url: url?,
            query: query
                .into_iter()
                .flatten()
                .map(|(name, value)| (name.into_inner(), value))
                .collect(),
            headers,
            own_headers,
            body,
            public_only: by_lead && !private_hosts,
            allowed,
        })
    }

    /// The request for a lead.
    ///
    /// # Errors
    /// [`Failure`] of kind [`ErrorKind::Invalid`] where none can be made of this lead.
    pub(super) fn request(
        &self,
        client: &Client,
        id: &str,
        lead: &Lead,
    ) -> Result<Request, Failure> {
        // The client makes a header of the URL's user and password.
        let mut request = client
            .request(self.method.clone(), self.url(lead)?)
            .headers(self.headers.clone())
            .build()
            .map_err(|error| invalid(format!("no request can be made: {error}")))?;
        for (name, template) in &self.own_headers {
            let value = header(name, &template.render(lead)?)?;
            request.headers_mut().insert(name, value);
        }
        let name = HeaderName::from_static("idempotency-key");
        let key = header(&name, id)?;
        request.headers_mut().insert(name, key);
        *request.body_mut() = match &self.body {
            Payload::None => None,
            Payload::Lead => Some(Body::from(lead.to_json())),
            Payload::Made(template, json) => {
                let body = template.render(lead)?;
                if *json && let Err(error) = serde_json::from_str::<&RawValue>(&body) {
                    return Err(invalid(format!(
                        "the body for this lead is not JSON: {error}; expressions bring their own quotes, as in {{\"name\": {{{{ name }}}}}}"
                    )));
                }
                Some(Body::from(body))
            }
        };
        Ok(request)
    }

    fn url(&self, lead: &Lead) -> Result<Url, Failure> {
        let mut url = match &self.url {
            Address::Fixed(url) => url.clone(),
            Address::Made(template) => parse(&template.render(lead)?)
                .ok_or_else(|| invalid("the URL for this lead is not an http or https URL"))?,
        };
        if let Some(allowed) = &self.allowed
            && !allowed.has(&url)
        {
            let host = url.host_str().unwrap_or_default();
            return Err(invalid(format!(
                "{host} came from the lead, and is none of the hosts that the route allows"
            )));
        }
        if self.public_only {
            address::check(&url).map_err(|error| invalid(error.to_string()))?;
        }
        for (name, template) in &self.query {
            url.query_pairs_mut()
                .append_pair(name, &template.render(lead)?);
        }
        Ok(url)
    }
}

fn invalid(what: impl Into<String>) -> Failure {
    Failure::new(ErrorKind::Invalid, what)
}

fn parse(text: &str) -> Option<Url> {
    // Without a host the first part of the path would be taken for one (WHATWG URL, 4.4).
    let (_, rest) = text.split_once("://")?;
    Url::parse(text)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && !rest.starts_with(['/', '\\']))
}

fn header(name: &HeaderName, text: &str) -> Result<HeaderValue, Failure> {
    let mut value = HeaderValue::try_from(text).map_err(|_| {
        invalid(format!(
            "the header {name} cannot hold what it would be for this lead"
        ))
    })?;
    value.set_sensitive(true);
    Ok(value)
}

fn method(keys: &mut Keys<'_>) -> Option<Method> {
    let Some(text) = keys.text("method") else {
        return Some(Method::POST);
    };
    let method = Method::from_bytes(text.get_ref().to_ascii_uppercase().as_bytes()).ok();
    if method.is_none() {
        keys.wrong(
            &text.span(),
            format!("\"{}\" cannot be a method", text.get_ref()),
            "write method = \"GET\", \"POST\" or another of HTTP's",
        );
    }
    method
}

fn url(keys: &mut Keys<'_>) -> Option<Address> {
    let at = keys.place("url");
    let template = keys.template("url", Escape::Url);
    let template = keys.need("url", template, "url = \"https://...\"")?;
    if !template.is_constant() {
        return Some(Address::Made(Box::new(template)));
    }
    let url = template
        .render(&Lead::default())
        .ok()
        .and_then(|text| parse(&text));
    if url.is_none() {
        keys.wrong(
            &at,
            "this is not an http or https URL",
            "write url = \"https://...\"",
        );
    }
    url.map(Address::Fixed)
}

/// The hosts that a lead may choose among.
fn hosts(keys: &mut Keys<'_>, by_lead: bool) -> Option<Allowed> {
    let at = keys.place("hosts");
    let hosts = keys.texts("hosts")?;
    if !by_lead {
        keys.wrong(
            &at,
            "no lead chooses the host of this URL",
            "leave hosts out: it is for a url that begins with {{ a field }}",
        );
    }
    for host in hosts
        .iter()
        .filter(|host| !address::is_host_pattern(host.get_ref()))
    {
        keys.wrong(
            &host.span(),
            format!("\"{}\" is no host", host.get_ref()),
            "write hosts = [\"api.example.com\", \"*.example.org\"]",
        );
    }
    Some(Allowed::new(
        hosts.into_iter().map(toml::Spanned::into_inner),
    ))
}

/// The headers that are the same for every lead, and the others.
fn headers(keys: &mut Keys<'_>) -> (HeaderMap, Vec<(HeaderName, Template)>) {
    let (mut fixed, mut own) = (HeaderMap::new(), Vec::new());
    let entries = keys.template_entries("headers", Escape::Plain);
    for (key, template) in entries.unwrap_or_default() {
        let Ok(name) = HeaderName::try_from(key.get_ref().as_str()) else {
            keys.wrong(
                &key.span(),
                format!("\"{}\" cannot be a header's name", key.get_ref()),
                "write letters, digits and dashes",
            );
            continue;
        };
        if !template.is_constant() {
            own.push((name, template));
            continue;
        }
        let value = template.render(&Lead::default());
        match value.and_then(|text| header(&name, &text)) {
            Ok(value) => {
                fixed.insert(name, value);
            }
            Err(_) => keys.wrong(
                &key.span(),
                format!("header \"{name}\" has a value that cannot be sent"),
                "take line breaks and control characters out",
            ),
        }
    }
    (fixed, own)
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{client, mistakes, with_keys};
    use super::*;

    fn request(route: &str, lead: &str) -> Result<Request, String> {
        let lead = Lead::parse(lead.as_bytes()).expect(lead);
        with_keys(route, Blueprint::read)
            .expect(route)
            .request(&client(), "id-7", &lead)
            .map_err(|failure| failure.error)
    }

    fn body(request: &Request) -> &str {
        let body = request.body().and_then(Body::as_bytes).unwrap_or_default();
        std::str::from_utf8(body).expect("UTF-8")
    }

    #[test]
    fn a_url_alone_posts_the_lead_as_json() {
        let request = request("url = \"http://x/a\"", r#"{"n":1.50}"#).expect("a request");
        assert_eq!(request.method(), Method::POST);
        assert_eq!(request.url().as_str(), "http://x/a");
        assert_eq!(request.headers()["content-type"], "application/json");
        assert_eq!(request.headers()["idempotency-key"], "id-7");
        assert_eq!(body(&request), r#"{"n":1.50}"#);
    }

    #[test]
    fn the_user_and_the_password_of_a_url_become_a_header() {
        let request = request("url = \"http://user:hunter2@x/a\"", "{}").expect("a request");
        assert_eq!(request.url().as_str(), "http://x/a");
        let header = &request.headers()["authorization"];
        assert_eq!(header, "Basic dXNlcjpodW50ZXIy");
        assert!(header.is_sensitive());
    }

    #[test]
    fn every_part_can_be_made_from_the_lead_and_none_breaks_out() {
        let route = r#"
            method = "put"
            url = "http://x/people/{{ id }}"
            query = { q = "{{ name }}&b=1" }
            headers = { x-name = "<{{ name }}>" }
            body = '{"who": {{ name }}, "n": [{{ id }}]}'
        "#;
        let made = request(route, r#"{"id":"a/../b?c","name":"Ada \"A\" É"}"#).expect("a request");
        assert_eq!(made.method(), Method::PUT);
        assert_eq!(
            made.url().as_str(),
            "http://x/people/a%2F..%2Fb%3Fc?q=Ada+%22A%22+%C3%89%26b%3D1"
        );
        assert_eq!(made.headers()["x-name"], "<Ada \"A\" É>".as_bytes());
        assert_eq!(body(&made), r#"{"who": "Ada \"A\" É", "n": ["a/../b?c"]}"#);

        let said = request(route, r#"{"id":1,"name":"a\r\nx-evil: 1"}"#).expect_err("a new line");
        assert!(said.contains("x-name"), "{said}");
        let said = request(route, r#"{"id":1}"#).expect_err("no name");
        assert!(said.contains("it lacks name"), "{said}");
    }

    #[test]
    fn a_get_has_no_body_and_a_body_must_be_json_unless_it_has_a_type() {
        let get = request("url = \"http://x/\"\nmethod = \"GET\"", "{}").expect("a request");
        assert!(get.body().is_none() && !get.headers().contains_key("content-type"));
        let quoted = "url = \"http://x/\"\nbody = '{\"n\": \"{{ n }}\"}'";
        let said = request(quoted, r#"{"n":"x"}"#).expect_err("quotes twice");
        assert!(
            said.contains("expressions bring their own quotes"),
            "{said}"
        );
        let xml = "url = \"http://x/\"\nbody = \"<n/>\"\nheaders = { content-type = \"text/xml\" }";
        let xml = request(xml, "{}").expect("a request");
        assert_eq!(
            (body(&xml), &xml.headers()["content-type"]),
            ("<n/>", &"text/xml".parse().expect("a value"))
        );
    }

    #[test]
    fn a_host_from_the_lead_must_be_public_unless_the_route_says_so() {
        let route = "url = \"http://{{ domain }}/x\"";
        for domain in ["127.0.0.1", "2130706433", "169.254.169.254", "10.0.0.1:80"] {
            let lead = format!(r#"{{"domain":"{domain}"}}"#);
            assert!(request(route, &lead).is_err(), "{domain}");
        }
        for domain in ["a.example/evil?", "user@evil.example", "x#y", ""] {
            let lead = format!(r#"{{"domain":"{domain}"}}"#);
            assert!(request(route, &lead).is_err(), "{domain} is no host");
        }
        let lead = r#"{"domain":"127.0.0.1"}"#;
        let allowed = format!("{route}\nprivate_hosts = true");
        assert!(request(&allowed, lead).is_ok());
        assert!(request("url = \"http://127.0.0.1/{{ domain }}\"", lead).is_ok());
        assert!(request(route, r#"{"domain":"example.com"}"#).is_ok());
        let whole = "url = \"{{ website | safe }}\"";
        let made = request(whole, r#"{"website":"https://example.com/a?b"}"#).expect("a request");
        assert_eq!(made.url().as_str(), "https://example.com/a?b");
        for website in ["http://127.0.0.1/", "file:///etc/passwd", "example.com"] {
            let lead = format!(r#"{{"website":"{website}"}}"#);
            assert!(request(whole, &lead).is_err(), "{website}");
        }
    }

    #[test]
    fn a_route_may_name_the_hosts_that_leads_choose_among() {
        let route = "url = \"{{ website | safe }}\"\nhosts = [\"example.com\", \"*.example.org\"]";
        for (website, allowed) in [
            ("https://example.com/a", true),
            ("https://x.example.org/a", true),
            ("https://example.net/a", false),
            ("https://example.com@example.net/", false),
        ] {
            let made = request(route, &format!(r#"{{"website":"{website}"}}"#));
            assert_eq!(made.is_ok(), allowed, "{website}");
        }
        // That a name is allowed does not make a private address public.
        let private = "url = \"http://{{ host }}/\"\nhosts = [\"127.0.0.1\"]";
        assert!(request(private, r#"{"host":"127.0.0.1"}"#).is_err());
        let told = format!("{private}\nprivate_hosts = true");
        assert!(request(&told, r#"{"host":"127.0.0.1"}"#).is_ok());
        let said = mistakes("url = \"http://x/\"\nhosts = [\"http://x\"]", |keys| {
            Blueprint::read(keys).is_some()
        });
        for expected in ["2: no lead chooses the host", "2: \"http://x\" is no host"] {
            assert!(
                said.iter().any(|said| said.starts_with(expected)),
                "{said:#?}"
            );
        }
    }

    #[test]
    fn mistakes_are_named() {
        let said = mistakes(
            "url = \"ftp://x\"\nmethod = \"a b\"\nheaders = { \"a b\" = \"1\", ok = \"a\\nb\" }",
            |keys| Blueprint::read(keys).is_some(),
        );
        for expected in [
            "1: this is not an http or https URL",
            "2: \"a b\" cannot be a method",
            "3: \"a b\" cannot be a header's name",
            "3: header \"ok\" has a value that cannot be sent",
        ] {
            assert!(
                said.iter().any(|said| said.starts_with(expected)),
                "{said:#?}"
            );
        }
    }
}
