//! `email`: whether an address can be one, is no throw-away one, and has a mail server.
//!
//! - `mx`: whether a domain has mail servers
//!
//! With `field = "email"` it sets `emailValid`, and `emailProblem` where it will not do: `syntax`,
//! `disposable` or `no_mail_server`. An address that will do is kept with its domain in lower
//! case. A name server that does not answer says nothing about the address: the lead is tried
//! again.

mod mx;

use std::collections::HashSet;
use std::sync::LazyLock;
use std::time::Duration;

use bridge_shared::envelope::ErrorKind;
use bridge_shared::lead::Lead;
use email_address::{EmailAddress, Options};
use futures::future::{BoxFuture, FutureExt as _};
use serde_json::value::to_raw_value;

use super::answer::excerpt;
use super::gate::{THEN_OR_CONTINUE, Then};
use super::{Call, Contract, Failure, Keys, Outcome, Station};
use mx::Mx;

/// Time one look-up may take where the route does not say.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Characters of an address that go into an error.
const EXCERPT: usize = 100;

/// Domains of throw-away addresses.
static DISPOSABLE: LazyLock<HashSet<&'static str>> =
    LazyLock::new(|| mailchecker::blacklist().into_iter().collect());

#[derive(Debug)]
struct Email {
    field: String,
    allow_disposable: bool,
    more_disposable: HashSet<String>,
    mx: Option<Mx>,
    invalid: Then,
}

/// Why an address will not do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Problem {
    Syntax,
    Disposable,
    NoMailServer,
}

impl Problem {
    const fn name(self) -> &'static str {
        match self {
            Self::Syntax => "syntax",
            Self::Disposable => "disposable",
            Self::NoMailServer => "no_mail_server",
        }
    }

    const fn words(self) -> &'static str {
        match self {
            Self::Syntax => "is no e-mail address",
            Self::Disposable => "is a throw-away address",
            Self::NoMailServer => "is at a domain that takes no mail",
        }
    }
}

#[allow(clippy::unnecessary_wraps, reason = "the shape of every kind")]
pub(super) fn make(keys: &mut Keys<'_>) -> Option<Box<dyn Station>> {
    let field = keys.text("field").map(toml::Spanned::into_inner);
    let allow_disposable = keys.flag("allow_disposable").unwrap_or(false);
    let more_disposable = domains(keys);
    let mx = Mx::read(keys);
    if !allow_disposable {
        // Unpacked now, so that no lead has to wait for it.
        LazyLock::force(&DISPOSABLE);
    }
    let invalid = keys.one_of("invalid", THEN_OR_CONTINUE);
    Some(Box::new(Email {
        field: field.unwrap_or_else(|| "email".into()),
        allow_disposable,
        more_disposable,
        mx,
        invalid: invalid.unwrap_or(Then::Continue),
    }))
}

fn domains(keys: &mut Keys<'_>) -> HashSet<String> {
    let Some(file) = keys.path("disposable_domains") else {
        return HashSet::new();
    };
    match std::fs::read_to_string(file.get_ref()) {
        Ok(text) => text
            .lines()
            .map(|line| line.trim().to_ascii_lowercase())
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .collect(),
        Err(error) => {
            keys.wrong(
                &file.span(),
                format!("cannot read {}: {error}", file.get_ref().display()),
                "give a text file with one domain a line",
            );
            HashSet::new()
        }
    }
}

impl Email {
    async fn check(&self, lead: &mut Lead) -> Result<Outcome, Failure> {
        let Some(text) = lead.text(&self.field) else {
            return Ok(Outcome::Continue);
        };
        let judged = self.judge(&text).await?;
        let mut changed = lead.clone();
        let mut fields = vec![("Valid", to_raw_value(&judged.is_ok()))];
        match &judged {
            Ok(address) => fields.push(("", to_raw_value(address))),
            Err(problem) => fields.push(("Problem", to_raw_value(problem.name()))),
        }
        for (suffix, value) in fields {
            let field = format!("{}{suffix}", self.field);
            changed
                .set_at(&field, value.expect("plain values are JSON"))
                .map_err(|error| Failure::new(ErrorKind::Invalid, error.to_string()))?;
        }
        let outcome = match judged {
            Ok(_) => Outcome::Continue,
            Err(problem) => self.invalid.end(&format!(
                "\"{}\" {}",
                excerpt(&text, EXCERPT),
                problem.words()
            ))?,
        };
        *lead = changed;
        Ok(outcome)
    }

    /// The address in its clean form, or why it will not do.
    async fn judge(&self, text: &str) -> Result<Result<String, Problem>, Failure> {
        let options = Options::default()
            .with_required_tld()
            .without_domain_literal()
            .without_display_text();
        let Ok(address) = EmailAddress::parse_with_options(text, options) else {
            return Ok(Err(Problem::Syntax));
        };
        let domain = address.domain().to_lowercase();
        if !self.allow_disposable && self.is_disposable(&domain) {
            return Ok(Err(Problem::Disposable));
        }
        if let Some(mx) = &self.mx
            && !mx.takes_mail(&domain).await?
        {
            return Ok(Err(Problem::NoMailServer));
        }
        Ok(Ok(format!("{}@{domain}", address.local_part())))
    }

