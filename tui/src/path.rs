//! Paths as an operator writes them.

use std::path::PathBuf;

/// A path with the `~` that it may begin with written out, as a shell would have done.
pub(crate) fn from_home(path: &str) -> PathBuf {
    let below = match path.strip_prefix('~') {
        Some("") => Some(""),
        Some(rest) => rest.strip_prefix('/'),
        None => None,
    };
    match below.zip(std::env::home_dir()) {
        Some((rest, home)) => home.join(rest.trim_start_matches('/')),
        None => path.into(),
    }
}

/// The same from the root on, to be told; as it is where that cannot be written as text.
pub(crate) fn whole(path: &str) -> String {
    let whole = std::path::absolute(from_home(path)).ok();
    let whole = whole.and_then(|whole| whole.into_os_string().into_string().ok());
    whole.unwrap_or_else(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_may_begin_at_home_and_is_told_from_the_root_on() {
        let home = std::env::home_dir().expect("a home");
        for (path, expected) in [
            ("~", home.clone()),
            ("~/dead.csv", home.join("dead.csv")),
            ("~//dead.csv", home.join("dead.csv")),
            ("/tmp/~/x", "/tmp/~/x".into()),
            ("~ada/x", "~ada/x".into()),
            ("a~", "a~".into()),
        ] {
            assert_eq!(from_home(path), expected, "{path}");
        }
        let here = std::env::current_dir().expect("a folder");
        assert_eq!(whole("x.csv"), here.join("x.csv").to_string_lossy());
        assert_eq!(whole("~/x.csv"), home.join("x.csv").to_string_lossy());
        assert_eq!(whole("/x.csv"), "/x.csv");
    }
}
