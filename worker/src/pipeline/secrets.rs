//! What the environment fills into a route, and keeping it out of everything that is shown.

use std::collections::BTreeMap;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

/// Bytes below which a value is too common to be hidden: hiding every `1` would make each error
/// unreadable and keep nothing secret.
const SHORTEST: usize = 4;

/// The values that a route took from the environment.
#[derive(Default, Clone)]
pub(super) struct Secrets {
    /// The values, in each form they may appear in, with what is shown instead; the longest first.
    hidden: Vec<(String, String)>,
    values: BTreeMap<String, String>,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.values.keys()).finish()
    }
}

/// A piece of a text of the route file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'t> {
    /// To be taken as it stands.
    Plain(&'t str),
    /// The name of an environment variable: `${NAME}`.
    Variable(&'t str),
}

/// Takes a text apart at its `${NAME}`s.
///
/// # Errors
/// What is wrong with one of them.
pub(super) fn pieces(text: &str) -> Result<Vec<Piece<'_>>, String> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let (name, after) = after.split_once('}').ok_or("a ${ has no } after it")?;
        let starts_well = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        if !starts_well || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            return Err(format!("${{{name}}} is not the name of a variable"));
        }
        pieces.extend((!before.is_empty()).then_some(Piece::Plain(before)));
        pieces.push(Piece::Variable(name));
        rest = after;
    }
    pieces.extend((!rest.is_empty()).then_some(Piece::Plain(rest)));
    Ok(pieces)
}

impl Secrets {
    /// A variable's value; `None` where it is not set or empty. From then on it is hidden.
    pub(super) fn value(&mut self, name: &str) -> Option<String> {
        if let Some(value) = self.values.get(name) {
            return Some(value.clone());
        }
        let value = std::env::var(name).ok().filter(|value| !value.is_empty())?;
        self.learn(name, &value);
        Some(value)
    }

    fn learn(&mut self, name: &str, value: &str) {
        self.values.insert(name.to_owned(), value.to_owned());
        let json = serde_json::to_string(value).expect("a text is JSON");
        let forms = [
            value.to_owned(),
            utf8_percent_encode(value, NON_ALPHANUMERIC).to_string(),
            json[1..json.len() - 1].to_owned(),
        ];
        for form in forms {
            let known = self.hidden.iter().any(|(hidden, _)| *hidden == form);
            if form.len() >= SHORTEST && !known {
                self.hidden.push((form, format!("${{{name}}}")));
            }
        }
        // So that a value that is a part of another does not tear it apart.
        self.hidden
            .sort_by_key(|(form, _)| std::cmp::Reverse(form.len()));
    }

    /// The text with every value from the environment replaced by its name.
    pub(super) fn hide(&self, text: String) -> String {
        let text = self.hidden.iter().fold(text, |text, (form, shown)| {
            if text.contains(form.as_str()) {
                text.replace(form.as_str(), shown)
            } else {
                text
            }
        });
        self.hide_beginning(text)
    }

    /// What somebody else said is cut at some length, which may be in the middle of a value.
    fn hide_beginning(&self, mut text: String) -> String {
        let cut = self.hidden.iter().find_map(|(form, shown)| {
            let beginning = (SHORTEST..form.len())
                .rev()
                .filter_map(|end| form.get(..end))
                .find(|beginning| text.ends_with(beginning))?;
            Some((beginning.len(), shown))
        });
        if let Some((len, shown)) = cut {
            text.truncate(text.len() - len);
            text.push_str(shown);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_taken_apart_at_its_variables() {
        use Piece::{Plain, Variable};
        assert_eq!(
            pieces("https://${HOST}/x?k=${KEY}").expect("well formed"),
            [
                Plain("https://"),
                Variable("HOST"),
                Plain("/x?k="),
                Variable("KEY")
            ]
        );
        assert_eq!(pieces("").expect("well formed"), []);
        for text in ["${HOST", "${}", "${a b}", "${1}"] {
            assert!(pieces(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_value_is_hidden_in_every_form_it_may_take() {
        let mut secrets = Secrets::default();
        secrets.learn("KEY", "s3cret/\"x\"");
        secrets.learn("LONGER", "s3cret/\"x\" and more");
        secrets.learn("FLAG", "1");
        let said = secrets
            .hide("s3cret/\"x\" s3cret%2F%22x%22 s3cret/\\\"x\\\" s3cret/\"x\" and more 1".into());
        assert_eq!(said, "${KEY} ${KEY} ${KEY} ${LONGER} 1");
        for (text, shown) in [
            ("you said s3cret/\"x", "you said ${LONGER}"),
            ("you said s3cr", "you said ${LONGER}"),
            ("you said s3c", "you said s3c"),
            ("s3cr, you said", "s3cr, you said"),
        ] {
            assert_eq!(secrets.hide(text.into()), shown);
        }
        assert_eq!(format!("{secrets:?}"), r#"{"FLAG", "KEY", "LONGER"}"#);
    }
}
