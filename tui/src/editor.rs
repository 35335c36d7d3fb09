//! The operator's own editor.

use std::io::Write as _;
use std::process::Command;

/// Opens a text in `$VISUAL`, else `$EDITOR`, else `vi`, and returns what it was left as. The file
/// is readable by its owner alone and gone afterwards.
///
/// # Errors
/// In words, where the editor could not be run or did not end well.
pub(crate) fn edit(text: &str) -> Result<String, String> {
    let editor = ["VISUAL", "EDITOR"]
        .iter()
        .find_map(|name| {
            std::env::var(name)
                .ok()
                .filter(|set| !set.trim().is_empty())
        })
        .unwrap_or_else(|| "vi".into());
    let failed = |error: std::io::Error| format!("cannot edit the lead: {error}");
    let mut file = tempfile::Builder::new()
        .prefix("lead-")
        .suffix(".json")
        .tempfile()
        .map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    // By the shell, for these variables may hold options too.
    let status = Command::new("sh")
        .arg("-c")
        .arg(format!("{editor} \"$1\""))
        .arg("sh")
        .arg(file.path())
        .status()
        .map_err(failed)?;
    if !status.success() {
        return Err(format!(
            "the editor ({editor}) ended with {status}, so the lead is left as it is; set EDITOR to another one"
        ));
    }
    // By its name: many editors put a new file in its place.
    std::fs::read_to_string(file.path()).map_err(failed)
}
