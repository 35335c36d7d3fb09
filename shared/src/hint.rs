//! What may have been meant by a name that nobody knows.

/// The known name that is nearest to what was written, where one is near; else all of them.
#[must_use]
pub fn suggest(written: &str, known: &[&str]) -> String {
    let near = known
        .iter()
        .map(|name| (strsim::damerau_levenshtein(written, name), *name))
        .filter(|(distance, name)| *distance <= (name.len() / 3).max(1))
        .min();
    match near {
        Some((_, name)) => format!("did you mean \"{name}\"?"),
        None => format!("known are {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_far_from_everything_gets_the_whole_list() {
        assert_eq!(
            suggest("tiemout", &["timeout", "url"]),
            "did you mean \"timeout\"?"
        );
        assert_eq!(
            suggest("colour", &["timeout", "url"]),
            "known are timeout, url"
        );
    }
}