    /// Whether a domain, or one that it is a part of, is on a list.
    fn is_disposable(&self, domain: &str) -> bool {
        let starts = domain.match_indices('.').map(|(at, _)| at + 1);
        std::iter::once(0).chain(starts).any(|start| {
            let domain = &domain[start..];
            DISPOSABLE.contains(domain) || self.more_disposable.contains(domain)
        })
    }
}

impl Station for Email {
    fn work<'a>(
        &'a self,
        _call: &'a Call<'a>,
        lead: &'a mut Lead,
    ) -> BoxFuture<'a, Result<Outcome, Failure>> {
        self.check(lead).boxed()
    }

    fn contract(&self) -> Contract {
        let with = |suffix| format!("{}{suffix}", self.field);
        Contract {
            produces: ["Valid", "Problem"].map(with).into(),
            ..Contract::default()
        }
    }

    fn timeout(&self) -> Option<Duration> {
        self.mx.is_some().then_some(TIMEOUT)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{mistakes, mistakes_in, went_on, with_keys, work};
    use super::*;

    async fn checked(route: &str, address: &str) -> Result<(Outcome, String), Failure> {
        let station = with_keys(route, make).expect(route);
        let lead = serde_json::json!({ "email": address }).to_string();
        work(&*station, &lead).await
    }

    #[tokio::test]
    async fn an_address_that_will_do_is_kept_with_its_domain_in_lower_case() {
        for (address, clean) in [
            ("ada@example.com", "ada@example.com"),
            (" Ada.L+x@EXAMPLE.com ", "Ada.L+x@example.com"),
            ("ada@bücher.example", "ada@bücher.example"),
        ] {
            let lead = went_on(checked("", address).await);
            assert_eq!(lead, format!(r#"{{"email":"{clean}","emailValid":true}}"#));
        }
        let lead = r#"{"contact":{"mail":"a@EXAMPLE.com"}}"#;
        let station = with_keys("field = \"contact.mail\"", make).expect("a station");
        assert_eq!(
            went_on(work(&*station, lead).await),
            r#"{"contact":{"mail":"a@example.com","mailValid":true}}"#
        );
    }

    #[tokio::test]
    async fn one_that_will_not_do_is_marked_or_ends_the_lead() {
        let long = format!("{}@example.com", "x".repeat(300));
        for (address, problem) in [
            ("n/a", "syntax"),
            ("ada", "syntax"),
            ("ada@localhost", "syntax"),
            ("ada@[127.0.0.1]", "syntax"),
            ("Ada <ada@example.com>", "syntax"),
            ("ada@example.com\u{1b}[31m", "syntax"),
            (&long, "syntax"),
            ("ada@mailinator.com", "disposable"),
            ("ada@x.y.Mailinator.com", "disposable"),
        ] {
            let lead = went_on(checked("", address).await);
            let marks = format!(r#""emailValid":false,"emailProblem":"{problem}"}}"#);
            assert!(lead.ends_with(&marks), "{lead}");
            let failure = checked("invalid = \"fail\"", address)
                .await
                .expect_err(address);
            assert_eq!(failure.kind, ErrorKind::Invalid);
            assert!(
                failure.error.len() < 200 && !failure.error.contains('\u{1b}'),
                "{}",
                failure.error
            );
        }
        let (outcome, _) = checked("invalid = \"skip_rest\"", "n/a")
            .await
            .expect("an outcome");
        let reason = "\"n/a\" is no e-mail address".to_owned();
        assert_eq!(outcome, Outcome::SkipRest { reason });
        let lead = went_on(checked("allow_disposable = true", "ada@mailinator.com").await);
        assert!(lead.contains("\"emailValid\":true"), "{lead}");
    }

    #[tokio::test]
    async fn a_lead_without_an_address_goes_on_as_it_is() {
        let station = with_keys("invalid = \"fail\"", make).expect("a station");
        for lead in [
            "{}",
            r#"{"email":null}"#,
            r#"{"email":" "}"#,
            r#"{"email":7}"#,
        ] {
            assert_eq!(went_on(work(&*station, lead).await), lead);
        }
    }

    #[test]
    fn the_list_can_be_made_longer() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("more.txt"), "# ours\nThrow.example\n\n")
            .expect("written");
        let mut station = None;
        let said = mistakes_in(folder.path(), "disposable_domains = \"more.txt\"", |keys| {
            station = Some(domains(keys));
            true
        });
        assert_eq!(said, [""; 0]);
        let station = Email {
            field: "email".into(),
            allow_disposable: false,
            more_disposable: station.expect("read"),
            mx: None,
            invalid: Then::Continue,
        };
        assert!(station.is_disposable("x.throw.example"));
        assert!(!station.is_disposable("notthrow.example"));
    }

    #[test]
    fn mistakes_are_named() {
        for (route, expected) in [
            (
                "disposable_domains = \"none.txt\"",
                "1: cannot read none.txt",
            ),
            (
                "mx = true\ndns = [\"ns.example.com\"]",
                "2: \"ns.example.com\" is not an address of a name server",
            ),
            (
                "dns = [\"127.0.0.1\"]",
                "1: name servers are asked only for mx",
            ),
            ("mx = 1", "1: mx must be true or false"),
        ] {
            let said = mistakes(route, |keys| make(keys).is_some());
            assert!(
                said.len() == 1 && said[0].starts_with(expected),
                "{said:#?}"
            );
        }
    }
}
